//! `/session`, `/sessions`: signing in and out, and where one is signed in.

use super::{
    App,
    caller::Caller,
    cookie,
    error::{ApiError, ApiResult, ErrorBody},
    extract::{Auth, Body, Path, Query},
    host::OwnPage,
    me::Me,
    page::{Page, PageQuery},
    setup::SignedIn,
};
use crate::{
    domain::{
        audit::{Action, Deed},
        failure::{Code, Failure},
        people::{self, Attempt, Place, Room, Session, TokenKind},
        rates::TokenHash,
        time,
    },
    store::runs::After,
};
use axum::{
    Json,
    extract::State,
    http::{HeaderName, HeaderValue, StatusCode, header},
};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

/// What is served here.
pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(create, delete)).routes(routes!(list)).routes(routes!(revoke))
}

/// Who signs in.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct SignIn {
    /// Their email.
    #[schema(examples("you@example.com"))]
    email: String,
    /// Their password.
    #[schema(value_type = String)]
    password: SecretString,
}

/// Where somebody is signed in.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct SessionView {
    /// `ses_…`.
    pub id: String,
    /// Whether it is the session of this request.
    pub current: bool,
    /// The program that signed in, as it calls itself.
    pub agent: Option<String>,
    /// The address that it was last used from.
    pub address: Option<String>,
    /// When they signed in.
    pub created_at: String,
    /// When it was last used, to the minute.
    pub last_used_at: Option<String>,
    /// When it ends, however much it is used: 30 days after its beginning, or 7 days after its last use.
    pub expires_at: Option<String>,
}

/// Sign in.
///
/// The answer sets the cookie `polydev_session`. A session ends 7 days after its last use, and 30 days after its
/// beginning. Who fails waits before they may try again: longer each time, and at most 15 minutes.
#[utoipa::path(
    post, path = "/session", tag = "people", security(()), request_body = SignIn,
    responses(
        (status = 201, description = "Signed in", body = Me,
            headers(("Set-Cookie" = String, description = "`polydev_session`"))),
        (status = 401, description = "The email or the password is wrong", body = ErrorBody),
        (status = 403, description = "A foreign `Origin`", body = ErrorBody),
        (status = 413, description = "The body is too large", body = ErrorBody),
        (status = 422, description = "Bad JSON or type", body = ErrorBody),
        (status = 429, description = "Too many attempts: wait as long as `Retry-After` says", body = ErrorBody),
    )
)]
async fn create(
    State(app): State<App>,
    _: OwnPage,
    caller: Caller,
    Body(SignIn { email, password }): Body<SignIn>,
) -> ApiResult<SignedIn> {
    let attempt = attempt(&app, &email, &caller)?;
    let room = Room::take()?;
    let account = people::look_up(&app.store, &email).await?;
    let mut deed = Deed::new(caller.anonymous(), Action::SignIn);
    if let Some(user) = account {
        deed = deed.of(user.id);
    }
    let from = Place { agent: caller.agent.clone(), address: caller.address.to_string() };
    let store = app.store.clone();
    let signed_in = async move {
        let signed_in = people::sign_in(&store, room, &email, password, from).await;
        attempt.ended(&signed_in, time::now_ms());
        signed_in
    };
    let (user, session, secret) = app.audit.record(deed, signed_in, |(_, session, _)| Some(session.id.clone())).await?;
    app.rates.was_good(TokenHash::of(secret.expose_secret()));
    let me = Me::from(session.principal(&user));
    Ok((StatusCode::CREATED, [(header::SET_COOKIE, cookie::set(&app.hosts, &secret))], Json(me)))
}

/// Begins an attempt to show a password, unless there were too many.
pub(super) fn attempt(app: &App, email: &str, caller: &Caller) -> ApiResult<Attempt> {
    let now = time::now_ms();
    app.sign_ins.begin(email, caller.address, now).map_err(|wait_ms| too_many(now, wait_ms))
}

/// Somebody is to wait so long before they guess again.
pub(super) fn too_many(now: i64, wait_ms: i64) -> ApiError {
    let mut failure = Failure::new(Code::RateLimited, "there were too many attempts to sign in")
        .hint("Wait as long as `Retry-After` says, or ask the operator for a new password.");
    failure.retry_at = Some(time::rfc3339(now + wait_ms));
    ApiError::from(failure).retry_after((wait_ms as u64).div_ceil(1000))
}

/// Sign out.
#[utoipa::path(
    delete, path = "/session", tag = "people",
    responses(
        (status = 204, description = "Signed out", headers(("Set-Cookie" = String, description = "`polydev_session`, empty"))),
        (status = 401, description = "Not signed in", body = ErrorBody),
        (status = 403, description = "A foreign `Origin`", body = ErrorBody),
        (status = 404, description = "The request has a key, and no session", body = ErrorBody),
    )
)]
async fn delete(
    State(app): State<App>,
    caller: Caller,
    auth: Auth,
) -> ApiResult<(StatusCode, [(HeaderName, HeaderValue); 1])> {
    let who = auth.any();
    match who.token {
        TokenKind::Session => {}
        TokenKind::Key => {
            return Err(ApiError::new(Code::NotFound, "this request has a key, and no session to end")
                .hint("`DELETE /api/v1/keys/{id}` ends a key."));
        }
    }
    let (store, id) = (app.store.clone(), who.token_id.clone());
    let deed = Deed::new(caller.actor(&who), Action::SignOut).to(&id);
    app.audit.record(deed, async move { people::end_session(&store, &id).await }, |()| None).await?;
    app.revoked.send_replace(());
    Ok((StatusCode::NO_CONTENT, [(header::SET_COOKIE, cookie::clear(&app.hosts))]))
}

/// Where one is signed in, newest first.
#[utoipa::path(
    get, path = "/sessions", tag = "people", params(PageQuery),
    responses(
        (status = 200, description = "A page", body = Page<SessionView>),
        (status = 400, description = "Bad `limit` or `cursor`", body = ErrorBody),
        (status = 401, description = "No valid key or session", body = ErrorBody),
        (status = 422, description = "An unknown parameter", body = ErrorBody),
    )
)]
async fn list(
    State(app): State<App>,
    auth: Auth,
    Query(query): Query<PageQuery>,
) -> ApiResult<Json<Page<SessionView>>> {
    let who = auth.any();
    let limit = query.limit()?;
    let rows = people::sessions(&app.store, &who.user_id, query.after()?.as_ref(), limit + 1).await?;
    let place = |session: &Session| After { created_at: session.created_at, id: session.id.clone() };
    let view = |session: Session| SessionView {
        current: session.id == who.token_id,
        id: session.id,
        agent: session.agent,
        address: session.address,
        created_at: time::rfc3339(session.created_at),
        last_used_at: session.last_used_at.map(time::rfc3339),
        expires_at: session.expires_at.map(time::rfc3339),
    };
    Ok(Json(Page::of(rows, limit, place, view)))
}

/// Sign out elsewhere. One that is over stays so.
#[utoipa::path(
    delete, path = "/sessions/{id}", tag = "people", params(("id" = String, Path, description = "The session's id")),
    responses(
        (status = 204, description = "It is over"),
        (status = 401, description = "No valid key or session", body = ErrorBody),
        (status = 403, description = "A key that may do less than the session, or a foreign `Origin`", body = ErrorBody),
        (status = 404, description = "No such session, or another person's", body = ErrorBody),
    )
)]
async fn revoke(State(app): State<App>, caller: Caller, auth: Auth, Path(id): Path<String>) -> ApiResult<StatusCode> {
    let who = auth.any();
    let session = people::own_session(&app.store, &who, &id).await?;
    let deed = Deed::new(caller.actor(&who), Action::SessionRevoke).to(&session.id);
    let store = app.store.clone();
    app.audit.record(deed, async move { people::end_session(&store, &session.id).await }, |()| None).await?;
    app.revoked.send_replace(());
    Ok(StatusCode::NO_CONTENT)
}
