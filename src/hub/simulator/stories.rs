//! Runs of the simulator: by the seed, and small ones that were set up.

use proptest::prelude::*;
use topichub_protocol::code::ErrorCode;
use topichub_protocol::command::{Answer, PresenceOptions};
use topichub_protocol::reply::Reply;

use super::*;
use crate::hub::input::Ticket;

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// Replay and live, whatever is interleaved how: shrinks to the shortest script that goes wrong.
    #[test]
    fn no_interleaving_makes_a_gap_or_a_duplicate(script in prop::collection::vec(any::<u16>(), 0..1500)) {
        let mut simulation = Simulation::by(Dice::Scripted(script.into_iter()), 1);
        simulation.connect();
        simulation.connect();
        while !simulation.dice.is_over() {
            simulation.step();
        }
        end(simulation);
    }
}

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

/// Seeds that have found mistakes.
#[test]
fn what_went_wrong_once_goes_right() {
    for (seed, steps) in [(1_000_750, 300), (1_014_674, 300), (15, 3_000), (30, 3_000)] {
        with_seed(seed, || _ = run(seed, steps));
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

impl Simulation {
    /// One more session whose reader takes everything.
    fn reader(&mut self) -> SessionRef {
        let link = Link::new(Class::Json, OutboxLimits { bytes: 1 << 20, messages: 1000 }, 1 << 20);
        let subscriber = self.workers[0].fan_out.join(Rc::clone(&link));
        let seat = SessionRef { worker: WorkerId(0), subscriber };
        let (expected, habit) = (Expected::default(), Habit::Live);
        self.peers.push(Peer { seat, link, expected, left: false, next_id: 0, habit });
        seat
    }

    /// Hands an input to the registry and lets everything that comes of it arrive.
    fn tell(&mut self, input: Input) {
        let mut effects = Vec::new();
        self.registry.handle(input, self.now, &mut effects);
        for effect in effects {
            let Effect::Deliver { worker, delivery } = effect else { panic!("no caller asked") };
            self.workers[worker.0 as usize].inbox.push_back(delivery);
        }
        for at in 0..self.workers.len() {
            self.run_worker(at, usize::MAX);
        }
        while let Some(input) = self.inputs.pop_front() {
            self.tell(input);
        }
    }

    fn subscribe(&mut self, session: SessionRef, id: i64, filter: &str, options: SubscribeOptions) {
        let filter = Filter::parse(filter).unwrap();
        let wanted = OneOrMany::One(Wanted { filter, policy: SlowPolicy::Disconnect });
        let member = Member { id: MemberId::User(format!("user{id}").into()), data: None };
        let id = Some(CommandId::Integer(id));
        let subscribing = Subscribing { session, id, wanted, options, member, permit: None };
        self.tell(Input::Subscribe(Box::new(subscribing)));
    }

    fn publication(asker: Asker, topic: &str) -> Publication {
        let (topic, payload) = (Topic::parse(topic).unwrap(), Payload::from_binary(Bytes::new()));
        Publication { topic, payload, options: None, asker, subscribers: 0, permit: None }
    }

    fn publish(&mut self, session: SessionRef, topic: &str) {
        let asker = Asker::Session { session, id: None };
        self.tell(Input::Publish(Self::publication(asker, topic)));
    }

    fn unsubscribe(&mut self, session: SessionRef, filter: &str) {
        let filters = OneOrMany::One(Filter::parse(filter).unwrap());
        let unsubscribe = Unsubscribe { filters };
        self.tell(Input::Unsubscribe { session, id: None, unsubscribe, permit: None });
    }

    /// What a session has read since this was last asked, without the replies to its subscribing.
    fn heard(&mut self, session: SessionRef) -> Vec<String> {
        let link = Rc::clone(&self.peer(session).link);
        link.drain(usize::MAX);
        let text = String::from_utf8(std::mem::take(&mut *link.read.borrow_mut())).unwrap();
        let told = |line: &&str| !line.contains("subscribed");
        text.lines().filter(told).map(|line| line.replace("Json ", "")).collect()
    }
}

fn in_group(name: &str) -> SubscribeOptions {
    SubscribeOptions { group: Some(name.into()), ..SubscribeOptions::default() }
}

/// The offsets in what was heard.
fn offsets(lines: &[String]) -> Vec<u64> {
    lines.iter().map(|line| line.rsplit(' ').next().unwrap().parse().unwrap()).collect()
}

fn hub() -> Simulation {
    let mut simulation = Simulation::new(2);
    while let Some(input) = simulation.inputs.pop_front() {
        simulation.tell(input);
    }
    simulation
}

#[test]
fn a_queue_group_gets_each_message_once_beside_ordinary_subscribers() {
    let mut hub = hub();
    let members = [hub.reader(), hub.reader(), hub.reader()];
    let (other, publisher) = (hub.reader(), hub.reader());
    members.iter().enumerate().for_each(|(at, member)| hub.subscribe(*member, at as i64, "b", in_group("g")));
    hub.subscribe(other, 9, "*", SubscribeOptions::default());
    (0..30).for_each(|_| hub.publish(publisher, "b"));
    let mut got: Vec<_> = members.iter().flat_map(|member| offsets(&hub.heard(*member))).collect();
    got.sort_unstable();
    assert_eq!(got, (1..=30).collect::<Vec<_>>());
    assert_eq!(offsets(&hub.heard(other)), (1..=30).collect::<Vec<_>>());

    // A member that also subscribes by itself gets each message, and each only once.
    hub.subscribe(members[0], 10, ">", SubscribeOptions::default());
    (0..9).for_each(|_| hub.publish(publisher, "b"));
    assert_eq!(offsets(&hub.heard(members[0])), (31..=39).collect::<Vec<_>>());
}

#[test]
fn what_a_member_was_to_get_goes_to_another_when_it_has_gone() {
    let mut hub = hub();
    let (first, second, publisher) = (hub.reader(), hub.reader(), hub.reader());
    for member in [first, second] {
        hub.subscribe(member, 1, "b", in_group("g"));
    }
    // The registry has chosen, and the member goes before its worker has heard of it.
    let mut effects = Vec::new();
    for _ in 0..4 {
        let asker = Asker::Session { session: publisher, id: None };
        hub.registry.handle(Input::Publish(Simulation::publication(asker, "b")), hub.now, &mut effects);
    }
    hub.workers[0].fan_out.leave(first.subscriber, hub.now);
    for effect in effects {
        let Effect::Deliver { delivery, .. } = effect else { panic!("no caller asked") };
        hub.workers[0].inbox.push_back(delivery);
    }
    hub.run_worker(0, usize::MAX);
    while let Some(input) = hub.inputs.pop_front() {
        hub.tell(input);
    }
    let mut got = offsets(&hub.heard(second));
    got.sort_unstable();
    assert_eq!(got, [1, 2, 3, 4]);
}

#[test]
fn who_leaves_a_group_and_joins_it_again_at_once_is_in_it() {
    let mut hub = hub();
    let (member, publisher) = (hub.reader(), hub.reader());
    hub.subscribe(member, 1, "b", in_group("g"));
    // Both commands reach the registry before the worker has taken the first.
    let unsubscribe = Unsubscribe { filters: OneOrMany::One(Filter::parse("b").unwrap()) };
    let mut effects = Vec::new();
    let input = Input::Unsubscribe { session: member, id: None, unsubscribe, permit: None };
    hub.registry.handle(input, hub.now, &mut effects);
    for effect in effects {
        let Effect::Deliver { delivery, .. } = effect else { panic!("no caller asked") };
        hub.workers[0].inbox.push_back(delivery);
    }
    hub.subscribe(member, 2, "b", in_group("g"));
    hub.publish(publisher, "b");
    assert_eq!(offsets(&hub.heard(member)), [1]);
    hub.unsubscribe(member, "b");
    hub.publish(publisher, "b");
    assert!(hub.heard(member).is_empty());
}

#[test]
fn a_request_is_answered_once_and_by_the_first() {
    let mut hub = hub();
    let (asker, responder) = (hub.reader(), hub.reader());
    hub.subscribe(responder, 1, "a", SubscribeOptions::default());
    let ask = |hub: &mut Simulation, id: i64| {
        let asker = Asker::Session { session: asker, id: Some(CommandId::Integer(id)) };
        let publication = Simulation::publication(asker, "a");
        hub.tell(Input::Request { publication, timeout: Duration::from_secs(5) });
    };
    ask(&mut hub, 7);
    let extent = hub.registry.extent(&Topic::parse("a").unwrap(), hub.now);
    let mut page = Vec::new();
    let limits = PageLimits { messages: 10, bytes: 1000 };
    hub.registry.engine().read(
        &Topic::parse("a").unwrap(),
        extent.end.offset - 1,
        limits,
        hub.now,
        &mut page,
    );
    let reply_to = page[0].message.reply_to().expect("the message says where the answer goes");
    for id in [1, 2] {
        let from = Asker::Session { session: responder, id: Some(CommandId::Integer(id)) };
        let answer = Answer { reply_to, payload: Payload::from_binary(Bytes::new()) };
        hub.tell(Input::Answer { asker: from, answer, permit: None });
    }
    assert_eq!(hub.heard(asker), ["reply 7 answered"]);
    assert_eq!(hub.heard(responder)[1..], ["reply 1 replied", "reply 2 conflict"]);

    ask(&mut hub, 8);
    assert_eq!(hub.registry.next_due(), Some(hub.now + Duration::from_secs(5)));
    hub.now += Duration::from_secs(5);
    hub.tell(Input::Tick);
    assert_eq!(hub.heard(asker), ["reply 8 timeout"]);
    hub.unsubscribe(responder, "a");
    ask(&mut hub, 9);
    assert_eq!(hub.heard(asker), ["reply 9 no_responders"]);
    let end = hub.registry.extent(&Topic::parse("a").unwrap(), hub.now).end;
    assert_eq!(end.offset, 2, "what nobody would hear is not published");
}

#[test]
fn who_ends_a_subscription_and_begins_another_at_once_is_shown_still() {
    let mut hub = hub();
    let (session, topic) = (hub.reader(), Topic::parse("a").unwrap());
    let shown = || SubscribeOptions {
        presence: Some(PresenceOptions { join: true, watch: false, data: None }),
        ..SubscribeOptions::default()
    };
    hub.subscribe(session, 1, "a", shown());
    let unsubscribe = Unsubscribe { filters: OneOrMany::One(Filter::Topic(topic.clone())) };
    let mut effects = Vec::new();
    hub.registry.handle(
        Input::Unsubscribe { session, id: None, unsubscribe, permit: None },
        hub.now,
        &mut effects,
    );
    for effect in effects {
        let Effect::Deliver { delivery, .. } = effect else { panic!("no caller asked") };
        hub.workers[0].inbox.push_back(delivery);
    }
    hub.subscribe(session, 2, "a", shown());
    let presence = hub.registry.engine().presence(&topic, 10);
    assert_eq!(presence.members.unwrap()[0].id, MemberId::User("user2".into()));
    hub.subscribe(session, 3, "a", SubscribeOptions::default());
    assert_eq!(hub.registry.engine().presence(&topic, 10).count, 0, "it has asked to be shown no more");
    hub.subscribe(session, 4, "a", shown());
    hub.leave(hub.peers.len() - 1);
    while let Some(input) = hub.inputs.pop_front() {
        hub.tell(input);
    }
    assert_eq!(hub.registry.engine().presence(&topic, 10).count, 0);
}

#[test]
fn a_pattern_over_a_replay_under_way_is_to_be_asked_for_again() {
    let mut hub = hub();
    let publisher = hub.reader();
    (0..30).for_each(|_| hub.publish(publisher, "a.x"));
    // A reader that takes next to nothing.
    let link = Link::new(Class::Json, OutboxLimits { bytes: 1 << 20, messages: 1000 }, 1);
    let subscriber = hub.workers[0].fan_out.join(Rc::clone(&link));
    let seat = SessionRef { worker: WorkerId(0), subscriber };
    let (expected, habit) = (Expected::default(), Habit::Live);
    hub.peers.push(Peer { seat, link, expected, left: false, next_id: 0, habit });
    let replay = |replay| SubscribeOptions { replay: Some(replay), ..SubscribeOptions::default() };
    (0..20).for_each(|id| hub.subscribe(seat, id, "b", SubscribeOptions::default()));
    hub.subscribe(seat, 21, "a.x", replay(Replay::Last(20)));
    hub.subscribe(seat, 22, "a.*", SubscribeOptions::default());
    hub.subscribe(seat, 23, "c.*", SubscribeOptions::default());
    hub.subscribe(seat, 24, "a.*", replay(Replay::Last(0)));
    while !hub.peer(seat).link.is_drained() {
        let at = hub.peers.len() - 1;
        hub.drain(at, usize::MAX);
        hub.tell(Input::Tick);
    }
    let read = String::from_utf8(hub.peer(seat).link.read.borrow().clone()).unwrap();
    assert!(read.contains(&format!("reply 22 {}", ErrorCode::Unavailable)), "{read}");
    assert!(read.contains("reply 23 subscribed") && read.contains("reply 24 subscribed"), "{read}");
    let offsets: Vec<u64> = read
        .lines()
        .filter_map(|line| line.strip_prefix("Json a.x ")?.split(' ').nth(1)?.parse().ok())
        .collect();
    assert_eq!(offsets, (11..=30).collect::<Vec<_>>());
}

#[test]
fn a_caller_is_answered_as_a_session_is() {
    let mut hub = hub();
    let mut effects = Vec::new();
    let publication = Simulation::publication(Asker::Caller(Ticket(3)), "a");
    hub.registry.handle(Input::Publish(publication), hub.now, &mut effects);
    let [Effect::Answer { ticket: Ticket(3), reply: Reply::Published { position, subscribers: 0, .. } }] =
        &effects[..]
    else {
        panic!("{effects:?}");
    };
    assert_eq!(position.offset, 1);
}
