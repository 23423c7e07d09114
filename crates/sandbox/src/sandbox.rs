//! One sandbox and its life: the effects that [`machine`](crate::machine) asks for.

use crate::{
    driver::{Driver, DriverError, SandboxId, SandboxSpec},
    guest::{Guest, GuestError},
    machine::{Effect, Event, State, step},
};
use polydev_proto::Hello;
use std::{sync::Arc, time::Duration};

/// How long a sandbox may take to be made, and its agent to answer then.
const WITHIN: Duration = Duration::from_secs(30);
/// How long the agent of one that was made earlier may take to answer. It takes a fraction of a
/// millisecond; somebody waits, and another sandbox is made sooner than this.
const STILL_THERE_WITHIN: Duration = Duration::from_secs(1);
/// How much of a console is kept, bytes: the end of it.
pub const CONSOLE_TAIL: usize = 64 * 1024;
/// How much of it an error repeats, bytes.
const WORDS: usize = 4096;

/// A sandbox, owned by the one who stops it.
///
/// Whatever happens to the future of [`Sandbox::start`], [`Sandbox::stop`]
/// leaves nothing of it; dropping it leaves it to a reconciler.
#[derive(Debug)]
pub struct Sandbox {
    driver: Arc<dyn Driver>,
    guest: Guest,
    state: State,
    hello: Option<Hello>,
    broke: Option<StartFault>,
    console: Vec<u8>,
}

/// Why a sandbox did not start. Nothing of it is left, unless the server's log says so.
#[derive(Debug, thiserror::Error)]
#[error("sandbox `{id}` did not start: {fault}{}", told(.console))]
pub struct StartError {
    /// Which.
    pub id: SandboxId,
    /// At what, and why.
    pub fault: StartFault,
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
    #[error("asking its agent: {0}")]
    Hello(GuestError),
    /// It took too long.
    #[error("it took longer than {} s", WITHIN.as_secs())]
    Timeout,
    /// The driver could not stop it where it is, or let it go on.
    #[error("putting it to sleep or waking it: {0}")]
    Sleep(DriverError),
    /// It was made earlier, and its agent no longer answers in time.
    #[error("its agent did not answer within {} s", STILL_THERE_WITHIN.as_secs())]
    Silent,
}

impl Sandbox {
    /// A sandbox that is wanted, and of which nothing is there yet.
    pub fn new(driver: Arc<dyn Driver>, id: SandboxId) -> Self {
        let guest = Guest::new(driver.clone(), id);
        Self { driver, guest, state: State::Requested, hello: None, broke: None, console: Vec::new() }
    }

    /// A sandbox that an earlier server has made, and that was found running.
    pub fn found(driver: Arc<dyn Driver>, id: SandboxId) -> Self {
        Self { state: State::Ready, ..Self::new(driver, id) }
    }

    /// Which.
    pub fn id(&self) -> &SandboxId {
        self.guest.id()
    }

    /// Where it stands.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Its agent, while it is ready.
    pub fn guest(&self) -> Option<&Guest> {
        (self.state == State::Ready).then_some(&self.guest)
    }

    /// What its agent said of itself when it was last asked here.
    pub fn hello(&self) -> Option<&Hello> {
        self.hello.as_ref()
    }

    /// Makes it, and waits until its agent answers, and how. On an error it is destroyed.
    pub async fn start(&mut self, spec: &SandboxSpec) -> Result<(Guest, Hello), StartError> {
        self.happen(Event::Make, Some(spec)).await;
        match (self.guest(), self.hello()) {
            (Some(guest), Some(hello)) => Ok((guest.clone(), hello.clone())),
            (_, _) => Err(self.start_error()),
        }
    }

    /// Whether the agent of one that was started earlier still answers. If it does not, it is destroyed.
    pub async fn still_there(&mut self) -> Result<(), StartError> {
        let fault = match self.answers().await {
            Ok(hello) => {
                self.hello = Some(hello);
                return Ok(());
            }
            Err(fault) => fault,
        };
        let broke = Event::Broke(fault.to_string());
        self.broke = Some(fault);
        self.happen(broke, None).await;
        Err(self.start_error())
    }

    /// Stops it where it is: it takes no processor time, and is asked nothing until it is woken. On an error it is
    /// destroyed.
    pub async fn sleep(&mut self) -> Result<(), StartError> {
        self.happen(Event::Sleep, None).await;
        if self.state == State::Asleep { Ok(()) } else { Err(self.start_error()) }
    }

    /// Lets it go on, and waits until its agent answers, which takes milliseconds. If it does not, it is destroyed.
    pub async fn wake(&mut self) -> Result<(), StartError> {
        self.happen(Event::Wake, None).await;
        if self.state == State::Ready { Ok(()) } else { Err(self.start_error()) }
    }

    /// Destroys it, wherever it stands. If that does not work, it goes on standing, and may be stopped again.
    pub async fn stop(&mut self) {
        self.happen(Event::Stop, None).await;
    }

    /// What its agent says, of which an answer is due at once.
    async fn answers(&self) -> Result<Hello, StartFault> {
        match tokio::time::timeout(STILL_THERE_WITHIN, self.guest.hello()).await {
            Ok(hello) => hello.map_err(StartFault::Hello),
            Err(_elapsed) => Err(StartFault::Silent),
        }
    }

    fn start_error(&mut self) -> StartError {
        StartError {
            id: self.id().clone(),
            fault: self.broke.take().unwrap_or(StartFault::Create(DriverError::Gone(self.id().clone()))),
            console: String::from_utf8_lossy(&self.console[self.console.len().saturating_sub(WORDS)..])
                .trim()
                .to_owned(),
        }
    }

    /// The last that its first process printed, at most [`CONSOLE_TAIL`]: as it was kept when it broke, or as it is
    /// now. Nothing, once it was destroyed without having broken.
    pub async fn console(&self) -> Vec<u8> {
        if !self.console.is_empty() {
            return self.console.clone();
        }
        self.driver.console(self.id(), CONSOLE_TAIL).await.unwrap_or_default()
    }

    /// Lets an event happen, does what follows, and lets happen what comes of that.
    async fn happen(&mut self, event: Event, spec: Option<&SandboxSpec>) {
        let mut next = Some(event);
        while let Some(event) = next.take() {
            match step(self.state.clone(), event) {
                Ok((state, effects)) => {
                    self.state = state;
                    for effect in effects {
                        next = self.effect(effect, spec).await.or(next);
                    }
                }
                Err(denied) => tracing::error!(sandbox = %self.id(), %denied, "this should not happen"),
            }
        }
    }

    async fn effect(&mut self, effect: Effect, spec: Option<&SandboxSpec>) -> Option<Event> {
        let id = self.guest.id();
        let done = match effect {
            Effect::Create => {
                let create = self.driver.create(id, spec?);
                let made = tokio::time::timeout(WITHIN, create).await;
                made.map_err(|_| StartFault::Timeout)
                    .and_then(|made| made.map_err(StartFault::Create))
                    .map(|()| Event::Made)
            }
            Effect::Hello => {
                let hello = tokio::time::timeout(WITHIN, self.guest.hello()).await;
                let hello = hello.map_err(|_| StartFault::Timeout).and_then(|hello| hello.map_err(StartFault::Hello));
                hello.map(|hello| {
                    self.hello = Some(hello);
                    Event::Answered
                })
            }
            Effect::Freeze => match self.driver.freeze(id).await {
                Ok(()) => return None,
                Err(error) => Err(StartFault::Sleep(error)),
            },
            Effect::Wake => match self.driver.thaw(id).await {
                Ok(()) => self.answers().await.map(|hello| {
                    self.hello = Some(hello);
                    Event::Answered
                }),
                Err(error) => Err(StartFault::Sleep(error)),
            },
            Effect::KeepConsole => {
                self.console = self.driver.console(id, CONSOLE_TAIL).await.unwrap_or_default();
                return None;
            }
            Effect::Destroy => {
                return match self.driver.destroy(id).await {
                    Ok(()) => Some(Event::Destroyed),
                    Err(error) => {
                        tracing::error!(sandbox = %id, %error, "a sandbox could not be destroyed");
                        None
                    }
                };
            }
        };
        Some(done.unwrap_or_else(|fault| {
            let reason = fault.to_string();
            self.broke = Some(fault);
            Event::Broke(reason)
        }))
    }
}

fn told(console: &str) -> String {
    if console.is_empty() { String::new() } else { format!("; its console ends: {console}") }
}
