//! So much in a second, on average: for what waits instead of being refused.

use std::{
    num::NonZeroU64,
    sync::{Mutex, PoisonError},
    time::Duration,
};
use tokio::time::{Instant, sleep_until};

/// So much in a second, on average, and some more at once.
#[derive(Debug)]
pub struct Pace {
    per_s: f64,
    burst: Duration,
    /// Until when all that was taken is paid for.
    paid: Mutex<Instant>,
}

impl Pace {
    /// `burst`: for so long is kept what is not used, and may then be taken at once.
    pub fn new(per_s: NonZeroU64, burst: Duration) -> Self {
        Self { per_s: per_s.get() as f64, burst, paid: Mutex::new(Instant::now()) }
    }

    /// Takes it: when it is due. Who takes first has it first.
    pub fn take(&self, amount: u64) -> Instant {
        let now = Instant::now();
        // No writer leaves it half-written, so a panic elsewhere does not spoil it.
        let mut paid = self.paid.lock().unwrap_or_else(PoisonError::into_inner);
        *paid = (*paid).max(now) + Duration::from_secs_f64(amount as f64 / self.per_s);
        paid.checked_sub(self.burst).map_or(now, |due| due.max(now))
    }

    /// Takes it, and waits until it is due.
    pub async fn wait(&self, amount: u64) {
        let due = self.take(amount);
        if due > Instant::now() {
            sleep_until(due).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_not_used_is_kept_for_a_while() {
        let pace = Pace::new(NonZeroU64::new(100).unwrap(), Duration::from_secs(2));
        let begun = Instant::now();
        pace.wait(200).await;
        assert_eq!(begun.elapsed(), Duration::ZERO);
        pace.wait(100).await;
        assert_eq!(begun.elapsed(), Duration::from_secs(1));
        tokio::time::advance(Duration::from_secs(60)).await;
        pace.wait(200).await;
        pace.wait(50).await;
        assert_eq!(begun.elapsed(), Duration::from_millis(61_500), "no more than that is kept");
    }
}
