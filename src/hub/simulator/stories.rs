//! Runs of the simulator: by the seed, and small ones that were set up.

use super::*;

/// How many seeds are run; `make simulate SEEDS=…` runs more.
const SEEDS: u64 = match option_env!("TOPICHUB_SEEDS") {
    Some(text) => match u64::from_str_radix(text, 10) {
        Ok(seeds) => seeds,
        Err(_) => panic!("TOPICHUB_SEEDS is a number"),
    },
    None => 100,
};

#[test]
fn everybody_gets_what_they_subscribed_to_in_order_and_once() {
    for seed in 0..SEEDS {
        with_seed(seed, || _ = run(seed, 3_000));
    }
}

#[test]
fn so_do_they_in_the_first_moments_of_a_thousand_hubs() {
    for seed in 1_000_000..1_000_000 + 10 * SEEDS {
        with_seed(seed, || _ = run(seed, 300));
    }
}

#[test]
fn hundreds_of_sessions_with_slow_readers_among_them_are_served_alike() {
    with_seed(7, || {
        let simulation = run(7, 60_000);
        assert!(simulation.peers.len() > 500, "{} sessions", simulation.peers.len());
        assert!(simulation.peers.iter().any(|peer| peer.link.cut.get()), "nobody was too slow");
        assert!(simulation.peers.iter().any(|peer| !peer.left || !peer.link.cut.get()));
    });
}

#[test]
fn several_messages_of_one_turn_cost_each_subscriber_one_write() {
    let mut simulation = Simulation::new(1);
    simulation.connect();
    simulation.connect();
    for peer in 0..2 {
        let session = simulation.peers[peer].seat;
        for (number, filter) in ["a", "b", "*"].into_iter().enumerate() {
            let filters = OneOrMany::One(Filter::parse(filter).unwrap());
            let id = Some(CommandId::Integer(number as i64));
            let wanted = filters.map(|filter| Wanted { filter, policy: SlowPolicy::Disconnect });
            let member = Member { id: MemberId::Session(0), data: None };
            let options = SubscribeOptions::default();
            let subscribing = Subscribing { session, id, wanted, options, member, permit: None };
            simulation.inputs.push_back(Input::Subscribe(Box::new(subscribing)));
        }
    }
    simulation.settle();
    let before: Vec<_> = simulation.peers.iter().map(|peer| peer.link.writes.get()).collect();
    let publisher = simulation.peers[0].seat;
    for number in 0..40 {
        let topic = Topic::parse(if number % 2 == 0 { "a" } else { "b" }).unwrap();
        let asker = Asker::Session { session: publisher, id: None };
        let payload = Payload::from_binary(Bytes::new());
        let publication = Publication { topic, payload, options: None, asker, subscribers: 0, permit: None };
        simulation.inputs.push_back(Input::Publish(publication));
    }
    simulation.settle();
    for (peer, before) in simulation.peers.iter().zip(before) {
        assert_eq!(peer.link.writes.get() - before, 1);
    }
    simulation.check();
}
