//! Where the fan-out's messages go: to a peer over its link, or to a stream within this process.

use std::rc::Rc;

use topichub_protocol::codec::Codec;
use topichub_protocol::message::Message;
use topichub_protocol::reply::Reply;
use topichub_protocol::websocket::{FrameHeader, Opcode};

use crate::hub::fan_out::Outlet;
use crate::hub::outbox::Part;
use crate::hub::published::{Class, Published};
use crate::subscription::Sender;
use crate::transport::link::Link;

/// One subscriber's way out.
pub(crate) enum Destination {
    Peer(Rc<Link>),
    /// Boxed, because nearly all are peers.
    Stream(Box<Sender>),
}

fn class_of(codec: Codec) -> Class {
    match codec {
        Codec::Json => Class::Json,
        Codec::MsgPack => Class::MsgPack,
    }
}

impl Outlet for Destination {
    fn encode(class: Class, message: &Message) -> Box<[u8]> {
        let (codec, opcode) = match class {
            Class::Json | Class::Native => (Codec::Json, Opcode::Text),
            Class::MsgPack => (Codec::MsgPack, Opcode::Binary),
        };
        let mut payload =
            Vec::with_capacity(message.payload.as_bytes().len() + message.topic.as_str().len() + 64);
        codec.encode_message(message, &mut payload);
        let header = FrameHeader::new(opcode, payload.len()).encode();
        let mut frame = Vec::with_capacity(header.len() + payload.len());
        frame.extend_from_slice(&header);
        frame.append(&mut payload);
        frame.into_boxed_slice()
    }

    fn class(&self) -> Class {
        match self {
            Self::Peer(link) => class_of(link.codec()),
            Self::Stream(_) => Class::Native,
        }
    }

    fn encode_reply(&self, reply: &Reply) -> Option<Box<[u8]>> {
        match self {
            Self::Peer(link) => {
                let codec = link.codec();
                let mut out = Vec::new();
                Link::frame(codec, &mut out, |payload| codec.encode_reply(reply, payload));
                Some(out.into_boxed_slice())
            }
            Self::Stream(sender) => {
                sender.reply(reply);
                None
            }
        }
    }

    fn write(&self, parts: &[Part<'_>]) {
        if let Self::Peer(link) = self {
            link.write(parts);
        }
    }

    fn deliver(&self, published: &Published) {
        if let Self::Stream(sender) = self {
            sender.deliver(&published.message);
        }
    }
}
