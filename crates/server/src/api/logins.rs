//! `/logins`: a desktop to sign in at a provider: open, look, follow, extend, cancel. To sign in beside it: `links.rs`.

use super::{
    App,
    caller::Caller,
    error::{ApiError, ApiResult, ErrorBody},
    extract::{Auth, Body, Path, Query},
    follow::Follow,
    others,
    page::{Page, PageQuery},
    providers::find,
    runs::EventsQuery,
    sse,
    tickets::LASTS,
};
use crate::{
    domain::{
        audit::{Action, Deed},
        failure::{Code, Failure},
        id,
        login::{Event, LinkPage, Login, Question, Stage, Status},
        people::{Principal, Scope},
        time,
    },
    store::runs::After,
};
use axum::{
    Json,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use url::Url;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

/// After how many seconds somebody may ask again for whom there is no desktop now.
const RETRY_AFTER_S: u64 = 30;

/// What is served here.
pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(open, list))
        .routes(routes!(show, cancel))
        .routes(routes!(events))
        .routes(routes!(extend))
        .routes(routes!(confirm))
        .routes(routes!(ticket))
}

/// Where to sign in.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OpenLogin {
    /// `claude`, `codex` or `gemini`.
    #[schema(examples("claude"))]
    provider: String,
}

/// A login: a desktop, open for minutes, in which its person signs in at a provider.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct LoginView {
    /// `lgn_…`.
    pub id: String,
    /// Whose it is.
    pub user_id: String,
    /// Which provider.
    pub provider: String,
    /// Where it stands. `ready` means that a key pressed now reaches the terminal.
    pub status: Status,
    /// How far its desktop is.
    pub stages: Vec<Stage>,
    /// What to type in its terminal.
    pub command: Option<String>,
    /// What its person is asked before it is kept, while it is `verifying`; null where nothing is.
    pub question: Option<QuestionView>,
    /// By what its person may sign in with a browser of their own, once the tool has shown it; null otherwise.
    pub link: Option<LinkPage>,
    /// When it was asked for.
    pub started_at: String,
    /// Its deadline.
    pub expires_at: String,
    /// When it ended.
    pub completed_at: Option<String>,
    /// Why it failed.
    pub error: Option<Failure>,
    /// The WebSocket of its screen.
    pub desktop_url: String,
    /// Its page in the browser.
    pub page_url: String,
    /// Its events.
    pub events_url: String,
}

/// Somebody has signed in with another account than the one that is connected. `POST /logins/{id}/confirm` agrees to
/// that; to sign in anew in the same desktop, or to cancel, does not.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = LoginQuestion)]
pub struct QuestionView {
    /// The account that they have signed in with.
    pub account: String,
    /// The one that is connected.
    pub before: String,
}

impl QuestionView {
    fn of(question: Question) -> Option<Self> {
        let Question { account, before, agreed, .. } = question;
        (!agreed).then_some(Self { account, before })
    }
}

impl LoginView {
    /// A login as its owner sees it on a server at this address.
    pub(super) fn of(login: Login, public_url: &Url) -> Self {
        let at = |path: String| public_url.join(&path).map(String::from).unwrap_or(path);
        let events_url = at(format!("/api/v1/logins/{}/events", login.id));
        let desktop_url = at(format!("/api/v1/logins/{}/desktop", login.id));
        Self {
            // `http` becomes `ws`, and `https` becomes `wss`.
            desktop_url: desktop_url.replacen("http", "ws", 1),
            page_url: at(format!("/logins/{}", login.id)),
            events_url,
            id: login.id,
            user_id: login.user_id,
            provider: login.provider,
            status: login.status,
            stages: login.stages,
            command: login.command,
            link: login.link.and_then(|link| link.page),
            question: login.question.and_then(QuestionView::of),
            started_at: time::rfc3339(login.started_at),
            expires_at: time::rfc3339(login.expires_at),
            completed_at: login.completed_at.map(time::rfc3339),
            error: login.error,
        }
    }
}

/// Sign in at a provider in a desktop.
///
/// Answers 201 with a new login, or 200 with the one that the person has open with this provider.
#[utoipa::path(
    post, path = "/logins", tag = "logins", request_body = OpenLogin,
    responses(
        (status = 201, description = "Opened", body = LoginView, headers(("Location" = String, description = "Where the login is"))),
        (status = 200, description = "The one that is open", body = LoginView, headers(("Location" = String, description = "Where the login is"))),
        (status = 401, description = "No valid key", body = ErrorBody),
        (status = 403, description = "The key lacks `logins`, or signing in to this provider is switched off", body = ErrorBody),
        (status = 404, description = "Unknown provider", body = ErrorBody),
        (status = 413, description = "The body is too large", body = ErrorBody),
        (status = 422, description = "Bad JSON, type, value or unknown field", body = ErrorBody),
        (status = 429, description = "As many people are signing in as may at a time, or too many requests", body = ErrorBody),
        (status = 503, description = "The image has not been built, or there is no memory for a desktop", body = ErrorBody),
    )
)]
async fn open(
    State(app): State<App>,
    caller: Caller,
    auth: Auth,
    Body(body): Body<OpenLogin>,
) -> ApiResult<impl IntoResponse> {
    let who = auth.require(Scope::Logins)?;
    let (login, is_new) = opened(&app, &caller, &who, &body.provider).await?;
    let status = if is_new { StatusCode::CREATED } else { StatusCode::OK };
    let location = [(header::LOCATION, format!("/api/v1/logins/{}", login.id))];
    Ok((status, location, Json(LoginView::of(login, &app.public_url))))
}

/// The person's open login with this provider, made where there is none: which, and whether it was made.
pub(super) async fn opened(app: &App, caller: &Caller, who: &Principal, name: &str) -> ApiResult<(Login, bool)> {
    let provider = find(name)?;
    let deed = Deed::new(caller.actor(who), Action::LoginOpen).how(provider.about().name);
    let (logins, user_id) = (app.runs.logins(), who.user_id.clone());
    let opened = async move {
        logins.open(&user_id, provider).await.map_err(|failure| match failure.code {
            Code::QueueFull | Code::DriverUnavailable => ApiError::from(failure).retry_after(RETRY_AFTER_S),
            _other => failure.into(),
        })
    };
    app.audit.record(deed, opened, |(login, _)| Some(login.id.clone())).await
}

/// Which logins.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
struct LoginsQuery {
    /// How many items, from 1 to 200; 50 when not given.
    #[param(value_type = Option<i64>, minimum = 1, maximum = 200)]
    limit: Option<String>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
    /// For admins: those of this person, or of everybody with `all`, without the words of `error` and of what they
    /// wait for.
    user_id: Option<String>,
}

/// One's own logins, newest first.
#[utoipa::path(
    get, path = "/logins", tag = "logins", params(LoginsQuery),
    responses(
        (status = 200, description = "A page", body = Page<LoginView>),
        (status = 400, description = "Bad `limit` or `cursor`", body = ErrorBody),
        (status = 401, description = "No valid key", body = ErrorBody),
        (status = 403, description = "The key lacks `logins`, or others' for somebody who is no admin", body = ErrorBody),
        (status = 422, description = "An unknown parameter", body = ErrorBody),
    )
)]
async fn list(
    State(app): State<App>,
    auth: Auth,
    Query(query): Query<LoginsQuery>,
) -> ApiResult<Json<Page<LoginView>>> {
    let who = auth.require(Scope::Logins)?;
    let LoginsQuery { limit, cursor, user_id } = query;
    let page = PageQuery { limit, cursor };
    let (limit, after) = (page.limit()?, page.after()?);
    let key = |login: &Login| After { created_at: login.started_at, id: login.id.clone() };
    if let Some(whose) = others::whose(&who, user_id)? {
        let rows = app.store.logins_seen(whose.user_id(), after.as_ref(), limit + 1).await?;
        return Ok(Json(Page::of(rows, limit, key, |login| others::login_seen(login, &app.public_url))));
    }
    let rows = app.store.logins_of(&who.user_id, after.as_ref(), limit + 1).await?;
    Ok(Json(Page::of(rows, limit, key, |login| LoginView::of(login, &app.public_url))))
}

/// A login. An admin sees another's, without its words.
#[utoipa::path(
    get, path = "/logins/{id}", tag = "logins", params(("id" = String, Path, description = "The login's id")),
    responses(
        (status = 200, description = "The login", body = LoginView),
        (status = 401, description = "No valid key", body = ErrorBody),
        (status = 403, description = "The key lacks `logins`", body = ErrorBody),
        (status = 404, description = "No such login, or another person's", body = ErrorBody),
    )
)]
async fn show(State(app): State<App>, auth: Auth, Path(id): Path<String>) -> ApiResult<Json<LoginView>> {
    let who = auth.require(Scope::Logins)?;
    let login = others::login(&app, &who, &id).await?;
    if login.user_id == who.user_id {
        return Ok(Json(LoginView::of(login, &app.public_url)));
    }
    Ok(Json(others::login_seen(login, &app.public_url)))
}

/// A login's events, from its start or after a number, until its end.
///
/// Server-sent events: `id` is the number, `event` the type, `data` the event.
/// `Last-Event-ID` or `?after=` resumes; after the last event 204.
#[utoipa::path(
    get, path = "/logins/{id}/events", tag = "logins",
    params(("id" = String, Path, description = "The login's id"), EventsQuery),
    responses(
        (status = 200, description = "The events", body = Event, content_type = "text/event-stream"),
        (status = 204, description = "There are no more"),
        (status = 401, description = "No valid key", body = ErrorBody),
        (status = 403, description = "The key lacks `logins`", body = ErrorBody),
        (status = 404, description = "No such login, or another person's", body = ErrorBody),
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
    let who = auth.require(Scope::Logins)?;
    let login = own(&app, &who, &id).await?;
    let after = query.after_of(&headers)?;
    if login.status.is_over() && !app.store.has_login_events_after(&login.id, after).await? {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let open = app.streams.open(&who, caller.address)?;
    Ok(sse::response(&app, who, open, sse::events::<Event>(Follow::new(&app, login.id, after))))
}

/// Give a login 300 s more, up to an hour from when it was asked for.
#[utoipa::path(
    post, path = "/logins/{id}/extend", tag = "logins", params(("id" = String, Path, description = "The login's id")),
    responses(
        (status = 200, description = "The login with its new deadline", body = LoginView),
        (status = 401, description = "No valid key", body = ErrorBody),
        (status = 403, description = "The key lacks `logins`", body = ErrorBody),
        (status = 404, description = "No such login, or another person's", body = ErrorBody),
        (status = 409, description = "It lasts as long as it may, or its deadline is over", body = ErrorBody),
        (status = 410, description = "It is over", body = ErrorBody),
    )
)]
async fn extend(
    State(app): State<App>,
    caller: Caller,
    auth: Auth,
    Path(id): Path<String>,
) -> ApiResult<Json<LoginView>> {
    let who = auth.require(Scope::Logins)?;
    let id = own(&app, &who, &id).await?.id;
    let deed = Deed::new(caller.actor(&who), Action::LoginExtend).to(&id);
    let logins = app.runs.logins();
    let extended = async move { Ok::<_, ApiError>(logins.extend(&id).await?) };
    let login = app.audit.record(deed, extended, |_| None).await?;
    Ok(Json(LoginView::of(login, &app.public_url)))
}

/// What is agreed to.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Confirm {
    /// `account` of the question.
    #[schema(examples("ada@example.com"))]
    account: String,
}

/// Agree that the account that one has signed in with takes the place of the one that is connected.
///
/// The login then goes on to `connected`. It may be said twice.
#[utoipa::path(
    post, path = "/logins/{id}/confirm", tag = "logins", params(("id" = String, Path, description = "The login's id")),
    request_body = Confirm,
    responses(
        (status = 200, description = "The login", body = LoginView),
        (status = 401, description = "No valid key", body = ErrorBody),
        (status = 403, description = "The key lacks `logins`", body = ErrorBody),
        (status = 404, description = "No such login, or another person's", body = ErrorBody),
        (status = 409, description = "Nothing is asked about this account", body = ErrorBody),
        (status = 410, description = "It is over", body = ErrorBody),
        (status = 413, description = "The body is too large", body = ErrorBody),
        (status = 422, description = "Bad JSON, type, value or unknown field", body = ErrorBody),
    )
)]
async fn confirm(
    State(app): State<App>,
    caller: Caller,
    auth: Auth,
    Path(id): Path<String>,
    body: ApiResult<Body<Confirm>>,
) -> ApiResult<Json<LoginView>> {
    let who = auth.require(Scope::Logins)?;
    // Before anything is said of what was sent: whose it is.
    let id = own(&app, &who, &id).await?.id;
    let Body(body) = body?;
    let deed = Deed::new(caller.actor(&who), Action::LoginConfirm).to(&id);
    let logins = app.runs.logins();
    let confirmed = async move { Ok::<_, ApiError>(logins.confirm(&id, body.account).await?) };
    let login = app.audit.record(deed, confirmed, |_| None).await?;
    Ok(Json(LoginView::of(login, &app.public_url)))
}

/// Cancel a login, an admin another's: its desktop is destroyed. One that is over stays as it is.
#[utoipa::path(
    delete, path = "/logins/{id}", tag = "logins", params(("id" = String, Path, description = "The login's id")),
    responses(
        (status = 204, description = "It will be cancelled, or is over"),
        (status = 401, description = "No valid key", body = ErrorBody),
        (status = 403, description = "The key lacks `logins`", body = ErrorBody),
        (status = 404, description = "No such login, or another person's", body = ErrorBody),
    )
)]
async fn cancel(State(app): State<App>, caller: Caller, auth: Auth, Path(id): Path<String>) -> ApiResult<StatusCode> {
    let who = auth.require(Scope::Logins)?;
    let login = others::login(&app, &who, &id).await?;
    if !login.status.is_over() {
        let deed = Deed::new(caller.actor(&who), Action::LoginCancel).to(&login.id).of(login.user_id);
        let logins = app.runs.logins();
        let cancelled = async move { Ok::<_, ApiError>(logins.cancel(&login.id).await?) };
        app.audit.record(deed, cancelled, |_| None).await?;
    }
    Ok(StatusCode::NO_CONTENT)
}

/// What lets somebody look at a login's screen, once.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct TicketView {
    /// For `?ticket=` of the WebSocket.
    pub ticket: String,
    /// Until when it is good.
    pub expires_at: String,
    /// The WebSocket with it.
    pub desktop_url: String,
}

/// A ticket for a login's WebSocket, for who can set no header there: good once, within 30 s.
#[utoipa::path(
    post, path = "/logins/{id}/tickets", tag = "logins", params(("id" = String, Path, description = "The login's id")),
    responses(
        (status = 201, description = "A ticket", body = TicketView),
        (status = 401, description = "No valid key", body = ErrorBody),
        (status = 403, description = "The key lacks `logins`", body = ErrorBody),
        (status = 404, description = "No such login, or another person's", body = ErrorBody),
        (status = 410, description = "It is over", body = ErrorBody),
    )
)]
async fn ticket(
    State(app): State<App>,
    caller: Caller,
    auth: Auth,
    Path(id): Path<String>,
) -> ApiResult<(StatusCode, Json<TicketView>)> {
    let who = auth.require(Scope::Logins)?;
    let login = own(&app, &who, &id).await?;
    if login.status.is_over() {
        return Err(over(&login));
    }
    let deed = Deed::new(caller.actor(&who), Action::LoginTicket).to(&login.id);
    let (tickets, id) = (app.desktops.tickets.clone(), login.id.clone());
    let made = async move { Ok::<_, ApiError>(tickets.make(&id, who, Instant::now())) };
    let ticket = app.audit.record(deed, made, |_| None).await?;
    let view = LoginView::of(login, &app.public_url);
    let expires_at = time::rfc3339(time::now_ms() + LASTS.as_millis() as i64);
    let desktop_url = format!("{}?ticket={ticket}", view.desktop_url);
    Ok((StatusCode::CREATED, Json(TicketView { ticket, expires_at, desktop_url })))
}

/// Why nobody can look at a login that is over.
pub(super) fn over(login: &Login) -> ApiError {
    ApiError::new(Code::Gone, format!("login `{}` is over: it is {}", login.id, login.status.as_str()))
        .hint("Open another one: `POST /api/v1/logins`.")
}

/// The login, if it is the person's own.
pub(super) async fn own(app: &App, who: &Principal, id: &str) -> ApiResult<Login> {
    let login = find_login(app, id).await?;
    if login.user_id == who.user_id { Ok(login) } else { Err(none(id)) }
}

/// The login, whoever's it is.
pub(super) async fn find_login(app: &App, id: &str) -> ApiResult<Login> {
    let login = if id::is_one(id) { app.store.login(id).await? } else { None };
    login.ok_or_else(|| none(id))
}

fn none(id: &str) -> ApiError {
    ApiError::new(Code::NotFound, format!("there is no login `{}`", id.chars().take(64).collect::<String>()))
        .hint("`GET /api/v1/logins` lists yours.")
}
