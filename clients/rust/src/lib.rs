#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]
#![deny(missing_docs)]
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)
)]

mod address;
mod ask;
mod backlog;
mod backoff;
mod codec;
mod connect;
mod dial;
mod driver;
mod error;
mod event;
mod handshake;
mod hub;
mod message;
mod orders;
mod session;
mod subscription;
#[cfg(feature = "rustls")]
mod tls;
mod transport;

pub use address::{AddressError, ServerUrl};
pub use ask::{Change, History, IntoPayload, Name, Publish, Request, Subscribe};
pub use backlog::Full;
pub use backoff::Backoff;
pub use connect::{Connect, connect};
pub use error::{Advice, Error};
pub use event::{Event, Gap, GapReason, Presence, Subscribed};
pub use hub::{Hub, State};
pub use message::Message;
pub use orders::Offline;
pub use subscription::{Events, Subscription};

pub use futures_core::Stream;
#[cfg(feature = "rustls")]
pub use rustls;
pub use topichub_protocol as protocol;
pub use topichub_protocol::reply::{HistoryPage, Member, MemberId, Published};
pub use topichub_protocol::{Codec, Epoch, Filter, Payload, Position, SlowPolicy, Topic};
