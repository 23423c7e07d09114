//! What is counted, for `GET /metrics`.
//!
//! ```text
//!   where it happens ─► Metrics: counters and histograms, for as long as the server runs ─┐
//!   rows, pool, findings, /proc, when asked ─► Now: gauges ───────────────────────────────┴─► text()
//! ```
//!
//! Labels are of few values that this program knows: never a person, an id, a name of a host or a path as it was asked
//! for. The form is OpenMetrics 1.0.

mod now;
mod process;

pub use now::Now;
pub use process::Process;

use crate::{
    domain::{
        login::{self, Login},
        sandbox::Network,
    },
    providers,
    store::runs::{End, Ended},
};
use axum::http::{Method, StatusCode};
use polydev_sandbox::image::Kind;
use prometheus_client::{
    encoding::{EncodeLabelSet, text},
    metrics::{counter::Counter, family::Family, histogram::Histogram, info::Info},
    registry::{Registry, Unit},
};
use std::{sync::Arc, time::Duration};

/// The type of what [`Metrics::text`] says.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What every name begins with, but for those of the process, which all programs have in common.
const PREFIX: &str = "polydev";

/// Bounds of how long an answer took to begin, seconds: from one that is at hand to `?wait=true`.
const REQUEST_BOUNDS: [f64; 11] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 10.0, 60.0];
/// Bounds of how long a run took, seconds: from a word to the longest that `runs.timeout_s` allows by default.
const RUN_BOUNDS: [f64; 10] = [1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 900.0, 1800.0];
/// Bounds of how long a desktop took, seconds: from one that was made ahead to one that is hardly used any more.
const READY_BOUNDS: [f64; 11] = [0.05, 0.1, 0.2, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 60.0, 300.0];

/// What has been counted since the server was started. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Metrics(Arc<Counted>);

#[derive(Debug)]
struct Counted {
    registry: Registry,
    requests: Family<Request, Counter>,
    request_durations: Family<Route, Histogram>,
    runs: Family<Over, Counter>,
    run_durations: Family<Over, Histogram>,
    failures: Family<Failed, Counter>,
    logins: Family<Over, Counter>,
    login_failures: Family<Failed, Counter>,
    login_ready: Family<OfProvider, Histogram>,
    events: Counter,
    claims: Family<Claim, Counter>,
    egress_connections: Family<Verdict, Counter>,
    egress_bytes: Family<Direction, Counter>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Route {
    method: &'static str,
    route: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Request {
    method: &'static str,
    route: String,
    status: &'static str,
}

/// What a run or a login came to.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Over {
    provider: &'static str,
    status: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfProvider {
    provider: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Failed {
    provider: &'static str,
    code: String,
}

/// What came of looking for a warm sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claimed {
    /// There was one.
    Hit,
    /// There was none.
    Miss,
    /// There was one, which no longer answered.
    Lost,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Claim {
    kind: &'static str,
    result: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Verdict {
    verdict: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Direction {
    direction: &'static str,
}

impl Default for Metrics {
    /// Nothing counted yet.
    fn default() -> Self {
        let mut registry = Registry::with_prefix(PREFIX);
        let counted = Counted {
            requests: Family::default(),
            request_durations: Family::new_with_constructor(|| Histogram::new(REQUEST_BOUNDS)),
            runs: Family::default(),
            run_durations: Family::new_with_constructor(|| Histogram::new(RUN_BOUNDS)),
            failures: Family::default(),
            logins: Family::default(),
            login_failures: Family::default(),
            login_ready: Family::new_with_constructor(|| Histogram::new(READY_BOUNDS)),
            events: Counter::default(),
            claims: Family::default(),
            egress_connections: Family::default(),
            egress_bytes: Family::default(),
            registry: Registry::default(),
        };
        registry.register("build", "This server", Info::new([("version", env!("CARGO_PKG_VERSION"))]));
        registry.register("http_requests", "Requests answered, by route and class of status", counted.requests.clone());
        registry.register_with_unit(
            "http_request_duration",
            "How long it took until an answer began",
            Unit::Seconds,
            counted.request_durations.clone(),
        );
        registry.register("runs_ended", "Runs that ended", counted.runs.clone());
        registry.register_with_unit(
            "run_duration",
            "How long runs took from their start, those that never started left out",
            Unit::Seconds,
            counted.run_durations.clone(),
        );
        registry.register("run_failures", "Runs that failed, by the code of their error", counted.failures.clone());
        registry.register("logins_ended", "Logins that ended", counted.logins.clone());
        registry.register(
            "login_failures",
            "Logins that failed, by the code of their error",
            counted.login_failures.clone(),
        );
        registry.register_with_unit(
            "login_ready_duration",
            "How long it took from when a login was asked for until its desktop was ready",
            Unit::Seconds,
            counted.login_ready.clone(),
        );
        registry.register("run_events", "Events of runs stored", counted.events.clone());
        registry.register("pool_claims", "Runs and logins that looked for a warm sandbox", counted.claims.clone());
        registry.register(
            "egress_connections",
            "Connections that sandboxes asked for, counted when their run ends",
            counted.egress_connections.clone(),
        );
        registry.register_with_unit(
            "egress",
            "What passed between sandboxes and the network, counted when their run ends",
            Unit::Bytes,
            counted.egress_bytes.clone(),
        );
        Self(Arc::new(Counted { registry, ..counted }))
    }
}

impl Metrics {
    /// A request was answered. `route` is the path's template; none where no path is like it.
    pub fn request(&self, method: &Method, route: Option<&str>, status: StatusCode, took: Duration) {
        let method = match method.as_str() {
            "GET" => "GET",
            "HEAD" => "HEAD",
            "POST" => "POST",
            "PUT" => "PUT",
            "PATCH" => "PATCH",
            "DELETE" => "DELETE",
            "OPTIONS" => "OPTIONS",
            _another => "other",
        };
        let status = match status.as_u16() {
            ..200 => "1xx",
            200..300 => "2xx",
            300..400 => "3xx",
            400..500 => "4xx",
            500.. => "5xx",
        };
        let route = route.unwrap_or("other").to_owned();
        self.0.request_durations.get_or_create(&Route { method, route: route.clone() }).observe(took.as_secs_f64());
        self.0.requests.get_or_create(&Request { method, route, status }).inc();
    }

    /// Events of a run were stored.
    pub fn events(&self, stored: usize) {
        self.0.events.inc_by(stored as u64);
    }

    /// A run, or a login, looked for a warm sandbox of this kind.
    pub fn claim(&self, kind: Kind, result: Claimed) {
        let result = match result {
            Claimed::Hit => "hit",
            Claimed::Miss => "miss",
            Claimed::Lost => "lost",
        };
        self.0.claims.get_or_create(&Claim { kind: kind.as_str(), result }).inc();
    }

    /// A run ended.
    pub fn run_ended(&self, end: &End, ended: &Ended) {
        let provider = known(&ended.provider);
        let status = match end {
            End::Completed { .. } => "completed",
            End::Failed { error } => {
                self.0.failures.get_or_create(&Failed { provider, code: error.code.name() }).inc();
                "failed"
            }
            End::Cancelled => "cancelled",
        };
        let run = Over { provider, status };
        self.0.runs.get_or_create(&run).inc();
        if let Some(ms) = ended.took_ms {
            self.0.run_durations.get_or_create(&run).observe(ms.max(0) as f64 / 1000.0);
        }
    }

    /// The desktop of a login is ready.
    pub fn login_ready(&self, login: &Login) {
        if let Some(ms) = login.ready_after_ms() {
            let of = OfProvider { provider: known(&login.provider) };
            self.0.login_ready.get_or_create(&of).observe(ms as f64 / 1000.0);
        }
    }

    /// A login ended, in the state that it is in.
    pub fn login_ended(&self, login: &Login) {
        let provider = known(&login.provider);
        if let Some(error) = login.error.as_ref().filter(|_| login.status == login::Status::Failed) {
            self.0.login_failures.get_or_create(&Failed { provider, code: error.code.name() }).inc();
        }
        self.0.logins.get_or_create(&Over { provider, status: login.status.as_str() }).inc();
    }

    /// The way out of a sandbox was closed: what went by it, as this server saw it.
    pub fn egress(&self, network: &Network) {
        for host in &network.hosts {
            for (verdict, count) in [("allowed", host.connections), ("denied", host.denied), ("failed", host.failed)] {
                self.0.egress_connections.get_or_create(&Verdict { verdict }).inc_by(count);
            }
            for (direction, bytes) in [("up", host.bytes_up), ("down", host.bytes_down)] {
                self.0.egress_bytes.get_or_create(&Direction { direction }).inc_by(bytes);
            }
        }
    }

    /// All of it, and how things stand now.
    pub fn text(&self, now: &Now) -> String {
        let mut said = String::new();
        text::encode_registry(&mut said, &self.0.registry)
            .and_then(|()| text::encode_registry(&mut said, &now.registry()))
            .and_then(|()| text::encode_eof(&mut said))
            .expect("a string takes all that is written to it");
        said
    }
}

/// The provider of this name; rows may have others, of which there are any number.
fn known(provider: &str) -> &'static str {
    providers::by_name(provider).map_or("other", |provider| provider.about().name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{
        failure::{Code, Failure},
        login::Change,
    };

    #[test]
    fn labels_have_few_values_whatever_is_asked_for() {
        let metrics = Metrics::default();
        for n in 0..100 {
            let method = Method::from_bytes(format!("M{n}").as_bytes()).unwrap();
            metrics.request(&method, None, StatusCode::NOT_FOUND, Duration::from_millis(n));
        }
        let said = metrics.text(&Now::default());
        let requests = r#"polydev_http_requests_total{method="other",route="other",status="4xx"} 100"#;
        assert!(said.contains(requests), "{said}");
        assert!(said.ends_with("# EOF\n"));
    }

    #[test]
    fn a_run_is_counted_by_its_end() {
        let metrics = Metrics::default();
        let ended = |took_ms| Ended { seq: 9, provider: "claude".to_owned(), took_ms };
        metrics.run_ended(&End::Cancelled, &ended(None));
        metrics.run_ended(&End::Completed { text: String::new(), usage: None }, &ended(Some(4000)));
        metrics.run_ended(&End::Cancelled, &Ended { provider: "a\"b\n".to_owned(), ..ended(None) });
        let said = metrics.text(&Now::default());
        for line in [
            r#"polydev_runs_ended_total{provider="claude",status="cancelled"} 1"#,
            r#"polydev_runs_ended_total{provider="other",status="cancelled"} 1"#,
            r#"polydev_run_duration_seconds_bucket{le="2.5",provider="claude",status="completed"} 0"#,
            r#"polydev_run_duration_seconds_bucket{le="5.0",provider="claude",status="completed"} 1"#,
        ] {
            assert!(said.contains(line), "{line}: {said}");
        }
        assert!(
            !said.contains(r#"polydev_run_duration_seconds_count{provider="claude",status="cancelled"}"#),
            "{said}"
        );
    }

    #[test]
    fn a_login_is_counted_when_its_desktop_is_ready_and_when_it_is_over() {
        let metrics = Metrics::default();
        let asked_for = |provider: &str| Login::new("lgn_1".into(), "usr_1", provider, "claude", 600_000, 1000).0;
        let then = |login: &Login, change: Change, at| login.step(&change, at).unwrap().0;
        let login = asked_for("claude");
        metrics.login_ready(&login);
        let login = then(&login, Change::Take { sandbox: "sbx_1".into() }, 2000);
        let login = then(&login, Change::Ready { at: 8000 }, 8100);
        metrics.login_ready(&login);
        metrics.login_ended(&then(&login, Change::Cancel, 9000));
        metrics.login_ended(&then(&login, Change::Fail(Failure::new(Code::ToolCrashed, "words")), 9000));
        metrics.login_ended(&then(&asked_for("a\"b\n"), Change::Cancel, 9000));
        let said = metrics.text(&Now::default());
        for line in [
            r#"polydev_logins_ended_total{provider="claude",status="cancelled"} 1"#,
            r#"polydev_logins_ended_total{provider="claude",status="failed"} 1"#,
            r#"polydev_logins_ended_total{provider="other",status="cancelled"} 1"#,
            r#"polydev_login_failures_total{provider="claude",code="tool_crashed"} 1"#,
            r#"polydev_login_ready_duration_seconds_count{provider="claude"} 1"#,
            r#"polydev_login_ready_duration_seconds_sum{provider="claude"} 7.0"#,
            r#"polydev_login_ready_duration_seconds_bucket{le="5.0",provider="claude"} 0"#,
            r#"polydev_login_ready_duration_seconds_bucket{le="10.0",provider="claude"} 1"#,
        ] {
            assert!(said.contains(line), "{line}: {said}");
        }
    }
}
