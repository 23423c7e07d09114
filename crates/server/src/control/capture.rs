//! From what a tool leaves when somebody has signed in, to their connection.
//!
//! ```text
//!   the agent tells of the tool's file ─► verifying ─► a login? ─► the tool: yes? ─► the provider: whose?
//!        ▲                                                │ no        │ no               │ nobody's
//!        ├──── ready, and why ◄───────────────────────────┴───────────┴──────────────────┤
//!        │       └─► looked at again, where nobody said no: an agent, a tool or a provider that did not answer
//!        └──── asked, until they agree or sign in anew ◄── another's than is connected ──┤
//!                                                                                        ▼ theirs
//!                    sealed, the connection made or renewed, the login connected: one transaction ─► destroyed
//! ```
//! The guest is hostile: that a file is there, and what a program says in there, only makes us look. What is kept has
//! known fields alone, and is of the account that the provider itself names, asked by this server. Until the transaction
//! all of it is in the sandbox, where another server finds it again; after it, nothing of it is needed any more. So
//! while the sandbox is there, and there is time, only a no of the tool or the provider discards what is in it.

mod ask;
#[cfg(test)]
mod tests;
mod why;

use super::{
    Inner, chain, insist,
    login::{gone, lost},
    prepare,
    readback::{self, Unread},
    secrets, verify,
};
use crate::{
    domain::{
        audit::{self, Action, Actor, Coded, Deed},
        connections::{self, Captured, ConnectionError},
        failure::{Code, Failure},
        login::{Change, Denied, LONGEST_MS, Login, Question, Status},
        time,
    },
    providers::{
        Credential, Provider,
        login::{Account, Files},
    },
    store::{StoreError, logins::Changed},
};
use backon::{ExponentialBuilder, Retryable};
use polydev_sandbox::{
    Guest,
    image::HOME,
    proto::{Expected, Hello, Predicate, WatchRule},
};
use sha2::{Digest, Sha256};
use std::{convert::Infallible, sync::Arc, time::Duration};
use tokio::time::{Instant, sleep_until};
use why::Refusal;

/// For how long a file that is no finished login must not have changed, until its person is told so, milliseconds:
/// ten times what the tools are at writing one.
const UNFINISHED_MS: u64 = 2000;
/// How often is looked, at most.
const OFTEN: Duration = Duration::from_secs(1);
/// How many changes of a desktop's file are looked at as often as that: nobody signs in so often. Later ones have
/// [`AGAIN`] between them.
const LOOKS_MAX: usize = 20;
/// When it is looked again where nobody said that it is a login, nor that it is none.
const AGAIN: Duration = Duration::from_secs(30);
/// The same where it is one, and the database did not take it.
const KEPT_AGAIN: Duration = Duration::from_secs(5);
/// How often the last step is tried while the database is away, about half a minute long.
const KEPT_AT_MOST: usize = 6;

/// Looks for what somebody signs in with, for as long as it is polled, and keeps it. Returns why that cannot be.
pub(super) async fn watch(
    inner: &Arc<Inner>,
    login: &Login,
    provider: &'static dyn Provider,
    guest: &Guest,
    hello: &Hello,
) -> Failure {
    let desk = Desk { inner, login, provider, guest, hello };
    match desk.watch().await {
        Ok(never) => match never {},
        Err(failure) => failure,
    }
}

/// The desktop that somebody signs in at.
struct Desk<'a> {
    inner: &'a Arc<Inner>,
    login: &'a Login,
    provider: &'static dyn Provider,
    guest: &'a Guest,
    hello: &'a Hello,
}

/// What was found.
enum Found {
    /// A login, which is kept now, or has been. The end is in the row, which whoever runs this task sees too.
    Over,
    /// Another's than is connected: its person is asked.
    Asked,
    /// None, which the login says by now.
    Nothing,
    /// Nobody has said: it is looked at again after this.
    Unsaid(Duration),
}

impl Desk<'_> {
    async fn watch(&self) -> Result<Infallible, Failure> {
        let watched = insist::guest(|| self.guest.watch(rules(self.provider)), insist::is_there);
        let mut changes = watched.await.map_err(gone)?;
        // What an earlier server was at.
        let mut again = (self.login.status == Status::Verifying).then(Instant::now);
        // What was there the last time: its digest, for tokens are not kept longer than they are looked at.
        let mut before = None;
        let (mut asked, mut looks, mut not_before) = (false, 0, Instant::now());
        loop {
            let is_new = tokio::select! {
                change = changes.next() => match change {
                    Ok(Some(_)) => true,
                    Ok(None) => return Err(lost("its agent tells no more of its files")),
                    Err(error) => return Err(gone(error)),
                },
                () = at(again) => false,
                () = self.agreed(), if asked => false,
            };
            sleep_until(not_before).await;
            looks += usize::from(is_new);
            not_before = Instant::now() + if looks < LOOKS_MAX { OFTEN } else { AGAIN };
            let is_unread = |unread: &Unread| matches!(unread, Unread::Gone(error) if insist::is_there(error));
            let files = insist::guest(|| readback::read(self.provider, self.guest), is_unread).await;
            // A file may be touched, and told of by two rules.
            let now = files.as_ref().ok().map(digest);
            if is_new && now.is_some() && now == before {
                continue;
            }
            before = now;
            let found = self.look(files).await;
            asked = matches!(found, Found::Asked);
            again = match found {
                Found::Over => return std::future::pending().await,
                Found::Asked | Found::Nothing => None,
                Found::Unsaid(pause) => Some(Instant::now() + pause),
            };
        }
    }

    /// Waits until its person agrees to what they were asked.
    async fn agreed(&self) {
        let mut follower = self.inner.hub.subscribe(&self.login.id);
        loop {
            follower.look();
            let login = insist::store(|| self.inner.store.login(&self.login.id)).await;
            if login.and_then(|login| login.question).is_some_and(|question| question.agreed) {
                return;
            }
            if !follower.woken().await {
                // The server stops, and says so elsewhere.
                return std::future::pending().await;
            }
        }
    }

    async fn change(&self, change: &Change) -> Changed {
        self.inner.surely_change_login(&self.login.id, change).await
    }

    /// Looks at what lies there, and does what follows.
    async fn look(&self, files: Result<Files, Unread>) -> Found {
        let found = match self.change(&Change::Found).await {
            Changed::Done(login) => login,
            Changed::Denied(Denied::State(status)) if status.is_over() => return Found::Over,
            // The desktop is not ready.
            Changed::Denied(_) | Changed::None => return Found::Unsaid(OFTEN),
        };
        match self.find(files, found.question.filter(|question| question.agreed)).await {
            Ok(found) => found,
            Err(Refusal::No(failure)) => {
                tracing::info!(login = self.login.id, why = failure.message, "what was found in a desktop is not kept");
                self.change(&Change::NotProven(failure)).await;
                Found::Nothing
            }
            Err(Refusal::Unsaid(failure)) => {
                tracing::info!(login = self.login.id, why = failure.message, "what was found is looked at again");
                self.change(&Change::Unsaid(failure)).await;
                Found::Unsaid(AGAIN)
            }
        }
    }

    /// Three must agree: the file, the tool, the provider. Their person has `agreed` to something already, or not.
    async fn find(&self, files: Result<Files, Unread>, agreed: Option<Question>) -> Result<Found, Refusal> {
        let files = match files {
            Ok(files) => files,
            Err(Unread::Refused(why)) => return Err(self.nothing(&why)),
            Err(Unread::Gone(error)) if insist::is_there(&error) => return Err(self.unread(&error)),
            // Its end is told by who has a channel open, with what was found in it.
            Err(Unread::Gone(_)) => return Ok(Found::Unsaid(OFTEN)),
        };
        let login = self.provider.sign_in().read(&files).map_err(|why| self.no_login(&why))?;
        let (told, credential) = (login.account.clone(), Credential::Login(login));
        if let Some(argv) = self.provider.sign_in().finished().status {
            self.tool_agrees(argv, &credential).await?;
        }
        let (client, within) = (&self.inner.ways.client, verify::WHILE_SOMEBODY_WAITS);
        let proof = verify::prove(client, self.provider, &credential, within).await;
        let account = proof.map_err(|failure| self.unproven(failure))?.account;
        let account = account
            .filter(|account| told.id.is_empty() || told.id == account.id)
            .ok_or_else(|| self.nothing("the provider names another account than it does"))?;
        let name = account.email.clone().or(told.email).unwrap_or_else(|| account.id.clone());
        let agreed = agreed.filter(|question| question.account_id == account.id).map(|question| question.before);
        match self.keep(credential, account.clone(), agreed).await {
            Ok(Captured::Kept(login)) => {
                tracing::info!(login = login.id, provider = login.provider, "a login was kept");
                Ok(Found::Over)
            }
            Ok(Captured::Other(connection)) => {
                let before = connection.account.or(connection.account_id).unwrap_or_default();
                let question = Question { account_id: account.id, account: name, before, agreed: false };
                self.change(&Change::Ask(question)).await;
                Ok(Found::Asked)
            }
            // It is over, or will be in a moment.
            Ok(Captured::Over) => Ok(Found::Unsaid(AGAIN)),
            // It stays `verifying`, which no deadline ends: for as long as any login may last.
            Err(Some(ConnectionError::Store(StoreError::Query(_))))
                if time::now_ms() < self.login.started_at + LONGEST_MS =>
            {
                Ok(Found::Unsaid(KEPT_AGAIN))
            }
            Err(_) => Err(self.unkept()),
        }
    }

    /// Asks the tool itself, and tells what it says.
    async fn tool_agrees(&self, argv: &[&str], credential: &Credential) -> Result<(), Refusal> {
        let command = argv.join(" ");
        let (exit_code, said) = self.ask(argv).await.unwrap_or_else(|error| (None, error.to_string()));
        let said = secrets::of(self.provider, credential).text(&said).into_owned();
        self.change(&Change::Checked { command: command.clone(), exit_code, said }).await;
        match exit_code {
            Some(0) => Ok(()),
            Some(_) => Err(self.nothing(&format!("`{command}` does not say that somebody is signed in"))),
            None => Err(self.unanswered(&command)),
        }
    }

    /// Keeps a login, to the end, also when this task is stopped meanwhile. Nothing is said of a fault of ours.
    async fn keep(
        &self,
        credential: Credential,
        account: Account,
        agreed: Option<String>,
    ) -> Result<Captured, Option<ConnectionError>> {
        let (inner, login) = (self.inner.clone(), self.login.clone());
        let kept = async move { keep(&inner, &login, &credential, &account, agreed.as_deref()).await };
        match self.inner.tasks.spawn(kept).await {
            Ok(Ok(captured)) => Ok(captured),
            Ok(Err(error)) => {
                tracing::error!(login = self.login.id, error = chain(&error), "a login was not kept yet");
                Err(Some(error))
            }
            Err(error) => {
                tracing::error!(login = self.login.id, error = chain(&error), "a login was not kept yet");
                Err(None)
            }
        }
    }
}

/// What the agent is to tell of: a file that looks finished, at once, and one that does not, when it stays so.
fn rules(provider: &dyn Provider) -> Vec<WatchRule> {
    let finished = provider.sign_in().finished();
    let has = |pointer: &&str| Predicate { pointer: (*pointer).to_owned(), is: Expected::Present };
    let path = |path: &str| format!("{HOME}/{path}");
    let first = provider.sign_in().files().iter().take(1);
    first
        .flat_map(|file| {
            let require = finished.has.iter().map(has).collect();
            let quiet_ms = finished.quiet_ms;
            [
                WatchRule { rule: "finished".into(), path: path(file.path), require, quiet_ms },
                WatchRule {
                    rule: "left".into(),
                    path: path(file.path),
                    require: Vec::new(),
                    quiet_ms: UNFINISHED_MS.max(quiet_ms),
                },
            ]
        })
        .collect()
}

/// What tells files from others.
fn digest(files: &Files) -> [u8; 32] {
    let mut digest = Sha256::new();
    for (name, content) in files {
        for part in [name.as_bytes(), content] {
            digest.update((part.len() as u64).to_be_bytes());
            digest.update(part);
        }
    }
    digest.finalize().into()
}

/// Waits for a time, if there is one.
async fn at(when: Option<Instant>) {
    match when {
        Some(when) => sleep_until(when).await,
        None => std::future::pending().await,
    }
}

async fn keep(
    inner: &Inner,
    login: &Login,
    credential: &Credential,
    account: &Account,
    agreed: Option<&str>,
) -> Result<Captured, ConnectionError> {
    let (id, user, provider) = (login.id.as_str(), login.user_id.as_str(), login.provider.as_str());
    let deed = Deed::new(Actor::SERVER, Action::ConnectionLogin).of(user).to(provider).how(id);
    let entry = audit::open(&inner.store, deed).await?;
    let of = (id, user, provider);
    let capture = || connections::capture(&inner.store, &inner.vault, of, credential, account, agreed);
    let captured = capture
        .retry(ExponentialBuilder::default().with_max_delay(Duration::from_secs(10)).with_max_times(KEPT_AT_MOST))
        .when(|error| matches!(error, ConnectionError::Store(StoreError::Query(_))))
        .await;
    match &captured {
        Ok(Captured::Kept(login)) => {
            entry.done(&inner.store, None).await;
            inner.metrics.login_ended(login);
            inner.tell_of_login(login);
        }
        Ok(Captured::Other(_)) => entry.failed(&inner.store, Code::Conflict).await,
        Ok(Captured::Over) => entry.failed(&inner.store, Code::Gone).await,
        Err(error) => entry.failed(&inner.store, error.code()).await,
    }
    captured
}
