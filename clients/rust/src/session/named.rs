//! One name that is subscribed to at the server, whoever reads it here, and how far its replay has come.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use topichub_protocol::{Epoch, Filter, Position, Replay, SubscribeOptions, Topic};

use super::ReaderId;
use super::echoes::Echoes;
use crate::event::Event;

#[derive(Debug)]
pub(super) struct Named {
    pub(super) number: u64,
    pub(super) filter: Filter,
    /// As the program said them; `replay` is what is asked for the first time.
    pub(super) options: SubscribeOptions,
    pub(super) readers: Vec<ReaderId>,
    pub(super) stage: Stage,
    /// The server has agreed once: from then on what comes of these topics is ours, and positions say what is to come.
    pub(super) begun: bool,
    pub(super) past: Option<Past>,
    pub(super) echoes: Echoes,
    /// How often in a row the server has refused it for now.
    pub(super) refusals: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// There is no connection, or it is for the first `authenticate` to make it possible.
    Unasked,
    Asked,
    InForce,
    /// The server could not do it for now.
    Retry {
        at: Duration,
    },
}

/// How a name was asked for, to be compared with the answer.
#[derive(Clone, Debug, Default)]
pub(super) struct Ask {
    /// `None`: only what is to come.
    pub(super) replay: Option<Replay>,
}

impl Ask {
    /// The position that was claimed for a topic.
    pub(super) fn claimed(&self, topic: &Topic) -> Option<Position> {
        match &self.replay {
            Some(Replay::After(position)) => Some(*position),
            Some(Replay::AfterEach(positions)) => positions.get(topic).copied(),
            _ => None,
        }
    }

    /// Whether topics come as a whole if nothing was claimed for them.
    pub(super) fn is_by_position(&self) -> bool {
        matches!(self.replay, Some(Replay::After(_) | Replay::AfterEach(_)))
    }

    /// Whether messages of the past were asked for.
    pub(super) fn is_of_the_past(&self) -> bool {
        !matches!(self.replay, None | Some(Replay::Last(0)))
    }
}

/// A replay that is not over: the topics that are not yet where they stood when it began.
#[derive(Debug)]
pub(super) struct Past {
    pub(super) ends: HashMap<Topic, Position>,
    /// The messages that are still to come of those announced.
    pub(super) left: u64,
    pub(super) announced: u64,
    pub(super) replay: Option<Replay>,
}

impl Past {
    /// From where on a topic is to be asked for of which nothing has come; `None` if that cannot be told.
    fn start(&self, end: Position) -> Option<Position> {
        match self.replay {
            _ if self.left == 0 => Some(end),
            Some(Replay::Last(messages)) => {
                Some(Position { offset: end.offset.saturating_sub(messages), ..end })
            }
            _ => None,
        }
    }
}

impl Named {
    pub(super) fn new(number: u64, filter: Filter, options: SubscribeOptions, reader: ReaderId) -> Self {
        Self {
            number,
            filter,
            options,
            readers: vec![reader],
            stage: Stage::Unasked,
            begun: false,
            past: None,
            echoes: Echoes::default(),
            refusals: 0,
        }
    }

    pub(super) fn is_group(&self) -> bool {
        self.options.group.is_some()
    }

    pub(super) fn is_in_force(&self) -> bool {
        self.stage == Stage::InForce
    }

    /// Whether the server knows of it, or will by the time that it reads what comes next.
    pub(super) fn is_asked(&self) -> bool {
        matches!(self.stage, Stage::Asked | Stage::InForce)
    }

    /// Whether what comes of a topic is for its readers.
    pub(super) fn takes(&self, topic: &Topic) -> bool {
        self.begun && self.filter.matches(topic)
    }

    /// What is asked for the first time. Even if that is nothing of the past: the answer tells positions.
    pub(super) fn first(&self) -> Option<Replay> {
        if self.is_group() {
            return None; // beside it the server takes no replay
        }
        Some(self.options.replay.clone().unwrap_or(Replay::Last(0)))
    }

    /// Adds the topics of an unfinished replay of which nothing has come yet.
    pub(super) fn unfinished(&self, known: &mut BTreeMap<Topic, Position>, max: usize) {
        let Some(past) = &self.past else { return };
        for (topic, end) in &past.ends {
            if known.len() >= max {
                return;
            }
            if let Some(start) = past.start(*end) {
                known.entry(topic.clone()).or_insert(start);
            }
        }
    }

    /// Whether the first replay has begun and nothing of it has come.
    pub(super) fn has_nothing(&self) -> bool {
        self.past.as_ref().is_some_and(|past| past.left > 0 && past.left == past.announced)
    }

    /// The epoch of a topic whose replay is not over.
    pub(super) fn epoch(&self, topic: &Topic) -> Option<Epoch> {
        self.past.as_ref()?.ends.get(topic).map(|end| end.epoch)
    }

    /// A message has come; whether it is of the past.
    pub(super) fn advance(&mut self, topic: &Topic, position: Option<Position>) -> bool {
        let (Some(past), Some(position)) = (&mut self.past, position) else { return false };
        let Some(end) = past.ends.get(topic) else { return false };
        let is_past = end.epoch == position.epoch && position.offset <= end.offset;
        if is_past {
            past.left = past.left.saturating_sub(1);
        }
        if !is_past || position.offset == end.offset {
            past.ends.remove(topic);
        }
        if past.ends.is_empty() {
            self.past = None;
        }
        is_past
    }

    /// A gap has come: nothing of the past comes up to its end.
    pub(super) fn skip(&mut self, topic: &Topic, from: u64, to: Position) {
        let Some(past) = &mut self.past else { return };
        past.left = past.left.saturating_sub(to.offset.saturating_sub(from) + 1);
        if past.ends.get(topic).is_some_and(|end| end.epoch != to.epoch || end.offset <= to.offset) {
            past.ends.remove(topic);
        }
        if past.ends.is_empty() {
            self.past = None;
        }
    }

    /// The same event for each reader.
    pub(super) fn deliver(&self, event: Event, mut take: impl FnMut(ReaderId, Event)) {
        if let [others @ .., last] = self.readers.as_slice() {
            for reader in others {
                take(*reader, event.clone());
            }
            take(*last, event);
        }
    }
}
