//! What must hold of any bytes that a codec is given.

use topichub_protocol::command::BATCH_MAX;
use topichub_protocol::{Codec, Reply, ServerMessage};

/// Reads `bytes` as everything that can be read. What can be read is the same when it is written and read again.
///
/// # Panics
/// If it is not.
pub fn check(codec: Codec, bytes: &[u8]) {
    let mut out = Vec::new();
    match codec.decode_command(bytes) {
        Ok(command) => {
            codec.encode_command(&command, &mut out);
            assert_eq!(
                codec.decode_command(&out).as_ref(),
                Ok(&command),
                "{:?}",
                out.escape_ascii().to_string()
            );
        }
        Err(error) => {
            // The answer that the peer gets can be read by it.
            let answer = Reply::Error(error);
            codec.encode_reply(&answer, &mut out);
            assert_eq!(codec.decode_server(&out), Ok(ServerMessage::Reply(answer)));
        }
    }
    if let Ok(message) = codec.decode_server(bytes) {
        out.clear();
        encode_server(codec, &message, &mut out);
        assert_eq!(codec.decode_server(&out).as_ref(), Ok(&message), "{:?}", out.escape_ascii().to_string());
    }
    if let Ok(entries) = codec.decode_batch(bytes) {
        assert!(entries.len() <= BATCH_MAX);
    }
}

fn encode_server(codec: Codec, message: &ServerMessage, out: &mut Vec<u8>) {
    match message {
        ServerMessage::Reply(reply) => codec.encode_reply(reply, out),
        ServerMessage::Push(push) => codec.encode_push(push, out),
    }
}
