//! Sign-ins are slowed down where they fail, and nobody is locked out for ever.
//!
//! | counted | free | then | at most | so that |
//! |---|---|---|---|---|
//! | one address at one account | 5 | 1 s, doubled with each | 15 minutes | a password cannot be guessed |
//! | one address at all accounts | 20 | the same | 5 minutes | one password cannot be tried at all accounts |
//! | one account from all addresses | 50 | the same | 1 minute | many machines guess no faster |
//!
//! An address from which somebody has signed in is theirs: only the first line counts there, and whoever attacks
//! their account from elsewhere does not keep them out. An attempt counts as failed from its start, so that a
//! thousand at once are not free, and no more where it was then not tried: there was no turn, or no database. While
//! somebody waits, nothing is tried and nothing is counted. After an hour without a failure it is forgotten. An address
//! is IPv4, or the first 64 bits of IPv6.
//!
//! An email counts whether there is such an account or not: the limit does not tell. All this is in memory, of
//! bounded size, and begins anew with the server, which then knows the addresses that sessions are used from.

use super::PeopleError;
use crate::domain::rates::net;
use sha2::{Digest, Sha256};
use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// How long a failure counts, milliseconds.
const FORGET_MS: i64 = 60 * 60 * 1000;
/// How long somebody's address is theirs after they have signed in, milliseconds: as long as a session lives.
const KNOWN_MS: i64 = super::sessions::LIFETIME_MS;
/// How many counts are kept: some 4 MiB.
const COUNTS_MAX: usize = 30_000;

/// How many failures are free, and how long one waits at most after more, milliseconds.
#[derive(Debug, Clone, Copy)]
struct Rule {
    free: u32,
    longest_ms: i64,
}

const PAIR: Rule = Rule { free: 5, longest_ms: 15 * 60 * 1000 };
const ADDRESS: Rule = Rule { free: 20, longest_ms: 5 * 60 * 1000 };
const ACCOUNT: Rule = Rule { free: 50, longest_ms: 60 * 1000 };

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Of {
    Pair([u8; 32], IpAddr),
    Address(IpAddr),
    Account([u8; 32]),
}

#[derive(Debug, Clone, Copy, Default)]
struct Count {
    failures: u32,
    /// When the next attempt is free, Unix milliseconds.
    next_at: i64,
    /// When the failures are forgotten, Unix milliseconds.
    forget_at: i64,
    /// Until when the address is theirs because somebody has signed in from it, Unix milliseconds.
    known_until: i64,
}

impl Count {
    /// What of it counts at this time.
    fn at(self, now: i64) -> Self {
        let failures = if self.forget_at > now { self } else { Self::default() };
        Self { known_until: if self.known_until > now { self.known_until } else { 0 }, ..failures }
    }

    fn is_known(&self) -> bool {
        self.known_until > 0
    }

    /// How much is lost without it: most, that somebody has signed in from there.
    fn worth(&self) -> (bool, u32, i64) {
        (self.is_known(), self.failures, self.forget_at.max(self.known_until))
    }

    fn fail(&mut self, rule: Rule, now: i64) {
        self.failures = self.failures.saturating_add(1);
        self.next_at = now + rule.wait_ms(self.failures);
        self.forget_at = now + FORGET_MS;
    }
}

/// Who has failed how often. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Limits(Arc<Mutex<HashMap<Of, Count>>>);

/// An attempt that may be made. It counts as failed while it is made, and afterwards where it was wrong: one that is
/// dropped without [`Attempt::ended`] was not made.
#[derive(Debug)]
#[must_use]
pub struct Attempt {
    limits: Limits,
    email: [u8; 32],
    net: IpAddr,
    /// What was counted, and when the next attempt was free then.
    counted: Vec<(Of, i64)>,
}

impl Limits {
    /// Begins an attempt to sign in as `email` from `address` at the time `now`, Unix milliseconds.
    ///
    /// # Errors
    /// How many milliseconds to wait.
    pub fn begin(&self, email: &str, address: IpAddr, now: i64) -> Result<Attempt, i64> {
        let (email, net) = (account(email), net(address));
        let pair = (Of::Pair(email, net), PAIR);
        let others = [(Of::Address(net), ADDRESS), (Of::Account(email), ACCOUNT)];
        let known = self.counts().get(&pair.0).is_some_and(|count| count.at(now).is_known());
        let count: Vec<_> = std::iter::once(pair).chain(others.into_iter().filter(|_| !known)).collect();
        Ok(Attempt { limits: self.clone(), email, net, counted: self.count(&count, now)? })
    }

    /// Counts that something else was guessed at from `address`, and wrongly, at the time `now`, Unix milliseconds.
    ///
    /// # Errors
    /// How many milliseconds to wait. Then it is not counted.
    pub fn fail(&self, address: IpAddr, now: i64) -> Result<(), i64> {
        self.count(&[(Of::Address(net(address)), ADDRESS)], now).map(drop)
    }

    /// Makes the address theirs until this time, Unix milliseconds: somebody has signed in from it.
    pub fn know(&self, email: &str, address: IpAddr, until: i64, now: i64) {
        let mut counts = self.counts();
        let count = of_mut(&mut counts, Of::Pair(account(email), net(address)), now);
        count.known_until = count.known_until.max(until);
    }

    /// Counts a failure of all these, unless one of them is to wait.
    fn count(&self, these: &[(Of, Rule)], now: i64) -> Result<Vec<(Of, i64)>, i64> {
        let mut counts = self.counts();
        let next_at = |of: &Of| counts.get(of).map_or(0, |count| count.at(now).next_at);
        let wait = these.iter().map(|(of, _)| next_at(of) - now).max().unwrap_or(0);
        if wait > 0 {
            return Err(wait);
        }
        let fail = |(of, rule): &(Of, Rule)| {
            let count = of_mut(&mut counts, *of, now);
            count.fail(*rule, now);
            (*of, count.next_at)
        };
        Ok(these.iter().map(fail).collect())
    }

    fn counts(&self) -> MutexGuard<'_, HashMap<Of, Count>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Attempt {
    /// What became of it. Where it was right, the address is theirs; where it was wrong, it counts.
    pub fn ended<T>(self, outcome: &Result<T, PeopleError>, now: i64) {
        match outcome {
            Ok(_) => self.succeeded(now),
            Err(error) if error.is_wrong_guess() => self.failed(),
            Err(_) => {}
        }
    }

    fn succeeded(self, now: i64) {
        *of_mut(&mut self.limits.counts(), Of::Pair(self.email, self.net), now) =
            Count { known_until: now + KNOWN_MS, ..Count::default() };
    }

    fn failed(mut self) {
        self.counted.clear();
    }
}

impl Drop for Attempt {
    /// As if it had not been: who has an account of their own gains no guess at another's by it, and who was not heard
    /// has not failed.
    fn drop(&mut self) {
        let mut counts = self.limits.counts();
        for (of, next_at) in &self.counted {
            if let Some(count) = counts.get_mut(of) {
                count.failures = count.failures.saturating_sub(1);
                // Where another has failed meanwhile, the wait is that one's.
                if count.next_at == *next_at {
                    count.next_at = 0;
                }
            }
        }
    }
}

fn account(email: &str) -> [u8; 32] {
    Sha256::digest(email.trim().to_lowercase()).into()
}

impl Rule {
    fn wait_ms(self, failures: u32) -> i64 {
        let Some(beyond) = failures.checked_sub(self.free) else { return 0 };
        1000_i64.checked_shl(beyond).filter(|wait| (1..=self.longest_ms).contains(wait)).unwrap_or(self.longest_ms)
    }
}

/// The count of this, made where there is none. Where there are too many, the half of them goes that tells least.
fn of_mut(counts: &mut HashMap<Of, Count>, of: Of, now: i64) -> &mut Count {
    if counts.len() >= COUNTS_MAX && !counts.contains_key(&of) {
        counts.retain(|_, count| count.forget_at > now || count.known_until > now);
        if counts.len() >= COUNTS_MAX {
            let mut worth: Vec<_> = counts.values().map(Count::worth).collect();
            let (_, median, _) = worth.select_nth_unstable(COUNTS_MAX / 2);
            let median = *median;
            counts.retain(|_, count| count.worth() > median);
        }
    }
    let count = counts.entry(of).or_default();
    *count = count.at(now);
    count
}

#[cfg(test)]
mod tests {
    use super::{Attempt, COUNTS_MAX, FORGET_MS, KNOWN_MS, Limits};
    use crate::domain::people::PeopleError;
    use proptest::prelude::*;
    use std::net::{IpAddr, Ipv6Addr};

    const MINUTE: i64 = 60_000;
    const EMAIL: &str = "ann@example.com";

    fn ip(address: &str) -> IpAddr {
        address.parse().unwrap()
    }

    /// Tries a wrong password.
    fn guess(limits: &Limits, email: &str, address: IpAddr, now: i64) -> Result<(), i64> {
        limits.begin(email, address, now).map(Attempt::failed)
    }

    /// Fails until the first wait, at this time.
    fn fail(limits: &Limits, email: &str, address: IpAddr, now: i64) -> (u32, i64) {
        for n in 0.. {
            if let Err(wait) = guess(limits, email, address, now) {
                return (n, wait);
            }
        }
        unreachable!()
    }

    #[test]
    fn who_fails_waits_longer_each_time_and_never_for_ever() {
        let (limits, here) = (Limits::default(), ip("192.0.2.1"));
        assert_eq!(fail(&limits, EMAIL, here, 0), (5, 1000));
        let (mut now, mut waits) = (0, Vec::new());
        for _ in 0..14 {
            now += guess(&limits, EMAIL, here, now).unwrap_err();
            guess(&limits, " ANN@example.com", here, now).unwrap();
            waits.push(guess(&limits, EMAIL, here, now).unwrap_err() / 1000);
            assert!(guess(&limits, EMAIL, here, now).is_err(), "asking again makes it no longer");
        }
        assert_eq!(waits, [2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900, 900, 900, 900]);
        assert!(guess(&limits, EMAIL, here, now + FORGET_MS).is_ok());
        assert_eq!(fail(&limits, EMAIL, here, now + 3 * FORGET_MS).0, 5, "it is forgotten");
    }

    #[test]
    fn the_right_password_works_from_elsewhere() {
        let limits = Limits::default();
        fail(&limits, EMAIL, ip("192.0.2.1"), 0);
        limits.begin(EMAIL, ip("192.0.2.2"), 0).unwrap().succeeded(0);
        assert!(guess(&limits, EMAIL, ip("192.0.2.1"), 0).is_err(), "and helps nobody else");
    }

    #[test]
    fn one_address_does_not_try_all_accounts() {
        let (limits, here) = (Limits::default(), ip("192.0.2.1"));
        let tries = (0..).take_while(|n| guess(&limits, &format!("{n}@example.com"), here, 0).is_ok()).count();
        assert_eq!(tries, 20);
        assert!(guess(&limits, EMAIL, here, 0).is_err());
        assert!(guess(&limits, EMAIL, ip("192.0.2.2"), 0).is_ok());
    }

    #[test]
    fn an_account_of_ones_own_buys_no_guess_at_anothers() {
        let guesses = |signs_in: bool| {
            let (limits, here, mut guesses) = (Limits::default(), ip("192.0.2.1"), 0);
            for second in 0..3600 {
                let now = second * 1000;
                if signs_in && let Ok(own) = limits.begin("eve@example.com", here, now) {
                    own.succeeded(now);
                }
                guesses += u32::from(guess(&limits, &format!("{second}@example.com"), here, now).is_ok());
            }
            guesses
        };
        assert_eq!(guesses(true), guesses(false));
        assert!(guesses(true) < 50, "{}", guesses(true));
    }

    #[test]
    fn many_machines_guess_no_faster_and_the_person_comes_in() {
        let limits = Limits::default();
        let home = ip("198.51.100.7");
        limits.begin(EMAIL, home, 0).unwrap().succeeded(0);
        let machine = |n: u32| IpAddr::V4((0x0a00_0000 + n).into());
        let tries = (0..1000).filter(|n| guess(&limits, EMAIL, machine(*n), 0).is_ok()).count();
        assert_eq!(tries, 50);
        limits.begin(EMAIL, home, 0).unwrap().succeeded(0);
        assert!(guess(&limits, EMAIL, machine(5000), 0).is_err());
        assert!(guess(&limits, EMAIL, machine(5000), MINUTE).is_ok());
    }

    #[test]
    fn what_was_not_tried_does_not_count() {
        let (limits, here) = (Limits::default(), ip("192.0.2.1"));
        let ended = |outcome: Result<(), PeopleError>| limits.begin(EMAIL, here, 0).unwrap().ended(&outcome, 0);
        for _ in 0..100 {
            ended(Err(PeopleError::Busy));
            ended(Err(PeopleError::Hash));
            drop(limits.begin(EMAIL, here, 0).unwrap());
        }
        for _ in 0..4 {
            ended(Err(PeopleError::SignIn));
        }
        ended(Err(PeopleError::Busy));
        let under_way = limits.begin(EMAIL, here, 0).unwrap();
        assert!(limits.begin(EMAIL, here, 0).is_err(), "until that is known it counts");
        drop(under_way);
        ended(Err(PeopleError::WrongPassword));
        assert_eq!(limits.begin(EMAIL, here, 0).unwrap_err(), 1000);
    }

    #[test]
    fn a_known_address_is_forgiven_its_failures_too() {
        let (limits, home) = (Limits::default(), ip("198.51.100.7"));
        limits.begin(EMAIL, home, 0).unwrap().succeeded(0);
        assert_eq!(fail(&limits, EMAIL, home, 0).0, 5);
        assert_eq!(fail(&limits, EMAIL, home, FORGET_MS).0, 5, "it is forgotten");
        // And it is theirs still, and not for ever.
        let attack =
            |now: i64| (0..100).filter(|n| guess(&limits, EMAIL, IpAddr::from([10, 0, 0, *n]), now).is_ok()).count();
        attack(KNOWN_MS - 1);
        assert!(guess(&limits, EMAIL, home, KNOWN_MS - 1).is_ok());
        assert!(guess(&limits, EMAIL, home, KNOWN_MS).is_err());
    }

    #[test]
    fn other_guesses_of_an_address_count_as_well() {
        let (limits, here) = (Limits::default(), ip("192.0.2.1"));
        assert_eq!((0..100).filter(|_| limits.fail(here, 0).is_ok()).count(), 20);
        assert!(limits.begin(EMAIL, here, 0).is_err());
        assert!(limits.fail(ip("192.0.2.2"), 0).is_ok());
    }

    #[test]
    fn the_addresses_of_one_line_are_one() {
        let limits = Limits::default();
        let of = |n: u16| IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 1, n, n, n, n));
        let tries = (0..100).filter(|n| guess(&limits, EMAIL, of(*n), 0).is_ok()).count();
        assert_eq!(tries, 5);
        fail(&limits, "bob@example.com", ip("::ffff:192.0.2.1"), 0);
        assert!(guess(&limits, "bob@example.com", ip("192.0.2.1"), 0).is_err());
    }

    #[test]
    fn its_memory_is_bounded_and_keeps_who_fails_most() {
        let limits = Limits::default();
        fail(&limits, EMAIL, ip("192.0.2.1"), 0);
        limits.begin("bob@example.com", ip("192.0.2.3"), 0).unwrap().succeeded(0);
        for n in 0..COUNTS_MAX as u32 {
            let _failed = guess(&limits, &format!("{n}@example.com"), IpAddr::V4((0x0a00_0000 + n).into()), 0);
            assert!(limits.counts().len() <= COUNTS_MAX);
        }
        assert!(fail(&limits, "bob@example.com", ip("192.0.2.3"), 0).0 == 5, "it is theirs still");
        assert!(guess(&limits, EMAIL, ip("192.0.2.1"), 0).is_err());
    }

    proptest! {
        #[test]
        fn nobody_waits_longer_than_the_longest(steps in proptest::collection::vec((0..3u8, 0..3u8, 0..MINUTE, any::<bool>()), 0..300)) {
            let (limits, mut now) = (Limits::default(), 0);
            for (account, address, passes, right) in steps {
                now += passes;
                match limits.begin(&account.to_string(), IpAddr::from([10, 0, 0, address]), now) {
                    Ok(attempt) if right => attempt.succeeded(now),
                    Ok(attempt) => attempt.failed(),
                    Err(wait) => prop_assert!((1..=15 * MINUTE).contains(&wait)),
                }
            }
        }
    }
}
