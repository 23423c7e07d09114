//! What is kept of a sandbox when it goes: what it printed, and what it reached.

use super::{Inner, Runs, chain, network::Seen, run::Said};
use crate::{
    domain::sandbox::Network,
    store::{Store, StoreError},
};
use polydev_sandbox::{CONSOLE_TAIL, DriverError, Sandbox, SandboxId};

/// What stands between the console and the tool's standard error.
const STDERR_HEADING: &str = "--- standard error of the tool ---\n";

impl Runs {
    /// The end of what a sandbox has printed so far; nothing when nothing of it is left.
    pub async fn console(&self, id: &SandboxId) -> Result<Vec<u8>, DriverError> {
        self.0.driver.console(id, CONSOLE_TAIL).await
    }
}

/// Keeps what a sandbox of this task printed, the tool's last words, and what it reached. To be called
/// before it is stopped: its console goes with it.
pub(super) async fn keep(inner: &Inner, sandbox: &Sandbox, said: Option<&Said>) {
    let mut network = said.and_then(|said| said.seen.as_ref()).map(Seen::now);
    let mut console = joined(sandbox.console().await, said.map_or(&[], |said| &said.stderr));
    if let Some(secrets) = said.and_then(|said| said.secrets.as_ref()) {
        console = secrets.bytes(&console).into_owned();
        network = network.map(|network| network.shown_by(|name| secrets.text(name).into_owned()));
    }
    store(&inner.store, sandbox.id(), console, network.as_ref()).await;
}

/// Keeps what a sandbox printed that nobody works on any more.
pub(super) async fn keep_of_nobody(inner: &Inner, id: &SandboxId) {
    match inner.driver.console(id, CONSOLE_TAIL).await {
        Ok(console) => store(&inner.store, id, console, None).await,
        Err(error) => tracing::warn!(sandbox = %id, %error, "a console could not be read, and is lost"),
    }
}

/// A sandbox goes all the same when its console cannot be kept.
async fn store(store: &Store, id: &SandboxId, console: Vec<u8>, network: Option<&Network>) {
    let kept: Result<(), StoreError> = store.keep_console(id.as_str(), &console, network).await;
    if let Err(error) = kept {
        tracing::warn!(sandbox = %id, error = chain(&error), "a console could not be kept");
    }
}

fn joined(mut console: Vec<u8>, stderr: &[u8]) -> Vec<u8> {
    if !stderr.is_empty() {
        if !console.is_empty() && !console.ends_with(b"\n") {
            console.push(b'\n');
        }
        console.extend_from_slice(STDERR_HEADING.as_bytes());
        console.extend_from_slice(stderr);
    }
    console
}

#[cfg(test)]
mod tests {
    use super::joined;

    #[test]
    fn the_tool_s_words_come_under_a_heading() {
        let text = |console: &[u8], stderr: &[u8]| String::from_utf8(joined(console.to_vec(), stderr)).unwrap();
        assert_eq!(text(b"agent: up", b"oh\n"), "agent: up\n--- standard error of the tool ---\noh\n");
        assert_eq!(text(b"", b"oh"), "--- standard error of the tool ---\noh");
        assert_eq!(text(b"agent: up\n", b""), "agent: up\n");
    }
}
