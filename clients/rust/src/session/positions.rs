//! Where each topic stands: everything up to there has come, or was announced as a gap.
//! What is asked for with it, and what is told when it cannot be honoured, is decided in `session`.

use std::collections::{BTreeMap, HashMap};

use topichub_protocol::{Filter, Position, Topic};

/// The most topics that are remembered. Of those forgotten, all that is retained comes again after a reconnect.
const TOPICS_MAX: usize = 100_000;

#[derive(Debug, Default)]
pub(super) struct Positions {
    places: HashMap<Topic, Place>,
    /// Counts up with every step of a topic, so that the latest are known.
    step: u64,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    position: Position,
    step: u64,
}

impl Positions {
    pub(super) fn get(&self, topic: &Topic) -> Option<Position> {
        self.places.get(topic).map(|place| place.position)
    }

    /// All up to here has come.
    pub(super) fn reach(&mut self, topic: &Topic, position: Position) {
        self.step += 1;
        let step = self.step;
        match self.places.get_mut(topic) {
            Some(place) => *place = Place { position, step },
            None => {
                if self.places.len() >= TOPICS_MAX {
                    self.forget_oldest();
                }
                self.places.insert(topic.clone(), Place { position, step });
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
