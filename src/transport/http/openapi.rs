//! The description of the HTTP API (OpenAPI 3.1), made of the handlers' own types. Shapes that the codec writes are
//! described here; `SPEC.md` is normative.

use std::sync::LazyLock;

use actix_web::HttpResponse;
use serde_json::Value;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme};
use utoipa::{Modify, OpenApi, ToSchema};

use super::{drain, explain, history, presence, publishing, sessions, topics};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "TopicHub",
        description = "Publish, look at what was published and at who is there, and look after the server. Browsers subscribe \
                       over WebSockets at /ws; see protocol/SPEC.md.",
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0"),
    ),
    paths(
        publishing::publish,
        publishing::publish_batch,
        history::messages,
        presence::presence,
        topics::list,
        topics::purge,
        sessions::list,
        sessions::disconnect,
        sessions::disconnect_user,
        sessions::unsubscribe_user,
        sessions::revoke,
        drain::drain,
        explain::explain,
    ),
    tags(
        (name = "topics", description = "What sessions may do as well"),
        (name = "administration", description = "What roles with admin = true may see and do"),
    ),
    modifiers(&Tokens),
)]
struct Description;

/// Tokens and keys go into the header; what anybody may do needs none.
struct Tokens;

impl Modify for Tokens {
    fn modify(&self, description: &mut utoipa::openapi::OpenApi) {
        let mut bearer = Http::new(HttpAuthScheme::Bearer);
        bearer.description = Some("A JSON Web Token or an API key.".to_owned());
        let components = description.components.get_or_insert_default();
        components.add_security_scheme("bearer", SecurityScheme::Http(bearer));
        let bearer = SecurityRequirement::new::<_, [&str; 0], &str>("bearer", []);
        description.security = Some(vec![bearer, SecurityRequirement::default()]);
    }
}

static DOCUMENT: LazyLock<String> = LazyLock::new(|| Description::openapi().to_json().unwrap_or_default());

/// `GET /openapi.json`.
pub(super) async fn document() -> HttpResponse {
    HttpResponse::Ok().content_type("application/json").body(DOCUMENT.as_str())
}

/// The place of a message.
#[derive(ToSchema)]
#[expect(dead_code, reason = "the codec writes it")]
pub(super) struct PublishedDocument {
    topic: String,
    /// The incarnation of the topic's log.
    epoch: String,
    /// Its place in the log, from 1.
    #[schema(minimum = 1)]
    offset: u64,
    /// How many subscriptions on this server it goes to.
    subscribers: u64,
    /// Whether it was published before under the same `dedup`.
    #[schema(required = false)]
    duplicate: bool,
}

/// One entry of a batch.
#[derive(ToSchema)]
#[expect(dead_code, reason = "the codec reads it")]
pub(super) struct PublishEntry {
    topic: String,
    /// Any JSON, or `data_base64` in its place.
    data: Option<Value>,
    data_base64: Option<String>,
    key: Option<String>,
    #[schema(minimum = 1)]
    ttl_ms: Option<u64>,
    dedup: Option<String>,
    if_offset: Option<u64>,
    exclude: Option<Vec<String>>,
    #[schema(value_type = Option<std::collections::HashMap<String, String>>)]
    meta: Option<Value>,
}

/// What has become of one entry.
#[derive(ToSchema)]
#[expect(dead_code, reason = "the codec writes it")]
#[serde(untagged)]
pub(super) enum EntryAnswer {
    Published(PublishedDocument),
    Refused { error: EntryError },
}

/// Why an entry was not published.
#[derive(ToSchema)]
#[expect(dead_code, reason = "the codec writes it")]
pub(super) struct EntryError {
    code: String,
    message: String,
    /// Whether the same may succeed later.
    retry: bool,
}

/// A page of history, in rising order of offset.
#[derive(ToSchema)]
#[expect(dead_code, reason = "the codec writes it")]
pub(super) struct HistoryDocument {
    topic: String,
    epoch: String,
    /// The latest there is, not that of the page.
    offset: u64,
    /// Whether nothing is missing before the page.
    recovered: bool,
    /// Whether there is more in the direction asked for.
    more: bool,
    messages: Vec<HistoryEntry>,
}

/// One message of the past.
#[derive(ToSchema)]
#[expect(dead_code, reason = "the codec writes it")]
pub(super) struct HistoryEntry {
    offset: u64,
    #[schema(required = false)]
    data: Value,
    #[schema(required = false)]
    data_base64: String,
    #[schema(required = false)]
    key: String,
    #[schema(required = false, value_type = std::collections::HashMap<String, String>)]
    meta: Value,
}

/// Who is on a topic.
#[derive(ToSchema)]
#[expect(dead_code, reason = "the codec writes it")]
pub(super) struct PresenceDocument {
    topic: String,
    /// How many members.
    count: u64,
    /// How many sessions they have.
    sessions: u64,
    /// Not there if they are too many to be named.
    #[schema(required = false)]
    members: Vec<PresenceMember>,
}

/// One member: a user, or a session without a name.
#[derive(ToSchema)]
#[expect(dead_code, reason = "the codec writes it")]
pub(super) struct PresenceMember {
    #[schema(required = false)]
    user: String,
    #[schema(required = false)]
    session: String,
    #[schema(required = false)]
    data: Value,
    #[schema(required = false)]
    data_base64: String,
}
