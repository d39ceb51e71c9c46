//! The description of the HTTP API (OpenAPI 3.1), made of the handlers' own types. Shapes that the codec writes are
//! described here; `SPEC.md` is normative.

use std::sync::LazyLock;

use actix_web::HttpResponse;
use serde_json::Value;
use utoipa::openapi::header::Header;
use utoipa::openapi::path::Operation;
use utoipa::openapi::response::Response;
use utoipa::openapi::schema::{Object, SchemaType, Type};
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{Content, PathItem, Ref, RefOr, Schema};
use utoipa::{Modify, OpenApi, ToSchema};
use uuid::Uuid;

use super::{drain, events, explain, history, operations, presence, publishing, sessions, topics};
use crate::transport::problem::ProblemDocument;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "TopicHub",
        description = "Publish, look at what was published and at who is there, and look after the server. Browsers subscribe \
                       over WebSockets at /ws; see protocol/SPEC.md.\n\nWhere there is GET, HEAD is answered alike, without a body; \
                       other methods are answered 405 with `Allow`. Any request may be answered 431 if its head is over the limit, and \
                       503 while there are too many connections. The operator may take tokens in a cookie as well. On a server that asks \
                       nobody who they are, nobody is an administrator.",
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0"),
    ),
    paths(
        publishing::publish,
        publishing::publish_batch,
        history::messages,
        presence::presence,
        events::stream,
        events::stream_of,
        topics::list,
        topics::purge,
        sessions::list,
        sessions::disconnect,
        sessions::disconnect_user,
        sessions::unsubscribe_user,
        sessions::revoke,
        drain::drain,
        explain::explain,
        operations::healthz,
        operations::readyz,
        operations::metrics,
        document,
    ),
    components(schemas(ProblemDocument, TopicName, PositionText, explain::Deed)),
    tags(
        (name = "topics", description = "What sessions may do as well"),
        (name = "administration", description = "What roles with admin = true may see and do"),
        (name = "operation", description = "What those who run the server look at"),
    ),
    modifiers(&Tokens, &Refusals, &Addresses),
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
        for operation in operations_of(description).filter(|operation| is_tagged(operation, "administration"))
        {
            operation.security = Some(vec![bearer.clone()]);
        }
        description.security = Some(vec![bearer, SecurityRequirement::default()]);
    }
}

/// What is answered alike wherever it is asked who asks, and what all refusals have in common: a problem document, and
/// the headers that go with the status.
struct Refusals;

impl Modify for Refusals {
    fn modify(&self, description: &mut utoipa::openapi::OpenApi) {
        for operation in operations_of(description) {
            if is_tagged(operation, "topics") || is_tagged(operation, "administration") {
                for (status, why) in [
                    ("400", "The header `Authorization` is there twice"),
                    ("401", "It is not known who asks, and must be"),
                    ("403", "Who asks may not, or asks from a page of an origin that may not"),
                    ("503", "The server cannot do it at present, or find out who asks"),
                ] {
                    let known = &mut operation.responses.responses;
                    known.entry(status.to_owned()).or_insert_with(|| Response::new(why).into());
                }
            }
            for (status, response) in &mut operation.responses.responses {
                let RefOr::T(response) = response else { continue };
                if !status.starts_with(['4', '5']) {
                    continue;
                }
                let problem = Content::new(Some(Ref::from_schema_name("ProblemDocument")));
                response.content.entry("application/problem+json".to_owned()).or_insert(problem);
                let header = match status.as_str() {
                    "401" => Some(("WWW-Authenticate", Type::String, "`Bearer` (RFC 6750)")),
                    "429" | "503" => Some(("Retry-After", Type::Integer, "In seconds, if that is known")),
                    _ => None,
                };
                if let Some((name, r#type, meaning)) = header {
                    let mut header = Header::new(Object::with_type(r#type));
                    header.description = Some(meaning.to_owned());
                    response.headers.insert(name.to_owned(), header);
                }
            }
        }
    }
}

/// A parameter is there or not: in an address there is no `null`.
struct Addresses;

impl Modify for Addresses {
    fn modify(&self, description: &mut utoipa::openapi::OpenApi) {
        for parameter in
            operations_of(description).flat_map(|operation| operation.parameters.iter_mut().flatten())
        {
            match &mut parameter.schema {
                Some(RefOr::T(Schema::Object(schema))) => {
                    if let SchemaType::Array(types) = &schema.schema_type
                        && let Some(some) = types.iter().find(|known| **known != Type::Null)
                    {
                        schema.schema_type = SchemaType::Type(some.clone());
                    }
                }
                Some(RefOr::T(Schema::OneOf(any))) => {
                    let some = any.items.iter().find(|item| matches!(item, RefOr::Ref(_))).cloned();
                    parameter.schema = some.or_else(|| parameter.schema.take());
                }
                _ => {}
            }
        }
    }
}

fn operations_of(description: &mut utoipa::openapi::OpenApi) -> impl Iterator<Item = &mut Operation> {
    description.paths.paths.values_mut().flat_map(|item| {
        let PathItem { get, put, post, delete, .. } = item;
        [get, put, post, delete].into_iter().flatten()
    })
}

fn is_tagged(operation: &Operation, tag: &str) -> bool {
    operation.tags.iter().flatten().any(|known| known == tag)
}

static DOCUMENT: LazyLock<String> = LazyLock::new(|| Description::openapi().to_json().unwrap_or_default());

/// Read this description
#[utoipa::path(
    get, path = "/openapi.json", tag = "operation", operation_id = "openapi", security(()),
    responses((status = 200, description = "An OpenAPI 3.1 document", body = Value, content_type = "application/json")),
)]
pub(super) async fn document() -> HttpResponse {
    HttpResponse::Ok().content_type("application/json").body(DOCUMENT.as_str())
}

/// 1 to 255 bytes: tokens joined by dots, without blanks, control characters, `*` and `>`.
#[derive(ToSchema)]
#[expect(dead_code, reason = "`Topic` reads it")]
// `Topic` has the last word: it counts bytes.
#[schema(as = Topic, pattern = r"^[^\s\x00-\x1f\x7f-\x9f.*>]+(\.[^\s\x00-\x1f\x7f-\x9f.*>]+)*$")]
pub(super) struct TopicName(String);

/// A topic, or a pattern in which `*` stands for one token and `>` at the end for one or more.
#[derive(ToSchema)]
#[expect(dead_code, reason = "`Filter` reads it")]
#[schema(as = Filter, pattern = r"^([^\s\x00-\x1f\x7f-\x9f.*>]+|\*)(\.([^\s\x00-\x1f\x7f-\x9f.*>]+|\*))*(\.>)?$|^>$")]
pub(super) struct FilterText(String);

/// What happens to a reader that does not keep up.
#[derive(ToSchema)]
#[expect(dead_code, reason = "the codec reads it")]
#[schema(as = SlowPolicy)]
#[serde(rename_all = "kebab-case")]
pub(super) enum PolicyName {
    Disconnect,
    Drop,
    LatestPerKey,
    Latest,
}

/// One `subscribe` command: what to subscribe to, and how (SPEC.md §4, §13 to §16).
#[derive(ToSchema)]
#[expect(dead_code, reason = "the codec reads it")]
pub(super) struct EventCommand {
    /// This or `topics`.
    #[schema(required = false)]
    topic: FilterText,
    /// This or `topic`.
    #[schema(required = false, min_items = 1, max_items = 1000)]
    topics: Vec<FilterText>,
    #[schema(required = false)]
    echo: bool,
    /// `{"last"}`, `{"seconds"}` or `{"after"}`.
    #[schema(required = false, value_type = Object)]
    replay: Value,
    #[schema(required = false)]
    slow: PolicyName,
    #[schema(required = false, minimum = 0.1, maximum = 1000)]
    max_rate: f64,
    /// `true`, or what is to be seen; not in a long poll.
    #[schema(required = false)]
    presence: Value,
    /// Not in a long poll.
    #[schema(required = false, min_length = 1, max_length = 128)]
    group: String,
}

/// A reply or push of `pubsub.json`; `op` says which.
#[derive(ToSchema)]
#[expect(dead_code, reason = "the codec writes it")]
pub(super) struct EventMap {
    op: String,
}

/// Server-Sent Events (WHATWG HTML §9.2).
#[derive(ToSchema)]
#[expect(dead_code, reason = "what they are is not looked at")]
#[schema(value_type = String)]
pub(super) struct EventStreamText(String);

/// `EPOCH:OFFSET`: which incarnation of a topic's log, and the place in it.
#[derive(ToSchema)]
#[expect(dead_code, reason = "`Position` reads it")]
#[schema(as = Position, pattern = "^(0|[1-9a-z][0-9a-z]{0,11}):(0|[1-9][0-9]{0,14})$")]
pub(super) struct PositionText(String);

/// Bytes as they are.
#[derive(ToSchema)]
#[expect(dead_code, reason = "what they are is not looked at")]
#[schema(value_type = String, format = Binary)]
pub(super) struct Binary(Vec<u8>);

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
    topic: TopicName,
    /// Any JSON, or `data_base64` in its place.
    #[schema(required = false)]
    data: Value,
    /// Bytes, in JSON only; MessagePack has them in `data`.
    #[schema(required = false)]
    data_base64: String,
    /// Which of the topic's things it is about.
    #[schema(required = false, min_length = 1, max_length = 128)]
    key: String,
    /// How long it is worth having, in milliseconds.
    #[schema(required = false, minimum = 1, maximum = 9007199254740991i64)]
    ttl_ms: u64,
    /// A name by which a repeat is known.
    #[schema(required = false, min_length = 1, max_length = 128)]
    dedup: String,
    /// Publish only if the topic's latest offset is this one, 0 for none.
    #[schema(required = false, minimum = 0, maximum = 9007199254740991i64)]
    if_offset: u64,
    /// Sessions that do not get it.
    #[schema(required = false, max_items = 100)]
    exclude: Vec<Uuid>,
    /// What is passed along: at most 16 entries of 1,024 bytes in all.
    #[schema(required = false, value_type = std::collections::HashMap<String, String>)]
    meta: Value,
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
    /// When, in milliseconds, if that is known.
    #[schema(required = false)]
    after_ms: u64,
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
