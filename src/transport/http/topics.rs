//! Topics, for administrators: which there are, and making one forget its messages.

use actix_web::{HttpRequest, HttpResponse};
use serde::{Deserialize, Serialize};
use topichub_protocol::topic::{Filter, Topic};
use utoipa::{IntoParams, ToSchema};

use super::caller::permit_admin;
use super::openapi::TopicName;
use super::parameters::{page_limit, parameters};
use super::request::{Place, topic_of};
use super::sessions::Ended;
use crate::embed::Hub;
use crate::hub::registry::TopicStatus;
use crate::transport::problem::Problem;

/// Which topics are wanted.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    /// Only those that this topic or pattern means.
    #[param(max_length = 255)]
    pattern: Option<String>,
    /// The `next` of the page before.
    #[param(value_type = Option<TopicName>)]
    after: Option<String>,
    /// How many, 1 to 1,000; 100 if it is not said.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
}

/// One topic.
#[derive(Debug, Serialize, ToSchema)]
struct TopicEntry {
    topic: String,
    /// The incarnation of its log.
    epoch: String,
    /// The offset of its last message, 0 before the first.
    offset: u64,
    /// How many messages of the past it holds.
    messages: u64,
    /// How many subscriptions its messages go to, those of patterns included.
    subscriptions: u64,
}

/// A page of topics, in the order of their names.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct TopicList {
    topics: Vec<TopicEntry>,
    /// Where the next page begins, as `after`; `null` on the last page. A page with few topics, or none, need not be the
    /// last: no more than so many are looked at for one.
    next: Option<String>,
}

impl From<TopicStatus> for TopicEntry {
    fn from(status: TopicStatus) -> Self {
        Self {
            topic: status.topic.as_str().to_owned(),
            epoch: status.position.epoch.to_string(),
            offset: status.position.offset,
            messages: status.messages,
            subscriptions: status.subscriptions,
        }
    }
}

/// List topics
#[utoipa::path(
    get, path = "/topics", operation_id = "topics", tag = "administration", params(Wanted),
    responses(
        (status = 200, description = "A page of topics", body = TopicList),
        (status = 400, description = "The query is not as it must be"),
    ),
)]
pub(super) async fn list(hub: Hub, request: HttpRequest) -> Result<HttpResponse, Problem> {
    permit_admin(&hub, &request).await?;
    let Wanted { pattern, after, limit } = parameters(&request)?;
    let filter = pattern.as_deref().map(Filter::parse).transpose().map_err(Problem::invalid_topic)?;
    let after = after.as_deref().map(Topic::parse).transpose().map_err(Problem::invalid_topic)?;
    let page = hub.topics(filter, after, page_limit(limit)?).await.ok_or_else(Problem::stopped)?;
    let topics = page.topics.into_iter().map(TopicEntry::from).collect();
    let next = page.next.map(|next| next.as_str().to_owned());
    Ok(HttpResponse::Ok().json(TopicList { topics, next }))
}

/// Purge a topic
///
/// Its messages of the past are forgotten. Offsets go on from where they are: who comes back for what is gone is told so
/// (`recovered: false`).
#[utoipa::path(
    delete, path = "/topics/{topic}/messages", tag = "administration",
    params(("topic" = TopicName, Path, description = "The topic")),
    responses(
        (status = 200, description = "How many messages are forgotten", body = Ended),
        (status = 400, description = "The topic is none"),
    ),
)]
pub(super) async fn purge(hub: Hub, request: HttpRequest) -> Result<HttpResponse, Problem> {
    permit_admin(&hub, &request).await?;
    let topic = topic_of(&request, Place::LastButOne)?;
    let ended = hub.purge(topic).await.ok_or_else(Problem::stopped)? as u64;
    Ok(HttpResponse::Ok().json(Ended { ended }))
}
