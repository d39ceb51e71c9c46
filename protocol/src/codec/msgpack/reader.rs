//! The MessagePack scanner: one marker at a time, or over a whole value with its structure checked.
//! Nothing is kept in proportion to a length or count that a header only claims.

use rmp::Marker;

use super::SyntaxError;

/// One marker and what belongs to it; the items of arrays and maps follow as tokens of their own.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Token<'a> {
    Nil,
    Bool(bool),
    /// Between `i64::MIN` and `u64::MAX`.
    Integer(i128),
    F32(f32),
    F64(f64),
    Text(&'a str),
    Bin(&'a [u8]),
    Ext(i8, &'a [u8]),
    /// So many items follow.
    Array(usize),
    /// So many pairs of key and value follow.
    Map(usize),
}

/// Reads MessagePack token by token.
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Where the token being read begins, for errors.
    start: usize,
}

/// One open array or map on the way over a value.
struct Level {
    /// Keys and values count one each.
    remaining: usize,
    is_map: bool,
    /// Whether this level, or one around it, serves as a key.
    in_key: bool,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0, start: 0 }
    }

    /// The bytes from a place that was read to here.
    pub(crate) fn slice(&self, start: usize) -> &'a [u8] {
        &self.bytes[start..self.at]
    }

    /// Reads over the next value whole, which may have so many levels, and says where it began.
    pub(crate) fn skip(&mut self, levels_max: usize) -> Result<usize, SyntaxError> {
        let start = self.at;
        let mut levels: Vec<Level> = Vec::new();
        loop {
            let token = self.next()?;
            let mut in_key = false;
            let mut is_key = false;
            if let Some(level) = levels.last_mut() {
                in_key = level.in_key;
                is_key = level.is_map && level.remaining.is_multiple_of(2);
                level.remaining -= 1;
            }
            let inside = match token {
                Token::Array(len) => Some((len, false)),
                Token::Map(len) => Some((2 * len, true)),
                // In JSON it is a map, so it counts as the level that it will be there.
                Token::Ext(..) => Some((0, false)),
                _ => None,
            };
            if let Some((remaining, is_map)) = inside {
                if levels.len() >= levels_max {
                    return Err(SyntaxError::TooDeep { at: self.start });
                }
                if is_key && in_key && !matches!(token, Token::Ext(..)) {
                    return Err(SyntaxError::NestedKey { at: self.start });
                }
                levels.push(Level { remaining, is_map, in_key: in_key || is_key });
            }
            while levels.last().is_some_and(|level| level.remaining == 0) {
                levels.pop();
            }
            if levels.is_empty() {
                return Ok(start);
            }
        }
    }

    /// Checks that nothing follows.
    pub(crate) fn finish(self) -> Result<(), SyntaxError> {
        match self.bytes.len() - self.at {
            0 => Ok(()),
            len => Err(SyntaxError::Trailing { at: self.at, len }),
        }
    }

    /// The next token. Inlined like that of JSON, and for the same reason.
    #[inline(always)]
    pub(crate) fn next(&mut self) -> Result<Token<'a>, SyntaxError> {
        self.start = self.at;
        let [marker] = self.take()?;
        Ok(match Marker::from_u8(marker) {
            Marker::Null => Token::Nil,
            Marker::True => Token::Bool(true),
            Marker::False => Token::Bool(false),
            Marker::FixPos(number) => Token::Integer(number.into()),
            Marker::FixNeg(number) => Token::Integer(number.into()),
            Marker::U8 => Token::Integer(u8::from_be_bytes(self.take()?).into()),
            Marker::U16 => Token::Integer(u16::from_be_bytes(self.take()?).into()),
            Marker::U32 => Token::Integer(u32::from_be_bytes(self.take()?).into()),
            Marker::U64 => Token::Integer(u64::from_be_bytes(self.take()?).into()),
            Marker::I8 => Token::Integer(i8::from_be_bytes(self.take()?).into()),
            Marker::I16 => Token::Integer(i16::from_be_bytes(self.take()?).into()),
            Marker::I32 => Token::Integer(i32::from_be_bytes(self.take()?).into()),
            Marker::I64 => Token::Integer(i64::from_be_bytes(self.take()?).into()),
            Marker::F32 => Token::F32(f32::from_be_bytes(self.take()?)),
            Marker::F64 => Token::F64(f64::from_be_bytes(self.take()?)),
            Marker::FixStr(len) => self.text(len.into())?,
            Marker::Str8 => self.length_8().and_then(|len| self.text(len))?,
            Marker::Str16 => self.length_16().and_then(|len| self.text(len))?,
            Marker::Str32 => self.length_32().and_then(|len| self.text(len))?,
            Marker::Bin8 => Token::Bin(self.length_8().and_then(|len| self.bytes(len))?),
            Marker::Bin16 => Token::Bin(self.length_16().and_then(|len| self.bytes(len))?),
            Marker::Bin32 => Token::Bin(self.length_32().and_then(|len| self.bytes(len))?),
            Marker::FixExt1 => self.ext(1)?,
            Marker::FixExt2 => self.ext(2)?,
            Marker::FixExt4 => self.ext(4)?,
            Marker::FixExt8 => self.ext(8)?,
            Marker::FixExt16 => self.ext(16)?,
            Marker::Ext8 => self.length_8().and_then(|len| self.ext(len))?,
            Marker::Ext16 => self.length_16().and_then(|len| self.ext(len))?,
            Marker::Ext32 => self.length_32().and_then(|len| self.ext(len))?,
            Marker::FixArray(len) => self.array(len.into())?,
            Marker::Array16 => self.length_16().and_then(|len| self.array(len))?,
            Marker::Array32 => self.length_32().and_then(|len| self.array(len))?,
            Marker::FixMap(len) => self.map(len.into())?,
            Marker::Map16 => self.length_16().and_then(|len| self.map(len))?,
            Marker::Map32 => self.length_32().and_then(|len| self.map(len))?,
            Marker::Reserved => return Err(SyntaxError::NeverUsed { at: self.start }),
        })
    }

    fn truncated<T>(&self) -> Result<T, SyntaxError> {
        Err(SyntaxError::Truncated { at: self.start })
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], SyntaxError> {
        let Some(bytes) = self.bytes[self.at..].first_chunk() else {
            return self.truncated();
        };
        self.at += N;
        Ok(*bytes)
    }

    fn bytes(&mut self, len: usize) -> Result<&'a [u8], SyntaxError> {
        let Some(bytes) = self.bytes[self.at..].get(..len) else {
            return self.truncated();
        };
        self.at += len;
        Ok(bytes)
    }

    fn length_8(&mut self) -> Result<usize, SyntaxError> {
        self.take().map(|bytes| u8::from_be_bytes(bytes).into())
    }

    fn length_16(&mut self) -> Result<usize, SyntaxError> {
        self.take().map(|bytes| u16::from_be_bytes(bytes).into())
    }

    fn length_32(&mut self) -> Result<usize, SyntaxError> {
        self.take().map(|bytes| u32::from_be_bytes(bytes) as usize)
    }

    fn text(&mut self, len: usize) -> Result<Token<'a>, SyntaxError> {
        let start = self.at;
        let bytes = self.bytes(len)?;
        match std::str::from_utf8(bytes) {
            Ok(text) => Ok(Token::Text(text)),
            Err(error) => Err(SyntaxError::NotUtf8 { at: start + error.valid_up_to() }),
        }
    }

    fn ext(&mut self, len: usize) -> Result<Token<'a>, SyntaxError> {
        let kind = i8::from_be_bytes(self.take()?);
        self.bytes(len).map(|bytes| Token::Ext(kind, bytes))
    }

    /// Every item takes a byte, so a count beyond the bytes left is known to be false at once.
    fn array(&self, len: usize) -> Result<Token<'a>, SyntaxError> {
        if len > self.bytes.len() - self.at { self.truncated() } else { Ok(Token::Array(len)) }
    }

    fn map(&self, len: usize) -> Result<Token<'a>, SyntaxError> {
        if len > (self.bytes.len() - self.at) / 2 { self.truncated() } else { Ok(Token::Map(len)) }
    }
}
