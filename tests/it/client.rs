//! Stories of the Rust client (`clients/rust`) and a real server, with a cable between them that can be cut.

use std::time::Duration;

use tokio::time::timeout;
use topichub::{HistoryRule, Settings, TopicRule};
use topichub_client::{Backoff, Codec, Connect, Error, Event, Hub, Message, State, connect};

use crate::cable::Cable;
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
