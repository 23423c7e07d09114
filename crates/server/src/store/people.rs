//! Users.

use super::{Store, StoreError, runs::After, tokens};
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

/// What became of a change of a user.
#[derive(Debug, Clone)]
pub enum Changed {
    /// They are so now.
    Done(UserRow),
    /// There is no such user.
    NoUser,
    /// Nobody could administer the server any more: nothing was changed.
    LastAdmin,
}

/// What became of a change of a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replaced {
    /// It is the new one now.
    Done,
    /// The password was another one by then, or the user switched off: nothing was changed.
    OtherPassword,
    /// What asked for it was over by then: nothing was changed.
    TokenOver,
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

/// Adds the first user. `false`: there is one already, nothing was stored.
///
/// # Errors
/// The database does not answer.
pub async fn insert_first_user(store: &Store, user: &UserRow) -> Result<bool, StoreError> {
    let insert = "INSERT INTO users (id, email, role, password_hash, created_at)
                  SELECT CAST($1 AS TEXT), CAST($2 AS TEXT), CAST($3 AS TEXT), CAST($4 AS TEXT), CAST($5 AS BIGINT)
                  WHERE NOT EXISTS (SELECT 1 FROM users)";
    let insert = sqlx::query(insert).bind(&user.id).bind(&user.email).bind(&user.role).bind(&user.password_hash);
    Ok(insert.bind(user.created_at).execute(store.write()).await?.rows_affected() == 1)
}

/// Whether there is any user.
///
/// # Errors
/// The database does not answer.
pub async fn any_user(store: &Store) -> Result<bool, StoreError> {
    Ok(sqlx::query("SELECT 1 FROM users LIMIT 1").fetch_optional(store.read()).await?.is_some())
}

/// All users, newest first.
///
/// # Errors
/// The database does not answer.
pub async fn users(store: &Store, after: Option<&After>, limit: i64) -> Result<Vec<UserRow>, StoreError> {
    let (created_at, id) = after.map_or((i64::MAX, ""), |after| (after.created_at, after.id.as_str()));
    let select = "SELECT * FROM users WHERE (created_at < $1 OR (created_at = $1 AND id < $2))
                  ORDER BY created_at DESC, id DESC LIMIT $3";
    Ok(sqlx::query_as(select).bind(created_at).bind(id).bind(limit).fetch_all(store.read()).await?)
}

/// The user with this email, in lower case.
///
/// # Errors
/// The database does not answer.
pub async fn user_by_email(store: &Store, email: &str) -> Result<Option<UserRow>, StoreError> {
    Ok(sqlx::query_as("SELECT * FROM users WHERE email = $1").bind(email).fetch_optional(store.read()).await?)
}

/// The user of this id.
///
/// # Errors
/// The database does not answer.
pub async fn user(store: &Store, id: &str) -> Result<Option<UserRow>, StoreError> {
    Ok(sqlx::query_as("SELECT * FROM users WHERE id = $1").bind(id).fetch_optional(store.read()).await?)
}

/// Gives a user another role, and switches them off (at this time, with the end of their sessions) or on. One who is
/// off already keeps the earlier time. Of the admins who are not off, one must be left.
///
/// # Errors
/// The database does not answer.
pub async fn change_user(
    store: &Store,
    id: &str,
    role: Option<&str>,
    disabled: Option<bool>,
    now: i64,
) -> Result<Changed, StoreError> {
    let mut transaction = store.begin().await?;
    // Changes nothing, and locks the admins' rows: of two who switch each other off at a time, PostgreSQL shows the
    // second what the first has done before it counts.
    sqlx::query("UPDATE users SET role = role WHERE role = 'admin'").execute(&mut *transaction).await?;
    let change = "UPDATE users SET role = COALESCE($2, role),
                      disabled_at = CASE $3 WHEN 1 THEN COALESCE(disabled_at, $4) WHEN 0 THEN NULL ELSE disabled_at END
                  WHERE id = $1 RETURNING *";
    let changed: Option<UserRow> = sqlx::query_as(change)
        .bind(id)
        .bind(role)
        .bind(disabled.map_or(-1, i64::from))
        .bind(now)
        .fetch_optional(&mut *transaction)
        .await?;
    let Some(changed) = changed else { return Ok(Changed::NoUser) };
    let admins = "SELECT 1 FROM users WHERE role = 'admin' AND disabled_at IS NULL LIMIT 1";
    let takes_away = disabled == Some(true) || role.is_some_and(|role| role != "admin");
    if takes_away && sqlx::query(admins).fetch_optional(&mut *transaction).await?.is_none() {
        return Ok(Changed::LastAdmin);
    }
    if disabled == Some(true) {
        tokens::end_sessions(&mut transaction, id, None, now).await?;
    }
    transaction.commit().await?;
    Ok(Changed::Done(changed))
}

/// Switches a user off at this time, whoever they are, and ends their sessions; one who is off already keeps the
/// earlier time.
///
/// # Errors
/// The database does not answer.
pub async fn disable_user(store: &Store, id: &str, at: i64) -> Result<(), StoreError> {
    let mut transaction = store.begin().await?;
    let disable = "UPDATE users SET disabled_at = $2 WHERE id = $1 AND disabled_at IS NULL";
    sqlx::query(disable).bind(id).bind(at).execute(&mut *transaction).await?;
    tokens::end_sessions(&mut transaction, id, None, at).await?;
    Ok(transaction.commit().await?)
}

/// Gives a user another password, whatever theirs was, and ends their sessions.
///
/// # Errors
/// The database does not answer.
pub async fn set_password_hash(store: &Store, id: &str, hash: &str, at: i64) -> Result<(), StoreError> {
    let mut transaction = store.begin().await?;
    let set = "UPDATE users SET password_hash = $2 WHERE id = $1";
    sqlx::query(set).bind(id).bind(hash).execute(&mut *transaction).await?;
    tokens::end_sessions(&mut transaction, id, None, at).await?;
    Ok(transaction.commit().await?)
}

/// Replaces a user's password for this token, if it is still the old one and the token is not over, and ends their
/// sessions but that.
///
/// # Errors
/// The database does not answer.
pub async fn replace_password_hash(
    store: &Store,
    id: &str,
    (old, new): (&str, &str),
    token_id: &str,
    at: i64,
) -> Result<Replaced, StoreError> {
    let mut transaction = store.begin().await?;
    let set = "UPDATE users SET password_hash = $3 WHERE id = $1 AND password_hash = $2 AND disabled_at IS NULL";
    let set = sqlx::query(set).bind(id).bind(old).bind(new).execute(&mut *transaction).await?;
    if set.rows_affected() == 0 {
        return Ok(Replaced::OtherPassword);
    }
    if !tokens::hold(&mut transaction, token_id, at).await? {
        return Ok(Replaced::TokenOver);
    }
    tokens::end_sessions(&mut transaction, id, Some(token_id), at).await?;
    transaction.commit().await?;
    Ok(Replaced::Done)
}
