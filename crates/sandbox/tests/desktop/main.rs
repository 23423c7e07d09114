//! The desktop of the real image, in real sandboxes: seen by a viewer, and asked of X itself.
#![expect(clippy::unwrap_used, reason = "a test fails where it stands")]
#![expect(clippy::print_stdout, reason = "it tells what it measured")]

mod rfb;
mod site;
mod support;
mod x;

use anyhow::{Result, ensure};
use polydev_sandbox::{
    desktop,
    guest::GuestError,
    proto::{ErrorCode, ScreenSize},
};
use rfb::{CONTROL, RETURN, SHIFT};
use site::Site;
use std::time::Duration;
use support::{Desk, PARTS, SHOTS, Wanted};
use tokio::time::interval;
use x::Shown;

/// Where the prompt is, and nothing else: the upper left of the terminal, below the panel and its title.
const PROMPT: (std::ops::Range<usize>, std::ops::Range<usize>) = (0..400, 60..135);

/// How many keys are typed on, one each 10 ms, once Firefox is there: for longer than it may want them for itself.
const TYPED_ON: u32 = 400;

fn bright([r, g, b]: [u8; 3]) -> bool {
    r > 150 && g > 150 && b > 150
}

/// Whether a window with its title has all of the screen that the panel has not.
fn fills(window: &Shown, panel: &Shown, width: u16, height: u16) -> bool {
    let top = i32::from(window.y) - i32::from(panel.height);
    let end = i32::from(window.y) + i32::from(window.height);
    window.x == 0 && window.width == width && (16..40).contains(&top) && end == i32::from(height)
}

async fn looks_right(size: ScreenSize) -> Result<()> {
    let Some(desk) = Desk::start(Wanted { size, ..Wanted::default() }).await? else { return Ok(()) };
    desk.guest.greet("Type:  claude\n").await?;
    for part in PARTS {
        desk.until_done(part).await?;
    }
    let mut viewer = desk.viewer().await?;
    ensure!((viewer.width, viewer.height) == (size.width.into(), size.height.into()));
    viewer.until("the prompt", |seen| seen.count(PROMPT.0, PROMPT.1, bright) > 500).await?;

    // By X's own word.
    let told = desk.until("the terminal is in front", |told| {
        Ok(told.of("Xfce4-terminal")?.id == told.active && told.of("firefox-esr")?.visible)
    });
    let told = told.await?;
    let (terminal, firefox) = (told.of("Xfce4-terminal")?, told.of("firefox-esr")?);
    let (panel, background) = (told.of("Xfce4-panel")?, told.of("Xfdesktop")?);
    for state in ["MAXIMIZED_VERT", "MAXIMIZED_HORZ"] {
        ensure!(terminal.states.iter().any(|s| s == state), "{terminal:?}");
        ensure!(firefox.states.iter().any(|s| s == state), "{firefox:?}");
    }
    ensure!(told.height_of("firefox-esr")? < told.height_of("Xfce4-terminal")?, "{told:#?}");
    ensure!((panel.kind.as_str(), background.kind.as_str()) == ("DOCK", "DESKTOP"), "{told:#?}");
    // The panel keeps the first rows for itself, along the whole width, and the terminal has all below it.
    ensure!(panel.visible && panel.width == size.width && panel.strut.len() == 12, "{panel:?}");
    ensure!(panel.strut[..4] == [0, 0, panel.height.into(), 0] && (24..64).contains(&panel.height), "{panel:?}");
    ensure!(panel.strut[8..10] == [0, u32::from(size.width) - 1] && panel.y == 0, "{panel:?}");
    ensure!(fills(terminal, panel, size.width, size.height), "{terminal:?} {panel:?}");
    ensure!((background.width, background.height) == (size.width, size.height), "{background:?}");
    // And nothing else: no question, no first-run page, no complaint.
    ensure!(told.windows.len() == 4, "{told:#?}");

    // What the viewer has seen until now may be older than that.
    viewer.look().await?;
    viewer.keep(&SHOTS.join(format!("ready-{}x{}.png", size.width, size.height)))?;
    let dark = |[r, g, b]: [u8; 3]| r < 100 && g < 100 && b < 100;
    let words = viewer.count(0..500, 2..30, dark);
    let clock = viewer.count(viewer.width - 60..viewer.width, 2..30, dark);
    ensure!(words > 100 && clock > 20, "nothing stands in the panel: {words} {clock}");
    desk.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_terminal_is_in_front_of_firefox_at_every_size() -> Result<()> {
    for (width, height) in [(1280, 720), (1920, 1080), (2560, 1440)] {
        looks_right(ScreenSize { width, height }).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_typed_arrives_also_before_the_shell_is_there() -> Result<()> {
    let Some(desk) = Desk::start(Wanted::default()).await? else { return Ok(()) };
    desk.until_done("ready").await?;
    let mut viewer = desk.viewer().await?;
    viewer.type_in("echo early >/workspace/early\n").await?;
    desk.guest.greet("Type this.\n").await?;
    ensure!(desk.file("/workspace/early").await? == "early\n");
    viewer.type_in("ls -l /proc/self/fd | wc -l; tty >/workspace/tty; echo $BROWSER >/workspace/browser\n").await?;
    ensure!(desk.file("/workspace/tty").await?.starts_with("/dev/pts/"));
    ensure!(desk.file("/workspace/browser").await? == "/usr/local/bin/polydev-browser\n");

    // Another size, and back, with everything where it belongs.
    desk.until_done("browser").await?;
    for (width, height) in [(1280, 720), (390, 700), (1920, 1080)] {
        viewer.resize(width, height).await?;
        desk.until("the windows have followed", |told| {
            let (terminal, panel) = (told.of("Xfce4-terminal")?, told.of("Xfce4-panel")?);
            Ok(panel.width == width && fills(terminal, panel, width, height))
        })
        .await?;
    }
    // One that Firefox found too small, too.
    desk.until("Firefox has followed", |told| Ok(told.of("firefox-esr")?.width == 1920)).await?;
    desk.end().await
}

/// From the moment when the terminal has the keys until long after Firefox has come, they stay there.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_typed_while_firefox_comes_is_the_terminal_s() -> Result<()> {
    let Some(desk) = Desk::start(Wanted::default()).await? else { return Ok(()) };
    desk.guest.greet("").await?;
    desk.until_done("ready").await?;
    let mut viewer = desk.viewer().await?;
    viewer.type_in("cat >/workspace/typing; mv /workspace/typing /workspace/typed\n").await?;
    ensure!(!desk.stage_is_done("browser"), "Firefox is there before anything could be typed");
    let mut pace = interval(Duration::from_millis(10));
    let (mut typed, mut since) = (String::new(), 0);
    while since < TYPED_ON {
        pace.tick().await;
        // In lines, because a terminal keeps no more of one than 4 KiB.
        let key = if typed.len() % 64 == 63 { '\n' } else { char::from(b'a' + (typed.len() % 26) as u8) };
        viewer.type_in(&key.to_string()).await?;
        typed.push(key);
        since += u32::from(desk.stage_is_done("browser"));
    }
    viewer.type_in("\n").await?;
    viewer.press(&[CONTROL, u32::from('d')]).await?;
    let (arrived, typed) = (desk.file("/workspace/typed").await?, typed + "\n");
    ensure!(arrived == typed, "{} of {} keys: {arrived}", arrived.len(), typed.len());
    // What kept them there ends: whoever wants to see Firefox does.
    desk.until("two windows like others", |told| {
        let is = |class, state: &str| Ok::<_, anyhow::Error>(told.of(class)?.states.iter().any(|s| s == state));
        Ok(!is("Xfce4-terminal", "ABOVE")? && !is("firefox-esr", "DEMANDS_ATTENTION")?)
    })
    .await?;
    viewer.click(150, 16).await?;
    desk.until("Firefox is in front", |told| {
        Ok(told.of("firefox-esr")?.id == told.active
            && told.height_of("firefox-esr")? > told.height_of("Xfce4-terminal")?)
    })
    .await?;
    desk.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_clipboard_goes_both_ways() -> Result<()> {
    let Some(desk) = Desk::start(Wanted::default()).await? else { return Ok(()) };
    desk.until_done("ready").await?;
    desk.guest.greet("").await?;
    let mut viewer = desk.viewer().await?;
    viewer.until("the prompt", |seen| seen.count(PROMPT.0, PROMPT.1, bright) > 200).await?;
    viewer.copy("echo pasted >/workspace/pasted").await?;
    viewer.press(&[CONTROL, SHIFT, u32::from('V')]).await?;
    viewer.until("what was pasted", |seen| seen.count(190..600, 57..81, bright) > 500).await?;
    viewer.press(&[RETURN]).await?;
    ensure!(desk.file("/workspace/pasted").await? == "pasted\n");

    viewer.type_in("clear; echo copied; read\n").await?;
    viewer
        .until("one line", |seen| seen.count(0..100, 57..77, bright) > 50 && seen.count(100..400, 57..135, bright) == 0)
        .await?;
    // A double click selects a word, and that is copied.
    for _ in 0..2 {
        viewer.click(20, 67).await?;
    }
    while viewer.copied().await? != "copied" {}
    desk.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_ends_comes_back() -> Result<()> {
    let Some(desk) = Desk::start(Wanted::default()).await? else { return Ok(()) };
    desk.guest.greet("hello\n").await?;
    for part in PARTS {
        desk.until_done(part).await?;
    }
    for part in ["panel", "terminal", "browser", "window_manager", "bus"] {
        let before = desk.stage(part).started_at;
        desk.guest.signal(&format!("desktop.{part}"), 9, false).await?;
        desk.until_stage(part, |stage| stage.done && stage.started_at > before).await?;
        println!("{part} is back after {:?} ms", desk.stage(part).took_ms);
    }
    // A desktop as before.
    for part in PARTS {
        desk.until_done(part).await?;
    }
    let mut viewer = desk.viewer().await?;
    desk.until("the terminal is in front", |told| Ok(told.of("Xfce4-terminal")?.id == told.active)).await?;
    viewer.type_in("echo again >/workspace/again\n").await?;
    ensure!(desk.file("/workspace/again").await? == "again\n");
    // Who leaves the shell has another, however often: that is no fault.
    for _ in 0..7 {
        let before = desk.stage("terminal").started_at;
        viewer.type_in("exit\n").await?;
        desk.until_stage("terminal", |stage| stage.done && stage.started_at > before).await?;
    }
    desk.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_screen_it_has_failed_and_that_is_told() -> Result<()> {
    let Some(desk) = Desk::start(Wanted::default()).await? else { return Ok(()) };
    desk.until_done("ready").await?;
    let again = desktop::start(&desk.guest, desktop::SIZE, [].into(), None).await.unwrap_err();
    ensure!(again.to_string().contains("there is a desktop already"), "{again}");

    desk.guest.signal("desktop.screen", 9, false).await?;
    for part in PARTS {
        desk.until_stage(part, |stage| stage.failed.is_some()).await?;
    }
    ensure!(desk.stage("screen").failed.unwrap().starts_with("it was ended by signal 9"), "{:?}", desk.stage("screen"));
    ensure!(desk.stage("ready").failed.unwrap().contains("the screen has failed"), "{:?}", desk.stage("ready"));
    let console = desk.console().await?;
    ensure!(console.contains("the screen: it was ended by signal 9"), "{console}");
    let refused = desk.guest.vnc().await.map(drop).unwrap_err();
    ensure!(matches!(&refused, GuestError::Agent { source, .. } if source.code == ErrorCode::NotFound), "{refused}");
    desk.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_opens_in_the_firefox_that_runs_and_is_seen() -> Result<()> {
    let Some(desk) = Desk::start(Wanted::default()).await? else { return Ok(()) };
    let page = "require('http').createServer((_, r) => r.end('<title>page</title><body style=\"background:#00c000\">')).listen(8080)";
    desk.run_on("server", &["node", "-e", page]).await?;
    desk.guest.greet("").await?;
    desk.until_done("ready").await?;
    let mut viewer = desk.viewer().await?;
    // As a tool does it, which has no idea of when the browser is up.
    for (way, open) in [("browser", "$BROWSER http://localhost:8080/"), ("xdg-open", "xdg-open http://127.0.0.1:8080/")]
    {
        viewer.type_in(&format!("clear; {open}; echo $? >/workspace/{way}\n")).await?;
        ensure!(desk.file(&format!("/workspace/{way}")).await? == "0\n", "{way}");
        let green = |pixel| pixel == [0, 0xc0, 0];
        viewer.until("a green page", |seen| seen.count(0..seen.width, 300..800, green) > 500_000).await?;
        desk.until("Firefox is in front", |told| {
            Ok(told.of("firefox-esr")?.id == told.active
                && told.height_of("firefox-esr")? > told.height_of("Xfce4-terminal")?)
        })
        .await?;
        viewer.keep(&SHOTS.join(format!("page-by-{way}.png")))?;
        // Back to the terminal by its button in the panel, as a person does.
        viewer.click(320, 16).await?;
        desk.until("the terminal is in front", |told| Ok(told.of("Xfce4-terminal")?.id == told.active)).await?;
    }
    desk.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn firefox_trusts_the_operator_s_authorities_and_asks_nobody_by_itself() -> Result<()> {
    let site = Site::new()?;
    let file = tempfile::NamedTempFile::new()?;
    std::fs::write(&file, &site.pem)?;
    let Some(desk) = Desk::start(Wanted { ca_file: Some(file.path()), ..Wanted::default() }).await? else {
        return Ok(());
    };
    site.serve(&desk.guest);
    desk.guest.greet("").await?;
    desk.until_done("ready").await?;
    let mut viewer = desk.viewer().await?;
    viewer.type_in(&format!("$BROWSER https://{}/\n", site::NAME)).await?;
    let blue = |pixel| pixel == [0, 0, 0xc0];
    viewer.until("a blue page", |seen| seen.count(0..seen.width, 300..800, blue) > 500_000).await?;
    viewer.keep(&SHOTS.join("page-of-a-company.png"))?;
    let asked = site.asked.lock().unwrap().clone();
    ensure!(asked.iter().eq([&format!("CONNECT {}:443", site::NAME)]), "{asked:?}");
    desk.end().await
}

/// Somebody in the sandbox who does not want the desktop to come up cannot keep the host waiting for ever,
/// nor hold up the agent.
#[tokio::test(flavor = "multi_thread")]
async fn who_is_hostile_inside_is_told_of_in_bounded_time() -> Result<()> {
    let Some(desk) =
        Desk::start(Wanted { beside: &["sh", "-c", "while :; do pkill -9 xfwm4; done"], ..Wanted::default() }).await?
    else {
        return Ok(());
    };
    desk.until_stage("ready", |stage| stage.failed.is_some()).await?;
    let failed = desk.stage("window_manager").failed.unwrap();
    ensure!(failed.starts_with("it was ended by signal 9"), "{failed}");
    desk.end().await?;

    let Some(desk) = Desk::start(Wanted::default()).await? else { return Ok(()) };
    desk.until_done("ready").await?;
    desk.guest.signal("desktop.screen", 19, false).await?;
    desk.guest.hello().await?;
    // A screen that stands still takes viewers and says nothing; the agent goes on.
    let _silent = desk.guest.vnc().await?;
    desk.guest.signal("desktop.terminal", 9, false).await?;
    desk.until_stage("terminal", |stage| !stage.done).await?;
    desk.guest.hello().await?;
    desk.guest.signal("desktop.screen", 18, false).await?;
    desk.until_done("terminal").await?;
    desk.end().await
}
