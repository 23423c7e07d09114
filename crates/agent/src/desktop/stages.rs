//! How far the desktop is: what is told to the host.

use crate::{agent::now, channel::frame, listen::Stream, refuse::Ended};
use polydev_proto::Stage;
use std::cell::RefCell;
use tokio::{io::AsyncReadExt, sync::watch, time::Instant};

/// A part of the desktop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    Screen,
    Bus,
    WindowManager,
    Terminal,
    Background,
    Panel,
    Browser,
    Ready,
}

impl Part {
    /// Every part, in the order of this type.
    pub(crate) const ALL: [Self; 8] = [
        Self::Screen,
        Self::Bus,
        Self::WindowManager,
        Self::Terminal,
        Self::Background,
        Self::Panel,
        Self::Browser,
        Self::Ready,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Screen => "screen",
            Self::Bus => "bus",
            Self::WindowManager => "window_manager",
            Self::Terminal => "terminal",
            Self::Background => "background",
            Self::Panel => "panel",
            Self::Browser => Stage::BROWSER,
            Self::Ready => Stage::READY,
        }
    }

    /// What it is called in a sentence.
    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::Screen => "the screen",
            Self::Bus => "the session bus",
            Self::WindowManager => "the window manager",
            Self::Terminal => "the terminal",
            Self::Background => "the background",
            Self::Panel => "the panel",
            Self::Browser => "the browser",
            Self::Ready => "the desktop",
        }
    }
}

/// The stages of one desktop.
#[derive(Debug)]
pub(crate) struct Stages {
    all: RefCell<[Entry; Part::ALL.len()]>,
    /// Counts the changes.
    changes: watch::Sender<u64>,
}

#[derive(Debug)]
struct Entry {
    stage: Stage,
    began: Option<Instant>,
    /// The change that it last had.
    change: u64,
}

impl Stages {
    pub(crate) fn new() -> Self {
        let entry = |part: Part| Entry {
            stage: Stage { name: part.name().to_owned(), ..Stage::default() },
            began: None,
            change: 1,
        };
        Self { all: RefCell::new(Part::ALL.map(entry)), changes: watch::Sender::new(1) }
    }

    /// It waits for its turn: until these are done.
    pub(crate) async fn turn(&self, part: Part, after: &[Part]) {
        for other in after {
            if !self.is_done(*other) {
                self.change(part, |entry| entry.stage.waiting_for = Some(other.words().to_owned()));
                self.until_done(*other).await;
            }
        }
    }

    /// It begins, again if it was done, and waits for this.
    pub(crate) fn begins(&self, part: Part, waiting_for: &str) {
        self.change(part, |entry| {
            entry.began = Some(Instant::now());
            entry.stage = Stage {
                name: part.name().to_owned(),
                waiting_for: Some(waiting_for.to_owned()),
                started_at: Some(now()),
                ..Stage::default()
            };
        });
    }

    /// It waits for something else now, and is not done.
    pub(crate) fn waits(&self, part: Part, waiting_for: String) {
        self.change(part, |entry| {
            entry.stage.done = false;
            entry.stage.took_ms = None;
            entry.stage.waiting_for = Some(waiting_for);
        });
    }

    pub(crate) fn done(&self, part: Part) {
        self.change(part, |entry| {
            entry.stage.done = true;
            entry.stage.waiting_for = None;
            entry.stage.took_ms = entry.began.map(|began| began.elapsed().as_millis() as u64);
        });
    }

    /// It will never be done, nor stay so.
    pub(crate) fn failed(&self, part: Part, why: &str) {
        self.change(part, |entry| {
            entry.stage.done = false;
            entry.stage.took_ms = None;
            entry.stage.waiting_for = None;
            entry.stage.failed = Some(why.to_owned());
        });
    }

    pub(crate) fn is_done(&self, part: Part) -> bool {
        self.all.borrow()[part as usize].stage.done
    }

    pub(crate) async fn until_done(&self, part: Part) {
        let mut changes = self.changes.subscribe();
        while !self.is_done(part) {
            // The sender lives as long as this.
            let _ = changes.changed().await;
        }
    }

    fn change(&self, part: Part, change: impl FnOnce(&mut Entry)) {
        let count = *self.changes.borrow() + 1;
        let mut all = self.all.borrow_mut();
        let entry = &mut all[part as usize];
        entry.change = count;
        change(entry);
        drop(all);
        self.changes.send_replace(count);
    }

    /// Tells the host every stage, and each again when it changes. A host that is slow is told less often.
    pub(crate) async fn tell(&self, stream: &mut Stream) -> Result<(), Ended> {
        let mut changes = self.changes.subscribe();
        let mut told = 0;
        let mut said = [0; 1];
        loop {
            let now = *changes.borrow_and_update();
            let news: Vec<Stage> =
                self.all.borrow().iter().filter(|entry| entry.change > told).map(|entry| entry.stage.clone()).collect();
            for stage in &news {
                frame(stream, stage).await?;
            }
            told = now;
            tokio::select! {
                _ = changes.changed() => {}
                // The host has nothing to say on this channel: it closes, or does not keep to the contract.
                _ = stream.read(&mut said) => return Ok(()),
            }
        }
    }
}
