//! The TopicHub wire, free of I/O: what may be said, how it is written down, and how it is framed.
//! No sockets, clocks, tasks or logs live here; `SPEC.md` beside this crate is its normative text.
#![forbid(unsafe_code)]

pub mod code;
pub mod codec;
pub mod command;
pub mod event_id;
pub mod message;
pub mod position;
pub mod push;
mod quote;
pub mod reply;
pub mod topic;
pub mod websocket;

pub use code::{CloseCode, ErrorCode, Reconnect};
pub use codec::{Codec, DecodeError, ServerMessage};
pub use command::{
    Answer, Authenticate, Command, CommandError, CommandId, Credential, History, HistoryRange, OneOrMany,
    Operation, PresenceOptions, Publish, PublishOptions, Replay, ReplyTo, Request, SlowPolicy, Subscribe,
    SubscribeOptions, Unsubscribe,
};
pub use event_id::{EventId, EventIdError};
pub use message::{Extras, Message, Meta, MetaError, Payload, PayloadError, PayloadKind};
pub use position::{Epoch, EpochError, Position, PositionError};
pub use push::{Gap, GapReason, Goodbye, Limits, PresenceChange, Push, Welcome};
pub use reply::{HistoryPage, Member, MemberId, Presence, Published, Replayed, Reply, Subscribed};
pub use topic::{Filter, Pattern, Token, Topic, TopicError};
