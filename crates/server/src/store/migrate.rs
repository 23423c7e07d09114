//! Bringing a database to the version of this server.

use super::{Kind, StoreError};
use sqlx::{
    AnyConnection, Connection, SqlSafeStr,
    migrate::{MigrateError, Migration, MigrationType, Migrator},
};

/// Every migration, in order; the first is version 1. One that was released is never changed.
const MIGRATIONS: &[(&str, &str)] = &[
    ("people", include_str!("../../../../migrations/0001_people.sql")),
    ("runs", include_str!("../../../../migrations/0002_runs.sql")),
    ("runs that last", include_str!("../../../../migrations/0003_runs_that_last.sql")),
    ("people over HTTP", include_str!("../../../../migrations/0004_people_over_http.sql")),
    ("leases", include_str!("../../../../migrations/0005_leases.sql")),
    ("vault", include_str!("../../../../migrations/0006_vault.sql")),
    ("egress seats", include_str!("../../../../migrations/0007_egress_seats.sql")),
    ("logins", include_str!("../../../../migrations/0008_logins.sql")),
    ("captures", include_str!("../../../../migrations/0009_captures.sql")),
    ("links", include_str!("../../../../migrations/0010_links.sql")),
];

/// The lock that servers which start at once on one PostgreSQL wait for: `polydev` in ASCII.
const POSTGRES_LOCK: i64 = i64::from_be_bytes(*b"\0polydev");

/// Runs what is missing, all in one transaction under a lock: a server that starts beside another
/// one waits for it, and a migration that does not work leaves the database as it was.
pub(super) async fn run(connection: &mut AnyConnection, kind: Kind, database: &str) -> Result<(), StoreError> {
    let mut migrator = Migrator::with_migrations(migrations());
    migrator.set_locking(false); // sqlx locks PostgreSQL only, and a session, not a transaction
    let known = MIGRATIONS.len() as i64;

    let mut transaction = match kind {
        Kind::Sqlite => connection.begin_with("BEGIN IMMEDIATE").await?,
        Kind::Postgres => {
            let mut transaction = connection.begin().await?;
            let lock = sqlx::query("SELECT pg_advisory_xact_lock($1)").bind(POSTGRES_LOCK);
            lock.execute(&mut *transaction).await?;
            transaction
        }
    };
    match migrator.run_direct(None, &mut *transaction, false).await {
        Ok(()) => Ok(transaction.commit().await?),
        Err(MigrateError::VersionMissing(version)) if version > known => {
            let newest = sqlx::query_scalar("SELECT MAX(version) FROM _sqlx_migrations");
            let found = newest.fetch_one(&mut *transaction).await?;
            Err(StoreError::Newer { database: database.to_owned(), found, known })
        }
        Err(source) => Err(StoreError::Migrate { database: database.to_owned(), known, source }),
    }
}

fn migrations() -> Vec<Migration> {
    let migration = |(version, &(name, sql)): (i64, &(&'static str, &'static str))| {
        Migration::new(version, name.into(), MigrationType::Simple, sql.into_sql_str(), false)
    };
    (1..).zip(MIGRATIONS).map(migration).collect()
}
