//! The record of what was done: who, what, to what, and how it went.
//!
//! ```text
//!   open ─► entry without an outcome ─► the work ─► ok | failed
//!                       └─ kill -9 ───────────────► stays without one: it may or may not have been done
//! ```
//! What cannot be recorded is not done. An entry never holds a secret, nor what somebody typed who is not known:
//! people type passwords into the wrong field.

use super::{failure::Code, id, time};
use crate::store::{Store, StoreError, audit::AuditRow};
use tokio_util::task::TaskTracker;

/// How long an entry is kept, milliseconds: 400 days, so that a year can be looked back at.
pub const KEPT_MS: i64 = 400 * 24 * 60 * 60 * 1000;

/// What is recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// The first person was made by the setup link.
    Setup,
    /// Somebody signed in, or was refused.
    SignIn,
    /// Somebody signed out.
    SignOut,
    /// A session was ended from elsewhere.
    SessionRevoke,
    /// Somebody changed their own password.
    PasswordChange,
    /// The operator gave somebody a new password.
    PasswordReset,
    /// A key was made.
    KeyCreate,
    /// A key was ended.
    KeyRevoke,
    /// A person was added.
    UserCreate,
    /// A person's role was changed, or they were switched off or on.
    UserUpdate,
    /// A provider was connected by API key or setup token.
    ConnectionPut,
    /// A provider was connected by the tool's own files.
    ConnectionImport,
    /// A provider was connected by what a login has left.
    ConnectionLogin,
    /// A provider was asked whether a connection is still good.
    ConnectionVerify,
    /// A connection was forgotten.
    ConnectionDelete,
    /// A provider no longer accepts a connection.
    ConnectionNeedsReconnect,
    /// What a tool made of its login was taken over, or refused.
    CredentialWriteBack,
    /// All secrets were sealed under another master key.
    VaultRotate,
    /// A login was opened.
    LoginOpen,
    /// A login was given more time.
    LoginExtend,
    /// Somebody agreed that a login takes the place of another account's.
    LoginConfirm,
    /// A page was asked for to open in one's own browser.
    LoginLink,
    /// A code that such a page had shown was given to the tool.
    LoginCode,
    /// A login was cancelled.
    LoginCancel,
    /// A ticket for a login's screen was made.
    LoginTicket,
    /// Somebody looks at a login's screen, or was refused.
    LoginDesktop,
    /// An admin cancelled another's run.
    RunCancel,
    /// An admin ended another's sandbox.
    SandboxDelete,
    /// The server has found something on its host that is not as it should be.
    FindingAppeared,
    /// That is no longer so.
    FindingGone,
    /// Somebody began to be refused: they ask too much.
    Limited,
}

impl Action {
    /// As it stands in the database and in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Setup => "setup",
            Self::SignIn => "session.create",
            Self::SignOut => "session.delete",
            Self::SessionRevoke => "session.revoke",
            Self::PasswordChange => "password.change",
            Self::PasswordReset => "password.reset",
            Self::KeyCreate => "key.create",
            Self::KeyRevoke => "key.revoke",
            Self::UserCreate => "user.create",
            Self::UserUpdate => "user.update",
            Self::ConnectionPut => "connection.put",
            Self::ConnectionImport => "connection.import",
            Self::ConnectionLogin => "connection.login",
            Self::ConnectionVerify => "connection.verify",
            Self::ConnectionDelete => "connection.delete",
            Self::ConnectionNeedsReconnect => "connection.needs_reconnect",
            Self::CredentialWriteBack => "credential.write_back",
            Self::VaultRotate => "vault.rotate",
            Self::LoginOpen => "login.create",
            Self::LoginExtend => "login.extend",
            Self::LoginConfirm => "login.confirm",
            Self::LoginLink => "login.link",
            Self::LoginCode => "login.code",
            Self::LoginCancel => "login.cancel",
            Self::LoginTicket => "login.ticket",
            Self::LoginDesktop => "login.desktop",
            Self::RunCancel => "run.cancel",
            Self::SandboxDelete => "sandbox.delete",
            Self::FindingAppeared => "finding.appeared",
            Self::FindingGone => "finding.gone",
            Self::Limited => "requests.limit",
        }
    }
}

/// By which right something is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// A browser's session.
    Session,
    /// An API key.
    Key,
    /// The command line, on the data directory.
    Local,
    /// The server, by itself.
    Server,
    /// Nobody who is known.
    Anonymous,
}

impl By {
    /// As it stands in the database and in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::Key => "key",
            Self::Local => "local",
            Self::Server => "server",
            Self::Anonymous => "anonymous",
        }
    }
}

/// Who does something, and from where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    /// By which right.
    pub by: By,
    /// Who, if that is known.
    pub user_id: Option<String>,
    /// The session or the key.
    pub token_id: Option<String>,
    /// The address that the request came from.
    pub address: Option<String>,
    /// The request.
    pub request_id: Option<String>,
}

impl Actor {
    /// The command line, on the data directory.
    pub const LOCAL: Self = Self::nobody(By::Local);
    /// The server, by itself.
    pub const SERVER: Self = Self::nobody(By::Server);

    const fn nobody(by: By) -> Self {
        Self { by, user_id: None, token_id: None, address: None, request_id: None }
    }
}

/// Something that is about to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct Deed {
    action: Action,
    actor: Actor,
    target: Option<String>,
    detail: Option<String>,
    user_id: Option<String>,
}

impl Deed {
    /// What is done, by whom: to a thing of theirs, unless [`Deed::of`] says whose.
    pub fn new(actor: Actor, action: Action) -> Self {
        Self { user_id: actor.user_id.clone(), action, actor, target: None, detail: None }
    }

    /// The same, to this thing: an id, a provider.
    pub fn to(self, target: impl Into<String>) -> Self {
        Self { target: Some(target.into()), ..self }
    }

    /// The same, to a thing of this person's.
    pub fn of(self, user_id: impl Into<String>) -> Self {
        Self { user_id: Some(user_id.into()), ..self }
    }

    /// The same, with how it is done. Never a secret.
    pub fn how(self, detail: impl Into<String>) -> Self {
        Self { detail: Some(detail.into()), ..self }
    }
}

/// An entry that waits for its outcome. One that is dropped without stays as it is: nobody knows what became of it.
#[derive(Debug)]
#[must_use]
pub struct Open(String);

/// Writes down what is about to be done.
///
/// # Errors
/// The database. Then it must not be done.
pub async fn open(store: &Store, deed: Deed) -> Result<Open, StoreError> {
    let Deed { action, actor, target, detail, user_id } = deed;
    let row = AuditRow {
        id: id::new("aud"),
        created_at: time::now_ms(),
        action: action.as_str().to_owned(),
        target,
        detail,
        user_id,
        actor: actor.by.as_str().to_owned(),
        actor_user_id: actor.user_id,
        actor_token_id: actor.token_id,
        address: actor.address,
        request_id: actor.request_id,
        outcome: None,
        code: None,
        finished_at: None,
    };
    store.insert_audit(&row).await?;
    Ok(Open(row.id))
}

impl Open {
    /// Writes down that it was done, and what was made if that was not known before.
    pub async fn done(self, store: &Store, target: Option<&str>) {
        self.complete(store, ("ok", None), target).await;
    }

    /// Writes down that it was not done, and why.
    pub async fn failed(self, store: &Store, code: Code) {
        self.complete(store, ("failed", Some(&code.name())), None).await;
    }

    async fn complete(self, store: &Store, outcome: (&str, Option<&str>), target: Option<&str>) {
        if let Err(error) = store.complete_audit(&self.0, outcome, target, time::now_ms()).await {
            // What was done is done, and the entry shows that its outcome is not known.
            tracing::error!(entry = self.0, error = crate::cli::output::chain(&error), "an entry stays open");
        }
    }
}

/// An error that the public surface has a code for.
pub trait Coded {
    /// Its code.
    fn code(&self) -> Code;
}

/// Does something between the opening and the completion of its entry. `made` tells what was made, if that was not
/// known before.
///
/// # Errors
/// What `work` says, and the database.
pub async fn record<T, E: Coded + From<StoreError>>(
    store: &Store,
    deed: Deed,
    work: impl Future<Output = Result<T, E>>,
    made: impl FnOnce(&T) -> Option<String>,
) -> Result<T, E> {
    let entry = open(store, deed).await?;
    let outcome = work.await;
    match &outcome {
        Ok(value) => entry.done(store, made(value).as_deref()).await,
        Err(error) => entry.failed(store, error.code()).await,
    }
    outcome
}

/// The record of a server that runs. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Audit {
    store: Store,
    tasks: TaskTracker,
}

impl Audit {
    /// The record in this database.
    pub fn new(store: Store) -> Self {
        Self { store, tasks: TaskTracker::new() }
    }

    /// The same as [`record`], to its end, even when the caller leaves meanwhile.
    ///
    /// # Errors
    /// What `work` says, and the database.
    pub async fn record<T: Send + 'static, E: Coded + From<StoreError> + Send + 'static>(
        &self,
        deed: Deed,
        work: impl Future<Output = Result<T, E>> + Send + 'static,
        made: impl FnOnce(&T) -> Option<String> + Send + 'static,
    ) -> Result<T, E> {
        let store = self.store.clone();
        let task = self.tasks.spawn(async move { record(&store, deed, work, made).await });
        match task.await.map_err(tokio::task::JoinError::try_into_panic) {
            Ok(outcome) => outcome,
            Err(Ok(panic)) => std::panic::resume_unwind(panic),
            // Only a runtime that ends cancels it, and whoever waits with it.
            Err(Err(_)) => std::future::pending().await,
        }
    }

    /// Waits until everything that was begun is recorded.
    pub async fn drain(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }
}
