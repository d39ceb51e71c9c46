//! All topics there are: by name, by key, and in order, so that a pattern need not look at each of them.

use std::collections::{BTreeSet, HashMap};
use std::ops::{Bound, Index, IndexMut};
use std::time::Duration;

use slotmap::SlotMap;
use topichub_protocol::topic::{Pattern, Topic};

use super::dedup::Dedup;
use super::eviction::Place;
use super::log::Log;
use super::roster::Roster;
use super::unused::Links;

slotmap::new_key_type! {
    /// One incarnation of a topic.
    pub(super) struct TopicKey;
}

/// What a topic costs beside its name and its messages: its entry; its share of the map of names, the ordered set, the
/// agendas and the levels; the counts of its name. `cost` measures it.
pub(super) const TOPIC_BYTES: usize = size_of::<Entry>() + 160;

/// How many topics are looked at for one page: a pattern may match few of many.
const LOOKS_PER_PAGE: usize = 20_000;

/// One topic. What few topics have is in a box.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) topic: Topic,
    pub(super) log: Log,
    pub(super) dedup: Option<Box<Dedup>>,
    /// Who is present; never an empty one.
    pub(super) roster: Option<Box<Roster>>,
    pub(super) used_at: Duration,
    pub(super) is_subscribed: bool,
    /// Whether the agenda of ages holds the topic: as soon as a message is retained.
    pub(super) is_aging: bool,
    /// Whether the agenda of unused topics does: as soon as nothing keeps it but its last use.
    pub(super) is_lingering: bool,
    /// Where it stands among those that can lose messages.
    pub(super) place: Place,
    /// Its neighbours among the unused, if it is one of them.
    pub(super) links: Option<Links>,
}

impl Entry {
    fn new(topic: Topic, log: Log, now: Duration) -> Self {
        Self {
            topic,
            log,
            dedup: None,
            roster: None,
            used_at: now,
            is_subscribed: false,
            is_aging: false,
            is_lingering: false,
            place: Place::default(),
            links: None,
        }
    }

    pub(super) fn is_in_use(&self) -> bool {
        self.is_subscribed || self.roster.is_some()
    }

    /// Whether there is nothing in it that would be missed, but for its position.
    pub(super) fn is_bare(&self) -> bool {
        self.log.is_empty() && self.dedup.is_none()
    }

    /// What it costs without messages.
    pub(super) fn fixed_bytes(&self) -> usize {
        TOPIC_BYTES + self.topic.as_str().len()
    }
}

/// All topics.
#[derive(Debug, Default)]
pub(super) struct Topics {
    entries: SlotMap<TopicKey, Entry>,
    by_name: HashMap<Topic, TopicKey>,
    in_order: BTreeSet<Topic>,
}

impl Topics {
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn keys(&self) -> Vec<TopicKey> {
        self.entries.keys().collect()
    }

    pub(super) fn find(&self, topic: &Topic) -> Option<TopicKey> {
        self.by_name.get(topic).copied()
    }

    pub(super) fn get_mut(&mut self, key: TopicKey) -> Option<&mut Entry> {
        self.entries.get_mut(key)
    }

    pub(super) fn contains(&self, key: TopicKey) -> bool {
        self.entries.contains_key(key)
    }

    pub(super) fn insert(&mut self, topic: &Topic, log: Log, now: Duration) -> TopicKey {
        let key = self.entries.insert(Entry::new(topic.clone(), log, now));
        self.by_name.insert(topic.clone(), key);
        self.in_order.insert(topic.clone());
        key
    }

    pub(super) fn remove(&mut self, key: TopicKey) -> Option<Entry> {
        let entry = self.entries.remove(key)?;
        self.by_name.remove(&entry.topic);
        self.in_order.remove(&entry.topic);
        Some(entry)
    }

    /// All topics that match, in order.
    ///
    /// # Errors
    /// How many were found until there were more than `max`.
    pub(super) fn matching(&self, pattern: &Pattern, max: usize) -> Result<Vec<Topic>, usize> {
        let prefix = prefix(pattern);
        let range = (Bound::Included(prefix), Bound::Unbounded);
        let near =
            self.in_order.range::<str, _>(range).take_while(|topic| topic.as_str().starts_with(prefix));
        let matching = near.filter(|topic| pattern.matches(topic));
        let found: Vec<_> = matching.take(max.saturating_add(1)).cloned().collect();
        if found.len() > max { Err(found.len()) } else { Ok(found) }
    }
}

impl Topics {
    /// Topics behind `after`, in order, and where to go on.
    pub(super) fn list(
        &self,
        pattern: Option<&Pattern>,
        after: Option<&Topic>,
        limit: usize,
    ) -> (Vec<Topic>, Option<Topic>) {
        let prefix = pattern.map_or("", |pattern| prefix(pattern));
        let from = match after {
            Some(after) if after.as_str() >= prefix => Bound::Excluded(after.as_str()),
            _ => Bound::Included(prefix),
        };
        let (mut page, mut looks) = (Vec::new(), 0);
        let mut last = None;
        for topic in self.in_order.range::<str, _>((from, Bound::Unbounded)) {
            if !topic.as_str().starts_with(prefix) {
                return (page, None);
            }
            if page.len() == limit || looks == LOOKS_PER_PAGE {
                return (page, last);
            }
            looks += 1;
            last = Some(topic.clone());
            if pattern.is_none_or(|pattern| pattern.matches(topic)) {
                page.push(topic.clone());
            }
        }
        (page, None)
    }
}

/// What stands before the first wildcard. A wildcard is a token of its own, so that is whole tokens with their dots.
fn prefix(pattern: &Pattern) -> &str {
    let text = pattern.as_str();
    text.find(['*', '>']).map_or(text, |at| &text[..at])
}

impl Index<TopicKey> for Topics {
    type Output = Entry;

    fn index(&self, key: TopicKey) -> &Entry {
        &self.entries[key]
    }
}

impl IndexMut<TopicKey> for Topics {
    fn index_mut(&mut self, key: TopicKey) -> &mut Entry {
        &mut self.entries[key]
    }
}
