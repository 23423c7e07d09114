//! `/logins/{id}/link`: signing in with a browser of one's own, beside a login's desktop.

use super::{
    App,
    caller::Caller,
    error::{ApiError, ApiResult, ErrorBody},
    extract::{Auth, Body, Path},
    logins::{LoginView, own},
    providers::find,
};
use crate::domain::{
    audit::{Action, Deed},
    people::Scope,
};
use axum::{Json, extract::State};
use secrecy::SecretString;
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

/// What is served here.
pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(link)).routes(routes!(code))
}

/// Ask for a page to open in a browser of one's own, beside the desktop.
///
/// For passkeys, security keys and phone prompts, which do not reach the desktop's browser, and for a provider that
/// refuses that. The tool is started in the login's sandbox; what it shows is `link` of the login, and told by the event
/// `login.link`. From there on it is a login like any other. Where a page was shown that is still good, it stays.
#[utoipa::path(
    post, path = "/logins/{id}/link", tag = "logins", params(("id" = String, Path, description = "The login's id")),
    responses(
        (status = 200, description = "The login", body = LoginView),
        (status = 401, description = "No valid key", body = ErrorBody),
        (status = 403, description = "The key lacks `logins`", body = ErrorBody),
        (status = 404, description = "No such login, or another person's", body = ErrorBody),
        (status = 409, description = "It is not ready, or too many were asked for", body = ErrorBody),
        (status = 410, description = "It is over", body = ErrorBody),
        (status = 422, description = "The tool of this provider offers none", body = ErrorBody),
    )
)]
async fn link(
    State(app): State<App>,
    caller: Caller,
    auth: Auth,
    Path(id): Path<String>,
) -> ApiResult<Json<LoginView>> {
    let who = auth.require(Scope::Logins)?;
    let login = own(&app, &who, &id).await?;
    let provider = find(&login.provider)?;
    let deed = Deed::new(caller.actor(&who), Action::LoginLink).to(&login.id);
    let logins = app.runs.logins();
    let asked = async move { Ok::<_, ApiError>(logins.ask_link(&login, provider).await?) };
    let login = app.audit.record(deed, asked, |_| None).await?;
    Ok(Json(LoginView::of(login, &app.public_url)))
}

/// What a page has shown at last.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PasteCode {
    /// All of it, with the `#` in the middle.
    #[schema(value_type = String, examples("abc123#def456"))]
    code: SecretString,
}

/// Give the tool the code that the page of `link` has shown.
///
/// For providers whose `link` is `pasted_code`. What comes of it is told by the login's events: it goes on to
/// `verifying`, or `login.link_over` says why not.
#[utoipa::path(
    post, path = "/logins/{id}/code", tag = "logins", params(("id" = String, Path, description = "The login's id")),
    request_body = PasteCode,
    responses(
        (status = 200, description = "The login; the tool has the code", body = LoginView),
        (status = 401, description = "No valid key", body = ErrorBody),
        (status = 403, description = "The key lacks `logins`", body = ErrorBody),
        (status = 404, description = "No such login, or another person's", body = ErrorBody),
        (status = 409, description = "The tool waits for no code", body = ErrorBody),
        (status = 410, description = "It is over", body = ErrorBody),
        (status = 413, description = "The body is too large", body = ErrorBody),
        (status = 422, description = "That is not all of a code; bad JSON, type or unknown field", body = ErrorBody),
    )
)]
async fn code(
    State(app): State<App>,
    caller: Caller,
    auth: Auth,
    Path(id): Path<String>,
    body: ApiResult<Body<PasteCode>>,
) -> ApiResult<Json<LoginView>> {
    let who = auth.require(Scope::Logins)?;
    // Before anything is said of what was sent: whose it is.
    let login = own(&app, &who, &id).await?;
    let Body(body) = body?;
    if login.status.is_over() {
        return Err(super::logins::over(&login));
    }
    let provider = find(&login.provider)?;
    let deed = Deed::new(caller.actor(&who), Action::LoginCode).to(&login.id);
    let logins = app.runs.logins();
    let given = async move {
        logins.paste(&login, provider, &body.code).await?;
        Ok::<_, ApiError>(login)
    };
    let login = app.audit.record(deed, given, |_| None).await?;
    Ok(Json(LoginView::of(login, &app.public_url)))
}
