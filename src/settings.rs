//! What can be set about a hub, with the defaults. Where the values come from (a file, flags, a program) is not known here.

use std::time::Duration;

use serde::{Deserialize, Deserializer};

use crate::rules::TopicRule;
use crate::transport::origin::AllowedOrigin;
use crate::transport::proxies::TrustedProxy;

/// Limits and times of a hub. The defaults suit live topics in browsers.
// What is said of a key here is what `topichub.example.toml` says of it, word for word (`topichub config --default`).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "cli", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Settings {
    /// The longest message a client may send and the longest payload that can be published, in bytes.
    pub message_bytes_max: usize,
    /// The longest body of a batch of publishes (`POST /publish`), in bytes.
    pub batch_bytes_max: usize,
    /// The most connections, WebSocket and HTTP together; fewer if the system allows fewer open files. Whoever comes
    /// beyond this limit or one of the next three is answered 503 with `Retry-After`.
    pub connections_max: usize,
    /// The most connections from one address, or from one /64 of IPv6; 0 is no limit. Behind a trusted proxy WebSockets
    /// and event streams count for the client's address and other HTTP for none; behind any other all come from the
    /// proxy's.
    pub connections_per_address_max: usize,
    /// The most connections at a time that have begun to say what they want and have not come to its end.
    pub handshakes_max: usize,
    /// The most new connections in a second; 0 is no limit.
    pub accepts_per_second_max: u32,
    /// The most topics and patterns one session may subscribe to.
    pub topics_per_session_max: usize,
    /// The most sessions of one user, over all addresses; 0 is no limit. Whoever comes beyond is disconnected (4004).
    pub sessions_per_user_max: usize,
    /// The most commands of one session in a second; 0 is no limit. As many may come at once. What comes beyond is
    /// answered `rate_limited`; who goes on all the same is disconnected (4102).
    pub commands_per_second_max: u32,
    /// The most bytes of commands of one session in a second; 0 is no limit.
    pub bytes_per_second_max: u32,
    /// The most publishes of one user in a second, over all sessions and HTTP; 0 is no limit. It is for those who have a
    /// name.
    pub publishes_per_second_per_user_max: u32,
    /// The most bytes that may wait for one slow reader, beyond the kernel's own buffers. Who falls further behind is
    /// disconnected (4104).
    pub outbox_bytes_max: usize,
    /// The most messages that may wait for one slow reader.
    pub outbox_messages_max: usize,
    /// The most bytes of memory that what waits for all slow readers together may take; each thread has its share.
    /// Beyond, those for whom most waits are disconnected first (4104).
    pub outboxes_bytes_max: usize,
    /// How long a reader may take nothing of what waits for it.
    #[serde(with = "HumanTime")]
    pub stall_timeout: Duration,
    /// The most bytes of one session's commands on their way through the hub; beyond, it is not read from.
    pub session_flight_bytes_max: usize,
    /// The most bytes published over HTTP and from within the server on their way through the hub; beyond, publishers
    /// wait.
    pub local_flight_bytes_max: usize,
    /// From one WebSocket ping to the next: the server pings every client.
    #[serde(with = "HumanTime")]
    pub ping_interval: Duration,
    /// From a ping to a sign of life. A client that gives none in time is disconnected (4103).
    #[serde(with = "HumanTime")]
    pub pong_timeout: Duration,
    /// From the server's close frame to the client's answer.
    #[serde(with = "HumanTime")]
    pub close_timeout: Duration,
    /// How long a connection may say nothing after it has come, and how long the PROXY header, the TLS handshake and the head
    /// of each request may take: a head that is late is answered 408, silence with the end of the connection.
    #[serde(with = "HumanTime")]
    pub handshake_timeout: Duration,
    /// The longest head of an HTTP request, in bytes.
    pub header_bytes_max: usize,
    /// Proxies in front of the server. What they say about their clients counts (`Forwarded`, `X-Forwarded-For`), and
    /// their own connections are not limited by address.
    #[serde(skip)]
    pub trusted_proxies: Vec<TrustedProxy>,
    /// Whose web pages may use the server beside its own. Clients that are no browsers are not asked.
    #[serde(skip)]
    pub allowed_origins: Vec<AllowedOrigin>,
    /// How much is remembered of which topics, and how their slow readers are treated: the first rule that matches
    /// counts. Of all others the last message is remembered, for an hour.
    #[serde(skip)]
    pub topics: Vec<TopicRule>,
    /// The most bytes of memory for messages of the past and their topics. Beyond, the topics that hold most lose their
    /// oldest messages first, so that one that is noisy does not cost a thousand quiet ones their last message.
    pub history_bytes_max: usize,
    /// How long a second publish under the same `dedup` is taken for a repeat of the first.
    #[serde(with = "HumanTime")]
    pub dedup_window: Duration,
    /// The shortest time between two pushes about who comes to a topic and who goes.
    #[serde(with = "HumanTime")]
    pub presence_interval: Duration,
    /// The most members of a topic that are named in pushes and answers; of more only the number is told.
    pub presence_members_max: usize,
    /// How long the position of a topic that nobody uses is kept after its last message, or after it was forgotten.
    #[serde(with = "HumanTime")]
    pub topic_linger: Duration,
    /// The most topics that are kept, messages and all, while nobody uses them; beyond, the longest unused go first.
    /// They count in `history_bytes_max` too.
    pub unused_topics_max: usize,
    /// Whether a client must name a subprotocol. If not, one that names none speaks `pubsub.json`.
    pub subprotocol_required: bool,
    /// Whether clients that offer permessage-deflate (RFC 7692) get it. A message is compressed once, whatever the number
    /// of its subscribers.
    pub deflate: bool,
    /// Messages shorter than this, in bytes with their envelope, are sent plain to everybody.
    pub deflate_bytes_min: usize,
    /// From 1 (fast) to 9 (small).
    pub deflate_level: u8,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            message_bytes_max: 64 * 1024,
            connections_max: 1_000_000,
            connections_per_address_max: 0,
            handshakes_max: 16_384,
            accepts_per_second_max: 0,
            topics_per_session_max: 128,
            sessions_per_user_max: 0,
            commands_per_second_max: 0,
            bytes_per_second_max: 0,
            publishes_per_second_per_user_max: 0,
            outbox_bytes_max: 1024 * 1024,
            outbox_messages_max: 8192,
            outboxes_bytes_max: 256 * 1024 * 1024,
            stall_timeout: Duration::from_secs(30),
            session_flight_bytes_max: 64 * 1024,
            local_flight_bytes_max: 4 * 1024 * 1024,
            batch_bytes_max: 1024 * 1024,
            ping_interval: Duration::from_secs(25),
            pong_timeout: Duration::from_secs(8),
            close_timeout: Duration::from_secs(5),
            handshake_timeout: Duration::from_secs(10),
            header_bytes_max: 16 * 1024,
            trusted_proxies: Vec::new(),
            allowed_origins: Vec::new(),
            topics: Vec::new(),
            history_bytes_max: 256 * 1024 * 1024,
            dedup_window: Duration::from_secs(120),
            presence_interval: Duration::from_secs(1),
            presence_members_max: 500,
            topic_linger: Duration::from_secs(60),
            unused_topics_max: 1_000_000,
            subprotocol_required: false,
            deflate: true,
            deflate_bytes_min: 512,
            deflate_level: 6,
        }
    }
}

/// How times are written: "25s", "1m 30s".
pub(crate) struct HumanTime;

impl HumanTime {
    #[cfg(feature = "cli")]
    pub(crate) fn serialize<S: serde::Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        humantime_serde::serialize(time, serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        humantime_serde::deserialize(deserializer)
    }
}

#[cfg(feature = "cli")]
impl schemars::JsonSchema for HumanTime {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "time".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string" })
    }
}
