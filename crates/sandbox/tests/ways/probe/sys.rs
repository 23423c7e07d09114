//! System calls as they are: a probe must say exactly what it asks for, also where a library would not.
#![expect(unsafe_code, reason = "the calls that are tried have no safe wrapper, as nobody should make them")]

use std::{
    ffi::CStr,
    io,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
};

/// An argument of a system call.
pub(crate) enum Arg<'a> {
    Int(i64),
    Text(&'a CStr),
    In(&'a [u8]),
    Out(&'a mut [u8]),
}

/// Makes a system call and gives its result.
pub(crate) fn call<const N: usize>(number: libc::c_long, mut args: [Arg<'_>; N]) -> io::Result<i64> {
    let mut words = [0_i64; 6];
    for (word, arg) in words.iter_mut().zip(&mut args) {
        *word = match arg {
            Arg::Int(value) => *value,
            Arg::Text(text) => text.as_ptr() as i64,
            Arg::In(bytes) => bytes.as_ptr() as i64,
            Arg::Out(bytes) => bytes.as_mut_ptr() as i64,
        };
    }
    let [a, b, c, d, e, f] = words;
    // SAFETY: every pointer is one into memory that outlives the call, and each caller tells the kernel no more than
    // that memory's length. No call made here hands the kernel memory for longer than the call itself.
    let result = unsafe { libc::syscall(number, a, b, c, d, e, f) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// The same for a call whose result is a new descriptor.
pub(crate) fn open<const N: usize>(number: libc::c_long, args: [Arg<'_>; N]) -> io::Result<OwnedFd> {
    let descriptor = call(number, args)?;
    // SAFETY: the kernel has just made it, for this process, and nothing else knows of it.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor as i32) })
}

/// A descriptor as an argument.
pub(crate) fn fd(descriptor: &impl AsRawFd) -> Arg<'static> {
    Arg::Int(descriptor.as_raw_fd().into())
}

/// Runs `work` in a child and tells the status that it ended with (`man 2 wait`). This process has one thread.
pub(crate) fn in_a_child(work: impl FnOnce() -> i32) -> io::Result<i32> {
    // SAFETY: of a process with one thread the child is a whole copy, so that it may do whatever its parent may.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        // SAFETY: it ends without running what the parent has yet to run at its end.
        0 => unsafe { libc::_exit(work()) },
        child => wait_for(child),
    }
}

/// Waits for a child and tells its status.
pub(crate) fn wait_for(child: i32) -> io::Result<i32> {
    let mut status = 0;
    // SAFETY: `status` is a plain number that lives.
    if unsafe { libc::waitpid(child, &raw mut status, libc::__WALL) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(status)
}

/// The first bytes, at most 256, of a segment of shared memory (`man 2 shmat`), up to a zero.
pub(crate) fn shared_memory(key: i32) -> Result<Vec<u8>, (&'static str, io::Error)> {
    // SAFETY: the call takes three numbers.
    let id = unsafe { libc::shmget(key, 0, 0) };
    if id < 0 {
        return Err(("shmget", io::Error::last_os_error()));
    }
    // SAFETY: the kernel chooses the place, where nothing else is.
    let place = unsafe { libc::shmat(id, std::ptr::null(), libc::SHM_RDONLY) };
    if place.addr() == usize::MAX {
        return Err(("shmat", io::Error::last_os_error()));
    }
    // SAFETY: a segment has whole pages, and whoever writes to this one put a text with its zero there long ago.
    Ok(unsafe { CStr::from_ptr(place.cast()) }.to_bytes().to_vec())
}

/// Reads the memory of another process, from an address on.
pub(crate) fn memory_of(pid: i32, address: u64, bytes: &mut [u8]) -> io::Result<()> {
    let here = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
    let there = libc::iovec { iov_base: std::ptr::without_provenance_mut(address as usize), iov_len: bytes.len() };
    // SAFETY: the kernel writes to `bytes` alone, no more than its length, and the other address is not of this process.
    let read = unsafe { libc::process_vm_readv(pid, &raw const here, 1, &raw const there, 1, 0) };
    if read < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Asks for this process's number as a program of 32 bits does, where the kernel serves those.
#[cfg(target_arch = "x86_64")]
pub(crate) fn getpid_of_32_bits() -> i32 {
    const GETPID: i32 = 20;
    let answer: i32;
    // SAFETY: the call takes nothing and changes no memory. The kernel may clear r8 to r11 on this gate.
    unsafe {
        std::arch::asm!("int 0x80", inout("eax") GETPID => answer, out("r8") _, out("r9") _, out("r10") _, out("r11") _);
    }
    answer
}
