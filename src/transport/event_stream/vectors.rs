//! Events and ids against `protocol/vectors/events.json`, whose texts are described in the schema beside it.

use std::path::Path;

use serde::Deserialize;
use topichub_protocol::ServerMessage;
use topichub_protocol::codec::Codec;
use topichub_protocol::message::{Message, Position};
use topichub_protocol::push::Push;

use super::EventStream;
use super::event::encode;
use super::places::Places;

#[derive(Deserialize)]
struct File {
    events: Vec<Event>,
    streams: Vec<Stream>,
}

#[derive(Deserialize)]
struct Event {
    name: String,
    topics: Number,
    #[serde(default)]
    places: Vec<Position>,
    map: String,
    event: String,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Number {
    One,
    Several,
}

#[derive(Deserialize)]
struct Stream {
    name: String,
    steps: Vec<(Text, String)>,
    id: Text,
}

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
        let part = |part: &Part| match part {
            Part::Plain(text) => text.clone(),
            Part::Repeat { repeat, times } => repeat.repeat(*times),
        };
        match self {
            Self::Whole(text) => text.clone(),
            Self::Parts(parts) => parts.iter().map(part).collect(),
        }
    }
}

fn file() -> File {
    let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/protocol/vectors/events.json"));
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// A stream that waits for the answer to one command.
fn stream(topics: Number) -> EventStream {
    let commands: &[u8] = match topics {
        Number::One => br#"[{"topic":"ticker.AAPL"}]"#,
        Number::Several => br#"[{"topics":["a","b"]}]"#,
    };
    EventStream::new(&Codec::Json.decode_subscribes(commands).unwrap())
}

#[test]
fn each_map_becomes_the_event_of_its_vector() {
    let cases = file().events;
    assert!(cases.len() > 15, "{}", cases.len());
    for Event { name, topics, places, map, event } in cases {
        let mut stream = stream(topics);
        let written = match (Codec::Json.decode_server(map.as_bytes()).expect(&name), places.as_slice()) {
            (ServerMessage::Push(Push::Message { topic, payload, extras, .. }), [position]) => {
                encode(stream.class(), &Message { topic, position: *position, payload, extras }).into_vec()
            }
            (ServerMessage::Push(push), _) => stream.push(&push),
            (ServerMessage::Reply(reply), _) => stream.reply(&reply),
        };
        assert_eq!(String::from_utf8(written).unwrap(), event, "{name}");
    }
}

#[test]
fn a_stream_of_several_topics_comes_to_the_id_of_its_vector() {
    let cases = file().streams;
    assert!(cases.len() > 10, "{}", cases.len());
    for Stream { name, steps, id } in cases {
        let (mut places, mut event) = (Places::default(), Vec::new());
        for (topic, position) in &steps {
            let own = format!("id: {} {position}\ndata: {{}}\n\n", topic.whole());
            event.clear();
            places.readdress(own.as_bytes(), &mut event);
        }
        let expected = format!("id: {}\ndata: {{}}\n\n", id.whole());
        assert_eq!(String::from_utf8(event).unwrap(), expected, "{name}");
    }
}
