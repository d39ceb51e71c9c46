//! The server's side of the negotiation (RFC 7692 §5.1, §7.1): which of a client's offers is accepted.
//! Header values as strings only; requests and responses are the transport's.

use super::agreed::{Agreed, NAME, WindowBits};
use super::parameter::{Parameter, parameters, split_unquoted, trim};

/// What a server is ready to agree on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// An offer that wants the server's window smaller than this is declined.
    ///
    /// By default that is 15, so only offers that fit the one window are accepted: all connections can then share
    /// one compressed frame, whereas every further window would cost one more compression of each message. A client
    /// that offers nothing else runs without compression; browsers never ask for a smaller window.
    pub server_window_bits_min: WindowBits,
}

impl Default for Settings {
    fn default() -> Self {
        Self { server_window_bits_min: WindowBits::MAX }
    }
}

/// Accepts the first acceptable offer in the values of all `Sec-WebSocket-Extensions` header lines, which are one
/// list in their order (RFC 6455 §9.1). `None` if there is none: the response then lacks the header and the
/// connection is plain, but the handshake never fails for it.
///
/// Declined are offers with a parameter that is unknown, repeated, without a value it needs, with a value it must
/// not have, or with one out of its range (RFC 7692 §7.1); offers that want a smaller window from the server than
/// [`Settings`] allow, and always `server_max_window_bits=8` (see [`WindowBits`]); and elements that break the
/// grammar of RFC 6455 §9.1, for which we could fail the handshake, but need not understand what we decline.
/// `client_max_window_bits` is left unanswered, which any offer permits (§7.1.2.2): our inflaters have the largest
/// window anyway.
#[must_use]
pub fn negotiate<'a>(
    offered_header_lines: impl Iterator<Item = &'a str>,
    settings: &Settings,
) -> Option<Agreed> {
    offered_header_lines.flat_map(|line| split_unquoted(line, ',')).find_map(|offer| accept(offer, settings))
}

/// What is agreed on if this offer is accepted.
fn accept(offer: &str, settings: &Settings) -> Option<Agreed> {
    let mut elements = split_unquoted(offer, ';');
    if trim(elements.next()?) != NAME {
        return None;
    }
    let wanted = parameters(elements)?.into_iter().find_map(|parameter| match parameter {
        Parameter::ServerMaxWindowBits(bits) => Some(bits),
        _ => None,
    });
    match wanted {
        None => Some(Agreed { server_window_bits: None }),
        Some(bits) => {
            let bits = WindowBits::new(bits).filter(|bits| *bits >= settings.server_window_bits_min)?;
            Some(Agreed { server_window_bits: Some(bits) })
        }
    }
}
