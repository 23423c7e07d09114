//! The first process of every sandbox: exec, files, readiness, watching, the way out.
//!
//! It is started with a listening unix socket as its standard input, reaps
//! every orphan, and answers what a host asks over the channels of
//! [`polydev_proto`]. It knows no provider. One thread; nothing is read from
//! its environment; what it prints is the sandbox's console.
//!
//! ```text
//!   listen ─► channel ─┬─ job ── pump ── ring        attach, stdin
//!                      │   └── tree (signals)   reap ─► job
//!                      ├─ files
//!                      ├─ watch ── rule
//!                      └─ proxy (egress)
//! ```

mod agent;
mod args;
mod attach;
mod channel;
mod files;
mod init;
mod job;
mod listen;
mod proxy;
mod pump;
mod reap;
mod refuse;
mod ring;
mod root;
mod rule;
mod stdin;
mod sys;
mod tree;
mod watch;

use std::{io::Write, process::ExitCode};

fn main() -> ExitCode {
    init::settle();
    match args::parse(std::env::args_os().skip(1)).and_then(agent::run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            let _ = writeln!(std::io::stderr(), "polydev-agent: {reason}");
            ExitCode::FAILURE
        }
    }
}
