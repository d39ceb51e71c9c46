//! The grammar of JSON (RFC 8259), read over: where strings, numbers, words and whole values end.
//! Places in and places out, so that they stay in registers; what the values say is the lexer's.

use super::{SyntaxError, plain_len};

/// The first byte from `at` on that is no blank of RFC 8259 §2.
#[inline(always)]
pub(super) fn blanks(bytes: &[u8], mut at: usize) -> usize {
    while let Some(b' ' | b'\t' | b'\n' | b'\r') = bytes.get(at) {
        at += 1;
    }
    at
}

#[cold]
pub(super) fn fail<T>(expected: &'static str, at: usize) -> Result<T, SyntaxError> {
    Err(SyntaxError::NotJson { expected, at })
}

/// The end of the string whose first quote is at `at`, behind its last one, and whether there are escapes in it.
#[inline(always)]
pub(super) fn string(bytes: &[u8], at: usize) -> Result<(usize, bool), SyntaxError> {
    let (mut at, mut escaped) = (at + 1, false);
    loop {
        at += plain_len(&bytes[at..]);
        match bytes.get(at) {
            Some(b'"') => return Ok((at + 1, escaped)),
            Some(b'\\') => (at, escaped) = (escape(bytes, at)?, true),
            Some(_) => return fail("no bare control character", at),
            None => return fail("'\"'", at),
        }
    }
}

fn escape(bytes: &[u8], begin: usize) -> Result<usize, SyntaxError> {
    let at = begin + 1;
    match bytes.get(at) {
        Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => Ok(at + 1),
        Some(b'u') => {
            let (unit, end) = code_unit(bytes, at)?;
            match unit {
                0xd800..0xdc00 if bytes[end..].starts_with(b"\\u") => match code_unit(bytes, end + 1)? {
                    (0xdc00..0xe000, end) => Ok(end),
                    _ => Err(SyntaxError::LoneSurrogate { at: begin }),
                },
                0xd800..0xe000 => Err(SyntaxError::LoneSurrogate { at: begin }),
                _ => Ok(end),
            }
        }
        _ => fail("an escape", at),
    }
}

/// The number of the `uXXXX` at `at`, and where it ends.
fn code_unit(bytes: &[u8], at: usize) -> Result<(u32, usize), SyntaxError> {
    let (mut unit, mut at) = (0, at + 1);
    for _ in 0..4 {
        let Some(digit) = bytes.get(at).and_then(|byte| char::from(*byte).to_digit(16)) else {
            return fail("a hex digit", at);
        };
        unit = unit * 16 + digit;
        at += 1;
    }
    Ok((unit, at))
}

/// The end of the number that begins at `at`.
#[inline(always)]
pub(super) fn number(bytes: &[u8], mut at: usize) -> Result<usize, SyntaxError> {
    if bytes.get(at) == Some(&b'-') {
        at += 1;
    }
    at = if bytes.get(at) == Some(&b'0') { at + 1 } else { digits(bytes, at)? };
    if bytes.get(at) == Some(&b'.') {
        at = digits(bytes, at + 1)?;
    }
    if let Some(b'e' | b'E') = bytes.get(at) {
        at += 1;
        if let Some(b'+' | b'-') = bytes.get(at) {
            at += 1;
        }
        at = digits(bytes, at)?;
    }
    Ok(at)
}

#[inline(always)]
fn digits(bytes: &[u8], start: usize) -> Result<usize, SyntaxError> {
    let mut at = start;
    while let Some(b'0'..=b'9') = bytes.get(at) {
        at += 1;
    }
    if at == start { fail("a digit", at) } else { Ok(at) }
}

/// The end of this word at `at`.
pub(super) fn word(bytes: &[u8], at: usize, word: &'static str) -> Result<usize, SyntaxError> {
    if bytes[at..].starts_with(word.as_bytes()) { Ok(at + word.len()) } else { fail(word, at) }
}

/// The levels of arrays and maps that are open.
#[derive(Clone, Copy)]
pub(super) struct Levels {
    open: usize,
    max: usize,
    /// For each open level, from the lowest bit of the outermost: whether it is a map. 128 levels at most.
    maps: u128,
}

impl Levels {
    pub(super) const fn new(max: usize) -> Self {
        Self { open: 0, max, maps: 0 }
    }

    pub(super) fn open(&self) -> usize {
        self.open
    }

    /// Whether the innermost is a map.
    pub(super) fn in_map(&self) -> bool {
        self.maps >> (self.open - 1) & 1 == 1
    }

    /// Another one begins at `at`.
    pub(super) fn enter(&mut self, is_map: bool, at: usize) -> Result<(), SyntaxError> {
        if self.open >= self.max {
            return Err(SyntaxError::TooDeep { at });
        }
        let bit = 1 << self.open;
        self.maps = if is_map { self.maps | bit } else { self.maps & !bit };
        self.open += 1;
        Ok(())
    }

    pub(super) fn leave(&mut self) {
        self.open -= 1;
    }
}

/// The end of the innermost level, which has just begun; it is left.
pub(super) fn level(bytes: &[u8], mut at: usize, levels: &mut Levels) -> Result<usize, SyntaxError> {
    let around = levels.open - 1;
    let (mut in_map, mut has_begun) = (levels.in_map(), true);
    loop {
        at = blanks(bytes, at);
        match bytes.get(at) {
            Some(b',') if !has_begun => at = blanks(bytes, at + 1),
            Some(end @ (b'}' | b']')) if in_map == (*end == b'}') => {
                at += 1;
                levels.leave();
                if levels.open == around {
                    return Ok(at);
                }
                (in_map, has_begun) = (levels.in_map(), false);
                continue;
            }
            _ if has_begun => {}
            _ => return fail(if in_map { "',' or '}'" } else { "',' or ']'" }, at),
        }
        if in_map {
            at = blanks(bytes, key(bytes, at)?.0);
        }
        has_begun = false;
        at = match bytes.get(at) {
            Some(begin @ (b'{' | b'[')) => {
                in_map = *begin == b'{';
                has_begun = true;
                levels.enter(in_map, at)?;
                at + 1
            }
            Some(b'"') => string(bytes, at)?.0,
            Some(b'-' | b'0'..=b'9') => number(bytes, at)?,
            Some(b't') => word(bytes, at, "true")?,
            Some(b'f') => word(bytes, at, "false")?,
            Some(b'n') => word(bytes, at, "null")?,
            _ => return fail("a value", at),
        };
    }
}

/// The end of the key at `at`, behind its colon; with it comes that of its string, and whether there are escapes in it.
#[inline(always)]
pub(super) fn key(bytes: &[u8], at: usize) -> Result<(usize, usize, bool), SyntaxError> {
    if bytes.get(at) != Some(&b'"') {
        return fail("a key in double quotes", at);
    }
    let (end, escaped) = string(bytes, at)?;
    let colon = blanks(bytes, end);
    if bytes.get(colon) != Some(&b':') {
        return fail("':'", colon);
    }
    Ok((colon + 1, end, escaped))
}
