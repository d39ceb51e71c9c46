//! The engine that keeps topics in memory. A topic nobody uses is kept for a while after its last message, or as long as
//! its messages are, so that a short absence does not cost it its epoch; then it is forgotten.

mod agenda;
mod appending;
#[cfg(test)]
mod cost;
mod dedup;
mod eviction;
mod index;
mod limits;
mod log;
mod roster;
mod unused;

use std::sync::Arc;
use std::time::Duration;

use topichub_protocol::message::Epoch;
use topichub_protocol::reply::{Member, Presence};
use topichub_protocol::topic::{Pattern, Topic};

use self::agenda::Agenda;
use self::dedup::Names;
use self::eviction::Holders;
use self::index::{TopicKey, Topics};
use self::log::Log;
use self::unused::Unused;
use super::{Appended, Change, Engine, Extent, PageLimits};
use crate::hub::input::{Publication, PublicationOptions, SessionRef};
use crate::hub::published::{Published, RetainedBytes};
use crate::rules::Rules;
use crate::settings::Settings;

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
    meter: Arc<RetainedBytes>,
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

    fn list(
        &self,
        pattern: Option<&Pattern>,
        after: Option<&Topic>,
        limit: usize,
    ) -> (Vec<Topic>, Option<Topic>) {
        self.topics.list(pattern, after, limit)
    }

    fn purge(&mut self, topic: &Topic, now: Duration) -> usize {
        let Some(key) = self.topics.find(topic) else { return 0 };
        self.let_age(key, now);
        let mut purged = 0;
        while !self.topics[key].log.is_empty() {
            self.topics[key].log.pop();
            purged += 1;
        }
        self.settle(key);
        purged
    }

    fn exists(&self, topic: &Topic) -> bool {
        self.topics.find(topic).is_some()
    }

    fn topics(&self) -> usize {
        self.topics.len()
    }

    fn topics_made(&self) -> u64 {
        self.next_epoch
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

    fn reload(&mut self, settings: &Settings, now: Duration) {
        self.settings = MemorySettings {
            rules: Rules::new(settings.topics.clone()),
            linger: settings.topic_linger,
            unused_topics_max: settings.unused_topics_max,
            history_bytes_max: settings.history_bytes_max,
            dedup_window: settings.dedup_window,
            ..self.settings
        };
        // What stands there may be too late now.
        (self.aging, self.lingering) = Default::default();
        for key in self.topics.keys() {
            let entry = &mut self.topics[key];
            (entry.is_aging, entry.is_lingering) = (false, false);
            entry.log.obey(self.settings.rules.history(&entry.topic), now);
            self.settle(key);
        }
        self.keep_limits();
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
    use topichub_protocol::message::Payload;

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

    fn rules_of(pattern: &str, history: HistoryRule) -> Rules {
        Rules::new(vec![TopicRule::new(pattern).unwrap().with_history(history)])
    }

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
    fn topics_that_exist_keep_to_rules_that_come_later() {
        let mut engine = memory(Setup { rules: rules_of("a", HistoryRule::last(3)), ..Setup::default() });
        let (minute, mut appended) = (Duration::from_secs(60), Vec::new());
        let topic = Topic::parse("a").unwrap();
        let mut publish = |engine: &mut dyn Engine, now| {
            engine.append(publication("a", PublicationOptions::default()), now, &mut appended);
        };
        for _ in 0..3 {
            publish(&mut *engine, Duration::ZERO);
        }
        let reload = |engine: &mut dyn Engine, history, now| {
            let topics = vec![TopicRule::new("a").unwrap().with_history(history)];
            engine.reload(&Settings { topics, topic_linger: 10 * minute, ..Settings::default() }, now);
            engine.extent(&topic, now).oldest
        };
        assert_eq!(engine.extent(&topic, Duration::ZERO).oldest, 1);
        assert_eq!(reload(&mut *engine, HistoryRule::last(2), minute), 2);
        let before = engine.history_bytes();
        assert_eq!(reload(&mut *engine, HistoryRule::last(2).for_age(2 * minute), minute), 2);
        engine.tick(2 * minute);
        assert!(engine.history_bytes() < before, "a shorter age is noticed in time");
        assert_eq!(reload(&mut *engine, HistoryRule::last(0), 2 * minute), 4);
        assert_eq!(reload(&mut *engine, HistoryRule::last(5), 2 * minute), 4);
        publish(&mut *engine, 2 * minute);
        assert_eq!(engine.extent(&topic, 2 * minute).oldest, 4, "the epoch and its offsets go on");
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
