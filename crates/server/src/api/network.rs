//! `/runs/{id}/network`: what a run's sandbox reaches.

use super::{
    App,
    error::{ApiResult, ErrorBody},
    extract::{Auth, Path},
    runs::own,
};
use crate::domain::{people::Scope, sandbox::Network};
use axum::{Json, extract::State};
use utoipa_axum::{router::OpenApiRouter, routes};

/// What is served here.
pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(network))
}

/// What a run's sandbox asked for and reached: names, ports and bytes, never paths. As it is while the run goes on,
/// and as it was kept after its end; empty before its start, and where its sandbox had no way out.
#[utoipa::path(
    get, path = "/runs/{id}/network", tag = "runs", params(("id" = String, Path, description = "The run's id")),
    responses(
        (status = 200, description = "What it reached", body = Network),
        (status = 401, description = "No valid key", body = ErrorBody),
        (status = 403, description = "The key lacks `runs:read`", body = ErrorBody),
        (status = 404, description = "No such run, or another person's", body = ErrorBody),
    )
)]
async fn network(State(app): State<App>, auth: Auth, Path(id): Path<String>) -> ApiResult<Json<Network>> {
    let who = auth.require(Scope::RunsRead)?;
    let run = own(&app, &who, &id).await?;
    let seen = match &run.sandbox_id {
        Some(sandbox) => app.runs.network(&run.id, sandbox).await?,
        None => None,
    };
    Ok(Json(seen.unwrap_or_default()))
}
