//! The desktop: programs that are started in their order, each when what it needs says that it is up, and again
//! when they end.
//!
//! ```text
//!   screen ─┐                                          greeter in the terminal ─┐
//!   bus ────┴► window manager ─► terminal: maximised, active ───────────────────┴► ready
//!                                   └─► background, panel, browser: visible
//! ```
//! Who knows X but no provider, and no toolkit, is here; which programs they are, the host says.

mod door;
pub(crate) mod inside;
mod keep;
mod screen;
mod stages;

use crate::{
    agent::Agent,
    carry::carry,
    channel::answer,
    job::Job,
    listen::Stream,
    refuse::{Ended, refuse},
    watch as files,
};
use keep::{end, ending, keep};
use polydev_proto::{AgentError, Answer, Desktop, ErrorCode, Exec, GREETING_MAX, Overflow, Ring};
use screen::Screen;
use stages::{Part, Stages};
use std::{
    cell::{OnceCell, RefCell},
    collections::BTreeMap,
    fs::DirBuilder,
    io,
    os::unix::fs::DirBuilderExt,
    path::PathBuf,
    rc::Rc,
    time::Duration,
};
use tokio::{
    net::{UnixListener, UnixStream},
    sync::{Mutex, watch},
    task::spawn_local,
    time::{Instant, timeout_at},
};

/// Pixels of the smallest and the largest screen, each way.
const SIDE: std::ops::RangeInclusive<u16> = 64..=8192;

/// The longest path of the folder for sockets: an address has room for 107 bytes (`man 7 unix`).
const RUNTIME_DIR_MAX: usize = 90;

/// What is kept of the output of each of its programs, in bytes.
const OUTPUT: Ring = Ring { capacity: 16 * 1024, overflow: Overflow::DropOldest };

/// The most of a viewer's bytes that is copied at once, so that nobody waits behind much of it.
const CHUNK: usize = 16 * 1024;

/// How long the browser may take to be there, and to take a page's address.
const OPEN_WITHIN: Duration = Duration::from_secs(60);

/// The desktop that was asked for.
#[derive(Debug)]
pub(crate) struct Desk {
    wanted: Desktop,
    /// Where its sockets are.
    folder: PathBuf,
    pub(crate) stages: Stages,
    /// What to say in terminals, once the host has said it.
    greeting: watch::Sender<Option<String>>,
    /// Whether the agent has begun in a terminal: what is typed there reaches it, or the shell after it.
    terminal_asked: watch::Sender<bool>,
    /// What its programs find each other by.
    found: RefCell<BTreeMap<String, String>>,
    screen: OnceCell<Screen>,
    /// One page at a time is opened.
    opening: Mutex<()>,
    /// Whether somebody has asked the browser that runs for a page.
    page_asked: watch::Sender<bool>,
}

/// Starts the desktop. It goes on by itself.
pub(crate) fn start(agent: &Rc<Agent>, wanted: Desktop) -> Result<(), AgentError> {
    if agent.desk.get().is_some() {
        return Err(refuse(ErrorCode::Exists, "there is a desktop already"));
    }
    check(&wanted)?;
    let folder = agent.root.resolve_file(&wanted.runtime_dir)?;
    let io = |e: io::Error| refuse(ErrorCode::Io, format!("`{}`: {e}", wanted.runtime_dir));
    DirBuilder::new().recursive(true).mode(0o700).create(&folder).map_err(io)?;
    let text = folder.to_str().filter(|path| path.len() <= RUNTIME_DIR_MAX);
    let text = text.ok_or_else(|| refuse(ErrorCode::Invalid, "the path of the folder for sockets is too long"))?;
    let found = BTreeMap::from([("XDG_RUNTIME_DIR".to_owned(), text.to_owned())]);
    let listener = UnixListener::bind(folder.join(DOOR)).map_err(io)?;
    let desk = Rc::new(Desk {
        wanted,
        folder,
        stages: Stages::new(),
        greeting: watch::Sender::new(None),
        terminal_asked: watch::Sender::new(false),
        found: RefCell::new(found),
        screen: OnceCell::new(),
        opening: Mutex::new(()),
        page_asked: watch::Sender::new(false),
    });
    // Looked at above, in the same turn of this thread.
    let _ = agent.desk.set(desk.clone());
    spawn_local(door::serve(agent.clone(), desk.clone(), listener));
    spawn_local(keep(agent.clone(), desk));
    Ok(())
}

/// The job that opens a page.
const OPEN: &str = "open";

/// The names of its sockets.
const DOOR: &str = "polydev";
const SCREEN: &str = "screen";
const BUS: &str = "bus";

fn check(wanted: &Desktop) -> Result<(), AgentError> {
    let invalid = |why| Err(refuse(ErrorCode::Invalid, why));
    let Desktop { screen, bus, window_manager, terminal, shell, panel, background, browser, open, .. } = wanted;
    if [screen, bus, window_manager, terminal, shell, panel, background, browser, open].iter().any(|p| p.is_empty()) {
        return invalid("a program of the desktop is not named");
    }
    if !SIDE.contains(&wanted.size.width) || !SIDE.contains(&wanted.size.height) {
        return invalid("a screen has 64 to 8192 pixels each way");
    }
    Ok(())
}

/// The desktop, or a refusal.
pub(crate) fn of(agent: &Agent) -> Result<&Rc<Desk>, AgentError> {
    agent.desk.get().ok_or_else(|| refuse(ErrorCode::NotFound, "there is no desktop"))
}

impl Desk {
    /// Says this in every terminal, those that wait and those to come.
    pub(crate) fn greet(&self, text: String) -> Result<(), AgentError> {
        if text.len() > GREETING_MAX {
            let message = format!("a greeting of {} bytes, at most {GREETING_MAX} are allowed", text.len());
            return Err(refuse(ErrorCode::TooLarge, message));
        }
        self.greeting.send_replace(Some(text));
        // It may have been made long ago, and have slept since.
        if let Some(screen) = self.screen.get() {
            screen.look_up();
        }
        Ok(())
    }

    /// Carries the bytes of one viewer.
    pub(crate) async fn view(&self, viewer: &mut Stream) -> Result<(), Ended> {
        if !self.stages.is_done(Part::Screen) {
            return Err(refuse(ErrorCode::NotFound, "the desktop's screen is not up").into());
        }
        let screen = UnixStream::connect(self.folder.join(SCREEN)).await;
        let mut screen = screen.map_err(|e| refuse(ErrorCode::Io, format!("the desktop's screen: {e}")))?;
        answer(viewer, Answer::Done).await?;
        Ok(carry(viewer, screen.split(), CHUNK).await?)
    }

    /// Shows a page in the browser, above all else. What went wrong is for whoever asked.
    async fn open(&self, agent: &Agent, address: &str) -> Result<(), String> {
        if address.is_empty() || address.starts_with('-') {
            return Err(format!("`{address}` is not an address\n"));
        }
        let until = Instant::now() + OPEN_WITHIN;
        let late = || "the browser does not answer\n".to_owned();
        let _one = timeout_at(until, self.opening.lock()).await.map_err(|_| late())?;
        self.page_asked.send_replace(true);
        timeout_at(until, self.stages.until_done(Part::Browser)).await.map_err(|_| late())?;
        if let Some(rule) = self.wanted.takes_pages.clone() {
            let taking = timeout_at(until, files::until(&agent.root, rule)).await.map_err(|_| late())?;
            taking.map_err(|e| format!("{}\n", e.message))?;
        }
        let argv = self.wanted.open.iter().cloned().chain([address.to_owned()]).collect();
        let job = self.exec(agent, OPEN, argv).map_err(|e| format!("{}\n", e.message))?;
        if timeout_at(until, job.over()).await.is_err() {
            // It would be in the way of the next page.
            end(agent, OPEN).await;
            return Err(late());
        }
        if job.exit.get().is_none_or(|exit| exit.code != Some(0)) {
            return Err(format!("the browser did not take the page: {}\n", ending(&job)));
        }
        if let Some(browser) = self.window_of(agent, Part::Browser) {
            self.screen()?.activate(browser);
        }
        Ok(())
    }

    fn screen(&self) -> Result<&Screen, String> {
        self.screen.get().ok_or_else(|| "there is no screen\n".to_owned())
    }

    /// The visible window of a part's program.
    fn window_of(&self, agent: &Agent, part: Part) -> Option<u32> {
        let job = agent.jobs.get(&job_name(part.name())).ok()?;
        Some(self.screen.get()?.now().window_of(job.started.pid)?.id)
    }

    /// Starts one of its programs.
    fn exec(&self, agent: &Agent, name: &str, argv: Vec<String>) -> Result<Rc<Job>, AgentError> {
        let name = job_name(name);
        agent.jobs.forget(&name);
        let mut env = self.wanted.env.clone();
        env.extend(self.found.borrow().clone());
        let exec = Exec {
            job: name.clone(),
            argv,
            env,
            cwd: self.wanted.cwd.clone(),
            stdin: false,
            pty: None,
            stdout: OUTPUT,
            stderr: OUTPUT,
        };
        agent.jobs.exec(&agent.root, exec)?;
        agent.jobs.get(&name)
    }

    fn socket(&self, name: &str) -> String {
        // A path of this contract is text, and so is what it resolves to.
        self.folder.join(name).to_string_lossy().into_owned()
    }
}

fn job_name(of: &str) -> String {
    format!("desktop.{of}")
}
