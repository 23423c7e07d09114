//! What admins see of other people's runs, logins and sandboxes. What only their owners may read is not even read here.

use super::{
    Store, StoreError,
    logins::login_of,
    pages::Filter,
    runs::{After, run_of},
    sandboxes::sandbox_of,
};
use crate::domain::{
    login::Login,
    run::{Run, Status},
    sandbox::Sandbox,
};

/// The metadata of runs: of this person, or of everybody.
macro_rules! runs {
    ($whose:literal) => {
        concat!(
            "SELECT id, user_id, provider, status, model, conversation, '' AS prompt, CAST(NULL AS TEXT) AS system, ",
            "tools, timeout_s, CAST(NULL AS TEXT) AS metadata, CAST(NULL AS TEXT) AS text, usage, error, sandbox_id, ",
            "cancel_requested_at, created_at, started_at, finished_at FROM runs WHERE ",
            $whose,
            "(created_at < $1 OR (created_at = $1 AND id < $2)) AND ($3 = '' OR status = $3) ",
            "AND ($4 = '' OR provider = $4) ORDER BY created_at DESC, id DESC LIMIT $5"
        )
    };
}

/// The metadata of logins; what is asked about has accounts in it.
macro_rules! logins {
    ($whose:literal) => {
        concat!(
            "SELECT session_id, user_id, provider, status, stages, command, error, CAST(NULL AS TEXT) AS question, ",
            "CAST(NULL AS TEXT) AS link, ",
            "sandbox_id, cancel_requested_at, started_at, expires_at, warned_at, completed_at, last_seq ",
            "FROM auth_sessions WHERE ",
            $whose,
            "(started_at < $1 OR (started_at = $1 AND session_id < $2)) ",
            "ORDER BY started_at DESC, session_id DESC LIMIT $3"
        )
    };
}

macro_rules! sandboxes {
    ($whose:literal) => {
        concat!(
            "SELECT id, user_id, run_id, login_id, driver, image_id, state, error, created_at, ended_at FROM sandboxes WHERE ",
            $whose,
            "(created_at < $1 OR (created_at = $1 AND id < $2)) AND ($3 = '' OR login_id = $3) ",
            "ORDER BY created_at DESC, id DESC LIMIT $4"
        )
    };
}

impl Store {
    /// At most `limit` runs, newest first, without their texts: of this person, or of everybody.
    pub async fn runs_seen(
        &self,
        user_id: Option<&str>,
        filter: Filter<'_>,
        after: Option<&After>,
        limit: i64,
    ) -> Result<Vec<Run>, StoreError> {
        let (before, id) = after.map_or((i64::MAX, ""), |after| (after.created_at, after.id.as_str()));
        let query = sqlx::query(match user_id {
            Some(_) => runs!("user_id = $6 AND "),
            None => runs!(""),
        });
        let query = query.bind(before).bind(id).bind(filter.status.map_or("", Status::as_str));
        let query = query.bind(filter.provider.unwrap_or_default()).bind(limit);
        let query = match user_id {
            Some(user_id) => query.bind(user_id),
            None => query,
        };
        query.fetch_all(self.read()).await?.iter().map(run_of).collect()
    }

    /// At most `limit` logins, newest first, without what is asked about: of this person, or of everybody.
    pub async fn logins_seen(
        &self,
        user_id: Option<&str>,
        after: Option<&After>,
        limit: i64,
    ) -> Result<Vec<Login>, StoreError> {
        let (before, id) = after.map_or((i64::MAX, ""), |after| (after.created_at, after.id.as_str()));
        let query = sqlx::query(match user_id {
            Some(_) => logins!("user_id = $4 AND "),
            None => logins!(""),
        });
        let query = query.bind(before).bind(id).bind(limit);
        let query = match user_id {
            Some(user_id) => query.bind(user_id),
            None => query,
        };
        query.fetch_all(self.read()).await?.iter().map(login_of).collect()
    }

    /// At most `limit` sandboxes, newest first: of this person, or all; all of them, or those of one login.
    pub async fn sandboxes_seen(
        &self,
        user_id: Option<&str>,
        login_id: Option<&str>,
        after: Option<&After>,
        limit: i64,
    ) -> Result<Vec<Sandbox>, StoreError> {
        let (before, id) = after.map_or((i64::MAX, ""), |after| (after.created_at, after.id.as_str()));
        let query = sqlx::query(match user_id {
            Some(_) => sandboxes!("user_id = $5 AND "),
            None => sandboxes!(""),
        });
        let query = query.bind(before).bind(id).bind(login_id.unwrap_or_default()).bind(limit);
        let query = match user_id {
            Some(user_id) => query.bind(user_id),
            None => query,
        };
        query.fetch_all(self.read()).await?.iter().map(sandbox_of).collect()
    }
}
