//! Secrets that are looked for everywhere.

use std::{
    collections::{BTreeSet, HashSet},
    fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
};

/// Texts that are to be nowhere.
#[derive(Debug, Clone, Default)]
pub(crate) struct Canaries(Vec<String>);

impl Canaries {
    /// One more.
    pub(crate) fn add(&mut self, canary: &str) {
        assert!(canary.len() >= 12, "`{canary}` may be there by chance");
        self.0.push(canary.to_owned());
    }

    /// Those that are there.
    pub(crate) fn in_bytes(&self, bytes: &[u8]) -> Vec<&str> {
        // They are ASCII: what is no text around them does not matter.
        let text = String::from_utf8_lossy(bytes);
        self.0.iter().filter(|canary| text.contains(*canary)).map(String::as_str).collect()
    }

    /// The files below a folder that have one, each with it; and how many files there were.
    pub(crate) fn in_files(&self, folder: &Path) -> (Vec<String>, usize) {
        let (mut found, mut files) = (Vec::new(), 0);
        let mut folders = vec![folder.to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
                let (path, name) = (entry.path(), entry.file_name());
                found.extend(self.in_bytes(name.as_encoded_bytes()).iter().map(|c| format!("a file's name: {c}")));
                let kind = entry.file_type().unwrap();
                if kind.is_dir() {
                    folders.push(path);
                } else if kind.is_file() {
                    files += 1;
                    let bytes = fs::read(&path).unwrap_or_default();
                    found.extend(self.in_bytes(&bytes).iter().map(|c| format!("{}: {c}", path.display())));
                }
            }
        }
        (found, files)
    }
}

/// Looks at the arguments and the environment of every process of this host, again and again.
pub(crate) struct Lookout {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<BTreeSet<String>>,
}

impl Lookout {
    /// Looks for these. `seen` is what some process of a sandbox has in both places, so that a look can be told
    /// from none.
    pub(crate) fn start(canaries: Canaries, seen: &str) -> Self {
        let (stop, seen) = (Arc::new(AtomicBool::new(false)), seen.to_owned());
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            let (mut found, mut looked_at) = (BTreeSet::new(), HashSet::new());
            while !stopped.load(Ordering::Relaxed) {
                for process in fs::read_dir("/proc").into_iter().flatten().flatten() {
                    for place in ["cmdline", "environ"] {
                        let bytes = fs::read(process.path().join(place)).unwrap_or_default();
                        // What has not changed is not looked through again: a short-lived process would be missed.
                        if bytes.is_empty() || !looked_at.insert((process.file_name(), place, bytes.clone())) {
                            continue;
                        }
                        if String::from_utf8_lossy(&bytes).contains(&seen) {
                            found.insert(format!("seen in {place}"));
                        }
                        let command = || fs::read(process.path().join("cmdline")).unwrap_or_default();
                        let command = || String::from_utf8_lossy(&command()).replace('\0', " ");
                        let of = |canary: &str| format!("{canary} in the {place} of `{}`", command().trim());
                        found.extend(canaries.in_bytes(&bytes).into_iter().map(of));
                    }
                }
            }
            found
        });
        Self { stop, thread }
    }

    /// What it found.
    pub(crate) fn end(self) -> BTreeSet<String> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}
