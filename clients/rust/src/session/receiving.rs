//! What the server says: replies to whom they concern, pushes to the readers whose names match.

use std::sync::Arc;
use std::time::Duration;

use topichub_protocol::command::CommandId;
use topichub_protocol::message::Extras;
use topichub_protocol::push::{self, Push};
use topichub_protocol::{Codec, Epoch, ErrorCode, Filter, Payload, Position, Reply, ServerMessage, Topic};

use super::{Output, Session, Waiting};
use crate::codec::{self, Plain};
use crate::error::Error;
use crate::event::{Event, Gap, Message, Presence};

impl Session {
    /// One WebSocket message of the codec's frame type.
    pub(crate) fn received(&mut self, bytes: &[u8], now: Duration) {
        self.heard_at = now;
        if self.options.codec == Codec::Json
            && let Some(Plain { topic, offset, epoch, data }) = codec::plain(bytes)
            && let Some(topic) = self.topic(topic)
        {
            return self.message(&topic, offset, epoch, data, None);
        }
        match codec::decode(self.options.codec, bytes) {
            Ok(Some(ServerMessage::Push(Push::Message { topic, offset, epoch, payload, extras }))) => {
                self.message(&topic, offset, epoch, payload, extras);
            }
            Ok(Some(ServerMessage::Push(push))) => self.push(push, now),
            Ok(Some(ServerMessage::Reply(reply))) => self.reply(reply, now),
            Ok(None) => {}
            Err(error) => self.unreadable(&error.to_string(), now),
        }
    }

    /// A topic; that of the message before, if it is the same one.
    fn topic(&mut self, text: &str) -> Option<Topic> {
        if let Some(last) = self.last_topic.as_ref().filter(|last| last.as_str() == text) {
            return Some(last.clone());
        }
        self.last_topic = Topic::parse(text).ok();
        self.last_topic.clone()
    }

    /// A sign of life without content: a WebSocket ping or pong, or that we ourselves did not read.
    pub(crate) fn heard(&mut self, now: Duration) {
        self.heard_at = now;
    }

    fn reply(&mut self, reply: Reply, now: Duration) {
        let Some(waiting) = id_of(&reply).and_then(|id| self.waiting.remove(&id)) else { return };
        match (waiting, reply) {
            (Waiting::Subscribe(number, ask), Reply::Subscribed { topics, .. }) => {
                if let [answer] = topics.as_slice() {
                    self.subscribed(number, &ask, answer.clone());
                }
            }
            (Waiting::Subscribe(number, ask), Reply::Error(error)) => {
                self.not_subscribed(number, &ask, error, now);
            }
            (Waiting::Authenticate, Reply::Authenticated { .. }) => self.authenticated(now),
            (Waiting::Authenticate, Reply::Error(error)) => self.not_authenticated(error, now),
            (Waiting::Change { number, before, ticket }, Reply::Error(error)) => {
                self.not_changed(number, *before);
                self.output.push_back(Output::Settle(ticket, Err(Error::Refused(error.into()))));
            }
            (Waiting::Change { ticket, .. }, reply) => {
                self.output.push_back(Output::Settle(ticket, Ok(Some(reply))));
            }
            (Waiting::Order(order), Reply::Error(error)) => {
                let why = Error::Refused(error.into());
                self.output.push_back(Output::Settle(order.ticket, Err(why)));
            }
            (Waiting::Order(order), reply) => {
                self.output.push_back(Output::Settle(order.ticket, Ok(Some(reply))));
            }
            (Waiting::Authenticate | Waiting::Subscribe(..) | Waiting::Unsubscribe, _) => {}
        }
    }

    fn push(&mut self, push: Push, now: Duration) {
        match push {
            Push::Welcome(welcome) => self.welcome(&welcome, now),
            Push::Goodbye(goodbye) => self.goodbye = Some(goodbye), // the close follows
            Push::Gap(gap) => self.gap(gap),
            Push::Presence(presence) => {
                self.presence(&presence.topic.clone(), &Presence::State(presence));
            }
            Push::PresenceChange(change) => self.presence(&change.topic.clone(), &Presence::Change(change)),
            Push::Unsubscribed { filter, code } => self.unsubscribed(&filter, code),
            Push::Expiring { .. } => self.renew(),
            Push::Message { .. } => {} // taken out before
        }
    }

    fn message(
        &mut self,
        topic: &Topic,
        offset: u64,
        epoch: Option<Epoch>,
        payload: Payload,
        extras: Option<Arc<Extras>>,
    ) {
        let Self { names, positions, output, .. } = self;
        let known = positions.get(topic);
        // Said with the first of an epoch only; else it is that of the position, or of the replay that has just begun.
        let epoch = epoch
            .or(known.map(|known| known.epoch))
            .or_else(|| names.iter().filter(|named| named.takes(topic)).find_map(|named| named.epoch(topic)));
        let is_known = known.is_some_and(|known| Some(known.epoch) == epoch && offset <= known.offset);
        let position = epoch.map(|epoch| Position { epoch, offset });
        let mut message = Message { topic: topic.clone(), offset, epoch, payload, replayed: false, extras };
        let mut is_new = false;
        for named in names.iter_mut().filter(|named| named.takes(topic)) {
            // In a group, what one member has left behind comes to another behind later ones.
            if is_known && !named.is_group() {
                continue;
            }
            is_new |= !named.is_group();
            message.replayed = named.advance(topic, position);
            let event = Event::Message(message.clone());
            named.deliver(event, |reader, event| output.push_back(Output::Deliver(reader, event)));
        }
        if is_new && let Some(position) = position {
            positions.reach(topic, position);
        }
    }

    fn gap(&mut self, mut gap: push::Gap) {
        let Self { names, positions, output, .. } = self;
        if let Some(known) = positions.get(&gap.topic).filter(|known| known.epoch == gap.epoch) {
            if gap.to <= known.offset {
                return; // it has been told, or all of it has come
            }
            gap.from = gap.from.max(known.offset + 1);
        }
        let to = Position { epoch: gap.epoch, offset: gap.to };
        let mut is_new = false;
        for named in names.iter_mut().filter(|named| !named.is_group() && named.takes(&gap.topic)) {
            is_new = true;
            if gap.why == push::GapReason::History {
                named.skip(&gap.topic, gap.from, to);
            }
            let event = Event::Gap(Gap::from(gap.clone()));
            named.deliver(event, |reader, event| output.push_back(Output::Deliver(reader, event)));
        }
        if is_new {
            positions.reach(&gap.topic, to);
        }
    }

    fn presence(&mut self, topic: &Topic, presence: &Presence) {
        let Self { names, output, .. } = self;
        let watches = |options: &topichub_protocol::SubscribeOptions| {
            options.presence.as_ref().is_some_and(|presence| presence.watch)
        };
        for named in names.iter().filter(|named| watches(&named.options) && named.takes(topic)) {
            let event = Event::Presence(presence.clone());
            named.deliver(event, |reader, event| output.push_back(Output::Deliver(reader, event)));
        }
    }

    /// The server has ended a subscription.
    fn unsubscribed(&mut self, filter: &Filter, code: ErrorCode) {
        let Some(named) = self.names.iter().find(|named| named.filter == *filter) else { return };
        self.end_name(named.number, &Error::Unsubscribed { filter: filter.clone(), code });
    }
}

fn id_of(reply: &Reply) -> Option<i64> {
    let id = match reply {
        Reply::Subscribed { id, .. }
        | Reply::Unsubscribed { id, .. }
        | Reply::Published { id, .. }
        | Reply::History { id, .. }
        | Reply::Presence { id, .. }
        | Reply::Authenticated { id, .. }
        | Reply::Answer { id, .. }
        | Reply::Replied { id } => Some(id),
        Reply::Pong { id } => id.as_ref(),
        Reply::Error(error) => error.id.as_ref(),
    };
    match id? {
        CommandId::Integer(number) => Some(*number),
        CommandId::Text(_) => None,
    }
}
