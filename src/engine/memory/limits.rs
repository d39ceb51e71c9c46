//! What goes when its time is over or there is too much of it: messages, names, topics.

use std::time::Duration;

use super::super::Engine;
use super::MemoryEngine;

/// A topic that holds less than this does not lose messages while there are topics that nobody uses: those go first.
const MODEST_BYTES: usize = 1024;

/// How many topics one tick looks at, so that a million that are due at once do not hold up what is published.
const LOOKS_PER_TICK: usize = 50_000;

impl MemoryEngine {
    /// Lets go of what the limits have no room for.
    pub(super) fn keep_limits(&mut self) {
        while self.unused.len() > self.settings.unused_topics_max.max(1) {
            let Some(key) = self.unused.first() else { break };
            self.forget(key);
        }
        let excess = self.history_bytes().saturating_sub(self.settings.history_bytes_max);
        if excess > 0 {
            self.shed(excess);
        }
    }

    /// Frees `excess` bytes: first of the topics that hold most, then of those that nobody uses. Frames of what is let
    /// go are free when the last reader has let go of it too, so they are not waited for.
    pub(super) fn shed(&mut self, excess: usize) {
        let goal = self.own_bytes().saturating_sub(excess);
        while self.own_bytes() > goal && self.history_bytes() > self.settings.history_bytes_max {
            match (self.holders.next(), self.unused.first()) {
                (Some((key, bytes)), unused) if bytes >= MODEST_BYTES || unused.is_none() => {
                    self.topics[key].log.pop();
                    self.settle(key);
                }
                (_, Some(key)) => self.forget(key),
                (_, None) => return,
            }
        }
    }

    /// What is counted here, without the frames of messages.
    pub(super) fn own_bytes(&self) -> usize {
        self.topics_bytes + self.holders.bytes() + self.names.bytes()
    }

    /// Lets go of messages over age that nobody reads.
    pub(super) fn let_all_age(&mut self, now: Duration) {
        for _ in 0..LOOKS_PER_TICK {
            let Some(key) = self.aging.take(now) else { return };
            let Some(entry) = self.topics.get_mut(key) else { continue };
            entry.is_aging = false;
            entry.log.let_age(now);
            self.settle(key);
        }
    }

    /// Forgets the names of publishes whose time is over, and the oldest of too many.
    pub(super) fn forget_names(&mut self, now: Option<Duration>) {
        let until = now.and_then(|now| now.checked_sub(self.settings.dedup_window));
        while let Some((key, until)) = self.names.next(until) {
            let Some(entry) = self.topics.get_mut(key) else { continue };
            self.names.forget(&mut entry.dedup, until);
            self.settle(key);
        }
    }

    /// Forgets topics that nobody has used for long enough.
    pub(super) fn forget_unused(&mut self, now: Duration) {
        for _ in 0..LOOKS_PER_TICK {
            let Some(key) = self.lingering.take(now) else { return };
            let Some(entry) = self.topics.get_mut(key) else { continue };
            entry.is_lingering = false;
            let is_over = entry.used_at.saturating_add(self.settings.linger) <= now;
            if is_over && entry.is_bare() && !entry.is_in_use() {
                self.forget(key);
            } else {
                self.settle(key);
            }
        }
    }
}
