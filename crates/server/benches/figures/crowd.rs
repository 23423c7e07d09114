//! Many logins of one server whose desktops are this program: what a viewer costs the server, and nothing else.
//!
//! ```text
//!   viewer ═══ WebSocket ═══ server ─── agent.sock ─── this program: hello, ready, vnc: a source
//! ```
//! The server is the real one, with the driver `sim`. It finds what an earlier server of its data directory would have
//! left: logins that are ready, and for each a sandbox. What runs in that only waits for its input to end.

use crate::{
    Bench, ends,
    server::{NO_POOL, Server},
};
use anyhow::{Context, Result, bail, ensure};
use polydev_sandbox::proto::{
    AgentError, Answer, Channel, ErrorCode, HEADER_MAX, Hello, Open, Reply, Stage, VERSION, decode_message,
    encode_frame, encode_message,
};
use polydev_server::{
    api::listener,
    domain::{
        id,
        login::{Change, Login},
        people::{self, NewKey, Role},
    },
    store::{Store, logins::Opened, sqlite_url},
};
use secrecy::ExposeSecret;
use std::{
    fs,
    os::unix::{fs::DirBuilderExt, process::CommandExt},
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{UnixListener, UnixStream},
    sync::Semaphore,
    time::timeout,
};

/// As many logins may a person have open at a time.
const PROVIDERS: [&str; 3] = ["claude", "codex", "gemini"];
/// How long the server may take to find all of them.
const WITHIN: Duration = Duration::from_secs(120);
/// Logins last longer than all that is measured, milliseconds.
const TTL_MS: i64 = 60 * 60 * 1000;

/// A login, and the key of its person.
pub(crate) struct Place {
    pub(crate) login: String,
    pub(crate) key: String,
}

impl Place {
    /// The path of its screen's WebSocket.
    pub(crate) fn path(&self) -> String {
        format!("/api/v1/logins/{}/desktop?take=true", self.login)
    }
}

/// A server with so many logins.
pub(crate) struct Crowd {
    pub(crate) server: Server,
    pub(crate) places: Vec<Place>,
    waiting: Vec<Child>,
}

impl Crowd {
    pub(crate) async fn new(bench: &Bench, count: usize) -> Result<Self> {
        // A socket or three for each.
        listener::places();
        let standin = bench.standin.clone();
        let config = format!("{NO_POOL}\n[login]\nmax_concurrent = {}\n", count + 1);
        let mut server = tokio::task::spawn_blocking(move || {
            let mut server = Server::empty(&standin, &config, &[("POLYDEV__SANDBOX__DRIVER", "sim")]);
            server.stop();
            server
        })
        .await?;
        let mut waiting = Vec::new();
        let found = Arc::new(Semaphore::new(0));
        let sandboxes = server.data_dir().join("sandboxes/sim");
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&sandboxes)?;
        let data = server.data_dir();
        let places = logins(&data, count, |sandbox| {
            waiting.push(stand_in(&sandboxes.join(sandbox), &found)?);
            Ok(())
        });
        let places = places.await?;
        let server = tokio::task::spawn_blocking(move || {
            server.run();
            server
        })
        .await?;
        let crowd = Self { server, places, waiting };
        let all = timeout(WITHIN, found.acquire_many(u32::try_from(count)?)).await;
        all.with_context(|| format!("the server has not found its logins; its log:\n{}", crowd.server.log()))??
            .forget();
        Ok(crowd)
    }
}

impl Drop for Crowd {
    /// As in a crash: there is nothing to end well.
    fn drop(&mut self) {
        self.server.kill();
        for child in &mut self.waiting {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Writes so many logins that are ready into the database of a server that is off, each with a sandbox of its own.
async fn logins(data: &Path, count: usize, mut sandbox: impl FnMut(&str) -> Result<()>) -> Result<Vec<Place>> {
    let store = Store::open(&sqlite_url(&data.join("polydev.db"))).await?;
    let mut places = Vec::new();
    for n in 0..count.div_ceil(PROVIDERS.len()) {
        let (person, _) = people::create_user(&store, &format!("viewer{n}@example.com"), Role::Member).await?;
        let new = NewKey { name: None, scopes: None, expires_at: None };
        let (_, key) = people::create_key(&store, &person, new).await?;
        for provider in PROVIDERS.into_iter().take(count - places.len()) {
            let now = jiff::Timestamp::now().as_millisecond();
            let login = Login::new(id::new("lgn"), &person.id, provider, "", TTL_MS, now);
            let Opened::New(login) = store.open_login(&login, i64::MAX, |_| true).await? else {
                bail!("it is open already")
            };
            let id = id::new("sbx");
            sandbox(&id)?;
            for change in [Change::Take { sandbox: id }, Change::Ready { at: now }] {
                store.change_login(&login.id, &change, now).await?;
            }
            places.push(Place { login: login.id, key: key.expose_secret().to_owned() });
        }
    }
    store.close().await;
    ensure!(places.len() == count, "{} logins, and not {count}", places.len());
    Ok(places)
}

/// A sandbox's folder as the driver `sim` makes it, its agent this program, its process one that waits.
fn stand_in(folder: &Path, found: &Arc<Semaphore>) -> Result<Child> {
    let root = folder.join("root");
    fs::DirBuilder::new().mode(0o700).create(folder)?;
    fs::create_dir(&root)?;
    let listener = UnixListener::bind(folder.join("agent.sock"))?;
    let found = found.clone();
    tokio::spawn(async move {
        while let Ok((channel, _)) = listener.accept().await {
            let found = found.clone();
            // Whoever leaves has what they wanted.
            tokio::spawn(async move { answer(channel, &found).await });
        }
    });
    // The driver knows an agent by the end of its arguments.
    let mut waits = Command::new("sh");
    waits.args(["-c", "read -r _", "sh", "--root"]).arg(&root).stdin(Stdio::piped()).process_group(0);
    waits.spawn().context("a process that waits")
}

/// Answers as an agent does, and keeps the channel open.
async fn answer(mut channel: UnixStream, found: &Semaphore) -> Result<()> {
    let mut header = vec![0; 4];
    channel.read_exact(&mut header).await?;
    let length = u32::from_be_bytes([header[0], header[1], header[2], header[3]]) as usize;
    ensure!(length <= HEADER_MAX, "a header of {length} bytes");
    header.resize(4 + length, 0);
    channel.read_exact(&mut header[4..]).await?;
    let (open, _) = decode_message::<Open>(&header)?.context("a whole header")?;
    let reply = match &open.channel {
        Channel::Hello => Answer::Hello(Hello {
            version: VERSION,
            agent: "a stand-in".to_owned(),
            started_at: 0,
            proxy: "127.0.0.1:1".to_owned(),
        }),
        Channel::Ready | Channel::Vnc | Channel::Egress | Channel::Watch { .. } => Answer::Done,
        other => {
            let error = AgentError { code: ErrorCode::NotFound, message: format!("a stand-in does no {other:?}") };
            channel.write_all(&encode_message(&Reply::Error(error))?).await?;
            return Ok(());
        }
    };
    channel.write_all(&encode_message(&Reply::Ok(reply))?).await?;
    if matches!(open.channel, Channel::Vnc) {
        return Ok(ends::serve(channel).await?);
    }
    if matches!(open.channel, Channel::Ready) {
        let ready = Stage { name: Stage::READY.to_owned(), done: true, ..Stage::default() };
        channel.write_all(&encode_frame(&ready)?).await?;
        found.add_permits(1);
    }
    // Until the server leaves.
    channel.read_u8().await?;
    Ok(())
}
