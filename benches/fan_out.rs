//! What one delivery costs: one topic, 1,000 and 10,000 subscribers, payloads of 128 bytes, published one by one
//! (the next when all have got the last) and in bursts of 16 in one write. Beside it, in the same run and in turns, a
//! bare epoll program that sends the same bytes to as many sockets of the same client: the limit; and the same hub
//! where everybody has come by a token and may do what it says. The servers are on one core, the client is on another.
//! It prints processor time (user and system) per delivery for each, and how they compare; the client compares every
//! byte that it gets with what it must get.
//!
//! ```sh
//! cargo bench --bench fan_out
//! cargo bench --bench fan_out -- --quick
//! ```

mod support;

use std::io;

use support::limit;
use support::peer::Peer;
use support::process::{self, Server};
use support::stats::Samples;
use support::subscribers::{Expected, Subscribers};
use topichub::protocol::Codec;

/// Messages in one write of the publisher.
const BURST: u64 = 16;

/// Messages on fresh connections that are not measured: at first TCP acknowledges every segment at once, which the
/// sender pays for on a loopback interface.
const WARM_UP: usize = 20;

/// How much is measured.
struct Plan {
    sizes: &'static [usize],
    rounds: usize,
    /// Deliveries in one sample, for messages one by one.
    single: usize,
    /// And in bursts.
    bursts: usize,
}

const FULL: Plan = Plan { sizes: &[1_000, 10_000], rounds: 7, single: 100_000, bursts: 1_600_000 };
const QUICK: Plan = Plan { sizes: &[1_000], rounds: 5, single: 50_000, bursts: 800_000 };

fn main() -> io::Result<()> {
    if std::env::args().any(|arg| arg == limit::ARGUMENT) {
        return limit::run();
    }
    let plan = if support::is_quick() { QUICK } else { FULL };
    process::leave_the_first_core()?;
    let mut targets = [Target::limit()?, Target::hub(Server::hub()?)?, Target::hub(Server::hub_by_token()?)?];

    println!(
        "Processor time of the server per delivery in µs: median (least–most) of {} rounds",
        plan.rounds
    );
    println!(
        "{:>11}  {:<14}{:<24}{:<24}{:<24}{:<24}{:<24}",
        "subscribers", "published", "bare limit", "topichub", "ratio", "by token", "to topichub"
    );
    for size in plan.sizes {
        let (mut single, mut bursts) = (Comparison::default(), Comparison::default());
        for round in 0..plan.rounds {
            let mut costs = [Cost::default(); 3];
            // Each in turn is the first, the second, the third.
            for target in (0..3).map(|place| (place + round) % 3) {
                costs[target] = targets[target].round(*size, &plan)?;
            }
            single.push(costs.map(|cost| cost.single));
            bursts.push(costs.map(|cost| cost.bursts));
        }
        single.print(*size, "one by one");
        bursts.print(*size, "bursts of 16");
    }
    Ok(())
}

/// A server, who publishes on it, and how far it is.
struct Target {
    server: Server,
    publisher: Publisher,
    published: u64,
}

enum Publisher {
    Hub(Peer),
    Limit(limit::Publisher),
}

/// Microseconds per delivery.
#[derive(Clone, Copy, Default)]
struct Cost {
    single: f64,
    bursts: f64,
}

impl Target {
    fn hub(server: Server) -> io::Result<Self> {
        let publisher = Publisher::Hub(Peer::connect(&server, Codec::Json)?);
        Ok(Self { server, publisher, published: support::PUBLISHED })
    }

    fn limit() -> io::Result<Self> {
        let server = Server::limit()?;
        let publisher = Publisher::Limit(limit::Publisher::connect(server.address)?);
        Ok(Self { server, publisher, published: 0 })
    }

    /// Fresh subscribers, and one sample of each figure.
    fn round(&mut self, size: usize, plan: &Plan) -> io::Result<Cost> {
        let address = self.server.address;
        let mut subscribers = match &self.publisher {
            Publisher::Hub(_) => {
                Subscribers::of_hub(&self.server, size, &[Codec::Json], Some(&support::topic()?.into()))?
            }
            Publisher::Limit(_) => Subscribers::of_limit(address, size)?,
        };
        (0..WARM_UP).try_for_each(|_| self.publish(&mut subscribers, 1))?;
        let single = self.cost(&mut subscribers, 1, plan.single)?;
        let bursts = self.cost(&mut subscribers, BURST, plan.bursts)?;
        Ok(Cost { single, bursts })
    }

    fn cost(&mut self, subscribers: &mut Subscribers, burst: u64, deliveries: usize) -> io::Result<f64> {
        self.publish(subscribers, burst)?;
        let before = self.server.cpu_time()?;
        let mut delivered = 0;
        while delivered < deliveries {
            self.publish(subscribers, burst)?;
            delivered += burst as usize * subscribers.len();
        }
        let spent = self.server.cpu_time()? - before;
        Ok(spent.as_secs_f64() * 1e6 / delivered as f64)
    }

    /// Publishes a burst and waits until everybody has it.
    fn publish(&mut self, subscribers: &mut Subscribers, burst: u64) -> io::Result<()> {
        let numbers = self.published + 1..=self.published + burst;
        self.published += burst;
        let mut expected = Expected::default();
        numbers
            .clone()
            .try_for_each(|number| support::append_delivery(Codec::Json, number, &mut expected.json))?;
        match &mut self.publisher {
            Publisher::Hub(peer) => {
                peer.send(&numbers.map(support::publish).collect::<io::Result<Vec<_>>>()?)?
            }
            Publisher::Limit(publisher) => publisher.publish(&expected.json)?,
        }
        subscribers.receive(&expected)
    }
}

/// One line of the table.
#[derive(Default)]
struct Comparison {
    limit: Samples,
    hub: Samples,
    hub_to_limit: Samples,
    by_token: Samples,
    by_token_to_hub: Samples,
}

impl Comparison {
    fn push(&mut self, [limit, hub, by_token]: [f64; 3]) {
        self.limit.push(limit);
        self.hub.push(hub);
        self.hub_to_limit.push(hub / limit);
        self.by_token.push(by_token);
        self.by_token_to_hub.push(by_token / hub);
    }

    fn print(&self, size: usize, published: &str) {
        let Self { limit, hub, hub_to_limit, by_token, by_token_to_hub } = self;
        println!(
            "{size:>11}  {published:<14}{limit:<24}{hub:<24}{hub_to_limit:<24}{by_token:<24}{by_token_to_hub:<24}"
        );
    }
}
