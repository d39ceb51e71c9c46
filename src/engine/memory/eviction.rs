//! Who loses messages when history takes too much memory: topics stand on levels by the power of two of what they hold,
//! and those of the highest level lose their oldest message in turn. So what is noisy gives way to what is quiet, and
//! finding the one to lose something costs the same whatever the number of topics.

use super::index::{TopicKey, Topics};

/// One for each power of two.
const LEVELS: usize = usize::BITS as usize;

/// Where a topic stands; nowhere if it holds nothing.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Place {
    /// What was counted for its messages.
    bytes: usize,
    /// Which of its level it is.
    at: u32,
}

impl Place {
    fn level(self) -> Option<usize> {
        self.bytes.checked_ilog2().map(|level| level as usize)
    }
}

/// All topics that hold messages.
#[derive(Debug)]
pub(super) struct Holders {
    levels: [Vec<TopicKey>; LEVELS],
    /// A bit for each level with somebody on it.
    taken: usize,
    /// Whose turn it is on the highest level.
    turn: usize,
    bytes: usize,
}

impl Default for Holders {
    fn default() -> Self {
        Self { levels: std::array::from_fn(|_| Vec::new()), taken: 0, turn: 0, bytes: 0 }
    }
}

impl Holders {
    /// What all topics hold.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Puts a topic where it stands with what it holds now.
    pub(super) fn count(&mut self, topics: &mut Topics, key: TopicKey, bytes: usize) {
        let place = topics[key].place;
        let (old, new) = (place.level(), Place { bytes, at: 0 }.level());
        self.bytes = self.bytes - place.bytes + bytes;
        topics[key].place.bytes = bytes;
        if old == new {
            return;
        }
        if let Some(level) = old {
            self.leave(topics, level, place.at);
        }
        if let Some(level) = new {
            topics[key].place.at = self.levels[level].len() as u32;
            self.levels[level].push(key);
            self.taken |= 1 << level;
        }
    }

    fn leave(&mut self, topics: &mut Topics, level: usize, at: u32) {
        let others = &mut self.levels[level];
        others.swap_remove(at as usize);
        if let Some(moved) = others.get(at as usize) {
            topics[*moved].place.at = at;
        }
        if others.is_empty() {
            *others = Vec::new();
            self.taken &= !(1 << level);
        }
    }

    /// The topic to lose its oldest message next, and at least how many bytes it holds.
    pub(super) fn next(&mut self) -> Option<(TopicKey, usize)> {
        let level = self.taken.checked_ilog2()? as usize;
        let those = &self.levels[level];
        self.turn = self.turn.wrapping_add(1);
        those.get(self.turn % those.len().max(1)).map(|key| (*key, 1 << level))
    }
}
