//! Images: what is kept whatever happens, and the real one.

#![expect(clippy::unwrap_used, reason = "these are tests, their helpers too")]

use anyhow::{Context, Result, anyhow, ensure};
use async_trait::async_trait;
use polydev_sandbox::{
    Driver,
    cmd::{self, Cmd},
    drivers::{self, DriverConfig},
    image::{Built, IDENTITY, ImageError, ImageStore, Kind, OnProgress, Progress, Source, Stage},
};
use sha2::{Digest, Sha256};
use std::{
    collections::BTreeMap,
    fs,
    io::{Read, Seek, SeekFrom, Write},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};
use tokio::{
    io::AsyncReadExt,
    net::unix::pipe,
    sync::{Notify, mpsc},
};

/// The process that is to be killed in the middle of a build finds its folder here.
const KILLED_DIR: &str = "POLYDEV_TEST_KILLED_BUILD";

/// A recipe of one small file.
#[derive(Default)]
struct Small {
    version: u32,
    fails: bool,
    /// Told when the build is in the middle, which then waits for `go_on`.
    middle: Option<mpsc::UnboundedSender<()>>,
    go_on: Notify,
    filled: AtomicUsize,
}

impl Small {
    fn version(version: u32) -> Self {
        Self { version, ..Self::default() }
    }
}

#[async_trait]
impl Source for Small {
    fn kind(&self) -> Kind {
        Kind::Cli
    }
    fn id(&self) -> String {
        data_encoding::HEXLOWER.encode(&Sha256::digest(self.version.to_string()))
    }
    fn tools(&self) -> BTreeMap<String, String> {
        BTreeMap::from([("tool".to_owned(), self.version.to_string())])
    }
    fn epoch(&self) -> u64 {
        1_000_000_000
    }
    async fn fill(&self, root: &Path, progress: OnProgress<'_>) -> Result<(), ImageError> {
        self.filled.fetch_add(1, Ordering::Relaxed);
        let path = root.join("version");
        // More than one block, so that a byte can be changed where a quick look does not see it.
        let written = fs::write(&path, format!("{}\n", self.version).repeat(1 << 18));
        written.map_err(|error| ImageError::File { path, error })?;
        fs::set_permissions(root.join("version"), fs::Permissions::from_mode(0o6755)).expect("it is ours");
        progress(Progress::Line(Stage::Bootstrap, "one file".to_owned()));
        if let Some(middle) = &self.middle {
            middle.send(()).expect("the test waits for it");
            self.go_on.notified().await;
        }
        if self.fails {
            let error = cmd::run(Cmd::new("sh").args(["-c", "echo no such suite >&2; exit 1"])).await.unwrap_err();
            return Err(ImageError::Stage { stage: Stage::Bootstrap, error });
        }
        Ok(())
    }
}

fn store() -> (tempfile::TempDir, ImageStore) {
    let dir = tempfile::tempdir().unwrap();
    // The folder itself is made by the first build.
    let store = ImageStore::open(dir.path().join("images"));
    (dir, store)
}

async fn build(store: &ImageStore, source: &Small) -> Result<Built, ImageError> {
    store.build_from(source, None, &mut |_| {}).await
}

fn names(store: &ImageStore) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(store.dir())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name != ".lock")
        .collect();
    names.sort();
    names
}

#[tokio::test]
async fn an_image_is_built_once() {
    let (_dir, store) = store();
    let error = store.current(Kind::Cli).unwrap_err();
    assert!(matches!(error, ImageError::Missing { .. }), "{error}");
    assert_eq!(error.hint().as_deref(), Some("polydev image build cli"));
    assert_eq!(store.list().unwrap(), []);

    let source = Small::version(1);
    let mut told = Vec::new();
    let built = store.build_from(&source, None, &mut |progress| told.push(progress)).await.unwrap();
    assert!(built.new);
    assert!(told.contains(&Progress::Started(Stage::Filesystem)), "{told:?}");
    assert!(told.contains(&Progress::Line(Stage::Bootstrap, "one file".to_owned())), "{told:?}");

    let again = build(&store, &source).await.unwrap();
    assert!(!again.new);
    assert_eq!(again.image, built.image);
    assert_eq!(source.filled.load(Ordering::Relaxed), 1);
    assert_eq!(store.current(Kind::Cli).unwrap(), built.image);
    assert_eq!(store.list().unwrap(), vec![built.image]);

    let report = store.verify(Kind::Cli, None, &mut |_| {}).await.unwrap();
    assert!(report.passed(), "{report:?}");
    assert_eq!(names(&store).len(), 3, "{:?}", names(&store));
}

#[tokio::test]
async fn an_image_has_no_set_user_id_bits_and_no_time_of_its_build() {
    let (_dir, store) = store();
    let image = build(&store, &Small::version(1)).await.unwrap().image;
    let stat = cmd::run(Cmd::new("debugfs").args(["-R", "stat /version"]).arg(&image.path).env("TZ", "UTC"))
        .await
        .unwrap()
        .text();
    assert!(stat.contains("Mode:  0755"), "{stat}");
    assert!(
        stat.lines().any(|line| line.contains("mtime:") && line.contains("Sep  9") && line.contains("2001")),
        "{stat}"
    );
}

#[tokio::test]
async fn a_failed_build_leaves_the_old_image_and_nothing_else() {
    let (_dir, store) = store();
    let old = build(&store, &Small::version(1)).await.unwrap().image;
    let before = names(&store);

    let error = build(&store, &Small { fails: true, ..Small::version(2) }).await.unwrap_err();
    assert_eq!(error.to_string(), "bootstrap: `sh` ended with status 1: no such suite");
    assert_eq!(store.current(Kind::Cli).unwrap(), old);
    assert_eq!(names(&store), before);
}

#[tokio::test]
async fn a_build_that_is_given_up_leaves_nothing() {
    let (_dir, store) = store();
    let old = build(&store, &Small::version(1)).await.unwrap().image;
    let before = names(&store);

    let (middle, mut in_the_middle) = mpsc::unbounded_channel();
    let source = Small { middle: Some(middle), ..Small::version(2) };
    tokio::select! {
        built = build(&store, &source) => panic!("{built:?}"),
        _ = in_the_middle.recv() => {}
    }
    assert_eq!(store.current(Kind::Cli).unwrap(), old);
    assert_eq!(names(&store), before);
}

#[tokio::test]
async fn a_new_image_takes_over_and_prune_removes_the_old() {
    let (_dir, store) = store();
    let old = build(&store, &Small::version(1)).await.unwrap().image;
    let new = build(&store, &Small::version(2)).await.unwrap().image;
    assert_eq!(store.current(Kind::Cli).unwrap(), new);
    assert!(old.path.exists(), "a sandbox may still be made from it");
    let listed: Vec<_> = store.list().unwrap().into_iter().map(|image| (image.id, image.current)).collect();
    assert_eq!(listed.len(), 2);
    assert!(listed.contains(&(new.id.clone(), true)) && listed.contains(&(old.id.clone(), false)), "{listed:?}");

    fs::create_dir(store.dir().join(".build-cli-left")).unwrap();
    fs::write(store.dir().join("cli-0000000000000000.ext4"), "no record").unwrap();
    let pruned = store.prune(&mut |_| {}).await.unwrap();
    assert_eq!(pruned.len(), 1);
    assert_eq!(pruned[0].id, old.id);
    assert_eq!(store.list().unwrap(), [new]);
    assert_eq!(names(&store).len(), 3, "{:?}", names(&store));

    // Back to what was before: it is made again.
    assert!(build(&store, &Small::version(1)).await.unwrap().new);
}

#[tokio::test]
async fn what_is_corrupt_is_told_and_made_anew() {
    let (_dir, store) = store();
    let image = build(&store, &Small::version(1)).await.unwrap().image;
    let damage: [(&str, &dyn Fn()); 4] = [
        ("bytes of", &|| fs::File::options().write(true).open(&image.path).unwrap().set_len(image.size / 2).unwrap()),
        ("the file is gone", &|| fs::remove_file(&image.path).unwrap()),
        ("does not begin as it should", &|| {
            let mut file = fs::File::options().write(true).open(&image.path).unwrap();
            file.write_all(&[0; 4096]).unwrap();
        }),
        ("not a record", &|| fs::write(store.dir().join("cli.json"), "{").unwrap()),
    ];
    for (reason, damage) in damage {
        damage();
        let error = store.current(Kind::Cli).unwrap_err();
        assert!(matches!(error, ImageError::Corrupt { .. }), "{error}");
        assert!(error.to_string().contains(reason), "{error}");
        assert!(error.hint().unwrap().contains("polydev image build cli"));
        assert!(store.verify(Kind::Cli, None, &mut |_| {}).await.is_err());

        assert!(build(&store, &Small::version(1)).await.unwrap().new);
        assert_eq!(store.current(Kind::Cli).unwrap().id, image.id);
    }
}

#[tokio::test]
async fn one_changed_byte_is_found_by_verify() {
    let (_dir, store) = store();
    let image = build(&store, &Small::version(1)).await.unwrap().image;
    let mut file = fs::File::options().read(true).write(true).open(&image.path).unwrap();
    let mut byte = [0];
    file.seek(SeekFrom::Start(image.size / 2)).unwrap();
    file.read_exact(&mut byte).unwrap();
    file.seek_relative(-1).unwrap();
    file.write_all(&[byte[0] ^ 1]).unwrap();

    store.current(Kind::Cli).expect("a quick look does not see it");
    let report = store.verify(Kind::Cli, None, &mut |_| {}).await.unwrap();
    assert!(!report.passed());
    assert!(report.failures().starts_with("failed sha256"), "{}", report.failures());
}

#[tokio::test]
async fn a_second_build_waits_for_the_first() {
    let (_dir, store) = store();
    let (middle, mut in_the_middle) = mpsc::unbounded_channel();
    let (waits, mut waiting) = mpsc::unbounded_channel();
    let first = Small { middle: Some(middle), ..Small::version(1) };
    let second = Small::version(1);
    let mut tell = |progress| {
        if progress == Progress::Waiting {
            waits.send(()).unwrap();
        }
    };
    let (one, two, ()) = tokio::join!(
        build(&store, &first),
        async {
            in_the_middle.recv().await.unwrap();
            store.build_from(&second, None, &mut tell).await
        },
        async {
            waiting.recv().await.unwrap();
            first.go_on.notify_one();
        }
    );
    let (one, two) = (one.unwrap(), two.unwrap());
    assert!(one.new && !two.new);
    assert_eq!(one.image, two.image);
    assert_eq!(second.filled.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn a_killed_build_leaves_the_old_image_and_is_cleaned_up() {
    let (dir, store) = store();
    let old = build(&store, &Small::version(1)).await.unwrap().image;
    // The other process writes into the pipe when it is in the middle of its build.
    let pipe = dir.path().join("pipe");
    cmd::run(Cmd::new("mkfifo").arg(&pipe)).await.unwrap();
    let killed = Cmd::new(std::env::current_exe().unwrap())
        .args(["--exact", "the_build_that_is_killed", "--ignored", "--nocapture"])
        .env(KILLED_DIR, dir.path());
    let mut told = pipe::OpenOptions::new().open_receiver(pipe).unwrap();
    // What loses is dropped, and a program that is dropped is killed.
    tokio::select! {
        ended = cmd::run(killed) => panic!("{ended:?}"),
        byte = told.read_u8() => assert_eq!(byte.unwrap(), b'!'),
    }
    let left = |store: &ImageStore| names(store).into_iter().filter(|name| name.starts_with(".build-")).count();
    assert_eq!(left(&store), 1);
    assert_eq!(store.current(Kind::Cli).unwrap(), old);

    let new = build(&store, &Small::version(2)).await.unwrap();
    assert!(new.new);
    assert_eq!(left(&store), 0);
}

#[tokio::test]
#[ignore = "is started, and killed, by a_killed_build_leaves_the_old_image_and_is_cleaned_up"]
#[expect(clippy::disallowed_methods, reason = "the one way to tell another process of this program something")]
async fn the_build_that_is_killed() {
    let Some(dir) = std::env::var_os(KILLED_DIR).map(PathBuf::from) else { return };
    let (middle, mut in_the_middle) = mpsc::unbounded_channel();
    let source = Small { middle: Some(middle), ..Small::version(2) };
    let store = ImageStore::open(dir.join("images"));
    tokio::join!(build(&store, &source), async {
        in_the_middle.recv().await.unwrap();
        fs::write(dir.join("pipe"), "!").unwrap();
    })
    .0
    .unwrap();
}

/// The images that the product uses, made here if `make image` has not made them.
#[tokio::test(flavor = "multi_thread")]
async fn the_real_images_are_what_their_recipes_say() -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: images are made by root");
        return Ok(());
    }
    for kind in Kind::ALL {
        is_what_its_recipe_says(*kind).await?;
    }
    Ok(())
}

async fn is_what_its_recipe_says(kind: Kind) -> Result<()> {
    let store = ImageStore::open(images_dir());
    let built = store.build(kind, None, &mut |_| {}).await;
    let image = built.with_context(|| format!("no image in `{}`: run `make image`", store.dir().display()))?.image;
    ensure!(image.up_to_date && image.current, "{image:?}");
    let again = store.build(kind, None, &mut |_| {}).await?;
    ensure!(!again.new && again.image == image, "built twice: {again:?}");

    // From inside a sandbox: the tools print their pinned versions, the content id is the same, the desktop comes up.
    let state = tempfile::tempdir()?;
    let driver = isolating(state.path()).await?;
    let report = store.verify(kind, Some(&driver), &mut |_| {}).await?;
    ensure!(report.passed(), "{}", report.failures());
    let own: &[&str] = match kind {
        Kind::Cli => &[],
        Kind::Desktop => &["desktop", "screen", "letters without a font", "fonts' cache", "prepared"],
    };
    let all = image.tools.keys().map(String::as_str).chain(["agent", "content id", "user", "set-user-id"]);
    for name in all.chain(own.iter().copied()) {
        ensure!(report.checks.iter().any(|check| check.name == name), "{name} was not looked at: {report:?}");
    }
    ensure!(driver.observe().await?.is_empty(), "the proof left its sandbox");

    // Read without mounting, as no driver would.
    let inside = cmd::run(Cmd::new("debugfs").args(["-R", &format!("cat {IDENTITY}")]).arg(&image.path)).await?;
    let identity: serde_json::Value = serde_json::from_slice(&inside.stdout)?;
    ensure!(identity["id"] == image.id.as_str() && identity["kind"] == kind.as_str(), "{identity}");
    ensure!(identity["tools"] == serde_json::json!(image.tools), "{identity}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_does_not_work_never_becomes_current() -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: sandboxes are made by root");
        return Ok(());
    }
    let (dir, store) = store();
    let old = build(&store, &Small::version(1)).await?.image;
    let before = names(&store);
    let driver = isolating(dir.path()).await?;
    // One file is not enough for a sandbox.
    let error = store.build_from(&Small::version(2), Some(&driver), &mut |_| {}).await.unwrap_err();
    ensure!(matches!(error, ImageError::Unproven { .. }), "{error}");
    ensure!(store.current(Kind::Cli)? == old && names(&store) == before, "{:?}", names(&store));
    ensure!(driver.observe().await?.is_empty(), "the proof left its sandbox");
    Ok(())
}

/// A driver for proofs alone. Where root is and none works, that is a failure.
async fn isolating(dir: &Path) -> Result<Arc<dyn Driver>> {
    let config = DriverConfig { state_dir: dir.join("proof"), oci_runtime: None };
    drivers::auto(&config).await.map_err(|unfit| anyhow!("no driver works here: {unfit:?}"))
}

/// Where `make` keeps images, or the folder that the server would be told.
#[expect(clippy::disallowed_methods, reason = "`make` tells where images are as it tells the server")]
fn images_dir() -> PathBuf {
    let ours = || Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("images");
    std::env::var_os("POLYDEV__IMAGE__DIR").map_or_else(ours, PathBuf::from)
}
