//! `/me`: who asks, and their password.

use super::{
    App,
    caller::Caller,
    error::{ApiResult, ErrorBody},
    extract::{Auth, Body},
    session::attempt,
};
use crate::domain::{
    audit::{Action, Deed},
    people::{self, Principal, Scope},
    time,
};
use axum::{Json, extract::State, http::StatusCode};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

/// What is served here.
pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(show)).routes(routes!(password))
}

/// A person, and what their key or session may do.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Me {
    /// `usr_…`.
    pub id: String,
    /// Their address.
    pub email: String,
    /// `admin` or `member`.
    pub role: String,
    /// What the key or session of this request may do.
    #[schema(value_type = Vec<String>)]
    pub scopes: Vec<Scope>,
}

/// Who asks.
#[utoipa::path(
    get, path = "/me", tag = "people",
    responses(
        (status = 200, description = "The person", body = Me),
        (status = 401, description = "No valid key", body = ErrorBody),
    )
)]
async fn show(auth: Auth) -> Json<Me> {
    Json(auth.any().into())
}

impl From<Principal> for Me {
    fn from(who: Principal) -> Self {
        Self { id: who.user_id, email: who.email, role: who.role.as_str().to_owned(), scopes: who.scopes }
    }
}

/// Two passwords.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ChangePassword {
    /// The one that is to be no more.
    #[schema(value_type = String)]
    current_password: SecretString,
    /// The one that takes its place, of 8 to 1024 characters.
    #[schema(value_type = String)]
    new_password: SecretString,
}

/// Change one's own password. It ends all one's sessions but the one of this request. Keys go on.
#[utoipa::path(
    post, path = "/me/password", tag = "people", request_body = ChangePassword,
    responses(
        (status = 204, description = "It is changed"),
        (status = 401, description = "No valid key or session", body = ErrorBody),
        (status = 403, description = "The current password is wrong, or a foreign `Origin`", body = ErrorBody),
        (status = 413, description = "The body is too large", body = ErrorBody),
        (status = 422, description = "Bad JSON or type, or the new password is too short", body = ErrorBody),
        (status = 429, description = "Too many attempts: wait as long as `Retry-After` says", body = ErrorBody),
    )
)]
async fn password(
    State(app): State<App>,
    caller: Caller,
    auth: Auth,
    Body(ChangePassword { current_password, new_password }): Body<ChangePassword>,
) -> ApiResult<StatusCode> {
    let who = auth.any();
    let attempt = attempt(&app, &who.email, &caller)?;
    let deed = Deed::new(caller.actor(&who), Action::PasswordChange);
    let store = app.store.clone();
    let changed = async move {
        let changed = people::change_password(&store, &who, current_password, new_password).await;
        attempt.ended(&changed, time::now_ms());
        changed
    };
    app.audit.record(deed, changed, |()| None).await?;
    app.revoked.send_replace(());
    Ok(StatusCode::NO_CONTENT)
}
