//! The codec against `vectors/websocket*.json`: every case whole, byte by byte and cut at random, with the same
//! outcome demanded each time.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde::Deserialize;
use topichub_protocol::websocket::deflate::{
    Agreed, INFLATER_BYTES, Inflaters, OFFER, Settings, WindowBits, confirm, negotiate,
};
use topichub_protocol::websocket::{Closed, ClosedBy, Config, Connection, Event, MessageKind, Violation};

const FILES: [&str; 2] = ["websocket.json", "websocket-deflate.json"];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Vectors {
    #[serde(rename = "$schema")]
    _schema: String,
    #[serde(rename = "about")]
    _about: String,
    #[serde(default)]
    negotiations: Vec<Negotiation>,
    #[serde(default)]
    answers: Vec<Answer>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Negotiation {
    name: String,
    #[serde(rename = "rfc")]
    _rfc: String,
    server_window_bits_min: u8,
    offers: Vec<String>,
    response: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Answer {
    name: String,
    #[serde(rename = "rfc")]
    _rfc: String,
    lines: Vec<String>,
    outcome: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    #[serde(rename = "rfc")]
    _rfc: String,
    role: End,
    #[serde(default)]
    deflate: bool,
    message_bytes_max: usize,
    we_close: Option<WeClose>,
    input: Bytes,
    events: Vec<Delivered>,
    output: Bytes,
    close: Option<Close>,
}

#[derive(Deserialize, Clone, Copy, PartialEq, Debug)]
#[serde(rename_all = "lowercase")]
enum End {
    Server,
    Client,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WeClose {
    at: usize,
    code: u16,
    reason: String,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Bytes {
    Hex(String),
    Parts(Vec<Part>),
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Part {
    Hex(String),
    Repeat { hex: String, repeat: usize },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Delivered {
    kind: String,
    payload: Bytes,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Close {
    by: String,
    code: u16,
    #[serde(default)]
    reason: String,
    violation: Option<String>,
    at: usize,
}

impl Bytes {
    fn decode(&self) -> Vec<u8> {
        match self {
            Self::Hex(hex) => from_hex(hex),
            Self::Parts(parts) => parts
                .iter()
                .flat_map(|part| match part {
                    Part::Hex(hex) => from_hex(hex),
                    Part::Repeat { hex, repeat } => from_hex(hex).repeat(*repeat),
                })
                .collect(),
        }
    }
}

fn from_hex(hex: &str) -> Vec<u8> {
    let digits: Vec<u32> = hex.chars().filter(|c| *c != ' ').map(|c| c.to_digit(16).unwrap()).collect();
    assert!(digits.len().is_multiple_of(2), "odd number of digits in {hex}");
    digits.chunks(2).map(|pair| (pair[0] * 16 + pair[1]) as u8).collect()
}

fn read(file: &str) -> Vectors {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors").join(file);
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

fn vectors() -> Vec<Case> {
    FILES.into_iter().flat_map(|file| read(file).cases).collect()
}

/// What any client that offers compression gets.
pub(crate) fn agreed() -> Agreed {
    negotiate(["permessage-deflate"].into_iter(), &Settings::default()).unwrap()
}

fn config(case: &Case) -> Config {
    let config = match case.role {
        End::Server => Config::server(case.message_bytes_max),
        End::Client => Config::client(case.message_bytes_max, 0x5eed),
    };
    if case.deflate { config.with_deflate(agreed()) } else { config }
}

/// Everything that came of an input.
#[derive(Debug, Default, PartialEq, Clone)]
pub(crate) struct Outcome {
    pub(crate) events: Vec<(String, Vec<u8>)>,
    pub(crate) out: Vec<u8>,
    pub(crate) closed: Option<Closed>,
    /// How many bytes had been handed over when the end was known.
    closed_at: Option<usize>,
}

/// A connection and what came of it so far.
pub(crate) struct Story {
    pub(crate) connection: Connection,
    config: Config,
    handed_over: usize,
    /// How often the buffer has changed its size: what a copy of it may each time cost.
    pub(crate) moves: usize,
    buffered: usize,
    pub(crate) outcome: Outcome,
}

impl Story {
    pub(crate) fn new(config: Config) -> Self {
        Self {
            connection: Connection::new(config),
            config,
            handed_over: 0,
            moves: 0,
            buffered: 0,
            outcome: Outcome::default(),
        }
    }

    /// One read of the transport, with inflaters of its own.
    pub(crate) fn arrives(&mut self, piece: &[u8]) {
        self.read(piece, None);
    }

    /// One read of the transport.
    pub(crate) fn arrives_with(&mut self, piece: &[u8], inflaters: &mut Inflaters) {
        self.read(piece, Some(inflaters));
    }

    fn read(&mut self, piece: &[u8], mut inflaters: Option<&mut Inflaters>) {
        let mut piece = piece.to_vec();
        self.handed_over += piece.len();
        let mut at = 0;
        while at < piece.len() {
            let (input, out) = (&mut piece[at..], &mut self.outcome.out);
            let received = match &mut inflaters {
                Some(inflaters) => self.connection.receive_with(input, out, inflaters),
                None => self.connection.receive(input, out),
            };
            at += received.consumed;
            let (kind, bytes) = match received.event {
                Some(Event::Message { kind: MessageKind::Text, bytes }) => ("text", bytes),
                Some(Event::Message { kind: MessageKind::Binary, bytes }) => ("binary", bytes),
                Some(Event::Ping(bytes)) => ("ping", bytes),
                Some(Event::Pong(bytes)) => ("pong", bytes),
                Some(Event::Closed(closed)) => {
                    assert_eq!(self.outcome.closed.replace(closed), None, "closed twice");
                    self.outcome.closed_at = Some(self.handed_over);
                    continue;
                }
                None => {
                    assert_eq!(at, piece.len(), "without an event all input is consumed");
                    continue;
                }
            };
            assert_eq!(self.outcome.closed, None, "{kind} after the end");
            self.outcome.events.push((kind.to_owned(), bytes.into_owned()));
        }
        let buffered = self.connection.buffered_bytes();
        let inflater = if self.config.deflate.is_some() { INFLATER_BYTES } else { 0 };
        let most = self.config.message_bytes_max + 125 + inflater;
        assert!(buffered <= most, "{buffered} bytes buffered");
        assert!(
            buffered <= 2 * self.handed_over || inflater > 0,
            "{buffered} bytes buffered of {}",
            self.handed_over
        );
        self.moves += usize::from(buffered != self.buffered);
        self.buffered = buffered;
    }
}

fn run(
    case: &Case,
    pieces: impl IntoIterator<Item = usize>,
    mut inflaters: Option<&mut Inflaters>,
) -> Outcome {
    let input = case.input.decode();
    let mut story = Story::new(config(case));
    let mut we_close = case.we_close.as_ref();
    let mut pieces = pieces.into_iter();
    let mut at = 0;
    loop {
        if let Some(close) = we_close.take_if(|close| close.at == at) {
            story.connection.close(close.code, &close.reason, &mut story.outcome.out);
        }
        if at == input.len() {
            break;
        }
        let stop = we_close.map_or(input.len(), |close| close.at);
        let end = stop.min(at + pieces.next().unwrap_or(usize::MAX - at));
        story.read(&input[at..end], inflaters.as_deref_mut());
        at = end;
    }
    assert_eq!(story.connection.is_closed(), case.close.is_some(), "is_closed");
    if story.connection.is_closed() {
        assert_eq!(story.connection.buffered_bytes(), 0, "buffered after the end");
        assert_eq!(story.connection.transport_ended(), None);
    } else {
        let ended = story.connection.transport_ended().unwrap();
        assert_eq!((ended.code, ended.by), (1006, ClosedBy::Transport));
    }
    story.outcome
}

/// The frames of an output without their masks. A client's must have one, a server's must not.
fn unmasked(role: End, mut out: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    while let [first, second, rest @ ..] = out {
        assert_eq!(second & 0x80 != 0, role == End::Client, "mask bit of a frame from a {role:?}");
        let len = usize::from(second & 0x7f);
        assert!(len <= 125, "automatic answers are control frames");
        plain.extend([*first, len as u8]);
        let (key, payload) = if role == End::Client { rest.split_at(4) } else { ([0; 4].as_slice(), rest) };
        plain.extend(payload[..len].iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key));
        out = &payload[len..];
    }
    assert!(out.is_empty(), "half a frame in the output");
    plain
}

fn snake_case(violation: Violation) -> String {
    let debug = format!("{violation:?}");
    let name = debug.split(' ').next().unwrap();
    name.char_indices().fold(String::new(), |mut snake, (at, c)| {
        if at > 0 && c.is_uppercase() {
            snake.push('_');
        }
        snake.push(c.to_ascii_lowercase());
        snake
    })
}

fn check(case: &Case, how: &str, outcome: &Outcome) {
    let name = &case.name;
    let wanted: Vec<_> =
        case.events.iter().map(|event| (event.kind.clone(), event.payload.decode())).collect();
    assert!(outcome.events == wanted, "{name}, {how}: events {:?}", outcome.events);

    let mut out = unmasked(case.role, &outcome.out);
    if let Some(Close { code, violation: Some(violation), .. }) = &case.close {
        let Some(Closed { code: got, by: ClosedBy::Violation(seen), .. }) = &outcome.closed else {
            panic!("{name}, {how}: {:?} instead of {violation}", outcome.closed);
        };
        assert_eq!((&snake_case(*seen), got), (violation, code), "{name}, {how}");
        assert_eq!(seen.close_code(), *code, "{name}, {how}");
        if case.we_close.is_none() {
            let start = case.output.decode().len();
            let answer = out.split_off(start.min(out.len()));
            let mut wanted = vec![0x88, answer.len() as u8 - 2];
            wanted.extend(code.to_be_bytes());
            wanted.extend(seen.to_string().bytes());
            assert_eq!(answer, wanted, "{name}, {how}: the close frame that answers");
        }
    } else {
        let seen = outcome.closed.as_ref().map(|closed| {
            let by = match closed.by {
                ClosedBy::Peer => "peer",
                ClosedBy::Us => "us",
                ClosedBy::Transport => "transport",
                ClosedBy::Violation(violation) => panic!("{name}, {how}: {violation}"),
            };
            (by, closed.code, closed.reason.as_str())
        });
        let wanted = case.close.as_ref().map(|close| (close.by.as_str(), close.code, close.reason.as_str()));
        assert_eq!(seen, wanted, "{name}, {how}: close");
    }
    assert_eq!(out, case.output.decode(), "{name}, {how}: output");
}

/// Pseudo-random numbers (SplitMix64), the same in every run.
fn numbers(mut seed: u64) -> impl Iterator<Item = u64> {
    std::iter::repeat_with(move || {
        seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (seed ^ (seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    })
}

#[test]
fn every_vector_holds_whole_byte_by_byte_and_in_random_pieces() {
    let cases = vectors();
    let mut inflaters = Inflaters::new();
    for case in &cases {
        check(case, "whole", &run(case, [], Some(&mut inflaters)));
        check(case, "whole, with inflaters of its own", &run(case, [], None));
        let outcome = run(case, std::iter::repeat(1), Some(&mut inflaters));
        check(case, "byte by byte", &outcome);
        assert_eq!(outcome.closed_at, case.close.as_ref().map(|close| close.at), "{}: known at", case.name);
        for seed in 0..24 {
            let longest = [3, 8, 300][seed as usize % 3];
            let pieces = numbers(seed).map(|number| 1 + (number % longest) as usize);
            let outcome = run(case, pieces, Some(&mut inflaters));
            check(case, &format!("in pieces from seed {seed}"), &outcome);
        }
    }
}

#[test]
fn the_end_is_known_although_nothing_more_arrives() {
    for mut case in vectors() {
        let Some(close) = &case.close else { continue };
        let input = case.input.decode();
        let hex: String = input[..close.at].iter().map(|byte| format!("{byte:02x}")).collect();
        case.input = Bytes::Hex(hex);
        check(&case, "cut at its end", &run(&case, [], None));
    }
}

#[test]
fn negotiations_end_as_the_vectors_say() {
    let negotiations = read("websocket-deflate.json").negotiations;
    let names: BTreeSet<_> = negotiations.iter().map(|negotiation| &negotiation.name).collect();
    assert_eq!(names.len(), negotiations.len());
    for Negotiation { name, server_window_bits_min, offers, response, .. } in &negotiations {
        let settings = Settings { server_window_bits_min: WindowBits::new(*server_window_bits_min).unwrap() };
        let agreed = negotiate(offers.iter().map(String::as_str), &settings);
        assert_eq!(agreed.map(|agreed| agreed.to_string()), *response, "{name}");
    }
}

#[test]
fn a_client_makes_of_answers_what_the_vectors_say() {
    let answers = read("websocket-deflate.json").answers;
    let names: BTreeSet<_> = answers.iter().map(|answer| &answer.name).collect();
    assert_eq!(names.len(), answers.len());
    for Answer { name, lines, outcome, .. } in &answers {
        let confirmed = match confirm(lines.iter().map(String::as_str)) {
            Ok(Some(_)) => "compressed",
            Ok(None) => "plain",
            Err(_) => "refused",
        };
        assert_eq!(confirmed, outcome, "{name}");
    }
}

#[test]
fn what_we_offer_our_server_accepts_and_we_understand_its_answer() {
    let agreed = negotiate([OFFER].into_iter(), &Settings::default()).expect("agreed");
    assert_eq!(confirm([agreed.to_string().as_str()].into_iter()), Ok(Some(agreed)));
    let refused = confirm(["x-multiplex; a=\"b\""].into_iter()).expect_err("refused").to_string();
    assert_eq!(refused, r#"the server took an extension that was not offered: "x-multiplex; a=\"b\"""#);
}

#[test]
fn every_violation_has_a_vector_for_the_server_and_names_are_unique() {
    let cases = vectors();
    let names: BTreeSet<_> = cases.iter().map(|case| &case.name).collect();
    assert_eq!(names.len(), cases.len());

    let schema = Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors/websocket.schema.json");
    let schema: serde_json::Value = serde_json::from_str(&fs::read_to_string(schema).unwrap()).unwrap();
    let known = schema["$defs"]["violated"]["properties"]["violation"]["enum"].as_array().unwrap().clone();
    let seen: BTreeSet<_> =
        cases.iter().filter_map(|case| case.close.as_ref()?.violation.as_deref()).collect();
    assert_eq!(seen, known.iter().map(|name| name.as_str().unwrap()).collect());
}

#[test]
fn the_vectors_named_in_the_table_of_rules_exist() {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("CONFORMANCE.md")).unwrap();
    let (_, rules) = page.split_once("## Rules and their vectors").unwrap();
    let (rules, _) = rules.split_once("\n## ").unwrap();
    let rows = rules.lines().filter(|line| line.starts_with("| §") || line.starts_with("| 7692 §"));
    let named: Vec<&str> = rows.filter_map(|row| row.split('`').nth(1)).collect();
    assert!(named.len() > 30, "{} rules", named.len());
    let names: BTreeSet<String> = FILES
        .into_iter()
        .map(read)
        .flat_map(|file| {
            let negotiations = file.negotiations.into_iter().map(|negotiation| negotiation.name);
            negotiations.chain(file.cases.into_iter().map(|case| case.name)).collect::<Vec<_>>()
        })
        .collect();
    for name in named {
        assert!(names.contains(name), "{name}");
    }
}
