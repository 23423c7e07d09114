//! `/healthz`: alive. `/readyz` and `/health`: whether what the server needs answers, without detail.

use super::App;
use axum::{Json, extract::State, http::StatusCode};
use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

/// How long a dependency may take before it counts as not answering.
const WITHIN: Duration = Duration::from_secs(3);

/// What is served here, at the root.
pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(alive)).routes(routes!(ready)).routes(routes!(health))
}

/// Whether the server can do its work.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Health {
    /// Whether everything that it needs answers.
    pub ok: bool,
    /// What it needs.
    pub dependencies: Vec<Dependency>,
}

/// Something that the server needs.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Dependency {
    /// `store`, `sandboxes`.
    pub name: String,
    /// Whether it answers.
    pub ok: bool,
    /// How long it took, milliseconds.
    pub latency_ms: f64,
}

/// The server is alive.
#[utoipa::path(get, path = "/healthz", tag = "health", security(()), responses((status = 200, description = "Alive", body = str)))]
async fn alive() -> &'static str {
    "ok\n"
}

/// The server can do its work.
#[utoipa::path(
    get, path = "/readyz", tag = "health", security(()),
    responses((status = 200, description = "Ready", body = Health), (status = 503, description = "Not ready", body = Health))
)]
async fn ready(State(app): State<App>) -> (StatusCode, Json<Health>) {
    let dependencies = vec![
        timed("store", async || app.store.ping().await.is_ok()).await,
        timed("sandboxes", async || app.runs.can_run().await).await,
    ];
    let ok = dependencies.iter().all(|dependency| dependency.ok);
    (if ok { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, Json(Health { ok, dependencies }))
}

/// The same as `/readyz`.
#[utoipa::path(
    get, path = "/health", tag = "health", security(()),
    responses((status = 200, description = "Ready", body = Health), (status = 503, description = "Not ready", body = Health))
)]
async fn health(app: State<App>) -> (StatusCode, Json<Health>) {
    ready(app).await
}

async fn timed(name: &str, check: impl AsyncFnOnce() -> bool) -> Dependency {
    let started = Instant::now();
    let ok = tokio::time::timeout(WITHIN, check()).await.unwrap_or(false);
    Dependency { name: name.into(), ok, latency_ms: (started.elapsed().as_secs_f64() * 1e6).round() / 1e3 }
}
