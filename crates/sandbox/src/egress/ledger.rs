//! What left a sandbox: connections, bytes, and when the last byte went by.

use serde::Serialize;
use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// How many connections are remembered, the newest.
const LOG_MAX: usize = 500;
/// How many hosts are counted by name.
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
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HostUsage {
    /// The host as it was named.
    pub host: String,
    /// Connections that were opened.
    pub connections: u64,
    /// Bytes from the sandbox.
    pub bytes_up: u64,
    /// Bytes to the sandbox.
    pub bytes_down: u64,
}

#[derive(Debug, Default)]
struct Bytes {
    connections: AtomicU64,
    up: AtomicU64,
    down: AtomicU64,
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
    hosts: HashMap<String, Arc<Bytes>>,
}

/// One connection's line in the book, and its counters.
#[derive(Debug)]
pub(super) struct Entry {
    at: Instant,
    host: String,
    port: u16,
    verdict: Mutex<(Verdict, Option<&'static str>)>,
    own: Bytes,
    host_bytes: Option<Arc<Bytes>>,
}

impl Ledger {
    pub(super) fn new() -> Self {
        Self { activity: Activity::new(), book: Mutex::default() }
    }

    /// Writes a connection down. Only an allowed one counts for its host.
    pub(super) fn enter(&self, host: &str, port: u16, verdict: Verdict, reason: Option<&'static str>) -> Arc<Entry> {
        let mut book = lock(&self.book);
        let host_bytes = match verdict {
            Verdict::Allowed => {
                let known = book.hosts.len() < HOSTS_MAX || book.hosts.contains_key(host);
                let name = if known { host } else { OTHERS };
                let bytes = Arc::clone(book.hosts.entry(name.to_owned()).or_default());
                bytes.connections.fetch_add(1, Ordering::Relaxed);
                Some(bytes)
            }
            Verdict::Denied | Verdict::Failed => None,
        };
        let entry = Arc::new(Entry {
            at: Instant::now(),
            host: host.to_owned(),
            port,
            verdict: Mutex::new((verdict, reason)),
            own: Bytes::default(),
            host_bytes,
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
        let mut hosts: Vec<_> = lock(&self.book)
            .hosts
            .iter()
            .map(|(host, bytes)| HostUsage {
                host: host.clone(),
                connections: bytes.connections.load(Ordering::Relaxed),
                bytes_up: bytes.up.load(Ordering::Relaxed),
                bytes_down: bytes.down.load(Ordering::Relaxed),
            })
            .collect();
        hosts.sort_by(|a, b| a.host.cmp(&b.host));
        hosts
    }
}

impl Entry {
    pub(super) fn up(&self, bytes: u64) {
        self.own.up.fetch_add(bytes, Ordering::Relaxed);
        if let Some(host) = &self.host_bytes {
            host.up.fetch_add(bytes, Ordering::Relaxed);
        }
    }

    pub(super) fn down(&self, bytes: u64) {
        self.own.down.fetch_add(bytes, Ordering::Relaxed);
        if let Some(host) = &self.host_bytes {
            host.down.fetch_add(bytes, Ordering::Relaxed);
        }
    }

    /// An allowed connection turned out to be one that the policy refuses.
    pub(super) fn deny(&self, reason: &'static str) {
        *lock(&self.verdict) = (Verdict::Denied, Some(reason));
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
    fn stays_bounded() {
        let ledger = Ledger::new();
        for n in 0..2 * LOG_MAX {
            ledger.enter(&format!("h{n}.example.com"), 443, Verdict::Allowed, None).up(1);
        }
        let (log, hosts) = (ledger.log(), ledger.hosts());
        assert_eq!(log.len(), LOG_MAX);
        assert_eq!(log.last().unwrap().host, format!("h{}.example.com", 2 * LOG_MAX - 1));
        assert_eq!(hosts.len(), HOSTS_MAX + 1);
        assert_eq!(hosts.iter().map(|host| host.bytes_up).sum::<u64>(), 2 * LOG_MAX as u64);
    }
}
