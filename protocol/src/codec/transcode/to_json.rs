//! MessagePack to JSON.

use super::timestamp::{TIMESTAMP, rfc3339};
use crate::codec::json;
use crate::codec::msgpack::{Reader, Token};

/// One array or map that is being written.
struct Level {
    /// Keys and values count one each.
    written: usize,
    total: usize,
    is_map: bool,
    /// Where it began in the output, if it serves as a key and has to be quoted once it is whole.
    key_start: Option<usize>,
}

/// Appends a checked MessagePack value as JSON.
pub(crate) fn msgpack_to_json(bytes: &[u8], out: &mut Vec<u8>) {
    let mut reader = Reader::new(bytes);
    let mut levels: Vec<Level> = Vec::new();
    while let Ok(token) = reader.next() {
        let is_key = levels.last_mut().is_some_and(|level| separate(level, out));
        let key_start = is_key.then_some(out.len());
        match token {
            Token::Array(total) => {
                out.push(b'[');
                levels.push(Level { written: 0, total, is_map: false, key_start });
            }
            Token::Map(pairs) => {
                out.push(b'{');
                levels.push(Level { written: 0, total: 2 * pairs, is_map: true, key_start });
            }
            scalar => write_scalar(scalar, key_start, out),
        }
        while let Some(level) = levels.pop_if(|level| level.written == level.total) {
            out.push(if level.is_map { b'}' } else { b']' });
            if let Some(start) = level.key_start {
                quote(start, out);
            }
        }
        if levels.is_empty() {
            return;
        }
    }
}

/// Writes what stands before the next value of this level, and says whether that is a key.
fn separate(level: &mut Level, out: &mut Vec<u8>) -> bool {
    let is_key = level.is_map && level.written.is_multiple_of(2);
    if level.is_map && !is_key {
        out.push(b':');
    } else if level.written > 0 {
        out.push(b',');
    }
    level.written += 1;
    is_key
}

/// Writes a value that holds no others; as a key it becomes a string, if it is not one.
fn write_scalar(token: Token<'_>, key_start: Option<usize>, out: &mut Vec<u8>) {
    match token {
        Token::Text(text) => return json::write_text(text.as_bytes(), out),
        Token::Bin(bytes) => return json::write_base64(bytes, out),
        Token::Nil => out.extend_from_slice(b"null"),
        Token::Bool(true) => out.extend_from_slice(b"true"),
        Token::Bool(false) => out.extend_from_slice(b"false"),
        Token::Integer(number) => json::write_integer(number, out),
        Token::F32(number) => json::write_f32(number, out),
        Token::F64(number) => json::write_f64(number, out),
        Token::Ext(kind, bytes) => {
            let instant = if kind == TIMESTAMP { rfc3339(bytes) } else { None };
            if let Some(text) = instant {
                return json::write_text(text.as_bytes(), out);
            }
            write_ext(kind, bytes, out);
        }
        Token::Array(_) | Token::Map(_) => {}
    }
    if let Some(start) = key_start {
        quote(start, out);
    }
}

fn write_ext(kind: i8, bytes: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(br#"{"ext":"#);
    json::write_integer(kind.into(), out);
    out.extend_from_slice(br#","data_base64":"#);
    json::write_base64(bytes, out);
    out.push(b'}');
}

/// Makes the JSON text from `start` on a string.
fn quote(start: usize, out: &mut Vec<u8>) {
    let text = out.split_off(start);
    json::write_text(&text, out);
}
