//! The two codecs, `pubsub.json` and `pubsub.msgpack`: the same maps with the same keys in both.
//! What the maps mean is in `command`, `reply` and `push`; frames are the business of `websocket`.

mod decode_command;
mod decode_presence;
mod decode_publish;
mod decode_server;
mod decode_subscribe;
mod encode_command;
mod encode_server;
mod field_error;
mod fields;
pub(crate) mod json;
mod map_writer;
pub(crate) mod msgpack;
pub mod query;
mod raw;
mod session_id;
pub mod syntax;
pub(crate) mod transcode;

use thiserror::Error;

use self::field_error::FieldError;
use crate::command::{Command, CommandError, Publish};
use crate::message::Message;
use crate::position::Position;
use crate::push::Push;
use crate::reply::{HistoryPage, Presence, Published, Reply};

/// How commands, replies and pushes are written down on one connection.
///
/// ```
/// use topichub_protocol::{Codec, Message, Operation, Position, Epoch};
///
/// let command = br#"{"op":"publish","id":2,"topic":"ticker.AAPL","data":{"price":190.2}}"#;
/// let command = Codec::Json.decode_command(command)?;
/// let Operation::Publish(publish) = command.operation else { unreachable!() };
///
/// let position = Position { epoch: Epoch(7), offset: 45 };
/// let message = Message { topic: publish.topic, position, payload: publish.payload, extras: None };
/// let mut out = Vec::new();
/// Codec::Json.encode_message(&message, &mut out);
/// assert_eq!(out, br#"{"op":"message","topic":"ticker.AAPL","offset":45,"data":{"price":190.2}}"#);
/// # Ok::<(), topichub_protocol::CommandError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Codec {
    /// `pubsub.json`: JSON in text frames.
    Json,
    /// `pubsub.msgpack`: MessagePack in binary frames.
    MsgPack,
}

/// One thing a server says: what a client reads.
#[derive(Clone, Debug, PartialEq)]
pub enum ServerMessage {
    /// The answer to a command.
    Reply(Reply),
    /// Something unasked.
    Push(Push),
}

/// Why bytes are nothing that a server says.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(transparent)]
pub struct DecodeError(FieldError);

impl DecodeError {
    /// Whether the bytes are sound and only say something that this version does not know: an `op` or a code.
    /// Clients pass over such pushes, so that an older client lives with a newer server.
    pub fn is_unknown(&self) -> bool {
        matches!(self.0, FieldError::UnknownOp { .. } | FieldError::UnknownNumber { .. })
    }
}

impl Codec {
    /// The subprotocols this server speaks, the default first.
    pub const SUBPROTOCOLS: [&str; 2] = [Self::Json.subprotocol(), Self::MsgPack.subprotocol()];

    /// The name in `Sec-WebSocket-Protocol` (RFC 6455 §11.3.4).
    pub const fn subprotocol(self) -> &'static str {
        match self {
            Self::Json => "pubsub.json",
            Self::MsgPack => "pubsub.msgpack",
        }
    }

    /// The codec of a subprotocol's name, if it is one of ours. Case counts.
    pub fn from_subprotocol(name: &str) -> Option<Self> {
        [Self::Json, Self::MsgPack].into_iter().find(|codec| codec.subprotocol() == name)
    }

    /// Whether it goes in text frames rather than binary ones.
    pub fn is_text(self) -> bool {
        self == Self::Json
    }

    /// Reads one command.
    ///
    /// # Errors
    /// The answer to send, with the command's id whenever it could be read.
    pub fn decode_command(self, bytes: &[u8]) -> Result<Command, CommandError> {
        decode_command::command(self, bytes)
    }

    /// Appends one command: what a client sends.
    pub fn encode_command(self, command: &Command, out: &mut Vec<u8>) {
        encode_command::command(self, command, out);
    }

    /// Appends one reply.
    pub fn encode_reply(self, reply: &Reply, out: &mut Vec<u8>) {
        encode_server::reply(self, reply, out);
    }

    /// Appends one push.
    pub fn encode_push(self, push: &Push, out: &mut Vec<u8>) {
        encode_server::push(self, push, out);
    }

    /// Appends the `message` push of a message. Done once per codec and message, whatever the number of subscribers.
    /// The first message of an epoch, the one of offset 1, names it.
    pub fn encode_message(self, message: &Message, out: &mut Vec<u8>) {
        let Position { epoch, offset } = message.position;
        let place = (offset, (offset == 1).then_some(epoch));
        encode_server::message(self, &message.topic, place, &message.payload, message.extras.as_deref(), out);
    }

    /// Reads one reply or push: what a client does.
    ///
    /// # Errors
    /// If the bytes are nothing a server of this version says; unknown keys are ignored, an unknown `op` is not.
    pub fn decode_server(self, bytes: &[u8]) -> Result<ServerMessage, DecodeError> {
        decode_server::server_message(self, bytes).map_err(DecodeError)
    }

    /// Reads the body of `POST /publish`: an array of at most 1,000 maps with the keys of the command `publish`. What is wrong with an entry stands in its place.
    ///
    /// # Errors
    /// If the whole is not such an array.
    pub fn decode_batch(self, bytes: &[u8]) -> Result<Vec<Result<Publish, CommandError>>, CommandError> {
        decode_command::batch(self, bytes)
    }

    /// Reads the body of `POST /events`: an array of 1 to 128 `subscribe` commands, whose `op` may be left out.
    ///
    /// # Errors
    /// If the whole is no such array, or any of the commands is none: which one, counted from 1.
    pub fn decode_subscribes(self, bytes: &[u8]) -> Result<Vec<Command>, CommandError> {
        decode_command::subscribes(self, bytes)
    }

    /// Appends the answer to a batch, its entries in the order of the batch.
    pub fn encode_batch(self, entries: &[Result<Published, CommandError>], out: &mut Vec<u8>) {
        encode_server::batch(self, entries, out);
    }

    /// Appends the answer to one publish over HTTP: the keys of `published` but `op` and `id`.
    pub fn encode_published(self, published: &Published, out: &mut Vec<u8>) {
        encode_server::published(self, published, out);
    }

    /// Appends a page of history for HTTP: the keys of the `history` reply but `op` and `id`.
    pub fn encode_history(self, page: &HistoryPage, out: &mut Vec<u8>) {
        encode_server::history(self, page, out);
    }

    /// Appends who is on a topic for HTTP: the keys of the `presence` reply but `op` and `id`.
    pub fn encode_presence(self, presence: &Presence, out: &mut Vec<u8>) {
        encode_server::presence(self, presence, out);
    }
}

/// Takes a text that came outside of a command, such as in a query, as the name under this key: `key`, `dedup`, `group`
/// and `user` are 1 to 128 bytes of UTF-8 without control characters.
///
/// # Errors
/// `bad_request`, in the words that a command with such a name is answered with.
pub fn name(key: &'static str, text: &str) -> Result<Box<str>, CommandError> {
    fields::name(key, text).map_err(CommandError::from)
}
