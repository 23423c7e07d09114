//! How much may be asked: so many requests a second of one key, one person, one address, and so much at once.
//!
//! ```text
//!   a key or session is shown ─ no ──────────────────────────────────► address [changes]
//!     │ yes
//!   good of late ─ no ─► address [changes] ─► not guessed too often from there ─► looked up ─► refused: a guess more
//!     │ yes ─► looked up ─► refused: address [changes], a guess more                 │
//!     └─────────► good ◄────────────────────────────────────────────────────────────┘
//!                   └─► key ─► person [changes]
//! ```
//! What is refused costs nothing, so that whoever waits as long as they are told is let in. All this is in memory, of
//! bounded size, and begins anew with the server.

mod crowd;
mod table;

pub use crowd::{Crowd, Seat};

use crate::config::RateLimits;
use governor::{
    Quota, RateLimiter,
    clock::{Clock, MonotonicClock, Reference},
    middleware::NoOpMiddleware,
    nanos::Nanos,
};
use sha2::{Digest, Sha256};
use std::{net::IpAddr, num::NonZeroU32, sync::Arc, time::Duration};
use table::Table;

/// For how many seconds' worth of requests one may ask at once, after a rest: a page that is opened asks for much.
const AT_ONCE_S: u32 = 10;
/// How often is told that somebody is refused.
const TOLD_EVERY: Duration = Duration::from_secs(10 * 60);
/// How often of unknown people, in an hour.
const TOLD_OF_STRANGERS: u32 = 60;

/// Whose requests are counted.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Of {
    /// A key's or session's, by its id.
    Token(String),
    /// A person's, with all their keys and sessions, by their id.
    Person(String),
    /// An address's, see [`net`].
    Address(IpAddr),
    /// Of all who are not known.
    Strangers,
}

/// What there may be too much of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// Requests with one key or session.
    Key,
    /// Requests of one person.
    Person,
    /// Requests that change something, of one person or unknown address.
    Changes,
    /// Requests of one address that show nothing good.
    Address,
    /// Keys and sessions that are not good, shown by one address.
    Refused,
}

impl Limit {
    /// Its key in the configuration.
    pub fn setting(self) -> &'static str {
        match self {
            Self::Key => "limits.key_per_s",
            Self::Person => "limits.person_per_s",
            Self::Changes => "limits.changes_per_s",
            Self::Address => "limits.address_per_s",
            Self::Refused => "limits.refused_per_min",
        }
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::Person => "person",
            Self::Changes => "changes",
            Self::Address => "address",
            Self::Refused => "refused",
        }
    }
}

/// Somebody is to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooMuch {
    /// Of what there was too much.
    pub limit: Limit,
    /// How many there may be in [`TooMuch::window_s`].
    pub most: u32,
    /// Seconds in which what was spent comes back whole.
    pub window_s: u32,
    /// For how long.
    pub wait: Duration,
}

/// The SHA-256 of a key or session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TokenHash([u8; 32]);

impl TokenHash {
    /// Of this key or session.
    pub fn of(token: &str) -> Self {
        Self(Sha256::digest(token).into())
    }
}

/// Who has asked how much. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Rates<C: Clock + Clone = MonotonicClock>(Arc<Inner<C>>);

#[derive(Debug)]
struct Inner<C: Clock + Clone> {
    key: Limiter<C>,
    person: Limiter<C>,
    changes: Limiter<C>,
    address: Limiter<C>,
    refused: Limiter<C>,
    told: Limiter<C>,
    told_of_strangers: Limiter<C>,
    /// Since when keys and sessions are good, or were used last: nobody guesses them.
    good: Table<TokenHash, C::Instant>,
    /// Those that were not: shown again they are no new guess.
    bad: Table<TokenHash, C::Instant>,
    /// Until when no more guesses of an address are looked at.
    shut: Table<IpAddr, C::Instant>,
    clock: C,
}

impl Rates {
    /// Nobody has asked yet.
    pub fn new(limits: &RateLimits) -> Self {
        Self::timed(limits, &MonotonicClock)
    }
}

impl<C: Clock + Clone> Rates<C> {
    fn timed(limits: &RateLimits, clock: &C) -> Self {
        let every = |period, limit, most, periods| Limiter::new(limit, most, period, periods, clock.clone());
        let second = |limit, most| every(Duration::from_secs(1), limit, most, AT_ONCE_S);
        Self(Arc::new(Inner {
            key: second(Limit::Key, limits.key_per_s),
            person: second(Limit::Person, limits.person_per_s),
            changes: second(Limit::Changes, limits.changes_per_s),
            address: second(Limit::Address, limits.address_per_s),
            refused: every(Duration::from_secs(60), Limit::Refused, limits.refused_per_min, 1),
            told: every(TOLD_EVERY, Limit::Address, 1, 1),
            told_of_strangers: every(Duration::from_secs(3600), Limit::Address, TOLD_OF_STRANGERS, 1),
            good: Table::default(),
            bad: Table::default(),
            shut: Table::default(),
            clock: clock.clone(),
        }))
    }

    /// Counts a request of somebody known.
    ///
    /// # Errors
    /// They are to wait. What they were not refused for is spent: a key that asks on takes no more of its person's
    /// than it may ask for itself.
    pub fn known(&self, token_id: &str, user_id: &str, changes: bool) -> Result<(), TooMuch> {
        let (token, person) = (Of::Token(token_id.to_owned()), Of::Person(user_id.to_owned()));
        self.0.key.spend(&token)?;
        self.0.person.spend(&person)?;
        if changes { self.0.changes.spend(&person) } else { Ok(()) }
    }

    /// Counts a request of this address, from somebody unknown.
    ///
    /// # Errors
    /// They are to wait.
    pub fn unknown(&self, address: IpAddr, changes: bool) -> Result<(), TooMuch> {
        let of = Of::Address(net(address));
        self.0.address.spend(&of)?;
        if changes { self.0.changes.spend(&of) } else { Ok(()) }
    }

    /// Whether what is shown was good of late.
    pub fn is_good(&self, token: &TokenHash) -> bool {
        self.0.good.get(token).is_some()
    }

    /// Whether what is shown, and was not good of late, may be looked up.
    ///
    /// # Errors
    /// There were too many guesses from this address.
    pub fn may_guess(&self, address: IpAddr) -> Result<(), TooMuch> {
        let Some(until) = self.0.shut.get(&net(address)) else { return Ok(()) };
        let wait = Duration::from(until.duration_since(self.0.clock.now()));
        if wait.is_zero() { Ok(()) } else { Err(self.0.refused.too_much(wait)) }
    }

    /// What was shown, or is given to somebody now, is good.
    pub fn was_good(&self, token: TokenHash) {
        self.0.good.put(token, self.0.clock.now());
    }

    /// What was shown from this address is not good.
    pub fn was_refused(&self, token: TokenHash, address: IpAddr) {
        self.0.good.remove(&token);
        let now = self.0.clock.now();
        if self.0.bad.put(token, now).is_none()
            && let Err(too_much) = self.0.refused.spend(&Of::Address(net(address)))
        {
            self.0.shut.put(net(address), now + too_much.wait.into());
        }
    }

    /// Whether it is to be told that these are refused: not each time.
    pub fn is_news(&self, of: &Of) -> bool {
        let stranger = match of {
            Of::Token(_) | Of::Person(_) => false,
            Of::Address(_) | Of::Strangers => true,
        };
        self.0.told.spend(of).is_ok() && (!stranger || self.0.told_of_strangers.spend(&Of::Strangers).is_ok())
    }
}

type Counts<C> = RateLimiter<Of, Table<Of, Nanos>, C, NoOpMiddleware<<C as Clock>::Instant>>;

/// So many in so long, of each; or any number.
#[derive(Debug)]
struct Limiter<C: Clock + Clone> {
    limit: Limit,
    most: u32,
    window_s: u32,
    clock: C,
    counts: Option<Counts<C>>,
}

impl<C: Clock + Clone> Limiter<C> {
    /// `most` every `period`, 0 for any number, and as many as in so many periods at once.
    fn new(limit: Limit, most: u32, period: Duration, periods: u32, clock: C) -> Self {
        let window = period * periods;
        let at_once = most.saturating_mul(periods);
        let quota = NonZeroU32::new(at_once)
            .and_then(|at_once| Some(Quota::with_period(window / at_once.get())?.allow_burst(at_once)));
        let counts = quota.map(|quota| RateLimiter::new(quota, Table::default(), clock.clone()));
        Self { limit, most: at_once, window_s: window.as_secs() as u32, clock, counts }
    }

    fn spend(&self, of: &Of) -> Result<(), TooMuch> {
        let Some(counts) = &self.counts else { return Ok(()) };
        counts.check_key(of).map_err(|until| self.too_much(until.wait_time_from(self.clock.now())))
    }

    fn too_much(&self, wait: Duration) -> TooMuch {
        TooMuch { limit: self.limit, most: self.most, window_s: self.window_s, wait }
    }
}

/// An address as it is counted: whoever has one of IPv6 has the 2^64 beside it too.
pub fn net(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6((u128::from(address) & !u128::from(u64::MAX)).into()),
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use governor::clock::FakeRelativeClock;

    fn limits() -> RateLimits {
        RateLimits {
            key_per_s: 5,
            person_per_s: 8,
            changes_per_s: 1,
            address_per_s: 2,
            refused_per_min: 3,
            person_streams: 0,
            address_streams: 0,
            address_connections: 0,
        }
    }

    fn ip(address: &str) -> IpAddr {
        address.parse().unwrap()
    }

    /// How many of these are let through, before the first that is not, and which limit that meets.
    fn through(ask: impl Fn() -> Result<(), TooMuch>) -> (usize, Limit) {
        for n in 0.. {
            if let Err(too_much) = ask() {
                return (n, too_much.limit);
            }
        }
        unreachable!()
    }

    #[test]
    fn who_waits_as_long_as_told_is_let_in() {
        let clock = FakeRelativeClock::default();
        let limiter = Limiter::new(Limit::Key, 5, Duration::from_secs(1), 10, clock.clone());
        let of = Of::Token("key_1".into());
        assert_eq!((0..100).filter(|_| limiter.spend(&of).is_ok()).count(), 50);
        for _ in 0..100 {
            let too_much = limiter.spend(&of).unwrap_err();
            assert_eq!((too_much.most, too_much.window_s), (50, 10));
            clock.advance(too_much.wait);
            limiter.spend(&of).unwrap();
        }
        clock.advance(Duration::from_secs(3600));
        assert_eq!((0..100).filter(|_| limiter.spend(&of).is_ok()).count(), 50, "rest is not saved up");
    }

    #[test]
    fn a_key_takes_no_more_of_its_person_than_its_own() {
        let rates = Rates::timed(&limits(), &FakeRelativeClock::default());
        assert_eq!(through(|| rates.known("key_1", "usr_1", false)), (50, Limit::Key));
        for _ in 0..1000 {
            let _refused = rates.known("key_1", "usr_1", false);
        }
        assert_eq!(through(|| rates.known("key_2", "usr_1", false)), (30, Limit::Person));
        assert_eq!(through(|| rates.known("key_3", "usr_2", true)), (10, Limit::Changes));
        assert!(rates.known("key_3", "usr_2", false).is_ok(), "it may look on");
    }

    #[test]
    fn an_address_is_a_line() {
        let rates = Rates::timed(&limits(), &FakeRelativeClock::default());
        assert_eq!(through(|| rates.unknown(ip("192.0.2.1"), false)), (20, Limit::Address));
        assert!(rates.unknown(ip("::ffff:192.0.2.1"), false).is_err());
        assert!(rates.unknown(ip("192.0.2.2"), false).is_ok());
        let mut n = 0;
        let next = std::iter::repeat_with(|| {
            n += 1;
            rates.unknown(IpAddr::V6((u128::from_be_bytes([0x20; 16]) & !0xffff | n).into()), false)
        });
        assert_eq!(next.take(100).filter(Result::is_ok).count(), 20);
    }

    #[test]
    fn keys_are_guessed_slowly_and_good_ones_go_on() {
        let clock = FakeRelativeClock::default();
        let (rates, here) = (Rates::timed(&limits(), &clock), ip("192.0.2.1"));
        let token = |guess: u32| TokenHash::of(&guess.to_string());
        rates.was_good(token(100));
        for guess in 0..4 {
            assert!(rates.may_guess(here).is_ok(), "{guess}");
            rates.was_refused(token(guess), here);
            rates.was_refused(token(guess), here);
        }
        let too_much = rates.may_guess(here).unwrap_err();
        assert_eq!(too_much.limit, Limit::Refused);
        assert_eq!(too_much.wait, Duration::from_secs(20));
        assert!(rates.is_good(&token(100)) && !rates.is_good(&token(1)));
        assert!(rates.may_guess(ip("192.0.2.2")).is_ok());
        rates.was_refused(token(100), here);
        assert!(!rates.is_good(&token(100)), "one that was revoked");
        clock.advance(Duration::from_secs(60));
        assert!(rates.may_guess(here).is_ok());
    }

    #[test]
    fn the_same_wrong_key_is_one_guess() {
        let (rates, here) = (Rates::timed(&limits(), &FakeRelativeClock::default()), ip("192.0.2.1"));
        for _ in 0..1000 {
            rates.was_refused(TokenHash::of("pdv_1"), here);
        }
        assert!(rates.may_guess(here).is_ok());
    }

    #[test]
    fn nothing_is_no_limit() {
        let none = RateLimits { key_per_s: 0, person_per_s: 0, changes_per_s: 0, address_per_s: 0, ..limits() };
        let rates = Rates::new(&RateLimits { refused_per_min: 0, ..none });
        for n in 0..10_000 {
            assert!(rates.known("key_1", "usr_1", true).is_ok() && rates.unknown(ip("192.0.2.1"), true).is_ok());
            rates.was_refused(TokenHash::of(&n.to_string()), ip("192.0.2.1"));
            assert!(rates.may_guess(ip("192.0.2.1")).is_ok());
        }
    }

    #[test]
    fn a_flood_is_told_once() {
        let rates = Rates::timed(&limits(), &FakeRelativeClock::default());
        let person = Of::Person("usr_1".into());
        assert_eq!((0..1000).filter(|_| rates.is_news(&person)).count(), 1);
        let machine = |n: u32| Of::Address(IpAddr::V4((0x0a00_0000 + n).into()));
        assert_eq!((0..100_000).filter(|n| rates.is_news(&machine(*n))).count(), TOLD_OF_STRANGERS as usize);
    }
}
