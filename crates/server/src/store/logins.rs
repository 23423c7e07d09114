//! Logins and their events.
//!
//! What happens to a login is decided by [`Login::step`], of the row as it is, in one transaction with the events
//! that tell of it. A person has one open login with a provider: the database refuses a second.

use super::{
    Kind, Store, StoreError,
    runs::{After, parse, parse_optional},
};
use crate::domain::login::{Change, Denied, Event, EventBody, Login, Status};
use sqlx::{Any, AnyConnection, Executor, Row, any::AnyRow};

/// The most events of a page.
const PAGE_MAX: i64 = 256;

/// The number of PostgreSQL's advisory lock that whoever opens a login holds meanwhile.
const OPENING_LOCK: i64 = 0x706f_6c79_6c67_696e; // "polylgin"

/// What [`login_of`] reads, and the rest of the query.
macro_rules! select {
    ($($rest:literal),+) => {
        concat!(
            "SELECT session_id, user_id, provider, status, stages, command, error, question, link, sandbox_id, ",
            "cancel_requested_at, ",
            "started_at, expires_at, warned_at, completed_at, last_seq FROM auth_sessions ",
            $($rest),+
        )
    };
}

/// What became of a wish to open a login.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Opened {
    /// It was opened.
    New(Login),
    /// The person has one open already: this.
    Before(Login),
    /// As many are open as may be, of all people together.
    Full,
    /// There is no room for one more.
    NoRoom,
}

/// What became of a change of a login.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Changed {
    /// It is so by now.
    Done(Box<Login>),
    /// It cannot happen.
    Denied(Denied),
    /// There is no such login.
    None,
}

/// A login that is not over, as much of it as the reconciler needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenLogin {
    /// `lgn_…`.
    pub id: String,
    /// Where it stands.
    pub status: Status,
    /// Whether somebody asked to cancel it, or switched its owner off.
    pub cancelled: bool,
    /// Its sandbox, once it has one.
    pub sandbox_id: Option<String>,
    /// Its deadline, Unix milliseconds.
    pub expires_at: i64,
}

impl Store {
    /// Opens a login, unless its person has one open with this provider, or `most` are open, or there is not `room` for
    /// one more beside so many that have no desktop yet. Two that are asked for at a time are counted one after the
    /// other.
    pub async fn open_login(
        &self,
        (login, first): &(Login, EventBody),
        most: i64,
        room: impl FnOnce(i64) -> bool,
    ) -> Result<Opened, StoreError> {
        let mut tx = self.begin().await?;
        if self.kind == Kind::Postgres {
            // Until the transaction is over. SQLite has one writer.
            sqlx::query("SELECT pg_advisory_xact_lock($1)").bind(OPENING_LOCK).execute(&mut *tx).await?;
        }
        let open = select!("WHERE user_id = $1 AND provider = $2 AND completed_at IS NULL");
        let open = sqlx::query(open).bind(&login.user_id).bind(&login.provider).fetch_optional(&mut *tx).await?;
        if let Some(open) = open {
            return Ok(Opened::Before(login_of(&open)?));
        }
        let (mut all, mut under_way) = (0, 0);
        for (status, n) in count_open(&mut *tx).await? {
            all += n;
            under_way += if status.has_desktop() { 0 } else { n };
        }
        if all >= most {
            return Ok(Opened::Full);
        }
        if !room(under_way) {
            return Ok(Opened::NoRoom);
        }
        sqlx::query(
            "INSERT INTO auth_sessions \
             (session_id, user_id, provider, status, stages, command, started_at, expires_at, last_seq) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        )
        .bind(&login.id)
        .bind(&login.user_id)
        .bind(&login.provider)
        .bind(login.status.as_str())
        .bind(json(&login.stages))
        .bind(login.command.as_deref())
        .bind(login.started_at)
        .bind(login.expires_at)
        .bind(login.last_seq)
        .execute(&mut *tx)
        .await?;
        insert_event(&mut tx, &login.id, login.last_seq, login.started_at, first).await?;
        tx.commit().await?;
        Ok(Opened::New(login.clone()))
    }

    /// The login that a person has open with a provider.
    pub async fn open_login_of(&self, user_id: &str, provider: &str) -> Result<Option<Login>, StoreError> {
        let open = sqlx::query(select!("WHERE user_id = $1 AND provider = $2 AND completed_at IS NULL"));
        let row = open.bind(user_id).bind(provider).fetch_optional(self.read()).await?;
        row.as_ref().map(login_of).transpose()
    }

    /// Lets something happen to a login at the time `at`, Unix milliseconds, and stores what is told of it.
    pub async fn change_login(&self, id: &str, change: &Change, at: i64) -> Result<Changed, StoreError> {
        // What was told before changes nothing, however often an agent tells it: there is one writer for all.
        if let Some(now) = self.login(id).await?
            && now.step(change, at).is_ok_and(|(then, _)| then == now)
        {
            return Ok(Changed::Done(Box::new(now)));
        }
        let mut tx = self.begin().await?;
        let changed = change_in(&mut tx, id, change, at).await?;
        if let Changed::Done(_) = &changed {
            tx.commit().await?;
        }
        Ok(changed)
    }

    /// The login of this id.
    pub async fn login(&self, id: &str) -> Result<Option<Login>, StoreError> {
        let row = sqlx::query(select!("WHERE session_id = $1")).bind(id).fetch_optional(self.read()).await?;
        row.as_ref().map(login_of).transpose()
    }

    /// At most `limit` logins of a person, newest first.
    pub async fn logins_of(&self, user_id: &str, after: Option<&After>, limit: i64) -> Result<Vec<Login>, StoreError> {
        let (before, id) = after.map_or((i64::MAX, ""), |after| (after.created_at, after.id.as_str()));
        let query = sqlx::query(select!(
            "WHERE user_id = $4 AND (started_at < $1 OR (started_at = $1 AND session_id < $2)) ",
            "ORDER BY started_at DESC, session_id DESC LIMIT $3"
        ));
        let rows = query.bind(before).bind(id).bind(limit).bind(user_id).fetch_all(self.read()).await?;
        rows.iter().map(login_of).collect()
    }

    /// Every login that is not over, with those of somebody who is switched off as cancelled, oldest first.
    pub async fn open_logins(&self) -> Result<Vec<OpenLogin>, StoreError> {
        let rows = sqlx::query(
            "SELECT session_id, status, sandbox_id, expires_at, COALESCE(cancel_requested_at, \
             (SELECT disabled_at FROM users WHERE users.id = auth_sessions.user_id)) AS cancelled_at \
             FROM auth_sessions WHERE completed_at IS NULL ORDER BY started_at, session_id",
        )
        .fetch_all(self.read())
        .await?;
        let open = |row: &AnyRow| {
            Ok(OpenLogin {
                id: row.try_get("session_id")?,
                status: status_of(row)?,
                cancelled: row.try_get::<Option<i64>, _>("cancelled_at")?.is_some(),
                sandbox_id: row.try_get("sandbox_id")?,
                expires_at: row.try_get("expires_at")?,
            })
        };
        rows.iter().map(open).collect()
    }

    /// Writes down the wish to cancel a login. `false`: it is over.
    pub async fn cancel_login(&self, id: &str, at: i64) -> Result<bool, StoreError> {
        let done = sqlx::query(
            "UPDATE auth_sessions SET cancel_requested_at = COALESCE(cancel_requested_at, $1) \
             WHERE session_id = $2 AND completed_at IS NULL",
        )
        .bind(at)
        .bind(id)
        .execute(self.write())
        .await?;
        Ok(done.rows_affected() == 1)
    }

    /// The same for a login that is still in this sandbox.
    pub async fn cancel_login_in(&self, id: &str, sandbox_id: &str, at: i64) -> Result<(), StoreError> {
        sqlx::query(
            "UPDATE auth_sessions SET cancel_requested_at = COALESCE(cancel_requested_at, $1) \
             WHERE session_id = $2 AND sandbox_id = $3 AND completed_at IS NULL",
        )
        .bind(at)
        .bind(id)
        .bind(sandbox_id)
        .execute(self.write())
        .await?;
        Ok(())
    }

    /// Whether a login is there and not over.
    pub async fn is_login_open(&self, id: &str) -> Result<bool, StoreError> {
        let row = sqlx::query("SELECT 1 FROM auth_sessions WHERE session_id = $1 AND completed_at IS NULL").bind(id);
        Ok(row.fetch_optional(self.read()).await?.is_some())
    }

    /// The next events of a login after number `after`, in order: as many as make a page.
    pub async fn login_events_after(&self, id: &str, after: i64) -> Result<Vec<Event>, StoreError> {
        let rows = sqlx::query(
            "SELECT seq, at, body FROM login_events WHERE login_id = $1 AND seq > $2 ORDER BY seq LIMIT $3",
        )
        .bind(id)
        .bind(after)
        .bind(PAGE_MAX)
        .fetch_all(self.read())
        .await?;
        let event =
            |row: &AnyRow| Ok(Event { seq: row.try_get("seq")?, at: row.try_get("at")?, body: parse(row, "body")? });
        rows.iter().map(event).collect()
    }

    /// Whether a login has events after number `after`.
    pub async fn has_login_events_after(&self, id: &str, after: i64) -> Result<bool, StoreError> {
        let row = sqlx::query("SELECT 1 FROM login_events WHERE login_id = $1 AND seq > $2 LIMIT 1");
        Ok(row.bind(id).bind(after).fetch_optional(self.read()).await?.is_some())
    }
}

/// The same as [`Store::change_login`], in a transaction with something else.
pub(super) async fn change_in(
    tx: &mut AnyConnection,
    id: &str,
    change: &Change,
    at: i64,
) -> Result<Changed, StoreError> {
    // Takes the row's write lock before reading it, so that PostgreSQL shows two changes one truth.
    sqlx::query("UPDATE auth_sessions SET last_seq = last_seq WHERE session_id = $1")
        .bind(id)
        .execute(&mut *tx)
        .await?;
    let row = sqlx::query(select!("WHERE session_id = $1")).bind(id).fetch_optional(&mut *tx).await?;
    let Some(before) = row.as_ref().map(login_of).transpose()? else { return Ok(Changed::None) };
    let (login, told) = match before.step(change, at) {
        Ok(step) => step,
        Err(denied) => return Ok(Changed::Denied(denied)),
    };
    if login == before {
        return Ok(Changed::Done(Box::new(login)));
    }
    sqlx::query(
        "UPDATE auth_sessions SET status = $1, stages = $2, error = $3, question = $4, sandbox_id = $5, \
         expires_at = $6, warned_at = $7, completed_at = $8, last_seq = $9, link = $10 WHERE session_id = $11",
    )
    .bind(login.status.as_str())
    .bind(json(&login.stages))
    .bind(login.error.as_ref().map(json))
    .bind(login.question.as_ref().map(json))
    .bind(login.sandbox_id.as_deref())
    .bind(login.expires_at)
    .bind(login.warned_at)
    .bind(login.completed_at)
    .bind(login.last_seq)
    .bind(login.link.as_ref().map(json))
    .bind(id)
    .execute(&mut *tx)
    .await?;
    for (seq, body) in (before.last_seq + 1..).zip(&told) {
        insert_event(tx, id, seq, at, body).await?;
    }
    Ok(Changed::Done(Box::new(login)))
}

/// How many logins are not over, by where they stand.
pub(super) async fn count_open(db: impl Executor<'_, Database = Any>) -> Result<Vec<(Status, i64)>, StoreError> {
    let count = "SELECT status, COUNT(*) AS n FROM auth_sessions WHERE completed_at IS NULL GROUP BY status";
    let rows = sqlx::query(count).fetch_all(db).await?;
    rows.iter().map(|row| Ok((status_of(row)?, row.try_get("n")?))).collect()
}

async fn insert_event(
    tx: &mut AnyConnection,
    login: &str,
    seq: i64,
    at: i64,
    body: &EventBody,
) -> Result<(), StoreError> {
    sqlx::query("INSERT INTO login_events (login_id, seq, at, body) VALUES ($1, $2, $3, $4)")
        .bind(login)
        .bind(seq)
        .bind(at)
        .bind(json(body))
        .execute(tx)
        .await?;
    Ok(())
}

pub(super) fn login_of(row: &AnyRow) -> Result<Login, StoreError> {
    Ok(Login {
        id: row.try_get("session_id")?,
        user_id: row.try_get("user_id")?,
        provider: row.try_get("provider")?,
        status: status_of(row)?,
        stages: parse(row, "stages")?,
        command: row.try_get("command")?,
        error: parse_optional(row, "error")?,
        question: parse_optional(row, "question")?,
        link: parse_optional(row, "link")?,
        sandbox_id: row.try_get("sandbox_id")?,
        cancel_requested_at: row.try_get("cancel_requested_at")?,
        started_at: row.try_get("started_at")?,
        expires_at: row.try_get("expires_at")?,
        warned_at: row.try_get("warned_at")?,
        completed_at: row.try_get("completed_at")?,
        last_seq: row.try_get("last_seq")?,
    })
}

fn status_of(row: &AnyRow) -> Result<Status, StoreError> {
    let status: String = row.try_get("status")?;
    Status::parse(&status).ok_or_else(|| StoreError::Unknown { what: "status of a login", value: status.clone() })
}

fn json<T: serde::Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("our own types have string keys")
}
