//! TopicHub: a publish/subscribe message broker over WebSockets, for programs to embed. [`Hub`] is the handle:
//! it publishes, subscribes, and mounts itself in an actix-web `App`. The wire it speaks is `protocol/SPEC.md`.

mod actors;
mod administration;
#[cfg(feature = "auth")]
pub mod auth;
mod authority;
mod clock;
mod embed;
mod engine;
#[cfg(test)]
mod footprint;
mod hub;
mod metrics;
mod rules;
mod settings;
mod subscription;
mod transport;

pub use administration::{SessionPage, SessionStatus};
pub use authority::{Authority, Identified, Open};
pub use embed::{
    AskError, Drained, Hub, PublishError, SUBSCRIPTION_MESSAGES_MAX, StartError, SubscribeError,
};
pub use hub::explanation::{Considered, Explanation};
pub use hub::grants::{Action, Grants};
pub use hub::identity::Identity;
pub use hub::registry::{TopicPage, TopicStatus};
pub use rules::{HistoryRule, TopicRule};
pub use settings::Settings;
pub use subscription::{Subscription, SubscriptionEnded};
pub use topichub_protocol as protocol;
pub use topichub_protocol::message::{Epoch, Message, Payload, Position};
pub use topichub_protocol::topic::{Filter, Pattern, Topic};
pub use transport::listener::Listener;
pub use transport::origin::{AllowedOrigin, AllowedOriginError};
pub use transport::proxies::{TrustedProxy, TrustedProxyError};
pub use transport::server::serve;
pub use transport::tls::{Tls, TlsError, TlsSettings};
