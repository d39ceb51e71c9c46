//! One turn of a worker's loop: the frames to be written at its end, joined by topic and class.
//! Its buffers are used again in the next turn, so that a turn in which every peer keeps up allocates next to nothing.

use std::collections::HashMap;
use std::rc::Rc;

use bytes::{Bytes, BytesMut};
use topichub_protocol::topic::Topic;

use super::group::GroupKey;
use super::input::SubscriberKey;
use super::outbox::{Chunk, Part};
use super::published::Class;

/// Frames being joined.
#[derive(Debug, Default)]
pub(crate) struct Joined {
    bytes: BytesMut,
    ends: Vec<u32>,
}

impl Joined {
    /// Appends one whole message.
    pub(crate) fn push(&mut self, frame: &[u8]) {
        self.bytes.extend_from_slice(frame);
        self.ends.push(self.bytes.len() as u32);
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    fn seal(&mut self) -> Rc<Chunk> {
        let bytes = self.bytes.split().freeze();
        Rc::new(Chunk { bytes, ends: std::mem::take(&mut self.ends) })
    }

    /// Takes the buffers back, unless somebody still holds them.
    fn reclaim(&mut self, chunk: Rc<Chunk>) {
        let Ok(Chunk { bytes, mut ends }) = Rc::try_unwrap(chunk) else { return };
        ends.clear();
        self.ends = ends;
        if let Ok(mut bytes) = Bytes::try_into_mut(bytes) {
            bytes.clear();
            self.bytes = bytes;
        }
    }
}

/// The messages of one topic in this turn.
#[derive(Debug, Default)]
pub(crate) struct TopicTurn {
    /// Whose members get them: the topic's own group and those of matching patterns.
    pub(crate) groups: Vec<GroupKey>,
    pub(crate) joined: [Joined; Class::ENCODED],
    pub(crate) messages: u32,
    /// Subscribers that do not get the message of this number in the turn (`echo: false`).
    pub(crate) withheld: Vec<(SubscriberKey, u32)>,
}

impl TopicTurn {
    /// The parts of a sealed chunk that `subscriber` gets.
    pub(crate) fn parts_for<'a>(
        &self,
        subscriber: SubscriberKey,
        chunk: &'a Rc<Chunk>,
    ) -> impl Iterator<Item = Part<'a>> {
        let withheld: Vec<u32> =
            self.withheld.iter().filter(|(key, _)| *key == subscriber).map(|(_, number)| *number).collect();
        let mut parts = Vec::new();
        let mut start = 0;
        for number in withheld {
            let number = number as usize;
            let end = if number == 0 { 0 } else { chunk.ends[number - 1] as usize };
            parts.push(Part { chunk, start, end });
            start = chunk.ends[number] as usize;
        }
        parts.push(Part { chunk, start, end: chunk.bytes.len() });
        parts.into_iter().filter(|part| part.start < part.end)
    }
}

/// Everything to be written at the end of the turn.
#[derive(Debug, Default)]
pub(crate) struct Turn {
    pub(crate) topics: Vec<TopicTurn>,
    /// Where in `topics` a topic stands.
    pub(crate) index: HashMap<Topic, u32>,
    /// Replies, which go to one session each: to whom, and they lie in `reply_bytes` in the same order.
    pub(crate) replies: Vec<SubscriberKey>,
    pub(crate) reply_bytes: Joined,
    spare: Vec<TopicTurn>,
}

/// The bytes of a turn, made ready to be written.
pub(crate) struct Sealed {
    /// By topic, then class.
    pub(crate) topics: Vec<[Rc<Chunk>; Class::ENCODED]>,
    pub(crate) replies: Rc<Chunk>,
}

impl Turn {
    pub(crate) fn is_empty(&self) -> bool {
        self.topics.is_empty() && self.replies.is_empty()
    }

    /// A place for a topic that has none yet in this turn.
    pub(crate) fn open(&mut self, topic: Topic) -> &mut TopicTurn {
        self.index.insert(topic, self.topics.len() as u32);
        let place = self.topics.len();
        self.topics.push(self.spare.pop().unwrap_or_default());
        &mut self.topics[place]
    }

    pub(crate) fn seal(&mut self) -> Sealed {
        let topics = self.topics.iter_mut().map(|topic| topic.joined.each_mut().map(Joined::seal)).collect();
        Sealed { topics, replies: self.reply_bytes.seal() }
    }

    /// Begins the next turn with the buffers of this one.
    pub(crate) fn renew(&mut self, sealed: Sealed) {
        /// More topics than this in one turn are rare; their buffers are let go.
        const SPARE_MAX: usize = 1024;
        for (mut topic, chunks) in self.topics.drain(..).zip(sealed.topics) {
            topic.joined.iter_mut().zip(chunks).for_each(|(joined, chunk)| joined.reclaim(chunk));
            topic.groups.clear();
            topic.withheld.clear();
            topic.messages = 0;
            if self.spare.len() < SPARE_MAX {
                self.spare.push(topic);
            }
        }
        self.index.clear();
        self.replies.clear();
        self.reply_bytes.reclaim(sealed.replies);
    }
}
