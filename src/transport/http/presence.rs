//! `GET /topics/{topic}/presence`: who is on a topic.

use std::hash::{BuildHasher, RandomState};
use std::sync::LazyLock;

use actix_web::{HttpRequest, HttpResponse};

use super::caller::permit;
use super::openapi::{PresenceDocument, TopicName};
use super::representation::{codec_of, show};
use super::request::{Place, topic_of};
use crate::embed::Hub;
use crate::hub::grants::Action;
use crate::transport::problem::Problem;

/// Seeded, so that nobody can come and go in such a way that the answer seems to be the same.
static HASHER: LazyLock<RandomState> = LazyLock::new(RandomState::new);

/// See who is on a topic
#[utoipa::path(
    get, path = "/topics/{topic}/presence", tag = "topics",
    params(
        ("topic" = TopicName, Path, description = "Which topic"),
        ("If-None-Match" = Option<String>, Header, description = "The ETag of the answer that the client has"),
    ),
    responses(
        (status = 200, description = "Who is there", content((PresenceDocument = "application/json"), (PresenceDocument = "application/msgpack")), headers(("ETag" = String, description = "For `If-None-Match`"))),
        (status = 304, description = "It is as the client has it", headers(("ETag" = String, description = "What the client has"))),
        (status = 400, description = "The topic is none"),
    ),
)]
pub(super) async fn presence(hub: Hub, request: HttpRequest) -> Result<HttpResponse, Problem> {
    let topic = topic_of(&request, Place::LastButOne)?;
    permit(&hub, &request, Action::Presence, &topic).await?;
    let presence = hub.presence(topic).await?;
    let codec = codec_of(&request);
    let mut body = Vec::new();
    codec.encode_presence(&presence, &mut body);
    let state = format!("{:x}", HASHER.hash_one(&body));
    Ok(show(&request, codec, &state, |out| *out = body))
}
