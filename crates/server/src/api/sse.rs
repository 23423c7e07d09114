//! Server-sent events: how every stream of this API is framed.

use super::{
    App,
    extract::turned_away,
    follow::{self, Follow, Followed},
    rate,
};
use crate::{domain::people::Principal, store::StoreError};
use axum::{
    BoxError,
    response::{
        IntoResponse, Response,
        sse::{self, KeepAlive, Sse},
    },
};
use futures_util::{Stream, StreamExt, TryStreamExt, stream};
use std::time::Duration;

/// How often a silent stream says that it lives.
pub const PING: Duration = Duration::from_secs(15);
/// What a client waits before it comes back, in its own words.
const RETRY: Duration = Duration::from_millis(1000);

/// A stream as a response. It is read as its reader takes it, and ends when what they have shown is no longer good.
pub(super) fn response<E: Into<BoxError> + 'static>(
    app: &App,
    who: Principal,
    open: rate::Stream,
    events: impl Stream<Item = Result<sse::Event, E>> + Send + 'static,
) -> Response {
    let head = stream::once(async { Ok(sse::Event::default().retry(RETRY)) });
    let lively = KeepAlive::new().interval(PING).text("ping");
    let over = turned_away(app.clone(), who);
    let events = events.take_until(async move {
        over.await;
        drop(open);
    });
    Sse::new(head.chain(events)).keep_alive(lively).into_response()
}

/// The events of a run or a login, up to the last one.
pub fn events<E: Followed>(follow: Follow<E>) -> impl Stream<Item = Result<sse::Event, StoreError>> {
    stream::try_unfold(follow, |mut follow| async move {
        let page = follow.page().await?;
        Ok::<_, StoreError>((!page.is_empty()).then(|| (stream::iter(page.into_iter().map(Ok)), follow)))
    })
    .try_flatten()
    .map_ok(|event| sse::Event::default().id(event.seq().to_string()).event(event.kind()).data(follow::json(&event)))
}
