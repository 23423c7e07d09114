//! What reached the stand-in: every CONNECT and every request, with secrets replaced by what tells them apart.

use crate::StandinError;
use http::HeaderMap;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::{
    collections::BTreeMap,
    fs::{File, OpenOptions},
    io::Write,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};
use tokio::sync::watch;

/// How much of a body is kept, in bytes.
pub const MAX_BODY: usize = 256 * 1024;

/// How many records are kept in memory; the oldest are forgotten first.
pub const MAX_RECORDS: usize = 1_000;

/// Headers that carry a credential.
const SECRET: [&str; 5] = ["authorization", "x-api-key", "x-goog-api-key", "cookie", "proxy-authorization"];

/// One CONNECT, or one request inside of one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recorded {
    /// The host that was asked for, in lower case.
    pub host: String,
    /// `CONNECT`, `GET`, `POST`, …
    pub method: String,
    /// Path and query, with the value of a `key` parameter replaced; the port for a CONNECT.
    pub path: String,
    /// The credential that came with it, as [`credential_id`] names it.
    pub credential: Option<String>,
    /// The other headers, names in lower case.
    pub headers: BTreeMap<String, String>,
    /// The body as text (decompressed), at most [`MAX_BODY`] bytes of it.
    pub body: String,
    /// The status it was answered with.
    pub status: u16,
}

/// Names a secret without telling it: the first 16 hex digits of its SHA-256.
pub fn credential_id(secret: &str) -> String {
    let digest = Sha256::digest(secret.as_bytes());
    format!("sha256:{}", data_encoding::HEXLOWER.encode(&digest[..8]))
}

impl Recorded {
    /// A record with its secrets replaced.
    pub(crate) fn new(
        host: &str,
        method: &str,
        path: &str,
        secret: Option<&str>,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Self {
        let kept = &body[..body.len().min(MAX_BODY)];
        let headers = headers
            .iter()
            .filter(|(name, _)| !SECRET.contains(&name.as_str()))
            .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
            .collect();
        Self {
            host: host.to_owned(),
            method: method.to_owned(),
            path: path.to_owned(),
            credential: secret.map(credential_id),
            headers,
            body: String::from_utf8_lossy(kept).into_owned(),
            status: 0,
        }
    }
}

/// The records so far, shared by all connections.
#[derive(Clone)]
pub(crate) struct Log(Arc<Inner>);

struct Inner {
    kept: Mutex<Vec<Recorded>>,
    count: watch::Sender<u64>,
    file: Option<Mutex<File>>,
}

impl Log {
    /// An empty log, also appended to `file` if there is one.
    pub(crate) fn open(file: Option<&Path>) -> Result<Self, StandinError> {
        let file = match file {
            Some(path) => {
                let file = OpenOptions::new().create(true).append(true).open(path);
                Some(Mutex::new(file.map_err(|e| StandinError::file(path, e))?))
            }
            None => None,
        };
        Ok(Self(Arc::new(Inner { kept: Mutex::default(), count: watch::Sender::new(0), file })))
    }

    /// Adds a record.
    pub(crate) fn add(&self, record: Recorded) {
        tracing::debug!(host = record.host, method = record.method, path = record.path, status = record.status);
        if let Some(file) = &self.0.file
            && let Ok(mut line) = serde_json::to_vec(&record)
        {
            line.push(b'\n');
            let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
            if let Err(e) = file.write_all(&line) {
                tracing::warn!(error = %e, "a request could not be written down");
            }
        }
        let mut kept = self.0.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= MAX_RECORDS {
            kept.remove(0);
        }
        kept.push(record);
        drop(kept);
        self.0.count.send_modify(|count| *count += 1);
    }

    /// All records kept.
    pub(crate) fn all(&self) -> Vec<Recorded> {
        self.0.kept.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The first record that `wanted` takes, waiting for it.
    pub(crate) async fn first(&self, wanted: impl Fn(&Recorded) -> bool) -> Recorded {
        let mut count = self.0.count.subscribe();
        loop {
            count.mark_unchanged();
            if let Some(record) = self.all().into_iter().find(|record| wanted(record)) {
                return record;
            }
            if count.changed().await.is_err() {
                // `self` holds the sender, so it cannot be gone.
                std::future::pending::<()>().await;
            }
        }
    }
}
