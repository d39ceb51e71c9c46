//! Subscribing, and the past that a new subscription gets: where each topic stands, and what lies before.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use topichub_protocol::code::ErrorCode;
use topichub_protocol::command::{CommandError, REPLAY_TOPICS_MAX, Replay};
use topichub_protocol::message::Position;
use topichub_protocol::reply::{self, Replayed, Reply};
use topichub_protocol::topic::{Filter, Topic};

use super::{Registry, answer};
use crate::engine::PageLimits;
use crate::hub::catch_up::{Batch, CatchUp, Cover, Cursor};
use crate::hub::input::{Asker, Delivery, Effect, Entry, Subscribed, Subscribing, Wanted};
use crate::hub::queue_group::Load;

/// How much of the past is read for one reader at once.
const BATCH: PageLimits = PageLimits { messages: 256, bytes: 64 * 1024 };

/// What goes out with the answer to a subscribe command: a last value or a few. More is read when it is this reader's turn.
const FIRST_BATCH: PageLimits = PageLimits { messages: 16, bytes: 8 * 1024 };

impl Registry {
    pub(super) fn subscribe(&mut self, subscribing: Subscribing, now: Duration, effects: &mut Vec<Effect>) {
        let Subscribing { session, id, wanted, options, member, permit } = subscribing;
        if let Some(replay) = &options.replay {
            for Wanted { filter, .. } in &wanted {
                if let Err(error) = self.replayed_topics(filter, replay) {
                    return answer(Asker::Session { session, id }, Reply::Error(error), effects);
                }
            }
        }
        let mut budget = FIRST_BATCH;
        let entries = wanted.map(|Wanted { filter, policy }| {
            if let Some(group) = &options.group {
                self.has_groups = true;
                let load = Arc::new(Load::default());
                let groups = self.interest(&filter, now).groups.get_or_insert_default();
                groups.join(group, session, Arc::clone(&load));
                let position = self.position(&filter, now);
                let subscribed = reply::Subscribed { filter, position, replay: None };
                return Entry { policy, subscribed, replay: None, presence: None, load: Some(load) };
            }
            self.hold(session.worker, &filter, now);
            let position = self.position(&filter, now);
            let (replay, replayed) = match &options.replay {
                Some(replay) => {
                    let (catch_up, batch, replayed) = self.begin_replay(&filter, replay, &mut budget, now);
                    (Some((Box::new(catch_up), batch)), Some(replayed))
                }
                None => (None, None),
            };
            let presence = match (&options.presence, &filter) {
                (Some(presence), Filter::Topic(topic)) => {
                    if presence.join {
                        let shown = self.shown.entry(session.worker).or_default();
                        *shown.entry((session, topic.clone())).or_default() += 1;
                        for change in self.engine.join(topic, session, member.clone(), now) {
                            self.attendance.changed(topic, change, now);
                        }
                    }
                    presence.watch.then(|| {
                        self.attendance.watch(topic, session.worker);
                        let presence = self.engine.presence(topic, self.presence_members_max);
                        self.attendance.told(topic, &presence);
                        presence
                    })
                }
                _ => None,
            };
            let subscribed = reply::Subscribed { filter, position, replay: replayed };
            Entry { policy, subscribed, replay, presence, load: None }
        });
        let subscriber = session.subscriber;
        let subscribed = Box::new(Subscribed { subscriber, id, entries, options, permit });
        effects.push(Effect::Deliver { worker: session.worker, delivery: Delivery::Subscribed(subscribed) });
    }

    fn position(&mut self, filter: &Filter, now: Duration) -> Option<Position> {
        match filter {
            Filter::Topic(topic) => Some(self.engine.extent(topic, now).end),
            Filter::Pattern(_) => None,
        }
    }

    /// The topics that a replay covers.
    fn replayed_topics(&mut self, filter: &Filter, replay: &Replay) -> Result<Vec<Topic>, CommandError> {
        let too_many = |_: usize| {
            let message =
                format!("{filter} matches more topics than a replay covers, which is {REPLAY_TOPICS_MAX}");
            CommandError::new(ErrorCode::LimitReached, message)
        };
        match filter {
            Filter::Topic(topic) => Ok(vec![topic.clone()]),
            Filter::Pattern(pattern) => {
                let mut topics = self.engine.matching(pattern, REPLAY_TOPICS_MAX).map_err(too_many)?;
                // A topic that has vanished is told of as well: its new epoch says that it was lost.
                if let Replay::AfterEach(positions) = replay {
                    topics.extend(positions.keys().filter(|topic| pattern.matches(topic)).cloned());
                    topics.sort_unstable();
                    topics.dedup();
                }
                if topics.len() > REPLAY_TOPICS_MAX { Err(too_many(topics.len())) } else { Ok(topics) }
            }
        }
    }

    /// Reads the first batch of a replay, within what is left of the command's `budget`.
    fn begin_replay(
        &mut self,
        filter: &Filter,
        replay: &Replay,
        budget: &mut PageLimits,
        now: Duration,
    ) -> (CatchUp, Batch, Replayed) {
        let topics = self.replayed_topics(filter, replay).unwrap_or_default();
        let topics_made = self.engine.topics_made();
        let mut recovered = true;
        let mut cursors = Vec::with_capacity(topics.len());
        for topic in topics {
            let extent = self.engine.extent(&topic, now);
            let end = extent.end;
            let from = match replay {
                Replay::Last(count) => Ok(self.behind_last(&topic, *count, now)),
                Replay::Seconds(seconds) => {
                    let since = now.saturating_sub(Duration::from_secs(*seconds));
                    Ok(self.engine.behind(&topic, since, now))
                }
                Replay::After(position) => Err(*position),
                Replay::AfterEach(positions) => match positions.get(&topic) {
                    Some(position) => Err(*position),
                    None => Err(Position { epoch: end.epoch, offset: 0 }),
                },
            };
            let behind = match from {
                Ok(behind) => behind,
                Err(position) if position.epoch == end.epoch && position.offset <= end.offset => {
                    recovered &= position.offset + 1 >= extent.oldest;
                    position.offset
                }
                Err(_) => {
                    recovered = false;
                    0
                }
            };
            cursors.push(Cursor::new(topic, behind, extent));
        }
        let positions = match filter {
            Filter::Topic(_) => None,
            Filter::Pattern(_) => {
                Some(cursors.iter().map(|cursor| (cursor.topic.clone(), cursor.end())).collect())
            }
        };
        let mut catch_up = CatchUp { filter: filter.clone(), since: 0, cursors, topics_made };
        let batch = self.read(&mut catch_up, budget, now);
        // How much is replayed, the fan-out knows.
        (catch_up, batch, Replayed { messages: 0, recovered, positions })
    }

    /// The offset behind which the last `count` messages are that are still worth having.
    fn behind_last(&mut self, topic: &Topic, count: u64, now: Duration) -> u64 {
        let end = self.engine.extent(topic, now).end.offset;
        let limits = PageLimits { messages: count as usize, bytes: usize::MAX };
        let mut page = Vec::new();
        if count > 0 {
            self.engine.read_back(topic, end + 1, limits, now, &mut page);
        }
        page.first().map_or(end, |published| published.offset() - 1)
    }

    /// Reads the next batch of a replay, and takes notice of topics that are new to its pattern.
    pub(super) fn read_on(&mut self, catch_up: &mut CatchUp, now: Duration) -> Batch {
        let topics_made = self.engine.topics_made();
        if let Filter::Pattern(pattern) = &catch_up.filter
            && catch_up.topics_made != topics_made
        {
            catch_up.topics_made = topics_made;
            let topics = self.engine.matching(pattern, usize::MAX).unwrap_or_default();
            let known: HashSet<_> = catch_up.cursors.iter().map(|cursor| cursor.topic.clone()).collect();
            for topic in topics {
                if !known.contains(&topic) {
                    let extent = self.engine.extent(&topic, now);
                    catch_up.cursors.push(Cursor::new(topic, 0, extent));
                }
            }
        }
        for cursor in &mut catch_up.cursors {
            let end = self.engine.extent(&cursor.topic, now).end;
            if end.epoch != cursor.epoch {
                (cursor.epoch, cursor.behind) = (end.epoch, 0);
            }
            cursor.end = end.offset;
        }
        self.read(catch_up, &mut BATCH.clone(), now)
    }

    fn read(&mut self, catch_up: &mut CatchUp, budget: &mut PageLimits, now: Duration) -> Batch {
        let mut batch = Batch::default();
        for (number, cursor) in catch_up.cursors.iter_mut().enumerate() {
            if cursor.cover != Cover::None || cursor.behind >= cursor.end {
                continue;
            }
            if budget.messages == 0 || budget.bytes == 0 {
                break;
            }
            let mut page = Vec::new();
            let oldest = self.engine.extent(&cursor.topic, now).oldest;
            let through = self.engine.read(&cursor.topic, cursor.behind, *budget, now, &mut page);
            let bytes: usize = page.iter().map(|published| published.message.payload.as_bytes().len()).sum();
            budget.messages = budget.messages.saturating_sub(page.len().max(1));
            budget.bytes = budget.bytes.saturating_sub(bytes);
            batch.add(number, cursor, oldest, page, through);
        }
        batch
    }
}
