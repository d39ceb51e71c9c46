//! WebSocket framing (RFC 6455) as a sans-I/O state machine: bytes go in, events and answering bytes come out.
//! Everything a peer may get wrong is decided here; no sockets, clocks, tasks, logs or HTTP live here.
//!
//! ```
//! use topichub_protocol::websocket::{Config, Connection, Event, MessageKind, Opcode, encode_frame};
//!
//! let mut connection = Connection::new(Config::server(65_536));
//! let mut input = Vec::new();
//! encode_frame(&mut input, Opcode::Text, b"hello", Some([1, 2, 3, 4]));
//!
//! let (mut at, mut out) = (0, Vec::new());
//! while at < input.len() {
//!     let received = connection.receive(&mut input[at..], &mut out);
//!     at += received.consumed;
//!     match received.event {
//!         Some(Event::Message { kind, bytes }) => {
//!             assert_eq!((kind, &*bytes), (MessageKind::Text, &b"hello"[..]));
//!         }
//!         Some(Event::Closed(closed)) => println!("send `out`, then close the transport: {closed:?}"),
//!         Some(Event::Ping(_) | Event::Pong(_)) | None => {}
//!     }
//! }
//! assert!(out.is_empty());
//! ```

mod config;
mod connection;
pub mod deflate;
mod event;
mod frame;
pub mod handshake;
mod mask;
mod utf8;
mod violation;

pub use config::{Config, Role};
pub use connection::Connection;
pub use event::{Closed, ClosedBy, Event, MessageKind, Received};
pub use frame::{
    CLOSE_REASON_BYTES_MAX, CONTROL_BYTES_MAX, EncodedHeader, FRAME_HEADER_BYTES_MAX, FrameHeader, Opcode,
    encode_close, encode_frame, is_close_code,
};
pub use mask::mask;
pub use violation::Violation;
