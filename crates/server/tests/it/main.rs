//! The integration tests of the server: one binary, one module for each part.

#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::print_stderr,
    reason = "helpers of tests may unwrap, start programs, and print"
)]

mod cli;
mod config;
mod connections;
mod desk;
mod openapi;
mod people;
mod providers;
mod road;
mod rotation;
mod store;
mod support;
mod vault;
mod web;
