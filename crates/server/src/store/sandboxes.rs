//! The sandboxes that were made, what became of them, and what they left.

use super::{Store, StoreError, runs::After};
use crate::domain::sandbox::{self, Network, Sandbox, Work};
use polydev_sandbox::machine::State;
use sqlx::{Row, any::AnyRow};

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT id, user_id, run_id, login_id, driver, image_id, state, error, created_at, ended_at FROM sandboxes ",
            $rest
        )
    };
}

impl Store {
    /// The sandbox of this id.
    pub async fn sandbox(&self, id: &str) -> Result<Option<Sandbox>, StoreError> {
        let row = sqlx::query(select!("WHERE id = $1")).bind(id).fetch_optional(self.read()).await?;
        row.as_ref().map(sandbox_of).transpose()
    }

    /// A person's sandboxes, newest first: all, or those of one login.
    pub async fn sandboxes_of(
        &self,
        user_id: &str,
        login_id: Option<&str>,
        after: Option<&After>,
        limit: i64,
    ) -> Result<Vec<Sandbox>, StoreError> {
        let (created_at, id) = after.map_or((i64::MAX, ""), |after| (after.created_at, after.id.as_str()));
        let rows = sqlx::query(select!(
            "WHERE user_id = $1 AND (created_at < $2 OR (created_at = $2 AND id < $3)) AND ($4 = '' OR login_id = $4) \
             ORDER BY created_at DESC, id DESC LIMIT $5"
        ))
        .bind(user_id)
        .bind(created_at)
        .bind(id)
        .bind(login_id.unwrap_or_default())
        .bind(limit)
        .fetch_all(self.read())
        .await?;
        rows.iter().map(sandbox_of).collect()
    }

    /// How many sandboxes have not ended, of a person or of all.
    pub async fn standing(&self, user_id: Option<&str>) -> Result<i64, StoreError> {
        let row = sqlx::query(
            "SELECT COUNT(*) AS n FROM sandboxes WHERE state IN ('creating', 'ready', 'stopping') \
             AND ($1 = '' OR user_id = $1)",
        )
        .bind(user_id.unwrap_or_default())
        .fetch_one(self.read())
        .await?;
        Ok(row.try_get("n")?)
    }

    /// What a sandbox printed, if that is kept.
    pub async fn console(&self, id: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let row =
            sqlx::query("SELECT console FROM sandboxes WHERE id = $1").bind(id).fetch_optional(self.read()).await?;
        Ok(row.map(|row| row.try_get("console")).transpose()?.flatten())
    }

    /// What the gateway saw of a sandbox, if that is kept.
    pub async fn network(&self, id: &str) -> Result<Option<Network>, StoreError> {
        let row =
            sqlx::query("SELECT network FROM sandboxes WHERE id = $1").bind(id).fetch_optional(self.read()).await?;
        let text: Option<String> = row.map(|row| row.try_get("network")).transpose()?.flatten();
        let parse = |text: String| {
            serde_json::from_str(&text)
                .map_err(|error| StoreError::Unknown { what: "JSON in a sandbox", value: error.to_string() })
        };
        text.map(parse).transpose()
    }

    /// Keeps what a sandbox printed, unless that is kept already, and what the gateway saw of it.
    pub async fn keep_console(&self, id: &str, console: &[u8], network: Option<&Network>) -> Result<(), StoreError> {
        sqlx::query(
            "UPDATE sandboxes SET console = COALESCE(console, $1), network = COALESCE($2, network) WHERE id = $3",
        )
        .bind(console)
        .bind(network.map(json))
        .bind(id)
        .execute(self.write())
        .await?;
        Ok(())
    }

    /// Keeps what the gateway saw of a sandbox so far.
    pub async fn keep_network(&self, id: &str, network: &Network) -> Result<(), StoreError> {
        let update = sqlx::query("UPDATE sandboxes SET network = $1 WHERE id = $2");
        update.bind(json(network)).bind(id).execute(self.write()).await?;
        Ok(())
    }

    /// Writes down that a sandbox is about to be made: for a person's run or login, or for nobody yet.
    pub async fn insert_sandbox(
        &self,
        id: &str,
        owner: Option<(&str, Work<'_>)>,
        driver: &str,
        image_id: &str,
        at: i64,
    ) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO sandboxes (id, user_id, run_id, login_id, driver, image_id, state, created_at) VALUES ($1, $2, $3, $4, $5, $6, 'creating', $7)",
        )
        .bind(id)
        .bind(owner.map(|(user, _)| user))
        .bind(owner.and_then(|(_, work)| work.run()))
        .bind(owner.and_then(|(_, work)| work.login()))
        .bind(driver)
        .bind(image_id)
        .bind(at)
        .execute(self.write())
        .await?;
        Ok(())
    }

    /// Writes down whose a sandbox is that was made for nobody.
    pub async fn give_sandbox(&self, id: &str, user_id: &str, work: Work<'_>) -> Result<(), StoreError> {
        sqlx::query("UPDATE sandboxes SET user_id = $1, run_id = $2, login_id = $3 WHERE id = $4 AND user_id IS NULL")
            .bind(user_id)
            .bind(work.run())
            .bind(work.login())
            .bind(id)
            .execute(self.write())
            .await?;
        Ok(())
    }

    /// Writes down where a sandbox stands, and why if something broke. To whoever asks, one that sleeps is ready.
    pub async fn set_sandbox(&self, id: &str, state: &State, at: i64) -> Result<(), StoreError> {
        let error = match state {
            State::Failed(fault) | State::Stopping(Some(fault)) => Some(fault.to_string()),
            State::Requested
            | State::Creating
            | State::Booting
            | State::Ready
            | State::Asleep
            | State::Stopping(None)
            | State::Gone => None,
        };
        // PostgreSQL cannot store U+0000 in a text, and a fault may quote what came out of the sandbox.
        let error = error.map(|error| error.replace('\0', "\u{fffd}"));
        sqlx::query(
            "UPDATE sandboxes SET state = $1, error = COALESCE($2, error), ended_at = COALESCE(ended_at, $3) WHERE id = $4",
        )
        .bind(if *state == State::Asleep { State::Ready.name() } else { state.name() })
        .bind(error)
        .bind((!state.stands()).then_some(at))
        .bind(id)
        .execute(self.write())
        .await?;
        Ok(())
    }

    /// The sandboxes that have not ended, as far as is written down.
    pub async fn standing_sandboxes(&self) -> Result<Vec<String>, StoreError> {
        let ids = sqlx::query_scalar("SELECT id FROM sandboxes WHERE ended_at IS NULL");
        Ok(ids.fetch_all(self.read()).await?)
    }
}

fn json(network: &Network) -> String {
    serde_json::to_string(network).expect("our own type has string keys")
}

pub(super) fn sandbox_of(row: &AnyRow) -> Result<Sandbox, StoreError> {
    let state: String = row.try_get("state")?;
    Ok(Sandbox {
        id: row.try_get("id")?,
        user_id: row.try_get("user_id")?,
        run_id: row.try_get("run_id")?,
        login_id: row.try_get("login_id")?,
        driver: row.try_get("driver")?,
        image_id: row.try_get("image_id")?,
        state: sandbox::State::parse(&state)
            .ok_or_else(|| StoreError::Unknown { what: "state of a sandbox", value: state.clone() })?,
        error: row.try_get("error")?,
        created_at: row.try_get("created_at")?,
        ended_at: row.try_get("ended_at")?,
    })
}
