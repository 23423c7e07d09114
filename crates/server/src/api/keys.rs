//! `/keys`: one's own API keys.

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
        people::{self, Key, NewKey, Scope},
        rates::TokenHash,
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
    OpenApiRouter::new().routes(routes!(create, list)).routes(routes!(revoke))
}

/// What a new key is to be.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct CreateKey {
    /// What it is called, at most 100 characters.
    #[schema(examples("ci"))]
    name: Option<String>,
    /// What it may be used for. All but `admin` when not given, and never more than what asks for it may.
    scopes: Option<Vec<Scope>>,
    /// When it ends by itself, RFC 3339. Never when not given, unless a key asks for it that ends.
    #[schema(examples("2027-01-01T00:00:00Z"))]
    expires_at: Option<String>,
}

/// A key, without the key itself.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct KeyView {
    /// `key_…`.
    pub id: String,
    /// How the key begins and ends.
    #[schema(examples("pdv_abcd…wxyz"))]
    pub hint: String,
    /// What it is called.
    pub name: Option<String>,
    /// What it may be used for.
    pub scopes: Vec<Scope>,
    /// When it was made.
    pub created_at: String,
    /// When it ends by itself.
    pub expires_at: Option<String>,
    /// When it was last used, to the minute.
    pub last_used_at: Option<String>,
    /// When it was ended.
    pub revoked_at: Option<String>,
}

/// A new key, shown this once.
#[derive(Serialize, Deserialize, ToSchema)]
pub struct KeyMade {
    #[serde(flatten)]
    #[expect(missing_docs, reason = "it says of itself what it is")]
    pub view: KeyView,
    /// The key itself.
    #[schema(examples("pdv_…"))]
    pub key: String,
}

impl From<Key> for KeyView {
    fn from(key: Key) -> Self {
        Self {
            id: key.id,
            hint: key.hint,
            name: key.name,
            scopes: key.scopes,
            created_at: time::rfc3339(key.created_at),
            expires_at: key.expires_at.map(time::rfc3339),
            last_used_at: key.last_used_at.map(time::rfc3339),
            revoked_at: key.revoked_at.map(time::rfc3339),
        }
    }
}

/// Make a key for oneself.
///
/// The key is shown this once. A key can make one too, that may do no more than itself and ends no later.
#[utoipa::path(
    post, path = "/keys", tag = "people", request_body = CreateKey,
    responses(
        (status = 201, description = "The key", body = KeyMade),
        (status = 401, description = "No valid key or session", body = ErrorBody),
        (status = 403, description = "It could do more than what asks for it, or a foreign `Origin`", body = ErrorBody),
        (status = 413, description = "The body is too large", body = ErrorBody),
        (status = 422, description = "Bad JSON, type, scope, name or time", body = ErrorBody),
    )
)]
async fn create(
    State(app): State<App>,
    caller: Caller,
    auth: Auth,
    Body(body): Body<CreateKey>,
) -> ApiResult<(StatusCode, Json<KeyMade>)> {
    let who = auth.any();
    let expires_at = body.expires_at.map(|text| {
        time::parse_rfc3339(&text).ok_or_else(|| {
            ApiError::new(Code::InvalidRequest, "`expires_at` is no time of RFC 3339")
                .hint("One looks like 2027-01-01T00:00:00Z.")
        })
    });
    let new = NewKey { name: body.name, scopes: body.scopes, expires_at: expires_at.transpose()? }.within(&who)?;
    let how = new.scopes.as_deref().map(Scope::join).unwrap_or_default();
    let deed = Deed::new(caller.actor(&who), Action::KeyCreate).how(how);
    let store = app.store.clone();
    let made = async move { people::create_key(&store, &people::by_email(&store, &who.email).await?, new).await };
    let (key, token) = app.audit.record(deed, made, |(key, _)| Some(key.id.clone())).await?;
    app.rates.was_good(TokenHash::of(token.expose_secret()));
    Ok((StatusCode::CREATED, Json(KeyMade { view: key.into(), key: token.expose_secret().to_owned() })))
}

/// One's own keys, newest first, those that are over included.
#[utoipa::path(
    get, path = "/keys", tag = "people", params(PageQuery),
    responses(
        (status = 200, description = "A page", body = Page<KeyView>),
        (status = 400, description = "Bad `limit` or `cursor`", body = ErrorBody),
        (status = 401, description = "No valid key or session", body = ErrorBody),
        (status = 422, description = "An unknown parameter", body = ErrorBody),
    )
)]
async fn list(State(app): State<App>, auth: Auth, Query(query): Query<PageQuery>) -> ApiResult<Json<Page<KeyView>>> {
    let who = auth.any();
    let limit = query.limit()?;
    let rows = people::keys(&app.store, &who.user_id, query.after()?.as_ref(), limit + 1).await?;
    let place = |key: &Key| After { created_at: key.created_at, id: key.id.clone() };
    Ok(Json(Page::of(rows, limit, place, KeyView::from)))
}

/// End a key of one's own, at once. One that is over stays so.
#[utoipa::path(
    delete, path = "/keys/{id}", tag = "people", params(("id" = String, Path, description = "The key's id")),
    responses(
        (status = 204, description = "It is over"),
        (status = 401, description = "No valid key or session", body = ErrorBody),
        (status = 403, description = "It may do more than the key that asks, or a foreign `Origin`", body = ErrorBody),
        (status = 404, description = "No such key, or another person's", body = ErrorBody),
    )
)]
async fn revoke(State(app): State<App>, caller: Caller, auth: Auth, Path(id): Path<String>) -> ApiResult<StatusCode> {
    let who = auth.any();
    let key = people::own_key(&app.store, &who, &id).await?;
    let deed = Deed::new(caller.actor(&who), Action::KeyRevoke).to(&key.id);
    let store = app.store.clone();
    app.audit.record(deed, async move { people::revoke_key(&store, &key).await }, |()| None).await?;
    app.revoked.send_replace(());
    Ok(StatusCode::NO_CONTENT)
}
