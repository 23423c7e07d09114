//! Holds the structure that ARCHITECTURE.md and STYLE.md promise.

use anyhow::{Context, Result};
use cargo_metadata::{DependencyKind, Metadata, MetadataCommand};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// A file that people write is never longer.
const LINES_MAX: usize = 600;

/// Who may use whom: `agent → proto ← sandbox ← server`, and nothing else.
/// A name after `dev:` may be used by tests only.
const MAY_USE: &[(&str, &[&str])] = &[
    ("polydev-proto", &[]),
    ("polydev-agent", &["polydev-proto"]),
    ("polydev-sandbox", &["polydev-proto"]),
    ("polydev-server", &["polydev-sandbox", "dev:polydev-standin"]),
    ("polydev-standin", &[]),
    ("xtask", &["polydev-standin"]),
];

#[test]
fn crates_use_only_what_the_architecture_allows() -> Result<()> {
    let metadata = metadata()?;
    let ours: BTreeSet<&str> = metadata.workspace_packages().iter().map(|p| p.name.as_str()).collect();
    let known: BTreeSet<&str> = MAY_USE.iter().map(|(name, _)| *name).collect();
    assert_eq!(ours, known, "a crate came or went: say in `MAY_USE` and ARCHITECTURE.md whom it may use");

    let allowed: BTreeMap<&str, BTreeSet<String>> =
        MAY_USE.iter().map(|(name, uses)| (*name, uses.iter().map(|&u| u.to_owned()).collect())).collect();
    for package in metadata.workspace_packages() {
        for dependency in package.dependencies.iter().filter(|d| ours.contains(d.name.as_str())) {
            let used = match dependency.kind {
                DependencyKind::Development => format!("dev:{}", dependency.name),
                DependencyKind::Normal | DependencyKind::Build | DependencyKind::Unknown => dependency.name.clone(),
            };
            let allowed = &allowed[package.name.as_str()];
            assert!(
                allowed.contains(&used) || allowed.contains(used.trim_start_matches("dev:")),
                "`{}` must not use `{used}`: agent → proto ← sandbox ← server, see ARCHITECTURE.md",
                package.name
            );
        }
    }
    Ok(())
}

#[test]
fn every_dependency_says_what_it_is_for() -> Result<()> {
    let metadata = metadata()?;
    let table = fs::read_to_string(root().join("docs/dependencies.md"))?;
    let named: BTreeSet<&str> = table.split('`').skip(1).step_by(2).collect();
    let ours: BTreeSet<&str> = metadata.workspace_packages().iter().map(|p| p.name.as_str()).collect();
    let undocumented: BTreeSet<String> = metadata
        .workspace_packages()
        .iter()
        .flat_map(|package| &package.dependencies)
        .map(|dependency| dependency.name.clone())
        .filter(|name| !named.contains(name.as_str()) && !ours.contains(name.as_str()))
        .collect();
    assert!(undocumented.is_empty(), "docs/dependencies.md has no line for {undocumented:?}");
    Ok(())
}

#[test]
fn files_stay_short() -> Result<()> {
    let mut long = Vec::new();
    for (path, text) in tracked_text()? {
        let lines = text.lines().count();
        if written_by_hand(&path) && lines > LINES_MAX {
            long.push(format!("{} has {lines} lines", path.display()));
        }
    }
    assert!(long.is_empty(), "at most {LINES_MAX} lines, one thing a file: {long:#?}");
    Ok(())
}

/// A lock file names packages and their sums, never the host they came from:
/// whoever builds has mirrors of their own.
#[test]
fn no_registry_host_and_no_path_of_one_machine() -> Result<()> {
    // In pieces, so that this file does not name them either.
    let mut forbidden = vec![
        ["registry.npmjs", ".org"].concat(),
        ["registry.yarnpkg", ".com"].concat(),
        ["deb.debian", ".org"].concat(),
        ["security.debian", ".org"].concat(),
        ["static.crates", ".io"].concat(),
        ["files.pythonhosted", ".org"].concat(),
        ["/Us", "ers/"].concat(),
        ["/ro", "ot/"].concat(),
    ];
    let here = root().to_string_lossy().into_owned();
    if here.matches('/').count() > 1 {
        forbidden.push(here);
    }
    let mut found = Vec::new();
    for (path, text) in tracked_text()? {
        for (number, line) in text.lines().enumerate() {
            // `/proc/PID/ro` + `ot/` is on every machine.
            let line = line.replace(&["}/ro", "ot/"].concat(), "");
            if let Some(name) = forbidden.iter().find(|name| line.contains(name.as_str())) {
                found.push(format!("{}:{}: {name}", path.display(), number + 1));
            }
        }
    }
    assert!(found.is_empty(), "{found:#?}");
    Ok(())
}

fn metadata() -> Result<Metadata> {
    Ok(MetadataCommand::new().manifest_path(root().join("Cargo.toml")).no_deps().exec()?)
}

/// The folder of the workspace.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the workspace")
}

/// Every tracked file that is text, by its path from the root.
#[expect(clippy::disallowed_methods, reason = "git is the one that knows what is tracked")]
fn tracked_text() -> Result<Vec<(PathBuf, String)>> {
    let listed = Command::new("git")
        // A test that runs as root in somebody's checkout is no danger to that checkout.
        .args(["-c", "safe.directory=*", "ls-files", "-z"])
        .current_dir(root())
        .output()
        .context("running `git ls-files`")?;
    anyhow::ensure!(listed.status.success(), "`git ls-files`: {}", String::from_utf8_lossy(&listed.stderr));
    let names = String::from_utf8(listed.stdout)?;
    let files: Vec<_> = names
        .split_terminator('\0')
        .filter_map(|name| Some((PathBuf::from(name), fs::read_to_string(root().join(name)).ok()?)))
        .collect();
    anyhow::ensure!(files.len() > 10, "`git ls-files` named almost nothing");
    Ok(files)
}

/// Whether people write it, and not a tool.
fn written_by_hand(path: &Path) -> bool {
    let generated = ["lock", "snap", "jsonl", "json", "svg"];
    let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
    let extension = path.extension().and_then(|e| e.to_str()).unwrap_or_default();
    name != "LICENSE" && !generated.contains(&extension)
}
