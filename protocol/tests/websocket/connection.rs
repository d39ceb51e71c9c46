//! What vectors cannot say of plain connections: memory, sizes, our own frames.

use topichub_protocol::websocket::{
    Closed, ClosedBy, Config, Connection, Event, FrameHeader, MessageKind, Opcode, encode_close,
    encode_frame, is_close_code,
};

use super::vectors::Story;

fn masked(opcode: Opcode, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    encode_frame(&mut frame, opcode, payload, Some([0x37, 0xfa, 0x21, 0x3d]));
    frame
}

fn masked_piece(opcode: Opcode, fin: bool, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    let header = FrameHeader { fin, mask: Some([9, 8, 7, 6]), ..FrameHeader::new(opcode, payload.len()) };
    header.encode_with(payload, &mut frame);
    frame
}

#[test]
fn an_idle_connection_is_small_and_owns_no_heap() {
    let size = size_of::<Connection>();
    assert!(size <= 112, "{size} bytes");
    let mut story = Story::new(Config::server(1 << 20));
    assert_eq!(story.connection.buffered_bytes(), 0);
    let frame = masked(Opcode::Binary, &[7; 5000]);
    story.arrives(&frame[..3000]);
    assert!(story.connection.buffered_bytes() > 0);
    story.arrives(&frame[3000..]);
    assert_eq!(story.connection.buffered_bytes(), 0, "a partial message is freed with its end");
    let ping = masked(Opcode::Ping, b"still there?");
    story.arrives(&ping[..9]);
    story.arrives(&ping[9..]);
    assert_eq!(story.connection.buffered_bytes(), 0, "a partial ping is freed with its end");
    assert_eq!(story.outcome.events.len(), 2);
}

#[test]
fn our_close_frees_a_partial_message() {
    let mut story = Story::new(Config::server(1 << 20));
    story.arrives(&masked(Opcode::Binary, &[7; 5000])[..3000]);
    story.connection.close(1000, "", &mut Vec::new());
    assert_eq!(story.connection.buffered_bytes(), 0);
}

#[test]
fn an_announced_length_allocates_nothing() {
    let mut story = Story::new(Config::server(1 << 30));
    let header = FrameHeader { mask: Some([0; 4]), ..FrameHeader::new(Opcode::Binary, 1 << 30) }.encode();
    story.arrives(&header);
    assert_eq!(story.connection.buffered_bytes(), 0);
    story.arrives(&[1; 1000]);
    assert_eq!(story.connection.buffered_bytes(), 1000);
}

#[test]
fn a_whole_message_is_borrowed_from_the_input() {
    let mut connection = Connection::new(Config::server(100));
    let mut input = masked(Opcode::Text, b"borrowed");
    let range = input.as_ptr_range();
    let received = connection.receive(&mut input, &mut Vec::new());
    let Some(Event::Message { bytes, .. }) = received.event else {
        panic!("{received:?}");
    };
    assert!(range.contains(&bytes.as_ptr()), "copied");
    assert_eq!(&*bytes, b"borrowed");

    let mut input = masked(Opcode::Text, b"header came first");
    let (header, payload) = input.split_at_mut(6);
    assert!(connection.receive(header, &mut Vec::new()).event.is_none());
    let range = payload.as_ptr_range();
    let received = connection.receive(payload, &mut Vec::new());
    let Some(Event::Message { bytes, .. }) = received.event else {
        panic!("{received:?}");
    };
    assert!(range.contains(&bytes.as_ptr()), "copied");
}

#[test]
fn a_message_is_peeked_at_where_it_stands_if_it_is_whole_and_plain() {
    let frame = |opcode, fin, payload: &[u8]| {
        let mut frame = Vec::new();
        let header = FrameHeader { fin, ..FrameHeader::new(opcode, payload.len()) };
        header.encode_with(payload, &mut frame);
        frame
    };
    let mut client = Connection::new(Config::client(100, 1));
    let text = frame(Opcode::Text, true, b"abc");
    assert_eq!(client.peek_message(&[&text[..], b"more"].concat()), Some((MessageKind::Text, 2..5)));
    assert_eq!(client.peek_message(&frame(Opcode::Binary, true, b"")), Some((MessageKind::Binary, 2..2)));
    for other in [
        text[..4].to_vec(),
        frame(Opcode::Text, false, b"abc"),
        frame(Opcode::Text, true, &[b'a'; 101]),
        frame(Opcode::Ping, true, b"abc"),
        masked(Opcode::Text, b"abc"),
        vec![0xc1, 0],
        Vec::new(),
    ] {
        assert_eq!(client.peek_message(&other), None, "{other:?}");
    }
    let server = Connection::new(Config::server(100));
    assert_eq!(server.peek_message(&masked(Opcode::Text, b"abc")), None, "it would have to be unmasked");
    client.receive(&mut frame(Opcode::Text, false, b"a"), &mut Vec::new());
    assert_eq!(client.peek_message(&text), None, "within another message");
    let mut closing = Connection::new(Config::client(100, 1));
    closing.close(1000, "", &mut Vec::new());
    assert_eq!(closing.peek_message(&text), None, "nobody wants it any more");
}

#[test]
fn violations_name_the_numbers() {
    let said = |config: Config, input: &[u8]| {
        let mut story = Story::new(config);
        story.arrives(input);
        let Some(Closed { by: ClosedBy::Violation(violation), .. }) = story.outcome.closed else {
            panic!("no violation");
        };
        violation.to_string()
    };
    let server = Config::server(10);
    let fragments =
        [masked_piece(Opcode::Text, false, b"01234567"), masked(Opcode::Continuation, b"890")].concat();
    assert_eq!(said(server, &fragments), "message of 11 bytes or more, limit is 10");
    let text =
        [masked_piece(Opcode::Text, false, b"abc\xe2"), masked(Opcode::Continuation, b"\x82z")].concat();
    assert_eq!(said(server, &text), "text is not utf-8 at byte 3");
    assert_eq!(
        said(server, &masked(Opcode::Text, b"abcd\xe2\x82")),
        "text of 6 bytes ends inside a character"
    );
    assert_eq!(said(server, &[0xf1, 0x80]), "reserved bits 111 are set, but no extension uses them");
    assert_eq!(said(server, &[0x8b, 0x80]), "opcode 11 is not known");
    assert_eq!(said(server, &[0x81, 0xfe, 0, 7]), "length 7 is written in 2 bytes instead of fewer");
    assert_eq!(said(server, &masked(Opcode::Close, &[0x03, 0xed])), "close code 1005 must not be sent");
    assert_eq!(
        said(server, &masked(Opcode::Close, b"\x03\xe8abc\xff")),
        "close reason is not utf-8 at byte 3"
    );
}

#[test]
fn a_close_reason_is_cut_between_characters() {
    let mut out = Vec::new();
    encode_close(&mut out, 1000, &"€".repeat(50), None);
    assert_eq!(out[..4], [0x88, 125, 0x03, 0xe8]);
    assert_eq!(&out[4..], "€".repeat(41).as_bytes());
    out.clear();
    encode_close(&mut out, 1000, &format!("a{}", "€".repeat(50)), None);
    assert_eq!(out[1], 2 + 1 + 40 * 3);
    out.clear();
    encode_close(&mut out, 1005, "not sent", None);
    assert_eq!(out, [0x88, 0]);
    assert!(is_close_code(4999) && !is_close_code(1005));
}

#[test]
fn nothing_is_sent_after_our_close_frame() {
    let mut connection = Connection::new(Config::server(100));
    let mut out = Vec::new();
    connection.send(Opcode::Text, b"hi", &mut out);
    assert_eq!(out, [0x81, 2, b'h', b'i']);
    assert!(connection.is_open());
    connection.close(1001, "", &mut out);
    assert!(!connection.is_open() && !connection.is_closed());
    connection.send(Opcode::Text, b"late", &mut out);
    connection.close(1000, "twice", &mut out);
    assert_eq!(out[4..], [0x88, 2, 0x03, 0xe9]);
}

#[test]
fn a_client_and_a_server_understand_each_other() {
    let mut client = Connection::new(Config::client(1 << 20, 42));
    let mut server = Story::new(Config::server(1 << 20));
    let mut wire = Vec::new();
    client.send(Opcode::Text, b"hello", &mut wire);
    client.send(Opcode::Text, b"hello", &mut wire);
    assert_ne!(wire[2..11], wire[13..22], "each frame has its own mask");
    client.send(Opcode::Binary, &[0xff; 70_000], &mut wire);
    client.send(Opcode::Ping, b"?", &mut wire);
    client.close(3000, "done", &mut wire);
    server.arrives(&wire);
    let kinds: Vec<_> =
        server.outcome.events.iter().map(|(kind, bytes)| (kind.as_str(), bytes.len())).collect();
    assert_eq!(kinds, [("text", 5), ("text", 5), ("binary", 70_000), ("ping", 1)]);
    let closed = server.outcome.closed.unwrap();
    assert_eq!((closed.code, closed.reason.as_str(), closed.by), (3000, "done", ClosedBy::Peer));

    // The pong before the server's close frame is no event for a client that has closed.
    let mut answer = server.outcome.out;
    let end = client.receive(&mut answer, &mut wire);
    let closed = Closed { code: 3000, reason: String::new(), by: ClosedBy::Us };
    assert_eq!((end.consumed, end.event), (7, Some(Event::Closed(closed))));
}

/// Sixteen MiB, as the Autobahn suite's cases 9.1.6 and 9.2.6 send them, and four in pieces of 64 bytes (9.3.1): a
/// buffer that grew by a fixed step would be moved 16,000 and 65,000 times.
#[test]
fn large_messages_take_linear_time() {
    let text = "€abcdefghijklm".repeat((16 << 20) / 16);
    let frame = masked(Opcode::Text, text.as_bytes());
    let mut story = Story::new(Config::server(16 << 20));
    frame.chunks(997).for_each(|piece| story.arrives(piece));
    assert!(story.outcome.events == [("text".to_owned(), text.into_bytes())]);
    assert!(story.moves < 30, "{} moves", story.moves);

    let mut story = Story::new(Config::server(4 << 20));
    let count = (4 << 20) / 64;
    for at in 0..count {
        let opcode = if at == 0 { Opcode::Text } else { Opcode::Continuation };
        story.arrives(&masked_piece(opcode, at == count - 1, &[b'*'; 64]));
    }
    assert_eq!(story.outcome.events[0].1.len(), 4 << 20);
    assert!(story.moves < 30, "{} moves", story.moves);
}
