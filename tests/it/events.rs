//! Sessions without a WebSocket: event streams and long polls, behind both doors (SPEC.md §21).

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use topichub::{HistoryRule, Settings, TopicRule};

use crate::raw_http::{answer, post, request, send};
use crate::sse::{Stream, maps, poll};
use crate::support::{Door, JSON, Server, wait_until};
use crate::tokens::Names;

/// Settings of a hub that remembers so many messages of each topic.
fn remembering(messages: usize) -> Settings {
    let mut settings = Settings::default();
    let history = HistoryRule::last(messages).up_to_bytes(64 << 20);
    settings.topics.push(TopicRule::new(">").unwrap().with_history(history));
    settings
}

async fn publish(server: &Server, topic: &str, numbers: impl IntoIterator<Item = u64>) -> String {
    let mut epoch = String::new();
    for number in numbers {
        epoch = server.hub.publish(topic, &number).await.unwrap().epoch.to_string();
    }
    epoch
}

#[actix_web::test]
async fn the_maps_of_a_session_come_as_events() {
    for door in Door::BOTH {
        let server = Server::start(door);
        let (mut stream, subscribed) = Stream::begun(&server, "/events?topic=a", "");
        for line in ["cache-control: no-store, no-transform", "x-accel-buffering: no", "vary: accept"] {
            assert!(stream.head.contains(line), "{door:?}: {}", stream.head);
        }
        assert_eq!(stream.retry, Some(1000));
        let epoch = subscribed.json()["epoch"].as_str().unwrap().to_owned();
        let place = json!({"op": "subscribed", "id": 1, "topic": "a", "epoch": epoch, "offset": 0, "replayed": 0, "recovered": true});
        assert_eq!((subscribed.json(), subscribed.id), (place, format!("{epoch}:0")));
        assert_eq!(server.hub.sessions(), 1);

        let lines = topichub::protocol::Payload::from_json("{\"a\":\r\n[1,\n2]}".into()).unwrap();
        server.hub.publish_payload(topichub::Topic::parse("a").unwrap(), lines).await.unwrap();
        let event = stream.next().unwrap();
        assert_eq!((event.name.as_str(), event.id), ("message", format!("{epoch}:1")));
        let message: Value = serde_json::from_str(&event.data).unwrap();
        let expected =
            json!({"op": "message", "topic": "a", "offset": 1, "epoch": epoch, "data": {"a": [1, 2]}});
        assert_eq!(message, expected, "{door:?}");
    }
}

#[actix_web::test]
async fn each_command_of_a_post_has_its_own_way() {
    for door in Door::BOTH {
        let server = Server::with(door, remembering(10));
        publish(&server, "scores.a", 1..=3).await;
        publish(&server, "chat", 1..=3).await;
        let commands = json!([
            {"op": "subscribe", "topic": "scores.*", "replay": {"last": 1}},
            {"topics": ["chat"], "presence": true, "slow": "drop"},
        ]);
        let mut stream = Stream::post(&server, "/events", "", &commands);
        let events: Vec<_> = (0..5).map(|_| stream.next().unwrap()).collect();
        let mut names: Vec<_> = events.iter().map(|event| event.name.as_str()).collect();
        assert_eq!(names.remove(0), "welcome");
        names.sort_unstable();
        assert_eq!(names, ["message", "presence", "subscribed", "subscribed"], "{door:?}");
        let answered = events.iter().filter(|event| event.name == "subscribed");
        let ids: Vec<_> = answered.map(|event| event.json()["id"].clone()).collect();
        assert_eq!(ids, [1, 2], "each says the number of its command");
        let message = events.iter().find(|event| event.name == "message").unwrap().json();
        assert_eq!((&message["topic"], &message["data"]), (&json!("scores.a"), &json!(3)));

        publish(&server, "chat", [4]).await;
        assert_eq!(stream.message(), 4);
        let words: Vec<_> = stream.last_id.split(' ').collect();
        let offset = |position: &'_ str| position.split(':').nth(1).unwrap().to_owned();
        let places: BTreeMap<_, _> = words.chunks(2).map(|pair| (pair[0], offset(pair[1]))).collect();
        assert_eq!(
            places,
            BTreeMap::from([("chat", "4".to_owned()), ("scores.a", "3".to_owned())]),
            "{door:?}"
        );
    }
}

/// Reads a stream that is cut again and again, after so many bytes as chance says, until every topic has counted to
/// `end`; what came of each.
fn read_with_cuts(
    server: &Server,
    path: &str,
    topics: usize,
    end: u64,
    mut chance: u64,
) -> BTreeMap<String, Vec<u64>> {
    let (mut read, mut id, mut cuts) = (BTreeMap::<String, Vec<u64>>::new(), String::new(), 0);
    let is_done = |read: &BTreeMap<String, Vec<u64>>| {
        read.len() == topics && read.values().all(|numbers| numbers.last() == Some(&end))
    };
    while !is_done(&read) {
        let headers = if id.is_empty() { String::new() } else { format!("Last-Event-ID: {id}\r\n") };
        let mut stream = Stream::open(server, path, &headers);
        stream.last_id.clone_from(&id);
        // Knuth's generator: which cuts those are is nothing to the story.
        chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        stream.cut_after(150 + (chance >> 33) as usize % 700);
        while !is_done(&read)
            && let Some(event) = stream.next()
        {
            assert_ne!(event.name, "gap", "history is long enough: {event:?}");
            if event.name == "message" {
                let message = event.json();
                let topic = message["topic"].as_str().unwrap().to_owned();
                read.entry(topic).or_default().push(message["data"].as_u64().unwrap());
            }
        }
        id = stream.last_id;
        cuts += 1;
        assert!(cuts < 5_000, "it does not get on: {id}");
    }
    assert!(cuts > 20, "{cuts} cuts are none to speak of");
    read
}

#[actix_web::test]
async fn after_cuts_at_any_byte_a_stream_goes_on_exactly_where_it_was() {
    const END: u64 = 400;
    let topics = ["n.a", "n.b", "n.ü%20"];
    for (door, path, count) in [
        (Door::A, "/events?topic=n.a&last=1000", 1),
        (Door::B, "/events?topic=n.a&last=1000", 1),
        (Door::A, "/events?topic=n.*&last=1000", 3),
        (Door::B, "/events?topic=n.*&last=1000", 3),
        (Door::A, "/events?topic=n.a&topic=n.b&last=1000&slow=drop", 2),
    ] {
        let server = Server::with(door, remembering(10_000));
        let read = std::thread::scope(|scope| {
            let reader = scope.spawn(|| read_with_cuts(&server, path, count, END, 7));
            let hub = server.hub.clone();
            scope.spawn(move || {
                actix_web::rt::System::new().block_on(async {
                    for number in 1..=END {
                        for topic in topics {
                            hub.publish(topic, &number).await.unwrap();
                        }
                    }
                });
            });
            reader.join().unwrap()
        });
        for (topic, numbers) in read {
            assert!(numbers.iter().copied().eq(1..=END), "{door:?} {path}: {topic} {numbers:?}");
        }
        wait_until("nobody is left behind", || server.hub.sessions() == 0);
    }
}

#[actix_web::test]
async fn who_asked_for_nothing_of_the_past_gets_none_of_it_when_it_comes_back() {
    for door in Door::BOTH {
        let server = Server::with(door, remembering(100));
        publish(&server, "old.a", 1..=5).await;
        publish(&server, "old.b", 1..=5).await;
        let (mut stream, _) = Stream::begun(&server, "/events?topic=old.*", "");
        publish(&server, "old.a", [6]).await;
        assert_eq!(stream.message(), 6);
        let id = stream.last_id.clone();
        drop(stream);
        publish(&server, "old.b", [6]).await;
        publish(&server, "old.new", [1]).await;
        let (mut stream, _) =
            Stream::begun(&server, "/events?topic=old.*", &format!("Last-Event-ID: {id}\r\n"));
        let mut missed = [stream.next().unwrap().json(), stream.next().unwrap().json()]
            .map(|map| map["topic"].to_string());
        missed.sort();
        assert_eq!(missed, ["\"old.b\"", "\"old.new\""], "{door:?}");
        publish(&server, "old.b", [7]).await;
        assert_eq!(stream.message(), 7, "{door:?}");
    }
}

#[actix_web::test]
async fn an_id_of_another_epoch_says_so_and_brings_what_there_is() {
    for door in Door::BOTH {
        let server = Server::with(door, remembering(100));
        let epoch = publish(&server, "a", 1..=3).await;
        for query in ["topic=a&after=zzz:2", "topic=a&after=a+zzz:2"] {
            let (mut stream, subscribed) = Stream::begun(&server, &format!("/events?{query}"), "");
            assert_eq!(subscribed.json()["recovered"], false, "{door:?}");
            assert_eq!(subscribed.id, "", "nothing has come yet");
            assert_eq!([stream.message(), stream.message(), stream.message()], [1, 2, 3]);
            assert!(stream.last_id.ends_with(&format!("{epoch}:3")), "{}", stream.last_id);
        }
    }
}

#[actix_web::test]
async fn what_history_no_longer_holds_is_a_gap_with_an_id() {
    for door in Door::BOTH {
        let server = Server::with(door, remembering(3));
        let epoch = publish(&server, "a", 1..=10).await;
        // The header wins over all that the query says of the past.
        let header = format!("Last-Event-ID: {epoch}:2\r\n");
        let (mut stream, subscribed) = Stream::begun(&server, "/events?topic=a&last=1", &header);
        assert_eq!((&subscribed.json()["recovered"], &*subscribed.id), (&json!(false), ""), "{door:?}");
        let gap = stream.next().unwrap();
        let expected =
            json!({"op": "gap", "topic": "a", "epoch": epoch, "from": 3, "to": 7, "why": "history"});
        assert_eq!((gap.name.as_str(), gap.json(), gap.id), ("gap", expected, format!("{epoch}:7")));
        assert_eq!([stream.message(), stream.message(), stream.message()], [8, 9, 10]);
    }
}

#[actix_web::test]
async fn a_reader_that_does_not_keep_up_is_treated_as_its_policy_says() {
    let filling = "x".repeat(60_000);
    for door in Door::BOTH {
        let mut settings = Settings::default();
        settings.outbox_bytes_max = 200_000;
        settings.close_timeout = Duration::from_millis(300);
        let server = Server::with(door, settings);
        let (mut latest, _) = Stream::begun(&server, "/events?topic=big&topic=small&slow=latest", "");
        let (dropping, _) = Stream::begun(&server, "/events?topic=big&slow=disconnect", "");
        // More than two kernels hold for a socket.
        for number in 1..=400 {
            server.hub.publish("big", &filling).await.unwrap();
            if number % 20 == 0 {
                server.hub.publish("small", &filling).await.unwrap();
            }
        }
        wait_until("the one who wants all is given up", || server.hub.sessions() == 1);
        let (mut told, mut gaps) = (BTreeMap::from([("big".to_owned(), 0), ("small".to_owned(), 0)]), 0);
        while told["big"] < 400 || told["small"] < 20 {
            let event = latest.next().expect("the newest comes in the end");
            let map = event.json();
            let offset = told.get_mut(map["topic"].as_str().unwrap()).unwrap();
            if event.name == "gap" {
                assert_eq!((&map["why"], map["from"].as_u64().unwrap()), (&json!("conflated"), *offset + 1));
                *offset = map["to"].as_u64().unwrap();
                gaps += 1;
            } else {
                *offset += 1;
                assert_eq!(map["offset"], *offset, "{door:?}");
            }
            // What has not come is in no id, though it may have been on its way.
            let words: Vec<_> = event.id.split(' ').collect();
            for pair in words.chunks(2) {
                let offset = told[pair[0]];
                assert!(pair[1].ends_with(&format!(":{offset}")), "{door:?}: {} at {told:?}", event.id);
            }
        }
        assert!(gaps > 0, "{door:?}: nothing was skipped");
        drop(dropping);
    }
}

#[actix_web::test]
async fn a_stream_ends_with_a_goodbye() {
    for door in Door::BOTH {
        let server = Server::with_authority(door, Settings::default(), Names::default());
        let as_user = |user: &str| format!("Authorization: Bearer {user}:>\r\n");
        let (mut kicked, _) = Stream::begun(&server, "/events?topic=a", &as_user("ada"));
        let (mut leaving, _) = Stream::begun(&server, "/events?topic=a", &as_user("bob"));
        assert_eq!(server.hub.disconnect_user("ada").await, 1);
        let goodbye = kicked.rest();
        assert_eq!((goodbye.len(), goodbye[0].name.as_str()), (1, "goodbye"), "{door:?}: {goodbye:?}");
        assert_eq!(
            (&goodbye[0].json()["code"], &goodbye[0].json()["reconnect"]),
            (&json!(4005), &json!("never"))
        );
        assert_eq!(server.hub.unsubscribe_user("bob", topichub::Filter::parse("a").unwrap()).await, 1);
        let unsubscribed = leaving.next().unwrap();
        assert_eq!(
            (unsubscribed.name.as_str(), unsubscribed.json()["code"].as_str()),
            ("unsubscribed", Some("forbidden"))
        );

        let (mut expiring, _) = Stream::begun(&server, "/events?topic=a", &as_user("eve!0.5"));
        let rest = expiring.rest();
        let names: Vec<_> = rest.iter().map(|event| event.name.as_str()).collect();
        assert_eq!(names, ["expiring", "goodbye"], "{door:?}");
        assert_eq!(rest[1].json()["code"], 4203);

        let drained = server.hub.drain(Duration::ZERO);
        let goodbye = leaving.rest().pop().unwrap().json();
        assert_eq!((&goodbye["code"], &goodbye["reconnect"]), (&json!(4201), &json!("now")), "{door:?}");
        assert_eq!((drained.await.cut, server.hub.sessions()), (0, 0));
        let refused = answer(send(&server, "GET", "/events?topic=a", &as_user("eve"), b""));
        assert_eq!((refused.status, refused.header("retry-after")), (503, "1"), "{door:?}");
    }
}

#[actix_web::test]
async fn comments_show_that_the_server_is_alive_and_nobody_answers_them() {
    let mut settings = Settings::default();
    settings.ping_interval = Duration::from_millis(100);
    settings.pong_timeout = Duration::from_millis(50);
    for door in Door::BOTH {
        let server = Server::with(door, settings.clone());
        let (mut stream, _) = Stream::begun(&server, "/events?topic=a", "");
        std::thread::scope(|scope| {
            let reading = scope.spawn(move || {
                let message = stream.message();
                (message, stream.comments)
            });
            let sent_bytes = || {
                let metrics = server.get("/metrics", "").1;
                let sent = metrics
                    .lines()
                    .find_map(|line| line.strip_prefix("topichub_websocket_sent_bytes_total "));
                sent.and_then(|sent| sent.parse::<u64>().ok()).filter(|sent| *sent > 0)
            };
            let mut before = None;
            wait_until("it is counted", || {
                before = sent_bytes();
                before.is_some()
            });
            wait_until("it was spoken to often enough", || sent_bytes() >= before.map(|before| before + 9));
            // Long after the time for a pong: the session is still there.
            assert_eq!(server.hub.sessions(), 1);
            post(&server, "/topics/a", "", b"7");
            let (message, comments) = reading.join().unwrap();
            assert_eq!(message, 7);
            assert!(comments >= 3, "{door:?}: {comments} comments");
        });
    }
}

#[actix_web::test]
async fn who_hangs_up_leaves_nothing_behind() {
    for door in Door::BOTH {
        let server = Server::start(door);
        let streams: Vec<_> = (0..20)
            .map(|number| Stream::begun(&server, &format!("/events?topic=a&topic=b.{number}.*"), ""))
            .collect();
        let polls: Vec<_> = (0..20)
            .map(|_| send(&server, "GET", "/events?topic=a&wait=60", "Accept: application/json\r\n", b""))
            .collect();
        wait_until("all are there", || server.hub.sessions() == 40);
        drop(streams);
        wait_until("the streams are gone", || server.hub.sessions() == 20);
        drop(polls);
        wait_until("the polls are gone", || server.hub.sessions() == 0);
        if door == Door::A {
            wait_until("their places are free", || {
                server.get("/metrics", "").1.contains("topichub_connections 1\n")
            });
        }
        wait_until("nothing is subscribed to", || {
            server.get("/metrics", "").1.contains("topichub_subscriptions 0\n")
        });
    }
}

#[actix_web::test]
async fn a_stream_is_a_session_like_any_other() {
    for door in Door::BOTH {
        let mut settings = Settings::default();
        settings.sessions_per_user_max = 2;
        let server = Server::with_authority(door, settings, Names::default());
        let (_one, _) = Stream::begun(&server, "/events?topic=a&topic=b", "Authorization: Bearer ada:>\r\n");
        let mut watching = server.connect_as("ada:>").await;
        watching.ask(json!({"op": "subscribe", "id": 1, "topic": "a", "presence": true})).await;
        let third = answer(send(&server, "GET", "/events?topic=a", "Authorization: Bearer ada:>\r\n", b""));
        assert_eq!((third.status, &third.json()["code"]), (409, &json!("limit_reached")), "{door:?}");
        let list = answer(send(&server, "GET", "/sessions", "Authorization: Bearer root:>\r\n", b"")).json();
        let sessions = list["sessions"].as_array().unwrap();
        let stream = sessions.iter().find(|session| session["protocol"] == "events").expect("it is listed");
        assert_eq!((&stream["user"], &stream["subscriptions"]), (&json!("ada"), &json!(2)), "{door:?}");
        wait_until("it is counted", || {
            let headers = "Authorization: Bearer root:>\r\n";
            server
                .get("/metrics", headers)
                .1
                .contains("topichub_sessions{protocol=\"events\",deflate=\"no\"} 1")
        });
    }
}

#[actix_web::test]
async fn a_rate_holds_on_a_stream_too() {
    let server = Server::start(Door::A);
    let (mut stream, _) = Stream::begun(&server, "/events?topic=a&max_rate=0.5", "");
    publish(&server, "a", 1..=9).await;
    assert_eq!((stream.message(), stream.message()), (json!(1), json!(9)));
}

#[actix_web::test]
async fn a_poll_is_answered_at_once_if_there_is_something_and_waits_if_not() {
    for door in Door::BOTH {
        let server = Server::with(door, remembering(100));
        let nothing = poll(&server, "/events?topic=a&wait=0", "");
        assert_eq!(maps(&nothing).len(), 0, "{door:?}");
        assert_eq!(
            (nothing.header("content-type"), nothing.header("cache-control")),
            ("application/json", "no-store")
        );
        let id = format!("Last-Event-ID: {}\r\n", nothing.header("last-event-id"));
        publish(&server, "a", 1..=3).await;
        let there = poll(&server, "/events?topic=a&wait=60", &id);
        assert_eq!(maps(&there).len(), 3, "{door:?}: what has been missed is no reason to wait");
        let id = format!("Last-Event-ID: {}\r\n", there.header("last-event-id"));
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| poll(&server, "/events?topic=a&wait=60", &id));
            wait_until("it waits", || server.hub.sessions() == 1);
            post(&server, "/topics/a", "", b"4");
            let message = maps(&waiting.join().unwrap()).remove(0);
            assert_eq!((&message["op"], &message["data"]), (&json!("message"), &json!(4)), "{door:?}");
        });
        let begin = std::time::Instant::now();
        let id = format!(
            "Last-Event-ID: {}\r\n",
            poll(&server, "/events?topic=a&wait=0", "").header("last-event-id")
        );
        assert_eq!(maps(&poll(&server, "/events?topic=a&wait=1", &id)).len(), 0);
        assert!(begin.elapsed() >= Duration::from_secs(1), "{door:?}");
        wait_until("nothing is left of them", || server.hub.sessions() == 0);
    }
}

#[actix_web::test]
async fn polls_one_after_the_other_bring_everything_once() {
    for door in Door::BOTH {
        let server = Server::with(door, remembering(1000));
        publish(&server, "n.a", 1..=250).await;
        publish(&server, "n.b", 1..=250).await;
        let (mut id, mut read) = (String::new(), BTreeMap::<String, Vec<u64>>::new());
        for number in 0..6 {
            let headers = if id.is_empty() { String::new() } else { format!("Last-Event-ID: {id}\r\n") };
            let answer = poll(&server, "/events?topic=n.*&last=1000&wait=0", &headers);
            let maps = maps(&answer);
            assert_eq!(maps.len(), if number < 5 { 100 } else { 0 }, "{door:?}: answer {number}");
            for message in maps {
                let topic = message["topic"].as_str().unwrap().to_owned();
                read.entry(topic).or_default().push(message["data"].as_u64().unwrap());
            }
            answer.header("last-event-id").clone_into(&mut id);
        }
        assert!(
            read.len() == 2 && read.values().all(|numbers| numbers.iter().copied().eq(1..=250)),
            "{door:?}"
        );
    }
}

#[actix_web::test]
async fn an_answer_has_an_end_in_bytes_too() {
    let server = Server::with(Door::A, remembering(1000));
    let filling = "x".repeat(60_000);
    for _ in 0..40 {
        server.hub.publish("big", &filling).await.unwrap();
    }
    let (mut read, mut id) = (0, String::new());
    while read < 40 {
        let answer = poll(&server, "/events?topic=big&last=100&wait=0&limit=1000", &id);
        assert!(answer.body.len() < 400_000, "{}", answer.body.len());
        let maps = maps(&answer);
        assert!(!maps.is_empty(), "it gets on");
        read += maps.len();
        id = format!("Last-Event-ID: {}\r\n", answer.header("last-event-id"));
    }
    assert_eq!(read, 40);
}

#[actix_web::test]
async fn a_poll_that_waits_is_sent_away_when_the_server_drains() {
    for door in Door::BOTH {
        let server = Server::start(door);
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| poll(&server, "/events?topic=a&wait=60", ""));
            wait_until("it waits", || server.get("/metrics", "").1.contains("topichub_subscriptions 1\n"));
            drop(server.hub.drain(Duration::ZERO));
            let goodbye = maps(&waiting.join().unwrap()).remove(0);
            assert_eq!((&goodbye["op"], &goodbye["code"]), (&json!("goodbye"), &json!(4201)), "{door:?}");
        });
    }
}

#[actix_web::test]
async fn what_cannot_be_is_refused_before_the_stream() {
    let mut settings = Settings::default();
    settings.commands_per_second_max = 3;
    for door in Door::BOTH {
        let server = Server::with_authority(door, settings.clone(), Names::default());
        let many: Vec<_> = (0..130).map(|number| format!("topic=b.{number}")).collect();
        let (many, long) = (many.join("&"), "x".repeat(4097));
        let commands = |count: usize| json!(vec![json!({"topic": "b"}); count]).to_string();
        let (four, none, too_many) = (commands(4), commands(0), commands(129));
        type Case<'a> = (&'a str, &'a str, &'a str, u16, &'a str, &'a str);
        let cases: [Case<'_>; 25] = [
            ("GET", "", "", 400, "bad_request", "\"topic\" is missing"),
            ("GET", "topic=a..b", "", 400, "invalid_topic", "a..b"),
            ("GET", "topic=b&last=1&seconds=1", "", 400, "bad_request", "exclude each other"),
            ("GET", "topic=b&last=10001", "", 400, "bad_request", "0 to 10000"),
            ("GET", "topic=b&slow=sometimes", "", 400, "bad_request", "latest-per-key"),
            ("GET", "topic=b&max_rate=0", "", 400, "bad_request", "0.1"),
            ("GET", "topic=b&echo=perhaps", "", 400, "bad_request", "true or false"),
            ("GET", "topic=b&group=g&last=1", "", 400, "bad_request", "exclude each other"),
            (
                "GET",
                "topic=b&after=1:2:3",
                "",
                400,
                "bad_request",
                "field \"after\": a position is EPOCH:OFFSET",
            ),
            ("GET", "topic=b&after=1:2:3", "", 400, "bad_request", "got \"1:2:3\""),
            ("GET", &format!("topic=b&after={long}"), "", 400, "bad_request", "4096"),
            ("GET", "topic=b&topic=b.c&after=k3v9:4", "", 400, "bad_request", "one topic"),
            ("GET", "topic=b&last=0&after=k3v9:4", "", 400, "bad_request", "exclude each other"),
            ("GET", "topic=secret", "", 403, "forbidden", "secret"),
            ("GET", "topic=$sys.stats", "", 403, "forbidden", "$sys"),
            ("GET", &many, "", 409, "limit_reached", "128"),
            ("POST", "", "{}", 400, "bad_request", "an array"),
            ("POST", "", &none, 400, "bad_request", "1 to 128"),
            ("POST", "", &too_many, 400, "bad_request", "got 129"),
            (
                "POST",
                "",
                r#"[{"topic":"b"},{"topic":1}]"#,
                400,
                "bad_request",
                "in command 2: field \"topic\"",
            ),
            ("POST", "", r#"[{"op":"publish","topic":"b"}]"#, 400, "bad_request", "must be \"subscribe\""),
            ("POST", "", r#"[{"topic":"b"},{"topic":"secret"}]"#, 403, "forbidden", "secret"),
            ("POST", "", r#"[{"topic":"b"},{"topic":"b"}]"#, 409, "already_subscribed", "b"),
            ("POST", "", &four, 429, "rate_limited", "3 commands"),
            ("POST", "after=k3v9:4", r#"[{"topic":"b"},{"topic":"b.c"}]"#, 400, "bad_request", "one topic"),
        ];
        for (method, query, body, status, code, words) in cases {
            let headers = format!("Authorization: Bearer ada:b,b.>\r\nContent-Length: {}\r\n", body.len());
            let refused =
                answer(send(&server, method, &format!("/events?{query}"), &headers, body.as_bytes()));
            let problem = refused.json();
            assert_eq!(
                (refused.status, &problem["code"]),
                (status, &json!(code)),
                "{door:?} {query} {problem}"
            );
            assert!(problem["detail"].as_str().unwrap().contains(words), "{problem}");
        }
        let refused = |path: &str, headers: &str| answer(send(&server, "GET", path, headers, b""));
        assert_eq!(refused("/events?topic=b", "").status, 401, "{door:?}");
        let known = "Authorization: Bearer ada:b,b.>\r\n";
        let foreign = refused("/events?topic=b", &format!("{known}Origin: https://evil.example\r\n"));
        assert_eq!((foreign.status, &foreign.json()["code"]), (403, &json!("forbidden")), "{door:?}");
        for (query, words) in [("group=g", "group"), ("wait=61", "0 to 60"), ("limit=0", "1 to 1000")] {
            let poll =
                refused(&format!("/events?topic=b&{query}"), &format!("{known}Accept: application/json\r\n"));
            assert_eq!(poll.status, 400, "{door:?} {query}");
            assert!(poll.json()["detail"].as_str().unwrap().contains(words), "{query}");
        }
        for (id, words) in [
            (b"\xff 7:1".as_slice(), "the header Last-Event-ID is not UTF-8"),
            (b"a b c", "the header Last-Event-ID: an event id is EPOCH:OFFSET"),
            (b"a b c", "got \"a b c\""),
        ] {
            let head = [b"Authorization: Bearer ada:b,b.>\r\nLast-Event-ID: ".as_slice(), id].concat();
            // As bytes: what is no UTF-8 is no text here either.
            let mut socket = server
                .request_raw("GET /events?topic=b HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n");
            std::io::Write::write_all(&mut socket, &[&head[..], b"\r\n\r\n"].concat()).unwrap();
            let refused = answer(socket);
            assert_eq!(refused.status, 400, "{door:?}");
            let problem = refused.json();
            assert!(problem["detail"].as_str().unwrap().contains(words), "{door:?} {problem}");
        }
        for method in ["HEAD", "PUT", "DELETE"] {
            let other = request(&server, method, "/events?topic=b", "", b"");
            assert_eq!((other.status, other.header("allow")), (405, "get, post"), "{door:?} {method}");
        }
        wait_until("nothing has come of any of them", || server.hub.sessions() == 0);
    }
}

#[actix_web::test]
async fn pages_of_allowed_origins_may_ask_in_either_way() {
    let mut settings = Settings::default();
    settings.allowed_origins = vec!["https://app.example.com".parse().unwrap()];
    for door in Door::BOTH {
        let server = Server::with(door, settings.clone());
        let asked = "Origin: https://app.example.com\r\nAccess-Control-Request-Method: POST\r\n\
                     Access-Control-Request-Headers: authorization, content-type, last-event-id\r\n";
        let preflight = answer(send(&server, "OPTIONS", "/events", asked, b""));
        assert_eq!(preflight.status, 204, "{door:?}");
        for name in ["authorization", "content-type", "last-event-id"] {
            assert!(preflight.header("access-control-allow-headers").contains(name), "{}", preflight.head);
        }
        let origin = "Origin: https://app.example.com\r\n";
        let (stream, _) = Stream::begun(&server, "/events?topic=a", origin);
        assert!(
            stream.head.contains("access-control-allow-origin: https://app.example.com"),
            "{}",
            stream.head
        );
        let answer = poll(&server, "/events?topic=a&wait=0", origin);
        assert!(answer.header("access-control-expose-headers").contains("last-event-id"), "{door:?}");
    }
}

#[actix_web::test]
async fn what_accept_says_chooses_the_form() {
    let server = Server::start(Door::A);
    for (accept, is_stream) in [
        ("text/event-stream", true),
        ("*/*", true),
        ("text/html, application/xml;q=0.9, */*;q=0.8", true),
        ("application/json, text/event-stream;q=0.5", false),
        ("text/event-stream, application/json", true),
        ("application/json", false),
        ("application/json;q=0, */*", true),
    ] {
        let socket = send(&server, "GET", "/events?topic=a&wait=0", &format!("Accept: {accept}\r\n"), b"");
        let mut socket = socket;
        let head = crate::support::read_head(&mut socket);
        assert_eq!(head.contains("text/event-stream"), is_stream, "{accept}: {head}");
    }
}

#[actix_web::test]
async fn behind_a_trusted_proxy_a_stream_counts_for_its_client() {
    let mut settings = Settings::default();
    settings.connections_per_address_max = 1;
    settings.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
    for door in Door::BOTH {
        let server = Server::with(door, settings.clone());
        let path = "/events?topic=a";
        let (ada, _) = Stream::begun(&server, path, "X-Forwarded-For: 203.0.113.1\r\n");
        let (_bob, _) = Stream::begun(&server, path, "X-Forwarded-For: 203.0.113.2\r\n");
        let again = answer(send(&server, "GET", path, "X-Forwarded-For: 203.0.113.1\r\n", b""));
        assert_eq!((again.status, &again.json()["code"]), (503, &json!("unavailable")), "{door:?}");
        drop(ada);
        wait_until("her place is free", || {
            let head = crate::support::read_head(&mut send(
                &server,
                "GET",
                path,
                "X-Forwarded-For: 203.0.113.1\r\n",
                b"",
            ));
            head.starts_with("HTTP/1.1 200 ")
        });
    }
}

#[actix_web::test]
async fn websockets_streams_and_polls_get_the_same_of_a_topic() {
    for door in Door::BOTH {
        let server = Server::with(door, remembering(100));
        let mut websocket = server.connect(JSON).await;
        websocket.ask(json!({"op": "subscribe", "id": 1, "topic": "a"})).await;
        let (mut one, _) = Stream::begun(&server, "/events?topic=a", "");
        let (mut many, _) = Stream::begun(&server, "/events?topic=a&topic=b", "");
        publish(&server, "a", 1..=3).await;
        let polled = maps(&poll(&server, "/events?topic=a&last=3&wait=0", ""));
        for expected in polled {
            assert_eq!(websocket.next().await, expected, "{door:?}");
            assert_eq!(one.next().unwrap().json(), expected, "{door:?}");
            assert_eq!(many.next().unwrap().json(), expected, "{door:?}");
        }
    }
}
