//! From nothing to an agent that answers.

use crate::{
    driver::{Driver, DriverError, SandboxId, SandboxSpec},
    guest::{Guest, GuestError},
};
use std::{sync::Arc, time::Duration};

/// How long a sandbox may take until its agent answers.
const WITHIN: Duration = Duration::from_secs(30);
/// How much of the console an error carries.
const CONSOLE_TAIL: usize = 4096;

/// Why a sandbox did not start. It has been destroyed.
#[derive(Debug, thiserror::Error)]
#[error("sandbox `{id}` did not start: {reason}{}", told(.console))]
pub struct StartError {
    /// Which.
    pub id: SandboxId,
    /// At what, and why.
    #[source]
    pub reason: StartFault,
    /// The last that its first process printed.
    pub console: String,
}

/// At what a sandbox did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartFault {
    /// The driver could not make it.
    #[error("making it: {0}")]
    Create(DriverError),
    /// Its agent does not answer as one.
    #[error("waiting for its agent: {0}")]
    Hello(GuestError),
    /// It took too long.
    #[error("it took longer than {} s", WITHIN.as_secs())]
    Timeout,
}

/// Makes a sandbox and waits until its agent answers. On an error nothing of it is left.
pub async fn start(driver: &Arc<dyn Driver>, id: &SandboxId, spec: &SandboxSpec) -> Result<Guest, StartError> {
    let guest = Guest::new(driver.clone(), id.clone());
    let started = tokio::time::timeout(WITHIN, async {
        driver.create(id, spec).await.map_err(StartFault::Create)?;
        guest.hello().await.map_err(StartFault::Hello)
    });
    let reason = match started.await {
        Ok(Ok(_)) => return Ok(guest),
        // Another's sandbox is not ours to destroy.
        Ok(Err(StartFault::Create(error @ DriverError::Exists(_)))) => {
            return Err(StartError { id: id.clone(), reason: StartFault::Create(error), console: String::new() });
        }
        Ok(Err(fault)) => fault,
        Err(_) => StartFault::Timeout,
    };
    let console = driver.console(id, CONSOLE_TAIL).await.unwrap_or_default();
    if let Err(error) = driver.destroy(id).await {
        tracing::error!(sandbox = %id, %error, "a sandbox that did not start could not be destroyed");
    }
    Err(StartError { id: id.clone(), reason, console: String::from_utf8_lossy(&console).trim().to_owned() })
}

fn told(console: &str) -> String {
    if console.is_empty() { String::new() } else { format!("; its console ends: {console}") }
}
