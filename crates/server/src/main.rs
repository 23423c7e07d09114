//! `polydev`: the server and its command line.

#![forbid(unsafe_code)]

use clap::Parser;
use polydev_server::{cli, config::Env};
use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    #[expect(clippy::disallowed_methods, reason = "the environment is read once, here")]
    let env: Env = std::env::vars().collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a host can make threads");
    match runtime.block_on(cli::run(cli, env)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            error.print();
            ExitCode::from(error.status)
        }
    }
}
