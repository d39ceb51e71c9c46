//! Commands to bytes and bytes to what the server says, within the limits of both sides.

use topichub_protocol::codec::DecodeError;
use topichub_protocol::{Codec, Command, CommandId, Operation, ServerMessage};

use crate::error::Error;

/// Writes a command under an id, unless it is longer than the server takes.
pub(crate) fn encode(
    codec: Codec,
    id: i64,
    operation: Operation,
    max: Option<usize>,
) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::with_capacity(128);
    codec.encode_command(&Command { id: Some(CommandId::Integer(id)), operation }, &mut bytes);
    match max {
        Some(max) if bytes.len() > max => Err(Error::TooLong { len: bytes.len(), max }),
        _ => Ok(bytes),
    }
}

/// Reads what the server says; nothing if it is of a later version.
pub(crate) fn decode(codec: Codec, bytes: &[u8]) -> Result<Option<ServerMessage>, DecodeError> {
    match codec.decode_server(bytes) {
        Ok(message) => Ok(Some(message)),
        Err(error) if error.is_unknown() => Ok(None),
        Err(error) => Err(error),
    }
}
