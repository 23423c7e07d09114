//! What left a sandbox: connections, bytes, and when the last byte went by.

use serde::Serialize;
use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// How many connections are remembered, the newest.
const LOG_MAX: usize = 500;
/// How many hosts that were reached are counted by name, and how many that were not: whoever asks for many names
/// that are refused hides none that was reached.
const HOSTS_MAX: usize = 256;
/// What the hosts beyond [`HOSTS_MAX`] are counted as.
const OTHERS: &str = "(others)";

/// One connection that a sandbox asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connection {
    /// When it was asked for. Its age, taken from the wall clock, gives the time of day.
    pub at: Instant,
    /// The host as it was named.
    pub host: String,
    /// The port.
    pub port: u16,
    /// What became of it.
    pub verdict: Verdict,
    /// Why, unless it was allowed.
    pub reason: Option<&'static str>,
    /// Bytes from the sandbox.
    pub bytes_up: u64,
    /// Bytes to the sandbox.
    pub bytes_down: u64,
}

/// What became of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It was opened.
    Allowed,
    /// The policy refused it.
    Denied,
    /// It was allowed, and the other side could not be reached.
    Failed,
}

/// What went to and came from one host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct HostUsage {
    /// The host as it was named.
    pub host: String,
    /// Connections that were opened.
    pub connections: u64,
    /// Connections that were refused, those among them that were opened before.
    pub denied: u64,
    /// Connections that were allowed, and could not be opened.
    pub failed: u64,
    /// Why the last of those was refused or not opened.
    pub reason: Option<&'static str>,
    /// Bytes from the sandbox.
    pub bytes_up: u64,
    /// Bytes to the sandbox.
    pub bytes_down: u64,
}

#[derive(Debug, Default)]
struct Bytes {
    up: AtomicU64,
    down: AtomicU64,
}

/// What is counted of a host.
#[derive(Debug, Default)]
struct Counted {
    connections: AtomicU64,
    denied: AtomicU64,
    failed: AtomicU64,
    reason: Mutex<Option<&'static str>>,
    bytes: Bytes,
}

impl Counted {
    fn count(&self, verdict: Verdict, reason: Option<&'static str>) {
        let of = match verdict {
            Verdict::Allowed => &self.connections,
            Verdict::Denied => &self.denied,
            Verdict::Failed => &self.failed,
        };
        of.fetch_add(1, Ordering::Relaxed);
        if reason.is_some() {
            *lock(&self.reason) = reason;
        }
    }

    fn add_to(&self, usage: &mut HostUsage) {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        usage.connections += of(&self.connections);
        usage.denied += of(&self.denied);
        usage.failed += of(&self.failed);
        usage.reason = lock(&self.reason).or(usage.reason);
        usage.bytes_up += of(&self.bytes.up);
        usage.bytes_down += of(&self.bytes.down);
    }
}

/// When something last happened, without a lock.
#[derive(Debug)]
pub(super) struct Activity {
    start: Instant,
    millis: AtomicU64,
}

impl Activity {
    pub(super) fn new() -> Self {
        Self { start: Instant::now(), millis: AtomicU64::new(0) }
    }

    pub(super) fn touch(&self) {
        let millis = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.millis.fetch_max(millis, Ordering::Relaxed);
    }

    pub(super) fn last(&self) -> Instant {
        self.start + Duration::from_millis(self.millis.load(Ordering::Relaxed))
    }
}

/// The book of one sandbox.
#[derive(Debug)]
pub(super) struct Ledger {
    activity: Activity,
    book: Mutex<Book>,
}

#[derive(Debug, Default)]
struct Book {
    log: VecDeque<Arc<Entry>>,
    reached: Hosts,
    not_reached: Hosts,
}

#[derive(Debug, Default)]
struct Hosts(HashMap<String, Arc<Counted>>);

impl Hosts {
    fn named(&mut self, host: &str) -> Arc<Counted> {
        let known = self.0.len() < HOSTS_MAX || self.0.contains_key(host);
        let name = if known { host } else { OTHERS };
        Arc::clone(self.0.entry(name.to_owned()).or_default())
    }
}

/// One connection's line in the book, and its counters.
#[derive(Debug)]
pub(super) struct Entry {
    at: Instant,
    host: String,
    port: u16,
    verdict: Mutex<(Verdict, Option<&'static str>)>,
    own: Bytes,
    of_host: Arc<Counted>,
}

impl Ledger {
    pub(super) fn new() -> Self {
        Self { activity: Activity::new(), book: Mutex::default() }
    }

    /// Writes a connection down.
    pub(super) fn enter(&self, host: &str, port: u16, verdict: Verdict, reason: Option<&'static str>) -> Arc<Entry> {
        let mut book = lock(&self.book);
        let hosts = match verdict {
            Verdict::Allowed => &mut book.reached,
            Verdict::Denied | Verdict::Failed => &mut book.not_reached,
        };
        let of_host = hosts.named(host);
        of_host.count(verdict, reason);
        let entry = Arc::new(Entry {
            at: Instant::now(),
            host: host.to_owned(),
            port,
            verdict: Mutex::new((verdict, reason)),
            own: Bytes::default(),
            of_host,
        });
        if book.log.len() == LOG_MAX {
            book.log.pop_front();
        }
        book.log.push_back(Arc::clone(&entry));
        entry
    }

    pub(super) fn activity(&self) -> &Activity {
        &self.activity
    }

    pub(super) fn log(&self) -> Vec<Connection> {
        lock(&self.book).log.iter().map(|entry| entry.read()).collect()
    }

    pub(super) fn hosts(&self) -> Vec<HostUsage> {
        let book = lock(&self.book);
        let mut hosts = BTreeMap::new();
        for (host, counted) in book.reached.0.iter().chain(&book.not_reached.0) {
            let new = || HostUsage { host: host.clone(), ..HostUsage::default() };
            counted.add_to(hosts.entry(host.as_str()).or_insert_with(new));
        }
        hosts.into_values().collect()
    }
}

impl Entry {
    pub(super) fn up(&self, bytes: u64) {
        self.own.up.fetch_add(bytes, Ordering::Relaxed);
        self.of_host.bytes.up.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn down(&self, bytes: u64) {
        self.own.down.fetch_add(bytes, Ordering::Relaxed);
        self.of_host.bytes.down.fetch_add(bytes, Ordering::Relaxed);
    }

    /// How often its host was refused or not reached by now, if that is to be in the log: every time would fill the
    /// disk for whoever floods, so it is the first, the second, the fourth, the eighth time.
    pub(super) fn is_worth_a_word(&self) -> Option<u64> {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Some(of(&self.of_host.denied) + of(&self.of_host.failed)).filter(|times| times.is_power_of_two())
    }

    /// An allowed connection turned out to be one that the policy refuses.
    pub(super) fn deny(&self, reason: &'static str) {
        *lock(&self.verdict) = (Verdict::Denied, Some(reason));
        self.of_host.count(Verdict::Denied, Some(reason));
    }

    fn read(&self) -> Connection {
        let (verdict, reason) = *lock(&self.verdict);
        Connection {
            at: self.at,
            host: self.host.clone(),
            port: self.port,
            verdict,
            reason,
            bytes_up: self.own.up.load(Ordering::Relaxed),
            bytes_down: self.own.down.load(Ordering::Relaxed),
        }
    }
}

/// No writer leaves the book half-written, so a panic elsewhere does not spoil it.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stays_bounded_and_hides_nothing_that_was_reached() {
        let ledger = Ledger::new();
        for n in 0..2 * LOG_MAX {
            ledger.enter(&format!("no{n}.example.com"), 443, Verdict::Denied, Some("not_allowed"));
        }
        for n in 0..2 * LOG_MAX {
            ledger.enter(&format!("h{n}.example.com"), 443, Verdict::Allowed, None).up(1);
        }
        let (log, hosts) = (ledger.log(), ledger.hosts());
        assert_eq!(log.len(), LOG_MAX);
        assert_eq!(log.last().unwrap().host, format!("h{}.example.com", 2 * LOG_MAX - 1));
        assert_eq!(hosts.len(), 2 * HOSTS_MAX + 1);
        assert_eq!(hosts.iter().filter(|host| host.bytes_up > 0).count(), HOSTS_MAX + 1);
        let sum = |of: fn(&HostUsage) -> u64| hosts.iter().map(of).sum::<u64>();
        assert_eq!(sum(|host| host.bytes_up), 2 * LOG_MAX as u64);
        assert_eq!((sum(|host| host.connections), sum(|host| host.denied)), (2 * LOG_MAX as u64, 2 * LOG_MAX as u64));
    }

    #[test]
    fn a_flood_is_logged_by_its_logarithm() {
        let ledger = Ledger::new();
        let denied = |host: &str| ledger.enter(host, 443, Verdict::Denied, Some("not_allowed")).is_worth_a_word();
        let logged: Vec<u64> = (0..1000).filter_map(|_| denied("a.example.com")).collect();
        assert_eq!(logged, [1, 2, 4, 8, 16, 32, 64, 128, 256, 512]);
        let others = (0..100_000).filter_map(|n| denied(&format!("{n}.example.com"))).count();
        assert!(others < 300, "{others}");
    }

    #[test]
    fn what_was_opened_may_be_refused_afterwards() {
        let ledger = Ledger::new();
        ledger.enter("a.example.com", 443, Verdict::Allowed, None).deny("not_tls");
        ledger.enter("a.example.com", 443, Verdict::Failed, Some("connect"));
        let [host] = &ledger.hosts()[..] else { panic!("one host") };
        assert_eq!((host.connections, host.denied, host.failed), (1, 1, 1));
        assert_eq!(host.reason, Some("connect"));
    }
}
