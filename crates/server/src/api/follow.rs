//! A run's events, followed to their end: what server-sent events and the WebSocket are two framings of.
//!
//! Every reader reads the database, a page at a time, woken by the hub: a slow one holds neither the run nor
//! memory, and what it gets is what is stored.

use super::App;
use crate::{
    control::Follower,
    domain::event::Event,
    store::{Store, StoreError},
};

/// How far a reader has got. It holds no event: the page that it gave is in flight, and the only one.
#[derive(Debug)]
pub struct Follow {
    store: Store,
    run: String,
    after: i64,
    follower: Follower,
    /// A page was read that was not the last: to look for the run's end would be in vain.
    caught_up: bool,
    over: bool,
}

impl Follow {
    /// The events of a run after number `after`.
    pub fn new(app: &App, run: String, after: i64) -> Self {
        // Subscribed before the first look, so that nothing is missed between look and wait.
        let follower = app.runs.hub().subscribe(&run);
        Self { store: app.store.clone(), run, after, follower, caught_up: false, over: false }
    }

    /// The next events, as soon as there are any; none after the last one, and when the server stops.
    /// Nothing is lost where this is given up and asked again.
    pub async fn page(&mut self) -> Result<Vec<Event>, StoreError> {
        while !self.over {
            self.follower.look();
            let mut page = self.read().await?;
            if page.is_empty() && !self.caught_up && !self.store.is_open(&self.run).await? {
                // Over: by an event that was stored meanwhile, or long since, before number `after`.
                page = self.read().await?;
                self.over = page.is_empty();
            }
            if let Some(last) = page.last() {
                (self.after, self.caught_up) = (last.seq, true);
                self.over |= last.body.is_last();
                return Ok(page);
            }
            if !self.over {
                if !self.follower.woken().await {
                    break;
                }
                // Woken for nothing that comes after `after`, it looks whether that can come still.
                self.caught_up = false;
            }
        }
        Ok(Vec::new())
    }

    /// Whether there will be no more events. `false` after an empty page: the server stops before the run's end.
    pub fn is_over(&self) -> bool {
        self.over
    }

    async fn read(&self) -> Result<Vec<Event>, StoreError> {
        let page = self.store.events_after(&self.run, self.after).await;
        page.inspect_err(|error| {
            tracing::error!(run = self.run, error = crate::cli::output::chain(error), "the events cannot be read");
        })
    }
}

/// The event as it is sent.
pub fn json(event: &Event) -> String {
    serde_json::to_string(event).expect("an event has string keys")
}
