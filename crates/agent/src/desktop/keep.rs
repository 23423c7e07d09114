//! Bringing the parts up in their order, and up again.

use super::{BUS, DOOR, Desk, SCREEN, job_name, screen::Screen, stages::Part};
use crate::{
    agent::{Agent, say},
    job::Job,
    tree,
};
use polydev_proto::Signal;
use std::{rc::Rc, time::Duration};
use tokio::time::{Instant, sleep_until, timeout};
use x11rb::protocol::xproto::Window;

/// How long a program may take until it is up. A browser on a cold disk and a busy machine takes 30 s.
const UP_WITHIN: Duration = Duration::from_secs(60);

/// How long a program that has ended waits for its next start: at first, and at most. Each time is twice the last.
const PAUSE: Duration = Duration::from_millis(250);
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// A program that was up for so long has not come down because of how it was started.
const SOUND: Duration = Duration::from_secs(60);

/// How often in a row a part that the others need may end before it is up, or soon after.
const TRIES: u32 = 6;

/// For how long after it has appeared the browser may want the keys for itself.
const SETTLE: Duration = Duration::from_secs(3);

/// How much of a program's last words is told, and how much of its last lines is printed, in bytes.
const WORDS: usize = 200;
const LINES: usize = 2048;

const SIGKILL: i32 = 9;

/// Keeps the desktop up until a part of it has failed for good; then all of it ends, and that is told.
pub(super) async fn keep(agent: Rc<Agent>, desk: Rc<Desk>) {
    let part = |part| keep_part(&agent, &desk, part);
    let (failed, why) = tokio::select! {
        why = part(Part::Screen) => (Part::Screen, why),
        why = part(Part::Bus) => (Part::Bus, why),
        why = part(Part::WindowManager) => (Part::WindowManager, why),
        why = part(Part::Terminal) => (Part::Terminal, why),
        why = part(Part::Background) => (Part::Background, why),
        why = part(Part::Panel) => (Part::Panel, why),
        why = part(Part::Browser) => (Part::Browser, why),
        () = get_ready(&desk) => return,
        () = stay_large(&agent, &desk) => return,
    };
    desk.stages.failed(failed, &why);
    for other in Part::ALL.into_iter().filter(|other| *other != failed) {
        desk.stages.failed(other, &format!("{} has failed: {why}", failed.words()));
    }
    for part in Part::ALL {
        end(&agent, part.name()).await;
    }
}

/// Tells when a key that is pressed reaches the terminal. Never returns.
async fn get_ready(desk: &Desk) {
    desk.stages.turn(Part::Ready, &[Part::Terminal]).await;
    desk.stages.begins(Part::Ready, "the shell");
    let mut asked = desk.terminal_asked.subscribe();
    // The sender lives as long as this.
    let _ = asked.wait_for(|asked| *asked).await;
    desk.stages.done(Part::Ready);
    std::future::pending().await
}

impl Part {
    /// What must be up before its first start.
    fn after(self) -> &'static [Self] {
        match self {
            Self::Screen | Self::Bus => &[],
            Self::WindowManager => &[Self::Screen, Self::Bus],
            Self::Terminal => &[Self::WindowManager],
            Self::Background | Self::Panel | Self::Browser | Self::Ready => &[Self::Terminal],
        }
    }

    /// How often in a row it may fail; `None`: the desktop can be used without it.
    fn tries(self) -> Option<u32> {
        match self {
            Self::Screen => Some(1),
            Self::Bus | Self::WindowManager | Self::Terminal => Some(TRIES),
            Self::Background | Self::Panel | Self::Browser | Self::Ready => None,
        }
    }

    /// What tells that it is up.
    fn sign(self) -> &'static str {
        match self {
            Self::Screen => "the X server",
            Self::Bus => "its address",
            Self::WindowManager => "its announcement",
            Self::Terminal => "its window, maximised and active",
            Self::Background | Self::Panel | Self::Browser => "its window",
            Self::Ready => "the shell",
        }
    }
}

/// Keeps one part up. Returns why, when it has failed for good.
async fn keep_part(agent: &Agent, desk: &Desk, part: Part) -> String {
    desk.stages.turn(part, part.after()).await;
    let mut pause = PAUSE;
    let mut failures = 0;
    loop {
        desk.stages.begins(part, part.sign());
        let began = Instant::now();
        let End { why, was_left } = once(agent, desk, part).await;
        if (began.elapsed() >= SOUND || was_left) && part != Part::Screen {
            (pause, failures) = (PAUSE, 0);
        }
        failures += u32::from(!was_left);
        if part.tries() == Some(failures) {
            return why;
        }
        desk.stages.waits(part, format!("another start: {why}"));
        sleep_until(Instant::now() + pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

/// How a part's program came to its end.
struct End {
    why: String,
    /// It was up, and had no fault: somebody left a shell, or closed a window.
    was_left: bool,
}

impl From<String> for End {
    fn from(why: String) -> Self {
        Self { why, was_left: false }
    }
}

/// One life of a part's program.
async fn once(agent: &Agent, desk: &Desk, part: Part) -> End {
    // Held for as long as the browser may want the keys for itself, however that ends.
    let mut above = (part == Part::Browser).then(|| Above::hold(agent, desk)).flatten();
    let job = match desk.exec(agent, part.name(), argv(desk, part)) {
        Ok(job) => job,
        Err(error) => return error.message.into(),
    };
    let mut was_up = false;
    tokio::select! {
        biased;
        () = job.over() => {}
        up = timeout(UP_WITHIN, up(desk, part, &job)) => {
            if up.is_err() {
                end(agent, part.name()).await;
                let why = format!("no sign of it within {} s", UP_WITHIN.as_secs());
                say(&format!("{}: {why}: {}", part.words(), job.last_lines(LINES)));
                return why.into();
            }
            was_up = true;
            desk.stages.done(part);
            if part == Part::Browser {
                let mut asked = desk.page_asked.subscribe();
                tokio::select! {
                    biased;
                    () = job.over() => {}
                    // Somebody who asks for a page wants to see it.
                    _ = asked.wait_for(|asked| *asked) => {}
                    _ = timeout(SETTLE, stay_below(agent, desk, &job)) => {}
                }
                above.take();
            }
            job.over().await;
        }
    }
    // Nobody reads what these programs say, until somebody asks why.
    say(&format!("{}: {}", part.words(), ending_with(&job, &job.last_lines(LINES))));
    let is_well = matches!(job.exit.get(), Some(polydev_proto::Exit { code: Some(0), .. }));
    End { why: ending(&job), was_left: was_up && is_well }
}

/// How a program that is over has ended, and its last words.
pub(super) fn ending(job: &Job) -> String {
    ending_with(job, &job.last_words(WORDS))
}

fn ending_with(job: &Job, words: &str) -> String {
    let how = match job.exit.get() {
        Some(polydev_proto::Exit { code: Some(code), .. }) => format!("it ended with status {code}"),
        Some(polydev_proto::Exit { signal: Some(signal), .. }) => format!("it was ended by signal {signal}"),
        Some(_) | None => "it ended".to_owned(),
    };
    if words.is_empty() { how } else { format!("{how}: {words}") }
}

fn argv(desk: &Desk, part: Part) -> Vec<String> {
    let wanted = &desk.wanted;
    let and = |argv: &[String], more: &[&str]| -> Vec<String> {
        argv.iter().map(String::as_str).chain(more.iter().copied()).map(str::to_owned).collect()
    };
    match part {
        Part::Screen => {
            let size = format!("{}x{}", wanted.size.width, wanted.size.height);
            and(&wanted.screen, &["-displayfd", "1", "-geometry", &size, "-rfbunixpath", &desk.socket(SCREEN)])
        }
        Part::Bus => and(&wanted.bus, &[&format!("--address=unix:path={}", desk.socket(BUS)), "--print-address"]),
        Part::WindowManager => wanted.window_manager.clone(),
        Part::Terminal => {
            // Where the drivers put it; the same wherever this sandbox is.
            let agent = std::env::current_exe().map(|path| path.to_string_lossy().into_owned()).unwrap_or_default();
            let shell: Vec<&str> = wanted.shell.iter().map(String::as_str).collect();
            and(&and(&wanted.terminal, &[&agent, "greet", &desk.socket(DOOR)]), &shell)
        }
        Part::Background => wanted.background.clone(),
        Part::Panel => wanted.panel.clone(),
        Part::Browser => wanted.browser.clone(),
        Part::Ready => Vec::new(),
    }
}

/// Returns when a part's program is up.
async fn up(desk: &Desk, part: Part, job: &Job) {
    let pid = job.started.pid;
    match part {
        Part::Screen => {
            let display = format!(":{}", line(job).await.trim());
            desk.found.borrow_mut().insert("DISPLAY".to_owned(), display.clone());
            match Screen::watch(display) {
                Ok(screen) => drop(desk.screen.set(screen)),
                Err(_) => std::future::pending().await,
            }
        }
        Part::Bus => {
            let address = line(job).await;
            desk.found.borrow_mut().insert("DBUS_SESSION_BUS_ADDRESS".to_owned(), address);
        }
        Part::WindowManager => screen(desk).await.until(|seen| seen.managed.then_some(())).await,
        Part::Terminal => front(screen(desk).await, pid).await,
        Part::Background | Part::Panel | Part::Browser => {
            screen(desk).await.until(|seen| seen.window_of(pid)).await;
        }
        Part::Ready => {}
    }
}

/// The first line of what it says. Never, when it ends without one, which is seen elsewhere.
async fn line(job: &Job) -> String {
    match job.first_line().await {
        Some(line) => line,
        None => std::future::pending().await,
    }
}

async fn screen(desk: &Desk) -> &Screen {
    match desk.screen.get() {
        Some(screen) => screen,
        // Every part but these two comes after it.
        None => std::future::pending().await,
    }
}

/// Waits for a maximised window of the process, and sees to it that it has the keys.
async fn front(screen: &Screen, pid: i32) {
    let window = screen.until(|seen| seen.window_of(pid).filter(|window| window.maximized)).await.id;
    if screen.now().active != Some(window) {
        screen.activate(window);
    }
    screen.until(|seen| (seen.active == Some(window)).then_some(())).await;
}

/// Maximises the two windows again when the screen has another size: one that was smaller than Firefox may be has left
/// it as it was. Never returns.
async fn stay_large(agent: &Agent, desk: &Desk) {
    desk.stages.until_done(Part::WindowManager).await;
    let screen = screen(desk).await;
    let mut size = screen.now().size;
    loop {
        size = screen.until(|seen| (seen.size != size).then_some(seen.size)).await;
        for part in [Part::Terminal, Part::Browser] {
            if let Some(window) = desk.window_of(agent, part) {
                screen.maximize(window);
            }
        }
    }
}

/// The terminal is above all other windows for as long as this lives: a window that comes takes no keys from it.
struct Above<'a> {
    screen: &'a Screen,
    terminal: Window,
}

impl<'a> Above<'a> {
    /// `None` where there is no terminal just now.
    fn hold(agent: &Agent, desk: &'a Desk) -> Option<Self> {
        let (screen, terminal) = (desk.screen.get()?, desk.window_of(agent, Part::Terminal)?);
        screen.keep_above(terminal, true);
        Some(Self { screen, terminal })
    }
}

impl Drop for Above<'_> {
    fn drop(&mut self) {
        self.screen.keep_above(self.terminal, false);
    }
}

/// Gives the keys back to the terminal when the browser, which has just appeared, takes them. Never returns.
async fn stay_below(agent: &Agent, desk: &Desk, browser: &Job) {
    let Ok(terminal) = agent.jobs.get(&job_name(Part::Terminal.name())) else { return };
    let (browser, terminal) = (browser.started.pid, terminal.started.pid);
    let screen = screen(desk).await;
    // It was given no keys, and its button in the panel would be lit for that.
    if let Some(behind) = screen.now().window_of(browser) {
        screen.calm(behind.id);
    }
    // It may lie above without having the keys, too.
    if let Some(front) = screen.now().window_of(terminal) {
        screen.activate(front.id);
    }
    loop {
        let (taken, front) = screen
            .until(|seen| {
                let taken = seen.active.filter(|id| seen.windows.iter().any(|w| w.id == *id && w.is_of(browser)))?;
                Some((taken, seen.window_of(terminal)?.id))
            })
            .await;
        screen.activate(front);
        screen.until(|seen| (seen.active != Some(taken)).then_some(())).await;
    }
}

/// Ends one of its programs and all that that has started.
pub(super) async fn end(agent: &Agent, name: &str) {
    // One that never was has nothing to end.
    let _ = tree::signal(agent, &Signal { job: job_name(name), signal: SIGKILL, tree: true }).await;
}
