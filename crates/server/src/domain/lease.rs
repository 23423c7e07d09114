//! The right of a run to use a login.
//!
//! ```text
//!   fresh for longer than the run may take ─► shared: a copy that cannot be refreshed
//!   a refresh may come ─────────────────────► exclusive: the whole login, which is read back
//!        exclusive ─ refreshed, written back ─► keeper: others may share it, and this run is still read back
//!   it ends with its run
//! ```
//! A refresh token works once: two runs that both refresh log each other out, and their person too.

/// How a run uses a login.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Beside others that do not refresh it either.
    Shared,
    /// Alone: it may refresh it.
    Exclusive,
    /// Beside others, but with the whole login: it had it alone and has refreshed it.
    Keeper,
}

impl Kind {
    /// As it stands in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Shared => "shared",
            Self::Exclusive => "exclusive",
            Self::Keeper => "keeper",
        }
    }
}

/// A login and who uses it, as the queue needs to know.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Login {
    /// Whose.
    pub user_id: String,
    /// The provider.
    pub provider: String,
    /// When its access token ends, Unix milliseconds.
    pub fresh_until: i64,
    /// How many runs share it.
    pub shared: i64,
    /// How many have it alone: none or one.
    pub exclusive: i64,
}

/// Which lease a run needs that may take `timeout_s` seconds from `now` on, of a login whose tool refreshes it
/// `early_ms` before its end. Times are Unix milliseconds.
pub fn needed(fresh_until: i64, early_ms: i64, timeout_s: i64, now: i64) -> Kind {
    let end = now.saturating_add(timeout_s.saturating_mul(1000)).saturating_add(early_ms);
    if end < fresh_until { Kind::Shared } else { Kind::Exclusive }
}

impl Login {
    /// Whether a lease of this kind can be had now.
    pub fn has_room(&self, kind: Kind) -> bool {
        match kind {
            Kind::Shared | Kind::Keeper => self.exclusive == 0,
            Kind::Exclusive => self.exclusive == 0 && self.shared == 0,
        }
    }

    /// Counts one more.
    pub fn take(&mut self, kind: Kind) {
        match kind {
            Kind::Shared | Kind::Keeper => self.shared += 1,
            Kind::Exclusive => self.exclusive += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_may_refresh_is_alone() {
        let minute = 60_000;
        assert_eq!(needed(31 * minute, 0, 1800, 0), Kind::Shared);
        assert_eq!(needed(31 * minute, 5 * minute, 1800, 0), Kind::Exclusive, "the tool is early");
        assert_eq!(needed(0, 0, 1, 10), Kind::Exclusive, "it is over already");
        assert_eq!(needed(i64::MAX, 0, i64::MAX, i64::MAX), Kind::Exclusive, "nothing overflows");
        let mut login = Login::default();
        assert!(login.has_room(Kind::Exclusive) && login.has_room(Kind::Shared));
        login.take(Kind::Shared);
        assert!(!login.has_room(Kind::Exclusive) && login.has_room(Kind::Shared));
        let mut login = Login::default();
        login.take(Kind::Exclusive);
        assert!(!login.has_room(Kind::Exclusive) && !login.has_room(Kind::Shared));
    }
}
