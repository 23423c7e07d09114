//! A run's events as server-sent events.
//!
//! Every reader reads the database, woken by the hub: a slow one holds neither
//! the run nor memory, and what it gets is what is stored.

use super::{App, error::ApiResult};
use crate::{control::Follower, domain::event::Event, store::StoreError};
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
    let follower = app.runs.hub().subscribe(&run);
    let start = Place { app, run, after, follower, caught_up: false, over: false };
    stream::try_unfold(start, |mut place| async move {
        let batch = place.next().await?;
        Ok::<_, StoreError>((!batch.is_empty()).then(|| (stream::iter(batch.into_iter().map(Ok)), place)))
    })
    .try_flatten()
}

/// How far a reader has got.
struct Place {
    app: App,
    run: String,
    after: i64,
    follower: Follower,
    /// A batch was read that was not the last: to look for the run's end would be in vain.
    caught_up: bool,
    over: bool,
}

impl Place {
    /// The next events; none at the end.
    async fn next(&mut self) -> Result<Vec<Event>, StoreError> {
        while !self.over {
            self.follower.look();
            let mut batch = self.read().await?;
            if batch.is_empty() && !self.caught_up && !self.app.store.is_open(&self.run).await? {
                // Over: by an event that was stored meanwhile, or long since, before number `after`.
                batch = self.read().await?;
                self.over = true;
            }
            if let Some(last) = batch.last() {
                (self.after, self.caught_up) = (last.seq, true);
                self.over |= last.body.is_last();
                return Ok(batch);
            }
            if !self.over {
                self.follower.woken().await;
                // Woken for nothing that comes after `after`, it looks whether that can come still.
                self.caught_up = false;
            }
        }
        Ok(Vec::new())
    }

    async fn read(&self) -> Result<Vec<Event>, StoreError> {
        self.app.store.events_after(&self.run, self.after, BATCH).await
    }
}

fn frame(event: &Event) -> sse::Event {
    let data = serde_json::to_string(event).expect("an event has string keys");
    sse::Event::default().id(event.seq.to_string()).event(event.body.kind()).data(data)
}
