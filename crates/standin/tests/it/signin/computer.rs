//! A person's computer: the cli image with the providers' tools in it, a home, and a "browser" that only says what it
//! was to open.
//!
//! The tools run in the image (read-only, in a mount namespace that ends with them) as a user without rights, in this
//! machine's network, so that the browser of the test reaches what they listen on.

use polydev_standin::Standin;
use serde_json::Value;
use std::{
    fs,
    os::unix::fs::{PermissionsExt, chown},
    path::{Path, PathBuf},
    process::{Output, Stdio},
    time::Duration,
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::unix::pipe,
    process::{Child, Command},
    time::timeout,
};

use super::DEADLINE;

/// The user of the image.
const USER: u32 = 10001;

/// How long a dialog may take no notice of a key before it is pressed again.
const PATIENCE: Duration = Duration::from_secs(5);

/// Mounts, then the tool: `IMAGE ROOT HOME COMMAND…`.
const INSIDE: &str = r#"
image=$1 root=$2 home=$3
shift 3
mount -o ro,loop "$image" "$root"
mount --rbind /dev "$root/dev"
mount --rbind /proc "$root/proc"
mount -t tmpfs tmpfs "$root/tmp"
mount --bind "$home" "$root/home/polydev"
exec chroot --userspec=10001:10001 "$root" env -i -C /home/polydev "$@"
"#;

/// What stands for a browser in the home: it says what it was to open, a line each.
const BROWSER: &str = "#!/bin/sh\necho \"$1\" >>/home/polydev/opened\n";

pub(crate) struct Computer {
    image: PathBuf,
    root: TempDir,
    home: TempDir,
    proxy: String,
    opened: BufReader<pipe::Receiver>,
}

/// A tool that runs.
pub(crate) struct Tool {
    child: Child,
    /// What it has printed and nobody has looked at.
    said: Vec<u8>,
}

impl Computer {
    /// One whose tools reach their providers at this stand-in.
    pub(crate) fn of(standin: &Standin) -> Option<Self> {
        if !fs::metadata("/proc/self").is_ok_and(|of| std::os::unix::fs::MetadataExt::uid(&of) == 0) {
            println!("skipped: an image is mounted by root");
            return None;
        }
        let home = tempfile::tempdir().unwrap();
        let at = |name: &str| home.path().join(name);
        fs::write(at("ca.pem"), standin.ca_pem()).unwrap();
        fs::create_dir(at("bin")).unwrap();
        for name in ["browser", "xdg-open"] {
            let path = at("bin").join(name);
            fs::write(&path, BROWSER).unwrap();
            fs::set_permissions(path, PermissionsExt::from_mode(0o755)).unwrap();
        }
        assert!(std::process::Command::new("mkfifo").arg(at("opened")).status().unwrap().success());
        let opened = pipe::OpenOptions::new().read_write(true).open_receiver(at("opened")).unwrap();
        for path in [home.path().to_owned(), at("opened"), at("bin")] {
            chown(path, Some(USER), Some(USER)).unwrap();
        }
        let root = tempfile::tempdir().unwrap();
        Some(Self { image: image(), root, home, proxy: standin.proxy_url(), opened: BufReader::new(opened) })
    }

    /// A file of the home.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// A file of the home, as JSON.
    pub(crate) fn json(&self, name: &str) -> Value {
        serde_json::from_slice(&fs::read(self.path(name)).unwrap()).unwrap()
    }

    /// What the tool may not let others read.
    pub(crate) fn mode(&self, name: &str) -> u32 {
        fs::metadata(self.path(name)).unwrap().permissions().mode() & 0o777
    }

    /// Writes a file into the home, as its user would.
    pub(crate) fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        let dir = path.parent().unwrap();
        fs::create_dir_all(dir).unwrap();
        fs::write(&path, text).unwrap();
        for path in [dir, &path] {
            chown(path, Some(USER), Some(USER)).unwrap();
        }
    }

    /// The next address that the tool opened in a browser.
    pub(crate) async fn opened(&mut self) -> String {
        let mut line = String::new();
        timeout(DEADLINE, self.opened.read_line(&mut line)).await.expect("no browser was opened").unwrap();
        line.trim().to_owned()
    }

    /// Starts a tool.
    pub(crate) fn start(&self, env: &[&str], argv: &[&str]) -> Tool {
        let own = [
            "HOME=/home/polydev".to_owned(),
            "PATH=/home/polydev/bin:/usr/local/bin:/usr/bin:/bin".to_owned(),
            "BROWSER=/home/polydev/bin/browser".to_owned(),
            "TERM=xterm-256color".to_owned(),
            "DISPLAY=:0".to_owned(),
            "NODE_EXTRA_CA_CERTS=/home/polydev/ca.pem".to_owned(),
            "SSL_CERT_FILE=/home/polydev/ca.pem".to_owned(),
            "NO_PROXY=localhost,127.0.0.1".to_owned(),
            format!("HTTPS_PROXY={}", self.proxy),
        ];
        let child = Command::new("unshare")
            .args(["--mount", "sh", "-ec", INSIDE, "sh"])
            .args([&self.image, self.root.path(), self.home.path()])
            .args(own)
            .args(env)
            .args(argv)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        Tool { child, said: Vec::new() }
    }

    /// Starts a tool that wants a terminal, and gives it a wide one.
    pub(crate) fn start_in_terminal(&self, env: &[&str], command: &str) -> Tool {
        let command = format!("stty cols 500 rows 50; exec {command}");
        self.start(env, &["script", "-qefc", &command, "/dev/null"])
    }

    /// Runs a tool to its end.
    pub(crate) async fn run(&self, argv: &[&str]) -> Output {
        self.start(&[], argv).end().await
    }
}

impl Tool {
    /// Types something.
    pub(crate) async fn type_in(&mut self, text: &str) {
        self.child.stdin.as_mut().unwrap().write_all(text.as_bytes()).await.unwrap();
    }

    /// Everything that it prints until a text has come.
    pub(crate) async fn says(&mut self, text: &str) -> String {
        let said = timeout(DEADLINE, self.prints(|said| said.contains(text))).await;
        said.unwrap_or_else(|_| panic!("`{text}` is not in `{}`", plain(&self.said)))
    }

    /// The line that it prints with this text in it.
    pub(crate) async fn line(&mut self, text: &str) -> String {
        let has = |line: &str| line.ends_with('\n') && line.contains(text);
        let said = timeout(DEADLINE, self.prints(|said| said.split_inclusive('\n').any(has))).await;
        let said = said.unwrap_or_else(|_| panic!("`{text}` is not in `{}`", plain(&self.said)));
        said.lines().find(|line| line.contains(text)).unwrap().to_owned()
    }

    /// Presses a key until a text comes: a dialog is seen before it takes keys, by some ticks of a busy machine.
    pub(crate) async fn press_until(&mut self, key: &str, text: &str) {
        let pressing = async {
            loop {
                self.type_in(key).await;
                if timeout(PATIENCE, self.prints(|said| said.contains(text))).await.is_ok() {
                    return;
                }
            }
        };
        if timeout(DEADLINE, pressing).await.is_err() {
            panic!("`{text}` is not in `{}`", plain(&self.said));
        }
    }

    /// What it has printed since the last time, once it is enough.
    async fn prints(&mut self, enough: impl Fn(&str) -> bool) -> String {
        let out = self.child.stdout.as_mut().unwrap();
        while !enough(&plain(&self.said)) {
            let more = out.read_buf(&mut self.said).await.unwrap();
            assert_ne!(more, 0, "it ended: {}", plain(&self.said));
        }
        plain(&std::mem::take(&mut self.said))
    }

    /// Waits for its end; its input is closed.
    pub(crate) async fn end(mut self) -> Output {
        drop(self.child.stdin.take());
        self.finish().await
    }

    /// Waits for its end; its input stays open, as a terminal's does.
    pub(crate) async fn finish(self) -> Output {
        let Self { mut child, .. } = self;
        let input = child.stdin.take();
        let ended = timeout(DEADLINE, child.wait_with_output()).await.expect("it did not end").unwrap();
        drop(input);
        ended
    }
}

/// What stands on a terminal: without colours, and with a space for each step to the right.
fn plain(said: &[u8]) -> String {
    let said = String::from_utf8_lossy(said);
    let mut parts = said.split("\u{1b}[");
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let end = part.find(|c: char| ('@'..='~').contains(&c)).map_or(part.len(), |at| at + 1);
        let (sequence, text) = part.split_at(end);
        plain.push_str(if sequence.ends_with(['C', 'G']) { " " } else { "" });
        plain.push_str(text);
    }
    plain
}

/// Where the cli image lies: built by `make image`.
fn image() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/images");
    let dir = std::env::var_os("POLYDEV__IMAGE__DIR").map_or(here, PathBuf::from);
    let about = fs::canonicalize(dir.join("cli.json"));
    about.unwrap_or_else(|_| panic!("no cli image in {}: run `make image` first", dir.display())).with_extension("ext4")
}
