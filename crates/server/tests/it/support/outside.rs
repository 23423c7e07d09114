//! What can be seen of a server without asking it: the rows of its database, the folder of its driver, the
//! control groups and processes of this host.

use super::{host, server::Server};
use sqlx::{ConnectOptions, Row, SqliteConnection, sqlite::SqliteConnectOptions};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// A place to look from. It outlives the server's process.
pub(crate) struct Outside {
    sandboxes: PathBuf,
    db: SqliteConnection,
    /// The newest rows that were there at [`Outside::forget`].
    rows: (i64, i64),
    groups: BTreeSet<String>,
    noted: BTreeSet<String>,
    folders: BTreeSet<String>,
}

/// What is there, of runs and sandboxes since [`Outside::forget`].
#[derive(Debug, Default)]
pub(crate) struct Look {
    /// The status of each run.
    pub(crate) runs: Vec<String>,
    /// Whether somebody asked to cancel one.
    pub(crate) cancelled: bool,
    /// Which kinds of events there are.
    pub(crate) events: BTreeSet<String>,
    /// The state of each sandbox, as its row has it.
    pub(crate) sandboxes: Vec<String>,
    /// What lies in the sandboxes' folders.
    pub(crate) files: BTreeSet<String>,
    /// The sandboxes that have a folder.
    pub(crate) folders: BTreeSet<String>,
    /// The sandboxes that the runtime has notes of.
    pub(crate) noted: BTreeSet<String>,
    /// The sandboxes that have a control group.
    pub(crate) groups: BTreeSet<String>,
    /// Of which of these a sandbox had one earlier: folder, notes, control group.
    pub(crate) gone: (bool, bool, bool),
}

impl Outside {
    /// A look at this server, whose database is SQLite's.
    pub(crate) async fn of(server: &Server) -> Self {
        let file = server.data_dir().join("polydev.db");
        let db = SqliteConnectOptions::new().filename(file).read_only(true).connect().await.unwrap();
        let sandboxes = server.data_dir().join("sandboxes/oci");
        let (groups, noted, folders) = Default::default();
        Self { sandboxes, db, rows: (0, 0), groups, noted, folders }
    }

    /// From now on what is there already is left out.
    pub(crate) async fn forget(&mut self) {
        let newest =
            "SELECT (SELECT COALESCE(MAX(rowid), 0) FROM runs), (SELECT COALESCE(MAX(rowid), 0) FROM sandboxes)";
        self.rows = sqlx::query_as(newest).fetch_one(&mut self.db).await.unwrap();
        (self.groups, self.noted, self.folders) = Default::default();
    }

    /// What is there now.
    pub(crate) async fn look(&mut self) -> Look {
        let mut look = Look::default();
        let runs = "SELECT status, cancel_requested_at IS NOT NULL FROM runs WHERE rowid > $1";
        let runs: Vec<(String, bool)> = sqlx::query_as(runs).bind(self.rows.0).fetch_all(&mut self.db).await.unwrap();
        look.cancelled = runs.iter().any(|(_, cancelled)| *cancelled);
        look.runs = runs.into_iter().map(|(status, _)| status).collect();
        let events = "SELECT DISTINCT json_extract(body, '$.type') FROM run_events \
                      WHERE run_id IN (SELECT id FROM runs WHERE rowid > $1)";
        look.events = column(&mut self.db, events, self.rows.0).await.into_iter().collect();
        let states = "SELECT state FROM sandboxes WHERE rowid > $1";
        look.sandboxes = column(&mut self.db, states, self.rows.1).await;
        let ids = column(&mut self.db, "SELECT id FROM sandboxes WHERE rowid > $1", self.rows.1).await;
        for id in ids {
            let folder = self.sandboxes.join(&id);
            if folder.exists() {
                look.files.extend(names(&folder));
                look.folders.insert(id.clone());
            }
            if self.sandboxes.join("runtime").join(&id).exists() {
                look.noted.insert(id.clone());
            }
            if host::has_group(&id) {
                look.groups.insert(id);
            }
        }
        let gone = |earlier: &mut BTreeSet<String>, now: &BTreeSet<String>| {
            earlier.extend(now.iter().cloned());
            earlier.len() > now.len()
        };
        look.gone = (
            gone(&mut self.folders, &look.folders),
            gone(&mut self.noted, &look.noted),
            gone(&mut self.groups, &look.groups),
        );
        look
    }

    /// Whether every run is over, and every sandbox gone but the one that waits for a run, which is ready: until it is,
    /// one may be made at any moment.
    pub(crate) async fn at_rest(&mut self) -> bool {
        let open = "SELECT id FROM runs WHERE status IN ('queued', 'running') AND rowid > $1";
        let standing = "SELECT state || COALESCE(run_id, '') FROM sandboxes WHERE ended_at IS NULL AND rowid > $1";
        column(&mut self.db, open, 0).await.is_empty()
            && column(&mut self.db, standing, 0).await == ["ready"]
            && self.folders_without_row().await.is_empty()
    }

    async fn folders_without_row(&mut self) -> Vec<String> {
        let standing = column(&mut self.db, "SELECT id FROM sandboxes WHERE ended_at IS NULL AND rowid > $1", 0).await;
        names(&self.sandboxes).into_iter().filter(|id| id.starts_with("sbx_") && !standing.contains(id)).collect()
    }

    /// What is there and should not be, or is not and should, while nothing is under way. `server` is the
    /// process that may be there.
    pub(crate) async fn untrue(&mut self, server: Option<u32>) -> Vec<String> {
        let mut wrong = self.folders_without_row().await;
        let rows = "SELECT id, run_id, ended_at IS NOT NULL AS ended FROM sandboxes";
        let mut standing = Vec::new();
        for row in sqlx::query(rows).fetch_all(&mut self.db).await.unwrap() {
            let (id, run, ended): (String, Option<String>, bool) = (row.get("id"), row.get("run_id"), row.get("ended"));
            if ended {
                wrong.extend(host::leftovers(&id));
                let noted = self.sandboxes.join("runtime").join(&id);
                wrong.extend(noted.exists().then(|| noted.display().to_string()));
            } else if server.is_none() || run.is_some() || !self.sandboxes.join(&id).join("process.json").exists() {
                wrong.push(format!("`{id}` is no more, says its folder; its row says that it stands"));
            } else {
                standing.push(id);
            }
        }
        let known: BTreeMap<u32, String> = host::processes_at(&self.sandboxes);
        let strangers = known.into_iter().filter(|(pid, _)| {
            let ours = standing.iter().any(|id| host::processes_of(id).contains(&pid.to_string()));
            Some(*pid) != server && !ours
        });
        wrong.extend(strangers.map(|(pid, name)| format!("process {pid}, `{name}`, works at the sandboxes")));
        wrong
    }
}

async fn column(db: &mut SqliteConnection, query: &'static str, after: i64) -> Vec<String> {
    sqlx::query_scalar(query).bind(after).fetch_all(db).await.unwrap()
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}
