//! A tiny image, and jobs run to their end.

use polydev_proto::{Exec, Exit, Overflow, Ring};
use polydev_sandbox::{
    cmd::{self, Cmd},
    guest::{Guest, JobOutput, OutputStream},
};
use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::{PermissionsExt, chown, symlink},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
};

/// The number of the image's user.
pub(crate) const USER: u32 = 10001;

const PROGRAMS: [&str; 7] = ["sh", "cat", "dd", "env", "head", "ls", "sleep"];

/// Builds an ext4 image of a few of this host's programs, in seconds, below `dir`. `more` are other programs, by the
/// file and by the name and the mode that they have in its `/bin`.
pub(crate) async fn tiny_image(dir: &Path, more: &[(&Path, &str, u32)]) -> PathBuf {
    let root = dir.join("image-root");
    for folder in ["bin", "dev", "etc/ssl/certs", "proc", "sys", "tmp", "home/polydev", "workspace"] {
        fs::create_dir_all(root.join(folder)).unwrap();
    }
    let found = PROGRAMS.map(|name| cmd::find(name).unwrap_or_else(|| panic!("`{name}` is not installed")));
    let usual = found.iter().zip(PROGRAMS).map(|(program, name)| (program.as_path(), name, 0o755));
    for (program, name, mode) in usual.chain(more.iter().copied()) {
        let place = root.join("bin").join(name);
        copy(program, &place);
        fs::set_permissions(place, fs::Permissions::from_mode(mode)).unwrap();
        for library in libraries(program).await {
            copy(&library, &root.join(library.strip_prefix("/").unwrap()));
        }
    }
    fs::write(root.join("etc/hosts"), "127.0.0.1 localhost polydev\n").unwrap();
    fs::write(root.join("etc/ssl/certs/ca-certificates.crt"), "the image's own\n").unwrap();
    // What the image's root keeps to itself.
    fs::write(root.join("etc/shadow"), "root's own\n").unwrap();
    fs::set_permissions(root.join("etc/shadow"), fs::Permissions::from_mode(0o600)).unwrap();
    // A link that leads out of the image, for whoever would follow it on the host.
    symlink("/etc/passwd", root.join("etc/link")).unwrap();
    for owned in ["home/polydev", "workspace"] {
        chown(root.join(owned), Some(USER), Some(USER)).unwrap();
    }
    fs::set_permissions(root.join("tmp"), fs::Permissions::from_mode(0o1777)).unwrap();
    let image = dir.join("tiny.ext4");
    let make = Cmd::new("mke2fs").args(["-q", "-t", "ext4", "-O", "^has_journal", "-d"]);
    cmd::run(make.arg(&root).arg(&image).arg("64M")).await.unwrap();
    image
}

async fn libraries(program: &Path) -> Vec<PathBuf> {
    let listed = cmd::run(Cmd::new("ldd").arg(program)).await.unwrap().text();
    listed.split_whitespace().filter(|word| word.starts_with('/')).map(PathBuf::from).collect()
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to.parent().unwrap()).unwrap();
    fs::copy(from, to).unwrap();
}

/// What a job did.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) exit: Exit,
}

/// A job with nothing special.
pub(crate) fn job(argv: &[&str]) -> Exec {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let ring = Ring { capacity: 64 * 1024, overflow: Overflow::Block };
    Exec {
        job: format!("job-{}", NEXT.fetch_add(1, Ordering::Relaxed)),
        argv: argv.iter().map(|arg| (*arg).to_owned()).collect(),
        env: BTreeMap::from([("PATH".to_owned(), "/bin:/usr/bin".to_owned())]),
        cwd: "/workspace".to_owned(),
        stdin: false,
        pty: None,
        stdout: ring,
        stderr: ring,
    }
}

/// Runs a job to its end.
pub(crate) async fn run(guest: &Guest, exec: Exec) -> Ran {
    let name = exec.job.clone();
    guest.exec(exec).await.unwrap();
    let mut attachment = guest.attach(&name, 0, 0).await.unwrap();
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    loop {
        match attachment.next().await.unwrap().expect("an exit comes before the end") {
            JobOutput::Bytes { stream: OutputStream::Stdout, bytes, .. } => stdout.extend(bytes),
            JobOutput::Bytes { stream: OutputStream::Stderr, bytes, .. } => stderr.extend(bytes),
            JobOutput::Exit(exit) => {
                let text = |bytes| String::from_utf8(bytes).unwrap();
                return Ran { stdout: text(stdout), stderr: text(stderr), exit };
            }
        }
        attachment.ack(stdout.len() as u64, stderr.len() as u64).await.unwrap();
    }
}

/// Runs a line of shell to its end and gives its standard output.
pub(crate) async fn sh(guest: &Guest, script: &str) -> String {
    let ran = run(guest, job(&["/bin/sh", "-c", script])).await;
    assert_eq!(ran.exit.code, Some(0), "{script}: {ran:?}");
    ran.stdout
}
