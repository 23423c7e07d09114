//! The recipes that this program carries, and how one becomes a folder of files.

use super::{
    HOME, IDENTITY, ImageError, Kind, MOUNT_POINTS, OnProgress, Progress, Source, Stage, UID, USER, WORKSPACE,
    desktop::{self, Addition},
    tree,
};
use crate::cmd::{self, Cmd, CmdError};
use async_trait::async_trait;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use std::{
    collections::BTreeMap,
    fs::{self, Permissions},
    io,
    os::unix::fs::{PermissionsExt, chown, symlink},
    path::Path,
    time::{Duration, Instant},
};

/// The builder's own version: to be raised when the same recipe makes another image.
const FORMAT: &str = "1";
/// Where the tools lie in an image.
const TOOLS: &str = "opt/tools";
/// The keys that sign Debian's packages (`debian-archive-keyring`): of those that this host trusts, no others do.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// How long Debian's or npm's packages may take to arrive.
const DOWNLOAD: Duration = Duration::from_secs(45 * 60);
/// How long programs may take to prepare. They take a few seconds.
const WARMING: Duration = Duration::from_secs(5 * 60);

/// What an image is made from: Debian packages, and tools at the versions of a lock file.
#[derive(Debug, Clone)]
pub struct Recipe {
    kind: Kind,
    text: Text,
    steps: Steps,
    tools: BTreeMap<String, String>,
}

/// The files of a recipe, as they are.
#[derive(Debug, Clone, Copy)]
struct Text {
    recipe: &'static str,
    package: &'static str,
    lock: &'static str,
    npmrc: &'static str,
    /// What comes on top of all that.
    more: Option<&'static Addition>,
}

/// What every image has.
const CLI: Text = Text {
    recipe: include_str!("../../../../images/cli/recipe.toml"),
    package: include_str!("../../../../images/cli/package.json"),
    lock: include_str!("../../../../images/cli/package-lock.json"),
    npmrc: include_str!("../../../../images/cli/.npmrc"),
    more: None,
};

/// `recipe.toml`; the file itself explains each field.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Steps {
    arch: String,
    suite: String,
    epoch: u64,
    packages: Vec<String>,
    leave_out: Vec<String>,
    keep: Vec<String>,
    empty: Vec<String>,
    remove: Vec<String>,
    tools: Vec<Tool>,
    #[serde(skip)]
    home: Vec<String>,
    #[serde(skip)]
    shared: Vec<String>,
}

/// The `recipe.toml` of an image that has all that another has.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct More {
    packages: Vec<String>,
    leave_out: Vec<String>,
    keep: Vec<String>,
    home: Vec<String>,
    shared: Vec<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Tool {
    name: String,
    package: String,
    program: String,
}

/// What `package.json` tells here.
#[derive(Debug, Deserialize)]
struct Package {
    dependencies: BTreeMap<String, String>,
}

impl Recipe {
    /// The recipe of a kind.
    pub fn of(kind: Kind) -> Self {
        let text = match kind {
            Kind::Cli => CLI,
            Kind::Desktop => Text { more: Some(&desktop::ADDITION), ..CLI },
        };
        let mut steps: Steps =
            toml::from_str(text.recipe).expect("recipes are part of this program, and a test reads each");
        if let Some(more) = text.more {
            let more: More = toml::from_str(more.recipe).expect("the same holds for what comes on top");
            steps.packages.extend(more.packages);
            steps.leave_out.extend(more.leave_out);
            steps.keep.extend(more.keep);
            steps.home = more.home;
            steps.shared = more.shared;
        }
        let package: Package = serde_json::from_str(text.package).expect("the same holds for their packages");
        let version = |tool: &Tool| package.dependencies.get(&tool.package).cloned().unwrap_or_default();
        let tools = steps.tools.iter().map(|tool| (tool.name.clone(), version(tool))).collect();
        Self { kind, text, steps, tools }
    }

    async fn bootstrap(&self, root: &Path, progress: OnProgress<'_>) -> Result<(), ImageError> {
        run(Stage::Bootstrap, self.mmdebstrap(root), progress).await
    }

    fn mmdebstrap(&self, root: &Path) -> Cmd {
        let paths = |rule: &str, paths: &[String]| {
            paths.iter().map(|path| format!("--dpkgopt=path-{rule}={path}")).collect::<Vec<_>>()
        };
        Cmd::new("mmdebstrap")
            .args(["--mode=root", "--format=directory", "--variant=essential"])
            .arg(format!("--keyring={KEYRING}"))
            .arg("--aptopt=APT::Install-Recommends \"false\"")
            .args(paths("exclude", &self.steps.leave_out))
            .args(paths("include", &self.steps.keep))
            .arg(format!("--include={}", self.steps.packages.join(",")))
            .arg(&self.steps.suite)
            .arg(root)
            .env("SOURCE_DATE_EPOCH", self.steps.epoch.to_string())
            .env("LC_ALL", "C.UTF-8")
            .timeout(DOWNLOAD)
    }

    async fn install_tools(&self, root: &Path, progress: OnProgress<'_>) -> Result<(), ImageError> {
        let dir = root.join(TOOLS);
        fs::create_dir_all(&dir).map_err(ImageError::at(&dir))?;
        for (name, text) in
            [("package.json", self.text.package), ("package-lock.json", self.text.lock), (".npmrc", self.text.npmrc)]
        {
            fs::write(dir.join(name), text).map_err(ImageError::at(dir.join(name)))?;
        }
        run(Stage::Tools, npm(&dir), progress).await
    }

    /// Lets programs prepare in the tree what each sandbox would prepare anew.
    async fn warm(&self, more: &Addition, root: &Path, progress: OnProgress<'_>) -> Result<(), ImageError> {
        // They keep the times of files as the image will have them.
        tree::tame(root, self.steps.epoch).map_err(ImageError::at(root))?;
        // All that it mounts and starts goes with it, and nothing of it is on a network.
        let warm = Cmd::new("unshare")
            .args(["--mount", "--net", "--ipc", "--uts", "--pid", "--fork", "--kill-child"])
            .args(["sh", "-eus", "--"])
            .arg(root)
            .args([USER, HOME])
            .stdin(more.warm)
            .env("SOURCE_DATE_EPOCH", self.steps.epoch.to_string())
            .env("LC_ALL", "C.UTF-8")
            .timeout(WARMING);
        run(Stage::Warm, warm, progress).await
    }

    fn trim(&self, root: &Path) -> io::Result<()> {
        for path in &self.steps.remove {
            tree::remove(&root.join(path))?;
        }
        for dir in &self.steps.empty {
            tree::empty(&root.join(dir))?;
        }
        let tools = root.join(TOOLS);
        fs::set_permissions(&tools, Permissions::from_mode(0o755))?;
        tree::open_to_all(&tools)?;
        let modules = Path::new("/").join(TOOLS).join("node_modules");
        for tool in &self.steps.tools {
            let program = modules.join(&tool.program);
            fs::set_permissions(inside(root, &program), Permissions::from_mode(0o755))?;
            symlink(program, root.join("usr/local/bin").join(&tool.name))?;
        }
        self.add_user(root)?;
        self.name_host(root)?;
        for (path, text) in self.text.more.iter().flat_map(|more| more.files) {
            write(&root.join(path), text)?;
            if path.starts_with("usr/local/bin/") {
                fs::set_permissions(root.join(path), Permissions::from_mode(0o755))?;
            }
        }
        let identity = serde_json::json!({ "kind": self.kind, "id": self.id(), "tools": self.tools });
        write(&inside(root, Path::new(IDENTITY)), &format!("{identity}\n"))
    }

    fn add_user(&self, root: &Path) -> io::Result<()> {
        append(&root.join("etc/passwd"), &format!("{USER}:*:{UID}:{UID}::{HOME}:/bin/bash\n"))?;
        append(&root.join("etc/group"), &format!("{USER}:*:{UID}:\n"))?;
        for dir in [HOME, WORKSPACE] {
            let dir = inside(root, Path::new(dir));
            fs::create_dir_all(&dir)?;
            fs::set_permissions(&dir, Permissions::from_mode(0o755))?;
            chown(&dir, Some(UID), Some(UID))?;
        }
        for folder in &self.steps.home {
            // Each of its folders is the user's, too.
            let mut dir = inside(root, Path::new(HOME));
            for part in Path::new(folder) {
                dir.push(part);
                fs::create_dir_all(&dir)?;
                chown(&dir, Some(UID), Some(UID))?;
            }
        }
        for folder in &self.steps.shared {
            fs::create_dir_all(root.join(folder))?;
            fs::set_permissions(root.join(folder), Permissions::from_mode(0o1777))?;
        }
        Ok(())
    }

    /// mmdebstrap lends the image the building host's name and resolver: they are replaced.
    fn name_host(&self, root: &Path) -> io::Result<()> {
        write(&root.join("etc/hostname"), &format!("{USER}\n"))?;
        write(&root.join("etc/hosts"), &format!("127.0.0.1 localhost {USER}\n::1 localhost {USER}\n"))?;
        // A sandbox asks nobody for names: its way out takes them unresolved.
        write(&root.join("etc/resolv.conf"), "")?;
        write(&root.join("etc/default/locale"), "LANG=C.UTF-8\n")?;
        let mount_points = inside(root, Path::new(MOUNT_POINTS));
        write(&mount_points.join("agent"), "")?;
        write(&mount_points.join("ca.pem"), "")
    }
}

#[async_trait]
impl Source for Recipe {
    fn kind(&self) -> Kind {
        self.kind
    }

    fn id(&self) -> String {
        let mut hash = Sha256::new();
        let mut parts = vec![FORMAT, self.text.recipe, self.text.package, self.text.lock, self.text.npmrc];
        parts.extend(self.text.more.into_iter().flat_map(Addition::parts));
        for part in parts {
            // Each part's length first, so that no two lists of parts read the same.
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        data_encoding::HEXLOWER.encode(&hash.finalize())
    }

    fn tools(&self) -> BTreeMap<String, String> {
        self.tools.clone()
    }

    fn epoch(&self) -> u64 {
        self.steps.epoch
    }

    async fn fill(&self, root: &Path, progress: OnProgress<'_>) -> Result<(), ImageError> {
        if std::env::consts::ARCH != self.steps.arch {
            return Err(ImageError::CannotBuild {
                reason: format!("image `{}` is for {}, this is {}", self.kind, self.steps.arch, std::env::consts::ARCH),
                hint: format!("build it on a {} machine", self.steps.arch),
            });
        }
        if !rustix::process::geteuid().is_root() {
            return Err(ImageError::CannotBuild {
                reason: "only root may own the files of an image".to_owned(),
                hint: format!("sudo polydev image build {}", self.kind),
            });
        }
        self.bootstrap(root, progress).await?;
        self.install_tools(root, progress).await?;

        progress(Progress::Started(Stage::Trim));
        let began = Instant::now();
        let (recipe, tree) = (self.clone(), root.to_owned());
        tokio::task::spawn_blocking(move || recipe.trim(&tree))
            .await
            .map_err(io::Error::from)
            .flatten()
            .map_err(ImageError::at(root))?;
        progress(Progress::Finished(Stage::Trim, began.elapsed()));
        match self.text.more {
            Some(more) => self.warm(more, root, progress).await,
            None => Ok(()),
        }
    }
}

/// Runs a stage's program and tells its lines.
async fn run(stage: Stage, cmd: Cmd, progress: OnProgress<'_>) -> Result<(), ImageError> {
    progress(Progress::Started(stage));
    let began = Instant::now();
    let output: Result<_, CmdError> =
        cmd::run_lines(cmd, &mut |line| progress(Progress::Line(stage, line.to_owned()))).await;
    output.map_err(ImageError::stage(stage))?;
    progress(Progress::Finished(stage, began.elapsed()));
    Ok(())
}

/// Where an image's path lies in the folder that it is made from.
fn inside(root: &Path, path: &Path) -> std::path::PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}

/// Writes a new file that all may read, and the folder that it is in. What was there, a link too, is replaced.
fn write(path: &Path, text: &str) -> io::Result<()> {
    if let Some(dir) = path.parent().filter(|dir| !dir.is_dir()) {
        fs::create_dir_all(dir)?;
        fs::set_permissions(dir, Permissions::from_mode(0o755))?;
    }
    tree::remove(path)?;
    fs::write(path, text)?;
    fs::set_permissions(path, Permissions::from_mode(0o644))
}

fn append(path: &Path, line: &str) -> io::Result<()> {
    let text = fs::read_to_string(path)?;
    write(path, &(text + line))
}

/// Installs what the lock file of a folder names. No package runs a script of its own here: the one that has any would
/// only copy its program.
fn npm(dir: &Path) -> Cmd {
    Cmd::new("npm")
        .args(["ci", "--ignore-scripts", "--omit=dev", "--no-audit", "--no-fund", "--no-update-notifier"])
        .args(["--os=linux", "--cpu=x64", "--libc=glibc", "--loglevel=error"])
        .dir(dir)
        .timeout(DOWNLOAD)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_recipe_is_whole_and_its_tools_are_pinned() {
        for kind in Kind::ALL {
            let recipe = Recipe::of(*kind);
            let lock: serde_json::Value = serde_json::from_str(recipe.text.lock).unwrap();
            for tool in &recipe.steps.tools {
                let version = &recipe.tools[&tool.name];
                assert!(
                    version.starts_with(|c: char| c.is_ascii_digit()),
                    "{}: `{version}` is no exact version",
                    tool.name
                );
                let locked = &lock["packages"][format!("node_modules/{}", tool.package)];
                assert_eq!(locked["version"], version.as_str(), "{}", tool.name);
            }
            for (path, package) in lock["packages"].as_object().unwrap() {
                assert!(path.is_empty() || package["integrity"].is_string(), "{path} has no integrity hash");
                assert!(package.get("resolved").is_none(), "{path} names a registry");
            }
            assert_eq!(recipe.id().len(), 64);
        }
    }

    #[test]
    fn packages_are_those_that_their_makers_signed_and_run_nothing_of_their_own() {
        let words = format!("{:?}", Recipe::of(Kind::Cli).mmdebstrap(Path::new("root")));
        assert!(words.contains(r#""--keyring=/usr/share/keyrings/debian-archive-keyring.gpg""#), "{words}");
        let words = format!("{:?}", npm(Path::new("tools")));
        assert!(words.contains(r#""ci""#) && words.contains(r#""--ignore-scripts""#), "{words}");
    }
}
