//! Subscribing at the server: what is asked for, first and after a loss, and what the answer means for positions.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use topichub_protocol::command::CommandError;
use topichub_protocol::{
    ErrorCode, Filter, OneOrMany, Operation, Position, Replay, SlowPolicy, Subscribe, SubscribeOptions,
    Topic, reply,
};

use super::named::{Ask, Named, Past, Stage};
use super::{Output, ReaderId, Session, Waiting};
use crate::backoff::believed;
use crate::error::Error;
use crate::event::{Event, Gap, GapReason, Subscribed};
use crate::orders::Ticket;

/// The most positions that are asked after, so that the command stays within what servers take.
const AFTER_MAX: usize = 500;

/// What of a subscription can be changed while it lasts.
#[derive(Clone, Debug)]
pub(crate) struct Served {
    pub(crate) echo: bool,
    pub(crate) slow: Option<SlowPolicy>,
    pub(crate) interval: Option<Duration>,
}

impl Served {
    fn put_into(self, options: SubscribeOptions) -> SubscribeOptions {
        let Self { echo, slow, interval } = self;
        SubscribeOptions { echo, slow, interval, ..options }
    }
}

impl Session {
    /// Asks for all names, in the order in which they were made.
    pub(super) fn ask_all(&mut self, now: Duration) {
        let numbers: Vec<_> = self.names.iter().map(|named| named.number).collect();
        for number in numbers {
            self.ask(number, now);
        }
    }

    pub(super) fn ask(&mut self, number: u64, now: Duration) {
        let Some(named) = self.named(number) else { return };
        let replay = self.replay_of(named);
        self.ask_with(number, replay, now);
    }

    fn ask_with(&mut self, number: u64, mut replay: Option<Replay>, _now: Duration) {
        let Some(named) = self.named_mut(number) else { return };
        named.stage = Stage::Asked;
        let (filter, options) = (named.filter.clone(), named.options.clone());
        loop {
            let subscribe = Subscribe {
                filters: OneOrMany::One(filter.clone()),
                options: SubscribeOptions { replay: replay.clone(), ..options.clone() },
            };
            let waiting = Waiting::Subscribe(number, Ask { replay: replay.clone() });
            match (self.send(Operation::Subscribe(subscribe), waiting), &mut replay) {
                (Ok(()), _) => return,
                // Long topics: those left out come again from what is retained, and are passed over.
                (Err(Error::TooLong { .. }), Some(Replay::AfterEach(positions))) if !positions.is_empty() => {
                    let half = positions.len() / 2;
                    *positions = std::mem::take(positions).into_iter().take(half).collect();
                }
                (Err(why), _) => return self.end_name(number, &why),
            }
        }
    }

    /// What of the past a name needs.
    fn replay_of(&self, named: &Named) -> Option<Replay> {
        if !named.begun || named.is_group() {
            return named.first();
        }
        match &named.filter {
            Filter::Topic(topic) => {
                let known = self.positions.get(topic).or_else(|| {
                    let mut known = BTreeMap::new();
                    if !named.has_nothing() {
                        named.unfinished(&mut known, 1);
                    }
                    known.remove(topic)
                });
                known.map(Replay::After).or_else(|| named.first())
            }
            filter @ Filter::Pattern(_) => {
                let mut known = self.positions.matching(filter, AFTER_MAX);
                if known.is_empty() && named.has_nothing() {
                    return named.first();
                }
                named.unfinished(&mut known, AFTER_MAX);
                Some(Replay::AfterEach(known))
            }
        }
    }

    /// The server has agreed: what it replays follows, then what is new.
    pub(super) fn subscribed(&mut self, number: u64, ask: &Ask, answer: reply::Subscribed) {
        let Some(at) = self.names.iter().position(|named| named.number == number) else { return };
        let resumed = self.names.begin(at);
        let Some(named) = self.names.get_mut(at) else { return };
        named.stage = Stage::InForce;
        named.refusals = 0;
        let (position, replay) = (answer.position, answer.replay);
        let announced = replay.as_ref().map_or(0, |replay| replay.messages);
        let subscribed = Subscribed {
            filter: answer.filter,
            position,
            replayed: announced,
            recovered: replay.as_ref().is_none_or(|replay| replay.recovered),
            resumed,
        };
        let mut events = vec![Event::Subscribed(subscribed)];
        if !named.is_group() {
            if ask.replay.is_none() {
                // Too many topics for a replay: what was missed, or has been before, nobody tells.
                let topic = named.filter.clone();
                events.push(Event::Gap(Gap { topic, epoch: None, range: None, why: GapReason::Unknown }));
            }
            let ends = match (&named.filter, position) {
                (Filter::Topic(topic), Some(position)) => vec![(topic.clone(), position)],
                _ => replay.and_then(|replay| replay.positions).unwrap_or_default(),
            };
            let mut open = HashMap::new();
            for (topic, end) in ends {
                if let Some(gap) = self.place(&topic, end, ask, resumed, &mut open) {
                    events.push(Event::Gap(gap));
                }
            }
            if let Some(named) = self.names.get_mut(at) {
                let past = Past { ends: open, left: announced, announced, replay: ask.replay.clone() };
                named.past = (!past.ends.is_empty()).then_some(past);
            }
        }
        for event in events {
            self.deliver(at, event);
        }
    }

    /// Where a topic is now that the server says where it ends; the gap, if what we had of it is of another log.
    fn place(
        &mut self,
        topic: &Topic,
        end: Position,
        ask: &Ask,
        resumed: bool,
        open: &mut HashMap<Topic, Position>,
    ) -> Option<Gap> {
        let beginning = Position { offset: 0, ..end };
        let claimed = ask.claimed(topic);
        let known = self.positions.get(topic).or(claimed);
        let (place, gap) = match known {
            Some(known) if known.epoch == end.epoch && known.offset <= end.offset => (Some(known), None),
            Some(_) if claimed.is_some() => {
                let why = GapReason::Epoch;
                let gap = Gap { topic: topic.clone().into(), epoch: Some(end.epoch), range: None, why };
                (Some(beginning), Some(gap))
            }
            // By another subscription of ours we are further than that.
            Some(known) if known.epoch == end.epoch => return None,
            // Of a topic that was not claimed, all that is retained comes.
            _ if resumed || ask.is_by_position() => (Some(beginning), None),
            _ if !ask.is_of_the_past() => (Some(end), None),
            _ => ((end.offset == 0).then_some(end), None),
        };
        if let Some(place) = place {
            self.positions.reach(topic, place);
        }
        if place.is_none_or(|place| place.offset < end.offset) {
            open.insert(topic.clone(), end);
        }
        gap
    }

    /// Changes how a name is served, for all its readers, now and after every reconnect.
    pub(crate) fn change(&mut self, reader: ReaderId, served: Served, ticket: Ticket) {
        let named = self.names.iter_mut().find(|named| named.readers.contains(&reader));
        let Some(named) = named else {
            return self.output.push_back(Output::Settle(ticket, Err(Error::Ended)));
        };
        let before = named.options.clone();
        named.options = served.put_into(before.clone());
        let (number, filter, is_asked) = (named.number, named.filter.clone(), named.is_asked());
        let options = SubscribeOptions { replay: None, ..named.options.clone() };
        if !is_asked {
            // It is asked for anyway, by what holds then.
            return self.output.push_back(Output::Settle(ticket, Ok(None)));
        }
        let subscribe = Subscribe { filters: OneOrMany::One(filter), options };
        let waiting = Waiting::Change { number, before: Box::new(before), ticket };
        if let Err(why) = self.send(Operation::Subscribe(subscribe), waiting) {
            self.output.push_back(Output::Settle(ticket, Err(why)));
        }
    }

    /// The server has not agreed to a change: all is as it was.
    pub(super) fn not_changed(&mut self, number: u64, before: SubscribeOptions) {
        if let Some(named) = self.named_mut(number) {
            named.options = before;
        }
    }

    /// The server has not agreed.
    pub(super) fn not_subscribed(&mut self, number: u64, ask: &Ask, error: CommandError, now: Duration) {
        let Some(named) = self.named(number) else { return };
        let was_ours = named.begun || named.options.replay.is_none();
        let is_too_wide = error.code == ErrorCode::LimitReached
            && ask.replay.is_some()
            && matches!(named.filter, Filter::Pattern(_));
        if is_too_wide && was_ours {
            // More topics than a replay covers; then there is only the present.
            return self.ask_with(number, None, now);
        }
        let waits_for_token = error.code == ErrorCode::Unauthorized && self.login.is_second_chance();
        if waits_for_token {
            if let Some(named) = self.named_mut(number) {
                named.stage = Stage::Unasked;
            }
        } else if error.code.retry() {
            let fraction = (self.random)();
            let backoff = self.options.backoff;
            if let Some(named) = self.named_mut(number) {
                let spread = backoff.spread(named.refusals).mul_f64(fraction);
                named.refusals = named.refusals.saturating_add(1);
                let wait = believed(error.after.unwrap_or_default()).saturating_add(spread);
                named.stage = Stage::Retry { at: now.saturating_add(wait) };
            }
        } else {
            self.end_name(number, &Error::Refused(error.into()));
        }
    }

    /// Ends the subscription of a name, for all its readers.
    pub(super) fn end_name(&mut self, number: u64, why: &Error) {
        let Some(at) = self.names.iter().position(|named| named.number == number) else { return };
        let named = self.names.remove(at);
        for reader in named.readers {
            self.output.push_back(Output::End(reader, Some(why.clone())));
        }
        self.forget_positions();
    }

    /// Asks again for those whose time has come.
    pub(super) fn ask_again(&mut self, now: Duration) {
        let due = |named: &&Named| matches!(named.stage, Stage::Retry { at } if at <= now);
        let due: Vec<_> = self.names.iter().filter(due).map(|named| named.number).collect();
        for number in due {
            self.ask(number, now);
        }
    }

    pub(super) fn deliver(&mut self, at: usize, event: Event) {
        let Self { names, output, .. } = self;
        if let Some(named) = names.get(at) {
            named.deliver(event, |reader, event| output.push_back(Output::Deliver(reader, event)));
        }
    }

    fn named(&self, number: u64) -> Option<&Named> {
        self.names.iter().find(|named| named.number == number)
    }

    fn named_mut(&mut self, number: u64) -> Option<&mut Named> {
        self.names.iter_mut().find(|named| named.number == number)
    }
}
