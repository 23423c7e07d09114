//! How things stand when somebody asks.

use super::{PREFIX, Process};
use crate::{
    control::selfcheck::{Looked, Severity},
    domain::login,
    store::counts::Counts,
};
use polydev_sandbox::image::Kind;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{
        counter::Counter,
        family::Family,
        gauge::{Atomic, Gauge},
    },
    registry::{Registry, Unit},
};
use std::sync::atomic::{AtomicI64, AtomicU64};

/// What is looked up anew for each answer.
#[derive(Debug, Default)]
pub struct Now {
    /// What the database says.
    pub counts: Counts,
    /// How many warm sandboxes of each kind wait.
    pub parked: Vec<(Kind, usize)>,
    /// How many follow runs, and how many are told what changes.
    pub streams: (usize, usize),
    /// What the server found when it last looked after itself.
    pub looked: Vec<Looked>,
    /// This process.
    pub process: Process,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Status {
    status: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct State {
    state: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Connection {
    provider: String,
    status: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Parked {
    kind: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Of {
    of: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Finding {
    check: &'static str,
    severity: &'static str,
}

impl Now {
    pub(super) fn registry(&self) -> Registry {
        let mut registry = Registry::default();
        self.register(registry.sub_registry_with_prefix(PREFIX));
        register_process(&self.process, registry.sub_registry_with_prefix("process"));
        registry
    }

    fn register(&self, registry: &mut Registry) {
        let runs = Family::<Status, Gauge>::default();
        for (status, count) in [("queued", self.counts.runs.queued), ("running", self.counts.runs.running)] {
            runs.get_or_create(&Status { status: status.to_owned() }).set(count);
        }
        registry.register("runs", "Runs that are not over", runs);

        let logins = Family::<Status, Gauge>::default();
        for status in login::Status::ALL.into_iter().filter(|status| !status.is_over()) {
            let count = self.counts.logins.iter().find(|(of, _)| *of == status).map_or(0, |(_, count)| *count);
            logins.get_or_create(&Status { status: status.as_str().to_owned() }).set(count);
        }
        registry.register("logins", "Logins that are not over", logins);

        let sandboxes = Family::<State, Gauge>::default();
        for (state, count) in &self.counts.sandboxes {
            sandboxes.get_or_create(&State { state: state.as_str().to_owned() }).set(*count);
        }
        registry.register("sandboxes", "Sandboxes that stand", sandboxes);

        let connections = Family::<Connection, Gauge>::default();
        for (provider, status, count) in &self.counts.connections {
            connections.get_or_create(&Connection { provider: provider.clone(), status: status.clone() }).set(*count);
        }
        registry.register("connections", "People's connections to providers", connections);

        let parked = Family::<Parked, Gauge>::default();
        for (kind, count) in &self.parked {
            parked.get_or_create(&Parked { kind: kind.as_str() }).set(*count as i64);
        }
        registry.register("pool_parked", "Warm sandboxes that wait for a run or a login", parked);

        let streams = Family::<Of, Gauge>::default();
        streams.get_or_create(&Of { of: "run" }).set(self.streams.0 as i64);
        streams.get_or_create(&Of { of: "changes" }).set(self.streams.1 as i64);
        registry.register("streams", "Readers that wait for what comes next", streams);

        // A check that could not be made has no value: nothing is known is not nothing was found.
        let findings = Family::<Finding, Gauge>::default();
        for looked in &self.looked {
            let Ok(found) = &looked.found else { continue };
            for severity in Severity::ALL {
                let count = found.iter().filter(|finding| finding.severity == severity).count();
                let of = Finding { check: looked.check.as_str(), severity: severity.as_str() };
                findings.get_or_create(&of).set(count as i64);
            }
        }
        registry.register("findings", "What is not as it should be on this host", findings);
    }
}

/// The names that client libraries of all languages have for it
/// (<https://prometheus.io/docs/instrumenting/writing_clientlibs/#process-metrics>).
fn register_process(process: &Process, registry: &mut Registry) {
    let cpu = Counter::<f64, AtomicU64>::default();
    cpu.inc_by(process.cpu_seconds);
    registry.register_with_unit("cpu", "Processor time, in user and in kernel mode", Unit::Seconds, cpu);
    let memory = gauge(process.memory_bytes);
    registry.register_with_unit("resident_memory", "Memory that is in use", Unit::Bytes, memory);
    registry.register("open_fds", "Open files", gauge(process.open_files));
    registry.register("max_fds", "The most open files that are allowed", gauge(process.open_files_max));
    registry.register("threads", "Threads", gauge(process.threads));
    let started = Gauge::<f64, AtomicU64>::default();
    Atomic::set(started.inner(), process.started_at_ms as f64 / 1000.0);
    registry.register_with_unit("start_time", "When it was started, since 1970", Unit::Seconds, started);
}

fn gauge(value: impl TryInto<i64>) -> Gauge<i64, AtomicI64> {
    let gauge = Gauge::default();
    gauge.set(value.try_into().unwrap_or(i64::MAX));
    gauge
}
