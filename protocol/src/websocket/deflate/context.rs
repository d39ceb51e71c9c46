//! What a peer may refer to that keeps its context although it was told not to: the last bytes it has sent, inflated.
//! How they are put before the next message is `Inflater`'s.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// As far back as DEFLATE can refer (RFC 1951 §2).
const WINDOW_BYTES: usize = 32 * 1024;

/// What all contexts of one [`Inflaters`](super::Inflaters) may take together.
const CONTEXTS_BYTES_MAX: usize = 16 * 1024 * 1024;

/// How much all contexts of a thread take. Shared, because a context ends with its connection.
#[derive(Debug, Clone, Default)]
pub(super) struct Total(Arc<AtomicUsize>);

/// The last inflated bytes of one peer, as long as there is room for them; then none.
#[derive(Debug)]
pub(in crate::websocket) struct Context {
    window: Vec<u8>,
    total: Total,
}

impl Context {
    pub(super) fn new(total: &Total) -> Self {
        Self { window: Vec::new(), total: total.clone() }
    }

    pub(super) fn window(&self) -> &[u8] {
        &self.window
    }

    /// Bytes of heap.
    pub(in crate::websocket) fn bytes(&self) -> usize {
        self.window.capacity()
    }

    /// Adds a message of the peer's. If there is no room, this and all before it are forgotten.
    pub(in crate::websocket) fn remember(&mut self, message: &[u8]) {
        let message = &message[message.len().saturating_sub(WINDOW_BYTES)..];
        let surplus = (self.window.len() + message.len()).saturating_sub(WINDOW_BYTES);
        self.window.drain(..surplus);
        let growth = (self.window.len() + message.len()).saturating_sub(self.window.capacity());
        let Total(total) = &self.total;
        if total.fetch_add(growth, Ordering::Relaxed) + growth > CONTEXTS_BYTES_MAX {
            total.fetch_sub(growth + self.window.capacity(), Ordering::Relaxed);
            self.window = Vec::new();
            return;
        }
        self.window.reserve_exact(message.len());
        // Exact but for what the allocator rounds up, which it does not tell.
        debug_assert!(self.window.capacity() <= WINDOW_BYTES);
        self.window.extend_from_slice(message);
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        self.total.0.fetch_sub(self.window.capacity(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_window_of_bytes_is_remembered() {
        let mut context = Context::new(&Total::default());
        for byte in 0..10 {
            context.remember(&[byte; 10_000]);
        }
        assert_eq!(context.window().len(), WINDOW_BYTES);
        assert!(context.window().ends_with(&[9; 10_000]) && context.window().starts_with(&[6; 2_768]));
        context.remember(&[10; 100_000]);
        assert_eq!(context.window(), [10; WINDOW_BYTES]);
    }

    #[test]
    fn all_together_stay_within_their_limit_and_leave_nothing_behind() {
        let total = Total::default();
        let mut contexts: Vec<_> = (0..1_000).map(|_| Context::new(&total)).collect();
        for context in &mut contexts {
            context.remember(&[1; WINDOW_BYTES]);
            assert!(total.0.load(Ordering::Relaxed) <= CONTEXTS_BYTES_MAX);
        }
        let remembered = contexts.iter().filter(|context| !context.window().is_empty()).count();
        assert_eq!(remembered, CONTEXTS_BYTES_MAX / WINDOW_BYTES);
        drop(contexts);
        assert_eq!(total.0.load(Ordering::Relaxed), 0);
    }
}
