//! Where the paths of the contract begin.

use crate::refuse::refuse;
use polydev_proto::{AgentError, ErrorCode};
use std::path::{Component, Path, PathBuf};

/// The folder below which every path of the contract lies: `/`, except for the `sim` driver.
#[derive(Debug)]
pub(crate) struct Root(PathBuf);

impl Root {
    pub(crate) fn new(root: PathBuf) -> Self {
        Self(root)
    }

    /// Where an absolute path of the contract is. A path that is not absolute, or that climbs, is refused.
    pub(crate) fn resolve(&self, path: &str) -> Result<PathBuf, AgentError> {
        let invalid = |why| refuse(ErrorCode::Invalid, format!("path `{path}` {why}"));
        if path.contains('\0') {
            return Err(refuse(ErrorCode::Invalid, "a path with a NUL byte"));
        }
        let below = Path::new(path).strip_prefix("/").map_err(|_| invalid("is not absolute"))?;
        if below.components().any(|part| !matches!(part, Component::Normal(_))) {
            return Err(invalid("has `..` in it"));
        }
        Ok(self.0.join(below))
    }

    /// The same for a file, which the root itself is not.
    pub(crate) fn resolve_file(&self, path: &str) -> Result<PathBuf, AgentError> {
        let resolved = self.resolve(path)?;
        if resolved == self.0 {
            return Err(refuse(ErrorCode::NotAFile, format!("`{path}`: not a regular file")));
        }
        Ok(resolved)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stay_below_the_root() {
        let root = Root::new("/srv/box".into());
        assert_eq!(root.resolve("/a/./b").unwrap(), Path::new("/srv/box/a/b"));
        assert_eq!(root.resolve("/").unwrap(), Path::new("/srv/box"));
        assert_eq!(root.resolve_file("/.").unwrap_err().code, ErrorCode::NotAFile);
        for bad in ["a", "", "/../etc", "/a/../../b", "/a\0b"] {
            assert_eq!(root.resolve(bad).unwrap_err().code, ErrorCode::Invalid, "{bad:?}");
        }
    }
}
