//! The integration tests of the server: one binary, one module for each part.

mod cli;
mod config;
mod connections;
mod people;
mod providers;
mod store;
mod support;
mod vault;
