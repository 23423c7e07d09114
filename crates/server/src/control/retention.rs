//! What is forgotten in time: runs and logins that ended long ago, and all that is theirs.

use super::{Runs, chain};
use crate::{
    domain::{audit, idempotency, people, time},
    store::StoreError,
};
use tokio::time::Duration;
use tokio_util::sync::CancellationToken;

/// How often old things are looked for.
const EVERY: Duration = Duration::from_secs(60 * 60);
/// How many runs are looked up at a time.
const BATCH: i64 = 100;
const DAY_MS: i64 = 24 * 60 * 60 * 1000;

impl Runs {
    /// Forgets what is old, now and every hour, until cancelled.
    pub async fn keep_house_forever(&self, stop: CancellationToken) {
        let mut timer = tokio::time::interval(EVERY);
        let hourly = async {
            loop {
                timer.tick().await;
                if let Err(error) = self.forget_old(time::now_ms()).await {
                    tracing::error!(
                        error = chain(&error),
                        "what is old could not be forgotten; in an hour it is tried again"
                    );
                }
            }
        };
        stop.run_until_cancelled(hourly).await;
    }

    /// Forgets what is old at this time. Whatever ends it in between, the next pass goes on.
    async fn forget_old(&self, now: i64) -> Result<(), StoreError> {
        let (store, keep_days) = (&self.0.store, self.0.config.runs.keep_days);
        store.purge_idempotency_keys(now - idempotency::KEPT_MS).await?;
        store.purge_audit(now - audit::KEPT_MS).await?;
        people::forget_sessions(store, now).await?;
        if let Some(before) = keep_after(keep_days, now) {
            let mut runs = 0;
            loop {
                let old = store.runs_ended_before(before, BATCH).await?;
                if old.is_empty() {
                    break;
                }
                for run in old {
                    self.delete(&run).await?;
                    runs += 1;
                }
            }
            let logins = store.forget_logins(before).await?;
            let sandboxes = store.forget_sandboxes(before).await?;
            if runs > 0 || logins > 0 {
                tracing::info!(runs, logins, sandboxes, keep_days, "what is old is forgotten");
            }
        }
        store.give_back().await
    }
}

/// What ended before this time is forgotten, Unix milliseconds; with 0 days nothing ever is.
fn keep_after(days: u64, now: i64) -> Option<i64> {
    (days > 0).then(|| now.saturating_sub(DAY_MS.saturating_mul(i64::try_from(days).unwrap_or(i64::MAX))))
}

#[cfg(test)]
mod tests {
    use super::{DAY_MS, keep_after};

    #[test]
    fn days_are_kept_and_none_is_for_ever() {
        assert_eq!(keep_after(30, 31 * DAY_MS), Some(DAY_MS));
        assert_eq!(keep_after(36_500, 0), Some(-36_500 * DAY_MS));
        assert_eq!(keep_after(0, 1), None);
    }
}
