//! A login: a desktop, open for minutes, in which somebody signs in at a provider.
//!
//! ```text
//!               take                ready             found               proven
//!   requested ────────► preparing ─────────► ready ──────────► verifying ────────► connected
//!     │  ◄───────────────┤                    │  ◄──────────────┤
//!     │      put back    │                    │    not proven   │
//!     ├──── fail ────────┼────────────────────┼─────────────────┼────────────────► failed
//!     ├──── expire ──────┼────────────────────┴────── asked ────┤      (deadline)► expired
//!     └──── cancel ──────┴──────────────────────────────────────┴────────────────► cancelled
//!
//!   stages    allocating ─► starting ─► desktop ─► ready     one after the other, the first while it is requested
//!   deadline  `login.ttl_s` after it was asked for; extended by 300 s at a time, to 3600 s at most
//! ```
//! What was found is looked at to the end: a login does not expire while it is verified, unless it waits for an
//! answer: another account than the one that is connected is asked about. Who signs in anew takes the question back.
//! What nobody has said no to is `ready` again too, until it is looked at again; what its person agreed to stays agreed.
//! It is put back when its server was stopped before its sandbox was made. The wish to cancel is a column of the row,
//! as a run's is. While there is a desktop, its person may ask for a page to open in a browser of their own
//! ([`Link`]), as often as they like.

mod event;
mod link;
mod question;
mod stage;

pub use event::{Event, EventBody};
pub use link::{LINKS_MAX, Link, LinkPage};
pub use question::Question;
pub use stage::{Stage, StageName, StageState, answer, words};

use super::{connections, failure::Failure, time};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What an extension adds, milliseconds.
pub const EXTENSION_MS: i64 = 300 * 1000;
/// The longest that a login lasts from when it was asked for, milliseconds.
pub const LONGEST_MS: i64 = 3600 * 1000;
/// How long before its end a login warns, milliseconds.
pub const WARNING_MS: i64 = 60 * 1000;
/// After how many events what a sandbox waits for is no longer told: it is the guest that says it.
const EVENTS_MAX: i64 = 500;

/// Where a login stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = LoginStatus)]
pub enum Status {
    /// Accepted; waits for a sandbox.
    Requested,
    /// Its desktop is being made.
    Preparing,
    /// A key pressed now reaches the terminal.
    Ready,
    /// The tool has left a login, which is looked at.
    Verifying,
    /// The provider is connected.
    Connected,
    /// It did not work, and says why.
    Failed,
    /// Nobody signed in in time.
    Expired,
    /// Somebody cancelled it.
    Cancelled,
}

impl Status {
    /// Every state.
    pub const ALL: [Self; 8] = [
        Self::Requested,
        Self::Preparing,
        Self::Ready,
        Self::Verifying,
        Self::Connected,
        Self::Failed,
        Self::Expired,
        Self::Cancelled,
    ];

    /// As it stands in the database and in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Requested => "requested",
            Self::Preparing => "preparing",
            Self::Ready => "ready",
            Self::Verifying => "verifying",
            Self::Connected => "connected",
            Self::Failed => "failed",
            Self::Expired => "expired",
            Self::Cancelled => "cancelled",
        }
    }

    /// Reads what [`Status::as_str`] wrote.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == text)
    }

    /// Whether nothing more will happen.
    pub fn is_over(self) -> bool {
        match self {
            Self::Requested | Self::Preparing | Self::Ready | Self::Verifying => false,
            Self::Connected | Self::Failed | Self::Expired | Self::Cancelled => true,
        }
    }

    /// Whether somebody may be at its desktop.
    pub fn has_desktop(self) -> bool {
        match self {
            Self::Ready | Self::Verifying => true,
            Self::Requested | Self::Preparing | Self::Connected | Self::Failed | Self::Expired | Self::Cancelled => {
                false
            }
        }
    }

    /// Where `change` leads from here. `None`: it cannot happen in this state.
    pub fn after(self, change: &Change) -> Option<Self> {
        match (self, change) {
            (Self::Requested, Change::Take { .. }) => Some(Self::Preparing),
            (Self::Preparing, Change::PutBack) => Some(Self::Requested),
            (Self::Preparing, Change::Reach { .. }) => Some(Self::Preparing),
            (Self::Preparing, Change::Ready { .. }) => Some(Self::Ready),
            (Self::Ready | Self::Verifying, Change::Found) => Some(Self::Verifying),
            (Self::Verifying, Change::Checked { .. } | Change::Ask(_) | Change::Agree { .. }) => Some(Self::Verifying),
            (Self::Ready | Self::Verifying, Change::AskLink | Change::LinkShown { .. } | Change::LinkOver { .. }) => {
                Some(self)
            }
            // Who says it twice has said it.
            (Self::Ready, Change::Agree { .. }) => Some(Self::Ready),
            (Self::Verifying, Change::NotProven(_) | Change::Unsaid(_)) => Some(Self::Ready),
            (Self::Verifying, Change::Proven(_)) => Some(Self::Connected),
            (Self::Requested | Self::Preparing | Self::Ready | Self::Verifying, Change::Expire) => Some(Self::Expired),
            (Self::Requested | Self::Preparing | Self::Ready | Self::Verifying, Change::Warn | Change::Extend) => {
                Some(self)
            }
            (Self::Requested | Self::Preparing | Self::Ready | Self::Verifying, Change::Fail(_)) => Some(Self::Failed),
            (Self::Requested | Self::Preparing | Self::Ready | Self::Verifying, Change::Cancel) => {
                Some(Self::Cancelled)
            }
            (Self::Requested | Self::Ready | Self::Verifying, Change::PutBack | Change::Reach { .. })
            | (Self::Requested | Self::Ready | Self::Verifying, Change::Ready { .. })
            | (Self::Preparing | Self::Ready | Self::Verifying, Change::Take { .. })
            | (Self::Requested | Self::Preparing, Change::Found | Change::AskLink)
            | (Self::Requested | Self::Preparing, Change::LinkShown { .. } | Change::LinkOver { .. })
            | (Self::Requested | Self::Preparing | Self::Ready, Change::NotProven(_) | Change::Unsaid(_))
            | (Self::Requested | Self::Preparing | Self::Ready, Change::Proven(_) | Change::Checked { .. })
            | (Self::Requested | Self::Preparing | Self::Ready, Change::Ask(_))
            | (Self::Requested | Self::Preparing, Change::Agree { .. })
            | (Self::Connected | Self::Failed | Self::Expired | Self::Cancelled, _) => None,
        }
    }
}

/// What can happen to a login.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// This sandbox is being made for it, or was made ahead.
    Take {
        /// `sbx_…`.
        sandbox: String,
    },
    /// Its sandbox has come so far. What it has passed already changes nothing.
    Reach {
        /// The stage that is under way.
        stage: StageName,
        /// What that waits for, in the guest's words.
        waiting_for: Option<String>,
        /// When it was reached, Unix milliseconds.
        at: i64,
    },
    /// A key pressed now reaches the terminal.
    Ready {
        /// Since when, Unix milliseconds.
        at: i64,
    },
    /// Its server was stopped before its sandbox was made.
    PutBack,
    /// The tool has left what looks like a login: it is looked at, whatever was asked about the one before.
    Found,
    /// The tool was asked whether somebody is signed in.
    Checked {
        /// The command.
        command: String,
        /// Its exit status, if it exited.
        exit_code: Option<i32>,
        /// What it said, in the guest's words.
        said: String,
    },
    /// It is of another account than the one that is connected.
    Ask(Question),
    /// Its person agrees to that.
    Agree {
        /// To which account.
        account: String,
    },
    /// Its person wants to sign in with a browser of their own.
    AskLink,
    /// The tool has printed what they need for that.
    LinkShown {
        /// Which of the times that it was asked.
        nth: u32,
        /// What it has printed.
        page: LinkPage,
    },
    /// Nobody can sign in by that any more.
    LinkOver {
        /// Which of the times that it was asked.
        nth: u32,
        /// Why nobody has.
        error: Option<Failure>,
    },
    /// It was none, and why.
    NotProven(Failure),
    /// Whether it is one was not said, and why: it is looked at again.
    Unsaid(Failure),
    /// It was one, and is kept: the connection.
    Proven(connections::View),
    /// The deadline may be near.
    Warn,
    /// Its person asks for more time.
    Extend,
    /// It does not work.
    Fail(Failure),
    /// The deadline may be over.
    Expire,
    /// It was cancelled.
    Cancel,
}

/// A login as it is stored. Times are Unix milliseconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Login {
    /// `lgn_…`.
    pub id: String,
    /// Whose.
    pub user_id: String,
    /// Which provider.
    pub provider: String,
    /// Where it stands.
    pub status: Status,
    /// Its stages, in their order.
    pub stages: Vec<Stage>,
    /// What to type in its terminal.
    pub command: Option<String>,
    /// Why it failed.
    pub error: Option<Failure>,
    /// What its person is asked.
    pub question: Option<Question>,
    /// How its person signs in with a browser of their own, if they asked.
    pub link: Option<Link>,
    /// Its sandbox, once it has one.
    pub sandbox_id: Option<String>,
    /// When somebody asked to cancel it.
    pub cancel_requested_at: Option<i64>,
    /// When it was asked for.
    pub started_at: i64,
    /// Its deadline.
    pub expires_at: i64,
    /// When its person was warned of that deadline.
    pub warned_at: Option<i64>,
    /// When it ended.
    pub completed_at: Option<i64>,
    /// The number of its newest event.
    pub last_seq: i64,
}

/// Why something cannot happen to a login.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// It cannot in this state.
    #[error("the login is {}", .0.as_str())]
    State(Status),
    /// The deadline is over.
    #[error("the deadline of the login is over")]
    Over,
    /// The deadline is still to come.
    #[error("the deadline of the login is still to come")]
    NotOver,
    /// It lasts as long as any may.
    #[error("the login lasts {} s already, which is the longest", LONGEST_MS / 1000)]
    Longest,
    /// Its person is asked nothing, or about another account.
    #[error("nobody is asked about this account")]
    NotAsked,
    /// It is to end: somebody has cancelled it, or switched its person off.
    #[error("somebody has cancelled the login")]
    Cancelled,
    /// Its person has asked for as many pages as they may.
    #[error("{LINKS_MAX} pages were asked for in this login, which are as many as may be")]
    Links,
}

impl Login {
    /// A login that was just asked for, with its first event.
    pub fn new(id: String, user_id: &str, provider: &str, command: &str, ttl_ms: i64, now: i64) -> (Self, EventBody) {
        let mut login = Self {
            id,
            user_id: user_id.to_owned(),
            provider: provider.to_owned(),
            status: Status::Requested,
            stages: [StageName::Allocating, StageName::Starting, StageName::Desktop, StageName::Ready]
                .map(Stage::pending)
                .into(),
            command: Some(command.to_owned()),
            error: None,
            question: None,
            link: None,
            sandbox_id: None,
            cancel_requested_at: None,
            started_at: now,
            expires_at: now + ttl_ms.min(LONGEST_MS),
            warned_at: None,
            completed_at: None,
            last_seq: 1,
        };
        let mut told = Vec::new();
        login.enter(StageName::Allocating, None, now, &mut told);
        (login, told.swap_remove(0))
    }

    /// What `change` makes of it at the time `now`, and what is to be told. Nothing to tell: it is as it was.
    ///
    /// # Errors
    /// It cannot happen now.
    pub fn step(&self, change: &Change, now: i64) -> Result<(Self, Vec<EventBody>), Denied> {
        let (mut login, mut told) = (self.clone(), Vec::new());
        login.status = self.status.after(change).ok_or(Denied::State(self.status))?;
        match change {
            Change::Take { sandbox } => {
                login.sandbox_id = Some(sandbox.clone());
                login.enter(StageName::Starting, None, now, &mut told);
            }
            Change::Reach { stage, waiting_for, at } => {
                let waiting_for = waiting_for.as_deref().map(words).filter(|words| !words.is_empty());
                login.enter(*stage, waiting_for, (*at).min(now), &mut told);
            }
            Change::Ready { at } => login.finish((*at).min(now), &mut told),
            Change::PutBack => {
                login.sandbox_id = None;
                login.stages.iter_mut().for_each(|stage| *stage = Stage::pending(stage.name));
                login.enter(StageName::Allocating, None, now, &mut told);
            }
            Change::Found => {
                // What its person has agreed to stays agreed, also for a server that looks anew.
                if self.status == Status::Ready || self.waits_for_an_answer() {
                    login.question = login.question.filter(|question| question.agreed);
                    told.push(EventBody::Verifying);
                }
            }
            Change::Checked { command, exit_code, said } => {
                told.push(EventBody::Checked { command: command.clone(), exit_code: *exit_code, said: answer(said) })
            }
            Change::Ask(question) => {
                login.question = Some(question.clone());
                let Question { account, before, .. } = question.clone();
                told.push(EventBody::OtherAccount { account, before });
            }
            Change::Agree { account } => {
                let asked = login.question.as_mut().filter(|question| question.account == *account);
                let question = asked.ok_or(Denied::NotAsked)?;
                if !question.agreed {
                    question.agreed = true;
                    told.push(EventBody::Confirmed { account: account.clone() });
                }
            }
            Change::AskLink => {
                if login.open_link().is_none() {
                    let nth = login.link.as_ref().map_or(0, |link| link.nth) + 1;
                    if nth > LINKS_MAX {
                        return Err(Denied::Links);
                    }
                    login.link = Some(Link { nth, ..Link::default() });
                    told.push(EventBody::LinkAsked);
                }
            }
            Change::LinkShown { nth, page } => {
                let link = login.link.as_mut().filter(|link| link.nth == *nth && link.is_open());
                if let Some(link) = link.filter(|link| link.page.is_none()) {
                    link.page = Some(page.clone());
                    told.push(EventBody::LinkShown { link: page.clone() });
                }
            }
            Change::LinkOver { nth, error } => {
                if let Some(link) = login.link.as_mut().filter(|link| link.nth == *nth && link.is_open()) {
                    *link = Link { nth: *nth, page: None, over: true };
                    told.push(EventBody::LinkOver { error: error.clone() });
                }
            }
            Change::NotProven(error) => {
                login.question = None;
                told.push(EventBody::NotProven { error: error.clone() });
            }
            Change::Unsaid(error) => {
                login.question = login.question.filter(|question| question.agreed);
                told.push(EventBody::NotProven { error: error.clone() });
            }
            Change::Proven(connection) => {
                if self.cancel_requested_at.is_some() {
                    return Err(Denied::Cancelled);
                }
                login.question = None;
                told.push(EventBody::Connected { connection: connection.clone() });
            }
            Change::Warn => {
                if login.warned_at.is_none() && (1..=WARNING_MS).contains(&(login.expires_at - now)) {
                    login.warned_at = Some(now);
                    told.push(EventBody::Warning { expires_at: time::rfc3339(login.expires_at) });
                }
            }
            Change::Extend => {
                let longest = login.started_at + LONGEST_MS;
                if now >= login.expires_at {
                    return Err(Denied::Over);
                }
                if login.expires_at >= longest {
                    return Err(Denied::Longest);
                }
                login.expires_at = (login.expires_at + EXTENSION_MS).min(longest);
                login.warned_at = None;
                told.push(EventBody::Extended { expires_at: time::rfc3339(login.expires_at) });
            }
            Change::Fail(error) => {
                login.error = Some(error.clone());
                login.stop(now, &mut told);
                told.push(EventBody::Failed { error: error.clone() });
            }
            Change::Expire => {
                if self.status == Status::Verifying && !self.waits_for_an_answer() {
                    return Err(Denied::State(self.status));
                }
                if now < login.expires_at {
                    return Err(Denied::NotOver);
                }
                login.stop(now, &mut told);
                told.push(EventBody::Expired);
            }
            Change::Cancel => {
                login.stop(now, &mut told);
                told.push(EventBody::Cancelled);
            }
        }
        if login.status.is_over() {
            login.completed_at = Some(now);
            (login.question, login.link) = (None, None);
        }
        login.last_seq += told.len() as i64;
        Ok((login, told))
    }

    /// How long it took from when it was asked for until its desktop was ready, milliseconds. `None`: it is not.
    pub fn ready_after_ms(&self) -> Option<i64> {
        let last = self.stages.last().filter(|stage| stage.state == StageState::Done)?;
        Some((last.started_at? + last.took_ms? - self.started_at).max(0))
    }

    /// The page that its person may open in a browser of their own, or soon will.
    pub fn open_link(&self) -> Option<&Link> {
        self.link.as_ref().filter(|link| link.is_open())
    }

    /// Whether it goes on only when its person answers, or signs in anew.
    pub fn waits_for_an_answer(&self) -> bool {
        self.question.as_ref().is_some_and(|question| !question.agreed)
    }

    /// The stage that is under way.
    fn active(&mut self) -> Option<&mut Stage> {
        self.stages.iter_mut().find(|stage| stage.state == StageState::Active)
    }

    /// Begins a stage, and ends what comes before it. One that was passed already stays so.
    fn enter(&mut self, name: StageName, waiting_for: Option<String>, at: i64, told: &mut Vec<EventBody>) {
        let status = self.status;
        let quiet = self.last_seq >= EVENTS_MAX;
        match self.active() {
            Some(active) if active.name > name => {}
            Some(active) if active.name == name => {
                if active.waiting_for != waiting_for && !quiet {
                    active.waiting_for = waiting_for;
                    told.push(EventBody::Stage { status, stage: active.clone() });
                }
            }
            Some(_) | None => {
                let at = self.close(name, at, told);
                for stage in self.stages.iter_mut().filter(|stage| stage.name == name) {
                    *stage = Stage {
                        state: StageState::Active,
                        started_at: Some(at),
                        waiting_for: waiting_for.clone(),
                        ..Stage::pending(name)
                    };
                    told.push(EventBody::Stage { status, stage: stage.clone() });
                }
            }
        }
    }

    /// Ends every stage before this one. The time that it was, which is not before the last one's start.
    fn close(&mut self, before: StageName, at: i64, told: &mut Vec<EventBody>) -> i64 {
        let status = self.status;
        let mut from = at;
        for stage in self.stages.iter_mut().filter(|stage| stage.name < before && stage.state != StageState::Done) {
            from = stage.end(StageState::Done, from);
            told.push(EventBody::Stage { status, stage: stage.clone() });
        }
        from
    }

    /// Ends the last stage, and every other.
    fn finish(&mut self, at: i64, told: &mut Vec<EventBody>) {
        let at = self.close(StageName::Ready, at, told);
        let status = self.status;
        for stage in self.stages.iter_mut().filter(|stage| stage.state != StageState::Done) {
            stage.end(StageState::Done, at);
            told.push(EventBody::Stage { status, stage: stage.clone() });
        }
    }

    /// Notes in which stage the login ended, if it was in one.
    fn stop(&mut self, at: i64, told: &mut Vec<EventBody>) {
        let status = self.status;
        if let Some(stage) = self.active() {
            stage.end(StageState::Failed, at);
            told.push(EventBody::Stage { status, stage: stage.clone() });
        }
    }
}

#[cfg(test)]
mod tests;
