//! Users and their tokens.

use super::{Store, StoreError};
use sqlx::FromRow;

/// A row of `users`.
#[derive(Debug, Clone, FromRow)]
#[expect(missing_docs, reason = "the migration describes the columns")]
pub struct UserRow {
    pub id: String,
    pub email: String,
    pub role: String,
    pub password_hash: String,
    pub created_at: i64,
    pub disabled_at: Option<i64>,
}

/// A row of `tokens`, without the hash.
#[derive(Debug, Clone, FromRow)]
#[expect(missing_docs, reason = "the migration describes the columns")]
pub struct TokenRow {
    pub id: String,
    pub user_id: String,
    pub kind: String,
    pub hint: String,
    pub name: Option<String>,
    pub scopes: String,
    pub created_at: i64,
    pub expires_at: Option<i64>,
    pub last_used_at: Option<i64>,
    pub revoked_at: Option<i64>,
}

/// A token that is in use, and whose it is.
#[derive(Debug, Clone, FromRow)]
#[expect(missing_docs, reason = "the migration describes the columns")]
pub struct BearerRow {
    pub token_id: String,
    pub scopes: String,
    pub last_used_at: Option<i64>,
    pub user_id: String,
    pub email: String,
    pub role: String,
}

/// Adds a user.
///
/// # Errors
/// [`StoreError::is_duplicate`] if the email is taken.
pub async fn insert_user(store: &Store, user: &UserRow) -> Result<(), StoreError> {
    sqlx::query("INSERT INTO users (id, email, role, password_hash, created_at) VALUES ($1, $2, $3, $4, $5)")
        .bind(&user.id)
        .bind(&user.email)
        .bind(&user.role)
        .bind(&user.password_hash)
        .bind(user.created_at)
        .execute(store.write())
        .await?;
    Ok(())
}

/// All users, newest first.
///
/// # Errors
/// The database does not answer.
pub async fn users(store: &Store) -> Result<Vec<UserRow>, StoreError> {
    Ok(sqlx::query_as("SELECT * FROM users ORDER BY created_at DESC, id DESC").fetch_all(store.read()).await?)
}

/// The user with this email, in lower case.
///
/// # Errors
/// The database does not answer.
pub async fn user_by_email(store: &Store, email: &str) -> Result<Option<UserRow>, StoreError> {
    Ok(sqlx::query_as("SELECT * FROM users WHERE email = $1").bind(email).fetch_optional(store.read()).await?)
}

/// Switches a user off at this time; one who is off already keeps the earlier time.
///
/// # Errors
/// The database does not answer.
pub async fn disable_user(store: &Store, id: &str, at: i64) -> Result<(), StoreError> {
    let disable = "UPDATE users SET disabled_at = $2 WHERE id = $1 AND disabled_at IS NULL";
    sqlx::query(disable).bind(id).bind(at).execute(store.write()).await?;
    Ok(())
}

/// Replaces a user's password.
///
/// # Errors
/// The database does not answer.
pub async fn set_password_hash(store: &Store, id: &str, hash: &str) -> Result<(), StoreError> {
    let set = "UPDATE users SET password_hash = $2 WHERE id = $1";
    sqlx::query(set).bind(id).bind(hash).execute(store.write()).await?;
    Ok(())
}

/// Adds a token of this hash.
///
/// # Errors
/// The database does not answer.
pub async fn insert_token(store: &Store, token: &TokenRow, hash: &[u8]) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO tokens (id, user_id, kind, hash, hint, name, scopes, created_at, expires_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
    )
    .bind(&token.id)
    .bind(&token.user_id)
    .bind(&token.kind)
    .bind(hash)
    .bind(&token.hint)
    .bind(&token.name)
    .bind(&token.scopes)
    .bind(token.created_at)
    .bind(token.expires_at)
    .execute(store.write())
    .await?;
    Ok(())
}

/// A user's tokens of this kind, newest first, those that are over included.
///
/// # Errors
/// The database does not answer.
pub async fn tokens(store: &Store, user_id: &str, kind: &str) -> Result<Vec<TokenRow>, StoreError> {
    let select = "SELECT id, user_id, kind, hint, name, scopes, created_at, expires_at, last_used_at, revoked_at
                  FROM tokens WHERE user_id = $1 AND kind = $2 ORDER BY created_at DESC, id DESC";
    Ok(sqlx::query_as(select).bind(user_id).bind(kind).fetch_all(store.read()).await?)
}

/// The token of this hash, if it is neither revoked nor expired and its user is not disabled.
///
/// # Errors
/// The database does not answer.
pub async fn bearer(store: &Store, kind: &str, hash: &[u8], now: i64) -> Result<Option<BearerRow>, StoreError> {
    let select = "SELECT tokens.id AS token_id, tokens.scopes, tokens.last_used_at,
                         users.id AS user_id, users.email, users.role
                  FROM tokens JOIN users ON users.id = tokens.user_id
                  WHERE tokens.hash = $1 AND tokens.kind = $2 AND tokens.revoked_at IS NULL
                    AND (tokens.expires_at IS NULL OR tokens.expires_at > $3) AND users.disabled_at IS NULL";
    Ok(sqlx::query_as(select).bind(hash).bind(kind).bind(now).fetch_optional(store.read()).await?)
}

/// Notes that a token was used.
///
/// # Errors
/// The database does not answer.
pub async fn touch_token(store: &Store, id: &str, now: i64) -> Result<(), StoreError> {
    sqlx::query("UPDATE tokens SET last_used_at = $2 WHERE id = $1").bind(id).bind(now).execute(store.write()).await?;
    Ok(())
}

/// Ends a token of this user, or of anybody when none is given. Says whether there is one;
/// one that is revoked already keeps the earlier time.
///
/// # Errors
/// The database does not answer.
pub async fn revoke_token(store: &Store, user_id: Option<&str>, id: &str, now: i64) -> Result<bool, StoreError> {
    let revoke = "UPDATE tokens SET revoked_at = COALESCE(revoked_at, $3)
                  WHERE id = $1 AND kind = 'key' AND ($2 = '' OR user_id = $2)";
    let revoke = sqlx::query(revoke).bind(id).bind(user_id.unwrap_or_default()).bind(now);
    Ok(revoke.execute(store.write()).await?.rows_affected() > 0)
}
