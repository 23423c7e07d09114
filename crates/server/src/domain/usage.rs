//! What a person's runs have used, by day and provider.

use super::time;
use crate::store::{Store, StoreError};
use std::collections::BTreeMap;

/// What was used of a provider on a day (UTC).
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Day {
    /// Such as `2026-11-22`.
    pub day: String,
    /// Which provider.
    pub provider: String,
    /// The runs that were accepted on that day.
    pub runs: i64,
    /// Tokens that were given to the model.
    pub input_tokens: i64,
    /// Tokens that the model gave.
    pub output_tokens: i64,
    /// Of the given, those that the provider had kept.
    pub cached_tokens: i64,
    /// What it cost in US dollars, of the runs whose tool tells.
    pub cost_usd: Option<f64>,
}

/// What a person's runs of the last days have used, the newest day first, and a day's providers by name from the
/// end. Runs that were deleted are not counted.
///
/// # Errors
/// The database.
pub async fn usage(store: &Store, user_id: &str, days: i64) -> Result<Vec<Day>, StoreError> {
    let since = time::midnight(time::now_ms()) - (days - 1) * time::DAY_MS;
    let mut by_day = BTreeMap::<(String, String), Day>::new();
    for used in store.used(user_id, since).await? {
        let (day, provider) = (time::day(used.created_at), used.provider);
        let sum =
            by_day.entry((day.clone(), provider.clone())).or_insert_with(|| Day { day, provider, ..Day::default() });
        sum.runs += 1;
        if let Some(usage) = used.usage {
            sum.input_tokens = sum.input_tokens.saturating_add(usage.input_tokens);
            sum.output_tokens = sum.output_tokens.saturating_add(usage.output_tokens);
            sum.cached_tokens = sum.cached_tokens.saturating_add(usage.cached_tokens);
            sum.cost_usd = usage.cost_usd.map_or(sum.cost_usd, |cost| Some(cost + sum.cost_usd.unwrap_or(0.0)));
        }
    }
    Ok(by_day.into_values().rev().collect())
}
