//! JSON (RFC 8259, with the rules of I-JSON, RFC 7493, on strings) as a stream of tokens, and the pieces to write it.
//! No tree is ever built, and nothing recurses; what the values mean is decided elsewhere.

mod lexer;
mod write;

use std::ops::Range;

pub(crate) use lexer::{Lexer, Text, Token};
pub(crate) use write::{line, write_base64, write_f32, write_f64, write_integer, write_text};

use super::syntax::SyntaxError;

/// Checks that the bytes are one JSON value, and says where it stands between the blanks around it.
pub(crate) fn check(bytes: &[u8]) -> Result<Range<usize>, SyntaxError> {
    let text = utf8(bytes)?;
    let mut lexer = Lexer::new(text, 0);
    let start = lexer.skip()?;
    let end = lexer.at();
    lexer.finish()?;
    Ok(start..end)
}

/// The bytes as text, or where they stop being it.
pub(crate) fn utf8(bytes: &[u8]) -> Result<&str, SyntaxError> {
    std::str::from_utf8(bytes).map_err(|error| SyntaxError::NotUtf8 {
        at: error.valid_up_to(),
    })
}

/// The number as an integer, if it is written as one and 64 bits hold it. `-0` is none: no integer keeps its sign.
pub(crate) fn integer(number: &str) -> Option<i128> {
    if number == "-0" {
        return None;
    }
    number
        .parse::<i64>()
        .map(i128::from)
        .or_else(|_| number.parse::<u64>().map(i128::from))
        .ok()
}
