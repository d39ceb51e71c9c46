//! Compressed messages (RFC 7692, permessage-deflate): what two ends agree on, and raw DEFLATE for single messages.
//! Frames, limits and UTF-8 are `connection`'s; which messages are worth compressing is the caller's.
//!
//! No message refers to an earlier one, in either direction: a server always answers `server_no_context_takeover`
//! and `client_no_context_takeover`. Hence one compressed frame serves every peer, and neither end keeps a window
//! per connection: a thread has one [`Deflater`], and one [`Inflaters`] from which a connection borrows while a
//! compressed message is under way. A client may not refuse `client_no_context_takeover` (RFC 7692 §7.1.1.2); one
//! that keeps its context all the same is understood, because the last inflated bytes of each peer are remembered: at most
//! 32 KiB of a peer that has said so much, and 16 MiB of all peers of an [`Inflaters`].
//!
//! ```
//! use topichub_protocol::websocket::deflate::{Deflater, Inflaters, Settings, negotiate};
//! use topichub_protocol::websocket::{Config, Connection, Event, Opcode};
//!
//! let offered = ["permessage-deflate; client_max_window_bits"];
//! let Some(agreed) = negotiate(offered.into_iter(), &Settings::default()) else { return };
//! println!("sec-websocket-extensions: {agreed}");
//!
//! // Once per thread.
//! let mut inflaters = Inflaters::new();
//! let mut deflater = Deflater::new(6, agreed.server_window_bits());
//!
//! let mut connection = Connection::new(Config::server(65_536).with_deflate(agreed));
//! let (mut out, mut input) = (Vec::new(), Vec::new());
//! deflater.encode_frame(&mut input, Opcode::Text, "many ".repeat(50).as_bytes(), Some([1, 2, 3, 4]));
//! assert!(input.len() < 30);
//! let received = connection.receive_with(&mut input, &mut out, &mut inflaters);
//! let Some(Event::Message { bytes, .. }) = received.event else { panic!() };
//! assert_eq!(bytes.len(), 250);
//! ```

mod agreed;
mod context;
mod deflater;
mod inflater;
mod negotiate;
mod offer;
mod parameter;

pub use agreed::{Agreed, WindowBits};
pub use deflater::Deflater;
pub use inflater::{INFLATER_BYTES, Inflaters};
pub use negotiate::{Settings, negotiate};
pub use offer::{NotOffered, OFFER, confirm};

pub(super) use context::Context;
pub(super) use inflater::Inflater;

/// What §7.2.1 takes off the end of a compressed message and §7.2.2 puts there again: an empty stored block, less
/// its header.
const TAIL: [u8; 4] = [0x00, 0x00, 0xff, 0xff];
