//! The first process of every sandbox: exec, files, readiness, watching, the way out.
//!
//! It is started with a listening unix socket as its standard input, reaps
//! every orphan, and answers what a host asks over the channels of
//! [`polydev_proto`]. It knows no provider. One thread, and one more that watches
//! the screen of a desktop; nothing is read from its environment; what it prints
//! is the sandbox's console. Terminals and programs of a desktop start it too,
//! to be told something: `greet`, `open`.
//!
//! ```text
//!   listen ─► channel ─┬─ job ── pump ── ring        attach, stdin
//!                      │   └── tree (signals)   reap ─► job
//!                      ├─ files
//!                      ├─ watch ── rule
//!                      ├─ proxy (egress) ── carry
//!                      └─ desktop ── job, screen (X), door (`greet`, `open`)
//! ```

mod agent;
mod args;
mod attach;
mod carry;
mod channel;
mod desktop;
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
    let mut args = std::env::args_os().skip(1).peekable();
    let done = match args.peek().and_then(|word| word.to_str()) {
        Some("greet") => desktop::inside::greet(args.skip(1)),
        Some("open") => desktop::inside::open(args.skip(1)),
        Some(_) | None => {
            init::settle();
            args::parse(args).and_then(agent::run)
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            let _ = writeln!(std::io::stderr(), "polydev-agent: {reason}");
            ExitCode::FAILURE
        }
    }
}
