//! What one delivery costs to a subscriber over an event stream, beside one over a WebSocket: one topic, 1,000
//! subscribers, payloads of 128 bytes, published one by one and in bursts of 16. The same server and client for all, in
//! turns; and event streams of two topics, of which one has the messages: there an id names both. The other is the same
//! for all, or another one for each. It prints
//! processor time (user and system) per delivery, and the memory of the server for each idle subscriber; the client
//! compares every byte that it gets with what it must get.
//!
//! ```sh
//! cargo bench --bench events
//! cargo bench --bench events -- --quick
//! ```

mod support;

use std::io::{self, Write};

use support::peer::Peer;
use support::process::{self, Server};
use support::stats::Samples;
use support::subscribers::{Expected, NUMBER, OWN, Subscribers};
use topichub::protocol::Codec;

const SUBSCRIBERS: usize = 1_000;
const BURST: u64 = 16;

/// Messages on fresh connections that are not measured, while TCP acknowledges every segment at once.
const WARM_UP: usize = 20;

/// How the messages come.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    WebSocket,
    Events,
    EventsOfTwo,
    EventsWithOwn,
}

const WAYS: [(Way, &str); 4] = [
    (Way::WebSocket, "websocket"),
    (Way::Events, "events"),
    (Way::EventsOfTwo, "events of two topics"),
    (Way::EventsWithOwn, "one for each alone"),
];

fn main() -> io::Result<()> {
    let (rounds, single, bursts, idle) =
        if support::is_quick() { (5, 50_000, 800_000, 2_000) } else { (9, 100_000, 1_600_000, 8_000) };
    process::leave_the_first_core()?;
    let mut hub = Hub::start()?;
    let mut costs: [[Samples; 2]; WAYS.len()] = Default::default();
    let mut ratios: [[Samples; 2]; WAYS.len()] = Default::default();
    for round in 0..rounds {
        let mut cost = [[0.0; 2]; WAYS.len()];
        // Each in turn is the first.
        for way in (0..WAYS.len()).map(|place| (place + round) % WAYS.len()) {
            cost[way] = hub.round(WAYS[way].0, single, bursts)?;
        }
        for way in 0..WAYS.len() {
            for form in 0..2 {
                costs[way][form].push(cost[way][form]);
                ratios[way][form].push(cost[way][form] / cost[0][form]);
            }
        }
    }
    println!(
        "Processor time of the server per delivery in µs, {SUBSCRIBERS} subscribers: median (least–most) of {rounds} rounds"
    );
    println!("{:<22}{:<22}{:<22}{:<22}{:<22}", "", "one by one", "ratio", "bursts of 16", "ratio");
    for (way, (_, name)) in WAYS.iter().enumerate() {
        let ([one, burst], [one_ratio, burst_ratio]) = (&costs[way], &ratios[way]);
        println!("{name:<22}{one:<22}{one_ratio:<22}{burst:<22}{burst_ratio:<22}");
    }
    println!("Resident memory of the server for each of {idle} idle subscribers to one topic");
    for (way, name) in WAYS {
        let server = Server::hub()?;
        let before = server.resident_bytes()?;
        let subscribers = subscribers(&server, way, idle)?.0;
        let kib = (server.resident_bytes()? - before) as f64 / 1024.0 / subscribers.len() as f64;
        println!("{name:<22}{kib:.2} KiB");
    }
    Ok(())
}

/// Fresh subscribers, and what stands before the offset in their ids.
fn subscribers(server: &Server, way: Way, count: usize) -> io::Result<(Subscribers, String)> {
    let topic = support::TOPIC;
    let (subscribers, id) = match way {
        Way::WebSocket => {
            let filter = support::topic()?.into();
            (Subscribers::of_hub(server, count, &[Codec::Json], Some(&filter))?, String::new())
        }
        Way::Events => Subscribers::of_events(server, count, topic)?,
        Way::EventsOfTwo => Subscribers::of_events(server, count, &format!("{topic}&topic=bench.other"))?,
        Way::EventsWithOwn => {
            Subscribers::of_events(server, count, &format!("{topic}&topic=bench.{NUMBER}"))?
        }
    };
    let words: Vec<_> = id.split(' ').collect();
    let epoch = |position: &str| position.split(':').next().unwrap_or_default().to_owned();
    let place = match words.as_slice() {
        // The topic that has messages comes last.
        [_, position, other, place] if way == Way::EventsWithOwn => {
            format!("{} {topic} {}", OWN.repeat(other.len() + 1 + place.len()), epoch(position))
        }
        [_, position, other, place] => format!("{other} {place} {topic} {}", epoch(position)),
        [position, ..] => epoch(position),
        [] => String::new(),
    };
    Ok((subscribers, place))
}

struct Hub {
    server: Server,
    publisher: Peer,
    published: u64,
}

impl Hub {
    fn start() -> io::Result<Self> {
        let server = Server::hub()?;
        let publisher = Peer::connect(&server, Codec::Json)?;
        Ok(Self { server, publisher, published: support::PUBLISHED })
    }

    fn round(&mut self, way: Way, single: usize, bursts: usize) -> io::Result<[f64; 2]> {
        let (mut subscribers, place) = subscribers(&self.server, way, SUBSCRIBERS)?;
        (0..WARM_UP).try_for_each(|_| self.publish(&mut subscribers, (way, &place), 1))?;
        let single = self.cost(&mut subscribers, (way, &place), 1, single)?;
        let bursts = self.cost(&mut subscribers, (way, &place), BURST, bursts)?;
        Ok([single, bursts])
    }

    fn cost(
        &mut self,
        subscribers: &mut Subscribers,
        form: (Way, &str),
        burst: u64,
        deliveries: usize,
    ) -> io::Result<f64> {
        self.publish(subscribers, form, burst)?;
        let (before, mut delivered) = (self.server.cpu_time()?, 0);
        while delivered < deliveries {
            self.publish(subscribers, form, burst)?;
            delivered += burst as usize * subscribers.len();
        }
        Ok((self.server.cpu_time()? - before).as_secs_f64() * 1e6 / delivered as f64)
    }

    /// Publishes a burst and waits until everybody has it.
    fn publish(
        &mut self,
        subscribers: &mut Subscribers,
        (way, place): (Way, &str),
        burst: u64,
    ) -> io::Result<()> {
        let numbers = self.published + 1..=self.published + burst;
        self.published += burst;
        let mut expected = Expected::default();
        for number in numbers.clone() {
            if way == Way::WebSocket {
                support::append_delivery(Codec::Json, number, &mut expected.json)?;
            } else {
                write!(expected.json, "id: {place}:{number}\ndata: ")?;
                support::append_message(Codec::Json, number, &mut expected.json)?;
                expected.json.extend_from_slice(b"\n\n");
            }
        }
        self.publisher.send(&numbers.map(support::publish).collect::<io::Result<Vec<_>>>()?)?;
        subscribers.receive(&expected)
    }
}
