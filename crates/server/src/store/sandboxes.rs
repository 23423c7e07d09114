//! The sandboxes that were made, and what became of them.

use super::{Store, StoreError};
use polydev_sandbox::machine::State;

impl Store {
    /// Writes down that a sandbox is about to be made for a run.
    pub async fn insert_sandbox(
        &self,
        id: &str,
        user_id: &str,
        run_id: &str,
        driver: &str,
        image_id: &str,
        at: i64,
    ) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO sandboxes (id, user_id, run_id, driver, image_id, state, created_at) VALUES ($1, $2, $3, $4, $5, 'creating', $6)",
        )
        .bind(id)
        .bind(user_id)
        .bind(run_id)
        .bind(driver)
        .bind(image_id)
        .bind(at)
        .execute(self.write())
        .await?;
        Ok(())
    }

    /// Writes down where a sandbox stands, and why if something broke.
    pub async fn set_sandbox(&self, id: &str, state: &State, at: i64) -> Result<(), StoreError> {
        let error = match state {
            State::Failed(fault) | State::Stopping(Some(fault)) => Some(fault.to_string()),
            State::Requested
            | State::Creating
            | State::Booting
            | State::Ready
            | State::Stopping(None)
            | State::Gone => None,
        };
        // PostgreSQL cannot store U+0000 in a text, and a fault may quote what came out of the sandbox.
        let error = error.map(|error| error.replace('\0', "\u{fffd}"));
        sqlx::query(
            "UPDATE sandboxes SET state = $1, error = COALESCE($2, error), ended_at = COALESCE(ended_at, $3) WHERE id = $4",
        )
        .bind(state.name())
        .bind(error)
        .bind((!state.stands()).then_some(at))
        .bind(id)
        .execute(self.write())
        .await?;
        Ok(())
    }

    /// Writes down that every sandbox but these is gone.
    pub async fn sandboxes_gone_but(&self, alive: &[String], at: i64) -> Result<(), StoreError> {
        use sqlx::Row;
        let rows = sqlx::query("SELECT id FROM sandboxes WHERE ended_at IS NULL").fetch_all(self.read()).await?;
        for row in rows {
            let id: String = row.try_get("id")?;
            if !alive.contains(&id) {
                self.set_sandbox(&id, &State::Gone, at).await?;
            }
        }
        Ok(())
    }
}
