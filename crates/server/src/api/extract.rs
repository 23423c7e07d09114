//! What handlers take from a request, with our errors when it is not there.

use super::{
    App,
    caller::Caller,
    cookie,
    error::{ApiError, ApiResult},
    host,
    sse::PING,
};
use crate::cli::output::chain;
use crate::domain::{
    failure::{Code, Failure},
    people::{self, Principal, Scope, TokenKind},
    time,
};
use axum::{
    extract::{FromRequest, FromRequestParts, Request},
    http::{StatusCode, header, request::Parts},
};
use serde::de::DeserializeOwned;
use tokio::time::interval;

/// The JSON body of a request.
#[derive(Debug)]
pub struct Body<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> ApiResult<Self> {
        let is_json =
            request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).is_some_and(|value| {
                value.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"))
            });
        if !is_json {
            return Err(ApiError::new(Code::InvalidRequest, "the body is not JSON")
                .hint("Send it with `Content-Type: application/json`."));
        }
        let bytes = bytes::Bytes::from_request(request, state).await.map_err(|rejection| {
            if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE { too_large() } else { cut() }
        })?;
        let mut json = serde_json::Deserializer::from_slice(&bytes);
        let value = serde_path_to_error::deserialize(&mut json).map_err(|error| {
            let path = error.path().to_string();
            let place = if path == "." { String::new() } else { format!("`{path}`: ") };
            Failure::new(Code::InvalidRequest, format!("{place}{}", error.into_inner()))
                .hint("The document at `/docs` shows every field.")
        })?;
        json.end().map_err(|error| Failure::new(Code::InvalidRequest, format!("after the JSON value: {error}")))?;
        Ok(Self(value))
    }
}

/// The body of a request has more bytes than it may: [`super::BODY_MAX`], or [`super::SMALL_BODY_MAX`].
pub(super) fn too_large() -> ApiError {
    ApiError::new(Code::InvalidRequest, "the body is too large")
        .hint(format!(
            "At most {} bytes are allowed, and {} where it is about people and keys.",
            super::BODY_MAX,
            super::SMALL_BODY_MAX
        ))
        .status(StatusCode::PAYLOAD_TOO_LARGE)
}

/// The body of a request ended before its end.
pub(super) fn cut() -> ApiError {
    ApiError::new(Code::InvalidRequest, "the body did not arrive whole")
}

/// Who asks. Every handler that is not open takes it and says what it needs:
/// `let who = auth.require(Scope::RunsWrite)?;`
#[derive(Debug)]
pub struct Auth(Principal);

impl Auth {
    /// The person, if their key or session has this scope.
    pub fn require(self, scope: Scope) -> ApiResult<Principal> {
        if self.0.may(scope) {
            return Ok(self.0);
        }
        Err(match self.0.token {
            TokenKind::Key => ApiError::new(Code::Forbidden, format!("this key does not have the scope `{scope}`"))
                .hint("Make a key that has it with `polydev key create --scope`."),
            TokenKind::Session => ApiError::new(Code::Forbidden, "only an admin may do this"),
        })
    }

    /// Whether it is this person.
    pub fn is(&self, user_id: &str) -> bool {
        self.0.user_id == user_id
    }

    /// The person, whatever their key may do.
    pub fn any(self) -> Principal {
        self.0
    }
}

impl FromRequestParts<App> for Auth {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> ApiResult<Self> {
        let refused = |message: &str| {
            ApiError::new(Code::Unauthenticated, message)
                .hint("Send `Authorization: Bearer pdv_…`; `polydev key create` makes a key.")
        };
        // Who had to know it before the handler has left it here.
        if let Some(known) = parts.extensions.get::<Principal>() {
            return Ok(Self(known.clone()));
        }
        let Some(value) = parts.headers.get(header::AUTHORIZATION) else {
            return by_session(parts, app).await.map(Self);
        };
        let token = value
            .to_str()
            .ok()
            .and_then(|value| value.split_once(' '))
            .filter(|(kind, _)| kind.eq_ignore_ascii_case("bearer"))
            .map(|(_, token)| token.trim())
            .ok_or_else(|| refused("`Authorization` is not `Bearer` and a key"))?;
        let principal = people::authenticate_bearer(&app.store, token, time::now_ms()).await?;
        principal.map(Self).ok_or_else(|| refused("the API key is not valid: unknown, expired or revoked"))
    }
}

/// The person of the session cookie. A browser sends it along with what a foreign page asks for: what changes
/// something, or opens a WebSocket, must come from a page of our own.
async fn by_session(parts: &mut Parts, app: &App) -> ApiResult<Principal> {
    let refused = |message: &str| {
        ApiError::new(Code::Unauthenticated, message)
            .hint("Send `Authorization: Bearer pdv_…` (`polydev key create` makes a key), or sign in.")
    };
    let address = Caller::from_request_parts(parts, app).await?.address.to_string();
    let token = cookie::read(&parts.headers).ok_or_else(|| refused("neither an API key nor a session was sent"))?;
    let principal = people::authenticate_session(&app.store, token, &address, time::now_ms()).await?;
    let principal = principal.ok_or_else(|| refused("the session is over"))?;
    if !parts.method.is_safe() || parts.headers.contains_key(header::UPGRADE) {
        host::own_page(&app.hosts, &parts.headers, true)?;
    }
    Ok(principal)
}

/// Ends when what somebody has shown is no longer good: looked at first of all, since it may have ended just after it
/// was shown, then as often as a stream says that it lives, and at once when something is revoked here.
pub async fn turned_away(app: App, who: Principal) {
    let mut revoked = app.revoked.subscribe();
    let mut timer = interval(PING);
    loop {
        tokio::select! {
            _ = timer.tick() => {}
            _ = revoked.changed() => {}
        }
        match people::is_still_good(&app.store, &who, time::now_ms()).await {
            Ok(true) => {}
            Ok(false) => return,
            Err(error) => tracing::warn!(error = chain(&error), "a stream's key cannot be looked at; it will again"),
        }
    }
}

/// The query of a request.
#[derive(Debug)]
pub struct Query<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> ApiResult<Self> {
        axum::extract::Query::try_from_uri(&parts.uri)
            .map(|axum::extract::Query(query)| Self(query))
            .map_err(|rejection| ApiError::new(Code::InvalidRequest, rejection.body_text()))
    }
}

/// A part of a request's path.
#[derive(Debug)]
pub struct Path<T>(pub T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = ApiError;

    /// What is not text is no name of anything.
    async fn from_request_parts(parts: &mut Parts, state: &S) -> ApiResult<Self> {
        axum::extract::Path::from_request_parts(parts, state)
            .await
            .map(|axum::extract::Path(value)| Self(value))
            .map_err(|_| ApiError::new(Code::NotFound, "there is nothing at this path"))
    }
}
