//! Stories of the Rust client (`clients/rust`) and a real server, with a cable between them that can be cut.

use std::future::IntoFuture;
use std::time::Duration;

use tokio::time::timeout;
use topichub::{HistoryRule, Settings, TopicRule};
use topichub_client::{Backoff, Codec, Connect, Error, Event, Hub, Message, Offline, State, connect};

use crate::cable::Cable;
use crate::cli::{Run, offsets};
use crate::metrics::{metrics, wait_for};
use crate::support::{DEADLINE, Door, Server as Running};

/// Comes back soon.
fn soon(url: &str) -> Connect {
    let backoff = Backoff { base: Duration::from_millis(5), max: Duration::from_millis(50) };
    connect(url).backoff(backoff)
}

/// Waits, but not for ever.
async fn within<T>(what: impl Future<Output = T>) -> T {
    timeout(DEADLINE, what).await.expect("nothing came in time")
}

async fn wait_for_state(hub: &Hub, is_so: impl FnMut(&State) -> bool) -> State {
    let mut states = hub.states();
    within(states.wait_for(is_so)).await.unwrap().clone()
}

fn number(message: Option<Result<Message, Error>>) -> u64 {
    message.expect("the stream has ended").expect("a message").json().unwrap()
}

/// A server that remembers so many messages of each topic.
pub(crate) fn remembering(messages: usize) -> Running {
    let mut rule = TopicRule::new(">").unwrap();
    rule.history = HistoryRule::last(messages);
    let mut settings = Settings::default();
    settings.topics = vec![rule];
    Running::with(Door::A, settings)
}

#[actix_web::test]
async fn what_was_published_while_the_cable_was_cut_comes_when_it_is_mended() {
    for codec in [Codec::Json, Codec::MsgPack] {
        let server = remembering(1000);
        let cable = Cable::to(server.address);
        let hub = soon(&cable.url()).codec(codec).await.unwrap();
        let direct = connect(&format!("http://{}", server.address)).await.unwrap();
        let mut plain = hub.subscribe("count.plain").await.unwrap();
        let mut pattern = hub.subscribe("count.>").await.unwrap().events();

        let mut expected = Vec::new();
        let mut got: Vec<u64> = Vec::new();
        for round in 0..5_u64 {
            direct.publish("count.plain", &round).await.unwrap();
            assert_eq!(number(within(plain.next()).await), round);
            cable.unplug();
            wait_for_state(&hub, |state| matches!(state, State::Waiting { .. })).await;
            for missed in 0..10 {
                direct.publish("count.other", &(round * 100 + missed)).await.unwrap();
                expected.push(round * 100 + missed);
            }
            cable.plug();
            while got.len() < expected.len() {
                match within(pattern.next()).await.unwrap().unwrap() {
                    Event::Message(message) if message.topic.as_str() == "count.other" => {
                        got.push(message.json().unwrap());
                    }
                    Event::Gap(gap) => panic!("{gap:?}"),
                    _ => {}
                }
            }
        }
        assert_eq!(got, expected);
        within(hub.close()).await;
        assert!(within(plain.next()).await.is_none());
    }
}

#[actix_web::test]
async fn who_offers_compression_gets_the_same_in_fewer_bytes() {
    for codec in [Codec::Json, Codec::MsgPack] {
        let server = remembering(10);
        let hub = soon(&format!("ws://{}", server.address)).codec(codec).compression(true).await.unwrap();
        let sessions = format!("topichub_sessions{{protocol=\"{}\",deflate=\"yes\"}}", codec.subprotocol());
        wait_for(&server, &[(&sessions, 1.0)]);

        let mut texts = hub.subscribe("texts").await.unwrap();
        let published = ["short".to_owned(), "a line that comes again and again. ".repeat(1000)];
        for round in 0..20 {
            let text = &published[round % 2];
            server.hub.publish("texts", text).await.unwrap();
            let message = within(texts.next()).await.unwrap().unwrap();
            assert_eq!(&message.json::<String>().unwrap(), text);
        }
        // With `welcome` and `subscribed`.
        wait_for(&server, &[("topichub_websocket_messages_sent_total", 22.0)]);
        let sent = metrics(&server)["topichub_websocket_sent_bytes_total"];
        assert!(sent < 35_000.0, "{sent} bytes for 350,000");
    }
}

#[actix_web::test]
async fn a_request_is_answered_through_another_client() {
    let server = remembering(10);
    let url = format!("ws://{}", server.address);
    let asking = connect(&url).await.unwrap();
    let answering = connect(&url).codec(Codec::MsgPack).await.unwrap();
    let nobody = within(asking.request("sums", &[1, 2]).into_future()).await.unwrap_err();
    assert_eq!((nobody.code(), nobody.is_transient()), ("no_responders", true));

    let mut sums = answering.subscribe("sums").await.unwrap();
    let answer = async {
        let question = within(sums.next()).await.unwrap().unwrap();
        let sum: u64 = question.json::<Vec<u64>>().unwrap().iter().sum();
        answering.reply(&question, &sum).await.unwrap();
        answering.reply(&question, &sum).await.unwrap_err().code()
    };
    let (sum, again) = tokio::join!(asking.request("sums", &[1, 2]), answer);
    assert_eq!((sum.unwrap().deserialize::<u64>().unwrap(), again), (3, "conflict"));

    let page = asking.history("sums").limit(5).await.unwrap();
    assert_eq!((page.messages.len(), page.more), (1, false));
    assert_eq!(asking.presence("sums").await.unwrap().count, 0);
}

#[actix_web::test]
async fn what_is_changed_holds_after_a_loss() {
    let server = remembering(1000);
    let cable = Cable::to(server.address);
    let hub = soon(&cable.url()).await.unwrap();
    let direct = connect(&format!("ws://{}", server.address)).await.unwrap();
    let mut numbers = hub.subscribe("numbers").max_rate(0.1).await.unwrap();
    for number in 0..3_u64 {
        direct.publish("numbers", &number).await.unwrap();
    }
    assert_eq!(number(within(numbers.next()).await), 0);
    within(numbers.change().into_future()).await.unwrap();
    direct.publish("numbers", &3).await.unwrap();
    // Without a rate all that comes from now on does; what the rate skipped before is not missed.
    while number(within(numbers.next()).await) < 3 {}
    cable.cut();
    for number in 4..8_u64 {
        direct.publish("numbers", &number).await.unwrap();
    }
    for expected in 4..8 {
        assert_eq!(number(within(numbers.next()).await), expected);
    }
}

#[actix_web::test]
async fn a_publish_with_a_name_is_repeated_by_itself_and_published_once() {
    let server = remembering(1000);
    let cable = Cable::to(server.address);
    let hub = soon(&cable.url()).offline(Offline::QUEUE).await.unwrap();
    let direct = connect(&format!("ws://{}", server.address)).await.unwrap();
    let mut numbers = direct.subscribe("numbers").await.unwrap();
    for number in 0..50_u64 {
        let publish = hub.publish("numbers", &number).dedup(&format!("n-{number}")).start().unwrap();
        if number % 5 == 0 {
            cable.cut();
        }
        within(publish).await.unwrap();
    }
    for expected in 0..50 {
        assert_eq!(number(within(numbers.next()).await), expected);
    }
}

#[actix_web::test]
async fn the_publisher_of_the_examples_publishes_each_reading_once() {
    let server = remembering(100);
    let direct = connect(&format!("ws://{}", server.address)).await.unwrap();
    let mut readings = direct.subscribe("plant.temperature").await.unwrap();
    let binary = std::path::Path::new(env!("CARGO_BIN_EXE_topichub")).with_file_name("examples/publisher");
    assert!(binary.exists(), "build the examples first: cargo build --workspace --examples");
    let url = format!("http://{}", server.address);
    let output =
        tokio::task::spawn_blocking(move || std::process::Command::new(binary).arg(url).output().unwrap());
    for expected in 1..=10 {
        let reading = within(readings.next()).await.unwrap().unwrap();
        assert_eq!(reading.json::<serde_json::Value>().unwrap()["number"], expected);
        assert_eq!(reading.key(), Some("line-1"));
    }
    let output = within(output).await.unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(String::from_utf8(output.stdout).unwrap().lines().count(), 10);
}

#[actix_web::test]
async fn the_command_says_when_it_waits_and_goes_on_where_it_was() {
    let server = remembering(2);
    let cable = Cable::to(server.address);
    let direct = connect(&format!("ws://{}", server.address)).await.unwrap();
    direct.publish("orders", &1).await.unwrap();
    let run = Run::start(&["subscribe", &cable.url(), "orders", "orders.>", "--last", "1"]);
    run.error_with("subscribed to orders at ");
    assert_eq!(offsets(&[run.output()]), [1]);
    cable.unplug();
    run.error_with("; connecting again in ");
    for number in 2..=5 {
        direct.publish("orders", &number).await.unwrap();
    }
    cable.plug();
    let resumed = run.error_with("resumed orders at ");
    assert!(resumed.ends_with(": 2 messages were missed and follow"), "{resumed}");
    run.error_with("orders does not go back to that position");
    assert_eq!(run.error_with("gap in "), "gap in orders: 2 to 3 (history)");
    assert_eq!(offsets(&[run.output(), run.output()]), [4, 5]);
}
