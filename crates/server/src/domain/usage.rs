//! What a person's runs have used, by day and provider.

use super::time;
use crate::store::{Store, StoreError, runs::After};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// How many runs are read at a time.
const RUNS: i64 = 1000;

/// What was used of a provider on a day.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = UsageView)]
pub struct Day {
    /// The day (UTC).
    #[schema(examples("2026-11-22"))]
    pub day: String,
    /// Which provider.
    pub provider: String,
    /// The runs that were accepted on that day, those that failed included.
    pub runs: i64,
    /// Tokens that were given to the model.
    pub input_tokens: i64,
    /// Tokens that the model gave.
    pub output_tokens: i64,
    /// Of the given, those that the provider had kept.
    pub cached_tokens: i64,
    /// What it cost in US dollars, of the runs whose tool tells; null where none does.
    pub cost_usd: Option<f64>,
}

/// What a person's runs of the last days have used, the newest day first, and a day's providers by name from the
/// end: after this place, and at least `limit` of them, if there are so many. Runs that were deleted are not counted.
///
/// # Errors
/// The database.
pub async fn usage(
    store: &Store,
    user_id: &str,
    days: i64,
    after: Option<&(String, String)>,
    limit: usize,
) -> Result<Vec<Day>, StoreError> {
    let since = time::midnight(time::now_ms()) - (days - 1) * time::DAY_MS;
    // What is left of the day that the page before ended in comes first.
    let until = after.and_then(|(day, _)| time::day_start(day)).map_or(i64::MAX, |start| start + time::DAY_MS);
    let mut place = After { created_at: until, id: String::new() };
    let mut by_day = BTreeMap::<(String, String), Day>::new();
    loop {
        let runs = store.used(user_id, since, &place, RUNS).await?;
        let Some(last) = runs.last() else { break };
        place = After { created_at: last.created_at, id: last.run_id.clone() };
        for used in runs {
            let of = (time::day(used.created_at), used.provider);
            // A day is told whole, and none is begun when there is enough.
            if by_day.len() >= limit && by_day.keys().next().is_some_and(|(day, _)| *day != of.0) {
                return Ok(by_day.into_values().rev().collect());
            }
            if after.is_some_and(|after| of >= *after) {
                continue;
            }
            let new = || Day { day: of.0.clone(), provider: of.1.clone(), ..Day::default() };
            let sum = by_day.entry(of.clone()).or_insert_with(new);
            sum.runs += 1;
            if let Some(usage) = used.usage {
                sum.input_tokens = sum.input_tokens.saturating_add(usage.input_tokens);
                sum.output_tokens = sum.output_tokens.saturating_add(usage.output_tokens);
                sum.cached_tokens = sum.cached_tokens.saturating_add(usage.cached_tokens);
                sum.cost_usd = usage.cost_usd.map_or(sum.cost_usd, |cost| Some(cost + sum.cost_usd.unwrap_or(0.0)));
            }
        }
    }
    Ok(by_day.into_values().rev().collect())
}
