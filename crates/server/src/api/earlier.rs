//! The names by which logins were opened before there was a `/api/v1`. They answer as `POST /api/v1/logins` does, with
//! `sessionId` beside `id`.

use super::{
    App,
    caller::Caller,
    error::{ApiError, ApiResult, ErrorBody},
    extract::{Auth, Body},
    logins::{LoginView, opened},
};
use crate::{
    domain::{
        failure::Code,
        people::{Principal, Scope},
    },
    providers,
};
use axum::{Json, extract::State, http::StatusCode};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

/// What is served here, below `/api`.
pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(start)).routes(routes!(auth))
}

/// Where to sign in.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct StartLogin {
    /// One's own id.
    user_id: Option<String>,
    /// `claude`, `claude_code`, `codex` or `gemini`.
    #[schema(examples("claude_code"))]
    provider: String,
}

/// Where to sign in.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct VmLogin {
    /// `claude`, `claude_code`, `codex` or `gemini`.
    #[schema(examples("claude_code"))]
    provider: String,
    /// Taken, and ignored: the screen is a WebSocket.
    #[schema(value_type = Value, required = false)]
    #[expect(dead_code, reason = "whatever it is, it is not read")]
    webrtc_offer: Option<serde_json::Value>,
}

/// A login, as it was answered before too.
#[derive(Debug, Serialize, ToSchema)]
pub struct EarlierLogin {
    /// The same as `id`.
    #[serde(rename = "sessionId")]
    session_id: String,
    #[serde(flatten)]
    login: LoginView,
}

/// Sign in at a provider: an earlier name of `POST /api/v1/logins`.
#[utoipa::path(
    post, path = "/auth/start", tag = "logins", request_body = StartLogin,
    responses(
        (status = 201, description = "Opened", body = EarlierLogin),
        (status = 200, description = "The one that is open", body = EarlierLogin),
        (status = 401, description = "No valid key", body = ErrorBody),
        (status = 403, description = "The key lacks `logins`, signing in is switched off, or `userId` is another's", body = ErrorBody),
        (status = 404, description = "Unknown provider", body = ErrorBody),
        (status = 413, description = "The body is too large", body = ErrorBody),
        (status = 422, description = "Bad JSON, type, value or unknown field", body = ErrorBody),
        (status = 429, description = "As many people are signing in as may at a time, or too many requests", body = ErrorBody),
        (status = 503, description = "The image has not been built, or there is no memory for a desktop", body = ErrorBody),
    )
)]
async fn start(
    State(app): State<App>,
    caller: Caller,
    auth: Auth,
    Body(body): Body<StartLogin>,
) -> ApiResult<(StatusCode, Json<EarlierLogin>)> {
    let who = auth.require(Scope::Logins)?;
    if body.user_id.is_some_and(|user_id| user_id != who.user_id) {
        return Err(ApiError::new(Code::Forbidden, "`userId` is not your own id: nobody signs in for another")
            .hint("Leave it out."));
    }
    answer(&app, &caller, &who, &body.provider).await
}

/// Sign in at a provider: an earlier name of `POST /api/v1/logins`.
#[utoipa::path(
    post, path = "/vm/auth", tag = "logins", request_body = VmLogin,
    responses(
        (status = 201, description = "Opened", body = EarlierLogin),
        (status = 200, description = "The one that is open", body = EarlierLogin),
        (status = 401, description = "No valid key", body = ErrorBody),
        (status = 403, description = "The key lacks `logins`, or signing in is switched off", body = ErrorBody),
        (status = 404, description = "Unknown provider", body = ErrorBody),
        (status = 413, description = "The body is too large", body = ErrorBody),
        (status = 422, description = "Bad JSON, type, value or unknown field", body = ErrorBody),
        (status = 429, description = "As many people are signing in as may at a time, or too many requests", body = ErrorBody),
        (status = 503, description = "The image has not been built, or there is no memory for a desktop", body = ErrorBody),
    )
)]
async fn auth(
    State(app): State<App>,
    caller: Caller,
    auth: Auth,
    Body(body): Body<VmLogin>,
) -> ApiResult<(StatusCode, Json<EarlierLogin>)> {
    let who = auth.require(Scope::Logins)?;
    answer(&app, &caller, &who, &body.provider).await
}

async fn answer(
    app: &App,
    caller: &Caller,
    who: &Principal,
    provider: &str,
) -> ApiResult<(StatusCode, Json<EarlierLogin>)> {
    let provider = providers::by_any_name(provider).map_or(provider, |provider| provider.about().name);
    let (login, is_new) = opened(app, caller, who, provider).await?;
    let login = LoginView::of(login, &app.public_url);
    let status = if is_new { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Json(EarlierLogin { session_id: login.id.clone(), login })))
}
