//! What a connection is told at its start: which end it is, its limits, and the negotiated extensions.
//! Settings of sockets, timers and the HTTP handshake are the transport's.

use sha1::{Digest, Sha1};

use super::deflate::Agreed;

/// What a connection is told at its start.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Config {
    /// Which end we are.
    pub role: Role,
    /// The most bytes that one message may have, over all its fragments. A larger one is refused with 1009 at the
    /// header that announces it; a compressed one, of which this is the inflated size, while it is inflated.
    pub message_bytes_max: usize,
    /// Whether compressed messages are understood, and what was agreed on for them (RFC 7692).
    pub deflate: Option<Agreed>,
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
        Self { role: Role::Server, message_bytes_max, deflate: None }
    }

    /// For the end that opened the connection; see [`Role::Client`] for the seed.
    #[must_use]
    pub const fn client(message_bytes_max: usize, mask_seed: u64) -> Self {
        Self { role: Role::Client { mask_seed }, message_bytes_max, deflate: None }
    }

    /// With compressed messages, as the handshake has agreed on them.
    #[must_use]
    pub const fn with_deflate(mut self, agreed: Agreed) -> Self {
        self.deflate = Some(agreed);
        self
    }

    /// The reserved bits that may be set: none without an extension, RSV1 with RFC 7692.
    pub(super) const fn reserved_allowed(&self) -> u8 {
        match self.deflate {
            Some(_) => 0b100,
            None => 0,
        }
    }

    /// The most compressed bytes that one message may have. Twice the limit leaves room for senders that flush with
    /// each small fragment, and the rest for messages so short that five bytes of flush matter.
    pub(super) const fn compressed_bytes_max(&self) -> usize {
        self.message_bytes_max.saturating_mul(2).saturating_add(1024)
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
