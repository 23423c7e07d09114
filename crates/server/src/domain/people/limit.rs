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
//! thousand at once are not free; while somebody waits, nothing is tried and nothing is counted. After an hour
//! without a failure it is forgotten. An address is IPv4, or the first 64 bits of IPv6.
//!
//! An email counts whether there is such an account or not: the limit does not tell. All this is in memory, of
//! bounded size, and begins anew with the server.

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
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
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
    /// When all this is forgotten, Unix milliseconds.
    forget_at: i64,
    /// Somebody has signed in from here.
    known: bool,
}

impl Count {
    /// How much is lost without it: most, that somebody has signed in from there.
    fn worth(&self) -> (bool, u32, i64) {
        (self.known, self.failures, self.forget_at)
    }
}

/// Who has failed how often. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Limits(Arc<Mutex<HashMap<Of, Count>>>);

/// An attempt that may be made, and counts as failed unless it says otherwise.
#[derive(Debug)]
#[must_use]
pub struct Attempt {
    limits: Limits,
    email: [u8; 32],
    net: IpAddr,
    /// The address is theirs: nothing else was counted.
    known: bool,
}

impl Limits {
    /// Begins an attempt to sign in as `email` from `address` at the time `now`, Unix milliseconds.
    ///
    /// # Errors
    /// How many milliseconds to wait.
    pub fn begin(&self, email: &str, address: IpAddr, now: i64) -> Result<Attempt, i64> {
        let email: [u8; 32] = Sha256::digest(email.trim().to_lowercase()).into();
        let net = net(address);
        let mut counts = self.counts();
        let of = |of: &Of| counts.get(of).copied().filter(|count| count.forget_at > now).unwrap_or_default();
        let pair = (Of::Pair(email, net), PAIR);
        let others = [(Of::Address(net), ADDRESS), (Of::Account(email), ACCOUNT)];
        let known = of(&pair.0).known;
        let counted: Vec<_> = std::iter::once(pair).chain(others.into_iter().filter(|_| !known)).collect();
        let wait = counted.iter().map(|(what, _)| of(what).next_at - now).max().unwrap_or(0);
        if wait > 0 {
            return Err(wait);
        }
        for (what, rule) in counted {
            let count = of_mut(&mut counts, what, now);
            count.failures = count.failures.saturating_add(1);
            count.next_at = now + rule.wait_ms(count.failures);
            count.forget_at = count.forget_at.max(now + FORGET_MS);
        }
        Ok(Attempt { limits: self.clone(), email, net, known })
    }

    fn counts(&self) -> MutexGuard<'_, HashMap<Of, Count>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Attempt {
    /// It was right: it counts no more, and the address is theirs.
    pub fn succeeded(self, now: i64) {
        let mut counts = self.limits.counts();
        *of_mut(&mut counts, Of::Pair(self.email, self.net), now) =
            Count { failures: 0, next_at: 0, forget_at: now + KNOWN_MS, known: true };
        if self.known {
            return;
        }
        // As if it had not been: who has an account of their own gains no guess at another's by it.
        for what in [Of::Address(self.net), Of::Account(self.email)] {
            if let Some(count) = counts.get_mut(&what) {
                count.failures = count.failures.saturating_sub(1);
                count.next_at = count.next_at.min(now);
            }
        }
    }
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
        counts.retain(|_, count| count.forget_at > now);
        if counts.len() >= COUNTS_MAX {
            let mut worth: Vec<_> = counts.values().map(Count::worth).collect();
            let (_, median, _) = worth.select_nth_unstable(COUNTS_MAX / 2);
            let median = *median;
            counts.retain(|_, count| count.worth() > median);
        }
    }
    let count = counts.entry(of).or_default();
    if count.forget_at <= now {
        *count = Count::default();
    }
    count
}

/// An address as it is counted: whoever has one of IPv6 has the 2^64 beside it too.
fn net(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6((u128::from(address) & !u128::from(u64::MAX)).into()),
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::{COUNTS_MAX, FORGET_MS, Limits};
    use proptest::prelude::*;
    use std::net::{IpAddr, Ipv6Addr};

    const MINUTE: i64 = 60_000;
    const EMAIL: &str = "ann@example.com";

    fn ip(address: &str) -> IpAddr {
        address.parse().unwrap()
    }

    /// Fails until the first wait, at this time.
    fn fail(limits: &Limits, email: &str, address: IpAddr, now: i64) -> (u32, i64) {
        for n in 0.. {
            if let Err(wait) = limits.begin(email, address, now) {
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
            now += limits.begin(EMAIL, here, now).unwrap_err();
            let _failed = limits.begin(" ANN@example.com", here, now).unwrap();
            waits.push(limits.begin(EMAIL, here, now).unwrap_err() / 1000);
            assert!(limits.begin(EMAIL, here, now).is_err(), "asking again makes it no longer");
        }
        assert_eq!(waits, [2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900, 900, 900, 900]);
        assert!(limits.begin(EMAIL, here, now + FORGET_MS).is_ok());
        assert_eq!(fail(&limits, EMAIL, here, now + 3 * FORGET_MS).0, 5, "it is forgotten");
    }

    #[test]
    fn the_right_password_works_from_elsewhere() {
        let limits = Limits::default();
        fail(&limits, EMAIL, ip("192.0.2.1"), 0);
        limits.begin(EMAIL, ip("192.0.2.2"), 0).unwrap().succeeded(0);
        assert!(limits.begin(EMAIL, ip("192.0.2.1"), 0).is_err(), "and helps nobody else");
    }

    #[test]
    fn one_address_does_not_try_all_accounts() {
        let (limits, here) = (Limits::default(), ip("192.0.2.1"));
        let tries = (0..).take_while(|n| limits.begin(&format!("{n}@example.com"), here, 0).is_ok()).count();
        assert_eq!(tries, 20);
        assert!(limits.begin(EMAIL, here, 0).is_err());
        assert!(limits.begin(EMAIL, ip("192.0.2.2"), 0).is_ok());
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
                guesses += u32::from(limits.begin(&format!("{second}@example.com"), here, now).is_ok());
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
        let tries = (0..1000).filter(|n| limits.begin(EMAIL, machine(*n), 0).is_ok()).count();
        assert_eq!(tries, 50);
        limits.begin(EMAIL, home, 0).unwrap().succeeded(0);
        assert!(limits.begin(EMAIL, machine(5000), 0).is_err());
        assert!(limits.begin(EMAIL, machine(5000), MINUTE).is_ok());
    }

    #[test]
    fn the_addresses_of_one_line_are_one() {
        let limits = Limits::default();
        let of = |n: u16| IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 1, n, n, n, n));
        let tries = (0..100).filter(|n| limits.begin(EMAIL, of(*n), 0).is_ok()).count();
        assert_eq!(tries, 5);
        fail(&limits, "bob@example.com", ip("::ffff:192.0.2.1"), 0);
        assert!(limits.begin("bob@example.com", ip("192.0.2.1"), 0).is_err());
    }

    #[test]
    fn its_memory_is_bounded_and_keeps_who_fails_most() {
        let limits = Limits::default();
        fail(&limits, EMAIL, ip("192.0.2.1"), 0);
        limits.begin("bob@example.com", ip("192.0.2.3"), 0).unwrap().succeeded(0);
        for n in 0..COUNTS_MAX as u32 {
            let _failed = limits.begin(&format!("{n}@example.com"), IpAddr::V4((0x0a00_0000 + n).into()), 0);
            assert!(limits.counts().len() <= COUNTS_MAX);
        }
        assert!(fail(&limits, "bob@example.com", ip("192.0.2.3"), 0).0 == 5, "it is theirs still");
        assert!(limits.begin(EMAIL, ip("192.0.2.1"), 0).is_err());
    }

    proptest! {
        #[test]
        fn nobody_waits_longer_than_the_longest(steps in proptest::collection::vec((0..3u8, 0..3u8, 0..MINUTE, any::<bool>()), 0..300)) {
            let (limits, mut now) = (Limits::default(), 0);
            for (account, address, passes, right) in steps {
                now += passes;
                match limits.begin(&account.to_string(), IpAddr::from([10, 0, 0, address]), now) {
                    Ok(attempt) if right => attempt.succeeded(now),
                    Ok(_failed) => {}
                    Err(wait) => prop_assert!((1..=15 * MINUTE).contains(&wait)),
                }
            }
        }
    }
}
