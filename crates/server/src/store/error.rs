//! Why the database does not do what was asked.

use std::{io, path::PathBuf};
use url::Url;

/// Why the database does not do what was asked. Never contains the database's password.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The address is none.
    #[error("`store.url` cannot be used: {reason}")]
    Address {
        /// Why.
        reason: &'static str,
    },
    /// The file of SQLite cannot be used.
    #[error("the database file `{}` cannot be opened", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Nothing answers, or it refuses.
    #[error("the database `{database}` cannot be reached; see that it runs and that `store.url` is right")]
    Unreachable {
        /// Its address without the password.
        database: String,
        /// Why.
        source: sqlx::Error,
    },
    /// Another server works on it.
    #[error("another server works on the database `{database}`")]
    Taken {
        /// Its address without the password.
        database: String,
    },
    /// A newer server has used it.
    #[error(
        "the database `{database}` is of version {found}, and this polydev knows versions up to {known}: \
         start the newer polydev again, or restore the backup made before it was first started"
    )]
    Newer {
        /// Its address without the password.
        database: String,
        /// The version of the database.
        found: i64,
        /// The newest version that this server knows.
        known: i64,
    },
    /// A migration does not work.
    #[error("the database `{database}` cannot be brought to version {known}; it is left as it was")]
    Migrate {
        /// Its address without the password.
        database: String,
        /// The version that it was meant to reach.
        known: i64,
        /// Why.
        source: sqlx::migrate::MigrateError,
    },
    /// A query does not work.
    #[error("the database refused a query")]
    Query(#[from] sqlx::Error),
    /// A row holds what this server did not write there.
    #[error("the database holds an unknown {what} `{value}`")]
    Unknown {
        /// Of which kind.
        what: &'static str,
        /// The value.
        value: String,
    },
}

impl StoreError {
    /// Whether a row was refused because one with the same unique value exists.
    pub fn is_duplicate(&self) -> bool {
        match self {
            Self::Query(error) => error.as_database_error().is_some_and(|error| error.is_unique_violation()),
            Self::Address { .. }
            | Self::File { .. }
            | Self::Unreachable { .. }
            | Self::Taken { .. }
            | Self::Newer { .. }
            | Self::Migrate { .. }
            | Self::Unknown { .. } => false,
        }
    }
}

/// An address as it may be shown: without password and options, which may hold one too.
pub(super) fn name(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    url.set_fragment(None);
    // Both fail only where there is no authority, and so nothing to hide.
    let _ = url.set_password(None);
    url.into()
}
