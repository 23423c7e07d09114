//! `/status`: what this server is, what it works on, and how full its disk is.

use super::{
    App,
    error::{ApiError, ApiResult, ErrorBody},
    extract::Auth,
};
use crate::{
    control::{
        Disk,
        selfcheck::{CheckView, Looked},
    },
    domain::{
        people::Scope,
        time,
        vault::{self, Keys},
    },
    store::{StoreError, pages},
    vault::KeyId,
};
use axum::{Json, extract::State};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

/// What is served here.
pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(show))
}

/// A server, as the one who asks may see it.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct ServerStatus {
    /// Its version.
    pub version: String,
    /// Since when it runs.
    pub started_at: String,
    /// What makes its sandboxes.
    #[schema(examples("oci"))]
    pub driver: String,
    /// One's own runs that are not over.
    pub runs: UnderWay,
    /// One's own sandboxes that stand.
    pub sandboxes: i64,
    /// The same of everybody together. Null without the scope `admin`.
    pub everybody: Option<Everybody>,
    /// The disk. Null without the scope `admin`.
    pub disk: Option<DiskUse>,
    /// The master key. Null without the scope `admin`.
    pub vault: Option<VaultUse>,
    /// What the server found when it last looked after itself: at its start, and every hour. Null without the scope
    /// `admin`.
    pub checks: Option<Vec<CheckView>>,
}

/// The master key that credentials are sealed under.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct VaultUse {
    /// The id of the one that seals.
    #[schema(examples("9f86d081884c7d65"))]
    pub key_id: Option<String>,
    /// The id of the one that a rotation gives everything. Null when there is none under way.
    pub next_key_id: Option<String>,
    /// How many credentials are sealed under a key that this server does not have.
    pub unopened: i64,
}

impl VaultUse {
    fn of(keys: &Keys, has: &[KeyId]) -> Self {
        let text = |key: KeyId| key.to_string();
        Self { key_id: keys.sealing.map(text), next_key_id: keys.next.map(text), unopened: keys.under_others(has) }
    }
}

/// How many runs are not over.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct UnderWay {
    /// That wait.
    pub queued: i64,
    /// That run.
    pub running: i64,
}

/// What a server works on.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Everybody {
    /// Runs that are not over.
    pub runs: UnderWay,
    /// Sandboxes that stand, and among them those that are kept ready for nobody in particular.
    pub sandboxes: i64,
}

/// How full the disk of the data directory is, and by what.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct DiskUse {
    /// The data directory; with the database and the images, where those lie in it.
    pub data_bytes: u64,
    /// The database, wherever it is.
    pub database_bytes: u64,
    /// The images.
    pub images_bytes: u64,
    /// What is free.
    pub free_bytes: u64,
    /// All that the disk has.
    pub total_bytes: u64,
    /// Less than 5 % or 1 GiB is free.
    pub nearly_full: bool,
}

impl From<Disk> for DiskUse {
    fn from(disk: Disk) -> Self {
        Self {
            data_bytes: disk.data,
            database_bytes: disk.database,
            images_bytes: disk.images,
            free_bytes: disk.free,
            total_bytes: disk.total,
            nearly_full: disk.is_low(),
        }
    }
}

/// What this server is, and what it works on.
///
/// Everybody is told of their own runs and sandboxes; administrators of everybody's numbers, the disk, the master key and
/// what is wrong on the host too, if their key has the scope `admin`.
#[utoipa::path(
    get, path = "/status", tag = "health",
    responses(
        (status = 200, description = "The server", body = ServerStatus),
        (status = 401, description = "No valid key", body = ErrorBody),
    )
)]
async fn show(State(app): State<App>, auth: Auth) -> ApiResult<Json<ServerStatus>> {
    let who = auth.any();
    let (runs, sandboxes) = count(&app, Some(&who.user_id)).await?;
    let (everybody, disk, vault, checks) = if who.may(Scope::Admin) {
        let (runs, sandboxes) = count(&app, None).await?;
        let disk = app.runs.disk().await.map_err(ApiError::internal)?;
        let keys = vault::keys(&app.store).await?;
        let checks = app.runs.looked().iter().flat_map(Looked::views).collect();
        let vault = VaultUse::of(&keys, &app.vault.keys());
        (Some(Everybody { runs, sandboxes }), Some(disk.into()), Some(vault), Some(checks))
    } else {
        (None, None, None, None)
    };
    Ok(Json(ServerStatus {
        version: env!("CARGO_PKG_VERSION").into(),
        started_at: time::rfc3339(app.started_at),
        driver: app.runs.driver().into(),
        runs,
        sandboxes,
        everybody,
        disk,
        vault,
        checks,
    }))
}

async fn count(app: &App, user_id: Option<&str>) -> Result<(UnderWay, i64), StoreError> {
    let pages::UnderWay { queued, running } = app.store.under_way(user_id).await?;
    Ok((UnderWay { queued, running }, app.store.standing(user_id).await?))
}
