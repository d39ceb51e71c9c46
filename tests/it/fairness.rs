//! A flood on one topic of a thread, and everybody else on the same thread.

use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use serde_json::json;
use topichub::Settings;

use crate::support::{Door, JSON, Server, masked};

/// Publishes as fast as the server takes it, until told to stop; the last to come is the count.
fn flood(server: &Server, stop: &Arc<AtomicBool>, sent: &Arc<AtomicU64>) -> std::thread::JoinHandle<()> {
    let mut socket = server.connect_raw(JSON);
    let (stop, sent) = (Arc::clone(stop), Arc::clone(sent));
    let command = masked(0x81, br#"{"op":"publish","topic":"flood","data":"as much as you can take"}"#);
    let batch = command.repeat(200);
    std::thread::spawn(move || {
        while !stop.load(Ordering::Relaxed) {
            socket.write_all(&batch).unwrap();
            sent.fetch_add(200, Ordering::Relaxed);
        }
    })
}

/// Takes all of the flood, until it ends.
fn drink(server: &Server) -> std::thread::JoinHandle<u64> {
    let mut socket = server.connect_raw(JSON);
    socket.write_all(&masked(0x81, br#"{"op":"subscribe","topic":"flood"}"#)).unwrap();
    std::thread::spawn(move || {
        let (mut drunk, mut buffer) = (0, vec![0; 1 << 16]);
        while let Ok(count @ 1..) = socket.read(&mut buffer) {
            drunk += count as u64;
        }
        drunk
    })
}

#[actix_web::test]
async fn a_flood_starves_neither_newcomers_nor_pings_nor_other_topics_of_its_thread() {
    for door in Door::BOTH {
        let server = Server::with_workers(door, Settings::default(), 1);
        let (stop, sent) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let drinkers: Vec<_> = (0..2).map(|_| drink(&server)).collect();
        let floods: Vec<_> = (0..2).map(|_| flood(&server, &stop, &sent)).collect();
        let mut calm = server.connect(JSON).await;
        calm.ask(json!({"op": "subscribe", "id": 1, "topic": "calm"})).await;
        for number in 1..=5 {
            let before = sent.load(Ordering::Relaxed);
            let mut newcomer = server.connect(JSON).await;
            assert_eq!(newcomer.ask(json!({"op": "ping", "id": 1})).await["op"], "pong");
            newcomer.send(json!({"op": "publish", "topic": "calm", "data": number})).await;
            assert_eq!(calm.next().await["data"], number, "{door:?}");
            // Were it over, nothing would have been shown.
            while sent.load(Ordering::Relaxed) == before {
                std::thread::yield_now();
            }
        }
        stop.store(true, Ordering::Relaxed);
        floods.into_iter().for_each(|flood| flood.join().unwrap());
        drop((calm, server));
        for drinker in drinkers {
            assert!(drinker.join().unwrap() > 100_000, "{door:?}: the flood was a trickle");
        }
    }
}
