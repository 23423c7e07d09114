//! The folder that images are kept in.

use super::{
    Image, ImageError, Kind, OnProgress, Progress, Recipe, Source, Stage, ext4, tree,
    verify::{self, Report},
};
use crate::driver::Driver;
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    fs::{self, File, TryLockError},
    io,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant, UNIX_EPOCH},
};

const LOCK: &str = ".lock";
const BUILD_PREFIX: &str = ".build-";
/// How many digits of its content id a file's name has.
const NAME_DIGITS: usize = 16;
/// How often a lock that another process holds is tried again.
const LOCK_PERIOD: Duration = Duration::from_millis(200);

/// The folder that images are kept in. Several processes may use it at once.
#[derive(Debug, Clone)]
pub struct ImageStore {
    dir: PathBuf,
}

/// What is kept of an image beside its file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Record {
    kind: Kind,
    id: String,
    sha256: String,
    size: u64,
    tools: BTreeMap<String, String>,
    built_at_ms: i64,
}

/// What became of a build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Built {
    /// The image that is now current.
    pub image: Image,
    /// Whether it was made just now; it was there already otherwise.
    pub new: bool,
    /// How it was proven, when it was made just now.
    pub report: Option<Report>,
}

impl ImageStore {
    /// The images of a folder, which need not be there yet.
    pub fn open(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }

    /// The folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The image that sandboxes of a kind are made from. Its length and the
    /// beginning of its file system are looked at, which is quick; the whole of
    /// it is looked at by [`Self::verify`].
    ///
    /// # Errors
    /// [`ImageError::Missing`], [`ImageError::Corrupt`], or a file that cannot be read.
    pub fn current(&self, kind: Kind) -> Result<Image, ImageError> {
        let link = self.link(kind);
        let text = match fs::read_to_string(&link) {
            Ok(text) => text,
            // The link may lead nowhere: somebody has removed an image by hand.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(ImageError::Missing { kind, dir: self.dir.clone() });
            }
            Err(error) => return Err(ImageError::File { path: link, error }),
        };
        let corrupt = |path: PathBuf, reason: String| ImageError::Corrupt { kind, path, reason };
        let record: Record =
            serde_json::from_str(&text).map_err(|error| corrupt(link.clone(), format!("not a record: {error}")))?;
        if record.kind != kind || record.id.len() != 64 || !record.id.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(corrupt(link, "not this image's record".to_owned()));
        }
        let image = self.image(record, true);
        match fs::metadata(&image.path) {
            Ok(meta) if meta.len() == image.size => {}
            Ok(meta) => {
                let reason = format!("it has {} bytes of {}", meta.len(), image.size);
                return Err(corrupt(image.path, reason));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(corrupt(image.path, "the file is gone".to_owned()));
            }
            Err(error) => return Err(ImageError::File { path: image.path, error }),
        }
        match ext4::looks_right(&image.path, &image.id) {
            Ok(true) => Ok(image),
            Ok(false) => Err(corrupt(image.path, "it does not begin as it should".to_owned())),
            Err(error) => Err(ImageError::File { path: image.path, error }),
        }
    }

    /// Every image that is there, the youngest first, without a look into its file.
    ///
    /// # Errors
    /// A folder or file that cannot be read.
    pub fn list(&self) -> Result<Vec<Image>, ImageError> {
        let mut images = Vec::new();
        for path in self.entries()? {
            if path.extension().is_some_and(|ext| ext == "json") && !path.is_symlink() {
                let text = fs::read_to_string(&path).map_err(ImageError::at(&path))?;
                if let Ok(record) = serde_json::from_str::<Record>(&text) {
                    let current = fs::read_link(self.link(record.kind))
                        .is_ok_and(|to| Some(&*to) == path.file_name().map(Path::new));
                    images.push(self.image(record, current));
                }
            }
        }
        images.sort_by_key(|image| (image.kind, -image.built_at_ms));
        Ok(images)
    }

    /// Makes the image of a kind, if it is not there already, and makes it current.
    ///
    /// With a driver, a sandbox is started from it first and its tools are
    /// tried: an image that does not work never becomes current. Whatever goes
    /// wrong, and whenever this process is killed, the image that was current
    /// stays so. Dropping the future ends the build.
    ///
    /// # Errors
    /// [`ImageError::CannotBuild`], [`ImageError::Stage`], [`ImageError::Unproven`] or a file that cannot be written.
    pub async fn build(
        &self,
        kind: Kind,
        driver: Option<&Arc<dyn Driver>>,
        progress: OnProgress<'_>,
    ) -> Result<Built, ImageError> {
        self.build_from(&Recipe::of(kind), driver, progress).await
    }

    /// [`Self::build`] from another source than the recipe that this program carries.
    ///
    /// # Errors
    /// As [`Self::build`].
    pub async fn build_from(
        &self,
        source: &dyn Source,
        driver: Option<&Arc<dyn Driver>>,
        progress: OnProgress<'_>,
    ) -> Result<Built, ImageError> {
        let (kind, id) = (source.kind(), source.id());
        fs::create_dir_all(&self.dir).map_err(ImageError::at(&self.dir))?;
        let _lock = self.lock(progress).await?;
        match self.current(kind) {
            Ok(image) if image.id == id => return Ok(Built { image, new: false, report: None }),
            // Another one, none, or one that is of no use: this one is to be made.
            Ok(_) | Err(_) => {}
        }
        self.remove_leftovers()?;

        let work =
            tempfile::Builder::new().prefix(BUILD_PREFIX).tempdir_in(&self.dir).map_err(ImageError::at(&self.dir))?;
        let root = work.path().join("root");
        fs::create_dir(&root).map_err(ImageError::at(&root))?;
        source.fill(&root, progress).await?;

        let file = work.path().join("image.ext4");
        let began = started(Stage::Filesystem, progress);
        tree::tame(&root, source.epoch()).map_err(ImageError::at(&root))?;
        ext4::make(&root, &file, &format!("polydev-{kind}"), &id, source.epoch()).await?;
        tree::remove(&root).map_err(ImageError::at(&root))?;
        let record = self.describe(source, &id, &file).await?;
        progress(Progress::Finished(Stage::Filesystem, began.elapsed()));

        let began = started(Stage::Verify, progress);
        let made = Image { path: file.clone(), ..self.image(record.clone(), false) };
        let report = verify::all(&made, driver).await;
        for check in &report.checks {
            progress(Progress::Line(Stage::Verify, check.to_string()));
        }
        if !report.passed() {
            return Err(ImageError::Unproven { kind, failed: report.failures() });
        }
        progress(Progress::Finished(Stage::Verify, began.elapsed()));

        self.publish(&record, &file, work.path())?;
        Ok(Built { image: self.image(record, true), new: true, report: Some(report) })
    }

    /// Proves that an image is what was built and, given a driver, that it
    /// works. The driver's state folder is best one for proofs alone: a server
    /// that looks after the same folder ends what it has not started.
    ///
    /// # Errors
    /// As [`Self::current`]. What the image itself does not stand is in the report.
    pub async fn verify(
        &self,
        kind: Kind,
        driver: Option<&Arc<dyn Driver>>,
        progress: OnProgress<'_>,
    ) -> Result<Report, ImageError> {
        let image = self.current(kind)?;
        // Two proofs of one image would be in the same sandbox.
        let _lock = match driver {
            Some(_) => Some(self.lock(progress).await?),
            None => None,
        };
        Ok(verify::all(&image, driver).await)
    }

    /// Removes every image that is not current, and what killed builds have left.
    /// Sandboxes that were made from them go on. Returns the removed images.
    ///
    /// # Errors
    /// A file that cannot be removed.
    pub async fn prune(&self, progress: OnProgress<'_>) -> Result<Vec<Image>, ImageError> {
        if !self.dir.is_dir() {
            return Ok(Vec::new());
        }
        let _lock = self.lock(progress).await?;
        self.remove_leftovers()?;
        let old: Vec<Image> = self.list()?.into_iter().filter(|image| !image.current).collect();
        for image in &old {
            // The record first: without it the file is no image.
            for path in [self.record_path(image.kind, &image.id), image.path.clone()] {
                tree::remove(&path).map_err(ImageError::at(&path))?;
            }
        }
        // What is left without a record was on its way in or out when its process was killed.
        for path in self.entries()? {
            if path.extension().is_some_and(|ext| ext == "ext4") && !path.with_extension("json").exists() {
                tree::remove(&path).map_err(ImageError::at(&path))?;
            }
        }
        Ok(old)
    }

    /// Waits for its turn. The lock goes with the file, however this process ends.
    async fn lock(&self, progress: OnProgress<'_>) -> Result<File, ImageError> {
        let path = self.dir.join(LOCK);
        let file = File::options().create(true).append(true).open(&path).map_err(ImageError::at(&path))?;
        // Asked again and again, since a thread that waits in the kernel cannot be told to give up.
        let mut period = tokio::time::interval(LOCK_PERIOD);
        let mut told = false;
        loop {
            period.tick().await;
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(TryLockError::WouldBlock) if told => {}
                Err(TryLockError::WouldBlock) => {
                    progress(Progress::Waiting);
                    told = true;
                }
                Err(TryLockError::Error(error)) => return Err(ImageError::File { path, error }),
            }
        }
    }

    /// What builds that were killed have left. Only called under the lock.
    fn remove_leftovers(&self) -> Result<(), ImageError> {
        for path in self.entries()? {
            if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(BUILD_PREFIX)) {
                tree::remove(&path).map_err(ImageError::at(&path))?;
            }
        }
        Ok(())
    }

    async fn describe(&self, source: &dyn Source, id: &str, file: &Path) -> Result<Record, ImageError> {
        let sha256 = verify::sha256(file).await.map_err(ImageError::at(file))?;
        let meta = fs::metadata(file).map_err(ImageError::at(file))?;
        let modified = meta.modified().map_err(ImageError::at(file))?;
        let built_at_ms = modified.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        Ok(Record {
            kind: source.kind(),
            id: id.to_owned(),
            sha256,
            size: meta.len(),
            tools: source.tools(),
            built_at_ms: i64::try_from(built_at_ms).unwrap_or(i64::MAX),
        })
    }

    /// Puts a proven image in its place: the file, its record, and at last the link that makes it current.
    fn publish(&self, record: &Record, file: &Path, work: &Path) -> Result<(), ImageError> {
        let sync = |path: &Path| File::open(path).and_then(|file| file.sync_all()).map_err(ImageError::at(path));
        sync(file)?;
        let path = self.file_path(record.kind, &record.id);
        fs::rename(file, &path).map_err(ImageError::at(&path))?;

        let (draft, path) = (work.join("record"), self.record_path(record.kind, &record.id));
        let text = serde_json::to_string_pretty(record).map_err(io::Error::from).map_err(ImageError::at(&path))?;
        fs::write(&draft, text + "\n").map_err(ImageError::at(&draft))?;
        sync(&draft)?;
        fs::rename(&draft, &path).map_err(ImageError::at(&path))?;

        let (draft, link) = (work.join("link"), self.link(record.kind));
        symlink(path.file_name().unwrap_or_default(), &draft).map_err(ImageError::at(&draft))?;
        fs::rename(&draft, &link).map_err(ImageError::at(&link))?;
        sync(&self.dir)
    }

    fn image(&self, record: Record, current: bool) -> Image {
        let Record { kind, id, sha256, size, tools, built_at_ms } = record;
        let path = self.file_path(kind, &id);
        let up_to_date = Recipe::of(kind).id() == id;
        Image { kind, id, path, sha256, size, tools, built_at_ms, current, up_to_date }
    }

    fn file_path(&self, kind: Kind, id: &str) -> PathBuf {
        self.dir.join(format!("{kind}-{}.ext4", id.get(..NAME_DIGITS).unwrap_or(id)))
    }

    fn record_path(&self, kind: Kind, id: &str) -> PathBuf {
        self.file_path(kind, id).with_extension("json")
    }

    fn link(&self, kind: Kind) -> PathBuf {
        self.dir.join(format!("{kind}.json"))
    }

    fn entries(&self) -> Result<Vec<PathBuf>, ImageError> {
        let entries = match fs::read_dir(&self.dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(ImageError::File { path: self.dir.clone(), error }),
        };
        entries
            .map(|entry| entry.map(|entry| entry.path()))
            .collect::<Result<_, _>>()
            .map_err(ImageError::at(&self.dir))
    }
}

fn started(stage: Stage, progress: OnProgress<'_>) -> Instant {
    progress(Progress::Started(stage));
    Instant::now()
}
