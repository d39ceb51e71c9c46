//! What the actors of one worker thread share: its fan-out, its heartbeats and the way to the registry.

use std::cell::{Cell, Ref, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use actix::Addr;
use topichub_protocol::websocket::deflate::Inflaters;

use super::departures::Departures;
use super::destination::Destination;
use super::news::News;
use super::parting::Partings;
use super::rates::PublishRates;
use super::registry::{Inputs, Registry, Report};
use super::roster::{Roster, Users};
use crate::authority::Authority;
use crate::clock::Clock;
use crate::hub::fan_out::FanOut;
use crate::hub::input::{Input, SubscriberKey, WorkerId};
use crate::hub::outbox::{OutboxLimits, Outboxes};
use crate::hub::pulse::{Pulse, PulseTimes};
use crate::hub::session::House;
use crate::metrics::board::{Board, Sample};
use crate::metrics::delays::Delays;
use crate::metrics::figure::Figure;
use crate::metrics::tally::Tally;
use crate::rules::Rules;
use crate::settings::Settings;
use crate::transport::encoder::Encoder;
use crate::transport::source::SCRATCH_BYTES;

/// How many there are in one hub, over all threads.
#[derive(Debug, Default)]
pub(crate) struct Census {
    /// Connections that are open or closing.
    pub(crate) sessions: AtomicUsize,
    /// Fan-outs: one for each thread that serves connections, and one for this process's own subscriptions.
    pub(crate) workers: AtomicUsize,
    /// The bytes of memory that topics and their messages of the past take, as of the last second.
    pub(crate) history_bytes: AtomicUsize,
    /// Topics, as of the last second.
    pub(crate) topics: AtomicUsize,
    /// What each thread has counted, as of the last second.
    pub(crate) board: Board,
    /// Whether anybody wants to know which sessions come and go.
    pub(crate) sessions_watched: AtomicBool,
    pub(crate) draining: AtomicBool,
}

/// One worker thread of one hub.
pub(crate) struct Worker {
    settings: RefCell<Arc<Settings>>,
    pub(crate) fan_out: RefCell<FanOut<Destination>>,
    pub(crate) pulse: RefCell<Pulse>,
    pub(crate) roster: RefCell<Roster>,
    /// Where the sockets of this thread are read into.
    pub(crate) scratch: RefCell<Box<[u8]>>,
    /// And where what is compressed is read into.
    pub(crate) inflaters: RefCell<Inflaters>,
    pub(crate) outboxes: Rc<Outboxes>,
    pub(crate) census: Arc<Census>,
    pub(crate) house: RefCell<House>,
    pub(crate) authority: Arc<dyn Authority>,
    pub(crate) users: Arc<Users>,
    pub(crate) publish_rates: Arc<PublishRates>,
    /// Whether commands are limited in rate.
    pub(crate) has_rates: Cell<bool>,
    pub(crate) clock: Clock,
    /// How late this thread's timers fire.
    pub(crate) delays: RefCell<Delays>,
    pub(crate) partings: RefCell<Partings>,
    pub(crate) departures: Rc<Departures>,
    /// Which sessions have come and gone since the last second.
    news: RefCell<News>,
    registry: Addr<Registry>,
}

/// What all workers of a hub begin with.
#[derive(Clone)]
pub(crate) struct Beginnings {
    pub(crate) settings: Arc<Settings>,
    pub(crate) clock: Clock,
    pub(crate) registry: Addr<Registry>,
    pub(crate) census: Arc<Census>,
    pub(crate) house: House,
    pub(crate) authority: Arc<dyn Authority>,
    pub(crate) users: Arc<Users>,
    pub(crate) publish_rates: Arc<PublishRates>,
}

impl Worker {
    pub(crate) fn new(id: WorkerId, beginnings: Beginnings) -> Self {
        let Beginnings { settings, clock, registry, census, house, authority, users, publish_rates } =
            beginnings;
        let outboxes = Outboxes::new(outbox_limits(&settings));
        let fan_out =
            FanOut::new(id, settings.topics_per_session_max, encoder(&settings), Rc::clone(&outboxes));
        Self {
            fan_out: RefCell::new(fan_out),
            pulse: RefCell::new(Pulse::new(pulse_times(&settings))),
            roster: RefCell::default(),
            scratch: RefCell::new(vec![0; SCRATCH_BYTES].into_boxed_slice()),
            inflaters: RefCell::default(),
            outboxes,
            has_rates: Cell::new(has_rates(&settings)),
            settings: RefCell::new(settings),
            census,
            house: RefCell::new(house),
            authority,
            users,
            publish_rates,
            clock,
            delays: RefCell::default(),
            partings: RefCell::default(),
            departures: Rc::default(),
            news: RefCell::default(),
            registry,
        }
    }

    pub(crate) fn id(&self) -> WorkerId {
        self.fan_out.borrow().worker()
    }

    /// The limits and times that hold now.
    pub(crate) fn settings(&self) -> Ref<'_, Settings> {
        Ref::map(self.settings.borrow(), Arc::as_ref)
    }

    /// Keeps to other settings and rules from now on.
    pub(crate) fn reload(&self, settings: Arc<Settings>, rules: Arc<Rules>) {
        let mut house = self.house.borrow_mut();
        house.rules = rules;
        house.anonymous = self.authority.anonymous();
        house.believes_names = self.authority.believes_names();
        drop(house);
        self.has_rates.set(has_rates(&settings));
        self.pulse.borrow_mut().set_times(pulse_times(&settings));
        self.outboxes.limits.set(outbox_limits(&settings));
        self.fan_out.borrow_mut().reload(settings.topics_per_session_max, encoder(&settings));
        *self.settings.borrow_mut() = settings;
    }

    pub(crate) fn now(&self) -> Duration {
        self.clock.now()
    }

    /// Writes what the turn has brought, and gives up the slowest readers if too much waits for all of them together.
    pub(crate) fn end_turn(&self) {
        let threads = self.census.workers.load(Ordering::Relaxed).saturating_sub(1).max(1);
        let mut fan_out = self.fan_out.borrow_mut();
        fan_out.flush(self.now());
        fan_out.resume_replays();
        fan_out.relieve(self.settings().outboxes_bytes_max / threads);
        drop(fan_out);
        self.pass_inputs();
    }

    pub(crate) fn tally(&self) -> &Tally {
        &self.outboxes.tally
    }

    /// Posts what this thread has counted, and lets the registry find out how long what is sent to it waits.
    pub(crate) fn post(&self) {
        self.partings.borrow_mut().sum_up();
        self.tally().set(Figure::OUTBOX_BYTES, self.outboxes.memory() as u64);
        let sample = Sample { figures: self.tally().figures(), delays: self.delays.borrow().clone() };
        self.census.board.post(self.id(), sample);
        self.registry.do_send(Report { sent: self.now(), news: self.news.take() });
    }

    /// Takes down something about a session, if anybody wants to know.
    pub(crate) fn note(&self, note: impl FnOnce(&mut News)) {
        if self.census.sessions_watched.load(Ordering::Relaxed) {
            note(&mut self.news.borrow_mut());
        }
    }

    /// Hands inputs to the registry, in order.
    pub(crate) fn tell_registry(&self, inputs: Vec<Input>) {
        if !inputs.is_empty() {
            self.registry.do_send(Inputs(inputs));
        }
    }

    /// A subscriber is gone.
    pub(crate) fn leave(&self, key: SubscriberKey) {
        self.roster.borrow_mut().leave(key);
        self.fan_out.borrow_mut().leave(key, self.now());
        self.pass_inputs();
    }

    /// A subscriber has room for more of what it has yet to get.
    pub(crate) fn resume(&self, key: SubscriberKey) {
        self.fan_out.borrow_mut().resume(key);
        self.pass_inputs();
    }

    /// Tells the registry what the fan-out has for it.
    fn pass_inputs(&self) {
        let inputs = self.fan_out.borrow_mut().take_inputs();
        self.tell_registry(inputs);
    }
}

fn has_rates(settings: &Settings) -> bool {
    settings.commands_per_second_max > 0 || settings.bytes_per_second_max > 0
}

fn outbox_limits(settings: &Settings) -> OutboxLimits {
    OutboxLimits { bytes: settings.outbox_bytes_max, messages: settings.outbox_messages_max }
}

fn pulse_times(settings: &Settings) -> PulseTimes {
    PulseTimes {
        ping_interval: settings.ping_interval,
        pong_timeout: settings.pong_timeout,
        close_timeout: settings.close_timeout,
        stall_timeout: settings.stall_timeout,
    }
}

fn encoder(settings: &Settings) -> Encoder {
    Encoder::new(settings.deflate_bytes_min, settings.deflate_level)
}
