//! The grammar of `Sec-WebSocket-Extensions` (RFC 6455 §9.1) and of the parameters in it.
//! What an end makes of them is `negotiate`'s and `offer`'s.

use std::borrow::Cow;

use crate::websocket::handshake::is_token;

/// A parameter of RFC 7692 §7.1, as offers and answers to them have it.
#[derive(Debug, Clone, Copy)]
pub(super) enum Parameter {
    ServerNoContextTakeover,
    ClientNoContextTakeover,
    ServerMaxWindowBits(u8),
    /// A hint that the client understands it in a response, with or without the window it intends to use (§7.1.2.2).
    ClientMaxWindowBits,
}

impl Parameter {
    /// `None` unless `element` is `name` or `name=value` as RFC 7692 §7.1 defines them.
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

/// All of them; `None` if one is unknown, has no value it needs, a wrong one or one it must not have, or is there twice.
pub(super) fn parameters<'a>(elements: impl Iterator<Item = &'a str>) -> Option<Vec<Parameter>> {
    let mut seen: Vec<Parameter> = Vec::new();
    for element in elements {
        let parameter = Parameter::parse(element)?;
        if seen.iter().any(|other| other.is_same_as(parameter)) {
            return None;
        }
        seen.push(parameter);
    }
    Some(seen)
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
pub(super) fn split_unquoted(text: &str, separator: char) -> impl Iterator<Item = &str> {
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

pub(super) fn trim(text: &str) -> &str {
    text.trim_matches([' ', '\t'])
}
