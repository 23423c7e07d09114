//! The integration tests of the server: one binary, one module for each part.

mod providers;
mod store;
mod support;
