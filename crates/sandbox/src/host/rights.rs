//! What root may do, less what is not needed (`man 7 capabilities`).

use rustix::{
    io::Errno,
    thread::{
        CapabilitySets, capabilities, capability_is_in_bounding_set, clear_ambient_capability_set,
        remove_capability_from_bounding_set, set_capabilities, set_no_new_privs,
    },
};
use std::io;

pub use rustix::thread::CapabilitySet as Rights;

/// Lays down every right but these, for the calling thread and all that it starts, for good. To be called while there
/// is no other thread: each has its own.
///
/// # Errors
/// The system refuses.
pub fn keep_only(needed: Rights) -> io::Result<()> {
    // First of all: no program that is started from here on has more than this one, whatever else is refused below.
    set_no_new_privs(true)?;
    for right in (0..u64::BITS).map(|n| Rights::from_bits_retain(1 << n)) {
        match capability_is_in_bounding_set(right) {
            Ok(true) if !needed.contains(right) => match remove_capability_from_bounding_set(right) {
                // Who is not root has nothing to lay down, and a container may not let its root do it.
                Ok(()) | Err(Errno::PERM) => {}
                Err(error) => return Err(error.into()),
            },
            Ok(_) => {}
            // The kernel knows no more of them.
            Err(Errno::INVAL) => break,
            Err(error) => return Err(error.into()),
        }
    }
    clear_ambient_capability_set()?;
    let kept = capabilities(None)?.permitted & needed;
    Ok(set_capabilities(None, CapabilitySets { effective: kept, permitted: kept, inheritable: Rights::empty() })?)
}
