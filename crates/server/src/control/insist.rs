//! Asks again what was not answered: an agent beside a busy browser, a database that is away. For a desktop, which
//! somebody may have signed in at: what is only unsaid does not end it.

use super::{Inner, chain};
use crate::{
    domain::login::Change,
    store::{StoreError, logins::Changed},
};
use backon::{ConstantBuilder, ExponentialBuilder, Retryable};
use polydev_sandbox::{driver::DriverError, guest::GuestError};
use std::{future::Future, time::Duration};

/// How often an agent is asked in all. That its sandbox is gone is told by other channels, which end with it.
const ASKED: usize = 3;
/// How long it is left alone before it is asked again.
const PAUSE: Duration = Duration::from_secs(1);
/// How long a database is left alone at most before it is asked again.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// What an agent answers, also one that does not at once.
pub(super) async fn guest<T, E, A: Future<Output = Result<T, E>>>(
    ask: impl FnMut() -> A,
    is_unsaid: impl FnMut(&E) -> bool,
) -> Result<T, E> {
    ask.retry(ConstantBuilder::default().with_delay(PAUSE).with_max_times(ASKED - 1)).when(is_unsaid).await
}

/// Whether it may answer when it is asked again: its sandbox is not gone.
pub(super) fn is_there(error: &GuestError) -> bool {
    !matches!(error, GuestError::Driver(DriverError::Gone(_)))
}

/// What the database answers, whenever it does: for what has a deadline of its own.
pub(super) async fn store<T, A: Future<Output = Result<T, StoreError>>>(ask: impl FnMut() -> A) -> T {
    let pauses = ExponentialBuilder::default().with_jitter().with_max_delay(LONGEST_PAUSE).without_max_times();
    let asked = ask.retry(pauses).notify(|error: &StoreError, pause| {
        tracing::warn!(error = chain(error), again_in_ms = pause.as_millis() as u64, "the database is asked again");
    });
    asked.await.expect("it is asked without an end")
}

impl Inner {
    /// The same as [`Inner::change_login`], whenever the database takes it.
    pub(super) async fn surely_change_login(&self, id: &str, change: &Change) -> Changed {
        store(|| self.change_login(id, change)).await
    }
}
