//! What a long poll has so far (SPEC.md §21.6): how much of it counts, and whether it is time to answer.

use super::event::{is_overture, map_of};

/// An answer is full with this much, in bytes.
const ANSWER_BYTES_MAX: usize = 256 * 1024;

/// The maps themselves are kept where all that waits is.
#[derive(Debug)]
pub(super) struct Answer {
    limit: u64,
    /// Maps, but for those that come in any case.
    messages: u64,
    bytes: usize,
    is_full: bool,
    /// It has waited for as long as it may.
    is_due: bool,
    is_complete: bool,
}

impl Answer {
    /// One of so many messages at most.
    pub(super) fn new(limit: u64) -> Self {
        Self { limit, messages: 0, bytes: 0, is_full: false, is_due: false, is_complete: false }
    }

    pub(super) fn is_open(&self) -> bool {
        !self.is_full && !self.is_complete
    }

    pub(super) fn is_full(&self) -> bool {
        self.is_full
    }

    pub(super) fn is_complete(&self) -> bool {
        self.is_complete
    }

    /// The map in one of our events, with what stands before it in an array.
    pub(super) fn add(&mut self, event: &[u8]) -> Vec<u8> {
        let map = map_of(event, if self.bytes == 0 { b'[' } else { b',' });
        self.bytes += map.len();
        self.messages += u64::from(!is_overture(event));
        self.is_full = self.messages >= self.limit || self.bytes >= ANSWER_BYTES_MAX;
        map
    }

    /// Whether it could end if nothing of the past is still to come, or in any case.
    pub(super) fn may_end(&self) -> bool {
        !self.is_complete && (self.messages > 0 || self.is_due)
    }

    /// It need not wait any longer for something to come.
    pub(super) fn hurry(&mut self) {
        self.is_due = true;
    }

    pub(super) fn complete(&mut self) {
        self.is_complete = true;
    }
}
