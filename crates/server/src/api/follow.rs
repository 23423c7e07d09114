//! The events of a run or a login, followed to their end: what server-sent events and the WebSocket are two framings
//! of.
//!
//! Every reader reads the database, a page at a time, woken by the hub: a slow one holds neither the run nor
//! memory, and what it gets is what is stored.

use super::App;
use crate::{
    control::Follower,
    domain::{event::Event, login},
    store::{Store, StoreError},
};
use serde::Serialize;
use std::marker::PhantomData;

/// An event of what can be followed.
pub trait Followed: Serialize + Send + Sync + 'static {
    /// Its number.
    fn seq(&self) -> i64;

    /// The `type` that it is sent with.
    fn kind(&self) -> &'static str;

    /// Whether no event can follow it.
    fn is_last(&self) -> bool;

    /// The next events after number `after`, as many as make a page.
    fn page(store: &Store, id: &str, after: i64) -> impl Future<Output = Result<Vec<Self>, StoreError>> + Send
    where
        Self: Sized;

    /// Whether there may be more.
    fn is_open(store: &Store, id: &str) -> impl Future<Output = Result<bool, StoreError>> + Send;
}

impl Followed for Event {
    fn seq(&self) -> i64 {
        self.seq
    }

    fn kind(&self) -> &'static str {
        self.body.kind()
    }

    fn is_last(&self) -> bool {
        self.body.is_last()
    }

    async fn page(store: &Store, id: &str, after: i64) -> Result<Vec<Self>, StoreError> {
        store.events_after(id, after).await
    }

    async fn is_open(store: &Store, id: &str) -> Result<bool, StoreError> {
        store.is_open(id).await
    }
}

impl Followed for login::Event {
    fn seq(&self) -> i64 {
        self.seq
    }

    fn kind(&self) -> &'static str {
        self.body.kind()
    }

    fn is_last(&self) -> bool {
        self.body.is_last()
    }

    async fn page(store: &Store, id: &str, after: i64) -> Result<Vec<Self>, StoreError> {
        store.login_events_after(id, after).await
    }

    async fn is_open(store: &Store, id: &str) -> Result<bool, StoreError> {
        store.is_login_open(id).await
    }
}

/// How far a reader has got. It holds no event: the page that it gave is in flight, and the only one.
#[derive(Debug)]
pub struct Follow<E> {
    store: Store,
    id: String,
    after: i64,
    follower: Follower,
    /// A page was read that was not the last: to look for the end would be in vain.
    caught_up: bool,
    over: bool,
    of: PhantomData<fn() -> E>,
}

impl<E: Followed> Follow<E> {
    /// The events of a run or a login after number `after`.
    pub fn new(app: &App, id: String, after: i64) -> Self {
        // Subscribed before the first look, so that nothing is missed between look and wait.
        let follower = app.runs.hub().subscribe(&id);
        Self { store: app.store.clone(), id, after, follower, caught_up: false, over: false, of: PhantomData }
    }

    /// The next events, as soon as there are any; none after the last one, and when the server stops.
    /// Nothing is lost where this is given up and asked again.
    pub async fn page(&mut self) -> Result<Vec<E>, StoreError> {
        while !self.over {
            self.follower.look();
            let mut page = self.read().await?;
            if page.is_empty() && !self.caught_up && !E::is_open(&self.store, &self.id).await? {
                // Over: by an event that was stored meanwhile, or long since, before number `after`.
                page = self.read().await?;
                self.over = page.is_empty();
            }
            if let Some(last) = page.last() {
                (self.after, self.caught_up) = (last.seq(), true);
                self.over |= last.is_last();
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

    /// Whether there will be no more events. `false` after an empty page: the server stops before the end.
    pub fn is_over(&self) -> bool {
        self.over
    }

    async fn read(&self) -> Result<Vec<E>, StoreError> {
        let page = E::page(&self.store, &self.id, self.after).await;
        page.inspect_err(|error| {
            tracing::error!(of = self.id, error = crate::cli::output::chain(error), "the events cannot be read");
        })
    }
}

/// The event as it is sent.
pub fn json(event: &impl Followed) -> String {
    serde_json::to_string(event).expect("an event has string keys")
}
