//! The engine that keeps topics in memory. A topic nobody subscribes to is kept for a while after its last message,
//! so that a short absence does not cost it its epoch, and is then forgotten.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use topichub_protocol::message::{Epoch, Position};
use topichub_protocol::topic::Topic;

use super::{Engine, Stored};
use crate::hub::input::Publication;

#[derive(Debug)]
struct Log {
    position: Position,
    in_use: bool,
    /// Whether `unused` holds the topic; each topic stands in it at most once.
    queued: bool,
    used_at: Duration,
}

/// Topics in memory.
#[derive(Debug)]
pub(crate) struct MemoryEngine {
    logs: HashMap<Topic, Log>,
    /// Topics that may have fallen out of use, by the time at which to look.
    unused: VecDeque<(Duration, Topic)>,
    linger: Duration,
    unused_topics_max: usize,
    next_epoch: u64,
}

impl MemoryEngine {
    /// `first_epoch` should be random, so that epochs of two runs of the program differ.
    pub(crate) fn new(first_epoch: u64, linger: Duration, unused_topics_max: usize) -> Self {
        let (logs, unused) = (HashMap::new(), VecDeque::new());
        Self { logs, unused, linger, unused_topics_max, next_epoch: first_epoch }
    }

    fn log(&mut self, topic: &Topic, now: Duration) -> &mut Log {
        if !self.logs.contains_key(topic) {
            let position = Position { epoch: Epoch(self.next_epoch), offset: 0 };
            self.next_epoch += 1;
            self.logs.insert(topic.clone(), Log { position, in_use: false, queued: true, used_at: now });
            self.unused.push_back((now + self.linger, topic.clone()));
            self.forget_beyond_limit();
        }
        let Some(log) = self.logs.get_mut(topic) else { unreachable!("the topic was put there just now") };
        log
    }

    /// Forgets the longest unused topics while there are more of them than the limit allows.
    fn forget_beyond_limit(&mut self) {
        while self.unused.len() > self.unused_topics_max.max(1) {
            let Some((_, topic)) = self.unused.pop_front() else { return };
            self.look_at(topic, None);
        }
    }

    /// Looks at a topic taken from the queue: forget it, wait longer, or leave it to its subscribers.
    fn look_at(&mut self, topic: Topic, now: Option<Duration>) {
        let Some(log) = self.logs.get_mut(&topic) else { return };
        log.queued = false;
        let due = log.used_at + self.linger;
        if log.in_use {
            return;
        }
        match now {
            Some(now) if due > now => {
                log.queued = true;
                self.unused.push_back((due, topic));
            }
            _ => {
                self.logs.remove(&topic);
            }
        }
    }
}

impl Engine for MemoryEngine {
    fn append(&mut self, publication: Publication, now: Duration, stored: &mut Vec<Stored>) {
        let log = self.log(&publication.topic, now);
        log.position.offset += 1;
        log.used_at = now;
        let position = log.position;
        stored.push(Stored { publication, position });
    }

    fn position(&mut self, topic: &Topic, now: Duration) -> Position {
        self.log(topic, now).position
    }

    fn set_in_use(&mut self, topic: &Topic, in_use: bool, now: Duration) {
        let linger = self.linger;
        let log = self.log(topic, now);
        log.in_use = in_use;
        log.used_at = now;
        if !in_use && !log.queued {
            log.queued = true;
            self.unused.push_back((now + linger, topic.clone()));
            self.forget_beyond_limit();
        }
    }

    fn tick(&mut self, now: Duration) {
        while self.unused.front().is_some_and(|(due, _)| *due <= now) {
            let Some((_, topic)) = self.unused.pop_front() else { return };
            self.look_at(topic, Some(now));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::input::{Publisher, Ticket};
    use bytes::Bytes;
    use topichub_protocol::message::Payload;

    const LINGER: Duration = Duration::from_secs(60);

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn engine() -> MemoryEngine {
        MemoryEngine::new(1000, LINGER, 3)
    }

    fn topic(name: &str) -> Topic {
        Topic::parse(name).unwrap()
    }

    fn publish(engine: &mut MemoryEngine, name: &str, now: Duration) -> Position {
        let mut stored = Vec::new();
        let payload = Payload::from_binary(Bytes::new());
        let publisher = Publisher::Caller(Ticket(0));
        engine.append(Publication { topic: topic(name), payload, publisher, permit: None }, now, &mut stored);
        stored.remove(0).position
    }

    #[test]
    fn offsets_rise_by_one_within_an_epoch() {
        let mut engine = engine();
        let first = publish(&mut engine, "a", at(0));
        let second = publish(&mut engine, "a", at(1));
        assert_eq!((first.offset, second.offset), (1, 2));
        assert_eq!(first.epoch, second.epoch);
        assert_eq!(engine.position(&topic("a"), at(1)), second);
        assert_ne!(publish(&mut engine, "b", at(1)).epoch, first.epoch);
    }

    #[test]
    fn a_topic_nobody_uses_is_forgotten_and_comes_back_under_another_epoch() {
        let mut engine = engine();
        let first = publish(&mut engine, "a", at(0));
        publish(&mut engine, "a", at(30));
        engine.tick(at(60));
        assert_eq!(engine.position(&topic("a"), at(60)).epoch, first.epoch, "used 30 s ago");
        engine.tick(at(91));
        assert!(engine.logs.is_empty() && engine.unused.is_empty());
        let again = publish(&mut engine, "a", at(92));
        assert_eq!(again.offset, 1);
        assert_ne!(again.epoch, first.epoch);
    }

    #[test]
    fn a_topic_in_use_is_kept_however_quiet_it_is() {
        let mut engine = engine();
        engine.set_in_use(&topic("a"), true, at(0));
        let first = publish(&mut engine, "a", at(0));
        engine.tick(at(1000));
        assert_eq!(engine.position(&topic("a"), at(1000)), first);
        engine.set_in_use(&topic("a"), false, at(1000));
        engine.tick(at(1059));
        assert_eq!(engine.position(&topic("a"), at(1059)), first);
        engine.tick(at(1060));
        assert!(engine.logs.is_empty() && engine.unused.is_empty());
    }

    #[test]
    fn a_flood_of_topics_displaces_the_longest_unused() {
        let mut engine = engine();
        engine.set_in_use(&topic("kept"), true, at(0));
        for number in 0..100 {
            publish(&mut engine, &format!("flood.{number}"), at(0));
        }
        assert_eq!(engine.logs.len(), 3 + 1);
        assert!(engine.logs.contains_key(&topic("kept")));
    }
}
