//! What is told of a series of figures.

use serde_json::{Value, json};

/// A series in a few figures.
pub(crate) struct Tally {
    pub(crate) median: f64,
    pub(crate) p95: f64,
    pub(crate) p99: f64,
    pub(crate) mean: f64,
    /// The standard error of the mean.
    pub(crate) error: f64,
    pub(crate) count: usize,
}

impl Tally {
    /// Of an empty series, all is 0.
    pub(crate) fn of(series: impl IntoIterator<Item = f64>) -> Self {
        let mut sorted: Vec<f64> = series.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        let count = sorted.len();
        let at =
            |share: f64| sorted.get((count.saturating_sub(1) as f64 * share).round() as usize).copied().unwrap_or(0.0);
        let mean = sorted.iter().sum::<f64>() / count.max(1) as f64;
        let variance = sorted.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (count.max(2) - 1) as f64;
        let error = (variance / count.max(1) as f64).sqrt();
        Self { median: at(0.5), p95: at(0.95), p99: at(0.99), mean, error, count }
    }

    pub(crate) fn json(&self) -> Value {
        json!({
            "median": round(self.median),
            "p95": round(self.p95),
            "mean": round(self.mean),
            "error": round(self.error),
            "count": self.count,
        })
    }

    /// Of a series so long that its end is worth telling.
    pub(crate) fn tail(&self) -> Value {
        json!({ "p50": round(self.median), "p99": round(self.p99), "count": self.count })
    }
}

/// To hundredths.
pub(crate) fn round(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}
