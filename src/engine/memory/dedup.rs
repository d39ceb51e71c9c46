//! The names of publishes (`dedup`), so that a repeat is known for what it is: for each topic what came of each name,
//! and for all topics together when names are to be forgotten.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::index::TopicKey;

/// The most names remembered of one topic.
pub(super) const NAMES_PER_TOPIC_MAX: usize = 10_000;

/// The most names remembered of all topics; they take up to 70 MB.
pub(super) const NAMES_MAX: usize = 250_000;

/// What a name costs beside its letters: twice a pointer to it, its counts, what came of it, its place in two queues.
const NAME_BYTES: usize = 168;

/// What came of a name.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    /// Of the payload and key.
    pub(super) fingerprint: u64,
    pub(super) offset: u64,
    pub(super) subscribers: u32,
}

/// The names of one topic.
#[derive(Debug, Default)]
pub(super) struct Dedup {
    seen: HashMap<Arc<str>, Seen>,
    in_order: VecDeque<(Duration, Arc<str>)>,
}

impl Dedup {
    pub(super) fn get(&self, name: &str) -> Option<Seen> {
        self.seen.get(name).copied()
    }

    fn is_empty(&self) -> bool {
        self.in_order.is_empty()
    }

    /// Forgets the oldest name if it is from `until` or before; returns what that sets free.
    fn forget(&mut self, until: Duration) -> Option<usize> {
        let (_, name) = self.in_order.pop_front_if(|(at, _)| *at <= until)?;
        self.seen.remove(&name);
        Some(NAME_BYTES + name.len())
    }
}

/// What all names cost, and whose is the oldest.
#[derive(Debug, Default)]
pub(super) struct Names {
    /// One for each name that was put. The topic, or the name, may be forgotten by now.
    in_order: VecDeque<(Duration, TopicKey)>,
    bytes: usize,
}

impl Names {
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Remembers what came of a name that was not known.
    pub(super) fn put(
        &mut self,
        key: TopicKey,
        dedup: &mut Option<Box<Dedup>>,
        name: &str,
        seen: Seen,
        now: Duration,
    ) {
        let names = dedup.get_or_insert_default();
        let name = Arc::<str>::from(name);
        self.bytes += NAME_BYTES + name.len();
        names.seen.insert(Arc::clone(&name), seen);
        names.in_order.push_back((now, name));
        if names.in_order.len() > NAMES_PER_TOPIC_MAX {
            self.bytes -= names.forget(now).unwrap_or_default();
        }
        self.in_order.push_back((now, key));
    }

    /// Forgets the names of a topic from `until` or before.
    pub(super) fn forget(&mut self, dedup: &mut Option<Box<Dedup>>, until: Duration) {
        let Some(names) = dedup else { return };
        while let Some(bytes) = names.forget(until) {
            self.bytes -= bytes;
        }
        if names.is_empty() {
            *dedup = None;
        }
    }

    /// A topic of which a name is from `until` or before, or has to make room, with the time up to which to forget.
    pub(super) fn next(&mut self, until: Option<Duration>) -> Option<(TopicKey, Duration)> {
        let (at, key) = *self.in_order.front()?;
        if until.is_none_or(|until| at > until) && self.in_order.len() <= NAMES_MAX {
            return None;
        }
        self.in_order.pop_front();
        Some((key, at))
    }
}
