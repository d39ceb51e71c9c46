//! When to look at which topic. An entry may come too early, never too late: whoever takes it looks whether the topic
//! is due and puts it back if not, so that what is published meanwhile touches nothing here.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use super::index::{TopicKey, Topics};

/// Entries of topics that are no more are swept out when they are more than those of others, and more than this.
const STALE_KEPT: usize = 1024;

/// Topics in order of time, each at most once.
#[derive(Debug, Default)]
pub(super) struct Agenda(BinaryHeap<Reverse<(Duration, TopicKey)>>);

impl Agenda {
    pub(super) fn put(&mut self, at: Duration, key: TopicKey) {
        self.0.push(Reverse((at, key)));
    }

    /// Takes the first topic to look at, if its time has come.
    pub(super) fn take(&mut self, now: Duration) -> Option<TopicKey> {
        self.0.peek().filter(|Reverse((at, _))| *at <= now)?;
        self.0.pop().map(|Reverse((_, key))| key)
    }

    /// Keeps what is left of forgotten topics in bounds.
    pub(super) fn sweep(&mut self, topics: &Topics) {
        if self.0.len() > 2 * topics.len() + STALE_KEPT {
            self.0.retain(|Reverse((_, key))| topics.contains(*key));
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}
