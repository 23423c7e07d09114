//! `polydev`: the server and its command line.

#![forbid(unsafe_code)]

use clap::Parser;
use polydev_server::{cli, config::Env};
use std::process::ExitCode;

fn main() -> ExitCode {
    keep_memory_to_itself();
    let cli = cli::Cli::parse();
    #[expect(clippy::disallowed_methods, reason = "the environment is read once, here")]
    let env: Env = std::env::vars().collect();
    let done = cli::prepare(&cli, &env).and_then(|()| {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
        runtime.expect("a host can make threads").block_on(cli::run(cli, env))
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            error.print();
            ExitCode::from(error.status)
        }
    }
}

/// No core dump of this process, which holds credentials, whatever the system does with cores; and nobody but root
/// may look into its memory.
fn keep_memory_to_itself() {
    let asked = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable);
    asked.expect("every Linux has this setting, and takes this value");
}
