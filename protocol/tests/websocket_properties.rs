//! The WebSocket codec under any messages, any fragmentation, any cuts and any bytes at all.

use proptest::collection::vec;
use proptest::prelude::*;
use topichub_protocol::websocket::deflate::{
    Agreed, Deflater, INFLATER_BYTES, Inflaters, Settings, WindowBits, negotiate,
};
use topichub_protocol::websocket::{
    CONTROL_BYTES_MAX, Closed, Config, Connection, Event, FrameHeader, MessageKind, Opcode,
};

const LIMIT: usize = 400;

/// What came of an input; bytes owned.
#[derive(Debug, Default, PartialEq)]
struct Outcome {
    events: Vec<Event<'static>>,
    out: Vec<u8>,
    closed: Option<Closed>,
}

fn owned(event: Event<'_>) -> Event<'static> {
    match event {
        Event::Message { kind, bytes } => Event::Message { kind, bytes: bytes.into_owned().into() },
        Event::Ping(bytes) => Event::Ping(bytes.into_owned().into()),
        Event::Pong(bytes) => Event::Pong(bytes.into_owned().into()),
        Event::Closed(closed) => Event::Closed(closed),
    }
}

fn agreed() -> Agreed {
    negotiate(["permessage-deflate"].into_iter(), &Settings::default()).expect("a good offer")
}

/// Feeds `input`, cut after each of `cuts` (fractions of it), and watches what is buffered.
fn receive(config: Config, input: &[u8], cuts: &[prop::sample::Index], we_close: Option<usize>) -> Outcome {
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(input.len() + 1)).collect();
    cuts.extend([0, input.len()]);
    cuts.extend(we_close);
    cuts.sort_unstable();
    let mut connection = Connection::new(config);
    let mut inflaters = Inflaters::new();
    let mut outcome = Outcome::default();
    for pair in cuts.windows(2) {
        if we_close == Some(pair[0]) {
            connection.close(1000, "", &mut outcome.out);
        }
        let mut piece = input[pair[0]..pair[1]].to_vec();
        let mut at = 0;
        while at < piece.len() {
            let received = connection.receive_with(&mut piece[at..], &mut outcome.out, &mut inflaters);
            at += received.consumed;
            match received.event.map(owned) {
                Some(Event::Closed(closed)) => assert_eq!(outcome.closed.replace(closed), None),
                Some(event) => outcome.events.push(event),
                None => assert_eq!(at, piece.len()),
            }
        }
        let buffered = connection.buffered_bytes();
        let inflater = if config.deflate.is_some() { INFLATER_BYTES } else { 0 };
        assert!(buffered <= config.message_bytes_max + CONTROL_BYTES_MAX + inflater, "{buffered}");
        assert!(buffered <= 2 * pair[1] || inflater > 0, "{buffered}");
    }
    outcome
}

/// A message in fragments, with control frames before each of them.
#[derive(Debug, Clone)]
struct Sent {
    kind: MessageKind,
    bytes: Vec<u8>,
    /// Level and window, if it is sent compressed.
    deflate: Option<(u8, WindowBits)>,
    cuts: Vec<prop::sample::Index>,
    controls: Vec<(prop::sample::Index, bool, Vec<u8>)>,
    key: [u8; 4],
}

fn deflate() -> impl Strategy<Value = (u8, WindowBits)> {
    (0..=9u8, 9..=15u8).prop_map(|(level, bits)| (level, WindowBits::new(bits).expect("9 to 15")))
}

fn sent() -> impl Strategy<Value = Sent> {
    let text = vec(any::<char>(), 0..100).prop_map(|chars| chars.into_iter().collect::<String>());
    let message = prop_oneof![
        text.prop_map(|text| (MessageKind::Text, text.into_bytes())),
        vec(any::<u8>(), 0..LIMIT).prop_map(|bytes| (MessageKind::Binary, bytes)),
    ];
    let control = (any::<prop::sample::Index>(), any::<bool>(), vec(any::<u8>(), 0..=CONTROL_BYTES_MAX));
    (
        message,
        proptest::option::of(deflate()),
        vec(any::<prop::sample::Index>(), 0..6),
        vec(control, 0..4),
        any::<[u8; 4]>(),
    )
        .prop_map(|((kind, bytes), deflate, cuts, controls, key)| Sent {
            kind,
            bytes,
            deflate,
            cuts,
            controls,
            key,
        })
}

fn compressed(payload: &[u8], (level, window_bits): (u8, WindowBits)) -> Vec<u8> {
    let mut out = Vec::new();
    Deflater::new(level, window_bits).compress(payload, &mut out);
    out
}

/// Appends the frames of a message and the events that they must become.
fn encode(sent: &Sent, masked: bool, wire: &mut Vec<u8>, events: &mut Vec<Event<'static>>) {
    let mask = masked.then_some(sent.key);
    let payload = sent.deflate.map_or(sent.bytes.clone(), |deflate| compressed(&sent.bytes, deflate));
    let mut cuts: Vec<usize> = sent.cuts.iter().map(|cut| cut.index(payload.len() + 1)).collect();
    cuts.extend([0, payload.len()]);
    cuts.sort_unstable();
    let last = cuts.len() - 2;
    for (at, pair) in cuts.windows(2).enumerate() {
        for (_, ping, payload) in sent.controls.iter().filter(|(place, ..)| place.index(last + 1) == at) {
            let opcode = if *ping { Opcode::Ping } else { Opcode::Pong };
            FrameHeader { mask, ..FrameHeader::new(opcode, payload.len()) }.encode_with(payload, wire);
            let payload = payload.clone().into();
            events.push(if *ping { Event::Ping(payload) } else { Event::Pong(payload) });
        }
        let opcode = match (at, sent.kind) {
            (0, MessageKind::Text) => Opcode::Text,
            (0, MessageKind::Binary) => Opcode::Binary,
            _ => Opcode::Continuation,
        };
        let piece = &payload[pair[0]..pair[1]];
        let header = FrameHeader {
            mask,
            fin: at == last,
            rsv1: at == 0 && sent.deflate.is_some(),
            ..FrameHeader::new(opcode, piece.len())
        };
        header.encode_with(piece, wire);
    }
    events.push(Event::Message { kind: sent.kind, bytes: sent.bytes.clone().into() });
}

/// Compressed bytes with something wrong now and then.
fn almost_deflate() -> impl Strategy<Value = Vec<u8>> {
    let payload = prop_oneof![
        vec(any::<u8>(), 0..60),
        "[ab€]{0,60}".prop_map(String::into_bytes),
        (any::<u8>(), 0..2000usize).prop_map(|(byte, len)| vec![byte; len]),
    ];
    let wrong = proptest::option::of((any::<prop::sample::Index>(), 0..8u8));
    let block = (payload, deflate(), wrong, 0..6u8).prop_map(|(payload, deflate, wrong, odd)| {
        let mut block = compressed(&payload, deflate);
        if let Some((at, bit)) = wrong {
            let at = at.index(block.len());
            block[at] ^= 1 << bit;
        }
        match odd {
            0 => block.truncate(block.len() / 2),
            1 => block.extend([0x03, 0x00]),
            _ => block.extend([0x00, 0x00, 0xff, 0xff]),
        }
        block
    });
    vec(block, 0..4).prop_map(|blocks| {
        let mut blocks = blocks.concat();
        if blocks.ends_with(&[0x00, 0x00, 0xff, 0xff]) {
            blocks.truncate(blocks.len() - 4);
        }
        blocks
    })
}

/// Bytes that look like frames often enough to get past their headers.
fn almost_frames() -> impl Strategy<Value = Vec<u8>> {
    let first = prop_oneof![4 => prop::sample::select(vec![0x00u8, 0x01, 0x02, 0x80, 0x81, 0x82, 0x88, 0x89, 0x8a, 0x41, 0x42, 0xc1, 0xc2, 0xc1, 0xc2]), 1 => any::<u8>()];
    let payload = prop_oneof![
        almost_deflate(),
        vec(any::<u8>(), 0..200),
        "\\PC{0,40}".prop_map(String::into_bytes),
        Just(vec![0x03, 0xe8])
    ];
    let frame = (first, any::<[u8; 4]>(), payload, 0..20u8).prop_map(|(first, key, mut payload, odd)| {
        let header = FrameHeader { mask: Some(key), ..FrameHeader::new(Opcode::Binary, payload.len()) };
        let mut frame = Vec::new();
        header.encode_with(&payload, &mut frame);
        frame[0] = first;
        match odd {
            0 => frame[1] ^= 0x80,
            1 => frame.truncate(frame.len() / 2),
            2 => frame.append(&mut payload),
            _ => {}
        }
        frame
    });
    vec(frame, 0..12).prop_map(|frames| frames.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_messages_in_any_fragments_and_any_cuts_arrive_as_they_were(
        messages in vec(sent(), 0..6),
        server in any::<bool>(),
        cuts in vec(any::<prop::sample::Index>(), 0..40),
    ) {
        let (mut wire, mut events) = (Vec::new(), Vec::new());
        for message in &messages {
            encode(message, server, &mut wire, &mut events);
        }
        let config = if server { Config::server(LIMIT) } else { Config::client(LIMIT, 7) };
        let outcome = receive(config.with_deflate(agreed()), &wire, &cuts, None);
        prop_assert_eq!(outcome.closed, None);
        prop_assert_eq!(outcome.events, events);
    }

    #[test]
    fn any_bytes_come_to_the_same_however_they_are_cut(
        input in prop_oneof![vec(any::<u8>(), 0..300), almost_frames()],
        server in any::<bool>(),
        limit in 0..LIMIT,
        cuts in vec(any::<prop::sample::Index>(), 0..60),
        deflate in any::<bool>(),
        close in proptest::option::of(any::<prop::sample::Index>()),
    ) {
        let mut config = if server { Config::server(limit) } else { Config::client(limit, 7) };
        config.deflate = deflate.then(agreed);
        let we_close = close.map(|close| close.index(input.len() + 1));
        let whole = receive(config, &input, &[], we_close);
        prop_assert_eq!(&whole, &receive(config, &input, &cuts, we_close));
        for event in &whole.events {
            if let Event::Message { kind, bytes } = event {
                prop_assert!(bytes.len() <= limit);
                prop_assert!(*kind == MessageKind::Binary || std::str::from_utf8(bytes).is_ok());
            }
        }
    }

    #[test]
    fn any_bytes_under_rsv1_come_to_the_same_however_they_are_cut_and_stay_below_the_limit(
        payload in prop_oneof![vec(any::<u8>(), 0..300), almost_deflate()],
        text in any::<bool>(),
        limit in 0..LIMIT,
        cuts in vec(any::<prop::sample::Index>(), 0..60),
        fragments in vec(any::<prop::sample::Index>(), 0..5),
    ) {
        let config = Config::server(limit).with_deflate(agreed());
        let kind = if text { MessageKind::Text } else { MessageKind::Binary };
        let mut fragments: Vec<usize> = fragments.iter().map(|cut| cut.index(payload.len() + 1)).collect();
        fragments.extend([0, payload.len()]);
        fragments.sort_unstable();
        let last = fragments.len() - 2;
        let mut wire = Vec::new();
        for (at, pair) in fragments.windows(2).enumerate() {
            let opcode = match (at, kind) {
                (0, MessageKind::Text) => Opcode::Text,
                (0, MessageKind::Binary) => Opcode::Binary,
                _ => Opcode::Continuation,
            };
            let piece = &payload[pair[0]..pair[1]];
            let header = FrameHeader {
                fin: at == last,
                rsv1: at == 0,
                mask: Some([1, 2, 3, 4]),
                ..FrameHeader::new(opcode, piece.len())
            };
            header.encode_with(piece, &mut wire);
        }
        let whole = receive(config, &wire, &[], None);
        prop_assert_eq!(&whole, &receive(config, &wire, &cuts, None));
        prop_assert_eq!(whole.events.len() + usize::from(whole.closed.is_some()), 1);
        for event in &whole.events {
            let Event::Message { kind: seen, bytes } = event else { panic!("{event:?}") };
            prop_assert!(*seen == kind && bytes.len() <= limit);
            prop_assert!(kind == MessageKind::Binary || std::str::from_utf8(bytes).is_ok());
        }
    }

    #[test]
    fn what_is_compressed_inflates_to_what_it_was(
        pieces in vec((vec(any::<u8>(), 0..300), 1..200usize), 0..6),
        (level, window_bits) in deflate(),
        cuts in vec(any::<prop::sample::Index>(), 0..20),
    ) {
        let payload: Vec<u8> = pieces.iter().flat_map(|(piece, times)| piece.repeat(*times)).collect();
        let mut deflater = Deflater::new(level, window_bits);
        let mut wire = Vec::new();
        for _ in 0..2 {
            deflater.encode_frame(&mut wire, Opcode::Binary, &payload, Some([9, 8, 7, 6]));
        }
        prop_assert!(wire[..wire.len() / 2] == wire[wire.len() / 2..], "each message begins afresh");
        let outcome = receive(Config::server(payload.len()).with_deflate(agreed()), &wire, &cuts, None);
        let message = Event::Message { kind: MessageKind::Binary, bytes: payload.into() };
        prop_assert!(outcome.events == [message.clone(), message], "{:?}", outcome.closed);
    }

    #[test]
    fn text_is_refused_at_the_byte_where_the_standard_library_refuses_it(
        bytes in vec(prop_oneof![any::<u8>(), prop::sample::select(b"a\x80\xbf\xc3\xe2\x82\xac\xed\xf0\x9f\xf4".to_vec())], 0..40),
    ) {
        let header = FrameHeader { mask: Some([0; 4]), ..FrameHeader::new(Opcode::Text, LIMIT) };
        let mut wire = header.encode().to_vec();
        wire.extend(&bytes);
        let doomed = (0..=bytes.len()).find(|len| {
            std::str::from_utf8(&bytes[..*len]).is_err_and(|error| error.error_len().is_some())
        });
        for len in 0..=bytes.len() {
            let outcome = receive(Config::server(LIMIT), &wire[..wire.len() - bytes.len() + len], &[], None);
            prop_assert_eq!(outcome.closed.is_some(), doomed.is_some_and(|doomed| len >= doomed));
        }
    }
}
