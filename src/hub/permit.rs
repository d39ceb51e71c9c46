//! How much one sender may have on its way through the hub. A permit rides along with a command or message and
//! gives its share back when the last worker has let go of it, which wakes the sender's session to read on.

use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Waker;

use futures_util::task::AtomicWaker;

/// What a command counts beyond its bytes, so that tiny commands are bounded as well.
const OVERHEAD_BYTES: usize = 256;

/// The bytes a session has on their way, and the session to wake when they have passed.
#[derive(Debug, Default)]
pub(crate) struct Flight {
    bytes: AtomicUsize,
    waker: AtomicWaker,
}

impl Flight {
    /// Books `bytes`; the returned permit gives them back when it is dropped.
    pub(crate) fn book(self: &Arc<Self>, bytes: usize) -> Permit {
        let bytes = bytes + OVERHEAD_BYTES;
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        Permit(Share::Flight { flight: Arc::clone(self), bytes })
    }

    /// Whether more than `max` bytes are on their way. If so, `waker` is woken as soon as one permit returns.
    pub(crate) fn is_over(&self, max: usize, waker: &Waker) -> bool {
        if self.bytes.load(Ordering::Acquire) <= max {
            return false;
        }
        self.waker.register(waker);
        self.bytes.load(Ordering::Acquire) > max
    }
}

/// A sender's booked share, given back when this is dropped.
#[derive(Debug)]
pub(crate) struct Permit(Share);

#[derive(Debug)]
enum Share {
    Flight {
        flight: Arc<Flight>,
        bytes: usize,
    },
    /// Whatever callers outside of any session are counted by.
    Other {
        share: Arc<dyn Debug + Send + Sync>,
    },
}

impl Permit {
    /// A permit that holds `share` until it is dropped.
    pub(crate) fn holding(share: impl Debug + Send + Sync + 'static) -> Self {
        Self(Share::Other { share: Arc::new(share) })
    }

    /// Part of this permit, for one of `rest` who have yet to let go: what is booked comes back part by part.
    pub(crate) fn split(&mut self, rest: usize) -> Self {
        match &mut self.0 {
            Share::Flight { flight, bytes } => {
                let part = *bytes / rest.max(1);
                *bytes -= part;
                Self(Share::Flight { flight: Arc::clone(flight), bytes: part })
            }
            Share::Other { share } => Self(Share::Other { share: Arc::clone(share) }),
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Share::Flight { flight, bytes } = &self.0 {
            flight.bytes.fetch_sub(*bytes, Ordering::AcqRel);
            flight.waker.wake();
        }
    }
}
