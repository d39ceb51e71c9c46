//! What it costs to remember: the server's processor time per message for a topic with a history beside one without, in
//! the same run and in turns, each on a server of its own. Without subscribers, published over one WebSocket with a
//! window of messages on their way, each answered; and with 10,000 subscribers, one by one and in bursts of 16 in one
//! write, every byte compared. Histories: none, the last message (what the server does by itself), the last 100. The
//! goal is 1.15 times as much at most.
//!
//! ```sh
//! cargo bench --bench history
//! cargo bench --bench history -- --quick
//! ```

mod support;

use std::io;

use support::peer::Peer;
use support::process::{self, Server};
use support::stats::Samples;
use support::subscribers::{Expected, Subscribers};
use topichub::protocol::{Codec, Command, CommandId, Reply, ServerMessage};

/// Messages in one write of the publisher.
const BURST: u64 = 16;

/// Messages without a reply yet while nobody is subscribed.
const WINDOW: u64 = 64;

/// Messages that are not measured.
const WARM_UP: u64 = 20;

/// How many messages are remembered; none is what the server does by itself.
const HISTORIES: [Option<u32>; 3] = [Some(0), None, Some(100)];

/// How much is measured.
struct Plan {
    subscribers: usize,
    rounds: usize,
    /// Messages in one sample: without subscribers, one by one, in bursts.
    alone: u64,
    single: u64,
    bursts: u64,
}

const FULL: Plan = Plan { subscribers: 10_000, rounds: 9, alone: 200_000, single: 20, bursts: 160 };
const QUICK: Plan = Plan { subscribers: 1_000, rounds: 3, alone: 30_000, single: 50, bursts: 800 };

fn main() -> io::Result<()> {
    let plan = if support::is_quick() { QUICK } else { FULL };
    process::leave_the_first_core()?;
    let mut sides = HISTORIES.into_iter().map(Side::start).collect::<io::Result<Vec<_>>>()?;
    let mut table: [[Samples; 3]; 3] = Default::default();
    let mut ratios: [[Samples; 3]; 3] = Default::default();
    for round in 0..plan.rounds {
        let mut costs = [[0.0; 3]; 3];
        for turn in 0..sides.len() {
            // Nobody is always the next of the same one.
            let number = (turn + round) % sides.len();
            costs[number] = sides[number].round(&plan)?;
        }
        for (number, costs_of) in costs.iter().enumerate() {
            for (kind, cost) in costs_of.iter().enumerate() {
                table[kind][number].push(*cost);
                ratios[kind][number].push(cost / costs[0][kind]);
            }
        }
    }

    println!("Processor time of the server per message in µs: median (least–most) of {} rounds", plan.rounds);
    println!(
        "{:>11}  {:<14}{:<26}{:<26}{:<26}",
        "subscribers", "published", "no history", "last 1", "last 100"
    );
    let kinds = [(0, "with a window"), (plan.subscribers, "one by one"), (plan.subscribers, "bursts of 16")];
    for ((subscribers, published), (costs, ratios)) in kinds.into_iter().zip(table.iter().zip(&ratios)) {
        let [none, one, many] = costs;
        println!("{subscribers:>11}  {published:<14}{none:<26}{one:<26}{many:<26}");
        let [_, one, many] = ratios;
        println!("{:>11}  {:<14}{:<26}{one:<26}{many:<26}", "", "", "times as much");
    }
    Ok(())
}

/// A server that remembers so much, and who publishes on it.
struct Side {
    server: Server,
    publisher: Peer,
    published: u64,
}

impl Side {
    fn start(history: Option<u32>) -> io::Result<Self> {
        let rule = |messages| format!("[[topics]]\npattern = \">\"\nhistory = {{ messages = {messages} }}\n");
        let server = Server::hub_with(&history.map(rule).unwrap_or_default())?;
        let publisher = Peer::connect(&server, Codec::Json)?;
        Ok(Self { server, publisher, published: support::PUBLISHED })
    }

    /// One sample of each figure.
    fn round(&mut self, plan: &Plan) -> io::Result<[f64; 3]> {
        // Until the last round's subscribers are gone.
        while self.ask(plan.alone / 10)? > 0 {}
        let alone = self.cost(plan.alone, |side| side.ask(plan.alone).map(drop))?;
        let filter = support::topic()?.into();
        let mut subscribers =
            Subscribers::of_hub(&self.server, plan.subscribers, &[Codec::Json], Some(&filter))?;
        self.publish(&mut subscribers, 1, WARM_UP)?;
        let single = self.cost(plan.single, |side| side.publish(&mut subscribers, 1, plan.single))?;
        self.publish(&mut subscribers, BURST, BURST)?;
        let bursts = self.cost(plan.bursts, |side| side.publish(&mut subscribers, BURST, plan.bursts))?;
        Ok([alone, single, bursts])
    }

    /// Microseconds for each of so many messages.
    fn cost(&mut self, messages: u64, work: impl FnOnce(&mut Self) -> io::Result<()>) -> io::Result<f64> {
        let before = self.server.cpu_time()?;
        work(self)?;
        let spent = self.server.cpu_time()? - before;
        Ok(spent.as_secs_f64() * 1e6 / messages as f64)
    }

    /// Publishes with a reply to each; half a window is written when half of one has been answered. Returns how many
    /// subscribers the last of them had.
    fn ask(&mut self, messages: u64) -> io::Result<u64> {
        let mut audience = 0;
        let last = self.published + messages;
        let mut answered = self.published;
        while answered < last {
            while self.published < last && self.published - answered <= WINDOW / 2 {
                let numbers = self.published + 1..=last.min(self.published + WINDOW / 2);
                self.published = *numbers.end();
                let commands = numbers.map(|number| {
                    let id = Some(CommandId::Integer(number as i64));
                    Ok(Command { id, ..support::publish(number)? })
                });
                self.publisher.send(&commands.collect::<io::Result<Vec<_>>>()?)?;
            }
            match self.publisher.next()? {
                ServerMessage::Reply(Reply::Published { position, subscribers, .. })
                    if position.offset == answered + 1 =>
                {
                    (answered, audience) = (answered + 1, subscribers);
                }
                other => return Err(io::Error::other(format!("not the next reply: {other:?}"))),
            }
        }
        Ok(audience)
    }

    /// Publishes in bursts, the next when everybody has the last.
    fn publish(&mut self, subscribers: &mut Subscribers, burst: u64, messages: u64) -> io::Result<()> {
        for _ in 0..messages / burst {
            let numbers = self.published + 1..=self.published + burst;
            self.published += burst;
            let mut expected = Expected::default();
            numbers
                .clone()
                .try_for_each(|number| support::append_delivery(Codec::Json, number, &mut expected.json))?;
            self.publisher.send(&numbers.map(support::publish).collect::<io::Result<Vec<_>>>()?)?;
            subscribers.receive(&expected)?;
        }
        Ok(())
    }
}
