//! What tests need beside the server.

pub(crate) mod canaries;
pub(crate) mod chance;
pub(crate) mod db;
pub(crate) mod guest;
pub(crate) mod host;
pub(crate) mod offenders;
pub(crate) mod outside;
mod postgres;
pub(crate) mod server;
