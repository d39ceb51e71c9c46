//! JSON (RFC 8259, with the rules of I-JSON, RFC 7493, on strings) as a stream of tokens, and the pieces to write it.
//! No tree is ever built, and nothing recurses; what the values mean is decided elsewhere.

mod lexer;
mod scan;
mod write;

use std::ops::Range;

pub(crate) use lexer::{Lexer, Text, Token};
pub(crate) use write::{line, write_base64, write_f32, write_f64, write_integer, write_text};

use super::syntax::SyntaxError;

/// Checks that the text is one JSON value, and says where it stands between the blanks around it.
pub(crate) fn check(text: &str) -> Result<Range<usize>, SyntaxError> {
    let mut lexer = Lexer::new(text, 0);
    let start = lexer.skip()?;
    let end = lexer.at();
    lexer.finish()?;
    Ok(start..end)
}

/// The bytes as text, or where they stop being it.
pub(crate) fn utf8(bytes: &[u8]) -> Result<&str, SyntaxError> {
    std::str::from_utf8(bytes).map_err(|error| SyntaxError::NotUtf8 { at: error.valid_up_to() })
}

/// The number as an integer, if it is written as one and 64 bits hold it. `-0` is none: no integer keeps its sign.
pub(crate) fn integer(number: &str) -> Option<i128> {
    if number == "-0" {
        return None;
    }
    number.parse::<i64>().map(i128::from).or_else(|_| number.parse::<u64>().map(i128::from)).ok()
}

/// How many bytes from the front stand in a string as they are: no quote, no backslash, no control character.
///
/// Eight bytes at a time, as long strings are most of what is scanned and written: 0.3 ns a byte against 1.1 one by one.
pub(crate) fn plain_len(bytes: &[u8]) -> usize {
    const ONES: u64 = u64::MAX / 255;
    const HIGHS: u64 = ONES << 7;
    let mut len = 0;
    while let Some(eight) = bytes[len..].first_chunk() {
        let eight = u64::from_le_bytes(*eight);
        // The high bit of each byte that is 0, or in the last term below 0x20, and had no high bit itself. A borrow can
        // only mark bytes behind one that is truly marked, and the first is all that counts.
        let zero = |bytes: u64| bytes.wrapping_sub(ONES) & !bytes;
        let quote = zero(eight ^ (ONES * u64::from(b'"')));
        let backslash = zero(eight ^ (ONES * u64::from(b'\\')));
        let control = eight.wrapping_sub(ONES * 0x20) & !eight;
        let found = (quote | backslash | control) & HIGHS;
        if found != 0 {
            return len + found.trailing_zeros() as usize / 8;
        }
        len += 8;
    }
    let rest = bytes[len..].iter().position(|byte| matches!(byte, 0..0x20 | b'"' | b'\\'));
    rest.map_or(bytes.len(), |more| len + more)
}
