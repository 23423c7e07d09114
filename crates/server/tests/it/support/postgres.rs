//! A PostgreSQL of the tests' own, from Debian's package: one server a test binary, a database a test.

#![expect(clippy::disallowed_methods, reason = "tests start programs of their own")]

use std::{
    io::{BufRead, BufReader},
    os::unix::{fs::chown, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    sync::OnceLock,
};

/// Starts the server with its standard input as a lifeline: whatever ends the tests closes it, and the
/// server and its files go. `$1` is the directory, `$2` the directory of PostgreSQL's programs; the rest
/// is what to run a program with so that it is not root (it must exec: the signal is meant for the server).
const SUPERVISOR: &str = r#"
dir=$1 bin=$2; shift 2
"$@" "$bin/initdb" -D "$dir/data" -U polydev -A trust -E UTF8 --locale=C --no-sync >"$dir/initdb.log" 2>&1 || {
    echo "initdb did not work:"; cat "$dir/initdb.log"; rm -rf "$dir"; exit 1
}
"$@" "$bin/postgres" -D "$dir/data" -c listen_addresses= -c unix_socket_directories="$dir" -c max_connections=400 \
    -c fsync=off -c synchronous_commit=off -c full_page_writes=off >"$dir/log" 2>&1 </dev/null &
server=$!
until "$bin/pg_isready" -q -h "$dir"; do
    kill -0 $server 2>/dev/null || { echo "postgres did not start:"; cat "$dir/log"; rm -rf "$dir"; exit 1; }
    sleep 0.05
done
echo ready
read -r _
kill -QUIT $server; wait $server; rm -rf "$dir"
"#;

/// A running server.
struct Server {
    /// The directory of its socket.
    dir: PathBuf,
    _supervisor: Child,
    _lifeline: ChildStdin,
}

/// The address of a database of this name in the server of this test binary. It need not exist yet.
pub(crate) fn url(database: &str) -> String {
    static SERVER: OnceLock<Server> = OnceLock::new();
    let dir = SERVER.get_or_init(Server::start).dir.display().to_string();
    format!("postgres://polydev@localhost/{database}?host={dir}")
}

impl Server {
    fn start() -> Self {
        let bin = programs();
        let dir = tempfile::Builder::new().prefix("polydev-pg-").tempdir().expect("a temporary directory").keep();
        // initdb and postgres refuse to run as root: the package's own user takes their place.
        let root = rustix::process::geteuid().is_root();
        let unprivileged: &[&str] =
            if root { &["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups"] } else { &["env"] };
        if root {
            let user = Command::new("id").args(["-u", "postgres"]).output().expect("`id` runs");
            let user = String::from_utf8_lossy(&user.stdout).trim().parse().expect(
                "PostgreSQL's package makes a user `postgres`, which is missing: install the package `postgresql`",
            );
            chown(&dir, Some(user), None).expect("root may give a directory away");
        }
        let mut supervisor = Command::new("sh")
            .args(["-c", SUPERVISOR, "sh"])
            .args([&dir, &bin])
            .args(unprivileged)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null()) // what reads the tests' own must not wait for the server
            .process_group(0) // so that a Ctrl-C does not end it before it has cleaned up
            .spawn()
            .expect("`sh` runs");
        let lifeline = supervisor.stdin.take().expect("standard input is piped");
        let mut says = BufReader::new(supervisor.stdout.take().expect("standard output is piped"));
        let mut first = String::new();
        says.read_line(&mut first).expect("the supervisor speaks UTF-8");
        if first.trim() != "ready" {
            let more: Vec<_> = says.lines().map_while(Result::ok).collect();
            panic!("PostgreSQL does not start: {first}{}", more.join("\n"));
        }
        Self { dir, _supervisor: supervisor, _lifeline: lifeline }
    }
}

/// Where Debian's package puts `initdb` and `postgres`: of the newest version that is installed.
fn programs() -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let number = |path: &Path| path.file_name()?.to_str()?.parse::<u32>().ok();
    versions
        .map(|entry| entry.path())
        .filter(|path| path.join("bin/initdb").exists() && path.join("bin/postgres").exists())
        .max_by_key(|path| number(path))
        .expect("every test of the store also runs on PostgreSQL, which is not installed: `apt-get install postgresql`")
        .join("bin")
}
