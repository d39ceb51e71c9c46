//! Publishing over HTTP: one message, or a batch of them.

use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, web};
use topichub_protocol::codec::Codec;
use topichub_protocol::command::{CommandError, Publish, PublishOptions};
use topichub_protocol::message::Payload;
use topichub_protocol::reply::Published;

use super::caller::caller;
use super::openapi::{Binary, EntryAnswer, PublishEntry, PublishedDocument, TopicName};
use super::representation::content_type;
use super::request::{Place, query_of, read, shown, topic_of};
use crate::embed::{Hub, PublishError};
use crate::hub::grants::Action;
use crate::hub::identity::Identity;
use crate::hub::session::may_on;
use crate::transport::problem::Problem;

/// How a body is to be understood, by its `Content-Type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Encoded(Codec),
    Bytes,
}

impl Form {
    fn of(request: &HttpRequest) -> Self {
        let essence = type_of(request).split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        match essence.as_str() {
            // `curl -d` names its data a form; there is no topic whose data is one.
            "" | "application/json" | "text/json" | "application/x-www-form-urlencoded" => {
                Self::Encoded(Codec::Json)
            }
            "application/msgpack" | "application/x-msgpack" | "application/vnd.msgpack" => {
                Self::Encoded(Codec::MsgPack)
            }
            other if other.ends_with("+json") => Self::Encoded(Codec::Json),
            other if other.ends_with("+msgpack") => Self::Encoded(Codec::MsgPack),
            _ => Self::Bytes,
        }
    }
}

fn type_of(request: &HttpRequest) -> &str {
    let value = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    value.unwrap_or_default()
}

/// Publish a message
///
/// The body is the data: JSON, MessagePack or, by any other type, bytes.
#[utoipa::path(
    post, path = "/topics/{topic}", tag = "topics",
    params(
        ("topic" = TopicName, Path, description = "Where to"),
        ("key" = Option<String>, Query, description = "Which of the topic's things it is about", min_length = 1, max_length = 128),
        ("ttl_ms" = Option<u64>, Query, description = "How long it is worth having, in milliseconds", minimum = 1, maximum = 9007199254740991i64),
        ("dedup" = Option<String>, Query, description = "A name by which a repeat is known", min_length = 1, max_length = 128),
        ("if_offset" = Option<u64>, Query, description = "Publish only if the topic's latest offset is this one, 0 for none", minimum = 0, maximum = 9007199254740991i64),
    ),
    request_body(
        description = "The data",
        content((Value = "application/json"), (Value = "application/msgpack"), (Binary = "application/octet-stream")),
    ),
    responses(
        (status = 200, description = "It has its place", body = PublishedDocument),
        (status = 400, description = "The topic, the query or the body is not as it must be"),
        (status = 408, description = "The body came too slowly"),
        (status = 409, description = "`if_offset` or `dedup` says otherwise"),
        (status = 413, description = "The body is over the limit"),
        (status = 429, description = "This user publishes too fast"),
    ),
)]
pub(super) async fn publish(
    hub: Hub,
    request: HttpRequest,
    body: web::Payload,
) -> Result<HttpResponse, Problem> {
    let topic = topic_of(&request, Place::Last)?;
    let caller = caller(&hub, &request).await?;
    may_on(&caller, Action::Publish, &topic)?;
    hub.publish_rates().check(|| caller.user.as_deref())?;
    let body = read(&hub, body, hub.settings().message_bytes_max).await?;
    let options = query_of(&request)?.publish_options()?;
    let payload = match Form::of(&request) {
        Form::Encoded(Codec::Json) => Payload::from_json(body),
        Form::Encoded(Codec::MsgPack) => Payload::from_msgpack(body),
        Form::Bytes => Ok(Payload::from_binary(body)),
    };
    let payload = payload.map_err(PublishError::from)?;
    let published = hub.publish_with(topic, payload, options).await?;
    let mut out = Vec::new();
    Codec::Json.encode_published(&published, &mut out);
    Ok(HttpResponse::Ok().content_type(content_type(Codec::Json)).body(out))
}

/// Publish a batch
///
/// At most 1,000 entries, each published for itself and in order, and answered in the same form. Only what is no array
/// is refused as a whole.
#[utoipa::path(
    post, path = "/publish", tag = "topics",
    request_body(content((Vec<PublishEntry> = "application/json"), (Vec<PublishEntry> = "application/msgpack"))),
    responses(
        (status = 200, description = "What has become of each, in the notation of the request", content((Vec<EntryAnswer> = "application/json"), (Vec<EntryAnswer> = "application/msgpack"))),
        (status = 400, description = "The body is no such array"),
        (status = 408, description = "The body came too slowly"),
        (status = 413, description = "The body is over the limit"),
    ),
)]
pub(super) async fn publish_batch(
    hub: Hub,
    request: HttpRequest,
    body: web::Payload,
) -> Result<HttpResponse, Problem> {
    let caller = caller(&hub, &request).await?;
    let body = read(&hub, body, hub.settings().batch_bytes_max).await?;
    let Form::Encoded(codec) = Form::of(&request) else {
        let got = shown(type_of(&request));
        return Err(Problem::bad_request(format!(
            "a batch is application/json or application/msgpack, got {got:?}"
        )));
    };
    let batch = codec.decode_batch(&body)?;
    let mut answers = Vec::with_capacity(batch.len());
    for entry in batch {
        let answer = match entry {
            Ok(entry) => publish_entry(&hub, &caller, entry).await,
            Err(error) => Err(error),
        };
        answers.push(answer);
    }
    let mut out = Vec::new();
    codec.encode_batch(&answers, &mut out);
    Ok(HttpResponse::Ok().content_type(content_type(codec)).body(out))
}

async fn publish_entry(hub: &Hub, caller: &Identity, entry: Publish) -> Result<Published, CommandError> {
    let Publish { topic, payload, options } = entry;
    may_on(caller, Action::Publish, &topic)?;
    hub.publish_rates().check(|| caller.user.as_deref())?;
    let options = options.map_or_else(PublishOptions::default, |options| *options);
    let published = hub.publish_with(topic, payload, options).await;
    published.map_err(|error| Problem::from(error).into_command_error())
}
