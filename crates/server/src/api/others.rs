//! What admins see of other people's runs, logins and sandboxes: that they are there, and what becomes of them. They may
//! stop them. Prompts, answers, events, files, consoles and desktops are their owners' alone.

use super::{
    App,
    error::{ApiError, ApiResult},
    logins::{self, LoginView},
    runs::{self, RunView},
    sandboxes::{self, SandboxView},
};
use crate::domain::{
    failure::{Code, Failure},
    id,
    login::Login,
    people::{Principal, Scope},
    run::Run,
    sandbox::Sandbox,
};
use url::Url;

/// What asks for everybody's.
const ALL: &str = "all";

/// Whose things an admin asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Whose {
    /// This person's.
    Theirs(String),
    /// Everybody's, their own among them.
    Everybodys,
}

impl Whose {
    /// The person; none for everybody.
    pub(super) fn user_id(&self) -> Option<&str> {
        match self {
            Self::Theirs(user_id) => Some(user_id),
            Self::Everybodys => None,
        }
    }
}

/// Whose things `?user_id=` asks for. `None`: one's own.
pub(super) fn whose(who: &Principal, user_id: Option<String>) -> ApiResult<Option<Whose>> {
    let Some(user_id) = user_id.filter(|user_id| *user_id != who.user_id) else { return Ok(None) };
    if !who.may(Scope::Admin) {
        return Err(ApiError::new(Code::Forbidden, "only an admin may see what is others'")
            .hint("Leave `user_id` out to see your own. A key needs the scope `admin`."));
    }
    if user_id == ALL {
        return Ok(Some(Whose::Everybodys));
    }
    if !id::is_one(&user_id) {
        return Err(ApiError::new(Code::InvalidRequest, "`user_id` is neither a user's id nor `all`"));
    }
    Ok(Some(Whose::Theirs(user_id)))
}

/// A run, if it is the person's own, or they are an admin.
pub(super) async fn run(app: &App, who: &Principal, id: &str) -> ApiResult<Run> {
    if who.may(Scope::Admin) { runs::find(app, id).await } else { runs::own(app, who, id).await }
}

/// A sandbox, if it is the person's own, or they are an admin.
pub(super) async fn sandbox(app: &App, who: &Principal, id: &str) -> ApiResult<Sandbox> {
    if who.may(Scope::Admin) { sandboxes::find(app, id).await } else { sandboxes::own(app, who, id).await }
}

/// A login, if it is the person's own, or they are an admin.
pub(super) async fn login(app: &App, who: &Principal, id: &str) -> ApiResult<Login> {
    if who.may(Scope::Admin) { logins::find_login(app, id).await } else { logins::own(app, who, id).await }
}

/// A login as everybody may see it who may see that it is there.
pub(super) fn login_seen(mut login: Login, public_url: &Url) -> LoginView {
    // Accounts are their person's own; what a stage waits for, and what went wrong, may be told in words of the sandbox.
    login.stages.iter_mut().for_each(|stage| stage.waiting_for = None);
    (login.question, login.link) = (None, None);
    login.error = login.error.map(|error| Failure::new(error.code, "what was said is for its owner to read"));
    LoginView::of(login, public_url)
}

/// A run as this person may see it with what they have shown.
pub(super) fn run_view(who: &Principal, run: Run) -> RunView {
    if run.user_id == who.user_id && who.may(Scope::RunsRead) { run.into() } else { run_seen(run) }
}

/// A run as everybody may see it who may see that it is there.
pub(super) fn run_seen(run: Run) -> RunView {
    // What went wrong may be told in words of the tool, which may be words of the prompt.
    let error = run.error.as_ref().map(|error| Failure::new(error.code, "what was said is for its owner to read"));
    RunView { prompt: None, text: None, metadata: None, error, ..run.into() }
}

/// A sandbox as everybody may see it who may see that it is there.
pub(super) fn sandbox_seen(sandbox: Sandbox) -> SandboxView {
    // It may quote what came out of the sandbox.
    SandboxView { error: None, ..sandbox.into() }
}
