//! Recordings that are part of the binary (`examples/data`), replayed in a loop.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use topichub::protocol::PayloadError;
use topichub::{Hub, Payload, PublishError, Topic};

use super::Pace;

const STOCKS: &str = include_str!("../../examples/data/stocks.csv");
const MATCH: &str = include_str!("../../examples/data/match.ndjson");
const RESULTS: &str = include_str!("../../examples/data/results.ndjson");

/// From one price to the next; a symbol moves about twice a second.
const PRICE_EVERY: Duration = Duration::from_millis(90);

/// A minute of play.
const MATCH_UNIT: Duration = Duration::from_millis(300);

/// A day of the season.
const RESULTS_UNIT: Duration = Duration::from_millis(600);

/// Nobody should have to wait longer for something to happen, whatever the recording says.
const PAUSE_MAX: Duration = Duration::from_secs(3);

/// Messages, each with the pause before it.
#[derive(Debug, PartialEq)]
pub(super) struct Recording(Vec<Entry>);

#[derive(Debug, PartialEq)]
struct Entry {
    pause: Duration,
    topic: Topic,
    content: Content,
}

#[derive(Debug, PartialEq)]
enum Content {
    Recorded(Payload),
    Price(Price),
}

/// What is published of a price, with the `time` at which it is.
#[derive(Debug, PartialEq, Serialize)]
struct Price {
    symbol: &'static str,
    price: f64,
    date: &'static str,
    change: f64,
}

#[derive(Serialize)]
struct Timed<'a> {
    time: String,
    #[serde(flatten)]
    price: &'a Price,
}

/// A line of a recording that cannot be understood.
#[derive(Debug, PartialEq, thiserror::Error)]
#[error("line {line}: {what}")]
pub(super) struct BadLine {
    line: usize,
    what: String,
}

/// A line of `match.ndjson` and `results.ndjson`.
#[derive(Deserialize)]
struct Line<'a> {
    at: f64,
    topic: &'a str,
    #[serde(borrow)]
    data: &'a RawValue,
}

impl Recording {
    /// Prices of five companies and an index.
    pub(super) fn stocks() -> Result<Self, BadLine> {
        Self::of_prices(STOCKS)
    }

    /// A football match, event by event.
    pub(super) fn live_match() -> Result<Self, BadLine> {
        Self::of_lines(MATCH, MATCH_UNIT)
    }

    /// A season's results.
    pub(super) fn results() -> Result<Self, BadLine> {
        Self::of_lines(RESULTS, RESULTS_UNIT)
    }

    /// Lines `symbol,date,price` after a headline.
    fn of_prices(csv: &'static str) -> Result<Self, BadLine> {
        let mut last = HashMap::new();
        let lines = csv.lines().enumerate().skip(1);
        let entries = lines.map(|(index, line)| {
            let bad = |what: String| BadLine { line: index + 1, what };
            let mut fields = line.split(',');
            let (Some(symbol), Some(date), Some(price), None) =
                (fields.next(), fields.next(), fields.next(), fields.next())
            else {
                return Err(bad("not symbol,date,price".to_owned()));
            };
            let price: f64 = price.parse().map_err(|_| bad(format!("not a price: {price}")))?;
            let change = price - last.insert(symbol, price).unwrap_or(price);
            let change = (100.0 * change).round() / 100.0;
            let topic = Topic::parse(&format!("ticker.{symbol}")).map_err(|error| bad(error.to_string()))?;
            let content = Content::Price(Price { symbol, price, date, change });
            Ok(Entry { pause: PRICE_EVERY, topic, content })
        });
        entries.collect::<Result<_, _>>().map(Self)
    }

    /// Lines `{"at","topic","data"}`, `at` in a unit of their own.
    fn of_lines(ndjson: &str, unit: Duration) -> Result<Self, BadLine> {
        let mut before = None;
        let entries = ndjson.lines().enumerate().map(|(index, line)| {
            let bad = |what: String| BadLine { line: index + 1, what };
            let Line { at, topic, data } =
                serde_json::from_str(line).map_err(|error| bad(error.to_string()))?;
            // The first waits as long as any may, so that the end of the last round can be seen.
            let pause = before.map_or(PAUSE_MAX, |before| unit.mul_f64(f64::max(at - before, 0.0)));
            before = Some(at);
            let topic = Topic::parse(topic).map_err(|error| bad(error.to_string()))?;
            let data = data.get().as_bytes().to_vec();
            let payload = Payload::from_json(data.into()).map_err(|error| bad(error.to_string()))?;
            Ok(Entry { pause: pause.min(PAUSE_MAX), topic, content: Content::Recorded(payload) })
        });
        entries.collect::<Result<_, _>>().map(Self)
    }

    /// Publishes it again and again, until the hub stops.
    pub(super) async fn play(self, hub: Hub, pace: Pace) {
        for Entry { pause, topic, content } in self.0.iter().cycle() {
            if !pause.is_zero() {
                tokio::time::sleep(pace.of(*pause)).await;
            }
            let payload = match content.payload(SystemTime::now()) {
                Ok(payload) => payload,
                Err(error) => {
                    log::error!("the demo cannot write a message to {topic}: {error}");
                    return;
                }
            };
            match hub.publish_payload(topic.clone(), payload).await {
                Err(PublishError::HubStopped) => return,
                Err(error) => log::debug!("the demo could not publish to {topic}: {error}"),
                Ok(_) => {}
            }
        }
    }
}

impl Content {
    /// With the time in prices, so that who gets them later can tell when they were.
    fn payload(&self, now: SystemTime) -> Result<Payload, PayloadError> {
        match self {
            Self::Recorded(payload) => Ok(payload.clone()),
            Self::Price(price) => {
                let time = humantime::format_rfc3339_millis(now).to_string();
                Payload::of(&Timed { time, price })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(recording: &Recording, count: usize) -> Vec<(u128, &str, String)> {
        let tell = |entry: &Entry| {
            let mut data = Vec::new();
            entry.content.payload(SystemTime::UNIX_EPOCH).unwrap().write_json(&mut data);
            String::from_utf8(data).unwrap()
        };
        let entries = recording.0.iter().take(count);
        entries.map(|entry| (entry.pause.as_millis(), entry.topic.as_str(), tell(entry))).collect::<Vec<_>>()
    }

    #[test]
    fn every_recording_can_be_played() {
        assert_eq!(Recording::stocks().unwrap().0.len(), 683);
        assert_eq!(Recording::live_match().unwrap().0.len(), 78);
        assert_eq!(Recording::results().unwrap().0.len(), 380);
    }

    #[test]
    fn a_price_tells_its_time_and_change() {
        let recording =
            Recording::of_prices("symbol,date,price\nA,2000-01-01,10.1\nB,2000-01-01,5\nA,2000-02-01,9.8")
                .unwrap();
        let told = |symbol, price, date, change| {
            let time = r#""time":"1970-01-01T00:00:00.000Z""#;
            format!(r#"{{{time},"symbol":"{symbol}","price":{price:?},"date":"{date}","change":{change:?}}}"#)
        };
        let expected = [
            (90, "ticker.A", told("A", 10.1, "2000-01-01", 0.0)),
            (90, "ticker.B", told("B", 5.0, "2000-01-01", 0.0)),
            (90, "ticker.A", told("A", 9.8, "2000-02-01", -0.3)),
        ];
        assert_eq!(first(&recording, 3), expected);
    }

    #[test]
    fn pauses_are_kept_but_for_long_ones() {
        let lines =
            [0, 0, 2, 90].map(|at| format!(r#"{{"at":{at},"topic":"a.b","data":{{"n":{at}}}}}"#)).join("\n");
        let recording = Recording::of_lines(&lines, Duration::from_millis(500)).unwrap();
        let pauses: Vec<_> = first(&recording, 4).into_iter().map(|(pause, ..)| pause).collect();
        assert_eq!(pauses, [3000, 0, 1000, 3000]);
    }

    #[test]
    fn a_line_that_is_none_is_named() {
        assert_eq!(Recording::of_prices("head\nA,2000-01-01").unwrap_err().line, 2);
        assert_eq!(Recording::of_lines("{}", MATCH_UNIT).unwrap_err().line, 1);
    }
}
