//! Subscriptions that still get what was published before: batch by batch, as the reader has room.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use topichub_protocol::message::Position;
use topichub_protocol::push::{Gap, Push};
use topichub_protocol::topic::Topic;

use super::{FanOut, Outlet};
use crate::hub::backlog::{Progress, Replaying};
use crate::hub::catch_up::{Batch, CatchUp, Cover, Item};
use crate::hub::input::{SessionRef, SubscriberKey};
use crate::hub::published::Class;
use crate::metrics::figure::Figure;

/// How many batches of the past are under way to one worker. What is published meanwhile stands in line behind them: with
/// thousands who come back at once it waits for these few, and not for all.
const READING_MAX: usize = 8;

impl<L: Outlet> FanOut<L> {
    /// A replay begins: from here on it is known how far each topic has been delivered.
    pub(super) fn enter_replay(&mut self, key: SubscriberKey, catch_up: &mut CatchUp, batch: &mut Batch) {
        let replaying = Replaying { since: catch_up.since, progress: Progress::Reading };
        self.backlog(key).replays.push(replaying);
        let starts: HashMap<_, _> = batch.before.iter().copied().collect();
        self.cover(key, catch_up, batch);
        let marks = &mut self.backlog(key).marks;
        for (number, cursor) in catch_up.cursors.iter().enumerate() {
            if cursor.cover == Cover::None {
                let offset = starts.get(&number).copied().unwrap_or(cursor.behind);
                let start = Position { epoch: cursor.epoch, offset };
                marks.entry(cursor.topic.clone()).or_insert(start);
            }
        }
    }

    /// The registry has read on.
    pub(super) fn caught_up(
        &mut self,
        key: SubscriberKey,
        mut catch_up: Box<CatchUp>,
        mut batch: Batch,
        now: Duration,
    ) {
        self.reading -= 1;
        self.read_next();
        let Some(subscriber) = self.subscribers.get(key) else { return };
        let mut replays = subscriber.backlog.iter().flat_map(|backlog| &backlog.replays);
        // It may have been unsubscribed meanwhile, and subscribed anew.
        if !replays.any(|replay| replay.since == catch_up.since) {
            return;
        }
        self.cover(key, &mut catch_up, &mut batch);
        self.take_batch(key, catch_up, batch, now);
    }

    /// Finds out which topics the session gets by another subscription: those are not replayed. One that it gets no more
    /// is replayed from where it was left.
    pub(super) fn cover(&mut self, key: SubscriberKey, catch_up: &mut CatchUp, batch: &mut Batch) {
        let Self { subscribers, groups, .. } = self;
        let Some(subscriber) = subscribers.get_mut(key) else { return };
        let cover = |topic: &Topic| {
            let others = subscriber.memberships.iter().filter(|other| other.since != catch_up.since);
            let matching = others.filter(|other| groups[other.group].filter.matches(topic));
            // Of several replays the earliest brings a topic; one that is live brings it in any case.
            matching.fold(Cover::None, |cover, other| match cover {
                _ if other.is_live() => Cover::Live,
                Cover::None if other.since < catch_up.since => Cover::Replay,
                cover => cover,
            })
        };
        let mut marks = Vec::new();
        for cursor in &mut catch_up.cursors {
            let cover = cover(&cursor.topic);
            match (cursor.cover, cover) {
                (Cover::None, Cover::Live) => marks.push((cursor.topic.clone(), cursor.end())),
                (Cover::Replay | Cover::Live, Cover::None) => {
                    let marks = subscriber.backlog.as_ref().map(|backlog| &backlog.marks);
                    let mark = marks.and_then(|marks| marks.get(&cursor.topic));
                    if let Some(mark) = mark.filter(|mark| mark.epoch == cursor.epoch) {
                        cursor.behind = mark.offset;
                    }
                }
                _ => {}
            }
            cursor.cover = cover;
        }
        let covered: HashSet<_> = catch_up
            .cursors
            .iter()
            .filter(|cursor| cursor.cover != Cover::None)
            .map(|cursor| &cursor.topic)
            .collect();
        if !covered.is_empty() {
            batch.items.retain(|item| !covered.contains(item.topic()));
        }
        if let Some(backlog) = &mut subscriber.backlog {
            for (topic, position) in marks {
                backlog.marks.entry(topic).or_insert(position);
            }
        }
    }

    /// Sends a batch if there is room, and goes live behind the last one.
    pub(super) fn take_batch(
        &mut self,
        key: SubscriberKey,
        mut catch_up: Box<CatchUp>,
        batch: Batch,
        now: Duration,
    ) {
        let Some(subscriber) = self.subscribers.get(key) else { return };
        if !subscriber.outlet.has_room() {
            batch.undo(&mut catch_up);
            subscriber.outlet.await_room();
            return self.wait(key, catch_up);
        }
        for item in batch.items {
            self.replay_item(key, &item, now);
        }
        if !catch_up.is_at_end() {
            return self.wait(key, catch_up);
        }
        if let Some(backlog) = &mut self.subscribers[key].backlog {
            backlog.replays.retain(|replay| replay.since != catch_up.since);
            if backlog.replays.is_empty() {
                backlog.marks.clear();
                self.subscribers[key].outlet.has_caught_up();
            } else {
                self.resumable.push(key);
            }
        }
        self.go_live(key, catch_up.since, now);
        self.trim_backlog(key);
    }

    fn replay_item(&mut self, key: SubscriberKey, item: &Item, now: Duration) {
        let Self { subscribers, groups, encoder, outboxes, worker, .. } = self;
        let Some(subscriber) = subscribers.get_mut(key) else { return };
        let (end, tally) = (item.end(), &outboxes.tally);
        let marks = subscriber.backlog.as_ref().map(|backlog| &backlog.marks);
        let mark = marks.and_then(|marks| marks.get(item.topic())).filter(|mark| mark.epoch == end.epoch);
        if mark.is_some_and(|mark| mark.offset >= end.offset) {
            return;
        }
        let frame: Option<Box<[u8]>> = match item {
            Item::Gap(gap) => {
                let from = mark.map_or(gap.from, |mark| gap.from.max(mark.offset + 1));
                tally.add(Figure::gaps(gap.why), 1);
                subscriber.outlet.misses();
                subscriber.outlet.encode_push(&Push::Gap(Gap { from, ..gap.clone() }))
            }
            Item::Message(published) => {
                let is_me = |session: &SessionRef| session.worker == *worker && session.subscriber == key;
                let topic = item.topic();
                let mut matching = subscriber
                    .memberships
                    .iter()
                    .filter(|membership| groups[membership.group].filter.matches(topic));
                let own = published.publisher.as_ref().is_some_and(is_me);
                let is_withheld = published.exclude.iter().any(is_me)
                    || (own && matching.all(|membership| !membership.echo));
                match subscriber.outlet.class() {
                    _ if is_withheld => None,
                    Class::Native => {
                        subscriber.outlet.deliver(published);
                        tally.add(Figure::REPLAYED, 1);
                        None
                    }
                    class => {
                        tally.add(Figure::REPLAYED, 1);
                        Some(published.frame::<L>(class, encoder).into())
                    }
                }
            }
        };
        subscriber.mark(item.topic(), end);
        if let Some(frame) = frame {
            self.append_own(key, &frame, now);
        }
    }

    /// A replay waits until there is room.
    fn wait(&mut self, key: SubscriberKey, catch_up: Box<CatchUp>) {
        let since = catch_up.since;
        let replays = &mut self.backlog(key).replays;
        if let Some(replay) = replays.iter_mut().find(|replay| replay.since == since) {
            replay.progress = Progress::Waiting(catch_up);
        }
        self.resumable.push(key);
    }

    /// Asks for more of the past, one replay of a session at a time.
    pub(super) fn next_replay(&mut self, key: SubscriberKey) {
        let Some(subscriber) = self.subscribers.get_mut(key) else { return };
        let Some(backlog) = &mut subscriber.backlog else { return };
        if backlog.replays.iter().any(|replay| matches!(replay.progress, Progress::Reading)) {
            return;
        }
        let Some(replay) = backlog.replays.first_mut() else { return };
        if !subscriber.outlet.has_room() {
            return subscriber.outlet.await_room();
        }
        if self.reading >= READING_MAX {
            if !std::mem::replace(&mut backlog.queued, true) {
                self.thirsty.push_back(key);
            }
            return;
        }
        if let Progress::Waiting(catch_up) = std::mem::replace(&mut replay.progress, Progress::Reading) {
            self.reading += 1;
            self.wanted.push((key, catch_up));
        }
    }

    /// Lets those have their next batch who have waited for it, in their order.
    fn read_next(&mut self) {
        while self.reading < READING_MAX
            && let Some(key) = self.thirsty.pop_front()
        {
            if let Some(backlog) =
                self.subscribers.get_mut(key).and_then(|subscriber| subscriber.backlog.as_mut())
            {
                backlog.queued = false;
            }
            self.next_replay(key);
        }
    }

    /// What this turn has written may have left room for more.
    pub(crate) fn resume_replays(&mut self) {
        let mut keys = std::mem::take(&mut self.resumable);
        keys.sort_unstable();
        keys.dedup();
        keys.drain(..).for_each(|key| self.resume(key));
        self.resumable = keys;
    }
}
