//! The command line: one file a command, one line each below.

pub mod client;
pub mod connect;
pub mod data;
pub mod doctor;
pub mod download;
pub mod duration;
pub mod image;
pub mod import;
pub mod key;
pub mod login;
pub mod notify;
pub mod output;
pub mod run;
pub mod runs;
pub mod sandboxes;
pub mod serve;
pub mod status;
pub mod upload;
pub mod user;
pub mod vault;

use crate::config::{Config, Env, Flags};
use clap::{Parser, Subcommand};
use client::Client;
use output::{CliError, Format};
use std::path::PathBuf;

/// Your own accounts of Claude Code, Codex and Gemini as an API.
#[derive(Debug, Parser)]
#[command(name = "polydev", version, about, max_term_width = 100)]
pub struct Cli {
    /// The configuration file.
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where the server keeps everything.
    #[arg(long, global = true, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// How answers are printed: text, json, or (of `run` and `logs`) stream-json.
    #[arg(long, global = true, value_enum, default_value = "text", hide_possible_values = true)]
    output: Format,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start the server.
    Serve(serve::ServeArgs),
    /// Tell what this host can do.
    Doctor,
    /// Build, check and list the golden images.
    #[command(subcommand)]
    Image(image::ImageCommand),
    /// People, on the server's data directory.
    #[command(subcommand)]
    User(user::UserCommand),
    /// API keys, on the server's data directory.
    #[command(subcommand)]
    Key(key::KeyCommand),
    /// The master key that credentials are sealed under.
    #[command(subcommand)]
    Vault(vault::VaultCommand),
    /// Save the address of a server and a key for the commands below.
    Login(login::LoginArgs),
    /// Forget them.
    Logout,
    /// How the server is, who you are there, what is connected and under way.
    Status,
    /// Connect an account of a provider.
    Connect(connect::ConnectArgs),
    /// List your connections.
    Connections,
    /// Forget a connection.
    Disconnect {
        /// claude, codex or gemini.
        provider: String,
    },
    /// Give a prompt to a provider's tool, and stream its answer.
    Run(run::RunArgs),
    /// List your runs, newest first.
    Runs(runs::RunsArgs),
    /// Print a run's answer from its start, and follow it to its end.
    Logs(runs::LogsArgs),
    /// Cancel a run.
    Cancel {
        /// The run's id.
        run: String,
    },
    /// List the sandboxes of your runs, newest first.
    Sandboxes(sandboxes::SandboxesArgs),
    /// Print the OpenAPI document.
    #[command(hide = true)]
    Openapi,
    /// Backups (to come).
    #[command(hide = true)]
    Backup { rest: Vec<String> },
    /// Backups (to come).
    #[command(hide = true)]
    Restore { rest: Vec<String> },
}

/// What a command does before there is a second thread: each has rights of its own.
pub fn prepare(cli: &Cli, env: &Env) -> Result<(), CliError> {
    let Command::Serve(args) = &cli.command else { return Ok(()) };
    let flags = Flags { config: cli.config.clone(), data_dir: cli.data_dir.clone(), listen: args.listen.clone() };
    crate::app::lay_down_rights(&Config::load(&flags, env).map_err(CliError::usage)?)
}

/// Runs a command.
pub async fn run(cli: Cli, env: Env) -> Result<(), CliError> {
    let format = cli.output;
    if format == Format::StreamJson && !matches!(cli.command, Command::Run(_) | Command::Logs(_)) {
        return Err(CliError::usage("`--output stream-json` is for `run` and `logs`"));
    }
    let flags = Flags { config: cli.config, data_dir: cli.data_dir, listen: None };
    let config = |flags: &Flags| Config::load(flags, &env).map_err(CliError::usage);
    let client = || Client::open(&env);
    match cli.command {
        Command::Serve(args) => {
            serve::serve(config(&Flags { listen: args.listen, ..flags })?, notify::Notify::of(&env)).await
        }
        Command::Doctor => doctor::doctor(&config(&flags)?, format).await,
        Command::Image(command) => image::run(command, &config(&flags)?, format).await,
        Command::User(command) => user::run(command, &config(&flags)?, format).await,
        Command::Key(command) => key::run(command, &config(&flags)?, format).await,
        Command::Vault(command) => vault::run(command, &config(&flags)?, format).await,
        Command::Login(args) => login::login(args, &env, format).await,
        Command::Logout => login::logout(&env),
        Command::Status => status::status(&client()?, format).await,
        Command::Connect(args) => connect::connect(args, &client()?, &env, format).await,
        Command::Connections => connect::connections(&client()?, format).await,
        Command::Disconnect { provider } => connect::disconnect(&provider, &client()?).await,
        Command::Run(args) => run::run(args, &client()?, format).await,
        Command::Runs(args) => runs::list(args, &client()?, format).await,
        Command::Logs(args) => runs::logs(args, &client()?, format).await,
        Command::Cancel { run } => runs::cancel(&run, &client()?, format).await,
        Command::Sandboxes(args) => sandboxes::run(args, &client()?, format).await,
        Command::Openapi => {
            output::json(&crate::api::document());
            Ok(())
        }
        Command::Backup { .. } | Command::Restore { .. } => {
            Err(CliError::usage("this command is to come in a later version"))
        }
    }
}
