//! Sandboxes: what makes them, what speaks to them, what lets them out, what they are made from.
//!
//! Knows no users, no HTTP API, no SQL. What needs root is here alone.

pub mod cmd;
pub mod desktop;
pub mod driver;
pub mod drivers;
pub mod egress;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
pub mod guest;
pub mod host;
pub mod image;
pub mod machine;
pub mod pace;
mod sandbox;
mod sys;
pub mod testing;

pub use driver::{
    Capabilities, Driver, DriverError, Observed, Phase, Priority, Probe, SandboxId, SandboxSpec, Stray, Stream,
};
pub use guest::Guest;
pub use polydev_proto as proto;
pub use sandbox::{CONSOLE_TAIL, Sandbox, StartError, StartFault};
