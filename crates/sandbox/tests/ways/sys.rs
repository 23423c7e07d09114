//! What the tests put outside, for a way to lead to: a key, a segment of shared memory, a file's number.
#![expect(unsafe_code, reason = "keys, System V memory and file handles have no safe wrapper")]

use std::{
    ffi::{CStr, CString},
    io,
    os::unix::ffi::OsStrExt,
    path::Path,
};

/// The keyring of this user.
const USER_KEYRING: i32 = -4;
const SETPERM: i32 = 5;
const UNLINK: i32 = 9;
/// Whoever has it and its user may do everything with it.
const PERMISSIONS: u32 = 0x3f3f_0000;

/// A key of the host's root, until it is dropped.
pub(crate) struct Key(pub(crate) i64);

impl Key {
    pub(crate) fn new(name: &str, payload: &str) -> io::Result<Self> {
        let name = CString::new(name)?;
        // SAFETY: three texts or byte strings that live, with their lengths where the kernel asks for one.
        let serial = unsafe {
            libc::syscall(
                libc::SYS_add_key,
                c"user".as_ptr(),
                name.as_ptr(),
                payload.as_ptr(),
                payload.len(),
                USER_KEYRING,
            )
        };
        if serial < 0 {
            return Err(io::Error::last_os_error());
        }
        let key = Self(serial);
        // SAFETY: three numbers.
        match unsafe { libc::syscall(libc::SYS_keyctl, SETPERM, serial, PERMISSIONS) } {
            0 => Ok(key),
            _error => Err(io::Error::last_os_error()),
        }
    }
}

impl Drop for Key {
    fn drop(&mut self) {
        // SAFETY: three numbers.
        unsafe { libc::syscall(libc::SYS_keyctl, UNLINK, self.0, USER_KEYRING) };
    }
}

/// A segment of shared memory that everybody of its namespace may read, until it is dropped.
pub(crate) struct SharedMemory {
    pub(crate) key: i32,
    id: i32,
}

impl SharedMemory {
    pub(crate) fn new(key: i32, text: &CStr) -> io::Result<Self> {
        let bytes = text.to_bytes_with_nul();
        // SAFETY: three numbers.
        let id = unsafe { libc::shmget(key, bytes.len(), libc::IPC_CREAT | libc::IPC_EXCL | 0o666) };
        if id < 0 {
            return Err(io::Error::last_os_error());
        }
        let memory = Self { key, id };
        // SAFETY: the kernel chooses the place, where nothing else is.
        let place = unsafe { libc::shmat(id, std::ptr::null(), 0) };
        if place.addr() == usize::MAX {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the segment was made as long as the text, and nothing points into it after it is detached.
        unsafe {
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), place.cast(), bytes.len());
            libc::shmdt(place);
        }
        Ok(memory)
    }
}

impl Drop for SharedMemory {
    fn drop(&mut self) {
        // SAFETY: two numbers, and no place for an answer, which this command does not have.
        unsafe { libc::shmctl(self.id, libc::IPC_RMID, std::ptr::null_mut()) };
    }
}

/// The number of a file in its filesystem, as `KIND:HEX` (`man 2 name_to_handle_at`).
pub(crate) fn file_handle(path: &Path) -> io::Result<String> {
    const ROOM: usize = 128;
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mut handle = [0_u32; 2 + ROOM / 4];
    handle[0] = ROOM as u32;
    let mut mount = 0_i32;
    // SAFETY: the path ends in a zero; the handle tells how much room it has, and both places live.
    let result = unsafe {
        libc::syscall(
            libc::SYS_name_to_handle_at,
            libc::AT_FDCWD,
            path.as_ptr(),
            handle.as_mut_ptr(),
            &raw mut mount,
            0,
        )
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    let bytes: Vec<u8> = handle[2..].iter().flat_map(|word| word.to_ne_bytes()).take(handle[0] as usize).collect();
    Ok(format!("{}:{}", handle[1].cast_signed(), data_encoding::HEXLOWER.encode(&bytes)))
}
