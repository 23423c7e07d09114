//! The egress gateway: its policy by tables and random cases, its work over real sockets.
#![expect(clippy::unwrap_used, reason = "a test's helper fails as the test itself does")]

mod carrying;
mod limits;
mod policy;
mod refusals;
mod support;
mod upstream;
