//! The server looks after itself: what on this host is not as it should be.
//!
//! ```text
//!   /proc, nft, files, driver, database ─► look() ─► findings ─┬─► `polydev doctor`, GET /status, metrics
//!        now and every hour                                    └─► those that are new, or gone: log and audit
//! ```
//!
//! It tells, and changes nothing: what to do about a finding is its hint. Each check is a file, whose judgement is a
//! pure function of what was seen.

mod disk;
mod firewall;
mod listeners;
mod sandboxes;
mod secrets;

use super::Runs;
use crate::{
    cli::output::chain,
    config::Config,
    domain::audit::{self, Action, Actor, Deed},
    store::Store,
};
use polydev_sandbox::{Driver, host::rights::Rights};
use serde::{Deserialize, Serialize};
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::time::Duration;
use tokio_util::sync::CancellationToken;
use utoipa::ToSchema;

/// What the checks need of root's rights beside what drivers do: the kernel shows the firewall's rules to nobody else.
pub const NEEDS: Rights = Rights::NET_ADMIN;

/// How often the server looks.
const EVERY: Duration = Duration::from_secs(60 * 60);

/// The most findings of one check that are told: what is wrong a thousand times is said as well by some.
const FINDINGS_MAX: usize = 20;

/// Something that is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Check {
    /// What listens beyond this machine.
    Listeners,
    /// Whether the firewall lets everything in.
    Firewall,
    /// Whether others may read what is secret, or replace what is trusted.
    Secrets,
    /// Sandboxes and processes that nobody knows.
    Sandboxes,
    /// How full the disk is.
    Disk,
}

impl Check {
    /// All of them, in the order in which they are told.
    pub const ALL: [Self; 5] = [Self::Listeners, Self::Firewall, Self::Secrets, Self::Sandboxes, Self::Disk];

    /// As it stands in JSON, metrics and the record.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Listeners => "listeners",
            Self::Firewall => "firewall",
            Self::Secrets => "secrets",
            Self::Sandboxes => "sandboxes",
            Self::Disk => "disk",
        }
    }
}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// It may be meant; it should be known.
    Warning,
    /// Something that is promised does not hold.
    Error,
}

impl Severity {
    /// Both of them.
    pub const ALL: [Self; 2] = [Self::Warning, Self::Error];

    /// As it stands in JSON and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// Something that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What it is about: by this, one look's finding is known as another's.
    pub subject: String,
    /// How bad it is.
    pub severity: Severity,
    /// What was found, about what.
    pub text: String,
    /// What to do about it.
    pub hint: String,
}

/// What became of one check: its findings, or why it could not be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Looked {
    /// Which.
    pub check: Check,
    /// What was found, the worst first.
    pub found: Result<Vec<Finding>, String>,
}

/// A check as it is told: one line where all is well or nothing can be told, else one for each finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CheckView {
    /// Which.
    pub name: Check,
    /// Whether all is well. Null: that cannot be told.
    pub ok: Option<bool>,
    /// How bad it is. Null where nothing was found.
    pub severity: Option<Severity>,
    /// What was found, or why nothing can be told.
    pub finding: Option<String>,
    /// What to do about it.
    pub hint: Option<String>,
}

impl Looked {
    /// As it is told.
    pub fn views(&self) -> Vec<CheckView> {
        let view = |ok, finding: Option<&Finding>| CheckView {
            name: self.check,
            ok,
            severity: finding.map(|it| it.severity),
            finding: finding.map(|it| it.text.clone()),
            hint: finding.map(|it| it.hint.clone()),
        };
        match &self.found {
            Err(why) => vec![CheckView { finding: Some(why.clone()), ..view(None, None) }],
            Ok(found) if found.is_empty() => vec![view(Some(true), None)],
            Ok(found) => found.iter().map(|finding| view(Some(false), Some(finding))).collect(),
        }
    }

    fn findings(&self) -> &[Finding] {
        self.found.as_deref().unwrap_or_default()
    }
}

/// What a look needs. Without a database there are no rows to compare with, and without a driver nothing to look at.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// The configuration.
    pub config: &'a Config,
    /// The database, where there is one.
    pub store: Option<&'a Store>,
    /// What makes sandboxes here, where anything can.
    pub driver: Option<&'a dyn Driver>,
}

/// Looks at everything.
pub async fn look(place: Place<'_>) -> Vec<Looked> {
    let mut all = Vec::new();
    for check in Check::ALL {
        let found = match check {
            Check::Listeners => listeners::look(place.config).await,
            Check::Firewall => firewall::look().await,
            Check::Secrets => secrets::look(place.config).await,
            Check::Sandboxes => sandboxes::look(place).await,
            Check::Disk => disk::look(place.config),
        };
        all.push(Looked { check, found: found.map(in_order) });
    }
    all
}

/// The worst first, and not too many.
fn in_order(mut found: Vec<Finding>) -> Vec<Finding> {
    found.sort_by(|a, b| b.severity.cmp(&a.severity).then_with(|| a.subject.cmp(&b.subject)));
    found.truncate(FINDINGS_MAX);
    found
}

/// What was found when the server last looked.
#[derive(Debug, Default)]
pub(super) struct Last(Mutex<Vec<Looked>>);

impl Last {
    fn get(&self) -> MutexGuard<'_, Vec<Looked>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Runs {
    /// What was found when the server last looked. Empty before it did.
    pub fn looked(&self) -> Vec<Looked> {
        self.0.found.get().clone()
    }

    /// Looks now and every hour, until cancelled.
    pub async fn look_after_itself_forever(&self, stop: CancellationToken) {
        let mut timer = tokio::time::interval(EVERY);
        let hourly = async {
            loop {
                timer.tick().await;
                self.look_after_itself().await;
            }
        };
        stop.run_until_cancelled(hourly).await;
    }

    /// Looks, and tells the log and the record of what has changed since the last time.
    async fn look_after_itself(&self) {
        let inner = &self.0;
        let place = Place { config: &inner.config, store: Some(&inner.store), driver: Some(&*inner.driver) };
        let now = look(place).await;
        let before = std::mem::replace(&mut *inner.found.get(), now.clone());
        for change in changes(&before, &now) {
            match &change {
                Change::Appeared(check, Finding { severity, text, hint, .. }) => {
                    tracing::warn!(check = check.as_str(), severity = severity.as_str(), hint, "{text}");
                }
                Change::Gone(check, finding) => {
                    tracing::info!(check = check.as_str(), "no longer so: {}", finding.text);
                }
                Change::Unknown(check, why) => tracing::info!(check = check.as_str(), "not looked at: {why}"),
            }
            if let Some(deed) = change.deed() {
                match audit::open(&inner.store, deed).await {
                    Ok(entry) => entry.done(&inner.store, None).await,
                    Err(error) => tracing::error!(error = chain(&error), "a finding is not on record"),
                }
            }
        }
    }
}

/// What is news.
#[derive(Debug, PartialEq, Eq)]
enum Change<'a> {
    Appeared(Check, &'a Finding),
    Gone(Check, &'a Finding),
    Unknown(Check, &'a str),
}

impl Change<'_> {
    /// Its entry in the record.
    fn deed(&self) -> Option<Deed> {
        let (action, check, finding) = match self {
            Self::Appeared(check, finding) => (Action::FindingAppeared, check, finding),
            Self::Gone(check, finding) => (Action::FindingGone, check, finding),
            Self::Unknown(..) => return None,
        };
        Some(Deed::new(Actor::SERVER, action).to(check.as_str()).how(&finding.text))
    }
}

/// What is there now and was not before, and the other way round. What could not be looked at is neither.
fn changes<'a>(before: &'a [Looked], now: &'a [Looked]) -> Vec<Change<'a>> {
    let mut changes = Vec::new();
    for looked in now {
        let check = looked.check;
        let earlier = before.iter().find(|it| it.check == check);
        if let Err(why) = &looked.found {
            if earlier.is_none_or(|earlier| earlier.found != looked.found) {
                changes.push(Change::Unknown(check, why));
            }
            continue;
        }
        let old = earlier.map(Looked::findings).unwrap_or_default();
        let missing = |from: &[Finding], finding: &&Finding| from.iter().all(|it| it.subject != finding.subject);
        let appeared = looked.findings().iter().filter(|finding| missing(old, finding));
        changes.extend(appeared.map(|finding| Change::Appeared(check, finding)));
        let gone = old.iter().filter(|finding| missing(looked.findings(), finding));
        changes.extend(gone.map(|finding| Change::Gone(check, finding)));
    }
    changes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(subject: &str, severity: Severity) -> Finding {
        let (text, hint) = (format!("{subject} is open"), "close it".to_owned());
        Finding { subject: subject.to_owned(), severity, text, hint }
    }

    fn looked(check: Check, subjects: &[&str]) -> Looked {
        Looked { check, found: Ok(subjects.iter().map(|it| finding(it, Severity::Warning)).collect()) }
    }

    #[test]
    fn only_what_has_changed_is_told() {
        let before = [looked(Check::Listeners, &["a", "b"]), looked(Check::Disk, &["disk"])];
        let mut now = [looked(Check::Listeners, &["b", "c"]), looked(Check::Disk, &["disk"])];
        // Other words for the same thing are no news.
        if let Ok(found) = &mut now[1].found {
            found[0].text = "7 bytes are free".to_owned();
        }
        let (old, new) = (before[0].findings(), now[0].findings());
        let expected = [Change::Appeared(Check::Listeners, &new[1]), Change::Gone(Check::Listeners, &old[0])];
        assert_eq!(changes(&before, &now), expected);
        assert_eq!(changes(&[], &before).len(), 3, "at the start everything is new");
        assert_eq!(changes(&now, &now), []);
    }

    #[test]
    fn what_cannot_be_looked_at_is_said_once_and_is_not_gone() {
        let known = [looked(Check::Firewall, &["firewall"])];
        let unknown = [Looked { check: Check::Firewall, found: Err("no `nft`".to_owned()) }];
        assert_eq!(changes(&known, &unknown), [Change::Unknown(Check::Firewall, "no `nft`")]);
        assert_eq!(changes(&unknown, &unknown), []);
    }

    #[test]
    fn the_worst_comes_first_and_all_is_bounded() {
        let mut many: Vec<Finding> = (0..100).map(|n| finding(&format!("{n:03}"), Severity::Warning)).collect();
        many.push(finding("z", Severity::Error));
        let found = in_order(many);
        assert_eq!((found.len(), found[0].subject.as_str(), found[1].subject.as_str()), (FINDINGS_MAX, "z", "000"));
    }

    #[test]
    fn a_check_is_told_in_one_line_unless_there_are_findings() {
        let view = |looked: Looked| serde_json::to_value(looked.views()).unwrap();
        assert_eq!(
            view(looked(Check::Disk, &[])),
            serde_json::json!([{ "name": "disk", "ok": true, "severity": null, "finding": null, "hint": null }])
        );
        let unknown = view(Looked { check: Check::Firewall, found: Err("no `nft`".to_owned()) });
        assert_eq!((&unknown[0]["ok"], &unknown[0]["finding"]), (&serde_json::Value::Null, &"no `nft`".into()));
        let two = view(looked(Check::Listeners, &["a", "b"]));
        assert_eq!(two[1]["finding"], "b is open");
        assert_eq!((&two[0]["ok"], &two[0]["severity"]), (&false.into(), &"warning".into()));
    }
}
