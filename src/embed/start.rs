//! How a hub begins: its registry and the fan-out of this process on a thread of their own, and a worker on each thread
//! that has connections, when its first one comes.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, RwLock};

use actix::{Actor, Arbiter, System};
use tokio::sync::{Semaphore, watch};
use uuid::Uuid;

use super::error::StartError;
use super::{Hub, Inner};
use crate::actors::fan_out::FanOut;
use crate::actors::rates::PublishRates;
use crate::actors::registry::{JoinWorker, OwnTopics, Registry};
use crate::actors::roster::Users;
use crate::actors::worker::{Beginnings, Census, Worker};
use crate::authority::{Authority, Open};
use crate::clock::Clock;
use crate::engine::memory::{MemoryEngine, MemorySettings};
use crate::hub::input::WorkerId;
use crate::hub::registry::{Registry as RegistryCore, RegistrySettings};
use crate::hub::seat::Seats;
use crate::hub::session::House;
use crate::rules::Rules;
use crate::settings::Settings;
use crate::transport::admission::Admission;

thread_local! {
    /// The workers of this thread, one for each hub that has connections here.
    static WORKERS: RefCell<HashMap<Uuid, Rc<Worker>>> = RefCell::default();
}

impl Hub {
    /// Starts a hub with its registry on a thread of its own. Anybody may use it for everything but the server's own
    /// topics: see [`start_with`](Self::start_with).
    ///
    /// # Errors
    /// Outside of an actix system.
    pub fn start(settings: Settings) -> Result<Self, StartError> {
        Self::start_with(settings, Arc::new(Open::new()))
    }

    /// Starts a hub that lets `authority` decide who somebody is and what they may do.
    ///
    /// # Errors
    /// Outside of an actix system.
    pub fn start_with(settings: Settings, authority: Arc<dyn Authority>) -> Result<Self, StartError> {
        System::try_current().ok_or(StartError::NoSystem)?;
        let (settings, clock) = (Arc::new(settings), Clock::start());
        let id = Uuid::new_v4();
        // 48 random bits: epochs of two runs of the program are different, and stay short.
        let first_epoch = (id.as_u64_pair().0 >> 16).max(1);
        let own = OwnTopics::new();
        let rules = Arc::new(Rules::new(settings.topics.clone()));
        let engine = MemoryEngine::new(MemorySettings {
            first_epoch,
            seed: Uuid::new_v4().as_u128(),
            rules: Rules::clone(&rules),
            linger: settings.topic_linger,
            unused_topics_max: settings.unused_topics_max,
            history_bytes_max: settings.history_bytes_max,
            dedup_window: settings.dedup_window,
        });

        let arbiter = Arbiter::new().handle();
        let (salt, secret) = (Uuid::new_v4().as_u128(), Uuid::new_v4().as_u64_pair().0);
        let (anonymous, believes_names) = (authority.anonymous(), authority.believes_names());
        let house = House { seats: Seats::new(salt), rules, anonymous, believes_names };
        let core_settings = RegistrySettings {
            presence_interval: settings.presence_interval,
            presence_members_max: settings.presence_members_max,
            secret,
        };
        let census = Arc::<Census>::default();
        let admission = Admission::new(&settings, clock);
        let (registry_census, registry_admission) = (Arc::clone(&census), Arc::clone(&admission));
        let registry = Registry::start_in_arbiter(&arbiter, move |_| {
            let core = RegistryCore::new(Box::new(engine), core_settings);
            Registry::new(core, clock, registry_census, registry_admission, own)
        });
        let next_worker = Arc::new(AtomicU32::new(0));
        let local_id = WorkerId(next_worker.fetch_add(1, Ordering::Relaxed));
        let beginnings = Beginnings {
            users: Users::new(settings.sessions_per_user_max),
            publish_rates: Arc::new(PublishRates::new(&settings)),
            settings: Arc::clone(&settings),
            clock,
            registry: registry.clone(),
            census,
            house,
            authority,
        };
        let of_local = beginnings.clone();
        let local = FanOut::start_in_arbiter(&arbiter, move |_| {
            FanOut::new(Rc::new(Worker::new(local_id, of_local)))
        });
        registry.do_send(JoinWorker { worker: local_id, fan_out: local.clone() });

        let flight_bytes_max = settings.local_flight_bytes_max;
        let flight = Arc::new(Semaphore::new(flight_bytes_max));
        let inner = Inner {
            id,
            admission,
            settings: RwLock::new(settings),
            beginnings,
            local,
            next_worker,
            flight,
            flight_bytes_max,
            draining: watch::Sender::new(None),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// This thread's worker; the first call on a thread starts it.
    pub(crate) fn worker(&self) -> Rc<Worker> {
        WORKERS.with_borrow_mut(|workers| {
            Rc::clone(workers.entry(self.inner.id).or_insert_with(|| self.start_worker()))
        })
    }

    fn start_worker(&self) -> Rc<Worker> {
        let Inner { beginnings, next_worker, .. } = &*self.inner;
        let id = WorkerId(next_worker.fetch_add(1, Ordering::Relaxed));
        let settings = self.settings();
        let worker = Rc::new(Worker::new(id, Beginnings { settings, ..beginnings.clone() }));
        let fan_out = FanOut::new(Rc::clone(&worker)).start();
        beginnings.registry.do_send(JoinWorker { worker: id, fan_out });
        worker
    }
}
