//! One server a database: a second one would take the runs of the first for those of a dead server, and end them.
//!
//! ```text
//!   SQLite       a lock on the file, held by the process
//!   PostgreSQL   an advisory lock, held by a connection that is for nothing else and is asked every few seconds
//!                   lost ─► said, and retaken as soon as the database answers
//! ```

use super::{CONNECT_TIMEOUT, Kind, StoreError, error, kind_of, own_file, sqlite_file};
use sqlx::{Connection, PgConnection, any::AnyConnectOptions, postgres::PgConnectOptions};
use std::{
    fs::{File, TryLockError},
    path::PathBuf,
    str::FromStr,
    time::Duration,
};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::task::AbortOnDropHandle;

/// `pdserve` in ASCII; another than that of the migrations, for which CLI commands wait too.
const POSTGRES_LOCK: i64 = i64::from_be_bytes(*b"\0pdserve");
/// How long a server that starts waits for an earlier one to be gone: PostgreSQL sees at once that a process of
/// its own host has ended, and later that one of another host has.
const TAKE_WITHIN: Duration = Duration::from_secs(5);
/// How often the connection is asked whether it still is one.
const ASK_EVERY: Duration = Duration::from_secs(5);
/// How long it may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// In PostgreSQL: `lock_not_available` (Appendix A of its manual).
const LOCK_NOT_AVAILABLE: &str = "55P03";

/// Keeps other servers off a database for as long as it lives.
#[derive(Debug)]
pub struct Alone(#[expect(dead_code, reason = "held, not read")] Held);

#[derive(Debug)]
#[expect(dead_code, reason = "held, not read")]
enum Held {
    File(File),
    Connection(AbortOnDropHandle<()>),
}

impl Alone {
    /// Takes the database of this address for this server. To be called before it is opened.
    ///
    /// # Errors
    /// Another server has it, or it cannot be reached.
    pub async fn take(url: &str) -> Result<Self, StoreError> {
        let address =
            AnyConnectOptions::from_str(url).map_err(|_| StoreError::Address { reason: "it is no address" })?;
        let database = error::name(&address.database_url);
        match kind_of(&address)? {
            Kind::Sqlite => {
                let path = sqlite_file(url).ok_or(StoreError::Address { reason: "it names no file" })?;
                // Not SQLite's own locks, which are of another kind (flock(2) against fcntl(2)): both may be held.
                let file = own_file(&path)?;
                match crate::lock::lock(&file).await {
                    Ok(()) => Ok(Self(Held::File(file))),
                    Err(TryLockError::WouldBlock) => Err(StoreError::Taken { database }),
                    Err(TryLockError::Error(source)) => Err(StoreError::File { path, source }),
                }
            }
            Kind::Postgres => {
                let unreachable = |source| StoreError::Unreachable { database: database.clone(), source };
                let options = PgConnectOptions::from_str(url).map_err(unreachable)?;
                let mut connection = connect(&options).await.map_err(unreachable)?;
                if !wait_for_lock(&mut connection).await.map_err(unreachable)? {
                    return Err(StoreError::Taken { database });
                }
                let hold = tokio::spawn(hold(connection, options, database));
                Ok(Self(Held::Connection(AbortOnDropHandle::new(hold))))
            }
        }
    }
}

/// Looks whether a server works on a database.
///
/// To be made before the database is opened, and dropped after it is closed: the locks of SQLite are the process's,
/// and all of them go when it closes any descriptor of the file (fcntl(2), Advisory record locking).
#[derive(Debug)]
pub struct Watch(Watched);

#[derive(Debug)]
enum Watched {
    File(PathBuf, File),
    Server(Box<PgConnectOptions>, String),
}

impl Watch {
    /// Watches the database of this address.
    ///
    /// # Errors
    /// There is none.
    pub fn new(url: &str) -> Result<Self, StoreError> {
        let address =
            AnyConnectOptions::from_str(url).map_err(|_| StoreError::Address { reason: "it is no address" })?;
        let database = error::name(&address.database_url);
        Ok(Self(match kind_of(&address)? {
            Kind::Sqlite => {
                let path = sqlite_file(url).ok_or(StoreError::Address { reason: "it names no file" })?;
                match File::open(&path) {
                    Ok(file) => Watched::File(path, file),
                    Err(source) => return Err(StoreError::File { path, source }),
                }
            }
            Kind::Postgres => match PgConnectOptions::from_str(url) {
                Ok(options) => Watched::Server(Box::new(options), database),
                Err(source) => return Err(StoreError::Unreachable { database, source }),
            },
        }))
    }

    /// Whether a server works on it now.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn server_works(&self) -> Result<bool, StoreError> {
        match &self.0 {
            // Shared, and let go at once: a server that starts meanwhile waits for that long.
            Watched::File(path, file) => {
                match file.try_lock_shared().and_then(|()| file.unlock().map_err(TryLockError::Error)) {
                    Ok(()) => Ok(false),
                    Err(TryLockError::WouldBlock) => Ok(true),
                    Err(TryLockError::Error(source)) => Err(StoreError::File { path: path.clone(), source }),
                }
            }
            Watched::Server(options, database) => {
                let unreachable = |source| StoreError::Unreachable { database: database.clone(), source };
                let mut connection = connect(options).await.map_err(unreachable)?;
                let free: bool = sqlx::query_scalar("SELECT pg_try_advisory_lock_shared($1)")
                    .bind(POSTGRES_LOCK)
                    .fetch_one(&mut connection)
                    .await?;
                connection.close().await?;
                Ok(!free)
            }
        }
    }
}

async fn connect(options: &PgConnectOptions) -> Result<PgConnection, sqlx::Error> {
    let connect = PgConnection::connect_with(options);
    timeout(CONNECT_TIMEOUT, connect).await.map_err(|_elapsed| sqlx::Error::PoolTimedOut)?
}

/// `false`: somebody else keeps it.
async fn wait_for_lock(connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
    let patience = TAKE_WITHIN.as_millis().to_string();
    sqlx::query("SELECT set_config('lock_timeout', $1, false)").bind(patience).execute(&mut *connection).await?;
    let locked = sqlx::query("SELECT pg_advisory_lock($1)").bind(POSTGRES_LOCK).execute(connection).await;
    match locked {
        Ok(_) => Ok(true),
        Err(error)
            if error.as_database_error().and_then(|error| error.code()).as_deref() == Some(LOCK_NOT_AVAILABLE) =>
        {
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

/// Asks the connection that holds the lock whether it still is one, and takes the lock again when it is not.
async fn hold(connection: PgConnection, options: PgConnectOptions, database: String) {
    let mut often = interval(ASK_EVERY);
    often.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut held = Some(connection);
    loop {
        often.tick().await;
        held = match held {
            Some(mut connection) => match timeout(ANSWER_WITHIN, connection.ping()).await {
                Ok(Ok(())) => Some(connection),
                Ok(Err(_)) | Err(_) => {
                    tracing::error!(
                        database,
                        "the connection that keeps other servers off the database is lost: if one starts now, the two \
                         end each other's runs; it is taken up again as soon as the database answers"
                    );
                    None
                }
            },
            None => retake(&options, &database).await,
        };
    }
}

async fn retake(options: &PgConnectOptions, database: &str) -> Option<PgConnection> {
    // A database that does not answer is told of by those who need it.
    let mut connection = connect(options).await.ok()?;
    let taken: bool = sqlx::query_scalar("SELECT pg_try_advisory_lock($1)")
        .bind(POSTGRES_LOCK)
        .fetch_one(&mut connection)
        .await
        .ok()?;
    if taken {
        tracing::info!(database, "other servers are kept off the database again");
        return Some(connection);
    }
    tracing::error!(
        database,
        "another server has taken the database, or PostgreSQL does not know yet that the connection of this one is \
         lost: if it is another, stop one of the two, which end each other's runs"
    );
    None
}
