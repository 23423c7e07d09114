//! What people are let in with: API keys and browser sessions.

use super::{Store, StoreError, runs::After};
use sqlx::{AnyConnection, FromRow};

/// A row of `tokens`, without the hash.
#[derive(Debug, Clone, FromRow)]
#[expect(missing_docs, reason = "the migrations describe the columns")]
pub struct TokenRow {
    pub id: String,
    pub user_id: String,
    pub kind: String,
    pub hint: String,
    pub name: Option<String>,
    pub scopes: String,
    pub agent: Option<String>,
    pub address: Option<String>,
    pub created_at: i64,
    pub expires_at: Option<i64>,
    pub last_used_at: Option<i64>,
    pub revoked_at: Option<i64>,
}

/// A token that is in use, and whose it is.
#[derive(Debug, Clone, FromRow)]
#[expect(missing_docs, reason = "the migrations describe the columns")]
pub struct BearerRow {
    pub token_id: String,
    pub scopes: String,
    pub expires_at: Option<i64>,
    pub last_used_at: Option<i64>,
    pub user_id: String,
    pub email: String,
    pub role: String,
}

/// Which tokens count at a time, Unix milliseconds.
#[derive(Debug, Clone, Copy)]
pub struct When {
    /// Those that do not expire before.
    pub now: i64,
    /// Those that were used, or made, after this.
    pub used_after: i64,
}

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT id, user_id, kind, hint, name, scopes, agent, address, created_at, expires_at, last_used_at, ",
            "revoked_at FROM tokens ",
            $rest
        )
    };
}

/// Adds a token of this hash, if its user is not switched off and, where that is said, has this password still.
/// `false`: nothing was stored.
///
/// # Errors
/// The database does not answer.
pub async fn insert(
    store: &Store,
    token: &TokenRow,
    hash: &[u8],
    password_hash: Option<&str>,
) -> Result<bool, StoreError> {
    let mut transaction = store.begin().await?;
    // Changes nothing, and locks the row: who changes the password or switches them off at the same time is done before
    // it, and is seen here, or comes after it, and finds the token.
    let hold = "UPDATE users SET role = role
                WHERE id = $1 AND password_hash = COALESCE($2, password_hash) AND disabled_at IS NULL";
    let hold = sqlx::query(hold).bind(&token.user_id).bind(password_hash).execute(&mut *transaction).await?;
    if hold.rows_affected() == 0 {
        return Ok(false);
    }
    sqlx::query(
        "INSERT INTO tokens (id, user_id, kind, hash, hint, name, scopes, agent, address, created_at, expires_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
    )
    .bind(&token.id)
    .bind(&token.user_id)
    .bind(&token.kind)
    .bind(hash)
    .bind(&token.hint)
    .bind(&token.name)
    .bind(&token.scopes)
    .bind(&token.agent)
    .bind(&token.address)
    .bind(token.created_at)
    .bind(token.expires_at)
    .execute(&mut *transaction)
    .await?;
    transaction.commit().await?;
    Ok(true)
}

/// The token of this id.
///
/// # Errors
/// The database does not answer.
pub async fn get(store: &Store, id: &str) -> Result<Option<TokenRow>, StoreError> {
    Ok(sqlx::query_as(select!("WHERE id = $1")).bind(id).fetch_optional(store.read()).await?)
}

/// A user's tokens of this kind, newest first, those that are over included.
///
/// # Errors
/// The database does not answer.
pub async fn list(
    store: &Store,
    (user_id, kind): (&str, &str),
    after: Option<&After>,
    limit: i64,
) -> Result<Vec<TokenRow>, StoreError> {
    let (created_at, id) = after.map_or((i64::MAX, ""), |after| (after.created_at, after.id.as_str()));
    let query = sqlx::query_as(select!(
        "WHERE user_id = $1 AND kind = $2 AND (created_at < $3 OR (created_at = $3 AND id < $4)) \
         ORDER BY created_at DESC, id DESC LIMIT $5"
    ));
    Ok(query.bind(user_id).bind(kind).bind(created_at).bind(id).bind(limit).fetch_all(store.read()).await?)
}

/// The same, but those that count.
///
/// # Errors
/// The database does not answer.
pub async fn list_live(
    store: &Store,
    (user_id, kind): (&str, &str),
    when: When,
    after: Option<&After>,
    limit: i64,
) -> Result<Vec<TokenRow>, StoreError> {
    let (created_at, id) = after.map_or((i64::MAX, ""), |after| (after.created_at, after.id.as_str()));
    let query = sqlx::query_as(select!(
        "WHERE user_id = $1 AND kind = $2 AND (created_at < $3 OR (created_at = $3 AND id < $4)) \
         AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > $6) \
         AND COALESCE(last_used_at, created_at) > $7 ORDER BY created_at DESC, id DESC LIMIT $5"
    ));
    let query = query.bind(user_id).bind(kind).bind(created_at).bind(id).bind(limit);
    Ok(query.bind(when.now).bind(when.used_after).fetch_all(store.read()).await?)
}

/// Of the tokens of this kind that count, the newest first: whose email, from which address it was last used, and when
/// it ends.
///
/// # Errors
/// The database does not answer.
pub async fn addresses(
    store: &Store,
    kind: &str,
    when: When,
    limit: i64,
) -> Result<Vec<(String, String, Option<i64>)>, StoreError> {
    let select = "SELECT users.email, tokens.address, tokens.expires_at
                  FROM tokens JOIN users ON users.id = tokens.user_id
                  WHERE tokens.kind = $1 AND tokens.address IS NOT NULL AND tokens.revoked_at IS NULL
                    AND (tokens.expires_at IS NULL OR tokens.expires_at > $2)
                    AND COALESCE(tokens.last_used_at, tokens.created_at) > $3 AND users.disabled_at IS NULL
                  ORDER BY tokens.created_at DESC LIMIT $4";
    let select = sqlx::query_as(select).bind(kind).bind(when.now).bind(when.used_after).bind(limit);
    Ok(select.fetch_all(store.read()).await?)
}

/// The token of this hash, if it counts, is not revoked, and its user is not disabled.
///
/// # Errors
/// The database does not answer.
pub async fn bearer(store: &Store, kind: &str, hash: &[u8], when: When) -> Result<Option<BearerRow>, StoreError> {
    let select = "SELECT tokens.id AS token_id, tokens.scopes, tokens.expires_at, tokens.last_used_at,
                         users.id AS user_id, users.email, users.role
                  FROM tokens JOIN users ON users.id = tokens.user_id
                  WHERE tokens.hash = $1 AND tokens.kind = $2 AND tokens.revoked_at IS NULL
                    AND (tokens.expires_at IS NULL OR tokens.expires_at > $3)
                    AND COALESCE(tokens.last_used_at, tokens.created_at) > $4 AND users.disabled_at IS NULL";
    let select = sqlx::query_as(select).bind(hash).bind(kind).bind(when.now).bind(when.used_after);
    Ok(select.fetch_optional(store.read()).await?)
}

/// Whether the token of this id is not over, and its user not disabled.
///
/// # Errors
/// The database does not answer.
pub async fn is_live(store: &Store, id: &str, now: i64) -> Result<bool, StoreError> {
    let select = "SELECT 1 FROM tokens JOIN users ON users.id = tokens.user_id
                  WHERE tokens.id = $1 AND tokens.revoked_at IS NULL
                    AND (tokens.expires_at IS NULL OR tokens.expires_at > $2) AND users.disabled_at IS NULL";
    Ok(sqlx::query(select).bind(id).bind(now).fetch_optional(store.read()).await?.is_some())
}

/// Whether the token of this id is not over, which it stays to the end of the transaction.
///
/// # Errors
/// The database does not answer.
pub(super) async fn hold(tx: &mut AnyConnection, id: &str, now: i64) -> Result<bool, StoreError> {
    let hold = "UPDATE tokens SET last_used_at = last_used_at
                WHERE id = $1 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > $2)";
    Ok(sqlx::query(hold).bind(id).bind(now).execute(tx).await?.rows_affected() == 1)
}

/// Notes that a token was used, and from where, unless that was noted after `before`.
///
/// # Errors
/// The database does not answer.
pub async fn touch(store: &Store, id: &str, address: Option<&str>, now: i64, before: i64) -> Result<(), StoreError> {
    let touch = "UPDATE tokens SET last_used_at = $2, address = COALESCE($4, address)
                 WHERE id = $1 AND (last_used_at IS NULL OR last_used_at <= $3)";
    sqlx::query(touch).bind(id).bind(now).bind(before).bind(address).execute(store.write()).await?;
    Ok(())
}

/// Ends a token. One that is ended already keeps the earlier time.
///
/// # Errors
/// The database does not answer.
pub async fn revoke(store: &Store, id: &str, now: i64) -> Result<(), StoreError> {
    let revoke = "UPDATE tokens SET revoked_at = COALESCE(revoked_at, $2) WHERE id = $1";
    sqlx::query(revoke).bind(id).bind(now).execute(store.write()).await?;
    Ok(())
}

/// Ends all sessions of a user, but one.
///
/// # Errors
/// The database does not answer.
pub(super) async fn end_sessions(
    tx: &mut AnyConnection,
    user_id: &str,
    but: Option<&str>,
    now: i64,
) -> Result<(), StoreError> {
    let end = "UPDATE tokens SET revoked_at = $3
               WHERE user_id = $1 AND kind = 'session' AND id <> $2 AND revoked_at IS NULL";
    sqlx::query(end).bind(user_id).bind(but.unwrap_or_default()).bind(now).execute(tx).await?;
    Ok(())
}

/// Forgets the tokens of this kind that were over before this time, Unix milliseconds. How many there were.
///
/// # Errors
/// The database does not answer.
pub async fn purge(store: &Store, kind: &str, before: i64) -> Result<u64, StoreError> {
    let purge = sqlx::query("DELETE FROM tokens WHERE kind = $1 AND (expires_at < $2 OR revoked_at < $2)");
    Ok(purge.bind(kind).bind(before).execute(store.write()).await?.rows_affected())
}
