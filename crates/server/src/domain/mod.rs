//! What the server is about, free of HTTP, SQL and sandboxes.

pub mod audit;
pub mod change;
pub mod connections;
pub mod event;
pub mod failure;
pub mod id;
pub mod idempotency;
pub mod lease;
pub mod login;
pub mod people;
pub mod rates;
pub mod redact;
pub mod rotation;
pub mod run;
pub mod sandbox;
pub mod time;
pub mod usage;
pub mod vault;
