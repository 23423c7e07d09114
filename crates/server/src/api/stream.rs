//! `/runs/{id}/stream`: a run's events over a WebSocket.
//!
//! ```text
//!   client                                     server
//!     GET, with a key ────────────────────────►  who, whose, `after`: refused here, before the upgrade
//!     ◄───────────────────────── {"seq":1,…}     a text message an event, as it is stored
//!     {"type":"cancel"} ──────────────────────►  the wish is written down; the events go on to the last one
//!     ◄────────────────────── ping, every 15 s   while there is nothing else to say
//!     ◄───────────────────────── close 1000      after the last event
//! ```
//!
//! | closes with | because |
//! |---|---|
//! | 1000 | the run is over, and all of it was sent |
//! | 1001 | the server stops: come back with `?after=` |
//! | 1003 | the client sent bytes, and not text |
//! | 1008 | the client sent something else than `{"type":"cancel"}`, or too often; its key lacks `runs:write`, or is over |
//! | 1009 | the client sent a message that is too long, or none that can be read |
//! | 1011 | the server has a fault: come back with `?after=` |

use super::{
    App,
    caller::Caller,
    error::{ApiResult, ErrorBody},
    extract::{Auth, Path, Query, turned_away},
    follow::{self, Follow},
    listener::Place,
    runs::{EventsQuery, own},
    socket::{Close, CloseCode, Handshake, Message, Socket, WebSocketConfig},
    sse::PING,
};
use crate::domain::{
    event::Event,
    people::{Principal, Scope},
};
use axum::{Extension, extract::State, response::Response};
use bytes::Bytes;
use serde::Deserialize;
use std::time::Duration;
use tokio::time::timeout;
use utoipa_axum::{router::OpenApiRouter, routes};

/// The most bytes of a message from a client: it has one thing to say, and that is short.
const HEARD_MAX: usize = 4 * 1024;
/// How long a reader may take nothing.
const PATIENCE: Duration = Duration::from_secs(60);
/// What the slowest reader takes a second, bytes: a large event has that much longer.
const SLOWEST: usize = 16 * 1024;

/// What is served here.
pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(stream))
}

/// A run's events over a WebSocket, from its start or after a number, until its end.
///
/// Each text message is an event, the same JSON as in `data` of the server-sent events. The server takes
/// `{"type":"cancel"}`, at most 4 KiB, from a key with `runs:write`; anything else closes with 1003, 1008 or 1009. It
/// closes with 1000 after the last event, with 1001 when it stops: come back with `?after=`.
#[utoipa::path(
    get, path = "/runs/{id}/stream", tag = "runs",
    params(("id" = String, Path, description = "The run's id"), EventsQuery),
    responses(
        (status = 101, description = "The events, each a text message", body = Event),
        (status = 401, description = "No valid key", body = ErrorBody),
        (status = 403, description = "The key lacks `runs:read`", body = ErrorBody),
        (status = 404, description = "No such run, or another person's", body = ErrorBody),
        (status = 422, description = "Bad `after`", body = ErrorBody),
        (status = 426, description = "Not the handshake of a WebSocket", body = ErrorBody),
        (status = 429, description = "Too many streams are open, or too many requests", body = ErrorBody),
    )
)]
async fn stream(
    State(app): State<App>,
    caller: Caller,
    auth: Auth,
    Path(id): Path<String>,
    Query(query): Query<EventsQuery>,
    place: Option<Extension<Place>>,
    handshake: ApiResult<Handshake>,
) -> ApiResult<Response> {
    let who = auth.require(Scope::RunsRead)?;
    let run = own(&app, &who, &id).await?.id;
    let after = query.after()?;
    let handshake = handshake
        .map_err(|refusal| refusal.hint("`GET /api/v1/runs/{id}/events` streams the same over plain HTTP."))?;
    let open = app.streams.open(&who, caller.address)?;
    let config = WebSocketConfig::default()
        .max_message_size(Some(HEARD_MAX))
        .max_frame_size(Some(HEARD_MAX))
        .read_buffer_size(HEARD_MAX);
    // The task ends with the run, with its reader, or when the server stops: the hub lets every follower go.
    Ok(handshake.open(config, async move |socket| {
        serve(app, who, run, after, socket).await;
        drop((place, open));
    }))
}

async fn serve(app: App, who: Principal, run: String, after: i64, socket: Socket) {
    let follow = Follow::new(&app, run.clone(), after);
    let close = tokio::select! {
        close = tell(&socket, follow) => close,
        close = hear(&app, &who, &run, &socket) => close,
        () = turned_away(app.clone(), who.clone()) => Some((CloseCode::Policy, "the key or session is over")),
    };
    if let Some(close) = close {
        socket.close(close).await;
    }
}

/// Sends the events, to the last one. `None`: nobody takes them.
async fn tell(socket: &Socket, mut follow: Follow<Event>) -> Option<Close> {
    loop {
        match timeout(PING, follow.page()).await {
            Err(_) => within(0, socket.say(Message::Ping(Bytes::new()))).await?,
            Ok(Err(_)) => return Some((CloseCode::Error, "the server has a fault: come back with `?after=`")),
            Ok(Ok(page)) if page.is_empty() && follow.is_over() => return Some((CloseCode::Normal, "")),
            Ok(Ok(page)) if page.is_empty() => {
                return Some((CloseCode::Away, "the server stops: come back with `?after=`"));
            }
            Ok(Ok(page)) => {
                for event in page {
                    let text = follow::json(&event);
                    within(text.len(), socket.feed(Message::Text(text.into()))).await?;
                }
                within(0, socket.flush()).await?;
            }
        }
    }
}

/// Sends this many bytes to a reader who takes them in time.
async fn within<E>(size: usize, sent: impl Future<Output = Result<(), E>>) -> Option<()> {
    timeout(PATIENCE + Duration::from_secs((size / SLOWEST) as u64), sent).await.ok()?.ok()
}

/// What a client may say.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
enum Said {
    Cancel {},
}

/// Does what the client says, until it says what it must not. `None`: it has left.
async fn hear(app: &App, who: &Principal, run: &str, socket: &Socket) -> Option<Close> {
    loop {
        match socket.hear().await {
            // The answer to a close is sent by the library, while what follows is read.
            None | Some(Ok(Message::Close(_))) => return None,
            Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {}
            Some(Ok(Message::Binary(_))) => return Some((CloseCode::Unsupported, "only text is understood here")),
            Some(Ok(Message::Text(text))) => {
                if serde_json::from_str::<Said>(&text).is_err() {
                    return Some((CloseCode::Policy, r#"only {"type":"cancel"} is understood here"#));
                }
                if !who.may(Scope::RunsWrite) {
                    return Some((CloseCode::Policy, "this key does not have the scope `runs:write`"));
                }
                if app.rates.known(&who.token_id, &who.user_id, true).is_err() {
                    return Some((CloseCode::Policy, "too many requests"));
                }
                // One that is over has nothing left to cancel, and its last event is on its way.
                if let Err(error) = app.runs.cancel(run).await {
                    tracing::error!(run, error = crate::cli::output::chain(&error), "a run could not be cancelled");
                    return Some((CloseCode::Error, "the server has a fault: cancel again"));
                }
            }
            Some(Err(_)) => return Some((CloseCode::Size, "a message is text of at most 4096 bytes")),
        }
    }
}
