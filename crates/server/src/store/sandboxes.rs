//! The sandboxes that were made, and what became of them.

use super::{Store, StoreError};

/// Where a sandbox stands, as the database has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SandboxState {
    /// It is being made.
    Creating,
    /// Its agent answers.
    Ready,
    /// It is gone.
    Gone,
    /// It could not be made, and is gone.
    Failed,
}

impl SandboxState {
    fn as_str(self) -> &'static str {
        match self {
            Self::Creating => "creating",
            Self::Ready => "ready",
            Self::Gone => "gone",
            Self::Failed => "failed",
        }
    }
}

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

    /// Writes down what became of a sandbox.
    pub async fn set_sandbox(
        &self,
        id: &str,
        state: SandboxState,
        error: Option<&str>,
        at: i64,
    ) -> Result<(), StoreError> {
        let ended_at = match state {
            SandboxState::Creating | SandboxState::Ready => None,
            SandboxState::Gone | SandboxState::Failed => Some(at),
        };
        sqlx::query("UPDATE sandboxes SET state = $1, error = COALESCE($2, error), ended_at = COALESCE($3, ended_at) WHERE id = $4")
            .bind(state.as_str())
            .bind(error)
            .bind(ended_at)
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
                self.set_sandbox(&id, SandboxState::Gone, None, at).await?;
            }
        }
        Ok(())
    }
}
