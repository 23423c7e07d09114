//! `/metrics`: what is counted, for Prometheus and its like.

use super::{
    App,
    error::{ApiResult, ErrorBody},
    extract::Auth,
};
use crate::{
    domain::people::Scope,
    metrics::{CONTENT_TYPE, Now, Process},
};
use axum::{extract::State, http::header, response::IntoResponse};
use utoipa_axum::{router::OpenApiRouter, routes};

/// What is served here, at the root.
pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(show))
}

/// What is counted, in the text form of OpenMetrics.
///
/// It takes a key with the scope `admin`. There is nothing in it of who did what: counts, durations and states alone.
#[utoipa::path(
    get, path = "/metrics", tag = "health",
    responses(
        (status = 200, description = "All of it", body = String, content_type = CONTENT_TYPE),
        (status = 401, description = "No valid key", body = ErrorBody),
        (status = 403, description = "The key does not have the scope `admin`", body = ErrorBody),
    )
)]
async fn show(State(app): State<App>, auth: Auth) -> ApiResult<impl IntoResponse> {
    auth.require(Scope::Admin)?;
    let now = Now {
        counts: app.store.counts().await?,
        parked: app.runs.parked(),
        streams: app.runs.hub().readers(),
        looked: app.runs.looked(),
        process: Process::look(app.started_at),
    };
    Ok(([(header::CONTENT_TYPE, CONTENT_TYPE)], app.runs.metrics().text(&now)))
}
