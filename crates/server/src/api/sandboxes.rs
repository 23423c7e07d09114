//! `/sandboxes`: what was made for one's runs, what it printed, and its end.

use super::{
    App,
    caller::Caller,
    error::{ApiError, ApiResult, ErrorBody},
    extract::{Auth, Path, Query},
    others,
    page::{Page, PageQuery},
};
use crate::{
    domain::{
        audit::{Action, Deed},
        failure::Code,
        id,
        people::{Principal, Scope},
        sandbox::{Network, Sandbox, State},
        time,
    },
    store::runs::After,
};
use axum::{
    Json,
    extract::State as Part,
    http::{StatusCode, header},
    response::IntoResponse,
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

/// What is served here.
pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(show, stop)).routes(routes!(console))
}

/// A sandbox.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct SandboxView {
    /// `sbx_…`.
    pub id: String,
    /// Whose it is, once it is somebody's.
    pub user_id: Option<String>,
    /// The run that it was made for.
    pub run_id: Option<String>,
    /// The login that it was made for.
    pub login_id: Option<String>,
    /// What made it.
    #[schema(examples("oci"))]
    pub driver: String,
    /// The content id of its image; empty where the driver uses none.
    pub image_id: String,
    /// Where it stands.
    pub state: State,
    /// What went wrong with it.
    pub error: Option<String>,
    /// When it was asked for.
    pub created_at: String,
    /// When nothing of it was left.
    pub ended_at: Option<String>,
}

/// A sandbox, and what it reached.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct SandboxDetail {
    #[serde(flatten)]
    #[expect(missing_docs, reason = "it says of itself what it is")]
    pub sandbox: SandboxView,
    /// What the gateway saw of it so far: names, ports and bytes. Null where it had no way out, and where that was
    /// not kept.
    pub network: Option<Network>,
}

impl From<Sandbox> for SandboxView {
    fn from(sandbox: Sandbox) -> Self {
        Self {
            id: sandbox.id,
            user_id: sandbox.user_id,
            run_id: sandbox.run_id,
            login_id: sandbox.login_id,
            driver: sandbox.driver,
            image_id: sandbox.image_id,
            state: sandbox.state,
            error: sandbox.error,
            created_at: time::rfc3339(sandbox.created_at),
            ended_at: sandbox.ended_at.map(time::rfc3339),
        }
    }
}

/// Which sandboxes.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
struct SandboxesQuery {
    /// How many items, from 1 to 200; 50 when not given.
    #[param(value_type = Option<i64>, minimum = 1, maximum = 200)]
    limit: Option<String>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
    /// Only those of this login; of one that there is not, none.
    login_id: Option<String>,
    /// For admins: those of this person, or all with `all`, without `error`.
    user_id: Option<String>,
}

/// The sandboxes of one's own runs and logins, newest first. They are listed after their end too, as long as their runs.
#[utoipa::path(
    get, path = "/sandboxes", tag = "sandboxes", params(SandboxesQuery),
    responses(
        (status = 200, description = "A page", body = Page<SandboxView>),
        (status = 400, description = "Bad `limit` or `cursor`", body = ErrorBody),
        (status = 401, description = "No valid key", body = ErrorBody),
        (status = 403, description = "The key lacks `runs:read`, or others' for somebody who is no admin", body = ErrorBody),
        (status = 422, description = "An unknown parameter", body = ErrorBody),
    )
)]
async fn list(
    Part(app): Part<App>,
    auth: Auth,
    Query(query): Query<SandboxesQuery>,
) -> ApiResult<Json<Page<SandboxView>>> {
    let who = auth.require(Scope::RunsRead)?;
    let SandboxesQuery { limit, cursor, login_id, user_id } = query;
    let page = PageQuery { limit, cursor };
    let (limit, after) = (page.limit()?, page.after()?);
    let key = |sandbox: &Sandbox| After { created_at: sandbox.created_at, id: sandbox.id.clone() };
    let whose = others::whose(&who, user_id)?;
    let of = login_id.as_deref();
    // No filter is what an empty one would be to the database.
    if of.is_some_and(|login| login.is_empty() || !id::is_one(login)) {
        return Ok(Json(Page::whole(Vec::new(), false, key, SandboxView::from)));
    }
    if let Some(whose) = whose {
        let rows = app.store.sandboxes_seen(whose.user_id(), of, after.as_ref(), limit + 1).await?;
        return Ok(Json(Page::of(rows, limit, key, others::sandbox_seen)));
    }
    let rows = app.store.sandboxes_of(&who.user_id, of, after.as_ref(), limit + 1).await?;
    Ok(Json(Page::of(rows, limit, key, SandboxView::from)))
}

/// A sandbox, and what it reached.
#[utoipa::path(
    get, path = "/sandboxes/{id}", tag = "sandboxes", params(("id" = String, Path, description = "The sandbox's id")),
    responses(
        (status = 200, description = "The sandbox", body = SandboxDetail),
        (status = 401, description = "No valid key", body = ErrorBody),
        (status = 403, description = "The key lacks `runs:read`", body = ErrorBody),
        (status = 404, description = "No such sandbox, or another person's", body = ErrorBody),
    )
)]
async fn show(Part(app): Part<App>, auth: Auth, Path(id): Path<String>) -> ApiResult<Json<SandboxDetail>> {
    let who = auth.require(Scope::RunsRead)?;
    let sandbox = own(&app, &who, &id).await?;
    let network = match &sandbox.run_id {
        Some(run) => app.runs.network(run, &sandbox.id).await?,
        None => None,
    };
    Ok(Json(SandboxDetail { sandbox: sandbox.into(), network }))
}

/// End a sandbox, an admin another's: the run or login that works in it is cancelled, and the sandbox destroyed. One that is gone stays so.
#[utoipa::path(
    delete, path = "/sandboxes/{id}", tag = "sandboxes", params(("id" = String, Path, description = "The sandbox's id")),
    responses(
        (status = 204, description = "It will be gone, or is"),
        (status = 401, description = "No valid key", body = ErrorBody),
        (status = 403, description = "The key lacks `runs:write`, or `logins` for a login's", body = ErrorBody),
        (status = 404, description = "No such sandbox, or another person's", body = ErrorBody),
    )
)]
async fn stop(Part(app): Part<App>, caller: Caller, auth: Auth, Path(id): Path<String>) -> ApiResult<StatusCode> {
    let who = auth.require(Scope::RunsWrite)?;
    let Sandbox { id, user_id, run_id, login_id, ended_at, .. } = others::sandbox(&app, &who, &id).await?;
    if login_id.is_some() {
        Auth::also(&who, Scope::Logins)?;
    }
    // What is over takes no wish, and its sandbox is on its way out without one.
    if ended_at.is_some() {
        return Ok(StatusCode::NO_CONTENT);
    }
    let (runs, sandbox, in_it) = (app.runs.clone(), id.clone(), login_id.clone());
    let stopped = async move {
        if let Some(run) = run_id {
            runs.cancel_in(&run, &sandbox).await?;
        }
        if let Some(login) = in_it {
            runs.logins().cancel_in(&login, &sandbox).await?;
        }
        Ok::<_, ApiError>(())
    };
    let actor = caller.actor(&who);
    let deed = match (user_id.filter(|owner| *owner != who.user_id), login_id) {
        (Some(owner), _) => Some(Deed::new(actor, Action::SandboxDelete).to(&id).of(owner)),
        (None, Some(login)) => Some(Deed::new(actor, Action::LoginCancel).to(login).of(who.user_id)),
        (None, None) => None,
    };
    match deed {
        None => stopped.await?,
        Some(deed) => app.audit.record(deed, stopped, |()| None).await?,
    }
    Ok(StatusCode::NO_CONTENT)
}

/// The last 64 KiB that a sandbox printed: as it is while it stands, as it was kept after its end, and then with
/// the last 16 KiB of the tool's standard error under a heading. Text; what is no UTF-8 is replaced.
#[utoipa::path(
    get, path = "/sandboxes/{id}/console", tag = "sandboxes",
    params(("id" = String, Path, description = "The sandbox's id")),
    responses(
        (status = 200, description = "What it printed", body = String, content_type = "text/plain; charset=utf-8"),
        (status = 401, description = "No valid key", body = ErrorBody),
        (status = 403, description = "The key lacks `runs:read`", body = ErrorBody),
        (status = 404, description = "No such sandbox, or another person's", body = ErrorBody),
    )
)]
async fn console(Part(app): Part<App>, auth: Auth, Path(id): Path<String>) -> ApiResult<impl IntoResponse> {
    let who = auth.require(Scope::RunsRead)?;
    let sandbox = own(&app, &who, &id).await?;
    let printed = match app.store.console(&sandbox.id).await? {
        Some(kept) => kept,
        None => {
            let id = sandbox.id.parse().map_err(ApiError::internal)?;
            let printed = app.runs.console(&id).await.map_err(ApiError::internal)?;
            // It may have gone between the two looks: then it is kept by now.
            if printed.is_empty() { app.store.console(&sandbox.id).await?.unwrap_or_default() } else { printed }
        }
    };
    Ok(([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], String::from_utf8_lossy(&printed).into_owned()))
}

/// The sandbox, if it is the person's own.
pub(super) async fn own(app: &App, who: &Principal, id: &str) -> ApiResult<Sandbox> {
    let sandbox = find(app, id).await?;
    if sandbox.user_id.as_ref() == Some(&who.user_id) { Ok(sandbox) } else { Err(none(id)) }
}

/// The sandbox, whoever's it is.
pub(super) async fn find(app: &App, id: &str) -> ApiResult<Sandbox> {
    let sandbox = if id::is_one(id) { app.store.sandbox(id).await? } else { None };
    sandbox.ok_or_else(|| none(id))
}

fn none(id: &str) -> ApiError {
    ApiError::new(Code::NotFound, format!("there is no sandbox `{}`", id.chars().take(64).collect::<String>()))
        .hint("`GET /api/v1/sandboxes` lists yours.")
}
