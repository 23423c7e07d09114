//! Lists, a page at a time, newest first.

use super::error::{ApiError, ApiResult};
use crate::{
    domain::{failure::Code, id},
    store::runs::After,
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

const LIMIT: i64 = 50;
const LIMIT_MAX: i64 = 200;

/// Which page of a list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct PageQuery {
    /// How many items, from 1 to 200; 50 when not given.
    #[param(value_type = Option<i64>, minimum = 1, maximum = 200)]
    limit: Option<String>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// A page of a list.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Page<T> {
    /// Newest first.
    pub items: Vec<T>,
    /// What to ask for the next page with; null at the end.
    pub next_cursor: Option<String>,
}

impl PageQuery {
    /// How many items.
    pub fn limit(&self) -> ApiResult<i64> {
        let Some(text) = &self.limit else { return Ok(LIMIT) };
        text.parse()
            .ok()
            .filter(|limit| (1..=LIMIT_MAX).contains(limit))
            .ok_or_else(|| ApiError::new(Code::BadLimit, format!("`limit` must be a number from 1 to {LIMIT_MAX}")))
    }

    /// Where to go on.
    pub fn after(&self) -> ApiResult<Option<After>> {
        let Some(text) = &self.cursor else { return Ok(None) };
        let parse = || {
            let bytes = data_encoding::BASE64URL_NOPAD.decode(text.as_bytes()).ok()?;
            let text = String::from_utf8(bytes).ok()?;
            let (created_at, id) = text.split_once(' ')?;
            Some(After { created_at: created_at.parse().ok()?, id: id::is_one(id).then(|| id.to_owned())? })
        };
        parse().map(Some).ok_or_else(|| {
            ApiError::new(Code::BadCursor, "`cursor` is not one that this server gave").hint("Start again without it.")
        })
    }
}

impl<T> Page<T> {
    /// The first `limit` of `rows`, which has one more where there is a next page.
    pub fn of<R>(mut rows: Vec<R>, limit: i64, key: impl Fn(&R) -> After, view: impl Fn(R) -> T) -> Self {
        let more = rows.len() as i64 > limit;
        rows.truncate(limit as usize);
        let next_cursor = rows.last().filter(|_| more).map(|last| {
            let After { created_at, id } = key(last);
            data_encoding::BASE64URL_NOPAD.encode(format!("{created_at} {id}").as_bytes())
        });
        Self { items: rows.into_iter().map(view).collect(), next_cursor }
    }
}
