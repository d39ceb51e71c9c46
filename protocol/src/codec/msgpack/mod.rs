//! MessagePack as a stream of tokens, and the pieces to write it in its smallest forms.
//! No tree is ever built, and nothing recurses; what the values mean is decided elsewhere.

mod reader;
mod write;

use std::ops::Range;

pub(crate) use reader::{Reader, Token};
pub(crate) use write::{
    insert_array_header, insert_map_header, insert_text_header, write_array_header, write_bin, write_f64,
    write_integer, write_map_header, write_text,
};

use super::syntax::SyntaxError;
use crate::message::DEPTH_MAX;

/// What kind of value was checked.
pub(crate) enum Checked {
    /// A `bin`, and where its bytes stand.
    Bin(Range<usize>),
    /// Anything else.
    Other,
}

/// Checks that the bytes are one MessagePack value.
pub(crate) fn check(bytes: &[u8]) -> Result<Checked, SyntaxError> {
    let mut reader = Reader::new(bytes);
    reader.skip(DEPTH_MAX)?;
    reader.finish()?;
    Ok(match Reader::new(bytes).next()? {
        Token::Bin(bin) => Checked::Bin(bytes.len() - bin.len()..bytes.len()),
        _ => Checked::Other,
    })
}
