//! A message on its way to its subscribers, with the frames made of it: each class once, by the first who needs it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use topichub_protocol::codec::Codec;
use topichub_protocol::message::Message;

use super::fan_out::Outlet;
use super::input::SessionRef;

/// In which form a subscriber takes its messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Class {
    Json,
    MsgPack,
    /// Compressed where that makes it shorter.
    JsonDeflate,
    /// Compressed where that makes it shorter.
    MsgPackDeflate,
    /// JSON in a stream of one topic, its place beside it.
    Events,
    /// The same in a stream of several topics: the place names the topic.
    EventsOfMany,
    /// The same, collected to one answer.
    Poll,
    /// Within this process: the message itself, without any encoding.
    Native,
}

impl Class {
    /// How many classes are made of bytes; they come first.
    pub(crate) const ENCODED: usize = 7;
    pub(crate) const COUNT: usize = 8;
    pub(crate) const ALL_ENCODED: [Class; Self::ENCODED] = [
        Class::Json,
        Class::MsgPack,
        Class::JsonDeflate,
        Class::MsgPackDeflate,
        Class::Events,
        Class::EventsOfMany,
        Class::Poll,
    ];

    /// The subprotocol, and whether it is compressed, as people call it.
    pub(crate) fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Json | Self::Native => ("pubsub.json", "no"),
            Self::MsgPack => ("pubsub.msgpack", "no"),
            Self::JsonDeflate => ("pubsub.json", "yes"),
            Self::MsgPackDeflate => ("pubsub.msgpack", "yes"),
            Self::Events | Self::EventsOfMany => ("events", "no"),
            Self::Poll => ("poll", "no"),
        }
    }

    /// The notation.
    pub(crate) fn codec(self) -> Codec {
        match self {
            Self::MsgPack | Self::MsgPackDeflate => Codec::MsgPack,
            _ => Codec::Json,
        }
    }

    /// The class of the same codec that a compressed frame is made from; none if this one is not compressed.
    fn compressed_from(self) -> Option<Class> {
        match self {
            Self::JsonDeflate => Some(Self::Json),
            Self::MsgPackDeflate => Some(Self::MsgPack),
            _ => None,
        }
    }
}

/// How many bytes the frames of all retained messages take. Frames are made by those who need them, after the message
/// has got its place in the log: so they are counted where they are made.
#[derive(Debug, Default)]
pub(crate) struct RetainedBytes(AtomicUsize);

impl RetainedBytes {
    pub(crate) fn bytes(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// The bytes of a message in one form, once somebody has needed them.
type Encoded = OnceLock<Box<[u8]>>;

/// How many classes come first that each have a frame of their own in every message, and how many follow that share an
/// array.
const FRAMES: usize = 4;
const EVENTS: usize = 2;

/// A published message, shared by the log of its topic and all workers.
#[derive(Debug)]
pub(crate) struct Published {
    pub(crate) message: Message,
    /// Who published it, if a session did: for `echo: false`.
    pub(crate) publisher: Option<SessionRef>,
    /// Sessions that do not get it.
    pub(crate) exclude: Box<[SessionRef]>,
    /// When it got its place, since the hub began.
    pub(crate) at: Duration,
    /// When it is no longer worth having.
    pub(crate) expires: Option<Duration>,
    /// By class. Empty where compression gains nothing: then the plain frame serves.
    frames: [Encoded; FRAMES],
    /// The same of the rarer classes, which take no memory where nobody is of them.
    events: OnceLock<Box<[Encoded; EVENTS]>>,
    meter: Option<Arc<RetainedBytes>>,
    /// What of the meter is on account of this message.
    metered: AtomicUsize,
}

impl Published {
    /// A message that is not retained.
    pub(crate) fn new(message: Message, publisher: Option<SessionRef>, at: Duration) -> Self {
        let (frames, events) = Default::default();
        let (exclude, metered) = (Box::default(), AtomicUsize::new(0));
        Self { message, publisher, exclude, at, expires: None, frames, events, meter: None, metered }
    }

    /// The same, retained: its frames are counted by `meter` as long as it lives.
    pub(crate) fn metered(mut self, meter: &Arc<RetainedBytes>) -> Self {
        self.meter = Some(Arc::clone(meter));
        self
    }

    pub(crate) fn offset(&self) -> u64 {
        self.message.position.offset
    }

    /// The message as bytes for the wire, made once for all workers.
    pub(crate) fn frame<L: Outlet>(&self, class: Class, encoder: &mut L::Encoder) -> &[u8] {
        let cell = match class {
            // What differs is what is made of all of them together.
            Class::Poll => return self.frame::<L>(Class::EventsOfMany, encoder),
            Class::Events | Class::EventsOfMany => {
                &self.events.get_or_init(Box::default)[class as usize - FRAMES]
            }
            class => &self.frames[class as usize],
        };
        let Some(plain) = class.compressed_from() else {
            return cell.get_or_init(|| self.counted(L::encode(class, &self.message)));
        };
        let plain = self.frame::<L>(plain, encoder);
        let compressed = cell.get_or_init(|| self.counted(L::compress(encoder, plain).unwrap_or_default()));
        if compressed.is_empty() { plain } else { compressed }
    }

    fn counted(&self, frame: Box<[u8]>) -> Box<[u8]> {
        if let Some(meter) = &self.meter {
            self.metered.fetch_add(frame.len(), Ordering::Relaxed);
            meter.0.fetch_add(frame.len(), Ordering::Relaxed);
        }
        frame
    }

    /// The log lets go of it: whoever still has it on its way, has it on other accounts.
    pub(crate) fn let_go(&self) {
        if let Some(meter) = &self.meter {
            meter.0.fetch_sub(self.metered.swap(0, Ordering::Relaxed), Ordering::Relaxed);
        }
    }
}

impl Drop for Published {
    fn drop(&mut self) {
        self.let_go();
    }
}
