//! The server, its command line and its store.
fn main() {}
