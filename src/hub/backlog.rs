//! What one session has yet to get beside its outbox: topics whose messages wait by a policy of their own, and replays
//! that go on as the reader takes them. Few sessions have one; writing is the fan-out's business.

use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use topichub_protocol::message::Position;
use topichub_protocol::topic::{Filter, Topic};

use super::catch_up::CatchUp;
use super::lane::{Kept, Lane, Mode};
use super::outbox::OutboxLimits;
use super::queue_group::Load;

/// How far a replay is.
#[derive(Debug)]
pub(crate) enum Progress {
    /// The registry reads on.
    Reading,
    /// It waits for room.
    Waiting(Box<CatchUp>),
}

/// One replay that is not over.
#[derive(Debug)]
pub(crate) struct Replaying {
    /// Which subscription of the session.
    pub(crate) since: u32,
    pub(crate) progress: Progress,
}

/// A place in a queue group.
#[derive(Debug)]
pub(crate) struct Share {
    pub(crate) filter: Filter,
    pub(crate) group: Box<str>,
    pub(crate) load: Arc<Load>,
}

/// One session's.
#[derive(Debug, Default)]
pub(crate) struct Backlog {
    pub(crate) replays: Vec<Replaying>,
    /// While there are replays: how far each topic has been delivered.
    pub(crate) marks: HashMap<Topic, Position>,
    pub(crate) shares: Vec<Share>,
    /// Whether the session stands in line for its next batch of the past.
    pub(crate) queued: bool,
    lanes: HashMap<Topic, Lane>,
    /// Topics for which something waits for the reader, the longest waiting first.
    ready: VecDeque<Topic>,
    /// Topics for which more waits than when this was last settled.
    fresh: Vec<Topic>,
    messages: usize,
    bytes: usize,
}

impl Backlog {
    /// Whether there is nothing to remember.
    pub(crate) fn is_idle(&self) -> bool {
        self.replays.is_empty() && self.shares.is_empty() && self.lanes.is_empty()
    }

    /// What waits for the reader, in bytes, roughly.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Lets go of everything that waits: the session is given up.
    pub(crate) fn discard(&mut self) {
        (self.lanes, self.ready, self.fresh) = Default::default();
        (self.messages, self.bytes) = (0, 0);
    }

    /// Whether something is still to come, whatever it waits for.
    pub(crate) fn owes(&self) -> bool {
        !self.replays.is_empty() || self.lanes.values().any(|lane| lane.first().is_some())
    }

    /// Whether nothing waits for the reader.
    pub(crate) fn is_clear(&self) -> bool {
        self.ready.is_empty()
    }

    /// Whether a topic has something that must come before anything else of it.
    pub(crate) fn holds(&self, topic: &Topic) -> bool {
        self.lanes.contains_key(topic)
    }

    /// A message has come for a topic; returns when to [`open`](Self::open) it, if that is new.
    pub(crate) fn push(
        &mut self,
        topic: &Topic,
        mode: Mode,
        kept: Rc<Kept>,
        now: Duration,
    ) -> Option<Duration> {
        if !self.lanes.contains_key(topic) {
            self.lanes.insert(topic.clone(), Lane::new(mode));
        }
        self.change(topic, |lane| {
            let opens = if lane.mode() == mode { None } else { lane.set_mode(mode) };
            lane.push(kept, now).or(opens)
        })?
    }

    /// The time has come for a topic, which was `due`; returns when to call this again.
    pub(crate) fn open(&mut self, topic: &Topic, due: Duration, now: Duration) -> Option<Duration> {
        self.change(topic, |lane| lane.open(due, now))?
    }

    /// Changes a lane, and keeps account of it.
    fn change<T>(&mut self, topic: &Topic, change: impl FnOnce(&mut Lane) -> T) -> Option<T> {
        let lane = self.lanes.get_mut(topic)?;
        let (messages, bytes) = lane.size();
        let result = change(lane);
        let size = lane.size();
        (self.messages, self.bytes) = (self.messages + size.0 - messages, self.bytes + size.1 - bytes);
        if messages == 0 && size.0 > 0 {
            self.ready.push_back(topic.clone());
        }
        if size.0 > messages {
            self.fresh.push(topic.clone());
        }
        if messages > 0 && size.0 == 0 {
            if self.ready.front() == Some(topic) {
                self.ready.pop_front();
            } else {
                self.ready.retain(|other| other != topic);
            }
        }
        if lane.is_done() {
            self.lanes.remove(topic);
        }
        Some(result)
    }

    /// Topics for which something waits, with what waits, the longest waiting first.
    pub(crate) fn ready(&self) -> impl Iterator<Item = (&Topic, &Lane)> {
        self.ready.iter().filter_map(|topic| self.lanes.get(topic).map(|lane| (topic, lane)))
    }

    /// The first of what waits for a topic was sent.
    pub(crate) fn sent(&mut self, topic: &Topic) {
        self.change(topic, Lane::sent);
    }

    /// The reader does not keep up: each topic keeps what its policy says, and all together no more than the limits.
    /// Whether they do.
    pub(crate) fn settle(&mut self, limits: OutboxLimits) -> bool {
        for topic in std::mem::take(&mut self.fresh) {
            self.change(&topic, Lane::settle);
        }
        let mut at = 0;
        while self.bytes > limits.bytes || self.messages > limits.messages {
            let Some(topic) = self.ready.get(at).cloned() else { return self.bytes <= limits.bytes };
            if self.change(&topic, Lane::drop_oldest) != Some(true) {
                at += 1;
            }
        }
        true
    }

    /// The reader has taken everything.
    pub(crate) fn cleared(&mut self) {
        self.fresh.clear();
    }

    /// Topics have other modes now, or none: `mode` says which. What waits for one without is let go; a replay that
    /// brings the topic as well begins before it.
    ///
    /// Returns which topics to [`open`](Self::open) when.
    pub(crate) fn change_modes(&mut self, mode: impl Fn(&Topic) -> Option<Mode>) -> Vec<(Topic, Duration)> {
        let mut due = Vec::new();
        let topics: Vec<_> = self.lanes.keys().cloned().collect();
        for topic in topics {
            match mode(&topic) {
                Some(mode) => {
                    let opens = self.change(&topic, |lane| lane.set_mode(mode)).flatten();
                    due.extend(opens.map(|opens| (topic, opens)));
                }
                None => {
                    let first = self.lanes.get(&topic).and_then(Lane::first);
                    self.change(&topic, |lane| *lane = Lane::new(Mode::PLAIN));
                    if let (Some(Position { epoch, offset }), Some(mark)) =
                        (first, self.marks.get_mut(&topic))
                    {
                        *mark = Position { epoch, offset: offset - 1 };
                    }
                }
            }
        }
        due
    }
}
