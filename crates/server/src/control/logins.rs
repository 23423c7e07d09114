//! Logins as the server knows them: opened, extended, cancelled, looked at, and given to a task.

use super::{
    Code, Failure, Hub, Inner, Live, Runs, fault, image, login,
    plan::{End, LoginAction},
    run::Begin,
};
use crate::{
    domain::{
        change::Change as Told,
        id,
        login::{Change, Denied, Login, Status},
        time,
    },
    providers::Provider,
    store::{
        StoreError,
        logins::{Changed, Opened},
    },
};
use polydev_sandbox::{Guest, Sandbox, SandboxId, Stream, guest::GuestError, host, image::Kind};
use secrecy::{ExposeSecret, SecretString};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Where logins are opened and followed. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Logins(Arc<Inner>);

/// What to do when a login is over.
const ANOTHER: &str = "Open another one: `POST /api/v1/logins`.";

impl Runs {
    /// The logins of the same server.
    pub fn logins(&self) -> Logins {
        Logins(self.0.clone())
    }
}

impl Logins {
    /// Opens a login for a person, or finds the one that they have open: which, and whether it is new.
    pub async fn open(&self, user_id: &str, provider: &dyn Provider) -> Result<(Login, bool), Failure> {
        let inner = &self.0;
        let (name, label) = (provider.about().name, provider.about().label);
        if inner.draining.is_cancelled() {
            return Err(Failure::new(Code::DriverUnavailable, "the server is stopping").hint("Try again in a moment."));
        }
        if !inner.config.login_enabled(name) {
            let words = format!("signing in at {label} is switched off on this server");
            return Err(Failure::new(Code::LoginDisabled, words)
                .hint(format!("Connect with an API key: `polydev connect {name} --api-key-stdin`.")));
        }
        // Whoever asks for one after they have cancelled theirs means another.
        let is_wanted = |login: &Login| login.cancel_requested_at.is_none();
        if let Some(open) = inner.store.open_login_of(user_id, name).await.map_err(fault)?.filter(is_wanted) {
            return Ok((open, false));
        }
        if inner.driver.capabilities().uses_image {
            image(&inner.images, Kind::Desktop)?;
        }
        let (needed, made_ahead) = (inner.config.sandbox.desktop.memory_mib, inner.warm_desktops() as u64);
        // Those that are being made have not taken theirs yet. One that was made ahead has its own already, and is
        // there only while there is as much again.
        let has_room = |under_way: i64| {
            let to_make = (under_way.unsigned_abs() + 1).saturating_sub(made_ahead);
            host::available_memory_mib().is_none_or(|free| free >= needed.saturating_mul(to_make))
        };
        let ttl_ms = inner.config.login.ttl.as_millis() as i64;
        let command = provider.sign_in().command();
        let new = Login::new(id::new("lgn"), user_id, name, command, ttl_ms, time::now_ms());
        let most = inner.config.login.max_concurrent;
        loop {
            return match inner.store.open_login(&new, most as i64, has_room).await.map_err(fault)? {
                Opened::New(login) => {
                    inner.hub.changed(user_id, Told::login(&login.id));
                    inner.poke.notify_one();
                    Ok((login, true))
                }
                Opened::Before(login) if is_wanted(&login) => Ok((login, false)),
                // What works on it hears of its end.
                Opened::Before(login) => {
                    inner.change_login(&login.id, &Change::Cancel).await.map_err(fault)?;
                    continue;
                }
                Opened::Full => Err(Failure::new(
                    Code::QueueFull,
                    format!("{most} people are signing in at this server, which is all that may at a time"),
                )
                .hint("Try again in a few minutes; `login.max_concurrent` sets how many may.")),
                Opened::NoRoom => Err(Failure::new(
                    Code::DriverUnavailable,
                    format!("this server has less than the {needed} MiB of memory that one more desktop may need"),
                )
                .hint("Try again when others have signed in, or connect with an API key.")),
            };
        }
    }

    /// Gives a login more time.
    pub async fn extend(&self, id: &str) -> Result<Login, Failure> {
        self.wish(id, &Change::Extend, |why| {
            let words = why.to_string();
            match why {
                Denied::Longest => Failure::new(Code::Conflict, words).hint("Finish, or open another one afterwards."),
                // What somebody has signed in with is looked at to its end.
                Denied::Over => Failure::new(Code::Conflict, words)
                    .hint("Whether you have signed in is being looked at; if not, the login ends."),
                Denied::State(_) | Denied::NotOver | Denied::NotAsked | Denied::Cancelled | Denied::Links => {
                    Failure::new(Code::Gone, words).hint(ANOTHER)
                }
            }
        })
        .await
    }

    /// Agrees that this account, which somebody has signed in with, takes the place of the one that is connected.
    pub async fn confirm(&self, id: &str, account: String) -> Result<Login, Failure> {
        self.wish(id, &Change::Agree { account }, |_why| {
            Failure::new(Code::Conflict, "the login does not ask about this account")
                .hint("`question` of `GET /api/v1/logins/{id}` says what is asked, if anything is.")
        })
        .await
    }

    /// Asks the tool for a page to open in a browser of one's own, unless it has shown one that is still good.
    pub async fn ask_link(&self, login: &Login, provider: &dyn Provider) -> Result<Login, Failure> {
        let label = provider.about().label;
        if provider.sign_in().link().is_none() {
            let words = format!("{label} shows no page for another browser");
            return Err(Failure::new(Code::Unsupported, words).hint("Sign in on the desktop, or use an API key."));
        }
        self.wish(&login.id, &Change::AskLink, |why| match why {
            Denied::Links => {
                Failure::new(Code::Conflict, why.to_string()).hint("Open another login, or connect with an API key.")
            }
            Denied::State(_)
            | Denied::Over
            | Denied::NotOver
            | Denied::Longest
            | Denied::NotAsked
            | Denied::Cancelled => Failure::new(Code::NotReady, "the tool of this login is not there yet")
                .hint("Wait until its `status` is `ready`."),
        })
        .await
    }

    /// Does as a login's person wishes; a login that is over is gone, and of one that is not, `refused` says why not.
    async fn wish(&self, id: &str, change: &Change, refused: impl FnOnce(Denied) -> Failure) -> Result<Login, Failure> {
        match self.0.change_login(id, change).await.map_err(fault)? {
            Changed::Done(login) => Ok(*login),
            Changed::Denied(Denied::State(status)) if status.is_over() => {
                let words = format!("the login is over: it is {}", status.as_str());
                Err(Failure::new(Code::Gone, words).hint(ANOTHER))
            }
            Changed::Denied(why) => Err(refused(why)),
            Changed::None => Err(Failure::new(Code::NotFound, format!("there is no login `{id}`"))),
        }
    }

    /// Gives the tool the code that its page has shown. What comes of it, the login's events tell.
    pub async fn paste(&self, login: &Login, provider: &dyn Provider, code: &SecretString) -> Result<(), Failure> {
        let none = || {
            Failure::new(Code::Conflict, "the login waits for no code")
                .hint("Ask for a page first, `POST /api/v1/logins/{id}/link`, and take the code from there.")
        };
        let link = login.open_link().filter(|link| link.page.as_ref().is_some_and(|page| page.user_code.is_none()));
        let (Some(link), Some(how)) = (link, provider.sign_in().link()) else { return Err(none()) };
        let code = code.expose_secret().trim();
        if !how.is_code(code) {
            return Err(Failure::new(Code::InvalidRequest, "`code` is not all of what the page has shown")
                .hint("Copy all of it, with the `#` in the middle."));
        }
        let sandbox = login.sandbox_id.as_deref().and_then(|id| id.parse::<SandboxId>().ok()).ok_or_else(none)?;
        let guest = Guest::new(self.0.driver.clone(), sandbox);
        let given = async { guest.stdin(&link.job()).await?.write(format!("{code}\n").as_bytes()).await };
        given.await.map_err(|error: GuestError| {
            tracing::info!(login = login.id, %error, "a code did not come to its tool");
            none()
        })
    }

    /// Writes down the wish to cancel a login. `false`: it is over.
    pub async fn cancel(&self, id: &str) -> Result<bool, StoreError> {
        let open = self.0.store.cancel_login(id, time::now_ms()).await?;
        self.0.poke.notify_one();
        Ok(open)
    }

    /// Writes down the wish to cancel a login that is still in this sandbox.
    pub async fn cancel_in(&self, id: &str, sandbox: &str) -> Result<(), StoreError> {
        self.0.store.cancel_login_in(id, sandbox, time::now_ms()).await?;
        self.0.poke.notify_one();
        Ok(())
    }

    /// Opens a viewer's connection to a login's screen. `None`: it has none.
    pub async fn screen(&self, login: &Login) -> Result<Option<Stream>, GuestError> {
        let sandbox = login.sandbox_id.as_deref().and_then(|id| id.parse::<SandboxId>().ok());
        let Some(sandbox) = sandbox.filter(|_| login.status.has_desktop()) else { return Ok(None) };
        Guest::new(self.0.driver.clone(), sandbox).vnc().await.map(Some)
    }

    /// Whether people may sign in to this provider here.
    pub fn are_open(&self, provider: &str) -> bool {
        self.0.config.login_enabled(provider)
    }

    /// Wakes those who follow a login.
    pub fn hub(&self) -> &Hub {
        &self.0.hub
    }

    /// Does one thing of a plan.
    pub(super) async fn act(&self, action: LoginAction) -> Result<(), StoreError> {
        let inner = &self.0;
        match action {
            LoginAction::Start(login) => self.start(login, None),
            LoginAction::Adopt(login, sandbox) => self.start(login, Some(sandbox)),
            LoginAction::PutBack(login) => {
                inner.change_login(&login, &Change::PutBack).await?;
                inner.poke.notify_one();
            }
            LoginAction::Stop(login) => {
                if let Some(live) = inner.desktops().get(&login) {
                    live.stop.cancel();
                }
            }
            LoginAction::End(login, why) => {
                let end = match why {
                    End::Cancelled => Change::Cancel,
                    End::Expired => Change::Expire,
                    End::Lost => Change::Fail(login::left_behind(inner, &login, login::interrupted()).await),
                };
                tracing::info!(login, ?why, "nothing works on this login any more");
                inner.change_login(&login, &end).await?;
            }
        }
        Ok(())
    }

    /// Starts the task of a login, with the sandbox that was found for it if there is one, unless the server is
    /// stopping.
    fn start(&self, id: String, found: Option<SandboxId>) {
        let inner = self.0.clone();
        let stop = CancellationToken::new();
        let mut live = self.0.desktops();
        // Two passes at a time may have planned the same.
        if self.0.draining.is_cancelled() || live.contains_key(&id) {
            return;
        }
        let (begin, sandbox) = match found {
            None => (Begin::Fresh, inner.sandbox(Kind::Desktop)),
            Some(found) => (Begin::Adopted, Sandbox::found(inner.driver.clone(), found)),
        };
        let of = sandbox.id().clone();
        live.insert(id.clone(), Live::new(of, stop.clone(), true));
        self.0.tasks.spawn(async move {
            // However it ends, by a panic too.
            let _leave = Leave { inner: &inner, id: &id };
            login::login(&inner, &id, begin, sandbox, &stop).await;
        });
    }
}

impl Inner {
    /// Lets something happen to a login, and tells those who want to know.
    pub(super) async fn change_login(&self, id: &str, change: &Change) -> Result<Changed, StoreError> {
        let changed = self.store.change_login(id, change, time::now_ms()).await?;
        match &changed {
            Changed::Done(login) => {
                // Of each there is one: a login is made ready once, and ends once.
                if matches!(change, Change::Ready { .. }) {
                    self.metrics.login_ready(login);
                }
                if login.status.is_over() {
                    self.metrics.login_ended(login);
                }
                self.tell_of_login(login);
            }
            // Its end may have been stored by one who never heard of that, and told nobody.
            Changed::Denied(Denied::State(status)) if status.is_over() => {
                if let Some(login) = self.store.login(id).await? {
                    self.tell_of_login(&login);
                }
            }
            Changed::Denied(_) | Changed::None => {}
        }
        Ok(changed)
    }

    /// Tells those who want to know how a login is now.
    pub(super) fn tell_of_login(&self, login: &Login) {
        self.hub.notify(&login.id, login.last_seq);
        self.hub.changed(&login.user_id, Told::login(&login.id));
        if login.status == Status::Connected {
            self.hub.changed(&login.user_id, Told::connection(&login.provider));
            // Runs may wait for it.
            self.poke.notify_one();
        }
    }
}

/// A task's place, given back when dropped.
struct Leave<'a> {
    inner: &'a Inner,
    id: &'a str,
}

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        self.inner.desktops().remove(self.id);
        self.inner.poke.notify_one();
    }
}
