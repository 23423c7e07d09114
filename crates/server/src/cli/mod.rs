//! The command line: one file a command.

pub mod data;
pub mod duration;
pub mod key;
pub mod output;
pub mod user;
