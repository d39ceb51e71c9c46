//! The client's side of the negotiation (RFC 7692 §5.1, §7.1): what it offers, and whether an answer fits that.
//! Header values as strings only; requests and responses are the transport's.

use thiserror::Error;

use super::agreed::{Agreed, NAME, WindowBits};
use super::parameter::{Parameter, parameters, split_unquoted, trim};
use crate::quote::quote;

/// The value of `Sec-WebSocket-Extensions` in the request of a client that understands compressed messages. Both ends
/// keep no context: then one compressed frame of a server serves everybody, and no end keeps a window.
pub const OFFER: &str = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";

/// An answer agrees on what [`OFFER`] does not have; the client must fail the handshake (RFC 6455 §4.1).
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("the server took an extension that was not offered: {quoted}")]
pub struct NotOffered {
    /// What it says, in quotes, shortened.
    quoted: String,
}

/// What the values of all `Sec-WebSocket-Extensions` lines of an answer agree on, where [`OFFER`] was offered. `None`
/// if they are empty or there are none: the server declines, and the connection is plain.
///
/// # Errors
/// If the answer has another extension, one more, `permessage-deflate` without `server_no_context_takeover` (with which
/// a server accepts that part of an offer, RFC 7692 §7.1.1.1) or a parameter that it may not have.
pub fn confirm<'a>(
    answered_header_lines: impl Iterator<Item = &'a str>,
) -> Result<Option<Agreed>, NotOffered> {
    let mut agreed = None;
    for line in answered_header_lines {
        for extension in split_unquoted(line, ',').map(trim).filter(|extension| !extension.is_empty()) {
            let only = read(extension).filter(|_| agreed.is_none());
            agreed = Some(only.ok_or_else(|| NotOffered { quoted: quote(extension) })?);
        }
    }
    Ok(agreed)
}

fn read(extension: &str) -> Option<Agreed> {
    let mut elements = split_unquoted(extension, ';');
    if trim(elements.next()?) != NAME {
        return None;
    }
    let (mut keeps_no_context, mut server_window_bits) = (false, None);
    for parameter in parameters(elements)? {
        match parameter {
            Parameter::ServerNoContextTakeover => keeps_no_context = true,
            Parameter::ClientNoContextTakeover => {}
            // A server may use a smaller window without being asked (§7.1.2.1); any fits into ours.
            Parameter::ServerMaxWindowBits(bits) => server_window_bits = WindowBits::new(bits),
            // Only a client that has offered it may be told its window (§7.1.2.2).
            Parameter::ClientMaxWindowBits => return None,
        }
    }
    keeps_no_context.then_some(Agreed { server_window_bits })
}
