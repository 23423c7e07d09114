//! Lists, a page at a time.

use super::error::{ApiError, ApiResult};
use crate::{
    domain::{failure::Code, id},
    store::runs::After,
};
use serde::{Deserialize, Serialize};
use std::fmt::{self, Display};
use utoipa::{IntoParams, ToSchema};

const LIMIT: i64 = 50;
const LIMIT_MAX: i64 = 200;

/// Which page of a list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct PageQuery {
    /// How many items, from 1 to 200; 50 when not given.
    #[param(value_type = Option<i64>, minimum = 1, maximum = 200)]
    pub limit: Option<String>,
    /// `next_cursor` of the page before.
    pub cursor: Option<String>,
}

/// A page of a list.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Page<T> {
    /// Newest first, where nothing else is said.
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

    /// Where to go on in a list that is newest first.
    pub fn after(&self) -> ApiResult<Option<After>> {
        self.place(|text| {
            let (created_at, id) = text.split_once(' ')?;
            Some(After { created_at: created_at.parse().ok()?, id: id::is_one(id).then(|| id.to_owned())? })
        })
    }

    /// Where to go on in another list: what `parse` makes of the words of the last item's place.
    pub fn place<P>(&self, parse: impl Fn(&str) -> Option<P>) -> ApiResult<Option<P>> {
        let Some(cursor) = &self.cursor else { return Ok(None) };
        let bytes = data_encoding::BASE64URL_NOPAD.decode(cursor.as_bytes()).ok();
        let place = bytes.and_then(|bytes| parse(std::str::from_utf8(&bytes).ok()?));
        place.map(Some).ok_or_else(|| {
            ApiError::new(Code::BadCursor, "`cursor` is not one that this server gave").hint("Start again without it.")
        })
    }
}

impl Display for After {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.created_at, self.id)
    }
}

impl<T> Page<T> {
    /// The first `limit` of `rows`, which has one more where there is a next page.
    /// `place` tells where a row is in the list.
    pub fn of<R, P: Display>(mut rows: Vec<R>, limit: i64, place: impl Fn(&R) -> P, view: impl Fn(R) -> T) -> Self {
        let more = rows.len() as i64 > limit;
        rows.truncate(limit as usize);
        Self::whole(rows, more, place, view)
    }

    /// All of `rows`, and whether there is a next page.
    pub fn whole<R, P: Display>(rows: Vec<R>, more: bool, place: impl Fn(&R) -> P, view: impl Fn(R) -> T) -> Self {
        let next_cursor = rows
            .last()
            .filter(|_| more)
            .map(|last| data_encoding::BASE64URL_NOPAD.encode(place(last).to_string().as_bytes()));
        Self { items: rows.into_iter().map(view).collect(), next_cursor }
    }
}
