//! What must hold for every input: identity through each codec, agreement with other readers, and no panic.
#![allow(clippy::unwrap_used, reason = "a test may fail by unwrap, and so may what only tests call")]

use std::sync::Arc;
use std::time::Duration;

use proptest::collection::{btree_map, vec};
use proptest::option::of;
use proptest::prelude::*;
use serde::de::IgnoredAny;
use serde_json::Value;
use topichub_protocol::codec::syntax::SyntaxError;
use topichub_protocol::command::{MAX_RATE_RANGE, PRESENCE_DATA_BYTES_MAX};
use topichub_protocol::{
    Answer, Authenticate, Codec, Command, CommandError, CommandId, Credential, Epoch, ErrorCode, Extras,
    Filter, Gap, GapReason, Goodbye, History, HistoryPage, HistoryRange, Limits, Member, MemberId, Message,
    Meta, OneOrMany, Operation, Pattern, Payload, PayloadError, Position, Presence, PresenceChange,
    PresenceOptions, Publish, PublishOptions, Push, Replay, Replayed, Reply, ReplyTo, Request, ServerMessage,
    SlowPolicy, Subscribe, SubscribeOptions, Subscribed, Token, Topic, Unsubscribe, Welcome,
};

const CODECS: [Codec; 2] = [Codec::Json, Codec::MsgPack];

fn topic() -> impl Strategy<Value = Topic> {
    vec("[a-cé🎉\"\\\\$/]{1,3}", 1..5).prop_map(|tokens| Topic::parse(&tokens.join(".")).unwrap())
}

fn filter() -> impl Strategy<Value = Filter> {
    let token = prop_oneof![3 => "[a-c]{1,2}", 1 => Just("*".to_owned()), 1 => Just("$sys".to_owned())];
    let wild = (vec(token, 1..5), any::<bool>()).prop_map(|(mut tokens, rest)| {
        tokens.extend(rest.then(|| ">".to_owned()));
        Filter::parse(&tokens.join(".")).unwrap()
    });
    prop_oneof![topic().prop_map(Filter::Topic), wild]
}

fn small_topic() -> impl Strategy<Value = Topic> {
    let token = prop_oneof![4 => "[a-c]{1,2}", 1 => Just("$sys".to_owned())];
    vec(token, 1..5).prop_map(|tokens| Topic::parse(&tokens.join(".")).unwrap())
}

fn filters() -> impl Strategy<Value = OneOrMany<Filter>> {
    let many = vec(filter(), 1..6).prop_map(|filters| {
        let mut each_once: Vec<Filter> = Vec::new();
        for filter in filters {
            if !each_once.contains(&filter) {
                each_once.push(filter);
            }
        }
        OneOrMany::Many(each_once)
    });
    prop_oneof![filter().prop_map(OneOrMany::One), many]
}

fn id() -> impl Strategy<Value = CommandId> {
    let limit = 1_i64 << 53;
    prop_oneof![
        (-limit + 1..limit).prop_map(CommandId::Integer),
        (-300_i64..300).prop_map(CommandId::Integer),
        ".{0,20}".prop_map(|text| CommandId::Text(text.into())),
    ]
}

fn position() -> impl Strategy<Value = Position> {
    (any::<u64>(), 0..1_u64 << 53).prop_map(|(epoch, offset)| Position { epoch: Epoch(epoch), offset })
}

fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        (-200_i64..300).prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,40}".prop_map(Value::from),
        "[\\x00-\\x1f\"\\\\é🎉]{0,6}".prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 60, 20, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..20).prop_map(Value::from),
            vec((".{0,5}", inner), 0..18).prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
        ]
    })
}

fn json_payload() -> impl Strategy<Value = Payload> {
    json_value().prop_map(|value| Payload::of(&value).unwrap())
}

/// Payloads that a codec keeps as they are.
fn native_payload(codec: Codec) -> BoxedStrategy<Payload> {
    let binary = vec(any::<u8>(), 0..40).prop_map(|bytes| Payload::from_binary(bytes.into()));
    match codec {
        Codec::Json => prop_oneof![json_payload(), binary].boxed(),
        Codec::MsgPack => {
            let values = json_value();
            let value = values
                .prop_map(|value| Payload::from_msgpack(rmp_serde::to_vec(&value).unwrap().into()).unwrap());
            let tree = tree()
                .prop_filter_map("a nested key", |tree| Payload::from_msgpack(tree.bytes().into()).ok());
            prop_oneof![value, tree, binary].boxed()
        }
    }
}

fn name() -> impl Strategy<Value = Box<str>> {
    prop_oneof!["[ -~é🎉]{1,20}", "[a-z]{128}"].prop_map(Box::from)
}

fn meta() -> impl Strategy<Value = Meta> {
    let entries = btree_map(".{0,8}", ".{0,8}", 0..=16);
    let entries = entries.prop_map(|map| map.into_iter().map(|(name, value)| (name.into(), value.into())));
    entries.prop_map(|entries| Meta::new(entries.collect()).unwrap())
}

/// What is small enough for others to see, also once it has grown on its way into the other codec.
fn shown(codec: Codec) -> impl Strategy<Value = Option<Payload>> {
    let small = |data: &Payload| data.as_bytes().len() <= PRESENCE_DATA_BYTES_MAX / 16;
    of(native_payload(codec).prop_filter("others see little data", small))
}

fn millis(max: u64) -> impl Strategy<Value = Duration> {
    prop_oneof![1..=max, 1..=1000_u64].prop_map(Duration::from_millis)
}

fn credential() -> impl Strategy<Value = Credential> {
    prop_oneof![
        name().prop_map(Credential::User),
        ".{1,40}".prop_map(|token: String| Credential::Token(token.into())),
    ]
}

/// The interval of any rate, and of the rates people ask for.
fn interval() -> impl Strategy<Value = Duration> {
    let rates = prop_oneof![MAX_RATE_RANGE, (1..=1000_u16).prop_map(f64::from)];
    rates.prop_map(|rate| Duration::from_secs_f64(1.0 / rate))
}

fn presence_options(codec: Codec) -> impl Strategy<Value = PresenceOptions> {
    (any::<bool>(), any::<bool>(), shown(codec)).prop_map(|(join, watch, data)| PresenceOptions {
        join,
        watch,
        data,
    })
}

/// Options that may be asked for together, for these filters.
fn subscribe(codec: Codec) -> impl Strategy<Value = Subscribe> {
    let options = (any::<bool>(), of(prop::sample::select(SlowPolicy::ALL.to_vec())), of(interval()));
    let replay = prop_oneof![
        (0..=10_000_u64).prop_map(Replay::Last),
        (1..=31_622_400_u64).prop_map(Replay::Seconds),
        position().prop_map(Replay::After),
        btree_map(topic(), position(), 0..20).prop_map(Replay::AfterEach),
    ];
    let each = (filters(), options, of(replay), of(presence_options(codec)), of(name()));
    each.prop_map(|(filters, (echo, slow, interval), mut replay, mut presence, group)| {
        if group.is_some() {
            return Subscribe {
                filters,
                options: SubscribeOptions { echo, group, ..SubscribeOptions::default() },
            };
        }
        if filters.iter().any(|filter| matches!(filter, Filter::Pattern(_))) {
            presence = None;
        }
        if let (Some(Replay::After(position)), false) =
            (&replay, matches!(filters.as_slice(), [Filter::Topic(_)]))
        {
            replay = Some(Replay::AfterEach([(Topic::parse("a").unwrap(), *position)].into()));
        }
        Subscribe { filters, options: SubscribeOptions { echo, replay, slow, interval, presence, group } }
    })
}

fn publish(codec: Codec) -> impl Strategy<Value = Publish> {
    let names = (of(name()), of(name()), of(meta()));
    let numbers = (of(millis((1 << 53) - 1)), of(0..1_u64 << 53), vec(any::<u128>(), 0..5));
    let options = (names, numbers).prop_map(|((key, dedup, meta), (ttl, if_offset, exclude))| {
        let options = PublishOptions { key, meta, ttl, dedup, if_offset, exclude };
        (options != PublishOptions::default()).then(|| Box::new(options))
    });
    (topic(), native_payload(codec), options).prop_map(|(topic, payload, options)| Publish {
        topic,
        payload,
        options,
    })
}

fn command(codec: Codec) -> impl Strategy<Value = Command> {
    let range = prop_oneof![
        position().prop_map(HistoryRange::After),
        position().prop_map(HistoryRange::Before),
        Just(HistoryRange::Newest),
    ];
    let payload = || native_payload(codec);
    let operation = prop_oneof![
        3 => subscribe(codec).prop_map(Operation::Subscribe),
        1 => filters().prop_map(|filters| Operation::Unsubscribe(Unsubscribe { filters })),
        3 => publish(codec).prop_map(Operation::Publish),
        1 => (topic(), range, 1..=1000_u64)
            .prop_map(|(topic, range, limit)| Operation::History(History { topic, range, limit })),
        1 => topic().prop_map(Operation::Presence),
        1 => (credential(), shown(codec))
            .prop_map(|(credential, data)| Operation::Authenticate(Authenticate { credential, data })),
        1 => (topic(), payload(), millis(600_000)).prop_map(|(topic, payload, timeout)| {
            Operation::Request(Request { topic, payload, timeout })
        }),
        1 => (any::<u64>(), payload()).prop_map(|(reply_to, payload)| {
            Operation::Answer(Answer { reply_to: ReplyTo(reply_to), payload })
        }),
        1 => Just(Operation::Ping),
    ];
    (of(id()), id(), operation).prop_map(|(id, required, operation)| match operation {
        Operation::Request(_) => Command { id: Some(id.unwrap_or(required)), operation },
        operation => Command { id, operation },
    })
}

fn replayed() -> impl Strategy<Value = Replayed> {
    let positions = of(vec((topic(), position()), 0..20));
    (0..1_u64 << 53, any::<bool>(), positions).prop_map(|(messages, recovered, positions)| Replayed {
        messages,
        recovered,
        positions,
    })
}

fn subscribed() -> impl Strategy<Value = Subscribed> {
    (filter(), position(), of(replayed())).prop_map(|(filter, position, replay)| {
        let position = matches!(filter, Filter::Topic(_)).then_some(position);
        Subscribed { filter, position, replay }
    })
}

fn extras() -> impl Strategy<Value = Option<Arc<Extras>>> {
    (of(name()), of(meta()), of(any::<u64>().prop_map(ReplyTo))).prop_map(|(key, meta, reply_to)| {
        let extras = Extras { key, meta, reply_to };
        (extras != Extras::default()).then(|| Arc::new(extras))
    })
}

fn member_id() -> impl Strategy<Value = MemberId> {
    prop_oneof![name().prop_map(MemberId::User), any::<u128>().prop_map(MemberId::Session)]
}

fn members(codec: Codec) -> impl Strategy<Value = Vec<Member>> {
    vec((member_id(), shown(codec)).prop_map(|(id, data)| Member { id, data }), 0..4)
}

fn presence(codec: Codec) -> impl Strategy<Value = Presence> {
    (topic(), 0..1_u64 << 53, 0..1_u64 << 53, of(members(codec)))
        .prop_map(|(topic, count, sessions, members)| Presence { topic, count, sessions, members })
}

fn presence_change(codec: Codec) -> impl Strategy<Value = PresenceChange> {
    let members = of((members(codec), vec(member_id(), 0..4)));
    (topic(), 0..1_u64 << 53, 0..1_u64 << 53, members)
        .prop_map(|(topic, count, sessions, members)| PresenceChange { topic, count, sessions, members })
}

/// A page of messages; where their answers go is not told in it.
fn history_page(codec: Codec) -> impl Strategy<Value = HistoryPage> {
    let message = (0..1_u64 << 53, native_payload(codec), of(name()), of(meta()));
    let page = (topic(), position(), vec(message, 0..4), any::<bool>(), any::<bool>());
    page.prop_map(|(topic, position, messages, recovered, more)| {
        let message = |(offset, payload, key, meta)| {
            let extras = Extras { key, meta, reply_to: None };
            let extras = (extras != Extras::default()).then(|| Arc::new(extras));
            Message { topic: topic.clone(), position: Position { offset, ..position }, payload, extras }
        };
        let messages = messages.into_iter().map(message).collect();
        HistoryPage { topic, position, messages, recovered, more }
    })
}

fn gap() -> impl Strategy<Value = Gap> {
    let why = prop::sample::select(GapReason::ALL.to_vec());
    (topic(), position(), 0..1_u64 << 53, why).prop_map(|(topic, Position { epoch, offset }, to, why)| Gap {
        topic,
        epoch,
        from: offset,
        to,
        why,
    })
}

fn error_code() -> impl Strategy<Value = ErrorCode> {
    prop::sample::select(ErrorCode::ALL.to_vec())
}

fn server_message(codec: Codec) -> impl Strategy<Value = ServerMessage> {
    let wait = || (0..1_u64 << 50).prop_map(Duration::from_millis);
    let offset = 0..1_u64 << 53;
    let topics =
        prop_oneof![subscribed().prop_map(OneOrMany::One), vec(subscribed(), 1..5).prop_map(OneOrMany::Many)];
    let reply = prop_oneof![
        (id(), topics).prop_map(|(id, topics)| Reply::Subscribed { id, topics }),
        (id(), filters()).prop_map(|(id, topics)| Reply::Unsubscribed { id, topics }),
        (id(), topic(), position(), offset.clone(), any::<bool>()).prop_map(
            |(id, topic, position, subscribers, duplicate)| Reply::Published {
                id,
                topic,
                position,
                subscribers,
                duplicate,
            }
        ),
        (id(), history_page(codec)).prop_map(|(id, page)| Reply::History { id, page }),
        (id(), presence(codec)).prop_map(|(id, presence)| Reply::Presence { id, presence }),
        (id(), of(name()), of(wait())).prop_map(|(id, user, expires)| Reply::Authenticated {
            id,
            user,
            expires
        }),
        (id(), native_payload(codec)).prop_map(|(id, payload)| Reply::Answer { id, payload }),
        id().prop_map(|id| Reply::Replied { id }),
        of(id()).prop_map(|id| Reply::Pong { id }),
        (of(id()), error_code(), ".{0,40}", of(wait())).prop_map(|(id, code, message, after)| {
            let error = CommandError::new(code, message).with_id(id);
            Reply::Error(CommandError { after, ..error })
        }),
    ];
    let closes = 1000_u16..5000;
    let push = prop_oneof![
        (".{0,20}", ".{0,20}", offset.clone(), wait(), offset.clone()).prop_map(
            |(session, server, protocol, ping, message_bytes)| {
                let limits = Limits { message_bytes, ..Limits::default() };
                Push::Welcome(Welcome { session, server, protocol, ping, limits })
            }
        ),
        (topic(), offset, of(any::<u64>().prop_map(Epoch)), native_payload(codec), extras()).prop_map(
            |(topic, offset, epoch, payload, extras)| Push::Message { topic, offset, epoch, payload, extras }
        ),
        gap().prop_map(Push::Gap),
        presence(codec).prop_map(Push::Presence),
        presence_change(codec).prop_map(Push::PresenceChange),
        wait().prop_map(|within| Push::Expiring { within }),
        (filter(), error_code()).prop_map(|(filter, code)| Push::Unsubscribed { filter, code }),
        (closes, ".{0,40}", of(wait())).prop_map(|(code, reason, after)| Push::Goodbye(Goodbye {
            code,
            reason,
            after
        })),
    ];
    prop_oneof![reply.prop_map(ServerMessage::Reply), push.prop_map(ServerMessage::Push)]
}

/// Any MessagePack, in any of its forms.
#[derive(Clone, Debug)]
enum Tree {
    Scalar(Vec<u8>),
    Text(String, bool),
    Bytes(Vec<u8>, bool),
    Ext(i8, Vec<u8>),
    Array(Vec<Tree>, bool),
    Map(Vec<(Tree, Tree)>, bool),
}

impl Tree {
    fn bytes(&self) -> Vec<u8> {
        let head = |short: u8, long: u8, len: usize, is_long: bool| match is_long {
            true => [&[long][..], &(len as u32).to_be_bytes()].concat(),
            false => vec![short | len as u8],
        };
        match self {
            Self::Scalar(bytes) => bytes.clone(),
            Self::Text(text, long) => {
                [head(0xa0, 0xdb, text.len(), *long), text.clone().into_bytes()].concat()
            }
            Self::Bytes(bytes, false) => [&[0xc4, bytes.len() as u8], &bytes[..]].concat(),
            Self::Bytes(bytes, true) => [head(0, 0xc6, bytes.len(), true), bytes.clone()].concat(),
            Self::Ext(kind, bytes) => [&[0xc7, bytes.len() as u8, *kind as u8], &bytes[..]].concat(),
            Self::Array(items, long) => {
                let mut bytes = head(0x90, 0xdd, items.len(), *long);
                items.iter().for_each(|item| bytes.extend(item.bytes()));
                bytes
            }
            Self::Map(pairs, long) => {
                let mut bytes = head(0x80, 0xdf, pairs.len(), *long);
                pairs.iter().for_each(|(key, value)| bytes.extend([key.bytes(), value.bytes()].concat()));
                bytes
            }
        }
    }
}

fn tree() -> impl Strategy<Value = Tree> {
    let number = prop_oneof![
        any::<i64>().prop_map(|number| rmp_serde::to_vec(&number).unwrap()),
        any::<u64>().prop_map(|number| [&[0xcf][..], &number.to_be_bytes()].concat()),
        any::<u32>().prop_map(|bits| [&[0xca][..], &bits.to_be_bytes()].concat()),
        any::<u64>().prop_map(|bits| [&[0xcb][..], &bits.to_be_bytes()].concat()),
        prop::sample::select(vec![vec![0xc0], vec![0xc2], vec![0xc3], vec![0xff], vec![0xd0, 5]]),
    ];
    let leaf = prop_oneof![
        number.prop_map(Tree::Scalar),
        ("[\\x00-\\x1f\"\\\\aé🎉]{0,7}", any::<bool>()).prop_map(|(text, long)| Tree::Text(text, long)),
        (vec(any::<u8>(), 0..20), any::<bool>()).prop_map(|(bytes, long)| Tree::Bytes(bytes, long)),
        (any::<i8>(), vec(any::<u8>(), 0..20)).prop_map(|(kind, bytes)| Tree::Ext(kind, bytes)),
        prop::sample::select(vec![4, 8, 12])
            .prop_flat_map(|len| vec(any::<u8>(), len))
            .prop_map(|bytes| Tree::Ext(-1, bytes)),
    ];
    leaf.prop_recursive(4, 40, 8, |inner| {
        prop_oneof![
            (vec(inner.clone(), 0..8), any::<bool>()).prop_map(|(items, long)| Tree::Array(items, long)),
            (vec((inner.clone(), inner), 0..8), any::<bool>())
                .prop_map(|(pairs, long)| Tree::Map(pairs, long)),
        ]
    })
}

fn encoded(write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    write(&mut out);
    out
}

fn encode_server(codec: Codec, said: &ServerMessage) -> Vec<u8> {
    encoded(|out| match said {
        ServerMessage::Reply(reply) => codec.encode_reply(reply, out),
        ServerMessage::Push(push) => codec.encode_push(push, out),
    })
}

/// Every reader on the same bytes; what one of them takes must be writable.
fn read_with_everything(bytes: &[u8]) {
    for codec in CODECS {
        if let Ok(command) = codec.decode_command(bytes) {
            for other in CODECS {
                let again = encoded(|out| other.encode_command(&command, out));
                let read =
                    other.decode_command(&again).unwrap_or_else(|error| panic!("{error}: {command:?}"));
                assert!(other != codec || read == command, "{command:?} became {read:?}");
            }
        }
        if let Ok(said) = codec.decode_server(bytes) {
            for other in CODECS {
                let read = other.decode_server(&encode_server(other, &said));
                let read = read.unwrap_or_else(|error| panic!("{error}: {said:?}"));
                assert!(other != codec || read == said, "{said:?} became {read:?}");
            }
        }
        let _ = codec.decode_batch(bytes);
    }
    let payloads = [Payload::from_json(bytes.to_vec().into()), Payload::from_msgpack(bytes.to_vec().into())];
    for payload in payloads.into_iter().flatten() {
        let json = encoded(|out| payload.write_json(out));
        assert!(Payload::from_json(json.into()).is_ok(), "{payload:?}");
        let msgpack = encoded(|out| payload.write_msgpack(out));
        assert!(Payload::from_msgpack(msgpack.into()).is_ok(), "{payload:?}");
    }
}

/// Matching as the definition says it, token by token from the front.
fn matches_naively(pattern: &[&str], topic: &[&str]) -> bool {
    match (pattern.split_first(), topic.split_first()) {
        (Some((&">", [])), Some(_)) => true,
        (Some((&"*", pattern)), Some((_, topic))) => matches_naively(pattern, topic),
        (Some((ours, pattern)), Some((theirs, topic))) => ours == theirs && matches_naively(pattern, topic),
        (None, None) => true,
        _ => false,
    }
}

#[test]
fn the_worst_growth_is_within_what_is_announced() {
    let minus_zero = Payload::from_json("-0".into()).unwrap();
    assert_eq!(encoded(|out| minus_zero.write_msgpack(out)).len(), 9);
    // Extensions as keys of a map that is a key itself: quoted twice.
    let pairs = [0xd4, 0x80, 0x00, 0xc0].repeat(10_000);
    let bytes = [&[0x81, 0xde, 0x27, 0x10][..], &pairs, &[0xc0]].concat();
    let payload = Payload::from_msgpack(bytes.clone().into()).unwrap();
    let json = encoded(|out| payload.write_json(out));
    assert!(json.len() > 15 * bytes.len(), "not the worst any more: {} of {}", json.len(), bytes.len());
    assert!(json.len() <= 16 * bytes.len(), "{} of {}", json.len(), bytes.len());
}

proptest! {
    #[test]
    fn commands_survive_json(command in command(Codec::Json)) {
        let bytes = encoded(|out| Codec::Json.encode_command(&command, out));
        prop_assert_eq!(Codec::Json.decode_command(&bytes).unwrap(), command);
    }

    #[test]
    fn commands_survive_msgpack(command in command(Codec::MsgPack)) {
        let bytes = encoded(|out| Codec::MsgPack.encode_command(&command, out));
        prop_assert_eq!(Codec::MsgPack.decode_command(&bytes).unwrap(), command);
    }

    #[test]
    fn server_messages_survive_json(said in server_message(Codec::Json)) {
        prop_assert_eq!(Codec::Json.decode_server(&encode_server(Codec::Json, &said)).unwrap(), said);
    }

    #[test]
    fn server_messages_survive_msgpack(said in server_message(Codec::MsgPack)) {
        prop_assert_eq!(Codec::MsgPack.decode_server(&encode_server(Codec::MsgPack, &said)).unwrap(), said);
    }

    #[test]
    fn a_message_of_either_codec_is_read_in_both(
        topic in topic(),
        position in prop_oneof![position(), any::<u64>().prop_map(|epoch| Position { epoch: Epoch(epoch), offset: 1 })],
        payload in prop_oneof![native_payload(Codec::Json), native_payload(Codec::MsgPack)],
        extras in extras(),
    ) {
        let offset = position.offset;
        let epoch = (offset == 1).then_some(position.epoch);
        let message = Message { topic: topic.clone(), position, payload: payload.clone(), extras: extras.clone() };
        for codec in CODECS {
            let bytes = encoded(|out| codec.encode_message(&message, out));
            let pushed = ServerMessage::Push(Push::Message {
                topic: topic.clone(),
                offset,
                epoch,
                payload: payload.clone(),
                extras: extras.clone(),
            });
            prop_assert_eq!(&encode_server(codec, &pushed), &bytes);
            let said = codec.decode_server(&bytes).unwrap();
            let ServerMessage::Push(Push::Message { topic: to, offset: at, epoch: of, payload: got, extras: with }) = said else {
                panic!("no message: {said:?}");
            };
            prop_assert_eq!((to, at, of, with), (topic.clone(), offset, epoch, extras.clone()));
            prop_assert_eq!(got.is_binary(), payload.is_binary());
            let values = [&got, &payload].map(|payload| encoded(|out| payload.write_json(out)));
            let [got, sent] = values.map(|json| serde_json::from_slice::<Value>(&json).unwrap());
            prop_assert_eq!(got, sent);
        }
    }

    #[test]
    fn json_comes_back_from_msgpack_as_it_was(value in json_value()) {
        let payload = Payload::of(&value).unwrap();
        let msgpack = encoded(|out| payload.write_msgpack(out));
        prop_assert!(msgpack.len() <= 5 * payload.as_bytes().len());
        prop_assert_eq!(&rmp_serde::from_slice::<Value>(&msgpack).unwrap(), &value);
        let there = Payload::from_msgpack(msgpack.into()).unwrap();
        let json = encoded(|out| there.write_json(out));
        prop_assert_eq!(serde_json::from_slice::<Value>(&json).unwrap(), value);
    }

    #[test]
    fn json_without_blanks_says_the_same(value in json_value()) {
        let pretty = serde_json::to_vec_pretty(&value).unwrap();
        let payload = Payload::from_json(pretty.into()).unwrap();
        let line = encoded(|out| payload.write_json_line(out));
        prop_assert_eq!(line, serde_json::to_vec(&value).unwrap());
    }

    #[test]
    fn any_msgpack_becomes_json(tree in tree()) {
        let bytes = tree.bytes();
        let payload = match Payload::from_msgpack(bytes.clone().into()) {
            Ok(payload) => payload,
            Err(PayloadError::Syntax(SyntaxError::NestedKey { .. })) => return Ok(()),
            Err(error) => panic!("{error}: {tree:?}"),
        };
        let json = encoded(|out| payload.write_json(out));
        prop_assert!(json.len() <= 16 * bytes.len(), "{} of {}", json.len(), bytes.len());
        prop_assert!(serde_json::from_slice::<Value>(&json).is_ok(), "{}", String::from_utf8_lossy(&json));
        prop_assert!(Payload::from_json(json.into()).is_ok());
    }

    #[test]
    fn what_is_json_is_so_for_serde_json_too(text in "[\\[\\]{},:\"\\\\ud8Dc0e1E+\\-. \ntrufalsn]{0,24}") {
        let theirs = serde_json::from_str::<IgnoredAny>(&text).is_ok();
        match Payload::from_json(text.clone().into_bytes().into()) {
            Ok(_) => prop_assert!(theirs, "{text}"),
            Err(PayloadError::Syntax(SyntaxError::LoneSurrogate { .. })) => {}
            Err(error) => prop_assert!(!theirs, "{text}: {error}"),
        }
    }

    #[test]
    fn strings_are_read_as_serde_json_reads_them(text in "\"(\\\\u[dD8cC0]{4}|\\\\[nrtbf/\\\\\"]|[ -!#-\\[\\]-~é🎉]){0,6}\"") {
        let theirs = serde_json::from_str::<String>(&text);
        let ours = Payload::from_json(text.into_bytes().into());
        prop_assert_eq!(ours.is_ok(), theirs.is_ok());
        if let (Ok(ours), Ok(theirs)) = (ours, theirs) {
            let msgpack = encoded(|out| ours.write_msgpack(out));
            prop_assert_eq!(rmp_serde::from_slice::<String>(&msgpack).unwrap(), theirs);
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in vec(any::<u8>(), 0..200)) {
        read_with_everything(&bytes);
    }

    #[test]
    fn damaged_commands_are_read_or_refused(
        command in command(Codec::MsgPack),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
        cut in any::<prop::sample::Index>(),
    ) {
        for codec in CODECS {
            let mut bytes = encoded(|out| codec.encode_command(&command, out));
            read_with_everything(&bytes[..cut.index(bytes.len())]);
            let at = at.index(bytes.len());
            bytes[at] = byte;
            read_with_everything(&bytes);
        }
    }

    #[test]
    fn damaged_server_messages_are_read_or_refused(
        said in server_message(Codec::MsgPack),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        for codec in CODECS {
            let mut bytes = encode_server(codec, &said);
            let at = at.index(bytes.len());
            bytes[at] = byte;
            read_with_everything(&bytes);
        }
    }

    #[test]
    fn patterns_match_as_the_definition_says(filter in filter(), topic in small_topic()) {
        let pattern: Vec<_> = filter.as_str().split('.').collect();
        let tokens: Vec<_> = topic.tokens().collect();
        let wild_first = matches!(pattern[0], "*" | ">");
        let expected = matches_naively(&pattern, &tokens) && !(wild_first && topic.is_system());
        prop_assert_eq!(filter.matches(&topic), expected, "{} {}", filter, topic);
    }

    #[test]
    fn names_are_their_text(text in "[a*>. \t]{0,6}") {
        let parsed = (Filter::parse(&text).ok(), Topic::parse(&text).ok(), Pattern::parse(&text).ok());
        match parsed {
            (Some(Filter::Topic(filter)), Some(topic), None) => prop_assert_eq!(filter, topic),
            (Some(Filter::Pattern(filter)), None, Some(pattern)) => {
                let written: Vec<_> = pattern
                    .tokens()
                    .map(|token| match token {
                        Token::Literal(literal) => literal,
                        Token::One => "*",
                        Token::Rest => ">",
                    })
                    .collect();
                prop_assert_eq!(written.join("."), text);
                prop_assert_eq!(filter, pattern);
            }
            (None, None, None) => {}
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn epochs_are_their_text(number in any::<u64>()) {
        let epoch = Epoch(number);
        prop_assert_eq!(epoch.to_string().parse::<Epoch>().unwrap(), epoch);
        prop_assert_eq!(serde_json::to_string(&epoch).unwrap(), format!("\"{epoch}\""));
    }

    #[test]
    fn positions_are_their_text(position in position()) {
        prop_assert_eq!(position.to_string().parse::<Position>().unwrap(), position);
    }

    #[test]
    fn a_page_and_a_presence_over_http_are_the_replies_without_op_and_id(
        page in history_page(Codec::Json),
        presence in presence(Codec::Json),
    ) {
        let replies = [
            (encoded(|out| Codec::Json.encode_history(&page, out)), Reply::History { id: CommandId::Integer(1), page }),
            (
                encoded(|out| Codec::Json.encode_presence(&presence, out)),
                Reply::Presence { id: CommandId::Integer(1), presence },
            ),
        ];
        for (body, reply) in replies {
            let reply = encoded(|out| Codec::Json.encode_reply(&reply, out));
            let text = String::from_utf8(reply).unwrap();
            let (_, keys) = text.split_once("\"id\":1,").unwrap();
            prop_assert_eq!(String::from_utf8(body).unwrap(), format!("{{{keys}"));
        }
    }

    #[test]
    fn typed_payloads_come_back(pairs in vec((".{0,8}", any::<i32>()), 0..8)) {
        let payload = Payload::of(&pairs).unwrap();
        prop_assert_eq!(&payload.deserialize::<Vec<(String, i32)>>().unwrap(), &pairs);
        let there = Payload::from_msgpack(encoded(|out| payload.write_msgpack(out)).into()).unwrap();
        prop_assert_eq!(there.deserialize::<Vec<(String, i32)>>().unwrap(), pairs);
    }
}
