//! `/audit`: what was done.

use super::{
    App,
    error::{ApiError, ApiResult, ErrorBody},
    extract::{Auth, Query},
    page::{Page, PageQuery},
};
use crate::{
    domain::{failure::Code, id, people::Scope, time},
    store::{audit::AuditRow, runs::After},
};
use axum::{Json, extract::State};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

/// What is served here.
pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(list))
}

/// Something that was done, or tried.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct AuditEntry {
    /// `aud_…`.
    pub id: String,
    /// What was done.
    #[schema(examples("session.create", "key.create"))]
    pub action: String,
    /// To what: an id, a provider.
    pub target: Option<String>,
    /// How.
    pub detail: Option<String>,
    /// Whose thing it was done to, where that is somebody's.
    pub user_id: Option<String>,
    /// By whom.
    pub actor: AuditActor,
    /// In which request.
    pub request_id: Option<String>,
    /// `ok` or `failed`. Null while it is done, and for ever where the server was killed meanwhile: then nobody knows.
    #[schema(examples("ok", "failed"))]
    pub outcome: Option<String>,
    /// Why it failed.
    #[schema(examples("unauthenticated"))]
    pub code: Option<String>,
    /// When it was begun.
    pub created_at: String,
    /// When its outcome was known.
    pub finished_at: Option<String>,
}

/// Who did something.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct AuditActor {
    /// `session`, `key`, `local` (the command line on the server's machine), `server` (by itself) or `anonymous`.
    pub kind: String,
    /// Who, where that is known.
    pub user_id: Option<String>,
    /// Their session or key.
    pub token_id: Option<String>,
    /// From which address.
    pub address: Option<String>,
}

impl From<AuditRow> for AuditEntry {
    fn from(row: AuditRow) -> Self {
        Self {
            id: row.id,
            action: row.action,
            target: row.target,
            detail: row.detail,
            user_id: row.user_id,
            actor: AuditActor {
                kind: row.actor,
                user_id: row.actor_user_id,
                token_id: row.actor_token_id,
                address: row.address,
            },
            request_id: row.request_id,
            outcome: row.outcome,
            code: row.code,
            created_at: time::rfc3339(row.created_at),
            finished_at: row.finished_at.map(time::rfc3339),
        }
    }
}

/// Which entries.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
struct AuditQuery {
    /// How many items, from 1 to 200; 50 when not given.
    #[param(value_type = Option<i64>, minimum = 1, maximum = 200)]
    limit: Option<String>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
    /// Only what this person did, or what was done to their things.
    user_id: Option<String>,
}

/// What was done, newest first: by oneself and to one's own things; for admins, by everybody.
#[utoipa::path(
    get, path = "/audit", tag = "people", params(AuditQuery),
    responses(
        (status = 200, description = "A page", body = Page<AuditEntry>),
        (status = 400, description = "Bad `limit` or `cursor`", body = ErrorBody),
        (status = 401, description = "No valid key or session", body = ErrorBody),
        (status = 403, description = "Another's, and not an admin or a key without `admin`", body = ErrorBody),
        (status = 422, description = "An unknown parameter", body = ErrorBody),
    )
)]
async fn list(
    State(app): State<App>,
    auth: Auth,
    Query(query): Query<AuditQuery>,
) -> ApiResult<Json<Page<AuditEntry>>> {
    let AuditQuery { limit, cursor, user_id } = query;
    let page = PageQuery { limit, cursor };
    let of = match user_id {
        Some(user) if !auth.is(&user) => {
            auth.require(Scope::Admin)?;
            if !id::is_one(&user) {
                return Err(ApiError::new(Code::InvalidRequest, "`user_id` is no user's id"));
            }
            Some(user)
        }
        Some(own) => Some(own),
        None => {
            let who = auth.any();
            (!who.may(Scope::Admin)).then_some(who.user_id)
        }
    };
    let limit = page.limit()?;
    let rows = app.store.audit(of.as_deref(), page.after()?.as_ref(), limit + 1).await?;
    let place = |row: &AuditRow| After { created_at: row.created_at, id: row.id.clone() };
    Ok(Json(Page::of(rows, limit, place, AuditEntry::from)))
}
