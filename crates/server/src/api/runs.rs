//! `/runs`: ask, look, follow, cancel.

use super::{
    App,
    caller::Caller,
    error::{ApiError, ApiResult, ErrorBody},
    extract::{Auth, Body, Path, Query, turned_away},
    follow::Follow,
    idempotency::{NotKept, Repeat},
    others,
    page::{Page, PageQuery},
    sse,
};
use crate::{
    domain::{
        audit::{Action, Deed},
        event::{Event, Usage},
        failure::{Code, Failure},
        id,
        idempotency::Claim,
        people::{PeopleError, Principal, Scope},
        run::{Run, Status, Wish, WorkFile},
        time,
    },
    providers::{self, Tools},
    store::{pages::Filter, runs::After},
};
use axum::{
    Extension, Json,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use base64::{Engine, prelude::BASE64_STANDARD};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

/// How long `?wait=true` waits.
const WAIT: Duration = Duration::from_secs(60);

/// What is served here.
pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(create, list))
        .routes(routes!(show, delete))
        .routes(routes!(events))
        .routes(routes!(cancel))
}

/// What to run.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateRun {
    /// `claude`, `codex` or `gemini`.
    #[schema(examples("claude"))]
    provider: String,
    /// The prompt, at most 1 MiB.
    #[schema(examples("What is 2+2?"))]
    prompt: String,
    /// The model; the provider's default when not given.
    model: Option<String>,
    /// `new`, or the id of a conversation. To come: it answers 501, and the document does not offer it.
    #[schema(ignore)]
    conversation: Option<String>,
    /// Files for `/workspace`, each at most 10 MiB.
    files: Option<Vec<CreateFile>>,
    /// What to add to the tool's own system prompt.
    system: Option<String>,
    /// Which of its own tools the tool may use: `all` (as given when absent), without asking, inside its sandbox, or `none`.
    tools: Option<Tools>,
    /// How long it may take, in seconds.
    #[schema(minimum = 1, maximum = 86400)]
    timeout_s: Option<i64>,
    /// The caller's own notes: an object.
    #[schema(value_type = Option<Object>)]
    metadata: Option<serde_json::Value>,
}

/// A file for `/workspace`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateFile {
    /// Path below `/workspace`, without `..`.
    path: String,
    /// What is in it, as base64.
    content_base64: String,
}

/// A run.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct RunView {
    /// `run_…`.
    pub id: String,
    /// Whose it is.
    pub user_id: String,
    /// Which provider.
    pub provider: String,
    /// Where it stands.
    pub status: Status,
    /// The model that was asked for.
    pub model: Option<String>,
    /// The conversation that it belongs to.
    pub conversation: Option<String>,
    /// The prompt; null where it is another's.
    pub prompt: Option<String>,
    /// The answer, or what had been said of it when the run ended without one.
    pub text: Option<String>,
    /// What was used.
    pub usage: Option<Usage>,
    /// Why it failed.
    pub error: Option<Failure>,
    /// The caller's own notes.
    #[schema(value_type = Option<Object>)]
    pub metadata: Option<serde_json::Value>,
    /// When it was accepted.
    pub created_at: String,
    /// When it left the queue.
    pub started_at: Option<String>,
    /// When it ended.
    pub finished_at: Option<String>,
    /// From start to end, milliseconds.
    pub duration_ms: Option<i64>,
    /// What else it was asked with: where one run of one's own is looked at, and null in lists.
    pub given: Option<Given>,
}

/// What a run was asked with besides its prompt and model: what asking the same again takes.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Given {
    /// What was added to the tool's own system prompt.
    pub system: Option<String>,
    /// Which of its own tools the tool may use.
    pub tools: Tools,
    /// How long it may take, in seconds.
    pub timeout_s: i64,
    /// The paths of the files that it was given.
    pub files: Vec<String>,
}

impl From<Run> for RunView {
    fn from(run: Run) -> Self {
        Self {
            id: run.id,
            user_id: run.user_id,
            provider: run.provider,
            status: run.status,
            model: run.model,
            conversation: run.conversation,
            prompt: Some(run.prompt),
            text: run.text,
            usage: run.usage,
            error: run.error,
            metadata: run.metadata,
            created_at: time::rfc3339(run.created_at),
            started_at: run.started_at.map(time::rfc3339),
            finished_at: run.finished_at.map(time::rfc3339),
            duration_ms: run.started_at.zip(run.finished_at).map(|(from, to)| to - from),
            given: None,
        }
    }
}

/// How to answer.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct CreateQuery {
    /// Answer when the run has ended, at most 60 s from now.
    #[serde(default)]
    wait: bool,
}

/// Give a prompt to a provider's tool.
///
/// Answers 202 with the run; with `wait=true` 200 when it has ended (202 after 60 s);
/// with `Accept: text/event-stream` the run's events. A caller that leaves does not cancel it: with an
/// `Idempotency-Key`, the same request again finds it.
#[utoipa::path(
    post, path = "/runs", tag = "runs", params(CreateQuery), request_body = CreateRun,
    responses(
        (status = 202, description = "Accepted", body = RunView, headers(("Location" = String, description = "Where the run is"))),
        (status = 200, description = "Ended (`wait=true`), or the events (`Accept: text/event-stream`)",
            content((RunView = "application/json"), (Event = "text/event-stream"))),
        (status = 401, description = "No valid key", body = ErrorBody),
        (status = 403, description = "The key lacks `runs:write`", body = ErrorBody),
        (status = 404, description = "Unknown provider, or the run of this `Idempotency-Key` was deleted", body = ErrorBody),
        (status = 409, description = "Not connected", body = ErrorBody),
        (status = 413, description = "The body is too large", body = ErrorBody),
        (status = 422, description = "Bad JSON, type, value or unknown field", body = ErrorBody),
        (status = 429, description = "Too many runs are waiting, streams are open, or requests", body = ErrorBody),
        (status = 501, description = "Conversations, which are to come", body = ErrorBody),
        (status = 503, description = "The image has not been built", body = ErrorBody),
    )
)]
async fn create(
    State(app): State<App>,
    caller: Caller,
    auth: Auth,
    Query(query): Query<CreateQuery>,
    headers: HeaderMap,
    (claim, repeat): (Option<Extension<Claim>>, Option<Extension<Repeat>>),
    Body(body): Body<CreateRun>,
) -> ApiResult<Response> {
    let who = auth.require(Scope::RunsWrite)?;
    if body.conversation.is_some() {
        return Err(ApiError::new(Code::NotYet, "conversations are to come in a later version")
            .hint("Leave `conversation` out."));
    }
    let open = wants_events(&headers).then(|| app.streams.open(&who, caller.address)).transpose()?;
    let id = match repeat {
        Some(Extension(Repeat(run))) => own(&app, &who, &run).await?.id,
        None => {
            let claim = claim.map(|Extension(claim)| claim);
            app.runs.accept(&who.user_id, Wish { claim, ..body.into_wish()? }).await?
        }
    };
    let location = [(header::LOCATION, format!("/api/v1/runs/{id}"))];
    if let Some(open) = open {
        return Ok(
            (location, sse::response(&app, who, open, sse::events::<Event>(Follow::new(&app, id, 0)))).into_response()
        );
    }
    if query.wait {
        tokio::select! {
            // Over or not, the answer shows the run as it is then.
            _ = tokio::time::timeout(WAIT, app.runs.ended(&id)) => {}
            () = turned_away(app.clone(), who.clone()) => return Err(PeopleError::Over.into()),
        }
    }
    let run = own(&app, &who, &id).await?;
    let status = if query.wait && run.status.is_over() { StatusCode::OK } else { StatusCode::ACCEPTED };
    Ok((status, location, Json(RunView::from(run))).into_response())
}

impl CreateRun {
    fn into_wish(self) -> ApiResult<Wish> {
        let known = |name: &str| providers::by_name(name).is_some();
        if !known(&self.provider) {
            return Err(super::providers::unknown(&self.provider));
        }
        let decode = |(at, file): (usize, CreateFile)| match BASE64_STANDARD.decode(&file.content_base64) {
            Ok(content) => Ok(WorkFile { path: file.path, content }),
            Err(error) => Err(ApiError::new(Code::InvalidRequest, format!("`files[{at}].content_base64`: {error}"))),
        };
        Ok(Wish {
            provider: self.provider,
            prompt: self.prompt,
            model: self.model,
            system: self.system,
            tools: self.tools.unwrap_or_default(),
            timeout_s: self.timeout_s,
            metadata: self.metadata,
            files: self.files.unwrap_or_default().into_iter().enumerate().map(decode).collect::<ApiResult<_>>()?,
            claim: None,
        })
    }
}

/// Whether the events are asked for, and not the run.
pub(super) fn wants_events(headers: &HeaderMap) -> bool {
    headers
        .get_all(header::ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|kind| kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("text/event-stream")))
}

/// Which runs.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct RunsQuery {
    /// How many items, from 1 to 200; 50 when not given.
    #[param(value_type = Option<i64>, minimum = 1, maximum = 200)]
    limit: Option<String>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
    /// Only those in this state.
    status: Option<Status>,
    /// Only those of this provider.
    provider: Option<String>,
    /// For admins: those of this person, or of everybody with `all`, without `prompt`, `text`, `metadata` and the
    /// words of `error`.
    user_id: Option<String>,
}

/// One's own runs, newest first.
///
/// A page whose texts come to 4 MiB ends there, with a `next_cursor`.
#[utoipa::path(
    get, path = "/runs", tag = "runs", params(RunsQuery),
    responses(
        (status = 200, description = "A page", body = Page<RunView>),
        (status = 400, description = "Bad `limit` or `cursor`", body = ErrorBody),
        (status = 401, description = "No valid key", body = ErrorBody),
        (status = 403, description = "The key lacks `runs:read`, or others' runs for somebody who is no admin", body = ErrorBody),
        (status = 404, description = "Unknown provider", body = ErrorBody),
        (status = 422, description = "An unknown parameter or `status`", body = ErrorBody),
    )
)]
async fn list(State(app): State<App>, auth: Auth, Query(query): Query<RunsQuery>) -> ApiResult<Json<Page<RunView>>> {
    let who = auth.require(Scope::RunsRead)?;
    let RunsQuery { limit, cursor, status, provider, user_id } = query;
    let page = PageQuery { limit, cursor };
    let provider = provider.as_deref().map(super::providers::find).transpose()?;
    let filter = Filter { status, provider: provider.map(|provider| provider.about().name) };
    let key = |run: &Run| After { created_at: run.created_at, id: run.id.clone() };
    if let Some(whose) = others::whose(&who, user_id)? {
        let limit = page.limit()?;
        let runs = app.store.runs_seen(whose.user_id(), filter, page.after()?.as_ref(), limit + 1).await?;
        return Ok(Json(Page::of(runs, limit, key, others::run_seen)));
    }
    let (runs, more) = app.store.runs_of(&who.user_id, filter, page.after()?.as_ref(), page.limit()?).await?;
    Ok(Json(Page::whole(runs, more, key, RunView::from)))
}

/// A run. An admin sees another's, without its words.
#[utoipa::path(
    get, path = "/runs/{id}", tag = "runs", params(("id" = String, Path, description = "The run's id")),
    responses(
        (status = 200, description = "The run", body = RunView),
        (status = 401, description = "No valid key", body = ErrorBody),
        (status = 403, description = "The key lacks `runs:read`", body = ErrorBody),
        (status = 404, description = "No such run, or another person's", body = ErrorBody),
    )
)]
async fn show(State(app): State<App>, auth: Auth, Path(id): Path<String>) -> ApiResult<Json<RunView>> {
    let who = auth.require(Scope::RunsRead)?;
    let run = others::run(&app, &who, &id).await?;
    let given = if run.user_id == who.user_id {
        let files = app.store.run_file_paths(&run.id).await?;
        Some(Given { system: run.system.clone(), tools: run.tools, timeout_s: run.timeout_s, files })
    } else {
        None
    };
    Ok(Json(RunView { given, ..others::run_view(&who, run) }))
}

/// Delete a run that is over, with its events, files and sandboxes.
#[utoipa::path(
    delete, path = "/runs/{id}", tag = "runs", params(("id" = String, Path, description = "The run's id")),
    responses(
        (status = 204, description = "It is gone"),
        (status = 401, description = "No valid key", body = ErrorBody),
        (status = 403, description = "The key lacks `runs:write`", body = ErrorBody),
        (status = 404, description = "No such run, or another person's", body = ErrorBody),
        (status = 409, description = "It is not over", body = ErrorBody),
    )
)]
async fn delete(State(app): State<App>, auth: Auth, Path(id): Path<String>) -> ApiResult<StatusCode> {
    let who = auth.require(Scope::RunsWrite)?;
    if !own(&app, &who, &id).await?.status.is_over() {
        return Err(ApiError::new(Code::Conflict, format!("run `{id}` is not over"))
            .hint(format!("Cancel it first: `POST /api/v1/runs/{id}/cancel`.")));
    }
    // Whoever was quicker has deleted it as well.
    app.runs.delete(&id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Which events.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct EventsQuery {
    /// The number of the last event that the caller has.
    #[param(minimum = 0)]
    after: Option<i64>,
}

impl EventsQuery {
    /// The number that they come after: 0 is the start.
    pub(super) fn after(&self) -> ApiResult<i64> {
        match self.after {
            Some(after) if after < 0 => Err(ApiError::new(Code::InvalidRequest, "`after` is below 0")),
            after => Ok(after.unwrap_or(0)),
        }
    }

    /// The same, unless `Last-Event-ID` says it.
    pub(super) fn after_of(&self, headers: &HeaderMap) -> ApiResult<i64> {
        let Some(value) = headers.get("last-event-id") else { return self.after() };
        let after = value.to_str().ok().and_then(|text| text.parse().ok()).filter(|after| *after >= 0);
        after.ok_or_else(|| ApiError::new(Code::InvalidRequest, "`Last-Event-ID` is not the number of an event"))
    }
}

/// A run's events, from its start or after a number, until its end.
///
/// Server-sent events: `id` is the number, `event` the type, `data` the event.
/// `Last-Event-ID` or `?after=` resumes; after the last event 204.
#[utoipa::path(
    get, path = "/runs/{id}/events", tag = "runs",
    params(("id" = String, Path, description = "The run's id"), EventsQuery),
    responses(
        (status = 200, description = "The events", body = Event, content_type = "text/event-stream"),
        (status = 204, description = "There are no more"),
        (status = 401, description = "No valid key", body = ErrorBody),
        (status = 403, description = "The key lacks `runs:read`", body = ErrorBody),
        (status = 404, description = "No such run, or another person's", body = ErrorBody),
        (status = 422, description = "Bad `after` or `Last-Event-ID`", body = ErrorBody),
        (status = 429, description = "Too many streams are open, or too many requests", body = ErrorBody),
    )
)]
async fn events(
    State(app): State<App>,
    caller: Caller,
    auth: Auth,
    Path(id): Path<String>,
    Query(query): Query<EventsQuery>,
    headers: HeaderMap,
) -> ApiResult<Response> {
    let who = auth.require(Scope::RunsRead)?;
    let run = own(&app, &who, &id).await?;
    let after = query.after_of(&headers)?;
    if run.status.is_over() && !app.store.has_events_after(&run.id, after).await? {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let open = app.streams.open(&who, caller.address)?;
    Ok(sse::response(&app, who, open, sse::events::<Event>(Follow::new(&app, run.id, after))))
}

/// Cancel a run. An admin may cancel another's.
#[utoipa::path(
    post, path = "/runs/{id}/cancel", tag = "runs", params(("id" = String, Path, description = "The run's id")),
    responses(
        (status = 202, description = "It will be cancelled; without its words where the key lacks `runs:read`", body = RunView),
        (status = 401, description = "No valid key", body = ErrorBody),
        (status = 403, description = "The key lacks `runs:write`", body = ErrorBody),
        (status = 404, description = "No such run, or another person's", body = ErrorBody),
        (status = 409, description = "It is over", body = ErrorBody),
    )
)]
async fn cancel(
    State(app): State<App>,
    caller: Caller,
    auth: Auth,
    Path(id): Path<String>,
) -> ApiResult<(StatusCode, Option<Extension<NotKept>>, Json<RunView>)> {
    let who = auth.require(Scope::RunsWrite)?;
    let run = others::run(&app, &who, &id).await?;
    // A key of an admin's that was not made for that may not be told of another's run.
    let not_kept = (run.user_id != who.user_id).then_some(Extension(NotKept));
    let (runs, run_id) = (app.runs.clone(), run.id);
    let cancelled = async move {
        if runs.cancel(&run_id).await? {
            return Ok(());
        }
        Err(ApiError::new(Code::Conflict, format!("run `{run_id}` is over")).hint("There is nothing left to cancel."))
    };
    if run.user_id == who.user_id {
        cancelled.await?;
    } else {
        let deed = Deed::new(caller.actor(&who), Action::RunCancel).to(&id).of(run.user_id);
        app.audit.record(deed, cancelled, |()| None).await?;
    }
    let run = others::run(&app, &who, &id).await?;
    Ok((StatusCode::ACCEPTED, not_kept, Json(others::run_view(&who, run))))
}

/// The run, if it is the person's own.
pub(super) async fn own(app: &App, who: &Principal, id: &str) -> ApiResult<Run> {
    let run = find(app, id).await?;
    if run.user_id == who.user_id { Ok(run) } else { Err(none(id)) }
}

/// The run, whoever's it is.
pub(super) async fn find(app: &App, id: &str) -> ApiResult<Run> {
    let run = if id::is_one(id) { app.store.run(id).await? } else { None };
    run.ok_or_else(|| none(id))
}

fn none(id: &str) -> ApiError {
    ApiError::new(Code::NotFound, format!("there is no run `{}`", id.chars().take(64).collect::<String>()))
        .hint("`GET /api/v1/runs` lists yours.")
}
