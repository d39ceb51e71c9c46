//! One checked value of either notation, still as its bytes, and what it is when looked at from outside.
//! Fields are read through it, so that commands are decoded once and not once per codec.

use std::borrow::Cow;

use bytes::Bytes;

use super::json::{self, Lexer};
use super::msgpack::{self, Reader};
use crate::message::{DEPTH_MAX, Payload};

/// A whole value that a scanner has read over.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Raw<'a> {
    Json(&'a str),
    MsgPack(&'a [u8]),
}

/// What a value is, without what is inside of it.
pub(crate) enum Value<'a> {
    Nil,
    Bool(bool),
    /// What both notations hold: `i64::MIN` to `u64::MAX`.
    Integer(i128),
    Float(f64),
    Text(Cow<'a, str>),
    Bin,
    Ext,
    Array,
    Map,
}

impl Value<'_> {
    /// The kind of value in the words of an error.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Nil => "null",
            Self::Bool(_) => "a boolean",
            Self::Integer(_) => "an integer",
            Self::Float(_) => "a float",
            Self::Text(_) => "a string",
            Self::Bin => "bytes",
            Self::Ext => "an extension",
            Self::Array => "an array",
            Self::Map => "a map",
        }
    }
}

impl<'a> From<msgpack::Token<'a>> for Value<'a> {
    fn from(token: msgpack::Token<'a>) -> Self {
        match token {
            msgpack::Token::Nil => Self::Nil,
            msgpack::Token::Bool(value) => Self::Bool(value),
            msgpack::Token::Integer(number) => Self::Integer(number),
            msgpack::Token::F32(number) => Self::Float(number.into()),
            msgpack::Token::F64(number) => Self::Float(number),
            msgpack::Token::Text(text) => Self::Text(Cow::Borrowed(text)),
            msgpack::Token::Bin(_) => Self::Bin,
            msgpack::Token::Ext(..) => Self::Ext,
            msgpack::Token::Array(_) => Self::Array,
            msgpack::Token::Map(_) => Self::Map,
        }
    }
}

impl<'a> From<json::Token<'a>> for Value<'a> {
    fn from(token: json::Token<'a>) -> Self {
        match token {
            json::Token::Null => Self::Nil,
            json::Token::Bool(value) => Self::Bool(value),
            json::Token::Number(number) => match json::integer(number) {
                Some(number) => Self::Integer(number),
                // What the grammar takes, `f64` reads: beyond its range as an infinity.
                None => Self::Float(number.parse().unwrap_or(f64::NAN)),
            },
            json::Token::Text(text) | json::Token::Key(text) => Self::Text(text.unescape()),
            json::Token::BeginArray | json::Token::EndArray => Self::Array,
            json::Token::BeginMap | json::Token::EndMap => Self::Map,
        }
    }
}

impl<'a> Raw<'a> {
    /// What it is.
    pub(crate) fn value(self) -> Value<'a> {
        match self {
            Self::Json(text) => Lexer::new(text, DEPTH_MAX).next().ok().flatten().map(Value::from),
            Self::MsgPack(bytes) => Reader::new(bytes).next().ok().map(Value::from),
        }
        .unwrap_or(Value::Nil)
    }

    /// Its items, if it is an array; else none.
    pub(crate) fn items(self) -> Items<'a> {
        match self {
            Self::Json(text) => {
                let mut lexer = Lexer::new(text, DEPTH_MAX);
                match lexer.next() {
                    Ok(Some(json::Token::BeginArray)) => Items::Json(lexer),
                    _ => Items::None,
                }
            }
            Self::MsgPack(bytes) => {
                let mut reader = Reader::new(bytes);
                match reader.next() {
                    Ok(msgpack::Token::Array(len)) => Items::MsgPack(reader, len),
                    _ => Items::None,
                }
            }
        }
    }

    /// Its names and values, if it is a map; else none.
    pub(crate) fn entries(self) -> Entries<'a> {
        match self {
            Self::Json(text) => {
                let mut lexer = Lexer::new(text, DEPTH_MAX);
                match lexer.next() {
                    Ok(Some(json::Token::BeginMap)) => Entries::Json(lexer),
                    _ => Entries::None,
                }
            }
            Self::MsgPack(bytes) => {
                let mut reader = Reader::new(bytes);
                match reader.next() {
                    Ok(msgpack::Token::Map(len)) => Entries::MsgPack(reader, len),
                    _ => Entries::None,
                }
            }
        }
    }

    /// Its bytes as a payload: the one copy made of what is published.
    pub(crate) fn payload(self) -> Payload {
        match self {
            Self::Json(text) => Payload::checked_json(text),
            Self::MsgPack(bytes) => match Reader::new(bytes).next() {
                Ok(msgpack::Token::Bin(bin)) => Payload::from_binary(Bytes::copy_from_slice(bin)),
                _ => Payload::checked_msgpack(bytes),
            },
        }
    }
}

/// The items of an array, one after the other.
pub(crate) enum Items<'a> {
    Json(Lexer<'a>),
    MsgPack(Reader<'a>, usize),
    None,
}

impl<'a> Iterator for Items<'a> {
    type Item = Raw<'a>;

    fn next(&mut self) -> Option<Raw<'a>> {
        match self {
            Self::Json(lexer) => lexer.item().ok().flatten().map(Raw::Json),
            Self::MsgPack(reader, remaining) => {
                *remaining = remaining.checked_sub(1)?;
                let start = reader.skip(2 * DEPTH_MAX).ok()?;
                Some(Raw::MsgPack(reader.slice(start)))
            }
            Self::None => None,
        }
    }
}

/// The names and values of a map, one pair after the other. In MessagePack a name may be any value.
pub(crate) enum Entries<'a> {
    Json(Lexer<'a>),
    MsgPack(Reader<'a>, usize),
    None,
}

impl<'a> Iterator for Entries<'a> {
    type Item = (Value<'a>, Raw<'a>);

    fn next(&mut self) -> Option<(Value<'a>, Raw<'a>)> {
        match self {
            Self::Json(lexer) => {
                let Ok(Some(json::Token::Key(name))) = lexer.next() else { return None };
                let start = lexer.skip().ok()?;
                Some((Value::Text(name.unescape()), Raw::Json(lexer.slice(start))))
            }
            Self::MsgPack(reader, remaining) => {
                *remaining = remaining.checked_sub(1)?;
                let start = reader.skip(2 * DEPTH_MAX).ok()?;
                let name = Raw::MsgPack(reader.slice(start)).value();
                let start = reader.skip(2 * DEPTH_MAX).ok()?;
                Some((name, Raw::MsgPack(reader.slice(start))))
            }
            Self::None => None,
        }
    }
}
