//! The real server, as an operator starts it: its own process, a data
//! directory of its own, the stand-in behind `egress.upstream_proxy`.

use polydev_standin::Standin;
use std::{
    fs,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::mpsc,
    time::Duration,
};
use tempfile::TempDir;

/// A key that the stand-in takes, by provider.
pub(crate) fn good_key(provider: &str) -> &'static str {
    match provider {
        "claude" => "sk-ant-standin-test",
        "codex" => "sk-standin-test",
        "gemini" => "AIzaStandinTest",
        other => panic!("no key for {other}"),
    }
}

/// Where the cli image lies: built by `make image`.
pub(crate) fn images() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/images");
    let dir = std::env::var_os("POLYDEV__IMAGE__DIR").map_or(here, PathBuf::from);
    assert!(dir.join("cli.json").exists(), "no cli image in {}: run `make image` first", dir.display());
    dir.canonicalize().unwrap()
}

/// No warm sandboxes, for a test that looks at every sandbox there is.
pub(crate) const NO_POOL: &str = "[pool]\ncli = 0\ndesktop = 0\n";

/// A test asks as much as it likes, unless it looks at the limits; and no desktop is made ahead, unless it looks at
/// that: each takes a processor for seconds.
const NO_LIMITS: [(&str, &str); 9] = [
    ("POLYDEV__POOL__DESKTOP", "0"),
    ("POLYDEV__LIMITS__KEY_PER_S", "0"),
    ("POLYDEV__LIMITS__PERSON_PER_S", "0"),
    ("POLYDEV__LIMITS__CHANGES_PER_S", "0"),
    ("POLYDEV__LIMITS__ADDRESS_PER_S", "0"),
    ("POLYDEV__LIMITS__REFUSED_PER_MIN", "0"),
    ("POLYDEV__LIMITS__PERSON_STREAMS", "0"),
    ("POLYDEV__LIMITS__ADDRESS_STREAMS", "0"),
    ("POLYDEV__LIMITS__ADDRESS_CONNECTIONS", "0"),
];

/// A running server.
pub(crate) struct Server {
    dir: TempDir,
    child: Option<Child>,
    client: reqwest::Client,
    /// Another place for images than the configuration's.
    pub(crate) images: Option<PathBuf>,
    /// More variables, for the next process and all commands.
    pub(crate) env: Vec<(&'static str, String)>,
    /// Where it listens.
    pub(crate) url: String,
    /// A key with every scope but `admin`, once [`Server::person`] has made one.
    pub(crate) key: String,
}

impl Server {
    /// Starts one with the stand-in behind it, and makes a person with a key.
    pub(crate) fn start(standin: &Standin) -> Self {
        Self::start_with(standin, "")
    }

    /// The same with more lines of configuration.
    pub(crate) fn start_with(standin: &Standin, more: &str) -> Self {
        let mut server = Self::empty(standin, more, &[]);
        server.key = server.person("one@example.com");
        server
    }

    /// The same with these variables too, and without a person.
    pub(crate) fn empty(standin: &Standin, more: &str, env: &[(&'static str, &'static str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::write(
            dir.path().join("polydev.toml"),
            format!(
                "[server]\nlisten = \"127.0.0.1:0\"\ndata_dir = {:?}\ndrain_s = 1\n\n[log]\nformat = \"json\"\n\n\
                 [image]\ndir = {:?}\n\n[egress]\nupstream_proxy = {:?}\n\n[sandbox]\nca_file = {:?}\n\n{more}",
                dir.path().join("data"),
                images(),
                standin.proxy_url(),
                standin.ca_file(),
            ),
        )
        .unwrap();
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let mut server =
            Self { dir, child: None, client, images: None, env: Vec::new(), url: String::new(), key: String::new() };
        server.env = env.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        server.run();
        server
    }

    /// Starts the process, and waits until it says where it listens.
    pub(crate) fn run(&mut self) {
        let mut child = self.command(&["serve"]).stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let log = BufReader::new(child.stderr.take().unwrap());
        let mut file = fs::OpenOptions::new().create(true).append(true).open(self.log_file()).unwrap();
        let (tell, told) = mpsc::channel();
        std::thread::spawn(move || {
            for line in log.lines().map_while(Result::ok) {
                let _ = writeln!(file, "{line}");
                let json: serde_json::Value = serde_json::from_str(&line).unwrap_or_default();
                if let Some(address) = json["address"].as_str() {
                    let _ = tell.send(format!("http://{address}"));
                }
            }
        });
        self.child = Some(child);
        self.url = told
            .recv_timeout(Duration::from_secs(60))
            .unwrap_or_else(|_| panic!("the server did not start:\n{}", self.log()));
    }

    fn log_file(&self) -> PathBuf {
        self.dir.path().join("server.log")
    }

    /// All that it has logged.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    /// The lines of its log that say this.
    pub(crate) fn logged(&self, message: &str) -> Vec<serde_json::Value> {
        let log = self.log();
        let lines = log.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
        lines.filter(|line| line["message"] == message).collect()
    }

    /// The warm sandboxes that it has made so far, in their order.
    pub(crate) fn made(&self) -> Vec<String> {
        let lines = self.logged("a warm sandbox is ready");
        lines.iter().map(|line| line["sandbox"].as_str().unwrap().to_owned()).collect()
    }

    /// Its data directory.
    pub(crate) fn data_dir(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.as_ref().expect("it runs").id()
    }

    /// Ends it as a crash does.
    pub(crate) fn kill(&mut self) {
        let mut child = self.child.take().expect("it runs");
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Ends it as an operator does, and tells its exit status.
    pub(crate) fn stop(&mut self) -> Option<i32> {
        Command::new("kill").arg(self.pid().to_string()).status().unwrap();
        let mut child = self.child.take().expect("it runs");
        child.wait().unwrap().code()
    }

    /// Stops it: its exit status, and what it left.
    pub(crate) fn stop_and_left(mut self) -> (Option<i32>, Vec<String>) {
        let status = self.stop();
        (status, self.sandboxes())
    }

    /// The command line of this server, with its key.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_polydev"));
        command
            .args(args)
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("HOME", self.dir.path())
            .env("POLYDEV_CONFIG", self.dir.path().join("polydev.toml"))
            .env("POLYDEV_URL", &self.url);
        command.envs(NO_LIMITS);
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        if let Some(images) = &self.images {
            command.env("POLYDEV__IMAGE__DIR", images);
        }
        if !self.key.is_empty() {
            command.env("POLYDEV_API_KEY", &self.key);
        }
        command
    }

    /// Runs a command to its end.
    pub(crate) fn polydev(&self, args: &[&str]) -> Output {
        self.command(args).stdin(Stdio::null()).output().unwrap()
    }

    /// Runs a command to its end with this on its standard input.
    pub(crate) fn polydev_with(&self, args: &[&str], stdin: &str) -> Output {
        let mut child =
            self.command(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // A command that does not read its input has closed it.
        let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
        child.wait_with_output().unwrap()
    }

    /// Makes a person and a key for them.
    pub(crate) fn person(&self, email: &str) -> String {
        let made = self.polydev(&["user", "create", email]);
        assert!(made.status.success(), "{}", text(&made.stderr));
        let key = self.polydev(&["key", "create", "--user", email]);
        assert!(key.status.success(), "{}", text(&key.stderr));
        text(&key.stdout).trim().to_owned()
    }

    /// Makes a key with every scope for a person who is an admin.
    pub(crate) fn whole_key(&self, email: &str) -> String {
        let mut args = vec!["key", "create", "--user", email];
        for scope in ["runs:read", "runs:write", "connections", "logins", "admin"] {
            args.extend(["--scope", scope]);
        }
        let key = self.polydev(&args);
        assert!(key.status.success(), "{}", text(&key.stderr));
        text(&key.stdout).trim().to_owned()
    }

    /// Connects a provider with a key that the stand-in takes.
    pub(crate) fn connect(&self, provider: &str) {
        let out = self.polydev_with(&["connect", provider, "--api-key-stdin"], &format!("{}\n", good_key(provider)));
        assert!(out.status.success(), "{}\n{}", text(&out.stderr), self.log());
    }

    /// A request to a path under `/api/v1`, with the key.
    pub(crate) fn request(&self, method: reqwest::Method, path: &str) -> reqwest::RequestBuilder {
        self.request_as(&self.key, method, path)
    }

    /// The same with another's key.
    pub(crate) fn request_as(&self, key: &str, method: reqwest::Method, path: &str) -> reqwest::RequestBuilder {
        self.client.request(method, format!("{}/api/v1{path}", self.url)).bearer_auth(key)
    }

    /// The ids of the sandboxes that have anything left on this host: state, processes, cgroups.
    pub(crate) fn sandboxes(&self) -> Vec<String> {
        let names = |dir: &Path| {
            let entries = fs::read_dir(dir).into_iter().flatten().flatten();
            entries
                .filter_map(|entry| entry.file_name().into_string().ok())
                .filter(|name| name.starts_with("sbx_"))
                .collect::<Vec<_>>()
        };
        names(&self.data_dir().join("sandboxes/oci"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.child.is_some() {
            self.stop();
        }
        if std::thread::panicking() {
            let log = self.log();
            let tail: Vec<&str> = log.lines().rev().take(40).collect();
            eprintln!("the server's log ends:\n{}", tail.into_iter().rev().collect::<Vec<_>>().join("\n"));
        }
    }
}

/// Bytes as text.
pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The newest of what was done, of a page of the record. What a server finds of its host is there too, whenever it has
/// looked.
pub(crate) fn deeds(record: &serde_json::Value) -> Vec<serde_json::Value> {
    let own = |entry: &&serde_json::Value| !entry["action"].as_str().unwrap().starts_with("finding.");
    record["items"].as_array().unwrap().iter().filter(own).cloned().collect()
}
