//! Passwords: argon2id, off the runtime's threads, a few at a time.

use super::PeopleError;
use crate::domain::id;
use argon2::{
    Argon2,
    password_hash::{PasswordHasher, PasswordVerifier, phc::PasswordHash},
};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::{OnceCell, Semaphore, SemaphorePermit};

/// How long a password that somebody chooses must be (NIST SP 800-63B, 5.1.1.2), and may be.
pub(super) const LENGTH: std::ops::RangeInclusive<usize> = 8..=1024;

/// How many are hashed at once: each takes 19 MiB and some 30 ms of a processor, which runs need too.
const AT_ONCE: usize = 2;
/// How many more may wait: two seconds' worth.
const WAITING: usize = 100;
static TURN: Semaphore = Semaphore::const_new(AT_ONCE);
static ROOM: Semaphore = Semaphore::const_new(AT_ONCE + WAITING);
/// The hash of a password that nobody has.
static NOBODYS: OnceCell<String> = OnceCell::const_new();

/// Room for somebody's passwords to be hashed, one after the other. It is had before anything is written down: who is
/// refused for want of it leaves no trace.
#[derive(Debug)]
#[must_use]
pub struct Room {
    _permit: SemaphorePermit<'static>,
}

impl Room {
    /// Takes it.
    ///
    /// # Errors
    /// [`PeopleError::Busy`].
    pub fn take() -> Result<Self, PeopleError> {
        ROOM.try_acquire().map(|permit| Self { _permit: permit }).map_err(|_| PeopleError::Busy)
    }
}

/// Refuses one that is too short or too long.
pub(super) fn check(password: &SecretString) -> Result<(), PeopleError> {
    if LENGTH.contains(&password.expose_secret().chars().count()) { Ok(()) } else { Err(PeopleError::Password) }
}

/// Makes one up: 120 random bits.
pub(super) fn made_up() -> SecretString {
    id::random::<15>().into()
}

/// Argon2id, version 19, 19 MiB, two passes: the parameters of the crate and of OWASP.
pub(super) async fn hash(room: &Room, password: SecretString) -> Result<String, PeopleError> {
    in_turn(room, move || {
        let hash = Argon2::default().hash_password(password.expose_secret().as_bytes());
        Ok(hash.map_err(|_| PeopleError::Hash)?.to_string())
    })
    .await
}

/// Whether this is the password that `expected` is the hash of. Where there is none, the same is done with nobody's, so
/// that the time does not tell.
pub(super) async fn is_right(
    room: &Room,
    password: SecretString,
    expected: Option<String>,
) -> Result<bool, PeopleError> {
    let is_somebodys = expected.is_some();
    let expected = match expected {
        Some(expected) => expected,
        None => NOBODYS.get_or_try_init(|| hash(room, made_up())).await?.clone(),
    };
    let is_right = in_turn(room, move || {
        let expected = PasswordHash::new(&expected).map_err(|_| PeopleError::Hash)?;
        Ok(Argon2::default().verify_password(password.expose_secret().as_bytes(), &expected).is_ok())
    });
    Ok(is_right.await? && is_somebodys)
}

/// Hashing takes tens of milliseconds of a processor, which the runtime's threads must not spend.
async fn in_turn<T: Send + 'static>(
    _: &Room,
    work: impl FnOnce() -> Result<T, PeopleError> + Send + 'static,
) -> Result<T, PeopleError> {
    let turn = TURN.acquire().await.map_err(|_| PeopleError::Busy)?;
    let work = move || {
        // It is held to the end of the work, which goes on when nobody waits for it any more.
        let _turn = turn;
        work()
    };
    tokio::task::spawn_blocking(work).await.map_err(|_| PeopleError::Hash)?
}
