//! Who is subscribed to what on this thread: entering and leaving groups, and what the registry is told of it.

use std::time::Duration;

use topichub_protocol::code::ErrorCode;
use topichub_protocol::command::{CommandError, CommandId, Unsubscribe};
use topichub_protocol::push::Push;
use topichub_protocol::reply::Reply;
use topichub_protocol::topic::{Filter, Topic};

use super::{FanOut, GroupKey, Membership, Outlet, Subscriber};
use crate::hub::backlog::{Backlog, Share};
use crate::hub::grants::Action;
use crate::hub::group::{Group, Member};
use crate::hub::identity::Identity;
use crate::hub::input::{Released, SubscriberKey};
use crate::metrics::figure::Figure;

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

    pub(super) fn unwatch(&mut self, key: SubscriberKey, topic: Topic) {
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
        if !self.subscribers.contains_key(key) {
            return;
        }
        if let Some(missing) = filters.iter().find(|filter| !self.is_subscribed(key, filter)) {
            let error = CommandError::new(ErrorCode::NotSubscribed, format!("not subscribed to {missing}"));
            return self.reply(key, &Reply::Error(error.with_id(id)), now);
        }
        self.end(key, &filters, now);
        if let Some(id) = id {
            self.reply(key, &Reply::Unsubscribed { id, topics: filters }, now);
        }
    }

    /// A session may do other things than before.
    pub(super) fn recheck(&mut self, key: SubscriberKey, identity: &Identity, now: Duration) {
        let Some(subscriber) = self.subscribers.get(key) else { return };
        let may = |filter: &Filter, presence: bool| {
            identity.grants.may(Action::Subscribe, filter)
                && (!presence || identity.grants.may(Action::Presence, filter))
        };
        let memberships = subscriber.memberships.iter().map(|membership| {
            (&self.groups[membership.group].filter, membership.joined || membership.watches)
        });
        let shares = subscriber.backlog.iter().flat_map(|backlog| &backlog.shares);
        let all = memberships.chain(shares.map(|share| (&share.filter, false)));
        let lost = all.filter(|(filter, presence)| !may(filter, *presence));
        let lost: Vec<_> = lost.map(|(filter, _)| filter.clone()).collect();
        self.expel(key, &lost, ErrorCode::Forbidden, now);
    }

    /// Ends subscriptions on the server's account, and says so.
    pub(super) fn expel(&mut self, key: SubscriberKey, filters: &[Filter], code: ErrorCode, now: Duration) {
        self.end(key, filters, now);
        for filter in filters {
            let push = Push::Unsubscribed { filter: filter.clone(), code };
            let frame = self.outlet(key).and_then(|outlet| outlet.encode_push(&push));
            frame.iter().for_each(|frame| self.append_own(key, frame, now));
        }
    }

    /// Ends one subscription on the server's account, if there is one, and says so.
    pub(crate) fn expel_from(
        &mut self,
        key: SubscriberKey,
        filter: &Filter,
        code: ErrorCode,
        now: Duration,
    ) -> bool {
        let is_there = self.is_subscribed(key, filter);
        if is_there {
            self.expel(key, std::slice::from_ref(filter), code, now);
        }
        is_there
    }

    /// How many subscriptions a session has.
    pub(crate) fn subscriptions_of(&self, key: SubscriberKey) -> usize {
        let Some(subscriber) = self.subscribers.get(key) else { return 0 };
        subscriber.memberships.len() + subscriber.backlog.as_ref().map_or(0, |backlog| backlog.shares.len())
    }

    fn is_subscribed(&self, key: SubscriberKey, filter: &Filter) -> bool {
        let Some(subscriber) = self.subscribers.get(key) else { return false };
        let mut shares = subscriber.backlog.iter().flat_map(|backlog| &backlog.shares);
        self.membership(key, filter).is_some() || shares.any(|share| share.filter == *filter)
    }

    /// Ends subscriptions.
    fn end<'a>(&mut self, key: SubscriberKey, filters: impl IntoIterator<Item = &'a Filter>, now: Duration) {
        for filter in filters {
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
    }

    pub(super) fn release_share(&mut self, subscriber: SubscriberKey, share: Share) {
        let Share { filter, group, .. } = share;
        self.outboxes.tally.subtract(Figure::GROUP_MEMBERS, 1);
        self.released.push(Released::Share { subscriber, filter, group });
    }

    /// Where among its memberships a subscriber has the one for `filter`.
    pub(super) fn membership(&self, key: SubscriberKey, filter: &Filter) -> Option<usize> {
        let group = self.group(filter)?;
        self.subscribers.get(key)?.memberships.iter().position(|membership| membership.group == group)
    }

    pub(super) fn group(&self, filter: &Filter) -> Option<GroupKey> {
        match filter {
            Filter::Topic(topic) => self.topics.get(topic).copied(),
            Filter::Pattern(pattern) => self.patterns.get(pattern).copied(),
        }
    }

    pub(super) fn group_for(&mut self, filter: &Filter, now: Duration) -> GroupKey {
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

    pub(super) fn next_since(&mut self, key: SubscriberKey) -> u32 {
        let Some(subscriber) = self.subscribers.get_mut(key) else { return 0 };
        subscriber.next_since += 1;
        subscriber.next_since
    }

    /// A subscription begins; it gets nothing yet.
    pub(super) fn enter(&mut self, key: SubscriberKey, membership: Membership) {
        self.outboxes.tally.add(Figure::SUBSCRIPTIONS, 1);
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

    pub(super) fn leave_group(&mut self, key: SubscriberKey, membership: &Membership, now: Duration) {
        if self.groups[membership.group].in_turn.is_some() {
            self.flush(now);
        }
        self.outboxes.tally.subtract(Figure::SUBSCRIPTIONS, 1);
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
    pub(super) fn update_modes(&mut self, key: SubscriberKey) {
        let Self { subscribers, groups, timers, .. } = self;
        let Some(subscriber) = subscribers.get_mut(key) else { return };
        let Some(mut backlog) = subscriber.backlog.take() else { return };
        let due = backlog.change_modes(|topic| {
            subscriber.mode_by(|membership| groups[membership.group].filter.matches(topic))
        });
        // A topic that nobody asks for any more begins anew if it is asked for again.
        backlog.marks.retain(|topic, _| {
            let mut memberships = subscriber.memberships.iter();
            memberships.any(|membership| groups[membership.group].filter.matches(topic))
        });
        subscriber.backlog = Some(backlog);
        due.into_iter().for_each(|(topic, opens)| timers.set(opens, key, topic));
        self.drain(key);
    }
}
