//! The vectors of SPEC.md, run against this crate. Every client runs the same files.
#![allow(clippy::unwrap_used, reason = "a test may fail by unwrap, and so may what only tests call")]

use std::path::Path;

use serde::Deserialize;
use serde_json::Value;
use topichub_protocol::command::{
    BATCH_MAX, EXCLUDE_MAX, HISTORY_LIMIT_MAX, ID_BYTES_MAX, NAME_BYTES_MAX, PRESENCE_DATA_BYTES_MAX,
    REPLAY_LAST_MAX, REPLAY_SECONDS_MAX, REPLAY_TOPICS_MAX, REQUEST_TIMEOUT_MAX, TOPICS_PER_COMMAND_MAX,
};
use topichub_protocol::message::{DEPTH_MAX, META_BYTES_MAX, META_ENTRIES_MAX};
use topichub_protocol::{
    CloseCode, Codec, Command, CommandError, CommandId, ErrorCode, Filter, Limits, Operation, Payload,
    Position, Published, Reconnect, ServerMessage, Topic,
};

/// Who reads which file; `tests/websocket/` reads those of the WebSocket framing.
const FILES: [&str; 6] =
    ["codes.json", "commands.json", "conversion.json", "events.json", "replies.json", "topics.json"];

fn folder() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/vectors"))
}

fn read<T: for<'de> Deserialize<'de>>(file: &str) -> T {
    assert!(FILES.contains(&file), "{file} is not among the files read");
    let text = std::fs::read(folder().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
    serde_json::from_slice(&text).unwrap_or_else(|error| panic!("{file}: {error}"))
}

/// A text, whole or in parts so that large inputs stay short in the file.
#[derive(Deserialize)]
#[serde(untagged)]
enum Text {
    Whole(String),
    Parts(Vec<Part>),
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Part {
    Plain(String),
    Repeat { repeat: String, times: usize },
}

impl Text {
    fn whole(&self) -> String {
        match self {
            Self::Whole(text) => text.clone(),
            Self::Parts(parts) => parts
                .iter()
                .map(|part| match part {
                    Part::Plain(text) => text.clone(),
                    Part::Repeat { repeat, times } => repeat.repeat(*times),
                })
                .collect(),
        }
    }

    fn hex(&self) -> Vec<u8> {
        let digits = self.whole();
        assert!(digits.len().is_multiple_of(2), "hexadecimal comes in pairs: {digits}");
        (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap()).collect()
    }
}

/// The forms a case gives its input in, one or two of them.
#[derive(Deserialize)]
struct Input {
    json: Option<Text>,
    json_hex: Option<Text>,
    msgpack: Option<Text>,
}

impl Input {
    fn forms(&self) -> Vec<(Codec, Vec<u8>)> {
        let json = self.json.as_ref().map(|text| (Codec::Json, text.whole().into_bytes()));
        let hex = self.json_hex.as_ref().map(|text| (Codec::Json, text.hex()));
        let msgpack = self.msgpack.as_ref().map(|text| (Codec::MsgPack, text.hex()));
        let forms: Vec<_> = [json, hex, msgpack].into_iter().flatten().collect();
        assert!(!forms.is_empty(), "a case without input tests nothing");
        forms
    }
}

fn json_value(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(bytes)))
}

fn encoded(write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = b"before".to_vec();
    write(&mut out);
    assert_eq!(&out[..6], b"before", "what is already written stays");
    out.split_off(6)
}

fn text_of(codec: Codec, bytes: &[u8]) -> String {
    match codec {
        Codec::Json => String::from_utf8(bytes.to_vec()).unwrap(),
        Codec::MsgPack => bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
    }
}

#[test]
fn every_vector_file_is_read_by_a_test() {
    let others = [
        "schema.json",
        "sessions.json", // read by the clients and tests/python
        "sessions.schema.json",
        "websocket.json",
        "websocket-deflate.json",
        "websocket.schema.json",
    ];
    for entry in std::fs::read_dir(folder()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let known = FILES.contains(&&*name) || others.contains(&&*name);
        assert!(known, "nobody reads vectors/{name}");
    }
    for file in FILES {
        let whole: Value = read(file);
        assert_eq!(whole["$schema"], "schema.json", "{file}");
    }
}

mod topics {
    use super::*;

    #[derive(Deserialize)]
    struct File {
        names: Vec<Name>,
        errors: Vec<Bad>,
        matches: Vec<Match>,
    }

    #[derive(Deserialize)]
    struct Name {
        name: String,
        text: Text,
        kind: String,
        #[serde(default)]
        system: bool,
    }

    #[derive(Deserialize)]
    struct Bad {
        name: String,
        text: Text,
        message_contains: String,
    }

    #[derive(Deserialize)]
    struct Match {
        filter: String,
        topic: String,
        matches: bool,
    }

    #[test]
    fn names_are_topics_or_patterns() {
        let file: File = read("topics.json");
        for case in file.names {
            let text = case.text.whole();
            let filter = Filter::parse(&text).unwrap_or_else(|error| panic!("{}: {error}", case.name));
            let kind = if matches!(filter, Filter::Topic(_)) { "topic" } else { "pattern" };
            assert_eq!(kind, case.kind, "{}", case.name);
            assert_eq!(filter.as_str(), text, "{}", case.name);
            assert_eq!(filter.is_system(), case.system, "{}", case.name);
            assert_eq!(Topic::parse(&text).is_ok(), kind == "topic", "{}", case.name);
            assert_eq!(topichub_protocol::Pattern::parse(&text).is_ok(), kind == "pattern", "{}", case.name);
        }
    }

    #[test]
    fn bad_names_say_what_is_wrong_with_them() {
        let file: File = read("topics.json");
        for case in file.errors {
            let text = case.text.whole();
            let message = Filter::parse(&text).expect_err(&case.name).to_string();
            assert!(message.contains(&case.message_contains), "{}: {message}", case.name);
            assert!(Topic::parse(&text).is_err(), "{}", case.name);
        }
    }

    #[test]
    fn filters_match_what_they_should() {
        let file: File = read("topics.json");
        for case in file.matches {
            let filter = Filter::parse(&case.filter).unwrap();
            let topic = Topic::parse(&case.topic).unwrap();
            assert_eq!(filter.matches(&topic), case.matches, "{} {}", case.filter, case.topic);
        }
    }
}

mod commands {
    use super::*;

    #[derive(Deserialize)]
    struct File {
        commands: Vec<Good>,
        errors: Vec<Bad>,
        batches: Vec<Batch>,
        batch_errors: Vec<Bad>,
    }

    #[derive(Deserialize)]
    struct Good {
        name: String,
        #[serde(flatten)]
        input: Input,
        command: Value,
    }

    #[derive(Deserialize)]
    struct Bad {
        name: String,
        #[serde(flatten)]
        input: Input,
        #[serde(default)]
        id: Option<Value>,
        code: String,
        message_contains: String,
    }

    #[derive(Deserialize)]
    struct Batch {
        name: String,
        #[serde(flatten)]
        input: Input,
        entries: Vec<Entry>,
    }

    #[derive(Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Entry {
        Publish(Value),
        Error { code: String, message_contains: String },
    }

    fn check_error(name: &str, error: &CommandError, code: &str, message_contains: &str) {
        assert_eq!(error.code.as_str(), code, "{name}: {error}");
        assert!(error.message.contains(message_contains), "{name}: {}", error.message);
        assert!(error.message.len() < 400, "{name}: an error repeats too much: {}", error.message);
    }

    fn id_value(id: &CommandId) -> Value {
        match id {
            CommandId::Integer(number) => (*number).into(),
            CommandId::Text(text) => text.as_ref().into(),
        }
    }

    #[test]
    fn commands_are_what_they_ask() {
        let file: File = read("commands.json");
        for case in file.commands {
            for (codec, bytes) in case.input.forms() {
                let command = codec
                    .decode_command(&bytes)
                    .unwrap_or_else(|error| panic!("{} ({codec:?}): {error}", case.name));
                let again = json_value(&encoded(|out| Codec::Json.encode_command(&command, out)));
                assert_eq!(again, case.command, "{} ({codec:?})", case.name);
                let msgpack = encoded(|out| Codec::MsgPack.encode_command(&command, out));
                let back = Codec::MsgPack.decode_command(&msgpack).unwrap();
                let again = json_value(&encoded(|out| Codec::Json.encode_command(&back, out)));
                assert_eq!(again, case.command, "{} ({codec:?}, through MessagePack)", case.name);
            }
        }
    }

    #[test]
    fn bad_commands_are_answered_with_their_id_and_reason() {
        let file: File = read("commands.json");
        for case in file.errors {
            for (codec, bytes) in case.input.forms() {
                let name = format!("{} ({codec:?})", case.name);
                let error = codec.decode_command(&bytes).expect_err(&name);
                check_error(&name, &error, &case.code, &case.message_contains);
                assert_eq!(error.id.as_ref().map(id_value), case.id, "{name}: {error}");
            }
        }
    }

    #[test]
    fn batches_are_read_entry_by_entry() {
        let file: File = read("commands.json");
        for case in file.batches {
            for (codec, bytes) in case.input.forms() {
                let entries =
                    codec.decode_batch(&bytes).unwrap_or_else(|error| panic!("{}: {error}", case.name));
                assert_eq!(entries.len(), case.entries.len(), "{}", case.name);
                for (entry, expected) in entries.into_iter().zip(&case.entries) {
                    match expected {
                        Entry::Publish(expected) => {
                            let publish = Command { id: None, operation: Operation::Publish(entry.unwrap()) };
                            let mut map =
                                json_value(&encoded(|out| Codec::Json.encode_command(&publish, out)));
                            map.as_object_mut().unwrap().remove("op");
                            assert_eq!(map, *expected, "{}", case.name);
                        }
                        Entry::Error { code, message_contains } => {
                            check_error(&case.name, &entry.unwrap_err(), code, message_contains);
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn what_is_no_batch_is_refused_whole() {
        let file: File = read("commands.json");
        for case in file.batch_errors {
            for (codec, bytes) in case.input.forms() {
                let error = codec.decode_batch(&bytes).expect_err(&case.name);
                check_error(&case.name, &error, &case.code, &case.message_contains);
            }
        }
    }
}

mod replies {
    use super::*;

    #[derive(Deserialize)]
    struct File {
        replies: Vec<Said>,
        pushes: Vec<Said>,
        later_words: Vec<Lenient>,
        lenient: Vec<Lenient>,
        errors: Vec<Bad>,
        batch_answers: Vec<BatchAnswer>,
    }

    #[derive(Deserialize)]
    struct Said {
        name: String,
        kind: String,
        json: Text,
        msgpack: Text,
    }

    #[derive(Deserialize)]
    struct Lenient {
        name: String,
        json: Text,
        same_as: Text,
    }

    #[derive(Deserialize)]
    struct Bad {
        name: String,
        #[serde(flatten)]
        input: Input,
        message_contains: String,
        #[serde(default)]
        unknown: bool,
    }

    #[derive(Deserialize)]
    struct BatchAnswer {
        name: String,
        json: Text,
        msgpack: Text,
        entries: Vec<Entry>,
    }

    #[derive(Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Entry {
        Published {
            topic: String,
            epoch: String,
            offset: u64,
            subscribers: u64,
            #[serde(default)]
            duplicate: bool,
        },
        Error {
            code: String,
            message: String,
        },
    }

    fn encode(codec: Codec, said: &ServerMessage) -> String {
        let bytes = encoded(|out| match said {
            ServerMessage::Reply(reply) => codec.encode_reply(reply, out),
            ServerMessage::Push(push) => codec.encode_push(push, out),
        });
        text_of(codec, &bytes)
    }

    #[test]
    fn what_the_server_says_is_the_same_in_both_codecs() {
        let file: File = read("replies.json");
        for case in file.replies.iter().chain(&file.pushes) {
            let (json, msgpack) = (case.json.whole(), case.msgpack.whole());
            let from_json = Codec::Json.decode_server(json.as_bytes());
            let from_json = from_json.unwrap_or_else(|error| panic!("{}: {error}", case.name));
            let from_msgpack = Codec::MsgPack.decode_server(&case.msgpack.hex());
            let from_msgpack = from_msgpack.unwrap_or_else(|error| panic!("{}: {error}", case.name));
            for said in [&from_json, &from_msgpack] {
                let kind = if matches!(said, ServerMessage::Reply(_)) { "reply" } else { "push" };
                assert_eq!(kind, case.kind, "{}", case.name);
                assert_eq!(encode(Codec::Json, said), json, "{}", case.name);
                assert_eq!(encode(Codec::MsgPack, said), msgpack, "{}", case.name);
            }
        }
    }

    #[test]
    fn clients_ignore_what_they_do_not_know() {
        let file: File = read("replies.json");
        for case in file.lenient.into_iter().chain(file.later_words) {
            let said = Codec::Json.decode_server(case.json.whole().as_bytes()).expect(&case.name);
            let plain = Codec::Json.decode_server(case.same_as.whole().as_bytes()).expect(&case.name);
            assert_eq!(said, plain, "{}", case.name);
        }
    }

    #[test]
    fn clients_say_what_they_cannot_read() {
        let file: File = read("replies.json");
        for case in file.errors {
            for (codec, bytes) in case.input.forms() {
                let error = codec.decode_server(&bytes).expect_err(&case.name);
                assert_eq!(error.is_unknown(), case.unknown, "{} ({codec:?}): {error}", case.name);
                let message = error.to_string();
                assert!(message.contains(&case.message_contains), "{} ({codec:?}): {message}", case.name);
            }
        }
    }

    #[test]
    fn batches_are_answered_entry_by_entry() {
        let file: File = read("replies.json");
        for case in file.batch_answers {
            let entries: Vec<Result<Published, CommandError>> = case
                .entries
                .into_iter()
                .map(|entry| match entry {
                    Entry::Published { topic, epoch, offset, subscribers, duplicate } => Ok(Published {
                        topic: Topic::parse(&topic).unwrap(),
                        position: Position { epoch: epoch.parse().unwrap(), offset },
                        subscribers,
                        duplicate,
                    }),
                    Entry::Error { code, message } => {
                        Err(CommandError::new(ErrorCode::parse(&code).unwrap(), message))
                    }
                })
                .collect();
            for (codec, expected) in [(Codec::Json, &case.json), (Codec::MsgPack, &case.msgpack)] {
                let bytes = encoded(|out| codec.encode_batch(&entries, out));
                assert_eq!(text_of(codec, &bytes), expected.whole(), "{}", case.name);
            }
        }
    }
}

mod events {
    use topichub_protocol::event_id::EventId;

    use super::*;

    /// The events themselves are read by the server's unit tests and by the clients that have a reader.
    #[derive(Deserialize)]
    struct File {
        ids: Vec<Id>,
        errors: Vec<Bad>,
    }

    #[derive(Deserialize)]
    struct Id {
        name: String,
        text: Text,
        position: Option<Position>,
        positions: Option<Vec<At>>,
        written: Option<Text>,
    }

    #[derive(Deserialize)]
    struct At {
        topic: Text,
        #[serde(flatten)]
        position: Position,
    }

    #[derive(Deserialize)]
    struct Bad {
        name: String,
        text: Text,
        message_contains: String,
    }

    #[test]
    fn an_id_says_where_a_reader_stands() {
        let file: File = read("events.json");
        for case in file.ids {
            let each = |positions: Vec<At>| {
                let pair = |at: At| (Topic::parse(&at.topic.whole()).unwrap(), at.position);
                EventId::Each(positions.into_iter().map(pair).collect())
            };
            let expected = case.position.map(EventId::One).or(case.positions.map(each)).expect(&case.name);
            let text = case.text.whole();
            assert_eq!(text.parse().as_ref(), Ok(&expected), "{}", case.name);
            assert_eq!(
                expected.to_string(),
                case.written.as_ref().unwrap_or(&case.text).whole(),
                "{}",
                case.name
            );
        }
    }

    #[test]
    fn what_is_no_id_is_refused() {
        let file: File = read("events.json");
        for case in file.errors {
            let message = case.text.whole().parse::<EventId>().expect_err(&case.name).to_string();
            assert!(message.contains(&case.message_contains), "{}: {message}", case.name);
        }
    }
}

mod conversion {
    use super::*;

    #[derive(Deserialize)]
    struct File {
        values: Vec<Case>,
        bad_json: Vec<Bad>,
        bad_msgpack: Vec<Bad>,
    }

    #[derive(Deserialize)]
    struct Case {
        name: String,
        way: String,
        json: Text,
        msgpack: Text,
    }

    #[derive(Deserialize)]
    struct Bad {
        name: String,
        #[serde(flatten)]
        input: Input,
        message_contains: String,
    }

    fn payload(codec: Codec, bytes: Vec<u8>) -> Result<Payload, String> {
        match codec {
            Codec::Json => Payload::from_json(bytes.into()),
            Codec::MsgPack => Payload::from_msgpack(bytes.into()),
        }
        .map_err(|error| error.to_string())
    }

    #[test]
    fn payloads_become_in_the_other_codec_what_the_table_says() {
        let file: File = read("conversion.json");
        for case in file.values {
            let name = &case.name;
            let (json, msgpack) = (case.json.whole(), case.msgpack.whole());
            if case.way != "to_json" && case.way != "binary" {
                let payload = payload(Codec::Json, json.clone().into_bytes()).expect(name);
                assert_eq!(
                    text_of(Codec::MsgPack, &encoded(|out| payload.write_msgpack(out))),
                    msgpack,
                    "{name}"
                );
                assert_eq!(
                    text_of(Codec::Json, &encoded(|out| payload.write_json(out))),
                    json.trim(),
                    "{name}"
                );
            }
            if case.way != "to_msgpack" {
                let payload = payload(Codec::MsgPack, case.msgpack.hex()).expect(name);
                assert_eq!(payload.is_binary(), case.way == "binary", "{name}");
                assert_eq!(text_of(Codec::Json, &encoded(|out| payload.write_json(out))), json, "{name}");
                assert_eq!(
                    text_of(Codec::MsgPack, &encoded(|out| payload.write_msgpack(out))),
                    msgpack,
                    "{name}"
                );
            }
            assert!(["both", "to_json", "to_msgpack", "binary"].contains(&&*case.way), "{name}");
        }
    }

    #[test]
    fn what_is_no_payload_is_refused() {
        let file: File = read("conversion.json");
        for case in file.bad_json.iter().chain(&file.bad_msgpack) {
            for (codec, bytes) in case.input.forms() {
                let message = payload(codec, bytes).expect_err(&case.name);
                assert!(message.contains(&case.message_contains), "{}: {message}", case.name);
            }
        }
    }
}

mod codes {
    use super::*;

    #[derive(Deserialize)]
    struct File {
        errors: Vec<Error>,
        closes: Vec<Close>,
        other_closes: Vec<Close>,
        subprotocols: Vec<Subprotocol>,
        not_subprotocols: Vec<NotSubprotocol>,
        limits: Shared,
    }

    #[derive(Deserialize)]
    struct Error {
        code: String,
        retry: bool,
        http_status: u16,
    }

    #[derive(Deserialize)]
    struct Close {
        code: u16,
        reconnect: String,
    }

    #[derive(Deserialize)]
    struct Subprotocol {
        name: String,
        text: bool,
    }

    #[derive(Deserialize)]
    struct NotSubprotocol {
        name: String,
    }

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Shared {
        topic_bytes: u64,
        depth: u64,
        id_bytes: usize,
        topics_per_command: usize,
        batch: usize,
        message_bytes: u64,
        topics_per_session: u64,
        name_bytes: usize,
        meta_entries: usize,
        meta_bytes: usize,
        exclude: usize,
        replay_last: u64,
        replay_seconds: u64,
        replay_topics: usize,
        history_limit: u64,
        presence_data_bytes: usize,
        request_timeout_ms: u128,
    }

    #[test]
    fn error_codes_are_complete() {
        let file: File = read("codes.json");
        let words: Vec<_> = file.errors.iter().map(|error| error.code.as_str()).collect();
        assert_eq!(words, ErrorCode::ALL.map(ErrorCode::as_str));
        for case in file.errors {
            let code = ErrorCode::parse(&case.code).unwrap();
            assert_eq!((code.retry(), code.http_status()), (case.retry, case.http_status), "{code}");
        }
        assert_eq!(ErrorCode::parse("oops"), None);
    }

    #[test]
    fn close_codes_are_complete_and_carry_their_verdict() {
        let file: File = read("codes.json");
        let numbers: Vec<_> = file.closes.iter().map(|close| close.code).collect();
        assert_eq!(numbers, CloseCode::ALL.map(CloseCode::as_u16));
        for case in file.closes {
            let code = CloseCode::from_u16(case.code).unwrap();
            assert_eq!(Some(code.verdict()), Reconnect::parse(&case.reconnect), "{code}");
        }
        for case in file.other_closes {
            assert_eq!(CloseCode::from_u16(case.code), None, "{}", case.code);
            assert_eq!(Reconnect::after_close(case.code).as_str(), case.reconnect, "{}", case.code);
        }
    }

    #[test]
    fn subprotocols_are_complete() {
        let file: File = read("codes.json");
        let names: Vec<_> = file.subprotocols.iter().map(|each| each.name.as_str()).collect();
        assert_eq!(names, Codec::SUBPROTOCOLS);
        for case in file.subprotocols {
            let codec = Codec::from_subprotocol(&case.name).unwrap();
            assert_eq!(codec.is_text(), case.text);
            assert_eq!(codec.subprotocol(), case.name);
        }
        for case in file.not_subprotocols {
            assert_eq!(Codec::from_subprotocol(&case.name), None, "{}", case.name);
        }
    }

    #[test]
    fn the_limits_are_those_every_client_knows() {
        let limits = read::<File>("codes.json").limits;
        let Limits { message_bytes, topics_per_session, topic_bytes, depth } = Limits::default();
        assert_eq!((limits.topic_bytes, limits.depth), (topic_bytes, depth));
        assert_eq!((limits.message_bytes, limits.topics_per_session), (message_bytes, topics_per_session));
        assert_eq!(limits.depth, DEPTH_MAX as u64);
        assert_eq!(limits.id_bytes, ID_BYTES_MAX);
        assert_eq!((limits.topics_per_command, limits.batch), (TOPICS_PER_COMMAND_MAX, BATCH_MAX));
        assert_eq!((limits.name_bytes, limits.exclude), (NAME_BYTES_MAX, EXCLUDE_MAX));
        assert_eq!((limits.meta_entries, limits.meta_bytes), (META_ENTRIES_MAX, META_BYTES_MAX));
        assert_eq!((limits.replay_last, limits.replay_seconds), (REPLAY_LAST_MAX, REPLAY_SECONDS_MAX));
        assert_eq!((limits.replay_topics, limits.history_limit), (REPLAY_TOPICS_MAX, HISTORY_LIMIT_MAX));
        assert_eq!(limits.presence_data_bytes, PRESENCE_DATA_BYTES_MAX);
        assert_eq!(limits.request_timeout_ms, REQUEST_TIMEOUT_MAX.as_millis());
    }
}
