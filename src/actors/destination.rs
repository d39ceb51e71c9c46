//! Where the fan-out's messages go: to a peer over its link, or to a stream within this process.

use std::rc::Rc;

use topichub_protocol::message::Message;
use topichub_protocol::push::Push;
use topichub_protocol::reply::Reply;

use crate::hub::fan_out::Outlet;
use crate::hub::joined::Joined;
use crate::hub::outbox::Part;
use crate::hub::published::{Class, Published};
use crate::subscription::Sender;
use crate::transport::encoder::{Encoder, encode};
use crate::transport::event_stream::event;
use crate::transport::link::Link;

/// One subscriber's way out.
pub(crate) enum Destination {
    Peer(Rc<Link>),
    /// Boxed, because nearly all are peers.
    Stream(Box<Sender>),
}

impl Outlet for Destination {
    type Encoder = Encoder;

    fn encode(class: Class, message: &Message) -> Box<[u8]> {
        match class {
            Class::Events | Class::EventsOfMany | Class::Poll => event::encode(class, message),
            class => encode(class.codec(), message),
        }
    }

    fn compress(encoder: &mut Encoder, frame: &[u8]) -> Option<Box<[u8]>> {
        encoder.compress(frame)
    }

    fn class(&self) -> Class {
        match self {
            Self::Peer(link) => link.class(),
            Self::Stream(_) => Class::Native,
        }
    }

    fn encode_reply(&self, reply: &Reply) -> Option<Box<[u8]>> {
        match self {
            Self::Peer(link) => {
                let mut out = Vec::new();
                link.reply(reply, &mut out);
                Some(out.into_boxed_slice())
            }
            Self::Stream(sender) => {
                sender.reply(reply);
                None
            }
        }
    }

    fn encode_push(&self, push: &Push) -> Option<Box<[u8]>> {
        let Self::Peer(link) = self else { return None };
        let mut out = Vec::new();
        link.push(push, &mut out);
        Some(out.into_boxed_slice())
    }

    fn write(&self, parts: &[Part<'_>]) {
        if let Self::Peer(link) = self {
            link.write(parts);
        }
    }

    fn offer(&self, messages: &Joined) -> usize {
        match self {
            Self::Peer(link) => link.offer(messages),
            Self::Stream(_) => messages.messages(),
        }
    }

    fn is_clear(&self) -> bool {
        match self {
            Self::Peer(link) => link.is_clear(),
            Self::Stream(_) => true,
        }
    }

    fn has_room(&self) -> bool {
        match self {
            Self::Peer(link) => link.has_room(),
            Self::Stream(sender) => sender.has_room(),
        }
    }

    fn await_room(&self) {
        match self {
            Self::Peer(link) => link.await_room(),
            Self::Stream(sender) => sender.await_room(),
        }
    }

    fn deliver(&self, published: &Published) {
        if let Self::Stream(sender) = self {
            sender.deliver(&published.message);
        }
    }

    fn waiting_bytes(&self) -> usize {
        match self {
            Self::Peer(link) => link.waiting_bytes(),
            Self::Stream(_) => 0,
        }
    }

    fn misses(&self) {
        if let Self::Peer(link) = self {
            link.misses();
        }
    }

    fn has_caught_up(&self) {
        if let Self::Peer(link) = self {
            link.has_caught_up();
        }
    }

    fn give_up(&self, reason: &str) {
        if let Self::Peer(link) = self {
            link.give_up(reason);
        }
    }
}
