//! What a connection is told at its start: which end it is, its limits, and later the negotiated extensions.
//! Settings of sockets, timers and the HTTP handshake are the transport's.

use sha1::{Digest, Sha1};

/// What a connection is told at its start.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive] // negotiated extensions (RFC 7692) will stand here
pub struct Config {
    /// Which end we are.
    pub role: Role,
    /// The most bytes that one message may have, over all its fragments. A larger one is refused with 1009 at the
    /// header that announces it.
    pub message_bytes_max: usize,
}

/// Which end of the connection we are.
#[derive(Debug, Clone, Copy)]
pub enum Role {
    /// Frames that come in must be masked, ours are not.
    Server,
    /// Frames that come in must not be masked, ours are.
    Client {
        /// Where our masks come from: unpredictable, as RFC 6455 §10.3 demands, and another one for each connection.
        mask_seed: u64,
    },
}

impl Config {
    /// For the end that accepted the connection.
    #[must_use]
    pub const fn server(message_bytes_max: usize) -> Self {
        Self {
            role: Role::Server,
            message_bytes_max,
        }
    }

    /// For the end that opened the connection; see [`Role::Client`] for the seed.
    #[must_use]
    pub const fn client(message_bytes_max: usize, mask_seed: u64) -> Self {
        Self {
            role: Role::Client { mask_seed },
            message_bytes_max,
        }
    }

    /// The reserved bits that may be set: none until an extension is negotiated. RFC 7692 takes 0b100, for data
    /// frames that begin a message.
    pub(super) const fn reserved_allowed(&self) -> u8 {
        0
    }

    /// The mask of our next frame. The seed is a hash chain, so that nobody can tell the next mask from earlier
    /// ones (RFC 6455 §10.3).
    pub(super) fn next_mask(&mut self) -> Option<[u8; 4]> {
        let Role::Client { mask_seed } = &mut self.role else {
            return None;
        };
        let hash: [u8; 20] = Sha1::digest(mask_seed.to_be_bytes()).into();
        let (seed, rest) = hash.split_first_chunk::<8>()?;
        *mask_seed = u64::from_be_bytes(*seed);
        rest.first_chunk::<4>().copied()
    }
}
