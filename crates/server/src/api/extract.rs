//! What handlers take from a request, with our errors when it is not there.

use super::{
    App, cookie,
    error::{ApiError, ApiResult},
    rate::Asker,
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
    http::{HeaderMap, StatusCode, header, request::Parts},
};
use serde::de::DeserializeOwned;
use std::net::IpAddr;
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
    /// The same of somebody who has shown a first scope, for what needs a second.
    pub fn also(who: &Principal, scope: Scope) -> ApiResult<()> {
        Self(who.clone()).require(scope).map(drop)
    }

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

    async fn from_request_parts(parts: &mut Parts, _: &App) -> ApiResult<Self> {
        let asker = parts.extensions.get::<Asker>().cloned();
        asker.ok_or_else(|| ApiError::fault("a request that was not counted".into()))?.0.map(Self)
    }
}

/// What a request shows to be let in: a key, or the session cookie.
pub(super) fn shown(headers: &HeaderMap) -> ApiResult<(TokenKind, &str)> {
    if let Some(value) = headers.get(header::AUTHORIZATION) {
        let bearer = value.to_str().ok().and_then(|value| value.split_once(' '));
        let bearer = bearer.filter(|(kind, _)| kind.eq_ignore_ascii_case("bearer"));
        let token = bearer.map(|(_, token)| token.trim());
        return token
            .map(|token| (TokenKind::Key, token))
            .ok_or_else(|| nobody(TokenKind::Key, "`Authorization` is not `Bearer` and a key"));
    }
    let token = cookie::read(headers);
    token
        .map(|token| (TokenKind::Session, token))
        .ok_or_else(|| nobody(TokenKind::Session, "neither an API key nor a session was sent"))
}

/// Who comes with what is shown.
pub(super) async fn look_up(app: &App, kind: TokenKind, token: &str, address: IpAddr) -> ApiResult<Principal> {
    let now = time::now_ms();
    let (who, otherwise) = match kind {
        TokenKind::Key => (
            people::authenticate_bearer(&app.store, token, now).await?,
            "the API key is not valid: unknown, expired or revoked",
        ),
        TokenKind::Session => {
            (people::authenticate_session(&app.store, token, &address.to_string(), now).await?, "the session is over")
        }
    };
    who.ok_or_else(|| nobody(kind, otherwise))
}

fn nobody(kind: TokenKind, message: &str) -> ApiError {
    ApiError::new(Code::Unauthenticated, message).hint(match kind {
        TokenKind::Key => "Send `Authorization: Bearer pdv_…`; `polydev key create` makes a key.",
        TokenKind::Session => "Send `Authorization: Bearer pdv_…` (`polydev key create` makes a key), or sign in.",
    })
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
