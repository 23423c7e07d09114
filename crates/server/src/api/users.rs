//! `/users`: who may use the server; for admins.

use super::{
    App,
    caller::Caller,
    error::{ApiError, ApiResult, ErrorBody},
    extract::{Auth, Body, Path, Query},
    page::{Page, PageQuery},
};
use crate::{
    domain::{
        audit::{Action, Deed},
        failure::Code,
        people::{self, Change, Role, Scope, User},
        time,
    },
    store::runs::After,
};
use axum::{Json, extract::State, http::StatusCode};
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

/// What is served here.
pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(create, list)).routes(routes!(change))
}

/// Whom to add.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct CreateUser {
    /// Their email.
    #[schema(examples("you@example.com"))]
    email: String,
    /// What they may do: `member` when not given.
    role: Option<Role>,
}

/// What to change of somebody.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ChangeUser {
    /// What they may do.
    role: Option<Role>,
    /// Whether they are switched off: then nothing of theirs lets them in, and their runs are cancelled.
    disabled: Option<bool>,
}

/// Somebody who may use the server.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct UserView {
    /// `usr_…`.
    pub id: String,
    /// Their email.
    pub email: String,
    /// What they may do.
    pub role: Role,
    /// When they were added.
    pub created_at: String,
    /// Since when they are switched off.
    pub disabled_at: Option<String>,
}

/// Somebody new, and their password, shown this once.
#[derive(Serialize, Deserialize, ToSchema)]
pub struct UserMade {
    #[serde(flatten)]
    #[expect(missing_docs, reason = "it says of itself what it is")]
    pub view: UserView,
    /// The password that was made up for them. They change it with `POST /me/password`.
    pub password: String,
}

impl From<User> for UserView {
    fn from(user: User) -> Self {
        Self {
            id: user.id,
            email: user.email,
            role: user.role,
            created_at: time::rfc3339(user.created_at),
            disabled_at: user.disabled_at.map(time::rfc3339),
        }
    }
}

/// Add somebody. For admins.
///
/// A password is made up for them, and shown this once.
#[utoipa::path(
    post, path = "/users", tag = "people", request_body = CreateUser,
    responses(
        (status = 201, description = "They are added", body = UserMade),
        (status = 401, description = "No valid key or session", body = ErrorBody),
        (status = 403, description = "Not an admin, a key without `admin`, or a foreign `Origin`", body = ErrorBody),
        (status = 409, description = "The email is taken", body = ErrorBody),
        (status = 413, description = "The body is too large", body = ErrorBody),
        (status = 422, description = "Bad JSON, type or email", body = ErrorBody),
        (status = 429, description = "Too many passwords are being made", body = ErrorBody),
    )
)]
async fn create(
    State(app): State<App>,
    caller: Caller,
    auth: Auth,
    Body(CreateUser { email, role }): Body<CreateUser>,
) -> ApiResult<(StatusCode, Json<UserMade>)> {
    let who = auth.require(Scope::Admin)?;
    let role = role.unwrap_or(Role::Member);
    let deed = Deed::new(caller.actor(&who), Action::UserCreate).how(format!("role={}", role.as_str()));
    let store = app.store.clone();
    let made = async move { people::create_user(&store, &email, role).await };
    let (user, password) = app.audit.record(deed, made, |(user, _)| Some(user.id.clone())).await?;
    let password = password.expose_secret().to_owned();
    Ok((StatusCode::CREATED, Json(UserMade { view: user.into(), password })))
}

/// Everybody, newest first. For admins.
#[utoipa::path(
    get, path = "/users", tag = "people", params(PageQuery),
    responses(
        (status = 200, description = "A page", body = Page<UserView>),
        (status = 400, description = "Bad `limit` or `cursor`", body = ErrorBody),
        (status = 401, description = "No valid key or session", body = ErrorBody),
        (status = 403, description = "Not an admin, or a key without `admin`", body = ErrorBody),
        (status = 422, description = "An unknown parameter", body = ErrorBody),
    )
)]
async fn list(State(app): State<App>, auth: Auth, Query(query): Query<PageQuery>) -> ApiResult<Json<Page<UserView>>> {
    auth.require(Scope::Admin)?;
    let limit = query.limit()?;
    let rows = people::users(&app.store, query.after()?.as_ref(), limit + 1).await?;
    let place = |user: &User| After { created_at: user.created_at, id: user.id.clone() };
    Ok(Json(Page::of(rows, limit, place, UserView::from)))
}

/// Change somebody's role, or switch them off or on. For admins.
///
/// Whoever is switched off is let in by nothing any more, at once, and their runs are cancelled. When they are switched
/// on, their keys work again; their sessions are over.
#[utoipa::path(
    patch, path = "/users/{id}", tag = "people", params(("id" = String, Path, description = "The user's id")),
    request_body = ChangeUser,
    responses(
        (status = 200, description = "They are so now", body = UserView),
        (status = 401, description = "No valid key or session", body = ErrorBody),
        (status = 403, description = "Not an admin, a key without `admin`, or a foreign `Origin`", body = ErrorBody),
        (status = 404, description = "No such user", body = ErrorBody),
        (status = 409, description = "The last admin must stay one", body = ErrorBody),
        (status = 413, description = "The body is too large", body = ErrorBody),
        (status = 422, description = "Bad JSON or type, or nothing to change", body = ErrorBody),
    )
)]
async fn change(
    State(app): State<App>,
    caller: Caller,
    auth: Auth,
    Path(id): Path<String>,
    Body(ChangeUser { role, disabled }): Body<ChangeUser>,
) -> ApiResult<Json<UserView>> {
    let who = auth.require(Scope::Admin)?;
    let role_text = role.map(|role| format!("role={}", role.as_str()));
    let how: Vec<_> = role_text.into_iter().chain(disabled.map(|disabled| format!("disabled={disabled}"))).collect();
    if how.is_empty() {
        return Err(ApiError::new(Code::InvalidRequest, "neither `role` nor `disabled` is given"));
    }
    let user = people::by_id(&app.store, &id).await?;
    let deed = Deed::new(caller.actor(&who), Action::UserUpdate).to(&user.id).of(&user.id).how(how.join(" "));
    let (store, id) = (app.store.clone(), user.id);
    let changed = async move { people::change_user(&store, &id, Change { role, disabled }).await };
    let user = app.audit.record(deed, changed, |_| None).await?;
    app.revoked.send_replace(());
    app.runs.look();
    Ok(Json(user.into()))
}
