//! Builds the agent, static, for [`include_bytes!`] in `drivers/agent.rs`.
//!
//! The agent runs inside images of any libc, so it is linked against none; and
//! it lies inside the `polydev` binary, so that there is one file to install
//! and no second one to forget when testing.

use std::{env, path::PathBuf, process::Command};

/// What Cargo tells this script of the outer build, and must not reach the inner one.
const OF_THE_OUTER_BUILD: &[&str] = &[
    "CARGO_ENCODED_RUSTFLAGS",
    "RUSTFLAGS",
    "CARGO_TARGET_DIR",
    "CARGO_BUILD_TARGET",
    "CARGO_BUILD_TARGET_DIR",
    "RUSTC_WORKSPACE_WRAPPER",
    "RUSTC_WRAPPER",
];

#[expect(clippy::disallowed_methods, reason = "a build script reads its environment and starts Cargo")]
fn main() {
    let var = |name: &str| env::var(name).unwrap_or_else(|_| panic!("cargo sets {name}"));
    let workspace = PathBuf::from(var("CARGO_MANIFEST_DIR")).join("../..");
    for path in
        ["crates/agent/src", "crates/agent/Cargo.toml", "crates/proto/src", "crates/proto/Cargo.toml", "Cargo.lock"]
    {
        println!("cargo::rerun-if-changed={}", workspace.join(path).display());
    }
    println!("cargo::rerun-if-changed=build.rs");

    let target = format!("{}-unknown-linux-gnu", var("CARGO_CFG_TARGET_ARCH"));
    // A target folder of its own: the outer build holds the lock of the usual one.
    let target_dir = PathBuf::from(var("OUT_DIR")).join("agent");
    let mut cargo = Command::new(var("CARGO"));
    cargo
        .args(["build", "--locked", "--package", "polydev-agent", "--profile", "agent", "--target", &target])
        .arg("--target-dir")
        .arg(&target_dir)
        .current_dir(&workspace);
    for name in OF_THE_OUTER_BUILD {
        cargo.env_remove(name);
    }
    // With `--target` this reaches the agent alone, and no build script of its dependencies.
    cargo.env("RUSTFLAGS", "-Ctarget-feature=+crt-static");
    let status = cargo.status().expect("cargo can be started, as it started this");
    assert!(status.success(), "the agent does not build: {status}");

    let agent = target_dir.join(target).join("agent/polydev-agent");
    println!("cargo::rustc-env=POLYDEV_AGENT={}", agent.display());
}
