//! Subscribing: what stands against it, what the session is told, and how a subscription begins or changes.

use std::time::Duration;

use topichub_protocol::code::ErrorCode;
use topichub_protocol::command::{CommandError, OneOrMany, SlowPolicy, SubscribeOptions};
use topichub_protocol::push::Push;
use topichub_protocol::reply::{self, Reply};
use topichub_protocol::topic::Filter;

use super::{FanOut, GroupKey, Membership, Outlet};
use crate::engine::Extent;
use crate::hub::backlog::Share;
use crate::hub::catch_up::{Batch, CatchUp, Cursor};
use crate::hub::input::{Entry, Released, Subscribed, SubscriberKey};
use crate::metrics::figure::Figure;

impl<L: Outlet> FanOut<L> {
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
                self.outboxes.tally.add(Figure::GROUP_MEMBERS, 1);
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
}
