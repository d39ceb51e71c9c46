//! What the server says: replies to whom they concern, pushes to the readers whose names match.

use std::time::Duration;

use topichub_protocol::command::CommandId;
use topichub_protocol::push::{self, Push};
use topichub_protocol::{Codec, ErrorCode, Filter, Position, Reply, ServerMessage, Topic};

use super::names::Takers;
use super::{Output, Phase, Session, Waiting};
use crate::codec::{self, Plain};
use crate::error::Error;
use crate::event::{Event, Gap, Presence};
use crate::message::{Body, Content, Message};

impl Session {
    /// A text message.
    pub(crate) fn text(&mut self, text: &str, now: Duration) {
        if !self.listens(Codec::Json, now) {
            return;
        }
        if !Plain::read(text).is_some_and(|plain| self.plain(plain)) {
            self.said(text.as_bytes(), now);
        }
    }

    /// A binary message.
    pub(crate) fn binary(&mut self, bytes: &[u8], now: Duration) {
        if self.listens(Codec::MsgPack, now) {
            self.said(bytes, now);
        }
    }

    /// Whether there is a connection of this codec; of one that we have ended, more may have been read.
    fn listens(&mut self, codec: Codec, now: Duration) -> bool {
        if !matches!(self.phase, Phase::Connecting { .. } | Phase::Open { .. }) {
            return false;
        }
        self.heard_at = now;
        if self.options.codec != codec {
            self.unreadable("the wrong frame type", now);
            return false;
        }
        true
    }

    fn said(&mut self, bytes: &[u8], now: Duration) {
        match codec::decode(self.options.codec, bytes) {
            Ok(Some(ServerMessage::Push(Push::Message { topic, offset, epoch, payload, extras }))) => {
                let body = Body::Read(Content { payload, extras });
                self.message(Message { topic, offset, epoch, replayed: false, body });
            }
            Ok(Some(ServerMessage::Push(push))) => self.push(push, now),
            Ok(Some(ServerMessage::Reply(reply))) => self.reply(reply, now),
            Ok(None) => {}
            Err(error) => self.unreadable(&error.to_string(), now),
        }
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
                if let Reply::Published { topic, position, duplicate: false, .. } = &reply {
                    self.names.published(topic, *position);
                }
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

    /// Whether the plain message could be taken.
    fn plain(&mut self, Plain { topic, offset, epoch, unread }: Plain<'_>) -> bool {
        let body = Body::Unread(unread);
        let message = |topic| Message { topic, offset, epoch, replayed: false, body };
        let Self { names, positions, output, .. } = self;
        if let Some(place) = positions.find(topic) {
            place.take(message(place.topic.clone()), names, output);
        } else if let Ok(topic) = Topic::parse(topic) {
            self.message_of_new_topic(message(topic));
        } else {
            return false;
        }
        true
    }

    fn message(&mut self, message: Message) {
        let Self { names, positions, output, .. } = self;
        match positions.find(message.topic.as_str()) {
            Some(place) => place.take(message, names, output),
            None => self.message_of_new_topic(message),
        }
    }

    fn message_of_new_topic(&mut self, message: Message) {
        let Self { names, positions, output, .. } = self;
        let topic = message.topic.clone();
        let mut takers = Takers::default();
        let takers = names.takers(&topic, &mut takers);
        if let Some(position) = names.hand_out(message, None, takers, output) {
            positions.reach(&topic, position);
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
