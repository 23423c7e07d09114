//! Takes the web app that `scripts/web` built in `web/dist` into the binary, as the table that `api/web.rs` includes.
//! Where it was not built the table is empty, and the server says so.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

#[expect(clippy::disallowed_methods, reason = "a build script reads its environment")]
fn main() {
    let var = |name: &str| PathBuf::from(env::var_os(name).unwrap_or_else(|| panic!("cargo sets {name}")));
    let dist = var("CARGO_MANIFEST_DIR").join("../../web/dist");
    // The folder is there in every checkout: it is tracked for its `.gitignore`.
    println!("cargo::rerun-if-changed={}", dist.display());
    println!("cargo::rerun-if-changed=build.rs");
    let mut table = String::from("[\n");
    for name in served(&dist, Path::new("")) {
        let path = dist.join(&name).canonicalize().expect("it was listed");
        let bytes = |ending: &str| {
            let file = format!("{}{ending}", path.display());
            fs::exists(&file).unwrap_or(false).then(|| format!("include_bytes!({file:?}).as_slice()"))
        };
        let packed = |ending| bytes(ending).map_or("None".to_owned(), |bytes| format!("Some({bytes})"));
        table += &format!(
            "    File {{ name: {name:?}, plain: {}, gzip: {}, brotli: {} }},\n",
            bytes("").expect("it was listed"),
            packed(".gz"),
            packed(".br"),
        );
    }
    table += "]\n";
    fs::write(var("OUT_DIR").join("web.rs"), table).expect("cargo makes `OUT_DIR`");
}

/// The files that are served, by their paths below `dist`: what is neither hidden nor another one, compressed.
fn served(dist: &Path, below: &Path) -> Vec<String> {
    let mut names = Vec::new();
    for entry in fs::read_dir(dist.join(below)).into_iter().flatten().flatten() {
        let name = entry.file_name().into_string().expect("the app's files have plain names");
        let path = below.join(&name);
        if name.starts_with('.') || name.ends_with(".br") || name.ends_with(".gz") {
            continue;
        } else if entry.path().is_dir() {
            names.extend(served(dist, &path));
        } else {
            names.push(path.to_str().expect("so have its folders").to_owned());
        }
    }
    names.sort();
    names
}
