//! The pieces of JSON text: strings, numbers, base64.
//! Each appends one value to the bytes so far; commas and brackets are the caller's.

use std::io::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::{Lexer, Token, plain_len};

/// Appends a string. Only what must be escaped is (RFC 8259 §7), in its short form where there is one.
///
/// Takes bytes because it also quotes JSON made a moment ago; they are UTF-8 in, and so out.
pub(crate) fn write_text(text: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    let mut rest = text;
    loop {
        let (plain, special) = rest.split_at(plain_len(rest));
        out.extend_from_slice(plain);
        let Some((&byte, behind)) = special.split_first() else {
            break;
        };
        write_escape(byte, out);
        rest = behind;
    }
    out.push(b'"');
}

fn write_escape(byte: u8, out: &mut Vec<u8>) {
    let short = match byte {
        b'"' | b'\\' => byte,
        0x08 => b'b',
        0x0c => b'f',
        b'\n' => b'n',
        b'\r' => b'r',
        b'\t' => b't',
        _ => {
            let digits = b"0123456789abcdef";
            let (high, low) = (usize::from(byte >> 4), usize::from(byte & 15));
            return out.extend_from_slice(&[b'\\', b'u', b'0', b'0', digits[high], digits[low]]);
        }
    };
    out.extend_from_slice(&[b'\\', short]);
}

/// Appends bytes as a string of padded base64 (RFC 4648 §4).
pub(crate) fn write_base64(bytes: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    let start = out.len();
    out.resize(start + bytes.len().div_ceil(3) * 4, 0);
    let written = STANDARD.encode_slice(bytes, &mut out[start..]).unwrap_or_default();
    out.truncate(start + written);
    out.push(b'"');
}

/// Appends an integer.
pub(crate) fn write_integer(number: i128, out: &mut Vec<u8>) {
    // Writing to a Vec cannot fail; the same goes for the floats.
    let _ = write!(out, "{number}");
}

/// Appends the shortest decimal that reads back as the same double; NaN and the infinities are `null`.
pub(crate) fn write_f64(number: f64, out: &mut Vec<u8>) {
    let _ = if number.is_finite() { write!(out, "{number:?}") } else { write!(out, "null") };
}

/// Appends the shortest decimal that reads back as the same single; NaN and the infinities are `null`.
pub(crate) fn write_f32(number: f32, out: &mut Vec<u8>) {
    let _ = if number.is_finite() { write!(out, "{number:?}") } else { write!(out, "null") };
}

/// Appends a sound JSON text without the blanks between its tokens, and so without line breaks.
pub(crate) fn line(text: &str, out: &mut Vec<u8>) {
    let mut lexer = Lexer::new(text, 0);
    let mut first = true;
    while let Ok(Some(token)) = lexer.next() {
        let ends = matches!(token, Token::EndArray | Token::EndMap);
        if !first && !ends {
            out.push(b',');
        }
        first = matches!(token, Token::BeginArray | Token::BeginMap | Token::Key(_));
        match token {
            Token::Null => out.extend_from_slice(b"null"),
            Token::Bool(true) => out.extend_from_slice(b"true"),
            Token::Bool(false) => out.extend_from_slice(b"false"),
            Token::Number(number) => out.extend_from_slice(number.as_bytes()),
            Token::Text(text) | Token::Key(text) => {
                out.push(b'"');
                out.extend_from_slice(text.raw.as_bytes());
                out.push(b'"');
                if first {
                    out.push(b':');
                }
            }
            Token::BeginArray => out.push(b'['),
            Token::EndArray => out.push(b']'),
            Token::BeginMap => out.push(b'{'),
            Token::EndMap => out.push(b'}'),
        }
    }
}
