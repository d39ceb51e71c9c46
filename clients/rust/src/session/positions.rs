//! Where each topic stands: everything up to there has come, or was announced as a gap.
//! What is asked for with it, and what is told when it cannot be honoured, is decided in `session`.

use std::collections::{BTreeMap, HashMap, VecDeque};

use topichub_protocol::{Filter, Position, Topic};

use super::Output;
use super::names::{Names, Takers};
use crate::message::Message;

/// The most topics that are remembered. Of those forgotten, all that is retained comes again after a reconnect.
const TOPICS_MAX: usize = 100_000;

#[derive(Debug, Default)]
pub(super) struct Positions {
    places: HashMap<Topic, Place, foldhash::fast::RandomState>,
    /// Counts up with every step of a topic, so that the latest are known.
    step: u64,
}

/// Where one topic stands.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) topic: Topic,
    position: Position,
    /// Which names take what comes of it.
    takers: Takers,
    step: u64,
}

impl Place {
    /// A message of this topic has come.
    pub(super) fn take(&mut self, message: Message, names: &mut Names, output: &mut VecDeque<Output>) {
        let takers = names.takers(&self.topic, &mut self.takers);
        if let Some(position) = names.hand_out(message, Some(self.position), takers, output) {
            self.position = position;
        }
    }
}

impl Positions {
    pub(super) fn get(&self, topic: &Topic) -> Option<Position> {
        self.places.get(topic).map(|place| place.position)
    }

    /// Where a topic stands of which something has come.
    pub(super) fn find(&mut self, topic: &str) -> Option<&mut Place> {
        let place = self.places.get_mut(topic)?;
        self.step += 1;
        place.step = self.step;
        Some(place)
    }

    /// All up to here has come.
    pub(super) fn reach(&mut self, topic: &Topic, position: Position) {
        self.step += 1;
        let step = self.step;
        match self.places.get_mut(topic) {
            Some(place) => (place.position, place.step) = (position, step),
            None => {
                if self.places.len() >= TOPICS_MAX {
                    self.forget_oldest();
                }
                let place = Place { topic: topic.clone(), position, takers: Takers::default(), step };
                self.places.insert(topic.clone(), place);
            }
        }
    }

    /// Forgets the topics that nobody wants any more.
    pub(super) fn keep(&mut self, wanted: impl Fn(&Topic) -> bool) {
        self.places.retain(|topic, _| wanted(topic));
    }

    /// The latest of those that match, as many as fit into a command.
    pub(super) fn matching(&self, filter: &Filter, max: usize) -> BTreeMap<Topic, Position> {
        let mut found: Vec<_> = self.places.iter().filter(|(topic, _)| filter.matches(topic)).collect();
        if found.len() > max {
            found.select_nth_unstable_by_key(max, |(_, place)| std::cmp::Reverse(place.step));
            found.truncate(max);
        }
        found.into_iter().map(|(topic, place)| (topic.clone(), place.position)).collect()
    }

    /// Half of them, so that it happens seldom.
    fn forget_oldest(&mut self) {
        let mut steps: Vec<_> = self.places.values().map(|place| place.step).collect();
        let (_, median, _) = steps.select_nth_unstable(TOPICS_MAX / 2);
        let median = *median;
        self.places.retain(|_, place| place.step >= median);
    }
}

#[cfg(test)]
mod tests {
    use topichub_protocol::Epoch;

    use super::*;

    fn topic(number: usize) -> Topic {
        Topic::parse(&format!("a.{number}")).unwrap()
    }

    #[test]
    fn the_latest_are_asked_for_and_the_oldest_forgotten() {
        let mut positions = Positions::default();
        for number in 0..TOPICS_MAX + 10 {
            positions.reach(&topic(number), Position { epoch: Epoch(1), offset: 1 });
        }
        positions.reach(&topic(TOPICS_MAX / 2 + 5), Position { epoch: Epoch(1), offset: 2 });
        assert_eq!(positions.get(&topic(0)), None);
        assert!(positions.places.len() <= TOPICS_MAX);
        let asked = positions.matching(&Filter::parse("a.*").unwrap(), 500);
        assert_eq!(asked.len(), 500);
        assert_eq!(asked[&topic(TOPICS_MAX / 2 + 5)].offset, 2, "the latest step counts, not the first");
        assert!(asked.contains_key(&topic(TOPICS_MAX + 9)) && !asked.contains_key(&topic(TOPICS_MAX - 600)));
        assert!(positions.matching(&Filter::parse("b.*").unwrap(), 500).is_empty());
    }
}
