//! The engine that keeps topics in memory. A topic nobody uses is kept for a while after its last message, or as long as
//! its messages are, so that a short absence does not cost it its epoch; then it is forgotten.

mod agenda;
#[cfg(test)]
mod cost;
mod dedup;
mod eviction;
mod index;
mod log;
mod roster;
mod unused;

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use topichub_protocol::code::ErrorCode;
use topichub_protocol::command::CommandError;
use topichub_protocol::message::{Epoch, Message, Payload, Position};
use topichub_protocol::reply::{Member, Presence};
use topichub_protocol::topic::{Pattern, Topic};

use self::agenda::Agenda;
use self::dedup::{Names, Seen};
use self::eviction::Holders;
use self::index::{TopicKey, Topics};
use self::log::Log;
use self::unused::Unused;
use super::{Appended, Change, Engine, Extent, PageLimits};
use crate::hub::input::{Publication, PublicationOptions, SessionRef};
use crate::hub::published::{FrameMeter, Published};
use crate::rules::Rules;

/// A topic that holds less than this does not lose messages while there are topics that nobody uses: those go first.
const MODEST_BYTES: usize = 1024;

/// How many topics one tick looks at, so that a million that are due at once do not hold up what is published.
const LOOKS_PER_TICK: usize = 50_000;

/// What is set for topics in memory.
#[derive(Clone, Debug)]
pub(crate) struct MemorySettings {
    /// Should be random, so that epochs of two runs of the program differ.
    pub(crate) first_epoch: u64,
    /// Should be random, so that nobody can make up two payloads that are taken for one.
    pub(crate) seed: u128,
    pub(crate) rules: Rules,
    /// How long a topic that nobody uses and that holds nothing is kept.
    pub(crate) linger: Duration,
    /// The most topics kept that nobody uses; at least one is.
    pub(crate) unused_topics_max: usize,
    /// The most memory for messages of the past and their topics.
    pub(crate) history_bytes_max: usize,
    /// How long the name of a publish is remembered.
    pub(crate) dedup_window: Duration,
}

/// Topics in memory.
#[derive(Debug)]
pub(crate) struct MemoryEngine {
    settings: MemorySettings,
    next_epoch: u64,
    topics: Topics,
    /// What topics cost without messages.
    topics_bytes: usize,
    /// Topics that nobody uses.
    unused: Unused,
    /// Topics that nobody uses and that hold nothing, by when to forget them.
    lingering: Agenda,
    /// Topics with messages, by when the oldest is over age.
    aging: Agenda,
    holders: Holders,
    names: Names,
    meter: Arc<FrameMeter>,
}

impl MemoryEngine {
    pub(crate) fn new(settings: MemorySettings) -> Self {
        Self {
            next_epoch: settings.first_epoch,
            settings,
            topics: Topics::default(),
            topics_bytes: 0,
            unused: Unused::default(),
            lingering: Agenda::default(),
            aging: Agenda::default(),
            holders: Holders::default(),
            names: Names::default(),
            meter: Arc::default(),
        }
    }

    /// The topic, made now if there is none. Whoever calls this settles it afterwards.
    fn obtain(&mut self, topic: &Topic, now: Duration) -> TopicKey {
        if let Some(key) = self.topics.find(topic) {
            return key;
        }
        let log = Log::new(Epoch(self.next_epoch), self.settings.rules.history(topic));
        self.next_epoch += 1;
        let key = self.topics.insert(topic, log, now);
        self.topics_bytes += self.topics[key].fixed_bytes();
        key
    }

    /// Says that a topic is used now.
    fn touch(&mut self, key: TopicKey, now: Duration) {
        self.topics[key].used_at = now;
        match self.topics[key].is_in_use() {
            true => self.unused.remove(&mut self.topics, key),
            false => self.unused.touch(&mut self.topics, key),
        }
    }

    /// Counts what a topic holds now and sees to it that it is looked at in time.
    fn settle(&mut self, key: TopicKey) {
        let entry = &mut self.topics[key];
        entry.log.shrink();
        match entry.log.due() {
            Some(due) if !entry.is_aging => {
                entry.is_aging = true;
                self.aging.put(due, key);
            }
            _ => {}
        }
        if entry.is_bare() && !entry.is_in_use() && !entry.is_lingering {
            entry.is_lingering = true;
            self.lingering.put(entry.used_at.saturating_add(self.settings.linger), key);
        }
        let bytes = entry.log.retained_bytes();
        self.holders.count(&mut self.topics, key, bytes);
    }

    fn forget(&mut self, key: TopicKey) {
        self.unused.remove(&mut self.topics, key);
        self.holders.count(&mut self.topics, key, 0);
        let Some(mut entry) = self.topics.remove(key) else { return };
        self.topics_bytes -= entry.fixed_bytes();
        self.names.forget(&mut entry.dedup, Duration::MAX);
        self.aging.sweep(&self.topics);
        self.lingering.sweep(&self.topics);
    }

    /// Lets go of what the limits have no room for.
    fn keep_limits(&mut self) {
        while self.unused.len() > self.settings.unused_topics_max.max(1) {
            let Some(key) = self.unused.first() else { break };
            self.forget(key);
        }
        let excess = self.history_bytes().saturating_sub(self.settings.history_bytes_max);
        if excess > 0 {
            self.shed(excess);
        }
    }

    /// Frees `excess` bytes: first of the topics that hold most, then of those that nobody uses. Frames of what is let
    /// go are free when the last reader has let go of it too, so they are not waited for.
    fn shed(&mut self, excess: usize) {
        let goal = self.own_bytes().saturating_sub(excess);
        while self.own_bytes() > goal && self.history_bytes() > self.settings.history_bytes_max {
            match (self.holders.next(), self.unused.first()) {
                (Some((key, bytes)), unused) if bytes >= MODEST_BYTES || unused.is_none() => {
                    self.topics[key].log.pop();
                    self.settle(key);
                }
                (_, Some(key)) => self.forget(key),
                (_, None) => return,
            }
        }
    }

    /// What is counted here, without the frames of messages.
    fn own_bytes(&self) -> usize {
        self.topics_bytes + self.holders.bytes() + self.names.bytes()
    }

    /// What a name stands for: two publishes with it are one if this is the same.
    fn fingerprint(&self, payload: &Payload, options: &PublicationOptions) -> u64 {
        let key = options.extras.as_ref().and_then(|extras| extras.key.as_deref());
        let mut hasher = DefaultHasher::new();
        (self.settings.seed, payload.kind(), payload.as_bytes(), key).hash(&mut hasher);
        hasher.finish()
    }

    /// Why a publication has no place in its topic, if it has none: it is a repeat, or what it takes for granted is not so.
    fn objection(
        &mut self,
        publication: &Publication,
        options: &PublicationOptions,
        now: Duration,
    ) -> Option<Appended> {
        let (topic, asker) = (&publication.topic, &publication.asker);
        let conflict = |message: String| {
            let error = CommandError::new(ErrorCode::Conflict, message);
            Some(Appended::Refused { asker: asker.clone(), error })
        };
        let key = self.topics.find(topic);
        let end = key.map(|key| self.topics[key].log.end());
        if let (Some(key), Some(end), Some(name)) = (key, end, &options.dedup) {
            if let Some(until) = now.checked_sub(self.settings.dedup_window) {
                self.names.forget(&mut self.topics[key].dedup, until);
            }
            if let Some(seen) = self.topics[key].dedup.as_ref().and_then(|dedup| dedup.get(name)) {
                let Seen { offset, subscribers, fingerprint } = seen;
                if fingerprint != self.fingerprint(&publication.payload, options) {
                    return conflict(format!(
                        "dedup {name:?} is another message of {topic}, at offset {offset}"
                    ));
                }
                let position = Position { epoch: end.epoch, offset };
                let (topic, asker) = (topic.clone(), asker.clone());
                return Some(Appended::Duplicate { topic, position, subscribers, asker });
            }
        }
        let stands = end.map_or(0, |end| end.offset);
        match options.if_offset {
            Some(expected) if expected != stands => {
                conflict(format!("{topic} stands at offset {stands}, not {expected}"))
            }
            _ => None,
        }
    }

    /// Gives a publication its place in its topic.
    fn store(&mut self, publication: Publication, options: PublicationOptions, now: Duration) -> Appended {
        let Publication { topic, payload, asker, subscribers, permit, .. } = publication;
        let name = options.dedup.as_ref().map(|name| (name, self.fingerprint(&payload, &options)));
        let key = self.obtain(&topic, now);
        let entry = &mut self.topics[key];

        let Position { epoch, offset } = entry.log.end();
        let position = Position { epoch, offset: offset + 1 };
        let has_room = entry.log.retains(payload.as_bytes().len());
        if let Some((name, fingerprint)) = name {
            let seen = Seen { fingerprint, offset: position.offset, subscribers };
            self.names.put(key, &mut entry.dedup, name, seen, now);
        }
        // The topic's own name, so that a thousand messages do not hold a thousand copies of it.
        let message = Message { topic: entry.topic.clone(), position, payload, extras: options.extras };
        let mut published = Published::new(message, asker.session(), now);
        published.exclude = options.exclude;
        published.expires = options.ttl.map(|ttl| now.saturating_add(ttl));

        let is_retained = has_room && log::retained_bytes(&published) <= self.settings.history_bytes_max;
        let published = Arc::new(if is_retained { published.metered(&self.meter) } else { published });
        match is_retained {
            true => entry.log.push(Arc::clone(&published)),
            false => entry.log.pass(),
        }
        self.touch(key, now);
        self.settle(key);
        Appended::Stored { published, asker, subscribers, permit }
    }

    /// The topic, if there is one, without messages over age.
    fn look(&mut self, topic: &Topic, now: Duration) -> Option<&Log> {
        let key = self.topics.find(topic)?;
        self.let_age(key, now);
        Some(&self.topics[key].log)
    }

    fn let_age(&mut self, key: TopicKey, now: Duration) {
        let log = &mut self.topics[key].log;
        if log.due().is_some_and(|due| due <= now) {
            log.let_age(now);
            self.settle(key);
        }
    }

    /// Lets go of messages over age that nobody reads.
    fn let_all_age(&mut self, now: Duration) {
        for _ in 0..LOOKS_PER_TICK {
            let Some(key) = self.aging.take(now) else { return };
            let Some(entry) = self.topics.get_mut(key) else { continue };
            entry.is_aging = false;
            entry.log.let_age(now);
            self.settle(key);
        }
    }

    /// Forgets the names of publishes whose time is over, and the oldest of too many.
    fn forget_names(&mut self, now: Option<Duration>) {
        let until = now.and_then(|now| now.checked_sub(self.settings.dedup_window));
        while let Some((key, until)) = self.names.next(until) {
            let Some(entry) = self.topics.get_mut(key) else { continue };
            self.names.forget(&mut entry.dedup, until);
            self.settle(key);
        }
    }

    /// Forgets topics that nobody has used for long enough.
    fn forget_unused(&mut self, now: Duration) {
        for _ in 0..LOOKS_PER_TICK {
            let Some(key) = self.lingering.take(now) else { return };
            let Some(entry) = self.topics.get_mut(key) else { continue };
            entry.is_lingering = false;
            let is_over = entry.used_at.saturating_add(self.settings.linger) <= now;
            if is_over && entry.is_bare() && !entry.is_in_use() {
                self.forget(key);
            } else {
                self.settle(key);
            }
        }
    }
}

impl Engine for MemoryEngine {
    fn append(&mut self, mut publication: Publication, now: Duration, appended: &mut Vec<Appended>) {
        let objection = match publication.options.take() {
            None => Err(PublicationOptions::default()),
            Some(options) => self.objection(&publication, &options, now).ok_or(*options),
        };
        appended.push(match objection {
            Ok(objection) => objection,
            Err(options) => self.store(publication, options, now),
        });
        self.forget_names(None);
        self.keep_limits();
    }

    fn extent(&mut self, topic: &Topic, now: Duration) -> Extent {
        let key = self.obtain(topic, now);
        self.touch(key, now);
        self.let_age(key, now);
        self.settle(key);
        let extent = self.topics[key].log.extent();
        self.keep_limits();
        extent
    }

    fn read(
        &mut self,
        topic: &Topic,
        behind: u64,
        limits: PageLimits,
        now: Duration,
        page: &mut Vec<Arc<Published>>,
    ) -> u64 {
        self.look(topic, now).map_or(behind, |log| log.read(behind, limits, now, page))
    }

    fn read_back(
        &mut self,
        topic: &Topic,
        before: u64,
        limits: PageLimits,
        now: Duration,
        page: &mut Vec<Arc<Published>>,
    ) -> u64 {
        self.look(topic, now).map_or(before.min(1), |log| log.read_back(before, limits, now, page))
    }

    fn behind(&mut self, topic: &Topic, since: Duration, now: Duration) -> u64 {
        self.look(topic, now).map_or(0, |log| log.behind(since))
    }

    fn matching(&mut self, pattern: &Pattern, max: usize) -> Result<Vec<Topic>, usize> {
        self.topics.matching(pattern, max)
    }

    fn set_in_use(&mut self, topic: &Topic, in_use: bool, now: Duration) {
        let key = match (self.topics.find(topic), in_use) {
            (Some(key), _) => key,
            (None, true) => self.obtain(topic, now),
            (None, false) => return,
        };
        self.topics[key].is_subscribed = in_use;
        self.touch(key, now);
        self.settle(key);
        self.keep_limits();
    }

    fn join(&mut self, topic: &Topic, session: SessionRef, member: Member, now: Duration) -> Vec<Change> {
        let key = self.obtain(topic, now);
        let changes = self.topics[key].roster.get_or_insert_default().join(session, member);
        self.touch(key, now);
        self.settle(key);
        self.keep_limits();
        changes
    }

    fn leave(&mut self, topic: &Topic, session: SessionRef, now: Duration) -> Change {
        let Some(key) = self.topics.find(topic) else { return Change::None };
        let Some(roster) = &mut self.topics[key].roster else { return Change::None };
        let change = roster.leave(session);
        if roster.is_empty() {
            self.topics[key].roster = None;
        }
        self.touch(key, now);
        self.settle(key);
        self.keep_limits();
        change
    }

    fn presence(&self, topic: &Topic, named_max: usize) -> Presence {
        let roster = self.topics.find(topic).and_then(|key| self.topics[key].roster.as_deref());
        match roster {
            Some(roster) => roster.presence(topic, named_max),
            None => Presence { topic: topic.clone(), count: 0, sessions: 0, members: Some(Vec::new()) },
        }
    }

    fn tick(&mut self, now: Duration) {
        self.let_all_age(now);
        self.forget_names(Some(now));
        self.forget_unused(now);
        self.keep_limits();
    }

    fn history_bytes(&self) -> usize {
        self.own_bytes() + self.meter.bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::super::conformance::{Setup, conformance};
    use super::dedup::{NAMES_MAX, NAMES_PER_TOPIC_MAX};
    use super::*;
    use crate::hub::input::{Asker, Ticket};
    use crate::rules::{HistoryRule, TopicRule};

    fn memory(setup: Setup) -> Box<dyn Engine> {
        Box::new(MemoryEngine::new(settings(setup)))
    }

    fn settings(setup: Setup) -> MemorySettings {
        let Setup { rules, linger, unused_topics_max, history_bytes_max, dedup_window } = setup;
        let (first_epoch, seed) = (1, 7);
        MemorySettings {
            first_epoch,
            seed,
            rules,
            linger,
            unused_topics_max,
            history_bytes_max,
            dedup_window,
        }
    }

    conformance!(memory);

    fn publication(name: &str, options: PublicationOptions) -> Publication {
        Publication {
            topic: Topic::parse(name).unwrap(),
            payload: Payload::of("x").unwrap(),
            options: Some(Box::new(options)),
            asker: Asker::Caller(Ticket(1)),
            subscribers: 0,
            permit: None,
        }
    }

    #[test]
    fn topics_that_come_and_go_leave_nothing_on_the_agendas() {
        let rules = Rules::new(vec![
            TopicRule::new("kept.>").unwrap(),
            TopicRule::new(">").unwrap().with_history(HistoryRule::last(0)),
        ]);
        let mut engine =
            MemoryEngine::new(settings(Setup { rules, unused_topics_max: 10, ..Setup::default() }));
        let mut appended = Vec::new();
        for number in 0..10_000 {
            let name = format!("{}.{number}", ["kept", "brief"][number % 2]);
            engine.append(publication(&name, PublicationOptions::default()), Duration::ZERO, &mut appended);
            appended.clear();
        }
        assert_eq!((engine.topics.len(), engine.unused.len()), (10, 10));
        assert!(engine.aging.len() < 1100, "{}", engine.aging.len());
        assert!(engine.lingering.len() < 1100, "{}", engine.lingering.len());
    }

    #[test]
    fn a_topic_stands_on_each_agenda_once_however_often_it_is_used() {
        let mut engine = MemoryEngine::new(settings(Setup::default()));
        let (topic, mut appended) = (Topic::parse("a").unwrap(), Vec::new());
        for second in 0..1000 {
            let now = Duration::from_secs(second);
            engine.append(publication("a", PublicationOptions::default()), now, &mut appended);
            appended.clear();
            engine.set_in_use(&topic, second % 3 == 0, now);
            engine.extent(&topic, now);
            if second % 100 == 0 {
                engine.tick(now);
            }
            assert!(engine.aging.len() <= 1 && engine.lingering.len() <= 1);
        }
    }

    #[test]
    fn the_oldest_of_too_many_names_is_forgotten() {
        let mut engine = MemoryEngine::new(settings(Setup::default()));
        let mut appended = Vec::new();
        let mut say = |engine: &mut MemoryEngine, name: &str, number: usize| {
            let options = PublicationOptions { dedup: Some(number.to_string().into()), ..Default::default() };
            engine.append(publication(name, options), Duration::ZERO, &mut appended);
            matches!(appended.pop(), Some(Appended::Duplicate { .. }))
        };
        for number in 0..=NAMES_PER_TOPIC_MAX {
            assert!(!say(&mut engine, "a", number));
        }
        assert!(say(&mut engine, "a", 1), "of one topic so many are known");
        assert!(!say(&mut engine, "a", 0), "and no more");

        for number in 0..NAMES_MAX {
            say(&mut engine, &format!("b.{}", number % 50), number);
        }
        assert!(engine.names.bytes() < NAMES_MAX * 200);
        assert!(say(&mut engine, "b.49", NAMES_MAX - 1));
        assert!(!say(&mut engine, "a", 2), "of all topics so many are known");
    }
}
