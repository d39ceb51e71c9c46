//! A message on its way to its subscribers, with the frames made of it: each class once, by the first who needs it.

use std::sync::OnceLock;

use topichub_protocol::message::Message;

use super::fan_out::Outlet;
use super::input::SessionRef;
use super::permit::Permit;

/// In which form a subscriber takes its messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Class {
    Json,
    MsgPack,
    /// Compressed where that makes it shorter.
    JsonDeflate,
    /// Compressed where that makes it shorter.
    MsgPackDeflate,
    /// Within this process: the message itself, without any encoding.
    Native,
}

impl Class {
    /// How many classes are made of bytes; they come first.
    pub(crate) const ENCODED: usize = 4;
    pub(crate) const COUNT: usize = 5;
    pub(crate) const ALL_ENCODED: [Class; Self::ENCODED] =
        [Class::Json, Class::MsgPack, Class::JsonDeflate, Class::MsgPackDeflate];

    /// The class of the same codec that a compressed frame is made from; none if this one is not compressed.
    fn compressed_from(self) -> Option<Class> {
        match self {
            Self::JsonDeflate => Some(Self::Json),
            Self::MsgPackDeflate => Some(Self::MsgPack),
            Self::Json | Self::MsgPack | Self::Native => None,
        }
    }
}

/// A published message, shared by all workers.
#[derive(Debug)]
pub(crate) struct Published {
    pub(crate) message: Message,
    /// Who published it, if a session did: for `echo: false`.
    pub(crate) publisher: Option<SessionRef>,
    /// By class. Empty where compression gains nothing: then the plain frame serves.
    frames: [OnceLock<Box<[u8]>>; Class::ENCODED],
    _permit: Option<Permit>,
}

impl Published {
    pub(crate) fn new(message: Message, publisher: Option<SessionRef>, permit: Option<Permit>) -> Self {
        Self { message, publisher, frames: Default::default(), _permit: permit }
    }

    /// The message as bytes for the wire, made once for all workers.
    pub(crate) fn frame<L: Outlet>(&self, class: Class, encoder: &mut L::Encoder) -> &[u8] {
        let cell = &self.frames[class as usize];
        let Some(plain) = class.compressed_from() else {
            return cell.get_or_init(|| L::encode(class, &self.message));
        };
        let plain = self.frame::<L>(plain, encoder);
        let compressed = cell.get_or_init(|| L::compress(encoder, plain).unwrap_or_default());
        if compressed.is_empty() { plain } else { compressed }
    }
}
