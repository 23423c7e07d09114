//! The server, its command line and its store.
//!
//! ```text
//!   cli ─► api ─► domain ─► store, vault
//!                   │ poke
//!                   ▼
//!               control ─► sandbox, providers
//! ```

pub mod api;
pub mod app;
pub mod cli;
pub mod config;
pub mod control;
pub mod domain;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
pub mod lock;
pub mod metrics;
pub mod providers;
pub mod store;
pub mod vault;
