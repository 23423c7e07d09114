//! Through files: of the server, of another sandbox, and those that the host reads because a sandbox made them.

use crate::{
    Family, assert_complete,
    house::{House, Inside, Said, Try, at, judge},
    rules::*,
};
use polydev_sandbox::{
    SandboxSpec,
    cmd::{self, Cmd},
    guest::GuestError,
};
use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::Read,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

/// The most that the host wants of a file, in these tests: bytes.
const WANTED: u64 = 64 * 1024;

/// What a server keeps, as it keeps it: a database that only its user may read, in a folder of the same kind.
pub(crate) fn server_folder(house: &House) -> PathBuf {
    let dir = house.dir.path().join("server");
    fs::create_dir(&dir).unwrap();
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o700)).unwrap();
    let database = dir.join("polydev.db");
    fs::write(&database, &house.canary).unwrap();
    fs::set_permissions(&database, fs::Permissions::from_mode(0o600)).unwrap();
    dir
}

fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_the_host() {
    let Some(house) = House::one().await else { return };
    let (canary, server) = (house.canary.clone(), server_folder(&house));
    let neighbour = house.sandbox(&[]).await;
    neighbour.guest.write_file("/workspace/secret", 0o600, canary.as_bytes()).await.unwrap();
    let (pid, folder) = (house.first_process(&neighbour), house.folder(&neighbour));

    let hidden = |folder: &Path| [root_is_the_image(folder), own_users(), ordinary_user()];
    let no_ptrace = no_capability("no CAP_SYS_PTRACE", &["CAP_SYS_PTRACE", "CAP_DAC_OVERRIDE"]);
    let row = |way, args: &[&str], rules: &[Rule], leads: &str, shut| Try::new(way, args, rules, leads, shut);
    let tries = vec![
        row(
            "the server's database",
            &["read", &text(&server.join("polydev.db"))],
            &hidden(&server),
            &canary,
            at("open", libc::ENOENT),
        ),
        row(
            "another sandbox's agent, by its socket",
            &["unix", &text(&folder.join("agent.sock"))],
            &hidden(&folder),
            "the header is not of this contract",
            at("connect", libc::ENOENT),
        ),
        row(
            "another sandbox's files",
            &["read", &format!("/proc/{pid}/root/workspace/secret")],
            &[pid_namespace(), own_users(), no_ptrace],
            &canary,
            at("open", libc::ENOENT),
        ),
    ];
    house.prove(Family::Files, tries).await;
    neighbour.end().await;
}

/// What a host reads that opens a path of a sandbox by itself.
fn read_by_path(house: &House, inside: &Inside, path: &str) -> Said {
    let path = format!("/proc/{}/root{path}", house.first_process(inside));
    let mut bytes = Vec::new();
    // Once more than is wanted, so that the test itself has an end.
    match File::open(path).and_then(|file| file.take(2 * WANTED).read_to_end(&mut bytes)) {
        Ok(read) if read as u64 > WANTED => Said::Got("more than is wanted".to_owned()),
        Ok(_) => Said::Got(String::from_utf8_lossy(&bytes).into_owned()),
        Err(error) => Said::Refused(error.to_string()),
    }
}

/// What this host reads.
async fn read_by_agent(inside: &Inside, path: &str) -> Said {
    match inside.guest.read_file(path, WANTED).await {
        Ok(bytes) => Said::Got(String::from_utf8_lossy(&bytes).into_owned()),
        Err(GuestError::Agent { source, .. }) => Said::Refused(format!("agent {:?}", source.code)),
        Err(error) => Said::Refused(error.to_string()),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn that_the_host_reads() {
    let Some(house) = House::one().await else { return };
    let canary = house.canary.clone();
    let database = text(&server_folder(&house).join("polydev.db"));
    let inside = house.sandbox(&[]).await;
    for (from, to) in [("/workspace/out", database.as_str()), ("/workspace/folder", "/")] {
        assert_eq!(inside.probe(&["link", from, to]).await.to_string(), "got linked");
    }
    inside.guest.write_file("/workspace/large", 0o600, &vec![b'x'; 2 * WANTED as usize]).await.unwrap();
    let through_folder = format!("/workspace/folder{database}");
    let large = format!("`/workspace/large` has {} bytes, at most {WANTED} are read", 2 * WANTED);
    let mut wrong = Vec::new();
    let mut tried = BTreeSet::new();
    for (way, path, leads, shut) in [
        ("links among files that the host reads", "/workspace/out", canary.as_str(), "agent NotAFile"),
        ("folders that are links, among those", &through_folder, &canary, "agent NotFound"),
        ("files without an end, among those", "/dev/zero", "more than", "agent NotAFile"),
        ("files that are too large, among those", "/workspace/large", "more than", &large),
    ] {
        let (open, shut_now) = (read_by_path(&house, &inside, path), read_by_agent(&inside, path).await);
        wrong.extend(judge(way, &open, &shut_now, leads, shut));
        tried.insert(way);
    }
    inside.end().await;

    // The one file of a root that the driver itself changes, before anything of the guest runs.
    let way = "links in an image, where the driver writes";
    let linked = house.dir.path().join("linked.ext4");
    fs::copy(&house.image, &linked).unwrap();
    let bundle = "/etc/ssl/certs/ca-certificates.crt";
    let commands = format!("rm {bundle}\nsymlink {bundle} {database}\n");
    cmd::run(Cmd::new("debugfs").args(["-w", "-f", "-"]).arg(&linked).stdin(commands)).await.unwrap();
    let spec = SandboxSpec { image: linked, image_id: "linked".to_owned(), ..house.spec() };
    let open = {
        let without_certificates = SandboxSpec { ca_file: None, ..spec.clone() };
        let inside = house.sandbox_of(&without_certificates, &[]).await;
        let said = read_by_path(&house, &inside, bundle);
        inside.end().await;
        said
    };
    let shut = match house.try_sandbox(&spec, &[]).await {
        Ok(inside) => Said::Got(text(&house.folder(&inside))),
        Err(error) => Said::Refused(error.to_string()),
    };
    let certificates = house.ca.display();
    let refused = format!("adding the extra certificates: `{certificates}`: No such file or directory (os error 2)");
    wrong.extend(judge(way, &open, &shut, &canary, &refused));
    tried.insert(way);
    assert_eq!(fs::read_to_string(&database).unwrap(), canary, "the host's file is as it was");
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_complete(Family::Reading, &tried);
}
