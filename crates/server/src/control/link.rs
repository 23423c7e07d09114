//! Signing in with one's own browser: the tool in a login's sandbox is asked for a page, and what it prints is shown.
//!
//! ```text
//!   asked ─► the tool's job, in the login's sandbox ─► its page, shown ─► their browser: they sign in there
//!                                     ▲ the code that the page shows        │
//!                                     └─────────────────────────────────────┤ or by the code that was shown
//!                                 over ◄─ its end                           ▼
//!                                           the tool's file changes: from there on as at the desktop (capture.rs)
//! ```
//! A server that is started finds the job by its name, and what it has printed in the agent's keeping.

use super::{Inner, login::gone, prepare};
use crate::{
    domain::{
        failure::{Code, Failure},
        login::{Change, Link, Login, answer},
    },
    providers::{
        Provider,
        link::{ByLink, plain},
    },
    store::StoreError,
};
use polydev_sandbox::{
    Guest,
    guest::{Attachment, GuestError, JobOutput, OutputStream},
    image::HOME,
    pace::Pace,
    proto::{ErrorCode, Exec, Exit, Hello, Overflow, Ring},
};
use std::{num::NonZeroU64, time::Duration};
use tokio::time::{Instant, timeout_at};

/// How long a tool may take to print its page: it asks its provider for a code first, in a second or two.
const SHOWN_WITHIN: Duration = Duration::from_secs(30);
/// How much of what it prints is looked at, bytes: ten times what the tools print.
const PRINTED_MAX: usize = 32 * 1024;
/// How much of it the agent keeps, for a server that is started meanwhile.
const PRINTED: Ring = Ring { capacity: PRINTED_MAX as u32, overflow: Overflow::DropOldest };
/// How many pieces of it are taken in a second, on average, and for how long that may be exceeded.
const PIECES_PER_S: NonZeroU64 = NonZeroU64::new(20).expect("not zero");
const PIECES_BURST: Duration = Duration::from_secs(5);

const SIGKILL: i32 = 9;

/// Has the tool show a page whenever somebody asks for one, for as long as it is polled. Returns why that cannot be.
pub(super) async fn offer(
    inner: &Inner,
    login: &Login,
    provider: &dyn Provider,
    guest: &Guest,
    hello: &Hello,
) -> Failure {
    let Some(how) = provider.sign_in().link() else { return std::future::pending().await };
    let tool = Tool { inner, login, how, guest, hello };
    loop {
        let link = tool.asked().await;
        let error = match tool.run(&link).await {
            Ok(error) => error,
            Err(Stop::Guest(error)) => return gone(error),
            Err(Stop::Store(error)) => return super::fault(error),
        };
        if let Err(error) = inner.change_login(&login.id, &Change::LinkOver { nth: link.nth, error }).await {
            return super::fault(error);
        }
    }
}

/// The tool of a login's sandbox.
struct Tool<'a> {
    inner: &'a Inner,
    login: &'a Login,
    how: &'a ByLink,
    guest: &'a Guest,
    hello: &'a Hello,
}

#[derive(Debug, thiserror::Error)]
enum Stop {
    #[error(transparent)]
    Guest(#[from] GuestError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What it has printed on either stream.
#[derive(Debug, Default)]
struct Printed {
    out: Vec<u8>,
    errors: Vec<u8>,
}

impl Tool<'_> {
    /// Waits until somebody asks for a page.
    async fn asked(&self) -> Link {
        let mut follower = self.inner.hub.subscribe(&self.login.id);
        loop {
            follower.look();
            // A row that cannot be read now is read after the next change.
            let login = self.inner.store.login(&self.login.id).await.ok().flatten();
            if let Some(link) = login.and_then(|login| login.link).filter(Link::is_open) {
                return link;
            }
            if !follower.woken().await {
                // The server stops, and says so elsewhere.
                return std::future::pending().await;
            }
        }
    }

    /// Runs it to its end, and shows its page: why nobody has signed in by it, unless they have.
    async fn run(&self, link: &Link) -> Result<Option<Failure>, Stop> {
        let job = link.job();
        match self.guest.exec(self.exec(&job)).await {
            Ok(_) => {}
            Err(GuestError::Agent { source, .. }) if source.code == ErrorCode::Exists => {}
            Err(GuestError::Agent { source, .. }) => return Ok(Some(self.failure(&source.message))),
            Err(error) => return Err(error.into()),
        }
        let (mut output, mut printed) = (self.guest.attach(&job, 0, 0).await?, Printed::default());
        let pace = Pace::new(PIECES_PER_S, PIECES_BURST);
        let within = Instant::now() + SHOWN_WITHIN;
        let mut end = None;
        let page = loop {
            let Ok(next) = timeout_at(within, printed.next(&mut output, &pace)).await else { break None };
            if let Some(page) = self.how.read(&String::from_utf8_lossy(&printed.out)) {
                break Some(page);
            }
            end = next?;
            if end.is_some() {
                break None;
            }
        };
        match (page, end) {
            (Some(page), _) => {
                self.inner.change_login(&self.login.id, &Change::LinkShown { nth: link.nth, page }).await?;
            }
            (None, Some(_)) => return Ok(Some(self.failure(&printed.last_words()))),
            (None, None) => {
                match self.guest.signal(&job, SIGKILL, true).await {
                    // It may have ended just now.
                    Ok(_) | Err(GuestError::Agent { .. }) => {}
                    Err(error) => return Err(error.into()),
                }
                let within = SHOWN_WITHIN.as_secs();
                return Ok(Some(self.failure(&format!("it has shown no page within {within} s"))));
            }
        }
        let end = loop {
            if let Some(end) = printed.next(&mut output, &pace).await? {
                break end;
            }
        };
        Ok((end.code != Some(0)).then(|| self.failure(&printed.last_words())))
    }

    fn exec(&self, job: &str) -> Exec {
        let own: Vec<(&'static str, String)> = self.how.env.iter().map(|&(name, value)| (name, value.into())).collect();
        Exec {
            job: job.to_owned(),
            argv: self.how.argv.iter().map(|&word| word.to_owned()).collect(),
            env: prepare::environment(self.inner.config.sandbox.ca_file.is_some(), &self.hello.proxy, &own),
            cwd: HOME.into(),
            stdin: true,
            pty: None,
            stdout: PRINTED,
            stderr: PRINTED,
        }
    }

    fn failure(&self, said: &str) -> Failure {
        let said = answer(said);
        let said = if said.is_empty() { "it has ended without a word" } else { &said };
        Failure::new(Code::NotConnected, format!("nobody has signed in by `{}`: {said}", self.how.argv.join(" ")))
            .hint("Ask for another page, or sign in on the desktop.")
    }
}

impl Printed {
    /// Takes the next piece: its exit, if that was it.
    async fn next(&mut self, output: &mut Attachment, pace: &Pace) -> Result<Option<Exit>, GuestError> {
        match output.next().await? {
            Some(JobOutput::Bytes { stream, bytes, .. }) => {
                let kept = match stream {
                    OutputStream::Stdout => &mut self.out,
                    OutputStream::Stderr => &mut self.errors,
                };
                kept.extend(&bytes);
                let more = kept.len().saturating_sub(PRINTED_MAX);
                kept.drain(..more);
                pace.wait(1).await;
                Ok(None)
            }
            Some(JobOutput::Exit(exit)) => Ok(Some(exit)),
            None => Ok(Some(Exit { code: None, signal: None })),
        }
    }

    /// What it has said last: on standard error, if it has said anything there.
    fn last_words(&self) -> String {
        let last = |of: &[u8]| {
            let printed = plain(&String::from_utf8_lossy(of));
            printed.lines().rev().find(|line| !line.trim().is_empty()).map(str::to_owned)
        };
        last(&self.errors).or_else(|| last(&self.out)).unwrap_or_default()
    }
}
