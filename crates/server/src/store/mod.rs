//! The database: SQLite in the data directory, or PostgreSQL. The only SQL of the server.
//!
//! One SQL text serves both: `$1` parameters; columns of TEXT, BIGINT, DOUBLE PRECISION and BYTEA only;
//! times as BIGINT Unix milliseconds; truth as a nullable time. (`SUM` of BIGINT is NUMERIC in PostgreSQL:
//! cast it to BIGINT.)
//!
//! ```text
//!   SQLite       read()  ─► pool of connections that cannot write
//!                write() ─► pool of one: writers queue here and not in SQLite, which would turn them away
//!   PostgreSQL   read(), write() ─► one pool
//! ```

mod alone;
pub mod audit;
pub mod counts;
pub mod credentials;
mod egress;
mod error;
pub mod events;
pub mod idempotency;
pub mod leases;
pub mod logins;
mod migrate;
pub mod others;
pub mod outputs;
pub mod pages;
pub mod people;
mod retention;
pub mod runs;
pub mod sandboxes;
pub mod tokens;
pub mod usage;
pub mod vault;

pub use alone::{Alone, Watch};
pub use error::StoreError;

use sqlx::{
    Any, AnyConnection, AnyPool, ConnectOptions, Connection, Executor, Transaction,
    any::{AnyConnectOptions, AnyPoolOptions},
    sqlite::SqliteConnectOptions,
};
use std::{
    fs,
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};

const SQLITE_READERS: u32 = 4;
const POSTGRES_CONNECTIONS: u32 = 16;
/// How long a database may take to answer the first connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a query waits for a connection of the pool.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(30);

/// What every connection to SQLite is told.
///
/// `synchronous = NORMAL` in WAL mode: what was committed outlives a kill -9 of the server at any moment,
/// and the file is never damaged. A power cut may take the last commits with it, as it takes the sandboxes
/// that they speak of; syncing each commit would cost milliseconds for every event of a run. What outlives its
/// sandbox is synced: [`Store::begin_durable`].
/// The busy timeout is for another process (`polydev user`, a backup) that holds the write lock.
/// `auto_vacuum` comes first, because it must be said before there is anything in the file: what is deleted can be
/// given back to the disk later (`retention.rs`). A log that has grown is cut to 64 MiB once it is folded in.
const SQLITE_PRAGMAS: &str = "PRAGMA auto_vacuum = INCREMENTAL; PRAGMA journal_mode = WAL; \
                              PRAGMA synchronous = NORMAL; PRAGMA foreign_keys = ON; PRAGMA busy_timeout = 10000; \
                              PRAGMA journal_size_limit = 67108864;";

/// A database, open and of the version that this server knows. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Store {
    kind: Kind,
    read: AnyPool,
    write: AnyPool,
}

/// Which database it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Sqlite,
    Postgres,
}

impl Store {
    /// Opens the database of this address, `sqlite:/path` or `postgres://…`, and brings it to this
    /// server's version. A SQLite file that does not exist is made, readable by its owner only; its
    /// directory must exist.
    ///
    /// # Errors
    /// The database cannot be reached, is of a newer version, or a migration does not work.
    pub async fn open(url: &str) -> Result<Self, StoreError> {
        sqlx::any::install_default_drivers();
        let options =
            AnyConnectOptions::from_str(url).map_err(|_| StoreError::Address { reason: "it is no address" })?;
        let kind = kind_of(&options)?;
        let name = error::name(&options.database_url);
        if kind == Kind::Sqlite {
            own_file(&sqlite_file(url).ok_or(StoreError::Address { reason: "it names no file" })?)?;
        }

        let unreachable = |source| StoreError::Unreachable { database: name.clone(), source };
        let mut first = tokio::time::timeout(CONNECT_TIMEOUT, AnyConnection::connect_with(&options))
            .await
            .map_err(|_| unreachable(sqlx::Error::PoolTimedOut))?
            .map_err(unreachable)?;
        if kind == Kind::Sqlite {
            first.execute(SQLITE_PRAGMAS).await.map_err(unreachable)?;
        }
        migrate::run(&mut first, kind, &name).await?;
        first.close().await?;

        let pool = |size| AnyPoolOptions::new().max_connections(size).acquire_timeout(ACQUIRE_TIMEOUT);
        let (read, write) = match kind {
            Kind::Postgres => {
                let both = pool(POSTGRES_CONNECTIONS).connect_lazy_with(options);
                (both.clone(), both)
            }
            Kind::Sqlite => {
                let write = pool(1)
                    .after_connect(|connection, _| {
                        Box::pin(async { connection.execute(SQLITE_PRAGMAS).await.map(drop) })
                    })
                    .connect_lazy_with(options.clone());
                let read = pool(SQLITE_READERS)
                    .after_connect(|connection, _| {
                        Box::pin(async {
                            connection.execute(SQLITE_PRAGMAS).await?;
                            connection.execute("PRAGMA query_only = ON").await.map(drop)
                        })
                    })
                    .connect_lazy_with(options);
                (read, write)
            }
        };
        Ok(Self { kind, read, write })
    }

    /// Connections for reading.
    pub fn read(&self) -> &AnyPool {
        &self.read
    }

    /// Connections for single statements that write.
    pub fn write(&self) -> &AnyPool {
        &self.write
    }

    /// Begins a transaction that writes. Nothing is kept unless it is committed.
    ///
    /// # Errors
    /// No connection is to be had.
    pub async fn begin(&self) -> Result<Transaction<'static, Any>, StoreError> {
        // A deferred transaction that turns from reading to writing is refused at once
        // when another process has written meanwhile.
        self.begin_in_sqlite("PRAGMA synchronous = NORMAL; BEGIN IMMEDIATE").await
    }

    /// The same for what a power cut must not take once it is committed: a credential, whose sandbox goes, and whose
    /// provider gives no second one. On SQLite the log is synced with the commit, which takes a disk's millisecond, and
    /// so is what is written without a transaction until the next one begins. PostgreSQL syncs every commit.
    ///
    /// # Errors
    /// No connection is to be had.
    pub async fn begin_durable(&self) -> Result<Transaction<'static, Any>, StoreError> {
        self.begin_in_sqlite("PRAGMA synchronous = FULL; BEGIN IMMEDIATE").await
    }

    async fn begin_in_sqlite(&self, begin: &'static str) -> Result<Transaction<'static, Any>, StoreError> {
        Ok(match self.kind {
            Kind::Sqlite => self.write.begin_with(begin).await?,
            Kind::Postgres => self.write.begin().await?,
        })
    }

    /// Asks the database for nothing, to see that it answers.
    ///
    /// # Errors
    /// It does not.
    pub async fn ping(&self) -> Result<(), StoreError> {
        sqlx::query("SELECT 1").execute(&self.read).await?;
        Ok(())
    }

    /// Closes all connections, so that SQLite folds its log into the file.
    pub async fn close(&self) {
        self.read.close().await;
        self.write.close().await;
    }
}

fn kind_of(address: &AnyConnectOptions) -> Result<Kind, StoreError> {
    match address.database_url.scheme() {
        "sqlite" => Ok(Kind::Sqlite),
        "postgres" | "postgresql" => Ok(Kind::Postgres),
        _ => Err(StoreError::Address { reason: "it is neither `sqlite:…` nor `postgres://…`" }),
    }
}

/// The address of a SQLite database in this file.
pub fn sqlite_url(path: &Path) -> String {
    // The encoding of sqlx leaves `%` as it is, its decoding does not.
    let path = path.to_string_lossy().replace('%', "%25");
    let mut url = SqliteConnectOptions::new().filename(path).to_url_lossy();
    url.set_query(None);
    url.into()
}

/// The file of a SQLite address; none if it is another database's.
pub fn sqlite_file(url: &str) -> Option<PathBuf> {
    if !url.starts_with("sqlite:") {
        return None;
    }
    let options = SqliteConnectOptions::from_str(url).ok()?;
    Some(options.get_filename().to_owned()).filter(|path| path.is_absolute())
}

/// Makes the file if need be, and sees to it that only its owner can read it.
fn own_file(path: &Path) -> Result<fs::File, StoreError> {
    let failed = |source| StoreError::File { path: path.to_owned(), source };
    let file =
        fs::OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path).map_err(failed)?;
    file.set_permissions(fs::Permissions::from_mode(0o600)).map_err(failed)?;
    Ok(file)
}
