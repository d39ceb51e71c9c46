//! The HTTP side: publishing and its answers, behind both doors.

use std::io::Read;
use std::net::Shutdown;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use topichub::{HistoryRule, Settings, TopicRule};

use crate::raw_http::{Answer, answer, get, get_with, post, request, send};
use crate::support::{Door, JSON, MSGPACK, Server, wait_until};

#[actix_web::test]
async fn a_body_is_published_in_the_form_its_type_names() {
    for door in Door::BOTH {
        let server = Server::start(door);
        let mut reader = server.connect(JSON).await;
        reader.ask(json!({"op": "subscribe", "id": 1, "topic": "sports.*"})).await;
        let msgpack = rmp_serde::to_vec_named(&json!({"home": 3})).unwrap();
        type Case<'a> = (&'a str, &'a [u8], &'a str, Value);
        let cases: [Case<'_>; 6] = [
            ("application/json", br#" {"home":3} "#, "data", json!({"home": 3})),
            ("application/x-www-form-urlencoded", br#"{"home":3}"#, "data", json!({"home": 3})),
            ("", b"3", "data", json!(3)),
            ("application/vnd.score+json; charset=utf-8", b"[3]", "data", json!([3])),
            ("application/msgpack", &msgpack, "data", json!({"home": 3})),
            ("image/png", b"\x89PNG", "data_base64", json!("iVBORw==")),
        ];
        for (offset, (content_type, body, key, expected)) in cases.into_iter().enumerate() {
            let answer = post(&server, "/topics/sports.demo", content_type, body);
            assert_eq!(answer.status, 200, "{content_type}: {}", answer.head);
            assert_eq!(answer.json()["offset"], offset + 1);
            assert_eq!(reader.next().await[key], expected, "{content_type}");
        }
    }
}

#[actix_web::test]
async fn a_topic_in_the_path_may_be_percent_encoded() {
    let server = Server::start(Door::A);
    for (path, topic) in [("caf%C3%A9.x", "café.x"), ("a%2Fb", "a/b"), ("100%25", "100%")] {
        let answer = post(&server, &format!("/topics/{path}"), "application/json", b"1");
        assert_eq!(answer.json()["topic"], topic, "{path}");
    }
}

#[actix_web::test]
async fn what_is_wrong_is_said_in_a_problem_document() {
    for door in Door::BOTH {
        let server = Server::start(door);
        let long = format!("\"{}\"", "x".repeat(70_000));
        type Case<'a> = (&'a str, &'a str, &'a [u8], u16, &'a str, &'a str);
        let cases: [Case<'_>; 9] = [
            ("/topics/a..b", "", b"1", 400, "invalid_topic", "a..b"),
            ("/topics/a.*", "", b"1", 400, "invalid_topic", "a.*"),
            ("/topics/$sys.x", "", b"1", 403, "forbidden", "$sys"),
            ("/topics/a", "", b"{home:3}", 400, "bad_request", "not JSON"),
            ("/topics/a", "application/msgpack", b"\x92\x01", 400, "bad_request", "MessagePack"),
            ("/topics/a", "", long.as_bytes(), 413, "too_large", "65536"),
            ("/topics/a%FF", "", b"1", 400, "invalid_topic", "\"a%FF\" is not UTF-8"),
            ("/topics/a?key=%FF", "", b"1", 400, "bad_request", "\"%FF\" in the query is not UTF-8"),
            ("/publish", "image/png", b"1", 400, "bad_request", "got \"image/png\""),
        ];
        for (path, content_type, body, status, code, detail) in cases {
            let answer = post(&server, path, content_type, body);
            let problem = answer.json();
            assert_eq!((answer.status, &problem["status"]), (status, &json!(status)), "{path}: {problem}");
            assert!(answer.head.contains("content-type: application/problem+json"), "{}", answer.head);
            assert_eq!(problem["code"], code, "{problem}");
            assert!(problem["detail"].as_str().unwrap().contains(detail), "{problem}");
        }
    }
}

#[actix_web::test]
async fn a_batch_is_answered_entry_by_entry() {
    for door in Door::BOTH {
        let server = Server::start(door);
        let mut reader = server.connect(MSGPACK).await;
        reader.ask(json!({"op": "subscribe", "id": 1, "topic": ">"})).await;
        let batch =
            json!([{"topic": "a", "data": 1}, {"topic": "b..c", "data": 2}, {"topic": "a", "data": 3}, 4]);
        let answer = post(&server, "/publish", "application/json", batch.to_string().as_bytes());
        let entries = answer.json();
        assert_eq!((&entries[0]["offset"], &entries[2]["offset"]), (&json!(1), &json!(2)), "{entries}");
        assert_eq!(entries[1]["error"]["code"], "invalid_topic");
        assert_eq!(entries[3]["error"]["code"], "bad_request");
        assert_eq!(
            (reader.next().await["data"].clone(), reader.next().await["data"].clone()),
            (json!(1), json!(3))
        );

        let batch = rmp_serde::to_vec_named(&json!([{"topic": "a", "data": 5}])).unwrap();
        let answer = post(&server, "/publish", "application/msgpack", &batch);
        assert!(answer.head.contains("application/msgpack"), "{}", answer.head);
        let entries: Value = rmp_serde::from_slice(&answer.body).unwrap();
        assert_eq!(entries[0]["offset"], 3);

        let refused = post(&server, "/publish", "application/json", b"{}");
        assert_eq!((refused.status, &refused.json()["code"]), (400, &json!("bad_request")));
    }
}

#[actix_web::test]
async fn other_methods_and_addresses_are_told_so() {
    for door in Door::BOTH {
        let server = Server::start(door);
        assert_eq!(request(&server, "GET", "/healthz", "", b"").body, b"ok\n");
        assert_eq!(request(&server, "HEAD", "/healthz", "", b"").status, 200);
        for (method, path, allowed) in [
            ("GET", "/topics/a", "post"),
            ("GET", "/publish", "post"),
            ("POST", "/topics/a/messages", "get, head, delete"),
            ("DELETE", "/topics/a/presence", "get, head"),
        ] {
            let answer = request(&server, method, path, "", b"");
            assert_eq!((answer.status, answer.header("allow")), (405, allowed), "{method} {path}");
        }
        assert_eq!(request(&server, "GET", "/nowhere", "", b"").status, 404);
    }
}

#[actix_web::test]
async fn a_body_that_never_ends_is_given_up() {
    let mut settings = Settings::default();
    settings.handshake_timeout = std::time::Duration::from_millis(1500);
    for door in Door::BOTH {
        let server = Server::with(door, settings.clone());
        let head = "POST /topics/a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n[";
        let mut text = String::new();
        let _ = server.request_raw(head).read_to_string(&mut text);
        assert!(text.starts_with("HTTP/1.1 408 "), "{text}");
        assert!(text.contains("the body of the request did not come within the limit of 1.5s"), "{text}");
    }
}

/// A hub that remembers the last 100 messages of each topic, behind a door.
fn remembering(door: Door) -> Server {
    let mut settings = Settings::default();
    settings.topics.push(TopicRule::new(">").unwrap().with_history(HistoryRule::last(100)));
    Server::with(door, settings)
}

/// Publishes so many messages to the topic `a`, their data the offsets; the epoch.
fn publish_some(server: &Server, count: u64) -> String {
    let epoch = |published: Value| published["epoch"].as_str().unwrap().to_owned();
    (0..count).fold(String::new(), |_, _| epoch(post(server, "/topics/a", "", b"1").json()))
}

#[actix_web::test]
async fn the_query_of_a_post_says_what_a_command_says_beside_the_data() {
    for door in Door::BOTH {
        let server = remembering(door);
        let mut reader = server.connect(JSON).await;
        reader.ask(json!({"op": "subscribe", "id": 1, "topic": "a"})).await;
        let path = "/topics/a?key=AAPL+%26%20more&ttl_ms=60000&dedup=order%207&if_offset=0&colour=green";
        let first = post(&server, path, "", b"1").json();
        assert_eq!(first["offset"], 1, "{first}");
        assert_eq!(reader.next().await["key"], "AAPL & more");

        let mut again = first.clone();
        again["duplicate"] = json!(true);
        assert_eq!(post(&server, path, "", b"1").json(), again, "it is told where it is, if_offset or not");

        for (query, body) in [("dedup=order+7", b"2"), ("if_offset=0", b"2"), ("if_offset=2", b"2")] {
            let conflict = post(&server, &format!("/topics/a?{query}"), "", body);
            assert_eq!((conflict.status, &conflict.json()["code"]), (409, &json!("conflict")), "{query}");
        }
        assert_eq!(post(&server, "/topics/a?if_offset=1", "", b"2").json()["offset"], 2);
    }
}

#[actix_web::test]
async fn a_bad_query_is_told_with_name_limit_and_value() {
    let long = format!("key={}", "x".repeat(129));
    for door in Door::BOTH {
        let server = Server::start(door);
        for (query, words) in [
            (&*long, &["\"key\"", "128", "129"][..]),
            ("key=", &["\"key\"", "1 to 128", "got 0"]),
            ("key=a%00", &["\"key\"", "U+0000"]),
            ("key=%ff", &["UTF-8"]),
            ("dedup=a&dedup=b", &["\"dedup\"", "twice"]),
            ("ttl_ms=0", &["\"ttl_ms\"", "from 1", "got 0"]),
            ("ttl_ms=1.5", &["\"ttl_ms\"", "integer", "\"1.5\""]),
            ("if_offset=-1", &["\"if_offset\"", "from 0 to 2^53 - 1", "got -1"]),
        ] {
            let answer = post(&server, &format!("/topics/a?{query}"), "", b"1");
            said_no(&answer, 400, "bad_request", words, query);
        }
        let key = "key=".to_owned() + &"x".repeat(128);
        let offset = post(&server, &format!("/topics/a?{key}"), "", b"1").json()["offset"].clone();
        assert_eq!(offset, 1, "what was refused has no place in the topic");
    }
}

fn said_no(answer: &Answer, status: u16, code: &str, words: &[&str], what: &str) {
    let problem = answer.json();
    assert_eq!((answer.status, &problem["code"]), (status, &json!(code)), "{what}: {problem}");
    let detail = problem["detail"].as_str().unwrap();
    assert!(words.iter().all(|word| detail.contains(word)), "{what}: {detail}");
}

#[actix_web::test]
async fn what_was_published_can_be_read_page_by_page_in_both_directions() {
    for door in Door::BOTH {
        let server = remembering(door);
        let epoch = publish_some(&server, 7);
        for (query, offsets, more) in [
            ("".to_owned(), vec![1, 2, 3, 4, 5, 6, 7], false),
            ("limit=2".to_owned(), vec![6, 7], true),
            (format!("before={epoch}:6&limit=2"), vec![4, 5], true),
            (format!("before={epoch}:3"), vec![1, 2], false),
            (format!("after={epoch}:0&limit=3"), vec![1, 2, 3], true),
            (format!("after={epoch}%3A3"), vec![4, 5, 6, 7], false),
            (format!("after={epoch}:7&wait=0"), vec![], false),
        ] {
            let page = get(&server, &format!("/topics/a/messages?{query}"));
            let body = page.json();
            assert_eq!((page.status, page.offsets()), (200, offsets), "{query}: {body}");
            assert_eq!(
                (&body["topic"], &body["epoch"], &body["offset"]),
                (&json!("a"), &json!(epoch), &json!(7))
            );
            assert_eq!((&body["more"], &body["recovered"]), (&json!(more), &json!(true)), "{query}");
        }
    }
}

#[actix_web::test]
async fn a_page_says_of_a_message_what_its_publisher_said() {
    let server = remembering(Door::A);
    post(&server, "/topics/caf%C3%A9%2Fb?key=k", "", br#"{"home":3}"#);
    let batch = json!([{"topic": "café/b", "data_base64": "AAH/", "meta": {"from": "desk 4"}}]);
    post(&server, "/publish", "application/json", batch.to_string().as_bytes());
    let page = get(&server, "/topics/caf%C3%A9%2Fb/messages").json();
    assert_eq!(page["topic"], "café/b");
    let first = json!({"offset": 1, "data": {"home": 3}, "key": "k"});
    let second = json!({"offset": 2, "data_base64": "AAH/", "meta": {"from": "desk 4"}});
    assert_eq!(page["messages"], json!([first, second]));
}

#[actix_web::test]
async fn a_page_comes_in_the_notation_that_is_asked_for() {
    for door in Door::BOTH {
        let server = remembering(door);
        post(&server, "/topics/a", "", br#"{"home":3}"#);
        for (accept, expected) in [
            ("*/*", "application/json"),
            ("text/html", "application/json"),
            ("application/msgpack", "application/msgpack"),
            ("application/x-msgpack, */*;q=0.1", "application/msgpack"),
            ("application/msgpack;q=0.5, application/json", "application/json"),
            ("application/json;q=0.5, application/msgpack", "application/msgpack"),
            ("application/msgpack;q=0", "application/json"),
        ] {
            let page = get_with(&server, "/topics/a/messages", &format!("Accept: {accept}\r\n"));
            assert_eq!(page.header("content-type"), expected, "{accept}");
            assert_eq!(page.header("vary"), "accept");
            let json = expected.ends_with("json");
            let body: Value = if json { page.json() } else { rmp_serde::from_slice(&page.body).unwrap() };
            assert_eq!(body["messages"], json!([{"offset": 1, "data": {"home": 3}}]), "{accept}");
        }
    }
}

#[actix_web::test]
async fn a_page_that_the_client_has_is_not_sent_again() {
    for door in Door::BOTH {
        let server = remembering(door);
        let epoch = publish_some(&server, 3);
        let page = get(&server, "/topics/a/messages");
        let tag = page.header("etag");
        assert!(tag.starts_with('"') && tag.ends_with('"'), "{tag}");
        assert_eq!(page.header("cache-control"), "no-cache");

        for known in [tag.to_owned(), format!("W/{tag}"), format!("\"other\", {tag}"), "*".to_owned()] {
            let answer = get_with(&server, "/topics/a/messages", &format!("If-None-Match: {known}\r\n"));
            assert_eq!((answer.status, answer.body.len()), (304, 0), "{known}: {}", answer.head);
            assert_eq!((answer.header("etag"), answer.header("cache-control")), (tag, "no-cache"));
        }
        for unknown in ["\"other\"", "nonsense", ""] {
            let answer = get_with(&server, "/topics/a/messages", &format!("If-None-Match: {unknown}\r\n"));
            assert_eq!(answer.status, 200, "{unknown}");
        }
        let headers = format!("Accept: application/msgpack\r\nIf-None-Match: {tag}\r\n");
        assert_eq!(get_with(&server, "/topics/a/messages", &headers).status, 200, "it is another notation");

        // A page of the past stays what it is but for where the topic stands.
        let past = format!("/topics/a/messages?after={epoch}:0&limit=1");
        let tag = get(&server, &past).header("etag").to_owned();
        publish_some(&server, 1);
        assert_eq!(get_with(&server, &past, &format!("If-None-Match: {tag}\r\n")).json()["offset"], 4);
    }
}

#[actix_web::test]
async fn a_tag_changes_when_messages_are_no_longer_there() {
    let mut settings = Settings::default();
    settings.topics.push(TopicRule::new(">").unwrap().with_history(HistoryRule::last(3)));
    let server = Server::with(Door::A, settings);
    post(&server, "/topics/a?ttl_ms=1", "", b"1");
    let epoch = publish_some(&server, 2);
    let path = format!("/topics/a/messages?after={epoch}:0");
    wait_until("the first message is worth nothing any more", || get(&server, &path).offsets() == [2, 3]);
    let before = get(&server, &path);
    publish_some(&server, 2);
    let after = get(&server, &path);
    assert_eq!((after.offsets(), &after.json()["recovered"]), (vec![3, 4, 5], &json!(false)));
    assert_ne!(before.header("etag"), after.header("etag"));
}

#[actix_web::test]
async fn head_shows_what_get_would_without_the_body() {
    for door in Door::BOTH {
        let server = remembering(door);
        publish_some(&server, 1);
        for path in ["/topics/a/messages", "/topics/a/presence"] {
            let (full, bare) = (get(&server, path), answer(send(&server, "HEAD", path, "", b"")));
            assert_eq!((bare.status, bare.body.len()), (200, 0), "{path}");
            for name in ["etag", "content-type", "content-length"] {
                assert_eq!(bare.header(name), full.header(name), "{path}");
            }
        }
    }
}

#[actix_web::test]
async fn bad_positions_and_limits_are_refused_and_lost_ones_are_gone() {
    for door in Door::BOTH {
        let server = remembering(door);
        let epoch = publish_some(&server, 2);
        for (query, status, code, words) in [
            ("after=44".to_owned(), 400, "bad_request", &["\"after\"", "EPOCH:OFFSET", "\"44\""][..]),
            (format!("after={epoch}:-1"), 400, "bad_request", &["\"after\"", ":-1"]),
            (
                format!("after={epoch}:9007199254740992"),
                400,
                "bad_request",
                &["2^53 - 1", "9007199254740992"],
            ),
            (format!("before={epoch}"), 400, "bad_request", &["\"before\""]),
            (format!("after={epoch}:1&before={epoch}:2"), 400, "bad_request", &["\"after\"", "\"before\""]),
            ("limit=0".to_owned(), 400, "bad_request", &["\"limit\"", "from 1 to 1000", "got 0"]),
            ("limit=1001".to_owned(), 400, "bad_request", &["\"limit\"", "got 1001"]),
            ("limit=ten".to_owned(), 400, "bad_request", &["\"limit\"", "\"ten\""]),
            ("wait=1".to_owned(), 400, "bad_request", &["\"wait\"", "\"after\""]),
            (format!("before={epoch}:2&wait=1"), 400, "bad_request", &["\"wait\"", "\"after\""]),
            (format!("after={epoch}:2&wait=61"), 400, "bad_request", &["\"wait\"", "from 0 to 60", "61"]),
            (format!("after={epoch}:3"), 410, "unrecoverable", &["2", "3"]),
            (format!("after={epoch}:3&wait=60"), 410, "unrecoverable", &["2", "3"]),
            ("after=1:0&wait=60".to_owned(), 410, "unrecoverable", &[&epoch]),
            ("before=1:2".to_owned(), 410, "unrecoverable", &[&epoch]),
        ] {
            let answer = get(&server, &format!("/topics/a/messages?{query}"));
            said_no(&answer, status, code, words, &query);
        }
        for (path, status, code) in [
            ("/topics/a..b/messages", 400, "invalid_topic"),
            ("/topics/a.*/presence", 400, "invalid_topic"),
            ("/topics/a%FF/messages", 400, "invalid_topic"),
            ("/topics/$sys.clock/messages", 403, "forbidden"),
            ("/topics/%24sys.clock/presence", 403, "forbidden"),
        ] {
            said_no(&get(&server, path), status, code, &[], path);
        }
    }
}

#[actix_web::test]
async fn who_waits_is_answered_as_soon_as_there_is_something() {
    for door in Door::BOTH {
        let server = remembering(door);
        let epoch = publish_some(&server, 1);
        let mut end = 1;
        // A message that comes just before, while and just after the subscribing is never missed.
        let mut round = || {
            let path = format!("/topics/a/messages?after={epoch}:{end}&wait=60");
            let waiting = send(&server, "GET", &path, "", b"");
            let published = post(&server, "/topics/a", "", b"1").json();
            end += 1;
            let page = answer(waiting);
            assert_eq!((page.status, page.offsets()), (200, vec![end]), "{}", page.head);
            published["subscribers"] == 1
        };
        (0..30).for_each(|_| _ = round());
        wait_until("one waited already when the message came", round);
    }
}

#[actix_web::test]
async fn who_waits_for_nothing_gets_an_empty_page_in_the_end() {
    for door in Door::BOTH {
        let server = remembering(door);
        let epoch = publish_some(&server, 1);
        let begin = Instant::now();
        let page = get(&server, &format!("/topics/a/messages?after={epoch}:1&wait=1"));
        assert!(begin.elapsed() >= Duration::from_secs(1), "{:?}", begin.elapsed());
        assert_eq!((page.status, page.offsets()), (200, vec![]));
        assert_eq!((&page.json()["more"], &page.json()["recovered"]), (&json!(false), &json!(true)));
    }
}

#[actix_web::test]
async fn who_hangs_up_while_waiting_leaves_no_subscription() {
    for door in Door::BOTH {
        let server = remembering(door);
        let epoch = publish_some(&server, 1);
        let path = format!("/topics/a/messages?after={epoch}:1&wait=60");
        let mut waiting: Vec<_> = (0..10).map(|_| send(&server, "GET", &path, "", b"")).collect();
        // Those who came later have been answered, so these have at least begun.
        (0..10).for_each(|_| assert_eq!(get(&server, "/topics/a/messages").status, 200));
        for socket in &mut waiting {
            socket.shutdown(Shutdown::Write).unwrap();
            let mut bytes = Vec::new();
            assert_eq!(socket.read_to_end(&mut bytes).unwrap(), 0, "{}", String::from_utf8_lossy(&bytes));
        }
        wait_until("the subscriptions are gone", || {
            post(&server, "/topics/a", "", b"1").json()["subscribers"] == 0
        });
    }
}

#[actix_web::test]
async fn presence_says_who_is_there_and_creates_nothing() {
    for door in Door::BOTH {
        let server = Server::start(door);
        let empty = get(&server, "/topics/a/presence");
        assert_eq!(empty.json(), json!({"topic": "a", "count": 0, "sessions": 0, "members": []}));

        let mut member = server.connect(MSGPACK).await;
        member.ask(json!({"op": "authenticate", "id": 1, "user": "ann", "data": {"age": 7}})).await;
        member.ask(json!({"op": "subscribe", "id": 2, "topic": "a", "presence": {"watch": false}})).await;
        let ann = json!([{"user": "ann", "data": {"age": 7}}]);
        let there = get(&server, "/topics/a/presence");
        assert_eq!(there.json(), json!({"topic": "a", "count": 1, "sessions": 1, "members": ann}));

        let tag = there.header("etag");
        assert_ne!(tag, empty.header("etag"));
        let known = get_with(&server, "/topics/a/presence", &format!("If-None-Match: {tag}\r\n"));
        assert_eq!((known.status, known.body.len()), (304, 0));
        let packed = get_with(&server, "/topics/a/presence", "Accept: application/msgpack\r\n");
        assert_eq!(rmp_serde::from_slice::<Value>(&packed.body).unwrap(), there.json());

        drop(member);
        wait_until("ann has left", || {
            get(&server, "/topics/a/presence").header("etag") == empty.header("etag")
        });
    }
}
