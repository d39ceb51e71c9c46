//! The server's side of the negotiation (RFC 7692 §5.1, §7.1): which of a client's offers is accepted.
//! Header values as strings only; requests and responses are the transport's.

use std::borrow::Cow;

use super::agreed::{Agreed, NAME, WindowBits};
use crate::websocket::handshake::is_token;

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
    let mut seen: Vec<Parameter> = Vec::new();
    for element in elements {
        let parameter = Parameter::parse(element)?;
        if seen.iter().any(|other| other.is_same_as(parameter)) {
            return None;
        }
        seen.push(parameter);
    }
    let wanted = seen.into_iter().find_map(|parameter| match parameter {
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

#[derive(Debug, Clone, Copy)]
enum Parameter {
    ServerNoContextTakeover,
    ClientNoContextTakeover,
    ServerMaxWindowBits(u8),
    /// A hint that the client understands it in a response, with or without the window it intends to use (§7.1.2.2).
    ClientMaxWindowBits,
}

impl Parameter {
    /// `None` unless `element` is `name` or `name=value` as RFC 7692 §7.1 defines them for an offer.
    fn parse(element: &str) -> Option<Self> {
        let (name, value) = match element.split_once('=') {
            None => (element, None),
            Some((name, value)) => (name, Some(unquote(trim(value))?)),
        };
        match (trim(name), value) {
            ("server_no_context_takeover", None) => Some(Self::ServerNoContextTakeover),
            ("client_no_context_takeover", None) => Some(Self::ClientNoContextTakeover),
            ("server_max_window_bits", Some(value)) => {
                Some(Self::ServerMaxWindowBits(parse_window_bits(&value)?))
            }
            ("client_max_window_bits", None) => Some(Self::ClientMaxWindowBits),
            ("client_max_window_bits", Some(value)) => {
                parse_window_bits(&value).map(|_| Self::ClientMaxWindowBits)
            }
            _ => None,
        }
    }

    fn is_same_as(self, other: Self) -> bool {
        std::mem::discriminant(&self) == std::mem::discriminant(&other)
    }
}

/// 8–15 in decimal without leading zeros (§7.1.2.1).
fn parse_window_bits(value: &str) -> Option<u8> {
    let bits = value.parse().ok().filter(|bits| (8..=15).contains(bits))?;
    (value.len() == if bits < 10 { 1 } else { 2 }).then_some(bits)
}

/// The value of a parameter: a token, or a quoted string that holds one (RFC 6455 §9.1).
fn unquote(value: &str) -> Option<Cow<'_, str>> {
    let Some(quoted) = value.strip_prefix('"') else {
        return is_token(value).then_some(Cow::Borrowed(value));
    };
    let mut plain = String::new();
    let mut chars = quoted.chars();
    loop {
        match chars.next()? {
            '"' => break,
            '\\' => plain.push(chars.next()?),
            char => plain.push(char),
        }
    }
    (chars.next().is_none() && is_token(&plain)).then_some(Cow::Owned(plain))
}

/// The pieces between separators that stand outside quoted strings.
fn split_unquoted(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let (mut quoted, mut escaped) = (false, false);
    text.split(move |char| {
        if escaped {
            escaped = false;
        } else if char == '"' {
            quoted = !quoted;
        } else if quoted {
            escaped = char == '\\';
        } else {
            return char == separator;
        }
        false
    })
}

fn trim(text: &str) -> &str {
    text.trim_matches([' ', '\t'])
}
