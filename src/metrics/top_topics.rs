//! Which topics are published to most, for those who look. It costs the registry next to nothing: when there is much, every
//! sixteenth message speaks for all.

use std::collections::HashMap;
use std::time::Duration;

use topichub_protocol::topic::Topic;

/// So many messages are counted one by one.
const EXACT: u32 = 1024;

/// And of the others one of so many.
const EVERY: u32 = 16;

/// The most topics that are watched at a time; who comes later is not seen before the next round.
const TOPICS_MAX: usize = 1024;

/// The most that are named.
const NAMED_MAX: usize = 10;

/// What was published since the last round.
#[derive(Debug, Default)]
pub(crate) struct TopTopics {
    seen: u32,
    counts: HashMap<Topic, u32>,
}

impl TopTopics {
    #[inline]
    pub(crate) fn count(&mut self, topic: &Topic) {
        self.seen = self.seen.wrapping_add(1);
        if self.seen <= EXACT {
            self.add(topic, 1);
        } else if self.seen.is_multiple_of(EVERY) {
            self.add(topic, EVERY);
        }
    }

    fn add(&mut self, topic: &Topic, messages: u32) {
        if let Some(count) = self.counts.get_mut(topic) {
            *count += messages;
        } else if self.counts.len() < TOPICS_MAX {
            self.counts.insert(topic.clone(), messages);
        }
    }

    /// The busiest with how many messages they had in a second, and begins anew.
    pub(crate) fn take(&mut self, elapsed: Duration) -> Vec<(Topic, f64)> {
        let seconds = elapsed.as_secs_f64().max(0.001);
        self.seen = 0;
        let mut counts: Vec<_> = self.counts.drain().collect();
        counts
            .sort_unstable_by(|(topic, count), (other, more)| more.cmp(count).then_with(|| topic.cmp(other)));
        counts.truncate(NAMED_MAX);
        counts.into_iter().map(|(topic, count)| (topic, f64::from(count) / seconds)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topic(name: &str) -> Topic {
        Topic::parse(name).unwrap()
    }

    #[test]
    fn the_busiest_come_first_with_their_rates() {
        let mut top = TopTopics::default();
        for (name, count) in [("b", 4), ("a", 4), ("c", 6)] {
            (0..count).for_each(|_| top.count(&topic(name)));
        }
        let expected = [("c", 3.0), ("a", 2.0), ("b", 2.0)].map(|(name, rate)| (topic(name), rate));
        assert_eq!(top.take(Duration::from_secs(2)), expected);
        assert_eq!(top.take(Duration::from_secs(2)), []);
    }

    #[test]
    fn however_much_is_published_rates_are_about_right_and_few_topics_are_held() {
        let mut top = TopTopics::default();
        for round in 0..100_000_u32 {
            top.count(&topic(if round % 4 == 0 { "quarter" } else { "most" }));
            top.count(&topic(&format!("t.{round}")));
        }
        assert!(top.counts.len() <= TOPICS_MAX);
        let busiest = top.take(Duration::from_secs(1));
        assert_eq!(busiest.len(), NAMED_MAX);
        assert_eq!(busiest[0].0, topic("most"));
    }
}
