//! The TopicHub wire, free of I/O: what may be said, how it is written down, and how it is framed.
//! No sockets, clocks, tasks or logs live here; `SPEC.md` beside this crate is its normative text.
#![forbid(unsafe_code)]

pub mod code;
pub mod codec;
pub mod command;
pub mod message;
pub mod push;
pub mod reply;
pub mod topic;
pub mod websocket;

pub use code::{CloseCode, ErrorCode, Reconnect};
pub use codec::{Codec, DecodeError, ServerMessage};
pub use command::{Command, CommandError, CommandId, OneOrMany, Operation, Publish, Subscribe, Unsubscribe};
pub use message::{Epoch, Message, Payload, PayloadError, PayloadKind, Position};
pub use push::{Goodbye, Limits, Push, Welcome};
pub use reply::{Published, Reply, Subscribed};
pub use topic::{Filter, Pattern, Token, Topic, TopicError};
