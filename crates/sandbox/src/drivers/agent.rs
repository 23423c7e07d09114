//! The agent, which lies inside this binary, as a file for sandboxes to run.

use sha2::{Digest, Sha256};
use std::{
    fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

static AGENT: &[u8] = include_bytes!(env!("POLYDEV_AGENT"));

/// The agent as an executable file in `dir`, written if it is not there yet.
///
/// Its name carries its content's hash: sandboxes that an older server started
/// keep the agent that they run.
pub(super) fn place_agent(dir: &Path) -> io::Result<PathBuf> {
    let hash = data_encoding::HEXLOWER.encode(&Sha256::digest(AGENT)[..8]);
    let path = dir.join(format!("agent-{hash}"));
    if !path.exists() {
        let file = tempfile::NamedTempFile::new_in(dir)?;
        fs::write(&file, AGENT)?;
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755))?;
        file.as_file().sync_all()?;
        file.persist(&path)?;
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_agent_is_static_and_placed_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = place_agent(dir.path()).unwrap();
        assert_eq!(place_agent(dir.path()).unwrap(), path);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o755);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        assert_eq!(interpreter_headers(&fs::read(path).unwrap()), 0, "it asks for a dynamic loader");
    }

    /// How many program headers of a 64-bit little-endian ELF file are PT_INTERP (`man 5 elf`).
    fn interpreter_headers(elf: &[u8]) -> usize {
        assert!(elf.starts_with(b"\x7fELF\x02\x01"));
        let at = u64::from_le_bytes(elf[32..40].try_into().unwrap()) as usize;
        let [size, count] = [54, 56].map(|i| u16::from_le_bytes(elf[i..i + 2].try_into().unwrap()) as usize);
        (0..count).filter(|i| elf[at + i * size..][..4] == 3u32.to_le_bytes()).count()
    }
}
