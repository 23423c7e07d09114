//! Sign-in pages, with the providers' real tools and with a browser of our own: one file a provider.

mod browser;
mod claude;
mod codex;
mod computer;
mod gemini;
mod pages;

use browser::{Browser, Page};
use computer::Computer;
use polydev_standin::Standin;
use std::time::Duration;

/// How long a tool may take for one step. None takes a tenth of it.
const DEADLINE: Duration = Duration::from_secs(120);

/// A stand-in, a browser that reaches it, and a computer with the tools; `None` where there cannot be one.
async fn start() -> Option<(Standin, Browser, Computer)> {
    let (standin, _) = crate::start().await;
    let computer = Computer::of(&standin)?;
    let browser = Browser::of(&standin);
    Some((standin, browser, computer))
}
