//! The hub as a program sees it: one cheap handle to publish, to subscribe, and to mount it in an actix-web `App`.

use std::cell::RefCell;
use std::collections::HashMap;
use std::future::Future;
use std::rc::Rc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use actix::{Actor, Addr, Arbiter, System};
use actix_web::web;
use serde::Serialize;
use tokio::sync::{Semaphore, oneshot, watch};
use topichub_protocol::command::{CommandError, History, PublishOptions, SubscribeOptions};
use topichub_protocol::message::{Payload, PayloadError, Position};
use topichub_protocol::reply::{HistoryPage, Presence, Published, Reply};
use topichub_protocol::topic::{Filter, Topic, TopicError};
use uuid::Uuid;

use crate::actors::fan_out::{Cut, Drain, FanOut, OpenStream, Reload};
use crate::actors::leaving::Chance;
use crate::actors::rates::PublishRates;
use crate::actors::registry::{Ask, JoinWorker, OwnTopics, Probe, Registry};
use crate::actors::roster::Users;
use crate::actors::worker::{Beginnings, Census, Worker};
use crate::authority::{Authority, Open};
use crate::clock::Clock;
use crate::engine::memory::{MemoryEngine, MemorySettings};
use crate::hub::input::{Asker, Input, Publication, WorkerId};
use crate::hub::permit::Permit;
use crate::hub::registry::{Registry as RegistryCore, RegistrySettings};
use crate::hub::seat::Seats;
use crate::hub::session::{House, publication_options};
use crate::metrics::board::Board;
use crate::rules::Rules;
use crate::settings::Settings;
use crate::subscription::Subscription;
use crate::transport::admission::Admission;
use crate::transport::problem::Problem;
use crate::transport::{http, route};

/// How long clients have to answer the server's close when it stops.
const GOODBYE_MAX: Duration = Duration::from_secs(2);

/// When to try again at a server that is being drained, or the one in its place.
const RETRY_SECONDS: u64 = 1;

/// How many messages an in-process subscription holds for its reader.
pub const SUBSCRIPTION_MESSAGES_MAX: usize = 1024;

/// A publish/subscribe hub. Clones are cheap and all mean the same hub; it lives as long as the actix system does.
///
/// ```
/// # #[actix_web::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let hub = topichub::Hub::start(topichub::Settings::default())?;
/// let mut scores = hub.subscribe("sports.>").await?;
/// hub.publish("sports.nba.lakers", &serde_json::json!({ "home": 3 })).await?;
///
/// let message = scores.next().await.unwrap()?;
/// assert_eq!(message.topic.as_str(), "sports.nba.lakers");
/// assert_eq!(message.position.offset, 1);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct Hub {
    inner: Arc<Inner>,
}

struct Inner {
    id: Uuid,
    settings: RwLock<Arc<Settings>>,
    beginnings: Beginnings,
    /// The fan-out for subscriptions within this process; it lives beside the registry.
    local: Addr<FanOut>,
    next_worker: Arc<AtomicU32>,
    admission: Arc<Admission>,
    /// The bytes that callers outside of any session may have on their way, and how many they are in all.
    flight: Arc<Semaphore>,
    flight_bytes_max: usize,
    /// Over which time everybody is sent away, once that has begun.
    draining: watch::Sender<Option<Duration>>,
}

/// What has come of a [drain](Hub::drain).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drained {
    /// The sessions there were when it began.
    pub sessions: usize,
    /// Those that had not ended in time and were cut off.
    pub cut: usize,
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inner")
            .field("id", &self.id)
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

/// The hub could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Actors need an actix system.
    #[error(
        "there is no actix system: start the hub within #[actix_web::main], #[actix::main] or a System of your own"
    )]
    NoSystem,
}

/// A message was not published.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// The topic is none.
    #[error(transparent)]
    Topic(#[from] TopicError),
    /// The topic is the server's own.
    #[error("topics that begin with $sys are the server's own")]
    SystemTopic,
    /// The data cannot be a payload.
    #[error(transparent)]
    Payload(#[from] PayloadError),
    /// The payload is longer than the settings allow.
    #[error("the payload has {len} bytes, the limit is {max}")]
    TooLarge {
        /// Its length in bytes.
        len: usize,
        /// [`Settings::message_bytes_max`].
        max: usize,
    },
    /// A condition of the publish does not hold.
    #[error("{}", .0.message)]
    Refused(CommandError),
    /// The hub has stopped.
    #[error("the hub has stopped")]
    HubStopped,
}

/// There is no answer to what was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AskError {
    /// It cannot be answered.
    #[error("{}", .0.message)]
    Refused(CommandError),
    /// The hub has stopped.
    #[error("the hub has stopped")]
    HubStopped,
}

/// A subscription could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SubscribeError {
    /// Neither a topic nor a pattern.
    #[error(transparent)]
    Filter(#[from] TopicError),
    /// What was published before cannot be had in this way.
    #[error("{}", .0.message)]
    Refused(CommandError),
    /// The hub has stopped.
    #[error("the hub has stopped")]
    HubStopped,
}

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

    /// What the hub was started with, or told last by [`reload`](Self::reload).
    pub fn settings(&self) -> Arc<Settings> {
        Arc::clone(&self.inner.settings.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Publishes any serializable value, as JSON, and returns its place in the topic. Waits while too much is on its
    /// way to slow subscribers.
    ///
    /// # Errors
    /// If the topic is none or the server's own, or the value does not serialize, nests too deep or is too long.
    pub async fn publish<T: Serialize + ?Sized>(
        &self,
        topic: &str,
        value: &T,
    ) -> Result<Position, PublishError> {
        let topic = Topic::parse(topic)?;
        self.publish_payload(topic, Payload::of(value)?).await
    }

    /// Publishes a payload as it is: JSON, MessagePack or bytes.
    ///
    /// # Errors
    /// If the topic is the server's own or the payload is too long.
    pub async fn publish_payload(&self, topic: Topic, payload: Payload) -> Result<Position, PublishError> {
        self.publish_with(topic, payload, PublishOptions::default()).await.map(|published| published.position)
    }

    /// Publishes a payload with a key, a time to live, a name against repeats, a condition and the like.
    ///
    /// # Errors
    /// If the topic is the server's own, the payload is too long, or a condition does not hold.
    pub async fn publish_with(
        &self,
        topic: Topic,
        payload: Payload,
        options: PublishOptions,
    ) -> Result<Published, PublishError> {
        let (len, max) = (payload.as_bytes().len(), self.settings().message_bytes_max);
        if len > max {
            return Err(PublishError::TooLarge { len, max });
        }
        if topic.is_system() {
            return Err(PublishError::SystemTopic);
        }
        let share = len.clamp(1, self.inner.flight_bytes_max) as u32;
        let share = Arc::clone(&self.inner.flight).acquire_many_owned(share).await;
        let permit = Some(Permit::holding(share.map_err(|_| PublishError::HubStopped)?));
        let said = options != PublishOptions::default();
        let options = said.then(|| Box::new(publication_options(options, &self.inner.beginnings.house)));
        let reply = self.ask(move |asker| {
            Input::Publish(Publication { topic, payload, options, asker, subscribers: 0, permit })
        });
        match reply.await {
            Some(Reply::Published { topic, position, subscribers, duplicate, .. }) => {
                Ok(Published { topic, position, subscribers, duplicate })
            }
            Some(Reply::Error(error)) => Err(PublishError::Refused(error)),
            _ => Err(PublishError::HubStopped),
        }
    }

    /// What was published to a topic before, as far as it is remembered.
    ///
    /// # Errors
    /// If the position to begin from is lost.
    pub async fn history(&self, history: History) -> Result<HistoryPage, AskError> {
        match self.ask(move |asker| Input::History { asker, history, permit: None }).await {
            Some(Reply::History { page, .. }) => Ok(page),
            Some(Reply::Error(error)) => Err(AskError::Refused(error)),
            _ => Err(AskError::HubStopped),
        }
    }

    /// Who is on a topic.
    ///
    /// # Errors
    /// If the hub has stopped.
    pub async fn presence(&self, topic: Topic) -> Result<Presence, AskError> {
        match self.ask(move |asker| Input::Presence { asker, topic, permit: None }).await {
            Some(Reply::Presence { presence, .. }) => Ok(presence),
            Some(Reply::Error(error)) => Err(AskError::Refused(error)),
            _ => Err(AskError::HubStopped),
        }
    }

    async fn ask(&self, question: impl FnOnce(Asker) -> Input + Send + 'static) -> Option<Reply> {
        let (answered, answer) = oneshot::channel();
        self.inner.beginnings.registry.do_send(Ask { question: Box::new(question), answered });
        answer.await.ok()
    }

    /// Subscribes this process to a topic or pattern. From the return of this on, every message comes through the
    /// stream, which holds up to [`SUBSCRIPTION_MESSAGES_MAX`] for its reader and ends if that is not enough.
    ///
    /// # Errors
    /// If `filter` is neither a topic nor a pattern.
    pub async fn subscribe(&self, filter: &str) -> Result<Subscription, SubscribeError> {
        self.subscribe_with(filter, SubscribeOptions::default()).await
    }

    /// The same, beginning with what was published before: `replay` in the options. The other options are for
    /// sessions.
    ///
    /// # Errors
    /// If `filter` is neither a topic nor a pattern, or matches more topics than a replay covers.
    pub async fn subscribe_with(
        &self,
        filter: &str,
        options: SubscribeOptions,
    ) -> Result<Subscription, SubscribeError> {
        let filter = Filter::parse(filter)?;
        let (opened, stream) = oneshot::channel();
        let (subscribed, confirmed) = oneshot::channel();
        let capacity = SUBSCRIPTION_MESSAGES_MAX;
        let options = SubscribeOptions { replay: options.replay, ..SubscribeOptions::default() };
        self.inner.local.do_send(OpenStream { filter, options, capacity, opened, subscribed });
        if let Reply::Error(error) = confirmed.await.map_err(|_| SubscribeError::HubStopped)? {
            return Err(SubscribeError::Refused(error));
        }
        stream.await.map_err(|_| SubscribeError::HubStopped)
    }

    /// Mounts the hub in an `App`: WebSocket at `/ws`, the HTTP API at `/topics/…`, `/publish` and `/healthz`.
    ///
    /// After the end of a WebSocket `HttpServer` keeps the TCP connection for its `client_disconnect_timeout`, which
    /// is a second unless you set it; zero closes it at once. And it notices that somebody who waits for messages over
    /// HTTP has hung up only with `h1_allow_half_closed(false)`; else it is noticed when the time to wait is over.
    ///
    /// ```no_run
    /// # use actix_web::{App, HttpServer};
    /// # #[actix_web::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let hub = topichub::Hub::start(topichub::Settings::default())?;
    /// HttpServer::new(move || App::new().configure(|app| hub.configure(app))).bind("127.0.0.1:8080")?.run().await?;
    /// # Ok(()) }
    /// ```
    pub fn configure(&self, app: &mut web::ServiceConfig) {
        let hub = self.clone();
        app.route(
            "/ws",
            web::get().to(move |request, payload| route::websocket(hub.clone(), request, payload)),
        );
        http::configure(self, app);
    }

    /// Mounts what those who run the server look at, for a listener that nobody else reaches: `/healthz`, `/readyz` and
    /// `/metrics`. On the listener of [`configure`](Self::configure) they are already, the metrics for those with the
    /// admin grant where authentication is configured.
    pub fn configure_operations(&self, app: &mut web::ServiceConfig) {
        http::operations::configure(self, http::operations::Readers::Anybody, app);
    }

    /// How many WebSocket connections are open or closing, over all threads.
    pub fn sessions(&self) -> usize {
        self.inner.beginnings.census.sessions.load(Ordering::Relaxed)
    }

    /// How many bytes of memory topics and what is remembered of them take, as of the last second; at most
    /// [`Settings::history_bytes_max`].
    pub fn history_bytes(&self) -> usize {
        self.inner.beginnings.census.history_bytes.load(Ordering::Relaxed)
    }

    /// Keeps to other settings from now on: rules count for topics that exist too and for what is published next, limits
    /// and times for what connections do next. A connection keeps what was agreed on when it began: its longest message,
    /// its rates, and whether it is compressed. These stay as the hub was started, whatever is said: who is let in
    /// (`connections_max`, `connections_per_address_max`, `handshakes_max`, `accepts_per_second_max`), the time for a
    /// request's header (`handshake_timeout`), what counts for users (`sessions_per_user_max`,
    /// `publishes_per_second_per_user_max`), `local_flight_bytes_max`, `presence_interval` and `presence_members_max`.
    pub fn reload(&self, settings: Settings) {
        let rules = Arc::new(Rules::new(settings.topics.clone()));
        let settings = Arc::new(settings);
        *self.inner.settings.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&settings);
        self.inner.beginnings.registry.do_send(Reload { settings, rules });
    }

    /// What the threads have counted, as of the last second.
    pub(crate) fn board(&self) -> &Board {
        &self.inner.beginnings.census.board
    }

    /// Whether clients are being sent away.
    pub fn is_draining(&self) -> bool {
        self.inner.draining.borrow().is_some()
    }

    /// Returns when clients begin to be sent away, with the time over which that is done.
    pub async fn drain_begun(&self) -> Duration {
        let mut draining = self.inner.draining.subscribe();
        match draining.wait_for(Option::is_some).await.map(|over| *over) {
            Ok(Some(over)) => over,
            // The hub holds the other end.
            _ => std::future::pending().await,
        }
    }

    /// Nobody who comes while the others are sent away is let in.
    pub(crate) fn takes_newcomers(&self) -> Result<(), Problem> {
        if self.is_draining() {
            return Err(Problem::unavailable("the server is being drained".to_owned(), RETRY_SECONDS));
        }
        Ok(())
    }

    /// Returns when somebody who waits is to be sent away: while the hub is drained, at a moment of its own.
    pub(crate) async fn sent_away(&self) {
        let mut draining = self.inner.draining.subscribe();
        let Ok(over) = draining.wait_for(Option::is_some).await.map(|over| over.unwrap_or_default()) else {
            return std::future::pending().await;
        };
        tokio::time::sleep(over.mul_f64(Chance::new().share())).await;
    }

    /// Whether the registry takes what it is sent, within this time.
    pub(crate) async fn is_responsive(&self, within: Duration) -> bool {
        let asked = self.inner.beginnings.registry.send(Probe);
        matches!(tokio::time::timeout(within, asked).await, Ok(Ok(())))
    }

    /// Tells every client to come back (4201) and closes its connection, one after the other over this time, each at a
    /// moment of its own. From the call on newcomers are refused. What this returns waits until all have gone; those
    /// who have not answered two seconds after the time is over are cut off.
    ///
    /// ```no_run
    /// # async fn stop(hub: topichub::Hub, server: actix_web::dev::ServerHandle) {
    /// hub.drain(std::time::Duration::from_secs(30)).await;
    /// server.stop(true).await;
    /// # }
    /// ```
    pub fn drain(&self, over: Duration) -> impl Future<Output = Drained> + use<> {
        let sessions = self.sessions();
        let begins = self.inner.draining.send_if_modified(|draining| {
            let begins = draining.is_none();
            draining.get_or_insert(over);
            begins
        });
        if begins {
            self.inner.beginnings.census.draining.store(true, Ordering::Relaxed);
            self.inner.beginnings.registry.do_send(Drain { over });
        }
        let hub = self.clone();
        async move {
            let cut = match tokio::time::timeout(over + GOODBYE_MAX, hub.all_gone()).await {
                Ok(()) => 0,
                Err(_) => {
                    let left = hub.sessions();
                    hub.inner.beginnings.registry.do_send(Cut);
                    let _ = tokio::time::timeout(GOODBYE_MAX, hub.all_gone()).await;
                    left
                }
            };
            Drained { sessions, cut }
        }
    }

    async fn all_gone(&self) {
        let mut look = tokio::time::interval(Duration::from_millis(20));
        while self.sessions() > 0 {
            look.tick().await;
        }
    }

    pub(crate) fn registry(&self) -> &Addr<Registry> {
        &self.inner.beginnings.registry
    }

    pub(crate) fn seats(&self) -> Seats {
        self.inner.beginnings.house.seats
    }

    pub(crate) fn publish_rates(&self) -> &PublishRates {
        &self.inner.beginnings.publish_rates
    }

    pub(crate) fn census(&self) -> &Census {
        &self.inner.beginnings.census
    }

    /// Who decides who somebody is.
    pub(crate) fn authority(&self) -> &dyn Authority {
        &*self.inner.beginnings.authority
    }

    pub(crate) fn admission(&self) -> &Arc<Admission> {
        &self.inner.admission
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
