//! `/me`: who asks.

use super::{App, error::ErrorBody, extract::Auth};
use crate::domain::people::Scope;
use axum::Json;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

/// What is served here.
pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(show))
}

/// A person, and what their key may do.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Me {
    /// `usr_…`.
    pub id: String,
    /// Their address.
    pub email: String,
    /// `admin` or `member`.
    pub role: String,
    /// What the key of this request may do.
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
    let who = auth.any();
    Json(Me { id: who.user_id, email: who.email, role: who.role.as_str().to_owned(), scopes: who.scopes })
}
