//! `/usage`: what one's runs have used.

use super::{
    App,
    error::{ApiError, ApiResult, ErrorBody},
    extract::{Auth, Query},
    page::{Page, PageQuery},
};
use crate::domain::{
    failure::Code,
    people::Scope,
    time,
    usage::{self, Day},
};
use axum::{Json, extract::State};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::{router::OpenApiRouter, routes};

/// How many days are told of when nothing is said.
const DAYS: i64 = 30;
/// And at most.
const DAYS_MAX: i64 = 366;

/// What is served here.
pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(list))
}

/// Which days.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
struct UsageQuery {
    /// How many items, from 1 to 200; 50 when not given.
    #[param(value_type = Option<i64>, minimum = 1, maximum = 200)]
    limit: Option<String>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
    /// The last so many days, today among them; 30 when not given.
    #[param(minimum = 1, maximum = 366)]
    days: Option<i64>,
}

/// What one's own runs have used, by day and provider, the newest day first.
///
/// Runs are counted for as long as they are kept.
#[utoipa::path(
    get, path = "/usage", tag = "people", params(UsageQuery),
    responses(
        (status = 200, description = "A page", body = Page<Day>),
        (status = 400, description = "Bad `limit` or `cursor`", body = ErrorBody),
        (status = 401, description = "No valid key or session", body = ErrorBody),
        (status = 403, description = "The key lacks `runs:read`", body = ErrorBody),
        (status = 422, description = "An unknown parameter, or bad `days`", body = ErrorBody),
    )
)]
async fn list(State(app): State<App>, auth: Auth, Query(query): Query<UsageQuery>) -> ApiResult<Json<Page<Day>>> {
    let who = auth.require(Scope::RunsRead)?;
    let UsageQuery { limit, cursor, days } = query;
    let page = PageQuery { limit, cursor };
    let days = days.unwrap_or(DAYS);
    if !(1..=DAYS_MAX).contains(&days) {
        return Err(ApiError::new(Code::InvalidRequest, format!("`days` is not from 1 to {DAYS_MAX}")));
    }
    let after = page.place(|text| {
        let (day, provider) = text.split_once(' ')?;
        time::day_start(day).map(|_| (day.to_owned(), provider.to_owned()))
    })?;
    let limit = page.limit()?;
    let rows = usage::usage(&app.store, &who.user_id, days, after.as_ref(), limit as usize + 1).await?;
    Ok(Json(Page::of(rows, limit, |day: &Day| format!("{} {}", day.day, day.provider), |day| day)))
}
