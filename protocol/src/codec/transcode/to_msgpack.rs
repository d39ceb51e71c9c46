//! JSON to MessagePack.

use crate::codec::json::{self, Lexer, Text, Token};
use crate::codec::msgpack;

/// One array or map that is being written: where, and how many values it has so far. Its head is put before it at
/// its end, when the count is known; that moves each byte at most once per level, and levels are bounded.
struct Level {
    start: usize,
    len: usize,
}

/// Appends a checked JSON value as MessagePack.
pub(crate) fn json_to_msgpack(text: &str, out: &mut Vec<u8>) {
    let mut lexer = Lexer::new(text, 0);
    let mut levels: Vec<Level> = Vec::new();
    while let Ok(Some(token)) = lexer.next() {
        if !matches!(token, Token::Key(_) | Token::EndArray | Token::EndMap)
            && let Some(level) = levels.last_mut()
        {
            level.len += 1;
        }
        match token {
            Token::Null => out.push(rmp::Marker::Null.to_u8()),
            Token::Bool(true) => out.push(rmp::Marker::True.to_u8()),
            Token::Bool(false) => out.push(rmp::Marker::False.to_u8()),
            Token::Number(number) => write_number(number, out),
            Token::Text(text) | Token::Key(text) => write_text(text, out),
            Token::BeginArray | Token::BeginMap => levels.push(Level { start: out.len(), len: 0 }),
            Token::EndArray => {
                if let Some(Level { start, len }) = levels.pop() {
                    msgpack::insert_array_header(start, len, out);
                }
            }
            Token::EndMap => {
                if let Some(Level { start, len }) = levels.pop() {
                    msgpack::insert_map_header(start, len, out);
                }
            }
        }
    }
}

/// Integers that fit stay integers; all other numbers are doubles, and what no double can hold is nil. `-0` is a
/// double because no integer is.
fn write_number(number: &str, out: &mut Vec<u8>) {
    if let Some(integer) = json::integer(number) {
        return msgpack::write_integer(integer, out);
    }
    match number.parse::<f64>() {
        Ok(double) if double.is_finite() => msgpack::write_f64(double, out),
        _ => out.push(rmp::Marker::Null.to_u8()),
    }
}

fn write_text(text: Text<'_>, out: &mut Vec<u8>) {
    if !text.escaped {
        return msgpack::write_text(text.raw, out);
    }
    let start = out.len();
    text.unescape_to(|piece| out.extend_from_slice(piece.as_bytes()));
    msgpack::insert_text_header(start, out);
}
