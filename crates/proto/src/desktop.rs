//! The desktop: what a host asks for. How far it is, the agent tells by [`crate::Stage`].

use crate::WatchRule;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A desktop to start: which programs, in which surroundings. The agent knows X, and none of them.
///
/// ```text
///   screen ─┐                       each says itself that it is up
///   bus ────┴► window_manager ─► terminal ─► background, panel, browser ─► `ready`
/// ```
/// Every program is a job named `desktop.` and its field here, whose last output can be read like any other's.
/// One that ends is started again; when the screen ends, the desktop has failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Desktop {
    /// The screen's size until a viewer asks for another.
    pub size: ScreenSize,
    /// The whole environment of every program. The agent adds `DISPLAY` and `DBUS_SESSION_BUS_ADDRESS`.
    pub env: BTreeMap<String, String>,
    /// Absolute path of the working folder.
    pub cwd: String,
    /// Absolute path of a folder for sockets, made with mode 0700 if it is not there.
    pub runtime_dir: String,
    /// TigerVNC's X server. `-displayfd`, `-geometry` and `-rfbunixpath` are added.
    pub screen: Vec<String>,
    /// The session bus. It prints its address as the first line of its standard output.
    pub bus: Vec<String>,
    /// The window manager.
    pub window_manager: Vec<String>,
    /// What opens a terminal. What runs in it is added: the agent itself, which becomes `shell`.
    pub terminal: Vec<String>,
    /// What the person talks to in the terminal.
    pub shell: Vec<String>,
    /// The bar with the windows.
    pub panel: Vec<String>,
    /// What lies behind all windows.
    pub background: Vec<String>,
    /// The browser. Its window stays below the terminal until somebody asks for a page.
    pub browser: Vec<String>,
    /// What opens a page in the browser that runs. The page's address is added.
    pub open: Vec<String>,
    /// The file that tells that the browser takes pages: it may have a window before, and lose a page that it is given
    /// then. Without it, and to an older agent, its window tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub takes_pages: Option<WatchRule>,
}

/// Pixels of a screen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScreenSize {
    /// From left to right.
    pub width: u16,
    /// From top to bottom.
    pub height: u16,
}
