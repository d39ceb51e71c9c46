//! What waits for one subscription's reader: bounded, with a policy at the limit. No locks, no wakers; `subscription` has those.

use std::collections::{HashMap, VecDeque};

use topichub_protocol::{Filter, Topic};

use crate::event::{Event, Gap, GapReason};
use crate::message::Message;

/// What happens when a subscription's reader does not keep up and its buffer is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Full {
    /// The oldest message goes, and a [`Gap`] that says which stands in its place.
    #[default]
    Drop,
    /// The stream ends, after what waits, with [`Error::Overflow`](crate::Error::Overflow).
    Error,
    /// Nothing is read from the connection until there is room: the server notices, and its own policy
    /// ([`Subscribe::slow`](crate::Subscribe::slow)) decides. All of the Hub waits along, replies included, so its
    /// commands must not be awaited where this subscription is read.
    Wait,
}

/// Events on their way to one reader.
#[derive(Debug)]
pub(crate) struct Backlog {
    filter: Filter,
    max: usize,
    full: Full,
    events: VecDeque<Event>,
    /// How many of them are messages.
    messages: usize,
    /// The front of the queue up to here holds no message: what was dropped, and what stood between.
    zone: usize,
    /// How many events have been taken off the front, so that `gaps` need not be counted anew.
    taken: u64,
    /// Where the gap of a topic stands that we have made ourselves.
    gaps: HashMap<Topic, u64>,
}

/// What to do about a message that was pushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pushed {
    Fine,
    /// There is no room for another.
    Filled,
    /// There was none for this one: the end.
    Overflow,
}

impl Backlog {
    /// Room for `max` messages, at least one.
    pub(crate) fn new(filter: Filter, max: usize, full: Full) -> Self {
        Self {
            filter,
            max: max.max(1),
            full,
            events: VecDeque::new(),
            messages: 0,
            zone: 0,
            taken: 0,
            gaps: HashMap::new(),
        }
    }

    pub(crate) fn max(&self) -> usize {
        self.max
    }

    pub(crate) fn is_full(&self) -> bool {
        self.messages >= self.max
    }

    pub(crate) fn push(&mut self, event: Event) -> Pushed {
        if matches!(event, Event::Message(_)) {
            if self.is_full() {
                match self.full {
                    Full::Error => return Pushed::Overflow,
                    Full::Drop => self.drop_oldest(),
                    Full::Wait => {} // what had been read already
                }
            }
            self.messages += 1;
        } else {
            if self.zone == self.events.len() {
                self.zone += 1;
            }
        }
        self.events.push_back(event);
        self.bound();
        if self.full == Full::Wait && self.is_full() { Pushed::Filled } else { Pushed::Fine }
    }

    pub(crate) fn pop(&mut self) -> Option<Event> {
        let event = self.events.pop_front()?;
        self.taken += 1;
        if matches!(event, Event::Message(_)) {
            self.messages -= 1;
            // Behind a message there may be others than messages, which are the new front.
            self.zone = self.events.iter().take_while(|event| !matches!(event, Event::Message(_))).count();
        } else {
            self.zone = self.zone.saturating_sub(1);
            if let Event::Gap(Gap { topic: Filter::Topic(topic), .. }) = &event
                && self.gaps.get(topic) == Some(&(self.taken - 1))
            {
                self.gaps.remove(topic);
            }
        }
        Some(event)
    }

    /// Takes so many of the oldest events at most; if that is all of them, without touching each. `taken` is empty.
    pub(crate) fn take(&mut self, taken: &mut VecDeque<Event>, max: usize) {
        if self.events.len() > max {
            return taken.extend(std::iter::from_fn(|| self.pop()).take(max));
        }
        self.taken += self.events.len() as u64;
        (self.messages, self.zone) = (0, 0);
        self.gaps.clear();
        std::mem::swap(&mut self.events, taken);
    }

    /// Makes a gap of the oldest message, or makes the gap longer that stands for its topic already.
    fn drop_oldest(&mut self) {
        let at = self.zone;
        let Some(Event::Message(Message { topic, epoch, offset, .. })) = self.events.get(at) else { return };
        let (topic, epoch, offset) = (topic.clone(), *epoch, *offset);
        self.messages -= 1;
        let stands = self.gaps.get(&topic).and_then(|place| usize::try_from(place - self.taken).ok());
        let is_of_topic = |event: &Event| matches!(event, Event::Gap(Gap { topic: Filter::Topic(other), .. }) if *other == topic);
        // Ours must not reach across one of the server's.
        let stands = stands.filter(|place| !self.events.range(place + 1..at).any(is_of_topic));
        if let Some(Event::Gap(gap)) = stands.and_then(|place| self.events.get_mut(place))
            && gap.epoch == epoch
            && let Some((_, to)) = &mut gap.range
        {
            *to = offset.max(*to);
            self.events.remove(at);
        } else {
            let gap = Gap {
                topic: topic.clone().into(),
                epoch,
                range: Some((offset, offset)),
                why: GapReason::Buffer,
            };
            if let Some(place) = self.events.get_mut(at) {
                *place = Event::Gap(gap);
            }
            self.gaps.insert(topic, self.taken + at as u64);
        }
        let rest = self.events.iter().skip(at);
        self.zone = at + rest.take_while(|event| !matches!(event, Event::Message(_))).count();
    }

    /// More news than messages may wait, and nobody takes any: all that is no message becomes one gap of unknown extent.
    fn bound(&mut self) {
        let max = self.max.saturating_add(1024);
        if self.events.len() - self.messages <= max {
            return;
        }
        self.events.retain(|event| matches!(event, Event::Message(_)));
        let gap = Gap { topic: self.filter.clone(), epoch: None, range: None, why: GapReason::Buffer };
        self.events.push_front(Event::Gap(gap));
        self.gaps.clear();
        self.zone = 1;
    }
}

#[cfg(test)]
mod tests {
    use topichub_protocol::{Epoch, Payload};

    use super::*;
    use crate::message::{Body, Content};

    fn message(topic: &str, offset: u64) -> Event {
        let payload = Payload::of(&offset).unwrap();
        let topic = Topic::parse(topic).unwrap();
        let body = Body::Read(Content { payload, extras: None });
        Event::Message(Message { topic, offset, epoch: Some(Epoch(1)), replayed: false, body })
    }

    /// Each event as text: `a3` is a message, `a1-2` a gap.
    fn rest(backlog: &mut Backlog) -> Vec<String> {
        std::iter::from_fn(|| backlog.pop())
            .map(|event| match event {
                Event::Message(message) => format!("{}{}", message.topic.as_str(), message.offset),
                Event::Gap(Gap { topic, range: Some((from, to)), .. }) => {
                    format!("{}{from}-{to}", topic.as_str())
                }
                Event::Gap(Gap { topic, .. }) => format!("{}?", topic.as_str()),
                other => panic!("{other:?}"),
            })
            .collect()
    }

    fn backlog(max: usize, full: Full) -> Backlog {
        Backlog::new(Filter::parse("*").unwrap(), max, full)
    }

    #[test]
    fn the_oldest_go_and_a_gap_of_each_topic_stands_for_them() {
        let mut backlog = backlog(2, Full::Drop);
        for (topic, offset) in [("a", 1), ("b", 1), ("a", 2), ("b", 2), ("a", 3), ("a", 4)] {
            assert_eq!(backlog.push(message(topic, offset)), Pushed::Fine);
        }
        assert_eq!(rest(&mut backlog), ["a1-2", "b1-2", "a3", "a4"]);
    }

    #[test]
    fn what_is_taken_in_between_starts_another_gap() {
        let mut backlog = backlog(1, Full::Drop);
        for offset in 1..=3 {
            backlog.push(message("a", offset));
        }
        assert_eq!(backlog.pop().map(|event| matches!(event, Event::Gap(_))), Some(true));
        for offset in 4..=5 {
            backlog.push(message("a", offset));
        }
        assert_eq!(rest(&mut backlog), ["a3-4", "a5"]);
    }

    #[test]
    fn what_is_taken_together_is_what_is_taken_one_by_one() {
        for max in [1, 3, 100] {
            let (mut one_by_one, mut together) = (backlog(4, Full::Drop), backlog(4, Full::Drop));
            let mut taken = Vec::new();
            for offset in 1..=20 {
                one_by_one.push(message("a", offset));
                together.push(message("a", offset));
                if offset % 7 == 0 {
                    let mut some = VecDeque::new();
                    together.take(&mut some, max);
                    taken.extend(some.iter().map(|event| format!("{event:?}")));
                    let same: Vec<_> =
                        (0..some.len()).map(|_| format!("{:?}", one_by_one.pop().unwrap())).collect();
                    assert_eq!(taken, same);
                    taken.clear();
                    assert_eq!(together.is_full(), one_by_one.is_full());
                }
            }
            assert_eq!(rest(&mut together), rest(&mut one_by_one));
        }
    }

    #[test]
    fn the_servers_own_gaps_stay_where_they_stand() {
        let mut backlog = backlog(1, Full::Drop);
        let gap = Gap {
            topic: Filter::parse("a").unwrap(),
            epoch: Some(Epoch(1)),
            range: Some((2, 4)),
            why: GapReason::History,
        };
        backlog.push(message("a", 1));
        backlog.push(Event::Gap(gap));
        backlog.push(message("a", 5));
        backlog.push(message("a", 6));
        assert_eq!(rest(&mut backlog), ["a1-1", "a2-4", "a5-5", "a6"]);
    }

    #[test]
    fn overflow_ends_and_waiting_says_when_it_is_full() {
        let mut ending = backlog(1, Full::Error);
        assert_eq!(
            [ending.push(message("a", 1)), ending.push(message("a", 2))],
            [Pushed::Fine, Pushed::Overflow]
        );
        assert_eq!(rest(&mut ending), ["a1"]);
        let mut waiting = backlog(2, Full::Wait);
        let pushed: Vec<_> = (1..=3).map(|offset| waiting.push(message("a", offset))).collect();
        assert_eq!(pushed, [Pushed::Fine, Pushed::Filled, Pushed::Filled]);
        assert_eq!(rest(&mut waiting), ["a1", "a2", "a3"]);
    }

    #[test]
    fn nothing_grows_without_a_reader_whatever_comes() {
        let mut backlog = backlog(10, Full::Drop);
        for offset in 1..100_000 {
            backlog.push(message(&format!("topic-{offset}"), 1));
        }
        assert!(backlog.events.len() <= 10 + 10 + 1024, "{}", backlog.events.len());
        let rest = rest(&mut backlog);
        assert_eq!(rest.first().unwrap(), "*?");
        assert_eq!(rest.last().unwrap(), "topic-999991");
    }
}
