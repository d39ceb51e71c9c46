//! The JSON scanner: tokens out, grammar, nesting and surrogates checked on the way.
//! One pass serves checking, finding fields and transcoding, so that they cannot disagree about what JSON is.

use std::borrow::Cow;

use super::SyntaxError;
use super::scan::{self, Levels, fail};
use crate::message::DEPTH_MAX;

/// One piece of a JSON text. Commas and colons are checked but not told.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Token<'a> {
    Null,
    Bool(bool),
    /// As written; the grammar of RFC 8259 §6 holds.
    Number(&'a str),
    Text(Text<'a>),
    /// The name of a member; its colon is behind it.
    Key(Text<'a>),
    BeginArray,
    EndArray,
    BeginMap,
    EndMap,
}

/// A string as written, without its quotes; every escape in it is sound.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Text<'a> {
    pub(crate) raw: &'a str,
    pub(crate) escaped: bool,
}

impl<'a> Text<'a> {
    /// What the string says.
    pub(crate) fn unescape(self) -> Cow<'a, str> {
        if !self.escaped {
            return Cow::Borrowed(self.raw);
        }
        let mut said = String::with_capacity(self.raw.len());
        self.unescape_to(|piece| said.push_str(piece));
        Cow::Owned(said)
    }

    /// Hands over what the string says, piece by piece.
    pub(crate) fn unescape_to(self, mut write: impl FnMut(&str)) {
        let mut rest = self.raw;
        while let Some((plain, escape)) = rest.split_once('\\') {
            write(plain);
            let simple = match escape.as_bytes().first() {
                Some(b'b') => "\u{8}",
                Some(b'f') => "\u{c}",
                Some(b'n') => "\n",
                Some(b'r') => "\r",
                Some(b't') => "\t",
                Some(b'u') => {
                    let high = hex(escape, 1);
                    let pair = (0xd800..0xdc00).contains(&high);
                    let code = if pair {
                        0x10000 + ((high - 0xd800) << 10) + (hex(escape, 7) - 0xdc00)
                    } else {
                        high
                    };
                    let character = char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER);
                    write(character.encode_utf8(&mut [0; 4]));
                    rest = &escape[if pair { 11 } else { 5 }..];
                    continue;
                }
                _ => &escape[..1],
            };
            write(simple);
            rest = &escape[1..];
        }
        write(rest);
    }
}

/// The four hex digits at `at`, which the lexer has seen.
fn hex(text: &str, at: usize) -> u32 {
    text.get(at..at + 4).and_then(|digits| u32::from_str_radix(digits, 16).ok()).unwrap_or(0)
}

/// Where the grammar stands.
#[derive(Clone, Copy, PartialEq)]
enum Expect {
    Value,
    ItemOrEnd,
    KeyOrEnd,
    CommaOrEnd,
    End,
}

/// Reads one JSON value token by token.
pub(crate) struct Lexer<'a> {
    text: &'a str,
    at: usize,
    /// Where the latest value begins.
    start: usize,
    expect: Expect,
    levels: Levels,
}

impl<'a> Lexer<'a> {
    /// A lexer for values inside of `around` levels that the message itself adds to a payload's own.
    pub(crate) fn new(text: &'a str, around: usize) -> Self {
        let levels = Levels::new(DEPTH_MAX + around);
        Self { text, at: 0, start: 0, expect: Expect::Value, levels }
    }

    /// How far it has read.
    pub(crate) fn at(&self) -> usize {
        self.at
    }

    /// The text between two places that were read.
    pub(crate) fn slice(&self, start: usize) -> &'a str {
        &self.text[start..self.at]
    }

    /// The next token; `None` when the value has ended.
    ///
    /// Inlined with what it calls, because tokens handed through memory at each call cost more than the scanning: a
    /// publish of 128 bytes takes 670 ns to decode instead of 1020.
    #[inline(always)]
    pub(crate) fn next(&mut self) -> Result<Option<Token<'a>>, SyntaxError> {
        if self.expect == Expect::End {
            return Ok(None);
        }
        self.skip_blanks();
        match (self.expect, self.peek()) {
            (Expect::ItemOrEnd, Some(b']')) => Ok(Some(self.close(Token::EndArray))),
            (Expect::KeyOrEnd, Some(b'}')) => Ok(Some(self.close(Token::EndMap))),
            (Expect::KeyOrEnd, _) => self.key().map(Some),
            (Expect::CommaOrEnd, found) => self.after_comma(found).map(Some),
            _ => self.value().map(Some),
        }
    }

    /// Reads over the next value whole and says where it began. By the same grammar as [`next`](Self::next), but without
    /// a token for each piece: a payload of 44 bytes is checked with half the instructions.
    pub(crate) fn skip(&mut self) -> Result<usize, SyntaxError> {
        let first = self.next()?;
        let start = self.start;
        if let Some(Token::BeginArray | Token::BeginMap) = first {
            self.at = scan::level(self.text.as_bytes(), self.at, &mut self.levels)?;
            self.after_value();
        }
        Ok(start)
    }

    /// Reads over the next item of an array and hands it out; `None` at the end of the array.
    pub(crate) fn item(&mut self) -> Result<Option<&'a str>, SyntaxError> {
        self.skip_blanks();
        if self.peek() == Some(b']') {
            return self.next().map(|_| None);
        }
        let start = self.skip()?;
        Ok(Some(self.slice(start)))
    }

    /// Checks that only blanks follow.
    pub(crate) fn finish(mut self) -> Result<(), SyntaxError> {
        self.skip_blanks();
        match self.text.len() - self.at {
            0 => Ok(()),
            len => Err(SyntaxError::Trailing { at: self.at, len }),
        }
    }

    fn skip_blanks(&mut self) {
        self.at = scan::blanks(self.text.as_bytes(), self.at);
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn after_comma(&mut self, found: Option<u8>) -> Result<Token<'a>, SyntaxError> {
        match (found, self.levels.in_map()) {
            (Some(b']'), false) => Ok(self.close(Token::EndArray)),
            (Some(b'}'), true) => Ok(self.close(Token::EndMap)),
            (Some(b','), in_map) => {
                self.at += 1;
                self.skip_blanks();
                if in_map { self.key() } else { self.value() }
            }
            (_, true) => fail("',' or '}'", self.at),
            (_, false) => fail("',' or ']'", self.at),
        }
    }

    #[inline(always)]
    fn value(&mut self) -> Result<Token<'a>, SyntaxError> {
        self.start = self.at;
        let token = match self.peek() {
            Some(b'{') => return self.open(Token::BeginMap, Expect::KeyOrEnd),
            Some(b'[') => return self.open(Token::BeginArray, Expect::ItemOrEnd),
            Some(b'"') => {
                let (end, escaped) = scan::string(self.text.as_bytes(), self.at)?;
                let raw = &self.text[self.at + 1..end - 1];
                self.at = end;
                Token::Text(Text { raw, escaped })
            }
            Some(b'-' | b'0'..=b'9') => {
                self.at = scan::number(self.text.as_bytes(), self.at)?;
                Token::Number(self.slice(self.start))
            }
            Some(b't') => self.word("true", Token::Bool(true))?,
            Some(b'f') => self.word("false", Token::Bool(false))?,
            Some(b'n') => self.word("null", Token::Null)?,
            _ => return fail("a value", self.at),
        };
        self.after_value();
        Ok(token)
    }

    fn after_value(&mut self) {
        self.expect = if self.levels.open() == 0 { Expect::End } else { Expect::CommaOrEnd };
    }

    fn open(&mut self, token: Token<'a>, expect: Expect) -> Result<Token<'a>, SyntaxError> {
        self.levels.enter(token == Token::BeginMap, self.at)?;
        self.at += 1;
        self.expect = expect;
        Ok(token)
    }

    fn close(&mut self, token: Token<'a>) -> Token<'a> {
        self.levels.leave();
        self.at += 1;
        self.after_value();
        token
    }

    #[inline(always)]
    fn key(&mut self) -> Result<Token<'a>, SyntaxError> {
        let (after, end, escaped) = scan::key(self.text.as_bytes(), self.at)?;
        let raw = &self.text[self.at + 1..end - 1];
        self.at = after;
        self.expect = Expect::Value;
        Ok(Token::Key(Text { raw, escaped }))
    }

    fn word(&mut self, word: &'static str, token: Token<'a>) -> Result<Token<'a>, SyntaxError> {
        self.at = scan::word(self.text.as_bytes(), self.at, word)?;
        Ok(token)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Where the value ends, told from its tokens.
    fn end_by_tokens(text: &str) -> Result<usize, SyntaxError> {
        let mut lexer = Lexer::new(text, 0);
        while lexer.next()?.is_some() {}
        Ok(lexer.at())
    }

    fn end_by_skipping(text: &str) -> Result<usize, SyntaxError> {
        let mut lexer = Lexer::new(text, 0);
        lexer.skip()?;
        Ok(lexer.at())
    }

    /// The grammar's pieces in any order: mostly values for a while, then one thing that is wrong.
    const PIECES: [&str; 20] = [
        "[",
        "]",
        "{",
        "}",
        ",",
        ":",
        r#""k":"#,
        r#","k":"#,
        "[1",
        ",2",
        " ",
        "true",
        "nul",
        "-0",
        "1.5e+3",
        "01",
        "2.",
        r#""\u00e4\n""#,
        r#""\ud800""#,
        r#""ä"#,
    ];

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(10_000))]
        #[test]
        fn a_value_is_skipped_as_its_tokens_are_read(
            open in prop::sample::select(vec!["[", "{", r#"{"k":"#, r#"[{"k":["#, ""]),
            pieces in prop::collection::vec(prop::sample::select(PIECES.to_vec()), 0..12),
        ) {
            let text = open.to_owned() + &pieces.concat();
            prop_assert_eq!(end_by_skipping(&text), end_by_tokens(&text), "{}", text);
        }
    }

    #[test]
    fn depth_is_bounded_however_a_value_is_read() {
        for depth in [DEPTH_MAX, DEPTH_MAX + 1] {
            for (open, end) in [("[", "]"), (r#"{"a":"#, "}")] {
                let text = open.repeat(depth) + "1" + &end.repeat(depth);
                assert_eq!(end_by_skipping(&text), end_by_tokens(&text));
                assert_eq!(end_by_skipping(&text).is_ok(), depth == DEPTH_MAX);
            }
        }
    }
}
