//! What the benchmarks share: servers in processes of their own, peers, thousands of checked subscribers, the bare
//! limit, and medians. Each benchmark uses its part of it.
#![allow(dead_code)]

pub(crate) mod limit;
pub(crate) mod peer;
pub(crate) mod process;
pub(crate) mod stats;
pub(crate) mod subscribers;
pub(crate) mod sys;

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Instant;

use bytes::Bytes;
use topichub::protocol::websocket::{Opcode, encode_frame};
use topichub::protocol::{Codec, Command, Operation, Publish};
use topichub::{Epoch, Message, Payload, Position, Topic};

use process::Server;

/// The length of what is published, in bytes.
pub(crate) const PAYLOAD_BYTES: usize = 128;

/// The one topic.
pub(crate) const TOPIC: &str = "bench.topic";

/// Whether the command line asks for the small version.
pub(crate) fn is_quick() -> bool {
    std::env::args().any(|arg| arg == "--quick")
}

/// The topic, parsed.
pub(crate) fn topic() -> io::Result<Topic> {
    Topic::parse(TOPIC).map_err(io::Error::other)
}

/// A JSON string of [`PAYLOAD_BYTES`] that is another one for each number.
pub(crate) fn text(number: u64) -> String {
    format!("\"{number:0width$}\"", width = PAYLOAD_BYTES - 2)
}

/// The same as a payload.
pub(crate) fn payload(number: u64) -> io::Result<Payload> {
    Payload::from_json(Bytes::from(text(number))).map_err(io::Error::other)
}

/// The command that publishes message `number`; without an id, hence without a reply.
pub(crate) fn publish(number: u64) -> io::Result<Command> {
    let publish = Publish { topic: topic()?, payload: payload(number)?, options: None };
    Ok(Command { id: None, operation: Operation::Publish(publish) })
}

/// How many messages a hub has published when it has started.
pub(crate) const PUBLISHED: u64 = 1;

/// Publishes message 1 over HTTP, and waits until it has its place.
pub(crate) fn publish_first(server: &Server) -> io::Result<()> {
    let (address, authorization) = (server.address, server.authorization());
    let mut stream = TcpStream::connect(address)?;
    let body = text(PUBLISHED);
    write!(
        stream,
        "POST /topics/{TOPIC} HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\n{authorization}\
         Connection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    if answer.starts_with("HTTP/1.1 200 ") { Ok(()) } else { Err(io::Error::other(answer)) }
}

/// Appends what every subscriber must get for message `number`, byte for byte: numbers are offsets. Not of the first,
/// which names its epoch.
pub(crate) fn append_delivery(codec: Codec, number: u64, out: &mut Vec<u8>) -> io::Result<()> {
    let mut encoded = Vec::new();
    append_message(codec, number, &mut encoded)?;
    encode_frame(out, opcode(codec), &encoded, None);
    Ok(())
}

/// The same without the frame around it.
pub(crate) fn append_message(codec: Codec, number: u64, out: &mut Vec<u8>) -> io::Result<()> {
    let position = Position { epoch: Epoch(0), offset: number };
    codec
        .encode_message(&Message { topic: topic()?, position, payload: payload(number)?, extras: None }, out);
    Ok(())
}

/// The time now.
#[expect(clippy::disallowed_methods, reason = "a benchmark may look at the clock")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// The kind of frame that a codec goes in.
pub(crate) fn opcode(codec: Codec) -> Opcode {
    if codec.is_text() { Opcode::Text } else { Opcode::Binary }
}
