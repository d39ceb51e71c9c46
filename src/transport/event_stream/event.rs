//! Maps as Server-Sent Events (WHATWG HTML §9.2; SPEC.md §21.3), and what can be read off one. Where a reader of several
//! topics stands is not known here.

use std::io::Write;

use topichub_protocol::codec::Codec;
use topichub_protocol::event_id::EscapedTopic;
use topichub_protocol::message::{Message, Position};
use topichub_protocol::topic::Topic;

use crate::hub::published::Class;

/// How soon a browser comes back by itself.
const RETRY: &[u8] = b"retry: 1000\n";

/// What says nothing but that the server is there.
pub(in crate::transport) const COMMENT: &[u8] = b":\n\n";

const ID: &[u8] = b"id: ";

/// A message as an event: all who are of this class get the same bytes. In streams of several topics its place is put
/// together anew, from what stands here.
pub(crate) fn encode(class: Class, message: &Message) -> Box<[u8]> {
    let mut map = Vec::with_capacity(message.payload.as_bytes().len() + message.topic.as_str().len() + 64);
    Codec::Json.encode_message(message, &mut map);
    let mut out = Vec::with_capacity(map.len() + message.topic.as_str().len() + 48);
    write_place(class, &[(&message.topic, message.position)], &mut out);
    write_data(&map, &mut out);
    out.into_boxed_slice()
}

/// A reply or another push as an event. `places` is where the reader stands behind it, if that is to be said.
pub(super) fn named(class: Class, op: &str, places: &[(&Topic, Position)], map: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(map.len() + 64);
    if op == "welcome" {
        out.extend_from_slice(RETRY);
    }
    write_place(class, places, &mut out);
    // Nothing fails that is written to memory.
    let _ = writeln!(out, "event: {op}");
    write_data(map, &mut out);
    out
}

fn write_place(class: Class, places: &[(&Topic, Position)], out: &mut Vec<u8>) {
    if places.is_empty() {
        return;
    }
    let (mut blank, between): (_, &[u8]) = (ID, b" ");
    for (topic, position) in places {
        out.extend_from_slice(std::mem::replace(&mut blank, between));
        let _ = match class {
            Class::Events => write!(out, "{position}"),
            _ => write!(out, "{} {position}", EscapedTopic(topic)),
        };
    }
    out.push(b'\n');
}

/// The line of an id that is put together elsewhere.
pub(super) fn write_id(id: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(ID);
    out.extend_from_slice(id);
    out.push(b'\n');
}

fn write_data(map: &[u8], out: &mut Vec<u8>) {
    let mut rest = map;
    loop {
        out.extend_from_slice(b"data: ");
        let Some(at) = rest.iter().position(|byte| matches!(byte, b'\n' | b'\r')) else { break };
        out.extend_from_slice(&rest[..at]);
        out.push(b'\n');
        rest = &rest[at + if rest[at..].starts_with(b"\r\n") { 2 } else { 1 }..];
    }
    out.extend_from_slice(rest);
    out.extend_from_slice(b"\n\n");
}

/// The id of an event of ours, and what stands behind it. None if it has no id.
pub(super) fn id_of(event: &[u8]) -> Option<(&[u8], &[u8])> {
    let rest = event.strip_prefix(ID)?;
    let end = rest.iter().position(|byte| *byte == b'\n')?;
    Some((&rest[..end], &rest[end + 1..]))
}

/// The map in an event of ours, each of its lines behind `before` or a line break.
pub(super) fn map_of(event: &[u8], before: u8) -> Vec<u8> {
    let mut map = Vec::with_capacity(event.len());
    let lines = event.split(|byte| *byte == b'\n').filter_map(|line| line.strip_prefix(b"data: "));
    for (line, before) in lines.zip(std::iter::once(before).chain(std::iter::repeat(b'\n'))) {
        map.push(before);
        map.extend_from_slice(line);
    }
    map
}

/// Whether this is what a session begins with, and not what it is there for.
pub(super) fn is_overture(event: &[u8]) -> bool {
    event.split(|byte| *byte == b'\n').any(|line| matches!(line, b"event: welcome" | b"event: subscribed"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_break_of_a_map_begins_another_line_of_data() {
        let mut out = Vec::new();
        write_data(b"[1,\r\n2,\r3,\n4]", &mut out);
        assert_eq!(String::from_utf8(out).unwrap(), "data: [1,\ndata: 2,\ndata: 3,\ndata: 4]\n\n");
    }
}
