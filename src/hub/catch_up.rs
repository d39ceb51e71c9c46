//! What a subscription has yet to get of the past. It travels between the fan-out, which knows when the reader has
//! room, and the registry, which reads from history: so only what the reader can take is ever under way.

use std::sync::Arc;

use topichub_protocol::message::{Epoch, Position};
use topichub_protocol::push::{Gap, GapReason};
use topichub_protocol::topic::{Filter, Topic};

use super::published::Published;
use crate::engine::Extent;

/// How far one topic has been replayed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cursor {
    pub(crate) topic: Topic,
    pub(crate) epoch: Epoch,
    /// Everything up to here was sent, or announced as a gap.
    pub(crate) behind: u64,
    /// Where the topic stood when it was last looked at.
    pub(crate) end: u64,
    pub(crate) cover: Cover,
}

/// Whether a session gets a topic through an earlier subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cover {
    /// It does not: this replay brings it.
    None,
    /// An earlier replay brings it, and is not over.
    Replay,
    /// It gets what is published.
    Live,
}

impl Cursor {
    pub(crate) fn new(topic: Topic, behind: u64, extent: Extent) -> Self {
        let Position { epoch, offset: end } = extent.end;
        Self { topic, epoch, behind, end, cover: Cover::None }
    }

    /// Where the topic stood when it was last looked at.
    pub(crate) fn end(&self) -> Position {
        Position { epoch: self.epoch, offset: self.end }
    }

    fn is_at_end(&self) -> bool {
        match self.cover {
            Cover::None => self.behind >= self.end,
            Cover::Replay => false,
            Cover::Live => true,
        }
    }
}

/// The replay of one subscription.
#[derive(Clone, Debug)]
pub(crate) struct CatchUp {
    pub(crate) filter: Filter,
    /// Which subscription of its session, in the order in which they were made.
    pub(crate) since: u32,
    pub(crate) cursors: Vec<Cursor>,
    /// How many topics had ever been made when its topics were last looked for.
    pub(crate) topics_made: u64,
}

impl CatchUp {
    pub(crate) fn is_at_end(&self) -> bool {
        self.cursors.iter().all(Cursor::is_at_end)
    }

    /// How many messages are yet to be read, at the most.
    pub(crate) fn remaining(&self) -> u64 {
        let open = self.cursors.iter().filter(|cursor| cursor.cover == Cover::None);
        open.map(|cursor| cursor.end.saturating_sub(cursor.behind)).sum()
    }
}

/// One thing out of the past.
#[derive(Clone, Debug)]
pub(crate) enum Item {
    Message(Arc<Published>),
    Gap(Gap),
}

impl Item {
    pub(crate) fn topic(&self) -> &Topic {
        match self {
            Self::Message(published) => &published.message.topic,
            Self::Gap(gap) => &gap.topic,
        }
    }

    /// The position it ends at.
    pub(crate) fn end(&self) -> Position {
        match self {
            Self::Message(published) => published.message.position,
            Self::Gap(gap) => Position { epoch: gap.epoch, offset: gap.to },
        }
    }
}

/// What was read for a catch-up.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    /// By topic in order of offset.
    pub(crate) items: Vec<Item>,
    /// Where the cursors stood before, by their number: for the case that there is no room for the items.
    pub(crate) before: Vec<(usize, u64)>,
}

impl Batch {
    pub(crate) fn messages(&self) -> u64 {
        self.items.iter().filter(|item| matches!(item, Item::Message(_))).count() as u64
    }

    /// Appends what was read of a topic, with the gaps between, and moves the cursor. `through` is how far was read.
    pub(crate) fn add(
        &mut self,
        number: usize,
        cursor: &mut Cursor,
        oldest: u64,
        page: impl IntoIterator<Item = Arc<Published>>,
        through: u64,
    ) {
        self.before.push((number, cursor.behind));
        for published in page {
            let offset = published.offset();
            self.add_gap(cursor, oldest, offset - 1);
            self.items.push(Item::Message(published));
            cursor.behind = offset;
        }
        self.add_gap(cursor, oldest, through);
    }

    /// What lies between the cursor and `to` does not come: history no longer holds it, or its time is over.
    fn add_gap(&mut self, cursor: &mut Cursor, oldest: u64, to: u64) {
        let mut gap = |from: u64, to: u64, why| {
            if from <= to {
                let (topic, epoch) = (cursor.topic.clone(), cursor.epoch);
                self.items.push(Item::Gap(Gap { topic, epoch, from, to, why }));
            }
        };
        let from = cursor.behind + 1;
        gap(from, to.min(oldest - 1), GapReason::History);
        gap(from.max(oldest), to, GapReason::Expired);
        cursor.behind = cursor.behind.max(to);
    }

    /// There was no room for this: the cursors go back.
    pub(crate) fn undo(self, catch_up: &mut CatchUp) {
        for (number, behind) in self.before.into_iter().rev() {
            catch_up.cursors[number].behind = behind;
        }
    }
}
