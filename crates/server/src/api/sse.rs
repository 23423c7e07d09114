//! A run's events as server-sent events.
//!
//! Every reader reads the database, woken by the hub: a slow one holds neither
//! the run nor memory, and what it gets is what is stored.

use super::{App, error::ApiResult};
use crate::{domain::event::Event, store::StoreError};
use axum::response::sse::{self, KeepAlive, Sse};
use futures_util::{Stream, StreamExt, TryStreamExt, stream};
use std::time::Duration;

/// How many events are read at a time.
const BATCH: i64 = 256;
/// How often a silent stream says that it lives.
const PING: Duration = Duration::from_secs(15);
/// What a client waits before it comes back, in its own words.
const RETRY: Duration = Duration::from_millis(1000);

/// The events of a run after number `after`, as a response that ends with the last one.
pub async fn response(
    app: App,
    run: String,
    after: i64,
) -> ApiResult<Sse<impl Stream<Item = Result<sse::Event, StoreError>>>> {
    let head = stream::once(async { Ok(sse::Event::default().retry(RETRY)) });
    let events = follow(app, run, after).and_then(async |event| Ok(frame(&event)));
    Ok(Sse::new(head.chain(events)).keep_alive(KeepAlive::new().interval(PING).text("ping")))
}

/// The events of a run after number `after`, up to its last one.
pub fn follow(app: App, run: String, after: i64) -> impl Stream<Item = Result<Event, StoreError>> {
    // Subscribed before the first look, so that nothing is missed between look and wait.
    let woken = app.runs.hub().subscribe(&run);
    stream::try_unfold((app, run, after, woken, false), |(app, run, after, mut woken, over)| async move {
        if over {
            return Ok::<_, StoreError>(None);
        }
        loop {
            woken.mark_unchanged();
            let batch = app.store.events_after(&run, after, BATCH).await?;
            if let Some(last) = batch.last() {
                let (after, over) = (last.seq, last.body.is_last());
                return Ok(Some((stream::iter(batch.into_iter().map(Ok)), (app, run, after, woken, over))));
            }
            if woken.changed().await.is_err() {
                return Ok(None);
            }
        }
    })
    .try_flatten()
}

fn frame(event: &Event) -> sse::Event {
    let data = serde_json::to_string(event).expect("an event has string keys");
    sse::Event::default().id(event.seq.to_string()).event(event.body.kind()).data(data)
}
