//! The HTTP API. This file is its table of contents: one file a resource, one line each.

pub mod audit;
mod bounds;
mod bridge;
pub mod caller;
pub mod connections;
mod cookie;
mod describe;
pub mod desktop;
pub mod earlier;
pub mod error;
pub mod events;
pub mod extract;
pub mod files;
pub mod follow;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
pub mod headers;
pub mod health;
mod host;
pub mod idempotency;
pub mod keys;
pub mod links;
pub mod listener;
pub mod logins;
pub mod me;
pub mod metrics;
pub mod network;
mod others;
pub mod page;
pub mod providers;
pub mod rate;
pub mod runs;
pub mod sandboxes;
pub mod session;
pub mod setup;
mod socket;
pub mod sse;
pub mod status;
pub mod stream;
pub mod tickets;
pub mod usage;
pub mod users;
pub mod viewers;
pub mod web;

use crate::{
    control::Runs,
    domain::{
        audit::Audit,
        failure::Code,
        people::{Limits, setup::Setup},
        rates::Rates,
    },
    store::Store,
    vault::Vault,
};
use axum::{Router, extract::DefaultBodyLimit, http::header, middleware, response::IntoResponse, routing::get};
use bytes::Bytes;
use error::ApiError;
use std::sync::Arc;
use tokio::sync::watch;
use tower_http::catch_panic::CatchPanicLayer;
use url::Url;
use utoipa::{
    Modify, OpenApi,
    openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme},
};
use utoipa_axum::router::OpenApiRouter;

/// The most bytes of a request's body.
pub const BODY_MAX: usize = 32 * 1024 * 1024;
/// The most bytes of the body of a request that is about people: some of these anybody may send.
pub const SMALL_BODY_MAX: usize = 16 * 1024;

/// What handlers work with. Cheap to clone.
#[derive(Debug, Clone)]
pub struct App {
    /// The database.
    pub store: Store,
    /// What seals credentials.
    pub vault: Arc<Vault>,
    /// Where runs are accepted, followed and cancelled.
    pub runs: Runs,
    /// Since when the server runs, Unix milliseconds.
    pub started_at: i64,
    /// For the host's own requests to providers.
    pub outside: reqwest::Client,
    /// What `Host` may say.
    pub hosts: Arc<host::Hosts>,
    /// The record of what was done.
    pub audit: Audit,
    /// What the first person is made with.
    pub setup: Arc<Setup>,
    /// Who has failed to sign in how often.
    pub sign_ins: Limits,
    /// Who has asked how much.
    pub rates: Rates,
    /// The streams that are open.
    pub streams: rate::Streams,
    /// Told when a key or a session was ended, or somebody was switched off.
    pub revoked: watch::Sender<()>,
    /// Where people reach this server.
    pub public_url: Url,
    /// Who looks at whose screen, and by which right.
    pub desktops: desktop::Desktops,
    /// The requests with an `Idempotency-Key` that are under way.
    pub under_way: idempotency::UnderWay,
}

pub use host::Hosts;

#[derive(OpenApi)]
#[openapi(
    info(title = "Polydev", description = "Your own accounts of Claude Code, Codex and Gemini as an API."),
    modifiers(&Tokens),
    security(("bearer" = []), ("session" = [])),
    tags(
        (name = "runs", description = "Prompts given to a provider's tool"),
        (name = "logins", description = "Desktops to sign in at a provider"),
        (name = "sandboxes", description = "What your runs and logins work in"),
        (name = "connections", description = "Your own accounts at the providers"),
        (name = "providers", description = "What can be connected"),
        (name = "people", description = "Who may use the server, what lets them in, and what was done"),
        (name = "health", description = "Whether the server can do its work"),
    )
)]
struct Document;

struct Tokens;

impl Modify for Tokens {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format("pdv_…").build();
        let components = document.components.get_or_insert_default();
        components.add_security_scheme("bearer", SecurityScheme::Http(scheme));
        let cookie = ApiKeyValue::with_description(
            cookie::NAME,
            "Set by `POST /session`. What changes something, or opens a WebSocket, needs an `Origin` equal to \
             `server.public_url` beside it.",
        );
        components.add_security_scheme("session", SecurityScheme::ApiKey(ApiKey::Cookie(cookie)));
    }
}

fn api() -> OpenApiRouter<App> {
    OpenApiRouter::with_openapi(Document::openapi())
        .merge(health::router())
        .merge(metrics::router())
        .nest(
            "/api/v1",
            OpenApiRouter::new()
                .merge(people())
                .merge(providers::router())
                .merge(connections::router())
                .merge(links::router())
                .merge(logins::router())
                .merge(desktop::router())
                .merge(runs::router())
                .merge(files::router())
                .merge(network::router())
                .merge(sandboxes::router())
                .merge(status::router())
                .merge(stream::router())
                .merge(events::router()),
        )
        .nest("/api", earlier::router())
}

/// Who may use the server, and how they are let in.
fn people() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .merge(setup::router())
        .merge(session::router())
        .merge(me::router())
        .merge(keys::router())
        .merge(users::router())
        .merge(audit::router())
        .merge(usage::router())
        .layer(DefaultBodyLimit::max(SMALL_BODY_MAX))
}

/// The OpenAPI document, as it is served at `/api/v1/openapi.json` and committed in `openapi/`.
pub fn document() -> utoipa::openapi::OpenApi {
    describe::all(api().into_openapi())
}

/// Everything that the server answers.
pub fn router(app: App) -> Router {
    let (routes, document) = api().split_for_parts();
    let document = describe::all(document);
    let json = Bytes::from(serde_json::to_vec(&document).expect("a document has string keys"));
    // The page brings its own copy: it is static, as the app is. What lies under `/api` takes a key.
    let docs = utoipa_swagger_ui::SwaggerUi::new("/docs").url("/docs/openapi.json", document);
    let served = async move |_: extract::Auth| ([(header::CONTENT_TYPE, "application/json")], json.clone());
    routes
        .route("/api/v1/openapi.json", get(served))
        .merge(Router::from(docs).layer(headers::csp(headers::DOCS)))
        .merge(web::router())
        .fallback(web::unknown)
        .method_not_allowed_fallback(async || {
            ApiError::new(Code::InvalidRequest, "this path does not take this method")
                .status(axum::http::StatusCode::METHOD_NOT_ALLOWED)
        })
        .layer(middleware::from_fn_with_state(app.clone(), idempotency::once))
        .layer(DefaultBodyLimit::max(BODY_MAX))
        .layer(middleware::from_fn_with_state(app.clone(), rate::limit))
        .layer(CatchPanicLayer::custom(|panic: Box<dyn std::any::Any + Send>| {
            let text = panic
                .downcast_ref::<String>()
                .cloned()
                .or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string));
            ApiError::fault(format!("a handler panicked: {}", text.unwrap_or_default())).into_response()
        }))
        .layer(middleware::from_fn_with_state(app.clone(), host::check))
        .layer(middleware::from_fn_with_state(bounds::ANSWER_WITHIN, bounds::limit))
        .layer(middleware::from_fn_with_state(app.clone(), error::render))
        .layer(middleware::from_fn_with_state(app.clone(), headers::set))
        .with_state(app)
}
