//! From what a tool leaves when somebody has signed in, to their connection.
//!
//! ```text
//!   the agent tells of the tool's file ─► verifying ─► a login? ─► the tool: yes? ─► the provider: whose?
//!        ▲                                                │ no        │ no               │ nobody's
//!        ├──── ready, and why ◄───────────────────────────┴───────────┴──────────────────┤
//!        └──── asked, until they agree or sign in anew ◄── another's than is connected ──┤
//!                                                                                        ▼ theirs
//!                    sealed, the connection made or renewed, the login connected: one transaction ─► destroyed
//! ```
//! The guest is hostile: that a file is there, and what a program says in there, only makes us look. What is kept has
//! known fields alone, and is of the account that the provider itself names, asked by this server. Until the transaction
//! all of it is in the sandbox, where another server finds it again; after it, nothing of it is needed any more.

use super::{
    Inner, chain, fault,
    login::{gone, lost},
    prepare,
    readback::{self, Unread},
    secrets, verify,
};
use crate::{
    domain::{
        audit::{self, Action, Actor, Coded, Deed},
        change::Change as Told,
        connections::{self, Captured, ConnectionError},
        failure::{Code, Failure},
        id,
        login::{Change, Denied, Login, Question, Status},
    },
    providers::{
        Credential, Provider,
        login::{Account, Files, NotALogin},
    },
    store::{StoreError, logins::Changed},
};
use backon::{ExponentialBuilder, Retryable};
use polydev_sandbox::{
    Guest,
    guest::{GuestError, JobOutput},
    image::HOME,
    proto::{Exec, Expected, Hello, Overflow, Predicate, Ring, WatchRule},
};
use sha2::{Digest, Sha256};
use std::{convert::Infallible, sync::Arc, time::Duration};
use tokio::time::{Instant, MissedTickBehavior, sleep_until, timeout};

/// For how long a file that is no finished login must not have changed, until its person is told so, milliseconds:
/// ten times what the tools are at writing one.
const UNFINISHED_MS: u64 = 2000;
/// How often is looked, at most.
const OFTEN: Duration = Duration::from_secs(1);
/// How many times something else than a login of theirs is found in a desktop, each of which is told: nobody signs in
/// so often.
const LOOKS_MAX: usize = 20;
/// When it is looked again where the provider did not say whose it is.
const AGAIN: Duration = Duration::from_secs(30);
/// How long a tool may take to say whether somebody is signed in. It takes a second, and several on a busy machine.
const ANSWERED_WITHIN: Duration = Duration::from_secs(30);
/// How much of that is read, bytes.
const ANSWER_MAX: usize = 8 * 1024;
/// How much of it the agent holds.
const ANSWER: Ring = Ring { capacity: ANSWER_MAX as u32, overflow: Overflow::DropOldest };
/// How often the last step is tried while the database is away, about half a minute long.
const KEPT_AT_MOST: usize = 6;

const SIGKILL: i32 = 9;

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
    /// A login, which is kept now.
    Kept,
    /// Another's than is connected: its person is asked.
    Asked,
    /// None, which the login says by now.
    Nothing {
        /// It may be one, and the provider has not said.
        unsaid: bool,
    },
    /// The desktop is not ready, or over.
    NotNow,
}

impl Desk<'_> {
    async fn watch(&self) -> Result<Infallible, Failure> {
        let mut changes = self.guest.watch(rules(self.provider)).await.map_err(gone)?;
        // What an earlier server was at.
        let mut again = (self.login.status == Status::Verifying).then(Instant::now);
        // What was there the last time: its digest, for tokens are not kept longer than they are looked at.
        let mut before = None;
        let mut often = tokio::time::interval(OFTEN);
        often.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut looks = 0;
        while looks < LOOKS_MAX {
            let is_new = tokio::select! {
                change = changes.next() => match change {
                    Ok(Some(_)) => true,
                    Ok(None) => return Err(lost("its agent tells no more of its files")),
                    Err(error) => return Err(gone(error)),
                },
                () = at(again) => false,
                () = self.agreed() => false,
            };
            often.tick().await;
            let files = match readback::read(self.provider, self.guest).await {
                Ok(files) => Ok(files),
                Err(Unread::Refused(why)) => Err(why),
                Err(Unread::Gone(error)) => return Err(gone(error)),
            };
            // A file may be touched, and told of by two rules.
            let now = files.as_ref().ok().map(digest);
            if is_new && now.is_some() && now == before {
                continue;
            }
            before = now;
            again = match self.look(files).await? {
                // The end is in the row, which whoever runs this task sees too.
                Found::Kept => return std::future::pending().await,
                Found::Asked | Found::Nothing { unsaid: false } => {
                    looks += 1;
                    None
                }
                Found::Nothing { unsaid: true } => Some(Instant::now() + AGAIN),
                Found::NotNow => Some(Instant::now() + OFTEN),
            };
        }
        let words = format!("{LOOKS_MAX} times something was found in this desktop that is no login");
        Err(Failure::new(Code::NotConnected, words).hint("Open another one and sign in there."))
    }

    /// Waits until its person agrees to what they were asked.
    async fn agreed(&self) {
        let mut follower = self.inner.hub.subscribe(&self.login.id);
        loop {
            follower.look();
            // A row that cannot be read now is read after the next change.
            let login = self.inner.store.login(&self.login.id).await.ok().flatten();
            if login.and_then(|login| login.question).is_some_and(|question| question.agreed) {
                return;
            }
            if !follower.woken().await {
                // The server stops, and says so elsewhere.
                return std::future::pending().await;
            }
        }
    }

    async fn change(&self, change: &Change) -> Result<Changed, Failure> {
        self.inner.change_login(&self.login.id, change).await.map_err(fault)
    }

    /// Looks at what lies there, and does what follows.
    async fn look(&self, files: Result<Files, String>) -> Result<Found, Failure> {
        let found = match self.change(&Change::Found).await? {
            Changed::Done(login) => login,
            Changed::Denied(Denied::State(status)) if status.is_over() => return std::future::pending().await,
            Changed::Denied(_) | Changed::None => return Ok(Found::NotNow),
        };
        let read = files
            .map_err(|why| self.nothing(&why))
            .and_then(|files| self.provider.sign_in().read(&files).map_err(|why| self.no_login(&why)));
        let login = match read {
            Ok(login) => login,
            Err(failure) => return self.refuse(failure).await,
        };
        let (told, credential) = (login.account.clone(), Credential::Login(login));
        if let Some(argv) = self.provider.sign_in().finished().status
            && let Some(failure) = self.tool_denies(argv, &credential).await?
        {
            return self.refuse(failure).await;
        }
        let account = match verify::prove(
            &self.inner.ways.client,
            self.provider,
            &credential,
            verify::WHILE_SOMEBODY_WAITS,
        )
        .await
        {
            Ok(proof) => proof.account,
            Err(failure) => return self.refuse(self.unproven(failure)).await,
        };
        let Some(account) = account.filter(|account| told.id.is_empty() || told.id == account.id) else {
            let failure = self.nothing("the provider names another account than it does");
            return self.refuse(failure).await;
        };
        let agreed = found.question.is_some_and(|question| question.agreed && question.account_id == account.id);
        let name = account.email.clone().or(told.email).unwrap_or_else(|| account.id.clone());
        match self.keep(credential, account.clone(), agreed).await? {
            Captured::Kept(login) => {
                tracing::info!(login = login.id, provider = login.provider, "a login was kept");
                Ok(Found::Kept)
            }
            Captured::Other(connection) => {
                let before = connection.account.or(connection.account_id).unwrap_or_default();
                let question = Question { account_id: account.id, account: name, before, agreed: false };
                self.change(&Change::Ask(question)).await?;
                Ok(Found::Asked)
            }
            Captured::Over => std::future::pending().await,
        }
    }

    /// Tells why what was found is not kept. The desktop stays open.
    async fn refuse(&self, failure: Failure) -> Result<Found, Failure> {
        tracing::info!(login = self.login.id, why = failure.message, "what was found in a desktop is not kept");
        let unsaid = failure.code == Code::ProviderUnavailable || failure.code == Code::RateLimited;
        self.change(&Change::NotProven(failure)).await?;
        Ok(Found::Nothing { unsaid })
    }

    /// Asks the tool itself, and tells what it says. Something: why there is no login by that.
    async fn tool_denies(&self, argv: &[&str], credential: &Credential) -> Result<Option<Failure>, Failure> {
        let command = argv.join(" ");
        let (exit_code, said) = match self.ask(argv).await {
            Ok(answer) => answer,
            Err(GuestError::Agent { source, .. }) => (None, source.message),
            Err(
                error @ (GuestError::Driver(_)
                | GuestError::Timeout { .. }
                | GuestError::Request { .. }
                | GuestError::Malformed { .. }
                | GuestError::Unexpected { .. }
                | GuestError::TooLarge { .. }
                | GuestError::Broken { .. }),
            ) => return Err(gone(error)),
        };
        let said = secrets::of(self.provider, credential).text(&said).into_owned();
        self.change(&Change::Checked { command: command.clone(), exit_code, said }).await?;
        Ok((exit_code != Some(0))
            .then(|| self.nothing(&format!("`{command}` does not say that somebody is signed in"))))
    }

    /// Runs a command to its end: its exit status, if it has one in time, and the beginning of what it says.
    async fn ask(&self, argv: &[&str]) -> Result<(Option<i32>, String), GuestError> {
        let job = id::new("status");
        let has_ca = self.inner.config.sandbox.ca_file.is_some();
        let exec = Exec {
            job: job.clone(),
            argv: argv.iter().map(|&word| word.to_owned()).collect(),
            env: prepare::environment(has_ca, &self.hello.proxy, &[]),
            cwd: HOME.into(),
            stdin: false,
            pty: None,
            stdout: ANSWER,
            stderr: ANSWER,
        };
        self.guest.exec(exec).await?;
        let mut output = self.guest.attach(&job, 0, 0).await?;
        let mut said = Vec::new();
        let end = timeout(ANSWERED_WITHIN, async {
            loop {
                match output.next().await? {
                    Some(JobOutput::Bytes { bytes, .. }) => {
                        said.extend(bytes.iter().take(ANSWER_MAX - said.len()));
                    }
                    Some(JobOutput::Exit(exit)) => return Ok::<_, GuestError>(exit.code),
                    None => return Ok(None),
                }
            }
        });
        let code = match end.await {
            Ok(code) => code?,
            Err(_elapsed) => {
                self.guest.signal(&job, SIGKILL, true).await?;
                None
            }
        };
        Ok((code, String::from_utf8_lossy(&said).into_owned()))
    }

    /// Keeps a login, to the end, also when this task is stopped meanwhile.
    async fn keep(&self, credential: Credential, account: Account, agreed: bool) -> Result<Captured, Failure> {
        let (inner, login) = (self.inner.clone(), self.login.clone());
        let kept = self.inner.tasks.spawn(async move { keep(&inner, &login, &credential, &account, agreed).await });
        match kept.await {
            Ok(Ok(captured)) => Ok(captured),
            Ok(Err(error)) => Err(fault(error)),
            Err(error) => {
                tracing::error!(login = self.login.id, error = chain(&error), "a login was not kept");
                Err(Failure::new(Code::Internal, "the server has a fault").hint("Look into the server's log."))
            }
        }
    }

    /// What is there is none, and why.
    fn nothing(&self, why: &str) -> Failure {
        let label = self.provider.about().label;
        let words = format!("what {label} has left is not kept: {why}");
        Failure::new(Code::NotConnected, words).hint(self.sign_in_again())
    }

    fn no_login(&self, why: &NotALogin) -> Failure {
        match why {
            NotALogin::Blank(file) => {
                self.nothing(&format!("a token is missing in `{file}`, without which it would soon end"))
            }
            NotALogin::OtherKind { .. } => self
                .nothing(&why.to_string())
                .hint(format!("Connect with that on this provider's page, or sign in: {}", self.typed())),
            NotALogin::Missing(_)
            | NotALogin::TooLarge { .. }
            | NotALogin::Malformed { .. }
            | NotALogin::OtherAccount => self.nothing(&why.to_string()),
        }
    }

    /// The provider does not say whose it is.
    fn unproven(&self, failure: Failure) -> Failure {
        let again = self.sign_in_again();
        match failure.code {
            Code::ProviderUnavailable | Code::RateLimited => {
                let words = format!("you have signed in, but it is not known as whom: {}", failure.message);
                let asked =
                    format!("It is asked again every {} s while this desktop is open. {again}", AGAIN.as_secs());
                Failure { message: words, ..failure }.hint(asked)
            }
            _refused => self.nothing(&failure.message),
        }
    }

    fn sign_in_again(&self) -> String {
        format!("Sign in again: {} If it stays so, connect with an API key.", self.typed())
    }

    fn typed(&self) -> String {
        format!("type `{}` in the terminal.", self.provider.sign_in().command_again())
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
    agreed: bool,
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
            inner.hub.notify(id, login.last_seq);
            inner.hub.changed(user, Told::login(id));
            inner.hub.changed(user, Told::connection(provider));
            // Runs may wait for it.
            inner.poke.notify_one();
        }
        Ok(Captured::Other(_)) => entry.failed(&inner.store, Code::Conflict).await,
        Ok(Captured::Over) => entry.failed(&inner.store, Code::Gone).await,
        Err(error) => entry.failed(&inner.store, error.code()).await,
    }
    captured
}
