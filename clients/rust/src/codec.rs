//! Commands to bytes and bytes to what the server says, within the limits of both sides.

use std::sync::LazyLock;

use memchr::memmem::Finder;
use topichub_protocol::codec::DecodeError;
use topichub_protocol::{Codec, Command, CommandId, Epoch, Operation, ServerMessage};

use crate::error::Error;
use crate::message::Unread;

/// What says that the place of a message does not end before its data.
static EPOCH: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("\"epoch\""));

/// Writes a command under an id, unless it is longer than the server takes.
pub(crate) fn encode(
    codec: Codec,
    id: i64,
    operation: Operation,
    max: Option<usize>,
) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::with_capacity(128);
    codec.encode_command(&Command { id: Some(CommandId::Integer(id)), operation }, &mut bytes);
    match max {
        Some(max) if bytes.len() > max => Err(Error::TooLong { len: bytes.len(), max }),
        _ => Ok(bytes),
    }
}

/// Reads what the server says; nothing if it is of a later version.
pub(crate) fn decode(codec: Codec, bytes: &[u8]) -> Result<Option<ServerMessage>, DecodeError> {
    match codec.decode_server(bytes) {
        Ok(message) => Ok(Some(message)),
        Err(error) if error.is_unknown() => Ok(None),
        Err(error) => Err(error),
    }
}

/// The place of a `message` in JSON, in the order in which our server writes it; all else is unread.
pub(crate) struct Plain<'a> {
    /// Not checked.
    pub(crate) topic: &'a str,
    pub(crate) offset: u64,
    pub(crate) epoch: Option<Epoch>,
    pub(crate) unread: Unread,
}

impl<'a> Plain<'a> {
    /// Reads the place of a message; of all else nothing, for [`decode`] to read. Nearly everything that comes is such a
    /// message: `cargo bench -p topichub-client` shows what it earns.
    pub(crate) fn read(text: &'a str) -> Option<Self> {
        let rest = text.strip_prefix(r#"{"op":"message","topic":""#)?;
        let (topic, rest) = until_quote(rest)?;
        let (offset, mut rest) = number(rest.strip_prefix(r#","offset":"#)?)?;
        let mut epoch = None;
        if let Some(named) = rest.strip_prefix(r#","epoch":""#) {
            let (text, behind) = until_quote(named)?;
            (epoch, rest) = (Some(text.parse().ok()?), behind);
        }
        let data = rest.strip_prefix(r#","data":"#)?;
        // Cut off, or a place in another order than ours.
        if !data.ends_with('}') || (epoch.is_none() && EPOCH.find(data.as_bytes()).is_some()) {
            return None;
        }
        Some(Self { topic, offset, epoch, unread: Unread::new(text, text.len() - data.len()) })
    }
}

/// A string without escapes, and what comes behind it.
fn until_quote(text: &str) -> Option<(&str, &str)> {
    let end = text.bytes().position(|byte| matches!(byte, b'"' | b'\\'))?;
    let (said, rest) = text.split_at_checked(end)?;
    Some((said, rest.strip_prefix('"')?))
}

/// A number, and what comes behind it. Of 15 digits at most: sixteen can be beyond 2^53.
fn number(text: &str) -> Option<(u64, &str)> {
    let (mut number, mut digits) = (0, 0);
    for byte in text.bytes().take_while(u8::is_ascii_digit).take(16) {
        number = number * 10 + u64::from(byte - b'0');
        digits += 1;
    }
    let has_its_form = (1..16).contains(&digits) && (digits == 1 || !text.starts_with('0'));
    if has_its_form { Some((number, text.get(digits..)?)) } else { None }
}

#[cfg(test)]
mod tests {
    use topichub_protocol::Push;

    use super::*;

    /// What is read as plain is what the codec reads.
    #[track_caller]
    fn check(text: &str) {
        let Plain { topic, offset, epoch, .. } = Plain::read(text).expect(text);
        let Ok(Some(ServerMessage::Push(Push::Message { topic: read, offset: at, epoch: of, .. }))) =
            decode(Codec::Json, text.as_bytes())
        else {
            panic!("{text}")
        };
        assert_eq!((topic, offset, epoch), (read.as_str(), at, of), "{text}");
    }

    #[test]
    fn places_are_read_as_the_codec_reads_them() {
        check(r#"{"op":"message","topic":"a.b","offset":44,"data":{"price":1.5}}"#);
        check(r#"{"op":"message","topic":"ä","offset":1,"epoch":"k3v9","data": [1, {}] }"#);
        check(r#"{"op":"message","topic":"a","offset":0,"data":"}","key":"k","later":"era"}"#);
        check(r#"{"op":"message","topic":"a","offset":999999999999999,"data":1}"#);
    }

    #[test]
    fn all_else_is_for_the_codec() {
        for other in [
            r#"{"op":"message","topic":"a","offset":2,"key":"k","data":1}"#,
            r#"{"op":"message","topic":"a","offset":2,"data":1,"epoch":"k3v9"}"#,
            r#"{"op":"message","topic":"a","offset":2,"data_base64":"AQ=="}"#,
            r#"{"op":"message","topic":"a\u0062","offset":2,"data":1}"#,
            r#"{"op":"message","topic":"a","offset":02,"data":1}"#,
            r#"{"op":"message","topic":"a","offset":9007199254740993,"data":1}"#,
            r#"{"op":"message","topic":"a","offset":,"data":1}"#,
            r#"{"op":"message","topic":"a","offset":2,"data":1"#,
            r#"{"op":"message","topic":"a"#,
            r#"{"op":"gap","topic":"a"}"#,
        ] {
            assert!(Plain::read(other).is_none(), "{other}");
        }
    }
}
