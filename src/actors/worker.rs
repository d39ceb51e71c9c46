//! What the actors of one worker thread share: its fan-out, its heartbeats and the way to the registry.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use actix::Addr;

use super::destination::Destination;
use super::registry::{Inputs, Registry};
use crate::clock::Clock;
use crate::hub::fan_out::FanOut;
use crate::hub::input::{Input, SubscriberKey, WorkerId};
use crate::hub::outbox::OutboxLimits;
use crate::hub::pulse::{Pulse, PulseTimes};
use crate::settings::Settings;
use crate::transport::source::SCRATCH_BYTES;

/// One worker thread of one hub.
pub(crate) struct Worker {
    pub(crate) settings: Arc<Settings>,
    pub(crate) fan_out: RefCell<FanOut<Destination>>,
    pub(crate) pulse: RefCell<Pulse>,
    /// Where the sockets of this thread are read into.
    pub(crate) scratch: RefCell<Box<[u8]>>,
    /// The connections of all workers of the hub.
    pub(crate) sessions: Arc<AtomicUsize>,
    clock: Clock,
    registry: Addr<Registry>,
}

impl Worker {
    pub(crate) fn new(
        id: WorkerId,
        settings: Arc<Settings>,
        clock: Clock,
        registry: Addr<Registry>,
        sessions: Arc<AtomicUsize>,
    ) -> Self {
        let times = PulseTimes {
            ping_interval: settings.ping_interval,
            pong_timeout: settings.pong_timeout,
            close_timeout: settings.close_timeout,
        };
        Self {
            fan_out: RefCell::new(FanOut::new(id, settings.topics_per_session_max)),
            pulse: RefCell::new(Pulse::new(times)),
            scratch: RefCell::new(vec![0; SCRATCH_BYTES].into_boxed_slice()),
            settings,
            sessions,
            clock,
            registry,
        }
    }

    pub(crate) fn id(&self) -> WorkerId {
        self.fan_out.borrow().worker()
    }

    pub(crate) fn now(&self) -> Duration {
        self.clock.now()
    }

    pub(crate) fn outbox_limits(&self) -> OutboxLimits {
        OutboxLimits { bytes: self.settings.outbox_bytes_max, messages: self.settings.outbox_messages_max }
    }

    /// Hands inputs to the registry, in order.
    pub(crate) fn tell_registry(&self, inputs: Vec<Input>) {
        if !inputs.is_empty() {
            self.registry.do_send(Inputs(inputs));
        }
    }

    /// A subscriber is gone.
    pub(crate) fn leave(&self, key: SubscriberKey) {
        self.fan_out.borrow_mut().leave(key);
        self.pass_releases();
    }

    /// Tells the registry which subscriptions have ended here.
    pub(crate) fn pass_releases(&self) {
        let filters = self.fan_out.borrow_mut().take_released();
        if !filters.is_empty() {
            self.tell_registry(vec![Input::Release { worker: self.id(), filters }]);
        }
    }
}
