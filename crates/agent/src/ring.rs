//! What a job wrote and the host has not yet acknowledged, with the offset of every byte.
//!
//! ```text
//!        0 ─── forgotten ─── start ─── held ─── written
//! ```
//! Pure: no I/O, no waiting. Memory grows as it is used and shrinks when it is forgotten.

use polydev_proto::Overflow;
use std::collections::VecDeque;

/// Below this many bytes an allocation is not worth giving back.
const KEEP: usize = 4096;

/// The output of one stream of a job.
#[derive(Debug)]
pub(crate) struct Ring {
    held: VecDeque<u8>,
    start: u64,
    capacity: usize,
    overflow: Overflow,
}

/// An offset that was forgotten, or that is not yet written.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct BadOffset {
    pub(crate) offset: u64,
    pub(crate) start: u64,
    pub(crate) written: u64,
}

impl Ring {
    pub(crate) fn new(ring: polydev_proto::Ring) -> Self {
        Self { held: VecDeque::new(), start: 0, capacity: ring.capacity as usize, overflow: ring.overflow }
    }

    /// How many bytes were ever written.
    pub(crate) fn written(&self) -> u64 {
        self.start + self.held.len() as u64
    }

    /// How many bytes are held.
    pub(crate) fn len(&self) -> usize {
        self.held.len()
    }

    /// How many bytes it may hold.
    pub(crate) fn capacity(&self) -> usize {
        self.capacity
    }

    /// How many bytes may be pushed now. Zero: the job has to wait.
    pub(crate) fn room(&self) -> usize {
        match self.overflow {
            Overflow::Block => self.capacity.saturating_sub(self.held.len()),
            Overflow::DropOldest => usize::MAX,
        }
    }

    /// Takes what the job wrote. A `block` ring takes no more than [`Ring::room`].
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        debug_assert!(bytes.len() <= self.room());
        let skipped = bytes.len().saturating_sub(self.capacity);
        let kept = &bytes[skipped..];
        let drop = (self.held.len() + kept.len()).saturating_sub(self.capacity);
        self.held.drain(..drop);
        self.start += (drop + skipped) as u64;
        self.reserve(kept.len());
        self.held.extend(kept);
    }

    /// Where an attachment that wants the bytes from `offset` on begins.
    pub(crate) fn begin(&self, offset: u64) -> Result<u64, BadOffset> {
        let bad = BadOffset { offset, start: self.start, written: self.written() };
        if offset > self.written() {
            return Err(bad);
        }
        match self.overflow {
            Overflow::Block if offset < self.start => Err(bad),
            Overflow::Block | Overflow::DropOldest => Ok(offset.max(self.start)),
        }
    }

    /// Forgets what came before `offset`. What is forgotten already is no error; what is not yet written is.
    pub(crate) fn forget(&mut self, offset: u64) -> Result<(), BadOffset> {
        if offset > self.written() {
            return Err(BadOffset { offset, start: self.start, written: self.written() });
        }
        let Some(count) = offset.checked_sub(self.start) else { return Ok(()) };
        self.held.drain(..count as usize);
        self.start = offset;
        if self.held.capacity() > KEEP && self.held.len() < self.held.capacity() / 4 {
            self.held.shrink_to(self.held.len() * 2);
        }
        Ok(())
    }

    /// The bytes from `cursor` on, or from the oldest that is held, at most
    /// `max`, appended to `out`. Returns the offset of the first.
    pub(crate) fn copy(&self, cursor: u64, max: usize, out: &mut Vec<u8>) -> u64 {
        let from = cursor.clamp(self.start, self.written());
        let skip = (from - self.start) as usize;
        let end = self.held.len().min(skip.saturating_add(max));
        let (front, back) = self.held.as_slices();
        let cut = front.len();
        out.extend_from_slice(&front[skip.min(cut)..end.min(cut)]);
        out.extend_from_slice(&back[skip.saturating_sub(cut)..end.saturating_sub(cut)]);
        from
    }

    /// Doubles like `VecDeque` does, but never beyond the capacity of the ring.
    fn reserve(&mut self, more: usize) {
        let needed = self.held.len() + more;
        if needed > self.held.capacity() {
            let grown = needed.max(self.held.capacity() * 2).min(self.capacity);
            self.held.reserve_exact(grown - self.held.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ring(capacity: u32, overflow: Overflow) -> Ring {
        Ring::new(polydev_proto::Ring { capacity, overflow })
    }

    #[test]
    fn a_full_block_ring_has_no_room_until_it_is_acknowledged() {
        let mut ring = ring(4, Overflow::Block);
        ring.push(b"abcd");
        assert_eq!(ring.room(), 0);
        ring.forget(3).unwrap();
        assert_eq!(ring.room(), 3);
        assert_eq!(ring.begin(2), Err(BadOffset { offset: 2, start: 3, written: 4 }));
        assert_eq!(ring.begin(4), Ok(4));
        assert_eq!(ring.begin(5), Err(BadOffset { offset: 5, start: 3, written: 4 }));
    }

    #[test]
    fn a_drop_oldest_ring_holds_the_tail() {
        let mut ring = ring(4, Overflow::DropOldest);
        ring.push(b"abc");
        ring.push(b"defghij");
        let mut out = Vec::new();
        assert_eq!((ring.copy(0, 99, &mut out), ring.written()), (6, 10));
        assert_eq!(out, b"ghij");
        assert_eq!(ring.begin(1), Ok(6));
    }

    #[derive(Debug, Clone)]
    enum Step {
        Push(Vec<u8>),
        Forget(u64),
        Copy(u64, usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            prop::collection::vec(any::<u8>(), 0..40).prop_map(Step::Push),
            (0..400_u64).prop_map(Step::Forget),
            ((0..400_u64), (0..50_usize)).prop_map(|(at, max)| Step::Copy(at, max)),
        ]
    }

    proptest! {
        /// Against a model that never forgets: what is read is what was written there.
        #[test]
        fn every_byte_keeps_its_offset(
            capacity in 0..32_u32,
            block in any::<bool>(),
            steps in prop::collection::vec(step(), 0..60),
        ) {
            let overflow = if block { Overflow::Block } else { Overflow::DropOldest };
            let mut ring = ring(capacity, overflow);
            let mut all: Vec<u8> = Vec::new();
            for step in steps {
                match step {
                    Step::Push(mut bytes) => {
                        bytes.truncate(ring.room());
                        ring.push(&bytes);
                        all.extend(&bytes);
                    }
                    Step::Forget(offset) => {
                        prop_assert_eq!(ring.forget(offset).is_ok(), offset <= all.len() as u64);
                    }
                    Step::Copy(at, max) => {
                        let mut out = Vec::new();
                        let from = ring.copy(at, max, &mut out) as usize;
                        prop_assert!(out.len() <= max);
                        prop_assert_eq!(&all[from..from + out.len()], &out[..]);
                    }
                }
                prop_assert_eq!(ring.written(), all.len() as u64);
                prop_assert!(ring.len() <= capacity as usize);
                prop_assert!(ring.held.capacity() <= (capacity as usize).max(4));
            }
        }
    }
}
