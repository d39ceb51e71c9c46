//! What waits for a peer: whether it takes it, and whether there is room for more.

use std::task::Context;

use super::{Link, Phase};
use crate::hub::published::Class;

/// A batch of the past is sent when no more than this waits for the peer.
const ROOM_BYTES: usize = 16 * 1024;

/// Whether a peer for whom something waits takes any of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flow {
    /// Nothing waits any more.
    Clear,
    /// It has taken something since this was last asked.
    Moving,
    /// It has taken nothing.
    Stalled,
}

impl Link {
    /// Whether so much waits for the peer that it should take some of it before it says more.
    pub(crate) fn is_clogged(&self) -> bool {
        self.waiting_bytes() > self.outboxes.limits.get().bytes / 2
    }

    /// How many bytes the peer has not taken yet.
    pub(crate) fn waiting_bytes(&self) -> usize {
        // What is collected to an answer waits for nobody.
        if self.class == Class::Poll { 0 } else { self.state.borrow().exit.waiting_bytes() }
    }

    /// Whether something has begun to wait for the peer. Once said, it is for the caller to ask for
    /// [`flow`](Self::flow) from time to time, until it is clear.
    pub(crate) fn begins_to_wait(&self) -> bool {
        self.waiting_bytes() > 0 && !self.watched.replace(true)
    }

    /// Whether the peer takes what waits.
    pub(crate) fn flow(&self) -> Flow {
        let moved = std::mem::take(&mut self.state.borrow_mut().moved);
        if self.waiting_bytes() == 0 {
            self.watched.set(false);
            return Flow::Clear;
        }
        if moved { Flow::Moving } else { Flow::Stalled }
    }

    /// Whether the peer has taken everything so far.
    pub(crate) fn is_clear(&self) -> bool {
        !self.awaited.get() && self.waiting_bytes() == 0
    }

    /// Whether there is room for more of the past: it goes out by pieces, so that the live messages of other topics
    /// are never far behind.
    pub(crate) fn has_room(&self) -> bool {
        self.waiting_bytes() <= ROOM_BYTES
    }

    /// Somebody has more for the peer as soon as there is room.
    pub(crate) fn await_room(&self) {
        if !self.awaited.replace(true) {
            self.state.borrow().wake_session();
        }
    }

    /// Whether there is room for what somebody has; said once for each time that it was awaited.
    pub(crate) fn takes_more(&self, cx: &mut Context<'_>) -> bool {
        if !self.awaited.get() {
            return false;
        }
        let state = self.state.borrow();
        let takes = state.phase == Phase::Open && state.exit.waiting_bytes() == 0 && state.exit.poll_room(cx);
        if takes {
            self.awaited.set(false);
        }
        takes
    }
}
