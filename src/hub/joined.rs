//! Whole frames joined in one turn, and the copy of them that outlives it. Who gets which part is the turn's business;
//! how long a copy is kept is the outboxes'.

use std::cell::RefCell;
use std::ops::Range;
use std::rc::{Rc, Weak};

use bytes::Bytes;

use super::outbox::Outboxes;

/// Frames joined for one turn. Whoever takes them at once takes them from here. For the first peer who does not they
/// are copied, once for all who wait together: so the buffer stays with the turn, and what waits is as long as it must be.
#[derive(Debug, Default)]
pub(crate) struct Joined {
    bytes: Vec<u8>,
    /// The positions behind each message.
    ends: Vec<u32>,
    kept: RefCell<Weak<Chunk>>,
}

impl Joined {
    /// Appends one whole message.
    pub(crate) fn push(&mut self, frame: &[u8]) {
        self.push_with(|bytes| bytes.extend_from_slice(frame));
    }

    /// Appends one whole message, which is written behind what is there.
    pub(crate) fn push_with(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        debug_assert!(self.kept.get_mut().strong_count() == 0, "a turn is over once somebody has a copy");
        write(&mut self.bytes);
        self.ends.push(self.bytes.len() as u32);
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(crate) fn messages(&self) -> usize {
        self.ends.len()
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Where message `number` lies, counted from 0.
    pub(crate) fn message(&self, number: usize) -> Range<usize> {
        let start = number.checked_sub(1).map_or(0, |before| self.ends[before] as usize);
        start..self.ends[number] as usize
    }

    /// How many messages have begun before the byte at `at`.
    pub(crate) fn begun_at(&self, at: usize) -> usize {
        let ended = self.ends.partition_point(|end| (*end as usize) <= at);
        let start = ended.checked_sub(1).map_or(0, |before| self.ends[before] as usize);
        ended + usize::from(start < at)
    }

    /// The same bytes, to be kept.
    pub(super) fn chunk(&self, outboxes: &Rc<Outboxes>) -> Rc<Chunk> {
        let mut kept = self.kept.borrow_mut();
        kept.upgrade().unwrap_or_else(|| {
            let (bytes, ends) = (Bytes::copy_from_slice(&self.bytes), self.ends.as_slice().into());
            let chunk = Rc::new(Chunk::new(bytes, ends, outboxes));
            *kept = Rc::downgrade(&chunk);
            chunk
        })
    }

    /// Begins anew, as the `place`th of its turn: only few keep a buffer that has become large.
    pub(crate) fn renew(&mut self, place: usize) {
        const LARGE_BYTES: usize = 4096;
        const LARGE_MAX: usize = 16;
        self.kept = RefCell::default();
        self.bytes.clear();
        self.ends.clear();
        if place >= LARGE_MAX {
            self.bytes.shrink_to(LARGE_BYTES);
            self.ends.shrink_to(LARGE_BYTES / size_of::<u32>());
        }
    }
}

/// Whole messages that wait for somebody, made once and shared by every outbox that could not pass them on at once.
/// `ends` are the positions behind each message, so that an outbox can count and cut by message.
#[derive(Debug)]
pub(crate) struct Chunk {
    bytes: Bytes,
    ends: Box<[u32]>,
    outboxes: Rc<Outboxes>,
}

impl Chunk {
    fn new(bytes: Bytes, ends: Box<[u32]>, outboxes: &Rc<Outboxes>) -> Self {
        let chunk = Self { bytes, ends, outboxes: Rc::clone(outboxes) };
        outboxes.add(chunk.size());
        chunk
    }

    /// A chunk of one message.
    pub(super) fn single(bytes: &[u8], outboxes: &Rc<Outboxes>) -> Self {
        Self::new(Bytes::copy_from_slice(bytes), [bytes.len() as u32].into(), outboxes)
    }

    /// What it takes of memory, in bytes.
    fn size(&self) -> usize {
        size_of::<Self>() + self.bytes.len() + size_of_val::<[u32]>(&self.ends)
    }

    pub(super) fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    pub(super) fn outboxes(&self) -> &Rc<Outboxes> {
        &self.outboxes
    }

    /// How many messages end within `range`.
    pub(super) fn messages(&self, range: &Range<usize>) -> usize {
        let before = |at: usize| self.ends.partition_point(|end| (*end as usize) <= at);
        before(range.end) - before(range.start)
    }

    /// Where the message ends that holds the byte at `at`.
    pub(super) fn end_of_message_at(&self, at: usize) -> usize {
        let index = self.ends.partition_point(|end| (*end as usize) <= at);
        self.ends.get(index).map_or(self.bytes.len(), |end| *end as usize)
    }

    /// Where the message starts that holds the byte at `at`.
    pub(super) fn start_of_message_at(&self, at: usize) -> usize {
        let index = self.ends.partition_point(|end| (*end as usize) <= at);
        if index == 0 { 0 } else { self.ends[index - 1] as usize }
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        self.outboxes.subtract(self.size());
    }
}
