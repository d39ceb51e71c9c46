//! The hub as a program sees it: one cheap handle to publish, to subscribe, and to mount it in an actix-web `App`.

mod drain;
mod error;
mod start;

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use actix::Addr;
use actix_web::web;
use serde::Serialize;
use tokio::sync::{Semaphore, oneshot, watch};
use topichub_protocol::command::{History, PublishOptions, SubscribeOptions};
use topichub_protocol::message::{Payload, Position};
use topichub_protocol::reply::{HistoryPage, Presence, Published, Reply};
use topichub_protocol::topic::{Filter, Topic};
use uuid::Uuid;

pub use self::drain::Drained;
pub use self::error::{AskError, PublishError, StartError, SubscribeError};
use crate::actors::fan_out::{FanOut, OpenStream, Reload};
use crate::actors::rates::PublishRates;
use crate::actors::registry::{Ask, Probe, Registry};
use crate::actors::worker::{Beginnings, Census};
use crate::authority::Authority;
use crate::hub::input::{Asker, Input, Publication};
use crate::hub::permit::Permit;
use crate::hub::seat::Seats;
use crate::hub::session::publication_options;
use crate::metrics::board::Board;
use crate::rules::Rules;
use crate::settings::Settings;
use crate::subscription::Subscription;
use crate::transport::admission::Admission;
use crate::transport::{http, route};

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

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inner")
            .field("id", &self.id)
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

impl Hub {
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

    /// Whether the registry takes what it is sent, within this time.
    pub(crate) async fn is_responsive(&self, within: Duration) -> bool {
        let asked = self.inner.beginnings.registry.send(Probe);
        matches!(tokio::time::timeout(within, asked).await, Ok(Ok(())))
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
}
