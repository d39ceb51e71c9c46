//! The stories of `vectors/sessions.json` (SPEC.md §22), played with a clock of our own and no network. What a step means
//! is said in `vectors/sessions.schema.json`.
#![allow(clippy::panic, clippy::indexing_slicing)]

use std::collections::{HashMap, VecDeque};
use std::io;
use std::path::Path;

use serde_json::{Map, Value, json};
use topichub_protocol::command::{self, PresenceOptions, PublishOptions};
use topichub_protocol::{Meta, Payload, Replay, SlowPolicy, Topic};

use super::*;
use crate::event::{Gap, Presence};

/// A Hub, and all that it has done and not been asked about.
struct Player {
    session: Session,
    now: Duration,
    /// What a string such as `$e` stands for.
    bound: HashMap<String, Value>,
    tokens: VecDeque<String>,
    connects: usize,
    said: VecDeque<Value>,
    /// Connections that the client has ended.
    ended: VecDeque<Option<u16>>,
    state: &'static str,
    readers: HashMap<String, ReaderId>,
    tickets: HashMap<String, Ticket>,
    events: HashMap<ReaderId, VecDeque<Value>>,
    ends: HashMap<ReaderId, Option<Error>>,
    settled: HashMap<Ticket, Result<Option<Reply>, Error>>,
    /// Of the last message of each reader.
    reply_to: HashMap<ReaderId, topichub_protocol::ReplyTo>,
    last: u64,
    fraction: f64,
}

fn options(connect: &Value) -> Options {
    let credential = if let Some(user) = connect["user"].as_str() {
        Proof::User(user.into())
    } else if let Some(token) = connect["token"].as_str() {
        Proof::Token(token.into())
    } else if connect["tokens"].is_array() {
        Proof::Callback
    } else {
        Proof::Nothing
    };
    Options {
        url: Arc::new("ws://127.0.0.1".parse().unwrap()),
        codec: Codec::Json,
        backoff: Backoff::default(),
        reconnects: true,
        offline: if connect["offline"] == "queue" { Offline::QUEUE } else { Offline::Reject },
        identity: Identity { credential, data: None },
    }
}

impl Player {
    fn start(connect: &Value, values: Map<String, Value>, fraction: f64) -> Self {
        let tokens = connect["tokens"].as_array().cloned().unwrap_or_default();
        let now = Duration::from_secs(1000); // as good as any
        let mut player = Self {
            session: Session::start(options(connect), Box::new(move || fraction), now),
            now,
            bound: values.into_iter().map(|(name, value)| (format!("${name}"), value)).collect(),
            tokens: tokens.iter().map(|token| token.as_str().unwrap().to_owned()).collect(),
            connects: 0,
            said: VecDeque::new(),
            ended: VecDeque::new(),
            state: "",
            readers: HashMap::new(),
            tickets: HashMap::new(),
            events: HashMap::new(),
            ends: HashMap::new(),
            settled: HashMap::new(),
            reply_to: HashMap::new(),
            last: 0,
            fraction,
        };
        player.carry_out();
        player
    }

    fn carry_out(&mut self) {
        while let Some(output) = self.session.poll_output() {
            match output {
                Output::FetchToken => {
                    let token = self.tokens.pop_front().ok_or(Error::Token("there are no more".into()));
                    self.session.token(token, self.now);
                }
                Output::Connect => self.connects += 1,
                Output::Send(bytes) => self.said.push_back(serde_json::from_slice(&bytes).unwrap()),
                Output::Disconnect(code) => self.ended.push_back(code),
                Output::State(state) => {
                    self.state = match state {
                        State::Connecting => "connecting",
                        State::Open { .. } => "open",
                        State::Waiting { .. } => "waiting",
                        State::Closed { .. } => "closed",
                    };
                }
                Output::Deliver(reader, event) => {
                    if let Event::Message(message) = &event
                        && let Some(reply_to) = message.reply_to()
                    {
                        self.reply_to.insert(reader, reply_to);
                    }
                    self.events.entry(reader).or_default().push_back(told(&event));
                }
                Output::End(reader, why) => {
                    assert!(self.ends.insert(reader, why).is_none(), "ended twice");
                }
                Output::Settle(ticket, outcome) => {
                    assert!(self.settled.insert(ticket, outcome).is_none(), "settled twice");
                }
            }
        }
    }

    /// The map with what its `$names` stand for.
    fn filled(&self, value: &Value) -> Value {
        match value {
            Value::String(text) if text.starts_with('$') => {
                self.bound.get(text).cloned().unwrap_or_else(|| value.clone())
            }
            Value::Array(items) => items.iter().map(|item| self.filled(item)).collect(),
            Value::Object(map) => {
                map.iter().map(|(key, item)| (key.clone(), self.filled(item))).collect::<Map<_, _>>().into()
            }
            other => other.clone(),
        }
    }

    fn server(&mut self, map: &Value) {
        let mut map = self.filled(map);
        if map["op"] == "welcome" {
            // SPEC.md §6 has them in every welcome; the stories leave out what they are not about.
            let map = map.as_object_mut().unwrap();
            map.entry("server").or_insert(json!("topichub/0.1.0"));
            map.entry("limits").or_insert(
                json!({"message_bytes": 65536, "topics_per_session": 128, "topic_bytes": 255, "depth": 64}),
            );
        }
        // In one of the rounds as our server writes it, in the others with the keys in another order.
        let text = if self.fraction == 0.0 { in_order(&map) } else { map.to_string() };
        self.session.text(&text, self.now);
    }

    fn client(&mut self, expected: &Value) {
        let said = self.said.pop_front().unwrap_or_else(|| panic!("nothing was said, for {expected}"));
        if let Some(name) = expected["id"].as_str() {
            assert!(said["id"].is_i64(), "{said}");
            self.bound.entry(name.to_owned()).or_insert_with(|| said["id"].clone());
        }
        assert_eq!(said, self.filled(expected));
    }

    /// The next attempt is planned within this range, whatever the dice say; the clock goes there.
    fn waits(&mut self, range: &Value) {
        let Phase::Waiting { until } = self.session.phase else { panic!("waits for nothing") };
        let wait = (until - self.now).as_millis() as u64;
        let (min, max) = (range[0].as_u64().unwrap(), range[1].as_u64().unwrap());
        let expected = min as f64 + (max - min) as f64 * self.fraction;
        assert!((wait as f64 - expected).abs() <= 1.0, "waits {wait} ms of {min} to {max}");
        self.advance(until - self.now);
    }

    fn advance(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(deadline) = self.session.deadline().filter(|deadline| *deadline <= end) {
            self.now = deadline.max(self.now);
            self.session.tick(self.now);
            self.carry_out();
            if matches!(self.session.phase, Phase::Waiting { .. }) {
                return; // for how long is another step's
            }
        }
        self.now = end;
    }

    fn app(&mut self, app: &Value) {
        if app["close"] == true {
            return self.session.close();
        }
        self.last += 1;
        let label = app["as"].as_str().unwrap_or_default().to_owned();
        let data = || Payload::of(&app["data"]).unwrap();
        let text = |key: &str| app[key].as_str();
        if let Some(name) = text("subscribe") {
            self.readers.insert(label, self.last);
            let options = subscribe_options(&app["options"]);
            self.session.subscribe(self.last, Filter::parse(name).unwrap(), options, self.now);
            return;
        }
        if let Some(of) = text("unsubscribe") {
            return self.session.unsubscribe(self.readers[of]);
        }
        self.tickets.insert(label, self.last);
        if let Some(of) = text("change") {
            let SubscribeOptions { echo, slow, interval, .. } = subscribe_options(&app["options"]);
            return self.session.change(self.readers[of], Served { echo, slow, interval }, self.last);
        }
        let operation = if let Some(topic) = text("publish") {
            let options = publish_options(&app["options"]);
            let topic = Topic::parse(topic).unwrap();
            Operation::Publish(command::Publish { topic, payload: data(), options })
        } else if let Some(topic) = text("request") {
            let (topic, timeout) = (Topic::parse(topic).unwrap(), command::REQUEST_TIMEOUT);
            Operation::Request(command::Request { topic, payload: data(), timeout })
        } else if let Some(of) = text("reply_to_last") {
            let reply_to = self.reply_to[&self.readers[of]];
            Operation::Answer(command::Answer { reply_to, payload: data() })
        } else {
            panic!("{app}");
        };
        self.session.order(Order { ticket: self.last, operation });
    }

    fn event(&mut self, expected: &Value) {
        let reader = self.readers[expected["of"].as_str().unwrap()];
        let events = self.events.entry(reader).or_default();
        let kinds = ["message", "gap", "presence", "subscribed"];
        let kind = *kinds.iter().find(|kind| expected.get(kind).is_some()).unwrap();
        loop {
            let event = events.pop_front().unwrap_or_else(|| panic!("nothing came, for {expected}"));
            let is = event["kind"].as_str().unwrap();
            if is != kind && matches!(is, "subscribed" | "presence") {
                continue;
            }
            assert_eq!(is, kind, "{event} for {expected}");
            let expected = expected[kind].as_object().unwrap().clone();
            for (key, value) in expected {
                let value = match value.as_str() {
                    Some(name) if name.starts_with('$') => self.bound[name].clone(),
                    _ => value,
                };
                assert_eq!(event[&key], value, "{key} of {event}");
            }
            return;
        }
    }

    fn settled(&mut self, expected: &Value) {
        let of = expected["of"].as_str().unwrap();
        let outcome = if let Some(reader) = self.readers.get(of) {
            match self.ends.remove(reader).unwrap_or_else(|| panic!("{of} goes on")) {
                Some(why) => Err(why),
                None => Ok(None),
            }
        } else {
            self.settled.remove(&self.tickets[of]).unwrap_or_else(|| panic!("{of} waits"))
        };
        match (outcome, expected.get("error"), expected.get("value")) {
            (Err(Error::ClosedByServer { code, .. }), Some(error), _) if error["code"].is_u64() => {
                assert_eq!(error["code"], code);
            }
            (Err(why), Some(error), _) => assert_eq!(error["code"], why.code(), "{why}"),
            (Ok(Some(Reply::Answer { payload, .. })), None, Some(value)) => {
                assert_eq!(payload.deserialize::<Value>().unwrap(), *value);
            }
            (Ok(Some(reply)), None, Some(value)) => {
                let mut text = Vec::new();
                Codec::Json.encode_reply(&reply, &mut text);
                let reply: Value = serde_json::from_slice(&text).unwrap();
                for (key, value) in value.as_object().unwrap() {
                    assert_eq!(reply[key], self.filled(value), "{key} of {reply}");
                }
            }
            (Ok(_), None, None) => {}
            (outcome, ..) => panic!("{of}: {outcome:?} for {expected}"),
        }
    }

    fn no_event(&self, of: &Value) {
        let reader = self.readers[of.as_str().unwrap()];
        let events = self.events.get(&reader).into_iter().flatten();
        let rest: Vec<_> =
            events.filter(|event| event["kind"] == "message" || event["kind"] == "gap").collect();
        assert!(rest.is_empty(), "{rest:?}");
    }

    fn refuse(&mut self, refuse: &Value) {
        let status = refuse["status"].as_u64().unwrap() as u16;
        let code = refuse["code"].as_str().map(|code| format!(r#"{{"code":"{code}"}}"#).into_bytes());
        let mut response = tokio_tungstenite::tungstenite::http::Response::builder().status(status);
        if let Some(seconds) = refuse["retry_after_s"].as_u64() {
            response = response.header("Retry-After", seconds.to_string());
        }
        let response = response.body(code).unwrap();
        let refusal = crate::handshake::refusal_by_http(&self.session.options.url, &response);
        self.session.refused(refusal, self.now);
    }

    fn play(&mut self, step: &Value) {
        let (kind, what) = step.as_object().unwrap().iter().next().unwrap();
        match kind.as_str() {
            "open" => {
                assert!(matches!(self.session.phase, Phase::Connecting { .. }), "does not connect");
                self.session.opened(self.now);
            }
            "unreachable" => {
                let (url, source) = (Arc::clone(&self.session.options.url), io::ErrorKind::NotFound.into());
                let error = Error::Unreachable { url, source: Arc::new(source) };
                let (verdict, after) = (topichub_protocol::Reconnect::Later, Duration::ZERO);
                self.session.refused(Refusal { error, verdict, after, is_unauthorized: false }, self.now);
            }
            "refuse" => self.refuse(what),
            "server" => self.server(what),
            "server_any_order" => what.as_array().unwrap().iter().for_each(|map| self.server(map)),
            "server_text" => self.session.text(what.as_str().unwrap(), self.now),
            "client" => self.client(what),
            "client_close" => {
                let code = self.ended.pop_front().expect("the client has not ended the connection");
                if let Some(expected) = what["code"].as_u64() {
                    assert_eq!(code.map(u64::from), Some(expected));
                }
            }
            "close" => {
                let code = what["code"].as_u64().unwrap() as u16;
                let reason = what["reason"].as_str().unwrap_or_default().to_owned();
                self.session.ended(End::Closed { code, reason }, self.now);
            }
            "cut" => self.session.ended(End::Lost("cut".to_owned()), self.now),
            "waits" => self.waits(what),
            "advance" => self.advance(Duration::from_millis(what.as_u64().unwrap())),
            "app" => self.app(what),
            "event" => self.event(what),
            "event_any_order" => what.as_array().unwrap().iter().for_each(|event| self.event(event)),
            "no_event" => self.no_event(what),
            "settled" => self.settled(what),
            "state" => assert_eq!(self.state, what.as_str().unwrap()),
            "quiet" => assert!(self.said.is_empty(), "{:?}", self.said),
            "others" => {}
            other => panic!("nobody plays {other}"),
        }
        self.carry_out();
        let may_come_later = ["client", "server", "app", "advance", "settled", "event", "state"];
        assert!(self.said.is_empty() || may_come_later.contains(&kind.as_str()), "{:?} at {step}", self.said);
    }
}

/// What is read before the data first.
fn in_order(map: &Value) -> String {
    const FIRST: [&str; 5] = ["op", "topic", "offset", "epoch", "data"];
    let map = map.as_object().unwrap();
    let rank = |key: &str| FIRST.iter().position(|first| *first == key).unwrap_or(FIRST.len());
    let mut keys: Vec<_> = map.keys().collect();
    keys.sort_by_key(|key| rank(key));
    let members: Vec<_> = keys.into_iter().map(|key| format!("{}:{}", json!(key), map[key])).collect();
    format!("{{{}}}", members.join(","))
}

fn subscribe_options(options: &Value) -> SubscribeOptions {
    let replay = &options["replay"];
    let replay = if let Some(messages) = replay["last"].as_u64() {
        Some(Replay::Last(messages))
    } else if let Some(seconds) = replay["seconds"].as_u64() {
        Some(Replay::Seconds(seconds))
    } else {
        assert!(replay.is_null(), "nobody reads {replay}");
        None
    };
    SubscribeOptions {
        echo: options["echo"].as_bool().unwrap_or(true),
        replay,
        slow: options["slow"].as_str().and_then(SlowPolicy::parse),
        interval: options["max_rate"].as_f64().map(|rate| Duration::from_secs_f64(1.0 / rate)),
        presence: (options["presence"] == true).then_some(PresenceOptions {
            join: true,
            watch: true,
            data: None,
        }),
        group: options["group"].as_str().map(Box::from),
    }
}

fn publish_options(options: &Value) -> Option<Box<PublishOptions>> {
    let text = |key: &str| options[key].as_str().map(Box::from);
    let meta = options["meta"].as_object().map(|meta| {
        let entries = meta.iter().map(|(name, value)| (name.as_str().into(), value.as_str().unwrap().into()));
        Meta::new(entries.collect()).unwrap()
    });
    let options = PublishOptions {
        key: text("key"),
        meta,
        ttl: options["ttl_ms"].as_u64().map(Duration::from_millis),
        dedup: text("dedup"),
        if_offset: options["if_offset"].as_u64(),
        exclude: Vec::new(),
    };
    (options != PublishOptions::default()).then(|| Box::new(options))
}

/// An event in the words of the stories.
fn told(event: &Event) -> Value {
    match event {
        Event::Message(message) => {
            json!({"kind": "message", "topic": message.topic.as_str(), "offset": message.offset,
            "epoch": message.epoch.map(|epoch| epoch.to_string()), "data": message.json::<Value>().unwrap()})
        }
        Event::Gap(Gap { topic, epoch, range, why, .. }) => json!({"kind": "gap", "topic": topic.as_str(),
            "epoch": epoch.map(|epoch| epoch.to_string()), "from": range.map(|(from, _)| from),
            "to": range.map(|(_, to)| to), "why": why.as_str()}),
        Event::Subscribed(subscribed) => json!({"kind": "subscribed", "topic": subscribed.filter.as_str(),
            "replayed": subscribed.replayed, "recovered": subscribed.recovered}),
        Event::Presence(Presence::State(presence)) => {
            json!({"kind": "presence", "topic": presence.topic.as_str(), "count": presence.count})
        }
        Event::Presence(Presence::Change(change)) => {
            json!({"kind": "presence", "topic": change.topic.as_str(),
            "count": change.count, "change": true})
        }
    }
}

/// Plays one story; the dice show `fraction`.
fn play(story: &Value, fraction: f64) {
    let steps = story["steps"].as_array().unwrap();
    let at = steps.iter().position(|step| step.get("connect").is_some()).unwrap();
    let values = story["values"].as_object().cloned().unwrap_or_default();
    let mut player = Player::start(&steps[at]["connect"], values, fraction);
    for (number, step) in steps.iter().enumerate().skip(at + 1) {
        let played = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| player.play(step)));
        assert!(played.is_ok(), "step {number} of {}: {step}", story["name"]);
    }
    assert!(player.said.is_empty(), "{}: {:?} was said beyond the end", story["name"], player.said);
    assert!(player.ended.is_empty(), "{}: ended a connection beyond the end", story["name"]);
}

#[test]
fn what_was_read_of_a_connection_that_we_have_ended_is_passed_over() {
    let story = &stories()["sessions"][0];
    let at = story["steps"].as_array().unwrap().iter().find(|step| step.get("connect").is_some()).unwrap();
    let mut player = Player::start(&at["connect"], Map::new(), 0.0);
    player.session.subscribe(7, Filter::parse("a").unwrap(), SubscribeOptions::default(), player.now);
    player.session.opened(player.now);
    player.server(&json!({"op": "welcome", "session": "0f8b7a52-9d1c-4f6e-8a53-1c2d3e4f5a6b", "protocol": 1, "ping_ms": 25000}));
    player.carry_out();
    let id = player.said.back().unwrap()["id"].clone();
    player.server(&json!({"op": "subscribed", "id": id, "topic": "a", "epoch": "k", "offset": 0, "replayed": 0, "recovered": true}));
    player.server(&json!({"op": "message", "topic": "a", "offset": 1, "data": 1}));
    player.session.text("garbage", player.now);
    player.server(&json!({"op": "message", "topic": "a", "offset": 2, "data": 2}));
    player.carry_out();
    let offsets: Vec<_> = player.events[&7].iter().filter_map(|event| event["offset"].as_u64()).collect();
    assert_eq!((offsets, player.state), (vec![1], "waiting"));
}

fn stories() -> Value {
    let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../protocol/vectors/sessions.json"));
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

#[test]
fn the_client_lives_through_the_stories_of_the_vectors() {
    let file = stories();
    let stories = file["sessions"].as_array().unwrap();
    assert!(stories.len() > 30, "{}", stories.len());
    for story in stories {
        for fraction in [0.0, 0.5, 1.0] {
            play(story, fraction);
        }
    }
}
