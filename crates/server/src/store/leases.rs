//! Leases: which run may use which login, and how. Each change is one statement that says whether it was done.

use super::{Store, StoreError};
use crate::domain::lease::{Kind, Login};
use sqlx::{FromRow, Row};

/// The lease of a run.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub struct Lease {
    /// `shared`, `exclusive`, `keeper`.
    pub kind: String,
    /// The version of the credential that it is for.
    pub version: i64,
    /// When the access token of that login ends, Unix milliseconds; `None`: there is another version by now.
    pub fresh_until: Option<i64>,
}

impl Store {
    /// Every login that is in use, with how many runs use it how.
    pub async fn logins(&self) -> Result<Vec<Login>, StoreError> {
        let rows = sqlx::query(
            "SELECT user_id, provider, fresh_until, \
             (SELECT COUNT(*) FROM leases AS l JOIN runs AS r ON r.id = l.run_id \
              WHERE l.credential_id = c.id AND l.kind <> 'exclusive' AND r.status = 'running') AS shared, \
             (SELECT COUNT(*) FROM leases AS l JOIN runs AS r ON r.id = l.run_id \
              WHERE l.credential_id = c.id AND l.kind = 'exclusive' AND r.status = 'running') AS alone \
             FROM encrypted_credentials AS c WHERE fresh_until IS NOT NULL",
        )
        .fetch_all(self.read())
        .await?;
        let login = |row: &sqlx::any::AnyRow| {
            Ok(Login {
                user_id: row.try_get("user_id")?,
                provider: row.try_get("provider")?,
                fresh_until: row.try_get("fresh_until")?,
                shared: row.try_get("shared")?,
                exclusive: row.try_get("alone")?,
            })
        };
        rows.iter().map(login).collect()
    }

    /// Takes a lease of a running run for this version of a person's credential. `false`: another has it in a way
    /// that excludes this one, or there is a newer version.
    pub async fn take_lease(
        &self,
        run_id: &str,
        (user_id, provider): (&str, &str),
        version: i64,
        kind: Kind,
        at: i64,
    ) -> Result<bool, StoreError> {
        let mut tx = self.begin().await?;
        // The credential's row first: on PostgreSQL two runs that take at once would each see that nobody has.
        sqlx::query("UPDATE encrypted_credentials SET version = version WHERE user_id = $1 AND provider = $2")
            .bind(user_id)
            .bind(provider)
            .execute(&mut *tx)
            .await?;
        let taken = sqlx::query(
            "INSERT INTO leases (run_id, credential_id, kind, version, at) \
             SELECT $1, c.id, $2, $3, $4 FROM encrypted_credentials AS c \
             WHERE c.user_id = $5 AND c.provider = $6 AND c.version = $3 AND NOT EXISTS \
             (SELECT 1 FROM leases AS l JOIN runs AS r ON r.id = l.run_id WHERE l.credential_id = c.id \
              AND r.status = 'running' AND (l.kind = 'exclusive' OR $2 = 'exclusive'))",
        )
        .bind(run_id)
        .bind(kind.as_str())
        .bind(version)
        .bind(at)
        .bind(user_id)
        .bind(provider)
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(taken.rows_affected() == 1)
    }

    /// The lease of a run, if it has one.
    pub async fn lease_of(&self, run_id: &str) -> Result<Option<Lease>, StoreError> {
        let select = sqlx::query_as(
            "SELECT l.kind, l.version, c.fresh_until FROM leases AS l \
             LEFT JOIN encrypted_credentials AS c ON c.id = l.credential_id AND c.version = l.version \
             WHERE l.run_id = $1",
        )
        .bind(run_id);
        Ok(select.fetch_optional(self.read()).await?)
    }
}
