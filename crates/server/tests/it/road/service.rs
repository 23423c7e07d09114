//! The server as a service: what it tells who manages it, and the unit that systemd starts it by.

use super::{blocking, standin};
use crate::support::server::{NO_POOL, Server};
use std::{fs, os::unix::net::UnixDatagram, path::Path, process::Command, time::Duration};

#[tokio::test(flavor = "multi_thread")]
async fn who_manages_it_is_told_that_it_is_ready_alive_and_stopping() {
    let standin = standin().await;
    blocking(move || {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let told = || {
            let mut buffer = [0; 64];
            let read = socket.recv(&mut buffer).expect("something is told in time");
            String::from_utf8(buffer[..read].to_vec()).unwrap()
        };
        let mut server = Server::empty(&standin, NO_POOL, &[]);
        server.stop();
        server.env.push(("NOTIFY_SOCKET", path.display().to_string()));
        server.env.push(("WATCHDOG_USEC", "200000".to_owned()));
        server.run();
        assert_eq!(told(), "READY=1");
        assert_eq!([told(), told()], ["WATCHDOG=1"; 2]);
        assert_eq!(server.stop(), Some(0));
        assert_eq!(std::iter::repeat_with(told).find(|said| said != "WATCHDOG=1"), Some("STOPPING=1".to_owned()));
    })
    .await;
}

fn packaged(name: &str) -> String {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packaging/systemd");
    fs::read_to_string(dir.join(name)).unwrap()
}

/// `systemd-analyze` over the unit, with the server that was built in place of the one that is installed; none on a
/// machine without systemd.
fn analyze(args: &[&str]) -> Option<String> {
    let dir = tempfile::tempdir().unwrap();
    let unit = dir.path().join("polydev.service");
    fs::write(&unit, packaged("polydev.service").replace("/usr/local/bin/polydev", env!("CARGO_BIN_EXE_polydev")))
        .unwrap();
    let out = Command::new("systemd-analyze").args(args).arg(&unit).output().ok()?;
    let said = [out.stdout, out.stderr].map(|said| String::from_utf8(said).unwrap()).concat();
    assert!(out.status.success(), "{said}");
    Some(said)
}

#[test]
fn systemd_takes_the_unit_as_it_is_and_finds_it_as_tight_as_is_written_down() {
    let Some(verified) = analyze(&["verify", "--man=no"]) else { return println!("skipped: there is no systemd here") };
    // What it says of other units of this machine is not ours.
    assert!(!verified.contains("polydev.service"), "{verified}");
    let said = analyze(&["security", "--offline=true"]).unwrap();
    let figure = said.lines().find_map(|line| line.split_once("polydev.service: ")?.1.split(' ').next());
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/operating.md")).unwrap();
    let written = page.split_once("`systemd-analyze security` gives it ").unwrap().1.split(' ').next().unwrap();
    // Another version of systemd looks at more, or at less.
    let [found, written] = [figure.unwrap(), written].map(|figure| figure.parse::<f64>().unwrap());
    assert!(found <= written + 0.3, "{found} is worse than {written}: {said}");
}

#[test]
fn the_unit_gives_the_rights_that_the_server_keeps() {
    let unit = packaged("polydev.service");
    let given = unit.lines().find_map(|line| line.strip_prefix("CapabilityBoundingSet=")).unwrap();
    let mut given: Vec<&str> = given.split(' ').collect();
    let mut named: Vec<&str> = super::rights::NAMED.iter().map(|(name, _)| *name).collect();
    given.sort_unstable();
    named.sort_unstable();
    assert_eq!(given, named);
}
