//! From what went wrong to what the caller is told: the only place that knows both codes and statuses.

use super::App;
use crate::domain::{
    audit::Coded,
    failure::{Code, Failure},
    people::PeopleError,
};
use axum::{
    Json,
    extract::{MatchedPath, Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What a handler returns.
pub type ApiResult<T> = Result<T, ApiError>;

/// Why a request was not served.
#[derive(Debug, Clone)]
pub struct ApiError {
    status: StatusCode,
    failure: Box<Failure>,
    retry_after_s: Option<u64>,
    fields: Vec<(HeaderName, HeaderValue)>,
    /// What only the log is told.
    detail: Option<String>,
}

/// The body of every answer that is an error.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct ErrorBody {
    /// What went wrong.
    pub error: Failure,
}

impl ApiError {
    /// An error with the status that belongs to its code.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Failure::new(code, message).into()
    }

    /// A fault of the server: the caller learns nothing of it, the log does.
    pub fn internal(detail: impl std::error::Error) -> Self {
        Self {
            detail: Some(crate::cli::output::chain(&detail)),
            ..Self::from(
                Failure::new(Code::Internal, "the server has a fault")
                    .hint("Look for the request id in the server's log."),
            )
        }
    }

    /// A fault of the server that is no error of its own.
    pub fn fault(detail: String) -> Self {
        #[derive(Debug, thiserror::Error)]
        #[error("{0}")]
        struct Fault(String);
        Self::internal(Fault(detail))
    }

    /// The same with what to do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.failure.hint = Some(hint.into());
        self
    }

    /// The same with another status than the code's own.
    #[must_use]
    pub fn status(mut self, status: StatusCode) -> Self {
        self.status = status;
        self
    }

    /// The same with a `Retry-After`, in seconds.
    #[must_use]
    pub fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after_s = Some(seconds);
        self
    }

    /// The same with this header field.
    #[must_use]
    pub fn field(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.fields.push((name, value));
        self
    }
}

/// The status that a code is answered with.
fn status_of(code: Code) -> StatusCode {
    match code {
        Code::Unauthenticated => StatusCode::UNAUTHORIZED,
        Code::Forbidden | Code::LoginDisabled => StatusCode::FORBIDDEN,
        Code::NotFound => StatusCode::NOT_FOUND,
        Code::InvalidRequest | Code::Unsupported => StatusCode::UNPROCESSABLE_ENTITY,
        Code::BadCursor | Code::BadLimit => StatusCode::BAD_REQUEST,
        Code::Conflict
        | Code::NotConnected
        | Code::NeedsReconnect
        | Code::IdempotencyConflict
        | Code::IdempotencyInProgress
        | Code::ConversationBusy
        | Code::NotReady => StatusCode::CONFLICT,
        Code::Gone => StatusCode::GONE,
        Code::RateLimited | Code::QueueFull => StatusCode::TOO_MANY_REQUESTS,
        Code::ProviderUnavailable => StatusCode::BAD_GATEWAY,
        Code::Timeout => StatusCode::GATEWAY_TIMEOUT,
        Code::ImageMissing | Code::DriverUnavailable => StatusCode::SERVICE_UNAVAILABLE,
        Code::NotYet => StatusCode::NOT_IMPLEMENTED,
        Code::Stalled | Code::ToolCrashed | Code::Interrupted | Code::OutOfMemory | Code::DiskFull | Code::Internal => {
            StatusCode::INTERNAL_SERVER_ERROR
        }
    }
}

impl From<Failure> for ApiError {
    fn from(failure: Failure) -> Self {
        let retry_after_s = matches!(failure.code, Code::RateLimited | Code::QueueFull).then_some(5);
        Self {
            status: status_of(failure.code),
            failure: Box::new(failure),
            retry_after_s,
            fields: Vec::new(),
            detail: None,
        }
    }
}

impl Coded for ApiError {
    fn code(&self) -> Code {
        self.failure.code
    }
}

impl From<PeopleError> for ApiError {
    fn from(error: PeopleError) -> Self {
        let hint = match &error {
            PeopleError::NotSetupLink => {
                "The link is in `setup-link` in the server's data directory, anew with each start."
            }
            PeopleError::SetUp => "Sign in, or ask an admin to add you.",
            PeopleError::SignIn => "The operator can make a new password: `polydev user password EMAIL`.",
            PeopleError::Busy => "Try again in a moment.",
            PeopleError::Exists(_) => "`GET /api/v1/users` lists everybody.",
            PeopleError::LastAdmin => "Make somebody else an admin first.",
            PeopleError::Beyond => "Sign in, or use a key that may do as much.",
            PeopleError::Outlives => "Leave `expires_at` out, or sign in.",
            PeopleError::NoKey(_) => "`GET /api/v1/keys` lists yours.",
            PeopleError::NoSession(_) => "`GET /api/v1/sessions` lists yours.",
            PeopleError::Hash | PeopleError::Store(_) => return Self::internal(error),
            PeopleError::Email(_)
            | PeopleError::NoUser(_)
            | PeopleError::NoUsers
            | PeopleError::WhichUser
            | PeopleError::Disabled(_)
            | PeopleError::Password
            | PeopleError::WrongPassword
            | PeopleError::Over
            | PeopleError::NotAdmin(_)
            | PeopleError::NoScope
            | PeopleError::Past
            | PeopleError::Name => return Self::new(error.code(), error.to_string()),
        };
        Self::new(error.code(), error.to_string()).hint(hint)
    }
}

impl From<crate::store::StoreError> for ApiError {
    fn from(error: crate::store::StoreError) -> Self {
        Self::internal(error)
    }
}

impl IntoResponse for ApiError {
    /// The body is written by [`render`], which knows the request's id.
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

/// Whether a request's body is, or may be, more than what a connection holds unread.
fn is_large(headers: &HeaderMap) -> bool {
    const HELD: u64 = 64 * 1024;
    let length = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    length.is_some_and(|length| length > HELD) || headers.contains_key(header::TRANSFER_ENCODING)
}

/// Gives every request an id, and every error its body.
pub async fn render(State(app): State<App>, mut request: Request, next: Next) -> Response {
    let request_id = crate::domain::id::new("req");
    request.extensions_mut().insert(RequestId(request_id.clone()));
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().cloned();
    let path = request.uri().path().to_owned();
    let started = std::time::Instant::now();
    let large = is_large(request.headers());
    let mut response = next.run(request).await;
    if let Some(error) = response.extensions_mut().remove::<ApiError>() {
        let failure = Failure { request_id: Some(request_id.clone()), ..*error.failure };
        if let Some(detail) = error.detail {
            tracing::error!(%request_id, %method, path, detail, "a request met a fault");
        }
        response = (error.status, Json(ErrorBody { error: failure })).into_response();
        response.headers_mut().extend(error.fields);
        if let Some(seconds) = error.retry_after_s {
            response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        }
        if large {
            // What was not read of the body cannot be skipped: the caller is not to use the connection again.
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        if error.status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if error.status == StatusCode::UPGRADE_REQUIRED {
            response.headers_mut().insert(header::UPGRADE, HeaderValue::from_static("websocket"));
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        }
    }
    if let Ok(value) = HeaderValue::from_str(&request_id) {
        response.headers_mut().insert("x-request-id", value);
    }
    let took = started.elapsed();
    app.runs.metrics().request(&method, route.as_ref().map(MatchedPath::as_str), response.status(), took);
    tracing::debug!(
        %request_id, %method, path,
        status = response.status().as_u16(),
        took_us = took.as_micros() as u64,
        "request"
    );
    response
}

/// The id of a request, as its answer and the log have it.
#[derive(Debug, Clone)]
pub struct RequestId(pub String);
