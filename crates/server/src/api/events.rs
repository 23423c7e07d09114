//! `/events`: what changes among one's own things, as it does.

use super::{
    App,
    caller::Caller,
    error::{ApiError, ApiResult, ErrorBody},
    extract::Auth,
    sse,
};
use crate::domain::{
    change::{Change, Kind},
    failure::Code,
    people::Scope,
};
use axum::{
    extract::State,
    response::{Response, sse::Event},
};
use futures_util::{StreamExt, stream};
use std::{convert::Infallible, time::Duration};
use tokio::time::Instant;
use utoipa_axum::{router::OpenApiRouter, routes};

/// How long a stream lasts: whoever comes back shows a key that is still good.
const LASTS: Duration = Duration::from_secs(60 * 60);

/// What is served here.
pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(events))
}

/// What changes among one's own runs, logins and connections, from now on.
///
/// Server-sent events: `event` is the type, `data` says which thing it was; look it up. Runs are told of to a key with
/// `runs:read`, logins to one with `logins`, connections to one with `connections`. Nothing of before is told, and nothing is repeated: look at the
/// lists once the stream is open, and again after a `resync`, which says that this reader was too slow and changes
/// were left out. The stream ends after an hour, and may be opened again.
#[utoipa::path(
    get, path = "/events", tag = "people",
    responses(
        (status = 200, description = "The changes", body = Change, content_type = "text/event-stream"),
        (status = 401, description = "No valid key", body = ErrorBody),
        (status = 403, description = "The key has none of `runs:read`, `logins` and `connections`", body = ErrorBody),
        (status = 429, description = "Too many streams are open, or too many requests", body = ErrorBody),
    )
)]
async fn events(State(app): State<App>, caller: Caller, auth: Auth) -> ApiResult<Response> {
    let who = auth.any();
    let may = |scope| who.may(scope);
    let (runs, logins, connections) = (may(Scope::RunsRead), may(Scope::Logins), may(Scope::Connections));
    if !runs && !logins && !connections {
        let words = "this key has none of the scopes `runs:read`, `logins` and `connections`";
        return Err(
            ApiError::new(Code::Forbidden, words).hint("Make a key that has one with `polydev key create --scope`.")
        );
    }
    let open = app.streams.open(&who, caller.address)?;
    let seen = move |change: &Change| match change.kind {
        Kind::Run => runs,
        Kind::Login => logins,
        Kind::Connection => connections,
        Kind::Resync => true,
    };
    let changes = stream::unfold(app.runs.hub().feed(&who.user_id), async |mut feed| {
        let change = feed.next().await?;
        Some((change, feed))
    });
    let frames = changes
        .filter(move |change| std::future::ready(seen(change)))
        .map(|change| {
            let data = serde_json::to_string(&change).expect("a change has string keys");
            Ok::<_, Infallible>(Event::default().event(change.kind.as_str()).data(data))
        })
        .take_until(tokio::time::sleep_until(Instant::now() + LASTS));
    Ok(sse::response(&app, who, open, frames))
}
