//! The topic `clock`: the time of day, every 2.5 s.

use std::time::{Duration, SystemTime};

use serde_json::json;
use topichub::Hub;

const TOPIC: &str = "clock";
const EVERY: Duration = Duration::from_millis(2500);

pub(super) async fn run(hub: Hub) {
    let mut ticks = tokio::time::interval(EVERY);
    loop {
        ticks.tick().await;
        let time = humantime::format_rfc3339_millis(SystemTime::now()).to_string();
        if super::publish(&hub, TOPIC, &json!({ "time": time })).await.is_err() {
            return;
        }
    }
}
