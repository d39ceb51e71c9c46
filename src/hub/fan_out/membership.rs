//! Who is subscribed to what on this thread: joining and leaving, and what the session and the registry are told.

use std::time::Duration;

use topichub_protocol::code::ErrorCode;
use topichub_protocol::command::{
    CommandError, CommandId, OneOrMany, SlowPolicy, SubscribeOptions, Unsubscribe,
};
use topichub_protocol::push::Push;
use topichub_protocol::reply::{self, Reply};
use topichub_protocol::topic::{Filter, Topic};

use super::{FanOut, GroupKey, Membership, Outlet, Subscriber};
use crate::engine::Extent;
use crate::hub::backlog::{Backlog, Share};
use crate::hub::catch_up::{Batch, CatchUp, Cursor};
use crate::hub::group::{Group, Member};
use crate::hub::input::{Entry, Released, Subscribed, SubscriberKey};

impl<L: Outlet> FanOut<L> {
    /// A session is gone, and its subscriptions with it.
    pub(crate) fn leave(&mut self, key: SubscriberKey, now: Duration) {
        // What was published before is still theirs.
        let Some(subscriber) = self.subscribers.get(key) else { return };
        if subscriber.memberships.iter().any(|membership| self.groups[membership.group].in_turn.is_some()) {
            self.flush(now);
        }
        let Some(subscriber) = self.subscribers.remove(key) else { return };
        if let Some(backlog) = subscriber.backlog {
            self.backlogs -= 1;
            backlog.shares.into_iter().for_each(|share| self.release_share(key, share));
        }
        for membership in &subscriber.memberships {
            self.leave_group(key, membership, now);
        }
    }

    pub(super) fn subscribed(&mut self, subscribed: Subscribed, now: Duration) {
        let Subscribed { subscriber: key, id, entries, options, permit: _permit } = subscribed;
        if let Err(error) = self.may_subscribe(key, &entries, &options) {
            self.release_entries(key, &entries, &options);
            if let Some((code, message)) = error {
                self.reply(key, &Reply::Error(CommandError::new(code, message).with_id(id)), now);
            }
            return;
        }
        let is_plain = |entry: &Entry| entry.policy == SlowPolicy::Disconnect && entry.replay.is_none();
        let paced = options.interval.is_some() || options.group.is_some() || !entries.iter().all(is_plain);
        if self.backlogs == 0 && paced {
            // From here on messages are kept for those who may not take them as they come.
            self.flush(now);
        }
        let mut replays = Vec::new();
        let mut presences = Vec::new();
        let topics = entries.map(|entry| {
            let Entry { policy, mut subscribed, replay, presence, load } = entry;
            presences.extend(presence);
            let filter = &subscribed.filter;
            if let (Some(group), Some(load)) = (&options.group, load) {
                let share = Share { filter: filter.clone(), group: group.clone(), load };
                let backlog = self.backlog(key);
                let before = backlog.shares.iter().position(|other| other.filter == share.filter);
                let before = before.map(|at| backlog.shares.swap_remove(at));
                backlog.shares.push(share);
                // The registry has counted it once more.
                before.into_iter().for_each(|before| self.release_share(key, before));
                return subscribed;
            }
            let mut membership = Membership {
                group: GroupKey::default(),
                place: Membership::CATCHING_UP,
                since: 0,
                interval_ms: options.interval.map_or(0, |interval| (interval.as_millis() as u32).max(1)),
                policy,
                echo: options.echo,
                joined: options.presence.as_ref().is_some_and(|presence| presence.join),
                watches: options.presence.as_ref().is_some_and(|presence| presence.watch),
            };
            match self.membership(key, filter) {
                Some(at) => self.change_options(key, at, membership, filter, now),
                None => {
                    let replay = replay.or_else(|| self.behind_others(key, &subscribed));
                    let live = replay.is_none();
                    membership.group = self.group_for(filter, now);
                    membership.since = self.next_since(key);
                    if membership.watches
                        && let Filter::Topic(topic) = filter
                    {
                        self.watchers.entry(topic.clone()).or_default().push(key);
                    }
                    let since = membership.since;
                    if !membership.mode().is_plain() {
                        self.backlog(key);
                    }
                    self.enter(key, membership);
                    if live {
                        self.go_live(key, since, now);
                    }
                    if let Some((mut catch_up, mut batch)) = replay {
                        catch_up.since = since;
                        self.enter_replay(key, &mut catch_up, &mut batch);
                        if let Some(replayed) = &mut subscribed.replay {
                            replayed.messages = batch.messages() + catch_up.remaining();
                        }
                        replays.push((catch_up, batch));
                    }
                }
            }
            subscribed
        });
        self.update_modes(key);
        if let Some(id) = id {
            self.reply(key, &Reply::Subscribed { id, topics }, now);
        }
        for presence in presences {
            let frame = self.outlet(key).and_then(|outlet| outlet.encode_push(&Push::Presence(presence)));
            frame.iter().for_each(|frame| self.append_own(key, frame, now));
        }
        for (catch_up, batch) in replays {
            self.take_batch(key, catch_up, batch, now);
        }
        self.trim_backlog(key);
    }

    /// What stands against it, if the session is still there.
    fn may_subscribe(
        &self,
        key: SubscriberKey,
        entries: &OneOrMany<Entry>,
        options: &SubscribeOptions,
    ) -> Result<(), Option<(ErrorCode, String)>> {
        let Some(subscriber) = self.subscribers.get(key) else { return Err(None) };
        let shares = || subscriber.backlog.iter().flat_map(|backlog| &backlog.shares);
        let mut subscriptions = subscriber.memberships.len() + shares().count();
        for entry in entries {
            let filter = &entry.subscribed.filter;
            let share = shares().find(|share| share.filter == *filter);
            let is_member = self.membership(key, filter).is_some();
            let in_the_way = match (&options.group, share) {
                (Some(group), Some(share)) if share.group != *group => {
                    Some(format!("already subscribed to {filter} in group \"{}\"", share.group))
                }
                (None, Some(share)) => {
                    Some(format!("already subscribed to {filter} in group \"{}\"", share.group))
                }
                (Some(_), _) if is_member => Some(format!("already subscribed to {filter} without a group")),
                (None, None) if !is_member && options.replay.is_none() => {
                    if let Some(replayed) = self.replayed_pattern(key, filter) {
                        let message = format!("the replay of {replayed} is not over yet");
                        return Err(Some((ErrorCode::Unavailable, message)));
                    }
                    None
                }
                (None, _) if is_member && options.replay.is_some() => {
                    Some(format!("already subscribed to {filter}: what was before can be had with history"))
                }
                _ => None,
            };
            if let Some(message) = in_the_way {
                return Err(Some((ErrorCode::AlreadySubscribed, message)));
            }
            subscriptions += usize::from(!is_member && share.is_none());
        }
        let max = self.subscriptions_max;
        if subscriptions > max {
            let message = format!("{subscriptions} subscriptions in one session, the limit is {max}");
            return Err(Some((ErrorCode::LimitReached, message)));
        }
        Ok(())
    }

    /// A replay under way that a new pattern overlaps with: there is no telling where it would have to go on if the
    /// earlier subscription ended.
    fn replayed_pattern(&self, key: SubscriberKey, filter: &Filter) -> Option<Filter> {
        let (Filter::Pattern(_), Some(subscriber)) = (filter, self.subscribers.get(key)) else { return None };
        let replayed = subscriber.memberships.iter().filter(|membership| !membership.is_live());
        let mut filters = replayed.map(|membership| &self.groups[membership.group].filter);
        filters.find(|other| other.overlaps(filter)).cloned()
    }

    /// A topic that an earlier subscription still replays comes by that; should it end before, from here on.
    fn behind_others(
        &self,
        key: SubscriberKey,
        subscribed: &reply::Subscribed,
    ) -> Option<(Box<CatchUp>, Batch)> {
        let (Filter::Topic(topic), Some(position)) = (&subscribed.filter, subscribed.position) else {
            return None;
        };
        let memberships = &self.subscribers.get(key)?.memberships;
        let mut matching = memberships.iter().filter(|other| self.groups[other.group].filter.matches(topic));
        if matching.clone().any(|other| other.is_live()) {
            return None;
        }
        matching.next()?;
        let extent = Extent { end: position, oldest: position.offset + 1 };
        let cursors = vec![Cursor::new(topic.clone(), position.offset, extent)];
        Some((
            Box::new(CatchUp { filter: subscribed.filter.clone(), since: 0, cursors, topics_made: 0 }),
            Batch::default(),
        ))
    }

    /// Nothing comes of a subscribe command: the registry has counted it already.
    fn release_entries(
        &mut self,
        key: SubscriberKey,
        entries: &OneOrMany<Entry>,
        options: &SubscribeOptions,
    ) {
        for entry in entries {
            let filter = entry.subscribed.filter.clone();
            if let Some(group) = &options.group {
                let group = group.clone();
                self.released.push(Released::Share { subscriber: key, filter, group });
                continue;
            }
            if let (Some(presence), Filter::Topic(topic)) = (&options.presence, &filter) {
                if presence.join {
                    self.released.push(Released::Member { subscriber: key, topic: topic.clone() });
                }
                if presence.watch {
                    self.released.push(Released::Watcher { topic: topic.clone() });
                }
            }
            self.released.push(Released::Interest(filter));
        }
    }

    /// Subscribing again: the options are those of the last command.
    fn change_options(
        &mut self,
        key: SubscriberKey,
        at: usize,
        new: Membership,
        filter: &Filter,
        now: Duration,
    ) {
        // What was published before goes by the options that held then.
        if self.groups[self.subscribers[key].memberships[at].group].in_turn.is_some() {
            self.flush(now);
        }
        self.released.push(Released::Interest(filter.clone()));
        let Some(subscriber) = self.subscribers.get_mut(key) else { return };
        let membership = &mut subscriber.memberships[at];
        let (joined, watched) = (membership.joined, membership.watches);
        let group = membership.group;
        let Membership { interval_ms, policy, echo, joined: joins, watches, .. } = new;
        *membership = Membership { interval_ms, policy, echo, joined: joins, watches, ..*membership };
        let paced = !membership.mode().is_plain();
        if paced {
            self.backlog(key);
        }
        let Filter::Topic(topic) = &self.groups[group].filter else { return };
        let topic = topic.clone();
        // The registry has counted it once more, if it is to be shown again.
        if joined {
            self.released.push(Released::Member { subscriber: key, topic: topic.clone() });
        }
        match (watched, watches) {
            (false, true) => self.watchers.entry(topic).or_default().push(key),
            (true, false) => self.unwatch(key, topic),
            // The registry has counted it once more.
            (true, true) => self.released.push(Released::Watcher { topic }),
            (false, false) => {}
        }
    }

    fn unwatch(&mut self, key: SubscriberKey, topic: Topic) {
        if let Some(watchers) = self.watchers.get_mut(&topic) {
            watchers.retain(|other| *other != key);
            if watchers.is_empty() {
                self.watchers.remove(&topic);
            }
        }
        self.released.push(Released::Watcher { topic });
    }

    pub(super) fn unsubscribe(
        &mut self,
        key: SubscriberKey,
        id: Option<CommandId>,
        unsubscribe: Unsubscribe,
        now: Duration,
    ) {
        let filters = unsubscribe.filters;
        let Some(subscriber) = self.subscribers.get(key) else { return };
        let shares = || subscriber.backlog.iter().flat_map(|backlog| &backlog.shares);
        let is_share = |filter: &Filter| shares().any(|share| share.filter == *filter);
        let missing =
            filters.iter().find(|filter| self.membership(key, filter).is_none() && !is_share(filter));
        if let Some(missing) = missing {
            let error = CommandError::new(ErrorCode::NotSubscribed, format!("not subscribed to {missing}"));
            return self.reply(key, &Reply::Error(error.with_id(id)), now);
        }
        for filter in &filters {
            if let Some(at) = self.membership(key, filter) {
                // What was published before is still theirs.
                if self.groups[self.subscribers[key].memberships[at].group].in_turn.is_some() {
                    self.flush(now);
                }
                let membership = self.subscribers[key].memberships.swap_remove(at);
                if let Some(backlog) = &mut self.subscribers[key].backlog {
                    backlog.replays.retain(|replay| replay.since != membership.since);
                    self.resumable.push(key);
                }
                self.leave_group(key, &membership, now);
            } else if let Some(backlog) = &mut self.subscribers[key].backlog
                && let Some(at) = backlog.shares.iter().position(|share| share.filter == *filter)
            {
                let share = backlog.shares.swap_remove(at);
                self.release_share(key, share);
            }
        }
        self.update_modes(key);
        self.trim_backlog(key);
        if let Some(id) = id {
            self.reply(key, &Reply::Unsubscribed { id, topics: filters }, now);
        }
    }

    fn release_share(&mut self, subscriber: SubscriberKey, share: Share) {
        let Share { filter, group, .. } = share;
        self.released.push(Released::Share { subscriber, filter, group });
    }

    /// Where among its memberships a subscriber has the one for `filter`.
    pub(super) fn membership(&self, key: SubscriberKey, filter: &Filter) -> Option<usize> {
        let group = self.group(filter)?;
        self.subscribers.get(key)?.memberships.iter().position(|membership| membership.group == group)
    }

    fn group(&self, filter: &Filter) -> Option<GroupKey> {
        match filter {
            Filter::Topic(topic) => self.topics.get(topic).copied(),
            Filter::Pattern(pattern) => self.patterns.get(pattern).copied(),
        }
    }

    fn group_for(&mut self, filter: &Filter, now: Duration) -> GroupKey {
        if let Some(group) = self.group(filter) {
            return group;
        }
        // The topics of this turn have looked for their groups already.
        self.flush(now);
        let key = self.groups.insert(Group::new(filter.clone()));
        match filter {
            Filter::Topic(topic) => _ = self.topics.insert(topic.clone(), key),
            Filter::Pattern(pattern) => _ = self.patterns.insert(pattern, key),
        }
        key
    }

    fn next_since(&mut self, key: SubscriberKey) -> u32 {
        let Some(subscriber) = self.subscribers.get_mut(key) else { return 0 };
        subscriber.next_since += 1;
        subscriber.next_since
    }

    /// A subscription begins; it gets nothing yet.
    fn enter(&mut self, key: SubscriberKey, membership: Membership) {
        self.groups[membership.group].catching_up += 1;
        let memberships = &mut self.subscribers[key].memberships;
        // Most sessions have one or few: a vector that grows by itself begins with room for four.
        memberships.reserve_exact(usize::from(memberships.is_empty()));
        memberships.push(membership);
    }

    /// From here on a subscription gets what is published.
    pub(super) fn go_live(&mut self, key: SubscriberKey, since: u32, now: Duration) {
        let find = |subscriber: &Subscriber<L>| {
            subscriber.memberships.iter().position(|membership| membership.since == since)
        };
        let Some(at) = self.subscribers.get(key).and_then(find) else { return };
        let group = self.subscribers[key].memberships[at].group;
        // Whoever joins gets nothing of what was published before.
        if self.groups[group].in_turn.is_some() {
            self.flush(now);
        }
        let Subscriber { outlet, memberships, .. } = &mut self.subscribers[key];
        let group = &mut self.groups[group];
        group.catching_up -= 1;
        memberships[at].place = group.add(Member { subscriber: key, class: outlet.class() });
    }

    fn leave_group(&mut self, key: SubscriberKey, membership: &Membership, now: Duration) {
        if self.groups[membership.group].in_turn.is_some() {
            self.flush(now);
        }
        let group = &mut self.groups[membership.group];
        let filter = group.filter.clone();
        if membership.is_live() {
            if let Some(moved) = group.remove(membership.place)
                && let Some(subscriber) = self.subscribers.get_mut(moved)
                && let Some(other) =
                    subscriber.memberships.iter_mut().find(|other| other.group == membership.group)
            {
                other.place = membership.place;
            }
        } else {
            group.catching_up -= 1;
        }
        if self.groups[membership.group].is_empty() {
            self.groups.remove(membership.group);
            match &filter {
                Filter::Topic(topic) => _ = self.topics.remove(topic),
                Filter::Pattern(pattern) => _ = self.patterns.remove(pattern),
            }
        }
        if let Filter::Topic(topic) = &filter {
            if membership.joined {
                self.released.push(Released::Member { subscriber: key, topic: topic.clone() });
            }
            if membership.watches {
                self.unwatch(key, topic.clone());
            }
        }
        self.released.push(Released::Interest(filter));
    }

    /// A subscriber's backlog; from now on it has one.
    pub(super) fn backlog(&mut self, key: SubscriberKey) -> &mut Backlog {
        let backlog = &mut self.subscribers[key].backlog;
        self.backlogs += usize::from(backlog.is_none());
        backlog.get_or_insert_default()
    }

    /// Lets go of a backlog that is not needed any more.
    pub(super) fn trim_backlog(&mut self, key: SubscriberKey) {
        let Some(subscriber) = self.subscribers.get_mut(key) else { return };
        let idle = subscriber.backlog.as_ref().is_some_and(|backlog| backlog.is_idle());
        if idle && subscriber.memberships.iter().all(|membership| membership.mode().is_plain()) {
            subscriber.backlog = None;
            self.backlogs -= 1;
        }
    }

    /// Subscriptions have come, gone or changed: what waits goes by what there is now.
    fn update_modes(&mut self, key: SubscriberKey) {
        let Self { subscribers, groups, .. } = self;
        let Some(subscriber) = subscribers.get_mut(key) else { return };
        let Some(mut backlog) = subscriber.backlog.take() else { return };
        backlog.change_modes(|topic| {
            subscriber.mode_by(|membership| groups[membership.group].filter.matches(topic))
        });
        // A topic that nobody asks for any more begins anew if it is asked for again.
        backlog.marks.retain(|topic, _| {
            let mut memberships = subscriber.memberships.iter();
            memberships.any(|membership| groups[membership.group].filter.matches(topic))
        });
        subscriber.backlog = Some(backlog);
        self.drain(key);
    }
}
