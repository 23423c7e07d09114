//! What is on the screen, as X itself tells it.
//!
//! A thread of its own asks, because an X server that is held up by somebody in the sandbox must hold up nothing else:
//!
//! ```text
//!   X ── events ──► thread ── Seen (the latest alone) ──► whoever waits for something
//!   X ◄── requests ── thread ◄── Wish, and a byte that wakes it
//! ```
//! The thread ends when X does.

use rustix::{
    event::{PollFd, PollFlags, poll},
    io::Errno,
    pipe::{PipeFlags, pipe_with},
};
use std::{
    collections::HashMap,
    io,
    os::fd::{AsFd, OwnedFd},
    sync::mpsc,
    thread,
};
use tokio::sync::watch;
use x11rb::{
    connection::Connection,
    errors::ReplyOrIdError,
    protocol::xproto::{
        AtomEnum, ChangeWindowAttributesAux, ClientMessageEvent, ConnectionExt, EventMask, MapState, PropMode, Window,
    },
    rust_connection::RustConnection,
};

/// The most windows that are looked at. A desktop has five; more are a program's that wants to keep this busy.
const WINDOWS_MAX: u32 = 64;

/// The most states that are read of a window.
const STATES_MAX: u32 = 32;

/// Who asks for a change: a pager, whose wishes are a person's (EWMH, "source indication").
const PAGER: u32 = 2;

x11rb::atom_manager! {
    /// The names that window managers and programs agree on (EWMH).
    Atoms:
    AtomsCookie {
        _NET_ACTIVE_WINDOW,
        _NET_CLIENT_LIST,
        _NET_SUPPORTING_WM_CHECK,
        _NET_WM_PID,
        _NET_WM_STATE,
        _NET_WM_STATE_ABOVE,
        _NET_WM_STATE_DEMANDS_ATTENTION,
        _NET_WM_STATE_MAXIMIZED_HORZ,
        _NET_WM_STATE_MAXIMIZED_VERT,
        _POLYDEV_LOOK_UP,
    }
}

/// What is on the screen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    /// A window manager has announced itself, and lives.
    pub(crate) managed: bool,
    /// Pixels of the screen: width and height.
    pub(crate) size: (u16, u16),
    /// The window that keys go to.
    pub(crate) active: Option<Window>,
    /// The windows that the window manager manages, oldest first.
    pub(crate) windows: Vec<SeenWindow>,
}

/// One window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SeenWindow {
    pub(crate) id: Window,
    /// The process that says that it is its.
    pub(crate) pid: Option<u32>,
    /// It is mapped.
    pub(crate) visible: bool,
    pub(crate) maximized: bool,
}

impl Seen {
    /// The first visible window of a process.
    pub(crate) fn window_of(&self, pid: i32) -> Option<SeenWindow> {
        self.windows.iter().find(|window| window.is_of(pid) && window.visible).copied()
    }
}

impl SeenWindow {
    pub(crate) fn is_of(&self, pid: i32) -> bool {
        self.pid == Some(pid.cast_unsigned())
    }
}

/// What a window shall do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wish {
    Activate(Window),
    /// To be in a state, or not to be.
    State(Window, State, bool),
    LookUp,
}

/// What a window can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Maximized,
    Above,
    DemandsAttention,
}

/// The screen, watched.
#[derive(Debug)]
pub(crate) struct Screen {
    seen: watch::Receiver<Seen>,
    wishes: mpsc::Sender<Wish>,
    wake: OwnedFd,
}

impl Screen {
    /// Begins to watch a display (`:0`). What cannot be watched looks as if nothing were there.
    pub(crate) fn watch(display: String) -> io::Result<Self> {
        let (seen, latest) = watch::channel(Seen::default());
        let (wishes, asked) = mpsc::channel();
        let (woken, wake) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        thread::Builder::new().name("screen".to_owned()).spawn(move || {
            if let Ok(mut watcher) = Watcher::new(&display, seen, asked, woken) {
                // It ends with the connection, whose end is the screen's, and that is seen elsewhere.
                let _ = watcher.run();
            }
        })?;
        Ok(Self { seen: latest, wishes, wake })
    }

    /// What is there now.
    pub(crate) fn now(&self) -> Seen {
        self.seen.borrow().clone()
    }

    /// Waits until something looks so. Never, when the screen has ended.
    pub(crate) async fn until<T>(&self, mut looks: impl FnMut(&Seen) -> Option<T>) -> T {
        let mut seen = self.seen.clone();
        loop {
            let found = looks(&seen.borrow_and_update());
            if let Some(found) = found {
                return found;
            }
            if seen.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }

    /// Raises a window and gives it the keys.
    pub(crate) fn activate(&self, window: Window) {
        self.wish(Wish::Activate(window));
    }

    /// Gives a window all the room that there is.
    pub(crate) fn maximize(&self, window: Window) {
        self.wish(Wish::State(window, State::Maximized, true));
    }

    /// Has a window lie above all others, or no longer. While it has the keys there, a window that comes is given none.
    pub(crate) fn keep_above(&self, window: Window, above: bool) {
        self.wish(Wish::State(window, State::Above, above));
    }

    /// Ends the call for attention that the window manager made for a window, because it was given no keys.
    pub(crate) fn calm(&self, window: Window) {
        self.wish(Wish::State(window, State::DemandsAttention, false));
    }

    /// Has every program that watches the screen look at its own clock: while a sandbox stands still, so does what a
    /// program has left to wait (`man 2 ppoll`), and the panel would tell an old time for up to a minute.
    pub(crate) fn look_up(&self) {
        self.wish(Wish::LookUp);
    }

    fn wish(&self, wish: Wish) {
        // A watcher that is gone has no screen to do it on; a full pipe wakes it all the same.
        let _ = self.wishes.send(wish);
        let _ = rustix::io::write(&self.wake, &[1]);
    }
}

struct Watcher {
    x: RustConnection,
    root: Window,
    atoms: Atoms,
    seen: watch::Sender<Seen>,
    wishes: mpsc::Receiver<Wish>,
    woken: OwnedFd,
    /// The windows whose events are asked for, and their processes.
    known: HashMap<Window, Option<u32>>,
}

type Answer<T> = Result<T, ReplyOrIdError>;

impl Watcher {
    fn new(
        display: &str,
        seen: watch::Sender<Seen>,
        wishes: mpsc::Receiver<Wish>,
        woken: OwnedFd,
    ) -> Result<Self, Box<dyn std::error::Error>> {
        let (x, screen) = RustConnection::connect(Some(display))?;
        let root = x.setup().roots[screen].root;
        let atoms = Atoms::new(&x)?.reply()?;
        let mask = EventMask::PROPERTY_CHANGE | EventMask::STRUCTURE_NOTIFY;
        x.change_window_attributes(root, &ChangeWindowAttributesAux::new().event_mask(mask))?;
        Ok(Self { x, root, atoms, seen, wishes, woken, known: HashMap::new() })
    }

    fn run(&mut self) -> Result<(), Box<dyn std::error::Error>> {
        loop {
            let seen = self.look()?;
            self.seen.send_if_modified(|last| {
                let changed = *last != seen;
                *last = seen;
                changed
            });
            self.wait()?;
        }
    }

    /// Waits for events of X, and grants wishes meanwhile.
    fn wait(&self) -> Result<(), Box<dyn std::error::Error>> {
        let mut events = false;
        loop {
            while self.x.poll_for_event()?.is_some() {
                events = true;
            }
            if events {
                return Ok(());
            }
            while let Ok(wish) = self.wishes.try_recv() {
                self.grant(wish)?;
            }
            self.x.flush()?;
            let mut fds = [
                PollFd::from_borrowed_fd(self.x.stream().as_fd(), PollFlags::IN),
                PollFd::new(&self.woken, PollFlags::IN),
            ];
            match poll(&mut fds, None) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            // At its end, the desktop is given up.
            if let Ok(0) = rustix::io::read(&self.woken, &mut [0; 64]) {
                return Err(io::Error::from(io::ErrorKind::BrokenPipe).into());
            }
        }
    }

    fn grant(&self, wish: Wish) -> Answer<()> {
        let atoms = &self.atoms;
        let now = 0;
        let event = match wish {
            Wish::Activate(window) => {
                ClientMessageEvent::new(32, window, atoms._NET_ACTIVE_WINDOW, [PAGER, now, 0, 0, 0])
            }
            Wish::State(window, state, on) => {
                let (first, second) = match state {
                    State::Maximized => (atoms._NET_WM_STATE_MAXIMIZED_HORZ, atoms._NET_WM_STATE_MAXIMIZED_VERT),
                    State::Above => (atoms._NET_WM_STATE_ABOVE, x11rb::NONE),
                    State::DemandsAttention => (atoms._NET_WM_STATE_DEMANDS_ATTENTION, x11rb::NONE),
                };
                ClientMessageEvent::new(32, window, atoms._NET_WM_STATE, [on.into(), first, second, PAGER, 0])
            }
            Wish::LookUp => {
                // Nothing is added, which is a change all the same.
                let (none, bits) = (&[], 8);
                self.x.change_property(
                    PropMode::APPEND,
                    self.root,
                    atoms._POLYDEV_LOOK_UP,
                    AtomEnum::STRING,
                    bits,
                    0,
                    none,
                )?;
                return Ok(());
            }
        };
        let to = EventMask::SUBSTRUCTURE_REDIRECT | EventMask::SUBSTRUCTURE_NOTIFY;
        self.x.send_event(false, self.root, to, event)?;
        Ok(())
    }

    fn look(&mut self) -> Answer<Seen> {
        let managed = self.manager()?;
        let size = self.x.get_geometry(self.root)?.reply_unchecked()?.map_or((0, 0), |told| (told.width, told.height));
        let active = self.windows(self.root, self.atoms._NET_ACTIVE_WINDOW, 1)?.first().copied();
        let ids = self.windows(self.root, self.atoms._NET_CLIENT_LIST, WINDOWS_MAX)?;
        self.known.retain(|id, _| ids.contains(id));
        for id in &ids {
            if !self.known.contains_key(id) {
                let mask = EventMask::STRUCTURE_NOTIFY | EventMask::PROPERTY_CHANGE;
                self.x.change_window_attributes(*id, &ChangeWindowAttributesAux::new().event_mask(mask))?;
                let pid = self.numbers(*id, self.atoms._NET_WM_PID, AtomEnum::CARDINAL, 1)?.first().copied();
                self.known.insert(*id, pid);
            }
        }
        let windows = ids.into_iter().map(|id| self.window(id)).collect::<Answer<_>>()?;
        Ok(Seen { managed, size, active: active.filter(|id| *id != x11rb::NONE), windows })
    }

    /// Whether a window manager lives: its window tells of itself, as the root does (EWMH).
    fn manager(&self) -> Answer<bool> {
        let check = self.atoms._NET_SUPPORTING_WM_CHECK;
        let Some(window) = self.windows(self.root, check, 1)?.first().copied() else { return Ok(false) };
        Ok(self.windows(window, check, 1)?.first() == Some(&window))
    }

    fn window(&self, id: Window) -> Answer<SeenWindow> {
        let attributes = self.x.get_window_attributes(id)?;
        let states = self.numbers(id, self.atoms._NET_WM_STATE, AtomEnum::ATOM, STATES_MAX)?;
        // A window that is gone is not visible: the next event tells of its end.
        let visible = attributes.reply_unchecked()?.is_some_and(|told| told.map_state == MapState::VIEWABLE);
        let maximized = [self.atoms._NET_WM_STATE_MAXIMIZED_HORZ, self.atoms._NET_WM_STATE_MAXIMIZED_VERT];
        let maximized = maximized.iter().all(|state| states.contains(state));
        Ok(SeenWindow { id, pid: self.known.get(&id).copied().flatten(), visible, maximized })
    }

    fn windows(&self, of: Window, name: u32, max: u32) -> Answer<Vec<Window>> {
        self.numbers(of, name, AtomEnum::WINDOW, max)
    }

    /// The numbers that a property holds; none when there is no such property or window.
    fn numbers(&self, of: Window, name: u32, kind: AtomEnum, max: u32) -> Answer<Vec<u32>> {
        let reply = self.x.get_property(false, of, name, kind, 0, max)?.reply_unchecked()?;
        Ok(reply.and_then(|reply| Some(reply.value32()?.collect())).unwrap_or_default())
    }
}
