//! The first person: made by whoever can read the setup link on the server's machine.
//!
//! ```text
//!   no user ─ serve ─► `setup-link` in the data directory ─ POST /setup ─► an admin ─► the link is dead
//!                                                         └ polydev user create ─────────┘
//! ```
//! Each start makes a new link, of which the server keeps the hash. That there is a user is asked of the database,
//! so that a link dies with the first one whoever makes them.

use super::{PeopleError, Role, Room, User, new_user, password, user};
use crate::{
    domain::id,
    store::{Store, people as rows},
};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use std::{fs, io, io::Write, os::unix::fs::OpenOptionsExt, path::Path, path::PathBuf};
use subtle::ConstantTimeEq;
use tokio::sync::Mutex;
use url::Url;

/// The file in the data directory.
pub const FILE: &str = "setup-link";

/// What the first person is made with.
#[derive(Debug, Default)]
pub struct Setup {
    /// SHA-256 of the link's token; none if there were users when the server started.
    token: Option<[u8; 32]>,
    file: PathBuf,
    /// One at a time.
    turn: Mutex<()>,
}

impl Setup {
    /// Writes a new link into the data directory: what knows it again, and the link.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(data_dir: &Path, public_url: &Url) -> io::Result<(Self, SecretString)> {
        let token = id::random::<32>();
        let mut link = public_url.join("/setup").map_err(io::Error::other)?;
        link.query_pairs_mut().append_pair("token", &token);
        let link = SecretString::from(String::from(link));
        // One that is there may be open to others.
        remove(data_dir)?;
        let file = data_dir.join(FILE);
        let mut open = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&file)?;
        open.write_all(format!("{}\n", link.expose_secret()).as_bytes())?;
        Ok((Self { token: Some(Sha256::digest(&token).into()), file, turn: Mutex::default() }, link))
    }

    /// Whether this token makes the first person: looked at before anything is written for whoever shows one.
    ///
    /// # Errors
    /// There is a user already, or the token is not the link's.
    pub async fn check(&self, store: &Store, token: &SecretString) -> Result<(), PeopleError> {
        let hash: [u8; 32] = Sha256::digest(token.expose_secret()).into();
        if rows::any_user(store).await? {
            return Err(PeopleError::SetUp);
        }
        if self.token.is_some_and(|expected| expected.ct_eq(&hash).into()) {
            Ok(())
        } else {
            Err(PeopleError::NotSetupLink)
        }
    }

    /// Makes the first person, an admin.
    ///
    /// # Errors
    /// There is a user already, or the token is not the link's.
    pub async fn first_user(
        &self,
        store: &Store,
        room: Room,
        token: &SecretString,
        email: &str,
        password: SecretString,
    ) -> Result<User, PeopleError> {
        let _turn = self.turn.lock().await;
        self.check(store, token).await?;
        password::check(&password)?;
        let row = new_user(&room, email, Role::Admin, password).await?;
        if !rows::insert_first_user(store, &row).await? {
            return Err(PeopleError::SetUp);
        }
        if let Some(Err(error)) = self.file.parent().map(remove) {
            tracing::warn!(file = %self.file.display(), %error, "the link is dead, but its file stays");
        }
        user(row)
    }
}

/// Whether the first person is still to be made.
///
/// # Errors
/// The database.
pub async fn is_needed(store: &Store) -> Result<bool, PeopleError> {
    Ok(!rows::any_user(store).await?)
}

/// Removes the link from the data directory, if there is one.
///
/// # Errors
/// The file cannot be removed.
pub fn remove(data_dir: &Path) -> io::Result<()> {
    match fs::remove_file(data_dir.join(FILE)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}
