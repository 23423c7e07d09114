//! What tests need beside the server.

pub(crate) mod db;
mod postgres;
