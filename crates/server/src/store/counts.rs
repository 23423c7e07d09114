//! How many there are of what.

use super::{Store, StoreError, logins, pages::UnderWay};
use crate::domain::{login, sandbox};
use sqlx::Row;

/// How many there are, of everybody.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    /// Runs that are not over.
    pub runs: UnderWay,
    /// Logins that are not over, by where they stand.
    pub logins: Vec<(login::Status, i64)>,
    /// Sandboxes that stand, by state.
    pub sandboxes: Vec<(sandbox::State, i64)>,
    /// Connections, by provider and by status as it is stored: what ends soon is `active` there.
    pub connections: Vec<(String, String, i64)>,
}

impl Store {
    /// Counts them.
    ///
    /// # Errors
    /// The database.
    pub async fn counts(&self) -> Result<Counts, StoreError> {
        let runs = self.under_way(None).await?;
        let logins = logins::count_open(self.read()).await?;
        let rows = sqlx::query("SELECT state, COUNT(*) AS n FROM sandboxes WHERE ended_at IS NULL GROUP BY state");
        let mut sandboxes = Vec::new();
        for row in rows.fetch_all(self.read()).await? {
            let state: String = row.try_get("state")?;
            let known = sandbox::State::parse(&state)
                .ok_or(StoreError::Unknown { what: "state of a sandbox", value: state })?;
            sandboxes.push((known, row.try_get("n")?));
        }
        let rows = sqlx::query(
            "SELECT provider, status, COUNT(*) AS n FROM encrypted_credentials GROUP BY provider, status \
             ORDER BY provider, status",
        );
        let rows = rows.fetch_all(self.read()).await?;
        let connection = |row| {
            Ok::<_, sqlx::Error>((
                Row::try_get(row, "provider")?,
                Row::try_get(row, "status")?,
                Row::try_get(row, "n")?,
            ))
        };
        let connections = rows.iter().map(connection).collect::<Result<_, _>>()?;
        Ok(Counts { runs, logins, sandboxes, connections })
    }
}
