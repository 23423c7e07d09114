//! The desktop of image `desktop`: which programs it is made of, and how they are started.
//!
//! The agent starts them, in their order, and keeps them up; it knows X, and none of them. What it tells is
//! [`Guest::ready`], what it takes afterwards is [`Guest::greet`] and [`Guest::vnc`].
//!
//! ```text
//!   start ─► ready() … Stage::READY ─► greet("type …") ─► vnc(), as often as a viewer comes
//!        └─► settled(): made ahead, to sleep until somebody comes
//! ```

use crate::{
    guest::{Guest, GuestError},
    image::{HOME, USER},
};
use polydev_proto::{Desktop, Expected, Predicate, ScreenSize, Stage, WatchRule};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::Path,
};

/// The screen until a viewer asks for another size.
pub const SIZE: ScreenSize = ScreenSize { width: 1920, height: 1080 };

/// Where the agent keeps the desktop's sockets.
const RUNTIME_DIR: &str = "/tmp/runtime";

/// Where Firefox looks for the certificates that its policies name.
const CERTIFICATES: &str = ".mozilla/certificates";

/// Where Firefox writes down how far it has come (its `CrashMonitor`).
const CHECKPOINTS: &str = ".mozilla/firefox/polydev/sessionCheckpoints.json";

/// For how long Firefox has written nothing when it has settled: it may want the keys until then, which the agent does
/// not leave to it for 3 s after its window has come, and does at its start what can wait.
const SETTLED_MS: u64 = 3000;

/// The most stages that a desktop may have; it has nine.
const STAGES_MAX: usize = 64;

/// How many certificates Firefox's policies name: `polydev-01.pem` and so on.
const CERTIFICATES_MAX: usize = 32;

/// X with VNC on a socket, and nowhere else. GLX would load what draws on graphics cards, for nothing.
/// The agent adds its place and its size.
#[rustfmt::skip]
pub const SCREEN: &[&str] = &[
    "Xtigervnc", "-depth", "24", "-SecurityTypes", "None", "-rfbport", "-1", "-rfbunixmode", "0600",
    "-AcceptSetDesktopSize=1", "-AlwaysShared", "-nolisten", "tcp", "-extension", "GLX", "-extension", "DRI3",
    "-noreset", "-br",
];

const ENV: &[(&str, &str)] = &[
    ("BROWSER", "/usr/local/bin/polydev-browser"),
    // No graphics card, nobody who reads the screen aloud, no settings that outlive the sandbox.
    ("GDK_BACKEND", "x11"),
    ("GDK_GL", "disable"),
    ("GSETTINGS_BACKEND", "memory"),
    ("GTK_A11Y", "none"),
    ("GTK_OVERLAY_SCROLLING", "0"),
    ("LIBGL_ALWAYS_SOFTWARE", "1"),
    ("MOZ_CRASHREPORTER_DISABLE", "1"),
    // With it Firefox takes the address of its settings' server from its settings, which name none.
    ("MOZ_REMOTE_SETTINGS_DEVTOOLS", "1"),
    ("NO_AT_BRIDGE", "1"),
    ("SESSION_MANAGER", ""),
    ("SHELL", "/bin/bash"),
    ("USER", USER),
    ("XDG_CONFIG_DIRS", "/etc/xdg"),
    ("XDG_DATA_DIRS", "/usr/local/share:/usr/share"),
];

/// Why a desktop was not started.
#[derive(Debug, thiserror::Error)]
pub enum DesktopError {
    /// The sandbox does not do as it is asked.
    #[error(transparent)]
    Guest(#[from] GuestError),
    /// It does not come up.
    #[error("the desktop has failed: {0}")]
    Failed(String),
    /// The extra certificates cannot be read.
    #[error("the extra certificates: {0}")]
    Certificates(#[from] io::Error),
}

/// Has the agent of a sandbox of image `desktop` start its desktop, in this environment beside what a desktop needs.
/// Firefox trusts the certificates of `ca_file`, a PEM file of the host, too.
///
/// # Errors
/// A sandbox that does not answer or has a desktop already, a file that cannot be read. How the desktop gets on, and
/// that it fails, [`Guest::ready`] tells.
pub async fn start(
    guest: &Guest,
    size: ScreenSize,
    env: BTreeMap<String, String>,
    ca_file: Option<&Path>,
) -> Result<(), DesktopError> {
    if let Some(file) = ca_file {
        let pem = fs::read_to_string(file)?;
        let certificates: Vec<&str> = certificates(&pem).collect();
        if certificates.len() > CERTIFICATES_MAX {
            tracing::warn!(file = %file.display(), "Firefox trusts the first {CERTIFICATES_MAX} certificates alone");
        }
        for (n, certificate) in certificates.iter().take(CERTIFICATES_MAX).enumerate() {
            let path = format!("{HOME}/{CERTIFICATES}/polydev-{:02}.pem", n + 1);
            guest.write_file(&path, 0o600, certificate.as_bytes()).await?;
        }
    }
    Ok(guest.desktop(desktop(size, env)).await?)
}

/// What the agent is asked for.
fn desktop(size: ScreenSize, env: BTreeMap<String, String>) -> Desktop {
    let argv = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let mut all: BTreeMap<String, String> =
        ENV.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    all.extend(env);
    Desktop {
        size,
        env: all,
        cwd: HOME.to_owned(),
        runtime_dir: RUNTIME_DIR.to_owned(),
        screen: argv(SCREEN),
        bus: argv(&["dbus-daemon", "--session", "--nofork", "--nopidfile", "--nosyslog"]),
        window_manager: argv(&["xfwm4", "--compositor=off", "--vblank=off"]),
        terminal: argv(&["xfce4-terminal", "--disable-server", "--maximize", "--hide-menubar", "-x"]),
        shell: argv(&["/bin/bash"]),
        panel: argv(&["xfce4-panel", "--disable-wm-check"]),
        background: argv(&["xfdesktop", "--disable-wm-check"]),
        browser: argv(&["firefox-esr"]),
        open: argv(&["firefox-esr", "--new-tab"]),
        takes_pages: Some(takes_pages(0)),
    }
}

/// Firefox has written down that it takes pages, and nothing more for so many milliseconds.
fn takes_pages(quiet_ms: u64) -> WatchRule {
    WatchRule {
        rule: "takes_pages".to_owned(),
        path: format!("{HOME}/{CHECKPOINTS}"),
        require: vec![Predicate {
            pointer: "/sessionstore-windows-restored".to_owned(),
            is: Expected::Equal(true.into()),
        }],
        quiet_ms,
    }
}

/// Waits until a desktop is up with all that belongs to it, and its Firefox has settled behind the terminal: it may be
/// put to sleep then, and nothing of it has a deadline. The caller has one.
///
/// # Errors
/// A sandbox that does not answer, a desktop that has failed.
pub async fn settled(guest: &Guest) -> Result<(), DesktopError> {
    let mut stages = guest.ready().await?;
    let (mut waiting, mut is_ready) = (BTreeSet::new(), false);
    while !is_ready || !waiting.is_empty() {
        let Some(stage) = stages.next().await? else {
            return Err(DesktopError::Failed("its agent is done".to_owned()));
        };
        if let Some(why) = stage.failed {
            return Err(DesktopError::Failed(why));
        }
        is_ready |= stage.done && stage.name == Stage::READY;
        match stage.done {
            true => drop(waiting.remove(&stage.name)),
            false if waiting.len() < STAGES_MAX => drop(waiting.insert(stage.name)),
            false => return Err(DesktopError::Failed("it consists of too much".to_owned())),
        }
    }
    drop(stages);
    guest.watch(vec![takes_pages(SETTLED_MS)]).await?.next().await?;
    Ok(())
}

/// Each certificate of a PEM file, without what stands around them: Firefox takes one a file.
fn certificates(pem: &str) -> impl Iterator<Item = &str> {
    const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
    const END: &str = "-----END CERTIFICATE-----";
    pem.match_indices(BEGIN).filter_map(|(at, _)| {
        let rest = &pem[at..];
        Some(&rest[..rest.find(END)? + END.len()])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificates_are_told_apart() {
        let one = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----";
        let two = "-----BEGIN CERTIFICATE-----\nMIIC\n-----END CERTIFICATE-----";
        let pem = format!("# the company's\n{one}\nand\n{two}\n-----BEGIN CERTIFICATE-----\ncut off");
        assert_eq!(certificates(&pem).collect::<Vec<_>>(), [one, two]);
        assert_eq!(certificates("nothing").count(), 0);
    }
}
