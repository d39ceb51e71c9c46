//! All names that are subscribed to, in the order in which the program made them, and which of them take what comes.

use std::collections::VecDeque;
use std::ops::{Deref, DerefMut};

use topichub_protocol::{Position, Topic};

use super::named::Named;
use super::{Output, ReaderId};
use crate::event::Event;
use crate::message::Message;

#[derive(Debug, Default)]
pub(super) struct Names {
    list: Vec<Named>,
    /// Another one whenever another name may take a topic.
    edition: u64,
}

/// Which names take a topic: found once, and again when the names are others.
#[derive(Debug, Default)]
pub(super) struct Takers {
    /// That of the names plus one; 0 if none was looked for yet.
    edition: u64,
    places: Vec<usize>,
}

impl Deref for Names {
    type Target = [Named];

    fn deref(&self) -> &[Named] {
        &self.list
    }
}

impl DerefMut for Names {
    fn deref_mut(&mut self) -> &mut [Named] {
        &mut self.list
    }
}

impl Names {
    pub(super) fn push(&mut self, named: Named) {
        self.list.push(named); // takes nothing before it has begun
    }

    pub(super) fn remove(&mut self, at: usize) -> Named {
        self.edition += 1;
        self.list.remove(at)
    }

    pub(super) fn into_list(self) -> Vec<Named> {
        self.list
    }

    /// The server has agreed to a name: from now on what comes of its topics is for its readers. Whether it had before.
    pub(super) fn begin(&mut self, at: usize) -> bool {
        self.edition += 1;
        self.list.get_mut(at).is_some_and(|named| std::mem::replace(&mut named.begun, true))
    }

    /// The places of the names that take a topic.
    pub(super) fn takers<'a>(&self, topic: &Topic, known: &'a mut Takers) -> &'a [usize] {
        if known.edition != self.edition + 1 {
            known.edition = self.edition + 1;
            known.places.clear();
            let taking = self.list.iter().enumerate().filter(|(_, named)| named.takes(topic));
            known.places.extend(taking.map(|(at, _)| at));
        }
        &known.places
    }

    /// We have published a message ourselves. Where somebody wants the echo, it comes to all, as it does live.
    pub(super) fn published(&mut self, topic: &Topic, position: Position) {
        let taking = || self.list.iter().filter(|named| named.takes(topic));
        if taking().all(|named| !named.options.echo) {
            for named in self.list.iter_mut().filter(|named| named.takes(topic)) {
                named.echoes.add(topic, position);
            }
        }
    }

    /// Whether it is our own message that comes again, and none of these wants it.
    fn is_withheld(&self, topic: &Topic, position: Option<Position>, takers: &[usize]) -> bool {
        let mut taking = takers.iter().filter_map(|at| self.list.get(*at));
        let wants = |named: &Named| named.options.echo;
        if taking.clone().any(wants) {
            return false;
        }
        position.is_some_and(|position| taking.any(|named| named.echoes.has(topic, position)))
    }

    /// Brings a message to the readers of these names, unless it is from before the known position. The position that
    /// its topic has reached by it.
    pub(super) fn hand_out(
        &mut self,
        mut message: Message,
        known: Option<Position>,
        takers: &[usize],
        output: &mut VecDeque<Output>,
    ) -> Option<Position> {
        // Said with the first of an epoch only; else it is that of the position, or of the replay that has just begun.
        message.epoch = message
            .epoch
            .or(known.map(|known| known.epoch))
            .or_else(|| takers.iter().find_map(|at| self.list.get(*at)?.epoch(&message.topic)));
        let position = message.position();
        let is_known = known
            .zip(position)
            .is_some_and(|(known, new)| known.epoch == new.epoch && new.offset <= known.offset);
        let is_withheld = self.is_withheld(&message.topic, position, takers);
        let mut reached = None;
        let mut last: Option<(ReaderId, bool)> = None;
        for at in takers {
            let Some(named) = self.list.get_mut(*at) else { continue };
            // In a group, what one member has left behind comes to another behind later ones.
            if is_known && !named.is_group() {
                continue;
            }
            if !named.is_group() {
                reached = position;
            }
            let replayed = named.advance(&message.topic, position);
            if is_withheld {
                continue;
            }
            for reader in &named.readers {
                if let Some((reader, replayed)) = last.replace((*reader, replayed)) {
                    let message = Message { replayed, ..message.clone() };
                    output.push_back(Output::Deliver(reader, Event::Message(message)));
                }
            }
        }
        if let Some((reader, replayed)) = last {
            message.replayed = replayed;
            output.push_back(Output::Deliver(reader, Event::Message(message)));
        }
        reached
    }
}

#[cfg(test)]
mod tests {
    use topichub_protocol::{Filter, SubscribeOptions};

    use super::*;

    #[test]
    fn takers_are_those_of_now() {
        let topic = Topic::parse("a").unwrap();
        let (mut names, mut known) = (Names::default(), Takers::default());
        for (number, filter) in ["a", "b", ">"].into_iter().enumerate() {
            let filter = Filter::parse(filter).unwrap();
            names.push(Named::new(number as u64, filter, SubscribeOptions::default(), 1));
        }
        assert!(names.takers(&topic, &mut known).is_empty());
        assert!(!names.begin(2));
        assert_eq!(names.takers(&topic, &mut known), [2]);
        assert!(!names.begin(0) && names.begin(0));
        assert_eq!(names.takers(&topic, &mut known), [0, 2]);
        names.remove(0);
        assert_eq!(names.takers(&topic, &mut known), [1]);
    }
}
