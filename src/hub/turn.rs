//! One turn of a worker's loop: the frames to be written at its end, joined by topic and class.
//! Its buffers are used again in the next turn, so that a turn in which every peer keeps up allocates next to nothing.

use std::cell::OnceCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use topichub_protocol::topic::Topic;

use super::group::GroupKey;
use super::input::SubscriberKey;
use super::joined::Joined;
use super::lane::Kept;
use super::outbox::{Outboxes, Part};
use super::published::{Class, Published};

/// The messages of one topic in this turn.
#[derive(Debug, Default)]
pub(crate) struct TopicTurn {
    /// Whose members get them: the topic's own group and those of matching patterns.
    pub(crate) groups: Vec<GroupKey>,
    pub(crate) joined: [Joined; Class::ENCODED],
    pub(crate) messages: u32,
    /// The messages themselves, if there is anybody here who may not take them as they come.
    pub(crate) kept: Vec<KeptCell>,
    /// Subscribers that do not get the message of this number in the turn (`echo: false`).
    pub(crate) withheld: Vec<(SubscriberKey, u32)>,
}

/// A message, and what keeps it for those on this thread for whom it waits.
#[derive(Debug)]
pub(crate) struct KeptCell {
    pub(crate) published: Arc<Published>,
    kept: OnceCell<Rc<Kept>>,
}

impl KeptCell {
    pub(crate) fn new(published: Arc<Published>) -> Self {
        Self { published, kept: OnceCell::new() }
    }

    pub(crate) fn keep(&self, outboxes: &Rc<Outboxes>) -> Rc<Kept> {
        Rc::clone(self.kept.get_or_init(|| Kept::new(&self.published, outboxes)))
    }
}

impl TopicTurn {
    /// The messages for `subscriber`.
    pub(crate) fn kept_for(&self, subscriber: SubscriberKey) -> impl Iterator<Item = &KeptCell> {
        let withheld = move |number: usize| self.withheld.contains(&(subscriber, number as u32));
        self.kept.iter().enumerate().filter(move |(number, _)| !withheld(*number)).map(|(_, kept)| kept)
    }

    /// Appends the parts that `subscriber` gets in the form of `class`.
    pub(crate) fn parts_for<'a>(
        &'a self,
        subscriber: SubscriberKey,
        class: Class,
        parts: &mut Vec<Part<'a>>,
    ) {
        let joined = &self.joined[class as usize];
        if self.withheld.is_empty() {
            return parts.push(Part::whole(joined));
        }
        let mut start = 0;
        for (_, number) in self.withheld.iter().filter(|(key, _)| *key == subscriber) {
            let message = joined.message(*number as usize);
            parts.push(Part { joined, start, end: message.start });
            start = message.end;
        }
        parts.push(Part { joined, start, end: joined.len() });
        parts.retain(|part| part.start < part.end);
    }
}

/// Everything to be written at the end of the turn.
#[derive(Debug, Default)]
pub(crate) struct Turn {
    pub(crate) topics: Vec<TopicTurn>,
    /// Where in `topics` a topic stands that has no group of its own; the others' groups know.
    pub(crate) index: HashMap<Topic, u32>,
    /// Replies, which go to one session each: to whom, and they lie in `reply_bytes` in the same order.
    pub(crate) replies: Vec<SubscriberKey>,
    pub(crate) reply_bytes: Joined,
    spare: Vec<TopicTurn>,
}

impl Turn {
    pub(crate) fn is_empty(&self) -> bool {
        self.topics.is_empty() && self.replies.is_empty()
    }

    /// A place for a topic that has none yet in this turn.
    pub(crate) fn open(&mut self) -> (u32, &mut TopicTurn) {
        let place = self.topics.len();
        self.topics.push(self.spare.pop().unwrap_or_default());
        (place as u32, &mut self.topics[place])
    }

    /// Begins the next turn with the buffers of this one.
    pub(crate) fn renew(&mut self) {
        /// More topics than this in one turn are rare; their buffers are let go.
        const SPARE_MAX: usize = 1024;
        while let Some(mut topic) = self.topics.pop() {
            if self.spare.len() >= SPARE_MAX {
                continue;
            }
            // The last to be put back is the first to be taken: so few of them are ever large.
            let place = self.topics.len();
            topic.joined.iter_mut().for_each(|joined| joined.renew(place));
            topic.groups.clear();
            topic.kept.clear();
            topic.withheld.clear();
            topic.messages = 0;
            self.spare.push(topic);
        }
        self.index.clear();
        self.replies.clear();
        self.reply_bytes.renew(0);
    }
}
