//! A back end that publishes: one reading of a sensor after the other, each exactly once, whatever the network does.
//!
//! `cargo run -p topichub-client --example publisher -- ws://127.0.0.1:8080 plant.temperature 10`

use std::time::{Duration, SystemTime};

use serde::Serialize;
use topichub_client::{Offline, connect};

#[derive(Serialize)]
struct Reading {
    number: u32,
    celsius: f64,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let url = arguments.next().unwrap_or_else(|| "ws://127.0.0.1:8080".to_owned());
    let topic = arguments.next().unwrap_or_else(|| "plant.temperature".to_owned());
    let readings: u32 = arguments.next().map_or(Ok(10), |text| text.parse())?;

    // What is published without a connection waits for the next one.
    let mut hub = connect(&url).offline(Offline::QUEUE);
    if let Ok(token) = std::env::var("TOPICHUB_TOKEN") {
        hub = hub.token(&token);
    }
    let hub = hub.await?;

    // No other run has the same names, so that what is repeated after a loss is recognised, and nothing else is.
    let run = SystemTime::UNIX_EPOCH.elapsed()?.as_nanos();
    for number in 1..=readings {
        let reading = Reading { number, celsius: 20.0 + f64::from(number % 7) / 2.0 };
        let name = format!("{run}-{number}");
        let published =
            hub.publish(&topic, &reading).dedup(&name).key("line-1").ttl(Duration::from_secs(600)).await?;
        println!("reading {number} is at {}", published.position);
    }
    hub.close().await;
    Ok(())
}
