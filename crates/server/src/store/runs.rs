//! Runs and their events.
//!
//! An event is numbered and stored in the same transaction that changes its
//! run, and only while the run is open: after its last event there is none.

use super::{Store, StoreError, idempotency};
use crate::domain::{
    event::{EventBody, Usage},
    failure::Failure,
    run::{Change, Run, Status, Wish, WorkFile},
};
use crate::{control::progress::Progress, providers::Tools};
use futures_util::TryStreamExt;
use sqlx::{AnyConnection, Row, any::AnyRow};

/// What [`run_of`] reads, and the rest of the query.
macro_rules! select {
    ($rest:expr) => {
        concat!(
            "SELECT id, user_id, provider, status, model, conversation, prompt, system, tools, timeout_s, metadata, ",
            "text, usage, error, sandbox_id, cancel_requested_at, created_at, started_at, finished_at FROM runs ",
            $rest
        )
    };
}

pub(super) use select;

/// Where a list goes on: after the run that was made then and has this id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct After {
    /// When that run was made, Unix milliseconds.
    pub created_at: i64,
    /// Its id.
    pub id: String,
}

/// A run that is not over, as much of it as the reconciler needs: a thousand may wait, each with a prompt of 1 MiB.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenRun {
    /// `run_…`.
    pub id: String,
    /// Whose.
    pub user_id: String,
    /// Which provider.
    pub provider: String,
    /// How long it may take, in seconds.
    pub timeout_s: i64,
    /// `queued` or `running`.
    pub status: Status,
    /// Whether somebody asked to cancel it, or switched its owner off.
    pub cancelled: bool,
    /// Its sandbox, when it is `running`.
    pub sandbox_id: Option<String>,
    /// Whether its tool was seen to start: then it cannot be started anew.
    pub began: bool,
    /// How often a sandbox was made for it.
    pub attempts: i64,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq)]
pub enum End {
    /// With an answer.
    Completed {
        /// The answer.
        text: String,
        /// What was used.
        usage: Option<Usage>,
    },
    /// Without one. What was said until then is in the events.
    Failed {
        /// Why.
        error: Failure,
    },
    /// By cancelling it.
    Cancelled,
}

/// A run that has just ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// The number of its last event.
    pub seq: i64,
    /// Whose tool it was for.
    pub provider: String,
    /// How long it took, milliseconds, if it had been started.
    pub took_ms: Option<i64>,
}

impl End {
    fn change(&self) -> Change {
        match self {
            Self::Completed { .. } => Change::Answer,
            Self::Failed { .. } => Change::Fail,
            Self::Cancelled => Change::Cancel,
        }
    }
}

impl Store {
    /// Stores a new run with its files and its first event, and with the key that it was asked with: of a key there
    /// is one run. `false`: as many of the person's wait as may, nothing was stored. The error
    /// [`StoreError::is_duplicate`] where that key has a run already.
    pub async fn insert_run(
        &self,
        id: &str,
        user_id: &str,
        wish: &Wish,
        timeout_s: i64,
        max_queued: i64,
        at: i64,
    ) -> Result<bool, StoreError> {
        let mut tx = self.begin().await?;
        // Changes nothing, and takes the row's write lock: of two requests at a time, PostgreSQL
        // shows the second what the first has stored before it counts.
        sqlx::query("UPDATE users SET role = role WHERE id = $1").bind(user_id).execute(&mut *tx).await?;
        let waiting = sqlx::query("SELECT COUNT(*) AS n FROM runs WHERE user_id = $1 AND status = 'queued'");
        if waiting.bind(user_id).fetch_one(&mut *tx).await?.try_get::<i64, _>("n")? >= max_queued {
            return Ok(false);
        }
        if let Some(claim) = &wish.claim {
            idempotency::insert_claim(&mut tx, claim, id, at).await?;
        }
        sqlx::query(
            "INSERT INTO runs (id, user_id, provider, status, model, prompt, system, tools, timeout_s, metadata, created_at, last_seq) \
             VALUES ($1, $2, $3, 'queued', $4, $5, $6, $7, $8, $9, $10, 1)",
        )
        .bind(id)
        .bind(user_id)
        .bind(&wish.provider)
        .bind(wish.model.as_deref())
        .bind(&wish.prompt)
        .bind(wish.system.as_deref())
        .bind(match wish.tools {
            Tools::All => "all",
            Tools::None => "none",
        })
        .bind(timeout_s)
        .bind(wish.metadata.as_ref().map(ToString::to_string))
        .bind(at)
        .execute(&mut *tx)
        .await?;
        insert_event(&mut tx, id, 1, at, &EventBody::Queued { run_id: id.to_owned() }).await?;
        for file in &wish.files {
            sqlx::query("INSERT INTO run_files (run_id, path, content) VALUES ($1, $2, $3)")
                .bind(id)
                .bind(&file.path)
                .bind(&file.content[..])
                .execute(&mut *tx)
                .await?;
        }
        tx.commit().await?;
        Ok(true)
    }

    /// The run of this id.
    pub async fn run(&self, id: &str) -> Result<Option<Run>, StoreError> {
        let row = sqlx::query(select!("WHERE id = $1")).bind(id).fetch_optional(self.read()).await?;
        row.as_ref().map(run_of).transpose()
    }

    /// Whose run it is.
    pub async fn owner_of(&self, id: &str) -> Result<Option<String>, StoreError> {
        let owner = sqlx::query_scalar("SELECT user_id FROM runs WHERE id = $1").bind(id);
        Ok(owner.fetch_optional(self.read()).await?)
    }

    /// Every run that is not over, with those of somebody who is switched off as cancelled, as people take turns: first the runs of the person whose last one was
    /// started longest ago, and each person's oldest first.
    pub async fn open_runs(&self) -> Result<Vec<OpenRun>, StoreError> {
        let rows = sqlx::query(
            "SELECT id, user_id, provider, timeout_s, status, sandbox_id, attempts, COALESCE(cancel_requested_at, \
             (SELECT disabled_at FROM users WHERE users.id = runs.user_id)) AS cancelled_at, CASE WHEN progress IS NULL THEN 0 ELSE 1 END AS began FROM runs WHERE status IN ('queued', 'running') \
             ORDER BY (SELECT COALESCE(MAX(started_at), 0) FROM runs AS theirs WHERE theirs.user_id = runs.user_id), \
             created_at, id",
        )
        .fetch_all(self.read())
        .await?;
        let open = |row: &AnyRow| {
            let cancelled_at: Option<i64> = row.try_get("cancelled_at")?;
            Ok(OpenRun {
                id: row.try_get("id")?,
                user_id: row.try_get("user_id")?,
                provider: row.try_get("provider")?,
                timeout_s: row.try_get("timeout_s")?,
                status: status_of(row)?,
                cancelled: cancelled_at.is_some(),
                sandbox_id: row.try_get("sandbox_id")?,
                began: row.try_get::<i32, _>("began")? == 1,
                attempts: row.try_get("attempts")?,
            })
        };
        rows.iter().map(open).collect()
    }

    /// Whether a run is there and not over.
    pub async fn is_open(&self, id: &str) -> Result<bool, StoreError> {
        let row = sqlx::query("SELECT 1 FROM runs WHERE id = $1 AND status IN ('queued', 'running')").bind(id);
        Ok(row.fetch_optional(self.read()).await?.is_some())
    }

    /// The files that were given to a run.
    pub async fn run_files(&self, id: &str) -> Result<Vec<WorkFile>, StoreError> {
        let rows = sqlx::query("SELECT path, content FROM run_files WHERE run_id = $1 ORDER BY path")
            .bind(id)
            .fetch_all(self.read())
            .await?;
        rows.iter().map(|row| Ok(WorkFile { path: row.try_get("path")?, content: row.try_get("content")? })).collect()
    }

    /// The paths of the files that were given to a run.
    pub async fn run_file_paths(&self, id: &str) -> Result<Vec<String>, StoreError> {
        let paths = sqlx::query_scalar("SELECT path FROM run_files WHERE run_id = $1 ORDER BY path").bind(id);
        Ok(paths.fetch_all(self.read()).await?)
    }

    /// Takes a run out of the queue for this sandbox. `false`: it was no longer waiting.
    pub async fn start_run(&self, id: &str, sandbox_id: &str, at: i64) -> Result<bool, StoreError> {
        let done = sqlx::query(
            "UPDATE runs SET status = 'running', sandbox_id = $1, started_at = $2, attempts = attempts + 1 \
             WHERE id = $3 AND status = 'queued' AND cancel_requested_at IS NULL",
        )
        .bind(sandbox_id)
        .bind(at)
        .bind(id)
        .execute(self.write())
        .await?;
        Ok(done.rows_affected() == 1)
    }

    /// Puts a run back into the queue, whose tool was not started, and says so in a log event. The number of that
    /// event; `None`: it is no longer running, or its tool was started.
    pub async fn requeue_run(&self, id: &str, why: &EventBody, at: i64) -> Result<Option<i64>, StoreError> {
        let mut tx = self.begin().await?;
        let row = sqlx::query(
            "UPDATE runs SET status = 'queued', sandbox_id = NULL, started_at = NULL, last_seq = last_seq + 1 \
             WHERE id = $1 AND status = 'running' AND progress IS NULL RETURNING last_seq",
        )
        .bind(id)
        .fetch_optional(&mut *tx)
        .await?;
        let Some(row) = row else { return Ok(None) };
        let seq: i64 = row.try_get("last_seq")?;
        insert_event(&mut tx, id, seq, at, why).await?;
        end_lease(&mut tx, id).await?;
        tx.commit().await?;
        Ok(Some(seq))
    }

    /// How far the tool of a run was heard. `None`: it was not started.
    pub async fn progress(&self, id: &str) -> Result<Option<Progress>, StoreError> {
        let row = sqlx::query("SELECT progress FROM runs WHERE id = $1").bind(id).fetch_optional(self.read()).await?;
        row.as_ref().map_or(Ok(None), |row| parse_optional(row, "progress"))
    }

    /// Writes down the wish to cancel. `false`: the run is over.
    pub async fn request_cancel(&self, id: &str, at: i64) -> Result<bool, StoreError> {
        let done = sqlx::query(
            "UPDATE runs SET cancel_requested_at = COALESCE(cancel_requested_at, $1) \
             WHERE id = $2 AND status IN ('queued', 'running')",
        )
        .bind(at)
        .bind(id)
        .execute(self.write())
        .await?;
        Ok(done.rows_affected() == 1)
    }

    /// The same, if the run works in this sandbox.
    pub async fn request_cancel_in(&self, id: &str, sandbox_id: &str, at: i64) -> Result<(), StoreError> {
        sqlx::query(
            "UPDATE runs SET cancel_requested_at = COALESCE(cancel_requested_at, $1) \
             WHERE id = $2 AND sandbox_id = $3 AND status IN ('queued', 'running')",
        )
        .bind(at)
        .bind(id)
        .bind(sandbox_id)
        .execute(self.write())
        .await?;
        Ok(())
    }

    /// Numbers and stores events of an open run, and how far its tool was heard by them. The number of the newest
    /// event; `None`: the run is over, nothing was stored.
    pub async fn append_events(
        &self,
        id: &str,
        bodies: &[EventBody],
        progress: Option<&Progress>,
        at: i64,
    ) -> Result<Option<i64>, StoreError> {
        let mut tx = self.begin().await?;
        let row = sqlx::query(
            "UPDATE runs SET last_seq = last_seq + $1, progress = COALESCE($2, progress) \
             WHERE id = $3 AND status IN ('queued', 'running') RETURNING last_seq",
        )
        .bind(bodies.len() as i64)
        .bind(progress.map(json))
        .bind(id)
        .fetch_optional(&mut *tx)
        .await?;
        let Some(row) = row else { return Ok(None) };
        let last: i64 = row.try_get("last_seq")?;
        for (seq, body) in (last - bodies.len() as i64 + 1..).zip(bodies) {
            insert_event(&mut tx, id, seq, at, body).await?;
        }
        tx.commit().await?;
        Ok(Some(last))
    }

    /// Ends a run and stores its last event. `None`: it was over already, nothing was changed.
    pub async fn finish_run(&self, id: &str, end: &End, at: i64) -> Result<Option<Ended>, StoreError> {
        let mut tx = self.begin().await?;
        // Take the row's write lock before reading it, so that PostgreSQL shows two finishers one truth.
        let row = sqlx::query(
            "UPDATE runs SET last_seq = last_seq + 1 WHERE id = $1 AND status IN ('queued', 'running') \
             RETURNING status, provider, started_at, last_seq",
        )
        .bind(id)
        .fetch_optional(&mut *tx)
        .await?;
        let Some(row) = row else { return Ok(None) };
        let status = status_of(&row)?;
        let Some(next) = status.after(end.change()) else {
            return Err(StoreError::Unknown { what: "end of a run that is", value: status.as_str().into() });
        };
        let seq: i64 = row.try_get("last_seq")?;
        let started_at: Option<i64> = row.try_get("started_at")?;
        let (text, usage, error, body) = match end {
            End::Completed { text, usage } => (
                text.clone(),
                *usage,
                None,
                EventBody::Completed { text: text.clone(), usage: *usage, duration_ms: at - started_at.unwrap_or(at) },
            ),
            End::Failed { error } => {
                let (text, usage) = said(&mut tx, id).await?;
                (text, usage, Some(error), EventBody::Failed { error: error.clone() })
            }
            End::Cancelled => {
                let (text, usage) = said(&mut tx, id).await?;
                (text, usage, None, EventBody::Cancelled)
            }
        };
        sqlx::query(
            "UPDATE runs SET status = $1, text = $2, usage = $3, error = $4, finished_at = $5, progress = NULL WHERE id = $6",
        )
            .bind(next.as_str())
            // PostgreSQL cannot store U+0000 in a text; the events have it as it was, escaped.
            .bind((!text.is_empty() || next == Status::Completed).then(|| text.replace('\0', "\u{fffd}")))
            .bind(usage.as_ref().map(json))
            .bind(error.map(json))
            .bind(at)
            .bind(id)
            .execute(&mut *tx)
            .await?;
        insert_event(&mut tx, id, seq, at, &body).await?;
        end_lease(&mut tx, id).await?;
        tx.commit().await?;
        Ok(Some(Ended { seq, provider: row.try_get("provider")?, took_ms: started_at.map(|started| at - started) }))
    }

    /// Deletes a run that is over, with its events, files and sandboxes, and the answers that speak of it. Whose it was;
    /// `None`: there is no such run, or it is not over.
    pub async fn delete_run(&self, id: &str) -> Result<Option<String>, StoreError> {
        let mut tx = self.begin().await?;
        let row = sqlx::query(
            "DELETE FROM runs WHERE id = $1 AND status IN ('completed', 'failed', 'cancelled') RETURNING user_id",
        )
        .bind(id)
        .fetch_optional(&mut *tx)
        .await?;
        let Some(row) = row else { return Ok(None) };
        let owner: String = row.try_get("user_id")?;
        // What the tool printed on their consoles is the run's too.
        sqlx::query("DELETE FROM sandboxes WHERE run_id = $1").bind(id).execute(&mut *tx).await?;
        idempotency::forget_answers(&mut tx, &owner, id).await?;
        tx.commit().await?;
        Ok(Some(owner))
    }
}

/// What was said in a run until now, and used. Whoever heard it may have heard more than was stored, or be gone.
async fn said(tx: &mut AnyConnection, run: &str) -> Result<(String, Option<Usage>), StoreError> {
    let mut rows = sqlx::query("SELECT body FROM run_events WHERE run_id = $1 ORDER BY seq").bind(run).fetch(tx);
    let (mut said, mut used) = (String::new(), None);
    while let Some(row) = rows.try_next().await? {
        match parse(&row, "body")? {
            EventBody::Text { text } => said.push_str(&text),
            EventBody::Usage(usage) => used = Some(usage),
            EventBody::Queued { .. }
            | EventBody::Started { .. }
            | EventBody::Reasoning { .. }
            | EventBody::ToolCall { .. }
            | EventBody::ToolResult { .. }
            | EventBody::Log { .. }
            | EventBody::Completed { .. }
            | EventBody::Failed { .. }
            | EventBody::Cancelled => {}
        }
    }
    Ok((said, used))
}

/// A lease is lost with its run.
async fn end_lease(tx: &mut AnyConnection, run: &str) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM leases WHERE run_id = $1").bind(run).execute(tx).await?;
    Ok(())
}

async fn insert_event(
    tx: &mut AnyConnection,
    run: &str,
    seq: i64,
    at: i64,
    body: &EventBody,
) -> Result<(), StoreError> {
    sqlx::query("INSERT INTO run_events (run_id, seq, at, body) VALUES ($1, $2, $3, $4)")
        .bind(run)
        .bind(seq)
        .bind(at)
        .bind(json(body))
        .execute(tx)
        .await?;
    Ok(())
}

pub(super) fn run_of(row: &AnyRow) -> Result<Run, StoreError> {
    let tools: String = row.try_get("tools")?;
    Ok(Run {
        id: row.try_get("id")?,
        user_id: row.try_get("user_id")?,
        provider: row.try_get("provider")?,
        status: status_of(row)?,
        model: row.try_get("model")?,
        conversation: row.try_get("conversation")?,
        prompt: row.try_get("prompt")?,
        system: row.try_get("system")?,
        tools: if tools == "none" { Tools::None } else { Tools::All },
        timeout_s: row.try_get("timeout_s")?,
        metadata: parse_optional(row, "metadata")?,
        text: row.try_get("text")?,
        usage: parse_optional(row, "usage")?,
        error: parse_optional(row, "error")?,
        sandbox_id: row.try_get("sandbox_id")?,
        cancel_requested_at: row.try_get("cancel_requested_at")?,
        created_at: row.try_get("created_at")?,
        started_at: row.try_get("started_at")?,
        finished_at: row.try_get("finished_at")?,
    })
}

fn status_of(row: &AnyRow) -> Result<Status, StoreError> {
    let status: String = row.try_get("status")?;
    Status::parse(&status).ok_or_else(|| StoreError::Unknown { what: "status of a run", value: status.clone() })
}

fn json<T: serde::Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("our own types have string keys and finite numbers or null")
}

pub(super) fn parse<T: serde::de::DeserializeOwned>(row: &AnyRow, column: &str) -> Result<T, StoreError> {
    let text: String = row.try_get(column)?;
    serde_json::from_str(&text)
        .map_err(|error| StoreError::Unknown { what: "JSON in a row", value: format!("{column}: {error}") })
}

pub(super) fn parse_optional<T: serde::de::DeserializeOwned>(
    row: &AnyRow,
    column: &str,
) -> Result<Option<T>, StoreError> {
    let text: Option<String> = row.try_get(column)?;
    text.map(|text| {
        serde_json::from_str(&text)
            .map_err(|error| StoreError::Unknown { what: "JSON in a row", value: format!("{column}: {error}") })
    })
    .transpose()
}
