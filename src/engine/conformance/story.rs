//! How a check is told: an engine, the time, and short words for what is done and seen.

use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use slotmap::KeyData;
use topichub_protocol::code::ErrorCode;
use topichub_protocol::message::{Payload, Position};
use topichub_protocol::reply::{Member, MemberId, Presence};
use topichub_protocol::topic::{Pattern, Topic};

use super::super::{Appended, Change, Engine, Extent, PageLimits};
use super::{ALL, Make, Setup};
use crate::hub::input::{
    Asker, Publication, PublicationOptions, SessionRef, SubscriberKey, Ticket, WorkerId,
};
use crate::hub::published::Published;
use crate::rules::{HistoryRule, Rules, TopicRule};

pub(super) fn rules(rules: &[(&str, HistoryRule)]) -> Rules {
    let rule =
        |(pattern, history): &(&str, HistoryRule)| TopicRule::new(pattern).unwrap().with_history(*history);
    Rules::new(rules.iter().map(rule).collect())
}

pub(super) fn topic(text: &str) -> Topic {
    Topic::parse(text).unwrap()
}

pub(super) fn session(number: u64) -> SessionRef {
    SessionRef { worker: WorkerId(1), subscriber: SubscriberKey::from(KeyData::from_ffi(1 << 32 | number)) }
}

pub(super) fn payload(text: &str) -> Payload {
    Payload::of(text).unwrap()
}

/// What a story reads: payloads with their offsets.
pub(super) fn told(page: &[Arc<Published>]) -> String {
    let mut told = String::new();
    for published in page {
        let text: String = published.message.payload.deserialize().unwrap();
        write!(told, "{}{}:{text}", if told.is_empty() { "" } else { " " }, published.offset()).unwrap();
    }
    told
}

/// An engine, and the time.
pub(super) struct Story {
    pub(super) engine: Box<dyn Engine>,
    pub(super) now: Duration,
}

impl Story {
    pub(super) fn new(make: Make, setup: Setup) -> Self {
        Self { engine: make(setup), now: Duration::ZERO }
    }

    pub(super) fn with_rule(make: Make, history: HistoryRule) -> Self {
        Self::new(make, Setup { rules: rules(&[(">", history)]), ..Setup::default() })
    }

    pub(super) fn wait(&mut self, time: Duration) {
        self.now += time;
        self.engine.tick(self.now);
    }

    pub(super) fn append(&mut self, name: &str, payload: Payload, options: PublicationOptions) -> Appended {
        let publication = Publication {
            topic: topic(name),
            payload,
            options: Some(Box::new(options)),
            asker: Asker::Caller(Ticket(1)),
            subscribers: 3,
            permit: None,
        };
        let mut appended = Vec::new();
        self.engine.append(publication, self.now, &mut appended);
        assert_eq!(appended.len(), 1);
        appended.remove(0)
    }

    /// Publishes a text that must get its place.
    pub(super) fn say(&mut self, name: &str, text: &str) -> Position {
        self.say_with(name, text, PublicationOptions::default()).message.position
    }

    pub(super) fn say_with(&mut self, name: &str, text: &str, options: PublicationOptions) -> Arc<Published> {
        match self.append(name, payload(text), options) {
            Appended::Stored { published, .. } => published,
            other => panic!("{text} has no place: {other:?}"),
        }
    }

    /// Publishes with a name: the position, and whether it was a repeat.
    pub(super) fn say_once(&mut self, name: &str, text: &str, dedup: &str) -> (u64, bool) {
        let options = PublicationOptions { dedup: Some(dedup.into()), ..Default::default() };
        match self.append(name, payload(text), options) {
            Appended::Stored { published, .. } => (published.offset(), false),
            Appended::Duplicate { position, .. } => (position.offset, true),
            Appended::Refused { error, .. } => panic!("{error}"),
        }
    }

    pub(super) fn refusal(&mut self, name: &str, text: &str, options: PublicationOptions) -> String {
        match self.append(name, payload(text), options) {
            Appended::Refused { error, asker } => {
                assert_eq!((error.code, asker), (ErrorCode::Conflict, Asker::Caller(Ticket(1))));
                error.message
            }
            other => panic!("{text} is not refused: {other:?}"),
        }
    }

    pub(super) fn extent(&mut self, name: &str) -> Extent {
        self.engine.extent(&topic(name), self.now)
    }

    pub(super) fn epoch(&mut self, name: &str) -> u64 {
        self.extent(name).end.epoch.0
    }

    /// Offset of the last message, and of the oldest that is retained.
    pub(super) fn reach(&mut self, name: &str) -> (u64, u64) {
        let extent = self.extent(name);
        (extent.end.offset, extent.oldest)
    }

    pub(super) fn read(&mut self, name: &str, behind: u64, limits: PageLimits) -> (String, u64) {
        let mut page = Vec::new();
        let read = self.engine.read(&topic(name), behind, limits, self.now, &mut page);
        (told(&page), read)
    }

    pub(super) fn read_back(&mut self, name: &str, before: u64, limits: PageLimits) -> (String, u64) {
        let mut page = Vec::new();
        let read = self.engine.read_back(&topic(name), before, limits, self.now, &mut page);
        (told(&page), read)
    }

    pub(super) fn all(&mut self, name: &str) -> String {
        self.read(name, 0, ALL).0
    }

    pub(super) fn exists(&mut self, name: &str) -> bool {
        let matching = self.engine.matching(&Pattern::parse(">").unwrap(), usize::MAX).unwrap();
        matching.contains(&topic(name))
    }

    pub(super) fn matching(&mut self, pattern: &str, max: usize) -> Result<String, usize> {
        let found = self.engine.matching(&Pattern::parse(pattern).unwrap(), max)?;
        let mut names: Vec<_> = found.iter().map(Topic::as_str).collect();
        names.sort_unstable();
        Ok(names.join(" "))
    }

    pub(super) fn set_in_use(&mut self, name: &str, in_use: bool) {
        self.engine.set_in_use(&topic(name), in_use, self.now);
    }

    pub(super) fn join(&mut self, name: &str, number: u64, id: MemberId, data: Option<&str>) -> Vec<Change> {
        let member = Member { id, data: data.map(payload) };
        self.engine.join(&topic(name), session(number), member, self.now)
    }

    pub(super) fn leave(&mut self, name: &str, number: u64) -> Change {
        self.engine.leave(&topic(name), session(number), self.now)
    }

    pub(super) fn presence(&mut self, name: &str, named_max: usize) -> Presence {
        self.engine.presence(&topic(name), named_max)
    }
}

pub(super) fn page(messages: usize, bytes: usize) -> PageLimits {
    PageLimits { messages, bytes }
}

pub(super) fn user(name: &str) -> MemberId {
    MemberId::User(name.into())
}

pub(super) fn joined(id: MemberId, data: Option<&str>) -> Change {
    Change::Joined(Member { id, data: data.map(payload) })
}
