//! The real agent, driven over its socket as a host drives it.
#![expect(clippy::unwrap_used, clippy::disallowed_methods, reason = "helpers of tests, which start the agent")]

mod contract;
mod egress;
mod files;
mod output;
mod programs;
mod support;
mod terminal;
mod trees;
mod watch;
