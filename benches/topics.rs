//! What topics that remember cost in memory: a million topics that nobody uses, each with a last message, published by a
//! program that embeds the hub; and nine messages more in each of a tenth of them. It prints what this process's resident
//! memory has grown by, divided by the topics and by the messages. The allocator is the system's, not the binary's.
//!
//! ```sh
//! cargo bench --bench topics
//! cargo bench --bench topics -- --quick
//! ```

mod support;

use std::io;
use std::time::Duration;

use futures_util::future;
use support::process::resident_bytes_of;
use topichub::{HistoryRule, Hub, Payload, Settings, Topic, TopicRule};

/// How many messages are on their way at once.
const AT_ONCE: usize = 1000;

/// With the quotes of JSON.
const PAYLOAD_BYTES: usize = 100;

#[actix_web::main]
async fn main() -> io::Result<()> {
    let count = if support::is_quick() { 50_000 } else { 1_000_000 };
    let history = HistoryRule::last(10);
    let mut settings = Settings::default();
    settings.topics = vec![TopicRule::new(">").map_err(io::Error::other)?.with_history(history)];
    settings.history_bytes_max = 1 << 40;
    settings.topic_linger = Duration::from_secs(3600);
    let hub = Hub::start(settings).map_err(io::Error::other)?;

    publish(&hub, AT_ONCE, "warm").await?;
    let bare = resident_bytes()?;
    publish(&hub, count, "ticker").await?;
    let with_one = resident_bytes()?;
    for _ in 0..9 {
        publish(&hub, count / 10, "ticker").await?;
    }
    let with_more = resident_bytes()?;

    println!("Resident memory, {count} topics and messages of {PAYLOAD_BYTES} bytes");
    print("a topic with its last message", with_one - bare, count);
    print("a message more", with_more - with_one, count / 10 * 9);
    Ok(())
}

fn print(what: &str, bytes: u64, count: usize) {
    println!("{what:<30} {:>5.0} bytes ({} KiB)", bytes as f64 / count as f64, bytes / 1024);
}

fn resident_bytes() -> io::Result<u64> {
    resident_bytes_of(std::process::id())
}

/// Publishes one message to each topic.
async fn publish(hub: &Hub, count: usize, name: &str) -> io::Result<()> {
    for start in (0..count).step_by(AT_ONCE) {
        let published = (start..start + AT_ONCE).map(|number| async move {
            let topic = Topic::parse(&format!("{name}.{number:07}")).map_err(io::Error::other)?;
            let text = format!("\"{number:0width$}\"", width = PAYLOAD_BYTES - 2);
            let payload = Payload::from_json(text.into()).map_err(io::Error::other)?;
            hub.publish_payload(topic, payload).await.map_err(io::Error::other)
        });
        future::try_join_all(published).await?;
    }
    Ok(())
}
