//! The first process of every sandbox: exec, files, readiness, watching, the way out.
fn main() {}
