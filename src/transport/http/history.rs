//! `GET /topics/{topic}/messages`: a page of what was published, and waiting for more of it.

use std::pin::pin;
use std::time::Duration;

use actix_web::{HttpRequest, HttpResponse};
use futures_util::future::{Either, select};
use topichub_protocol::command::{History, HistoryRange};
use topichub_protocol::reply::HistoryPage;

use super::caller::permit;
use super::openapi::{HistoryDocument, PositionText, TopicName};
use super::representation::{codec_of, show};
use super::request::{Place, query_of, topic_of};
use crate::embed::Hub;
use crate::hub::grants::Action;
use crate::transport::problem::Problem;

/// Look at what was published
///
/// The newest messages, or those after or before a position; with `wait`, the next one if there is none yet.
#[utoipa::path(
    get, path = "/topics/{topic}/messages", tag = "topics",
    params(
        ("topic" = TopicName, Path, description = "Which topic"),
        ("after" = Option<PositionText>, Query, description = "Only what came after this position"),
        ("before" = Option<PositionText>, Query, description = "Only what came before this position; not with `after`"),
        ("limit" = Option<u64>, Query, description = "The most messages, 100 if it is not said", minimum = 1, maximum = 1000),
        ("wait" = Option<u64>, Query, description = "How long to wait for one, in seconds; with after", minimum = 0, maximum = 60),
        ("If-None-Match" = Option<String>, Header, description = "The ETag of the answer that the client has"),
    ),
    responses(
        (status = 200, description = "A page", content((HistoryDocument = "application/json"), (HistoryDocument = "application/msgpack")), headers(("ETag" = String, description = "For `If-None-Match`"))),
        (status = 304, description = "It is as the client has it", headers(("ETag" = String, description = "What the client has"))),
        (status = 400, description = "The topic or the query is not as it must be"),
        (status = 410, description = "The position to begin from is lost"),
    ),
)]
pub(super) async fn messages(hub: Hub, request: HttpRequest) -> Result<HttpResponse, Problem> {
    let topic = topic_of(&request, Place::LastButOne)?;
    permit(&hub, &request, Action::History, &topic).await?;
    let query = query_of(&request)?.history()?;
    let history = History { topic, range: query.range, limit: query.limit };
    let page = look(&hub, history, query.wait).await?;
    let codec = codec_of(&request);
    Ok(show(&request, codec, &state(&page), |out| codec.encode_history(&page, out)))
}

/// A page; if nothing is behind the position asked for, the first page there is within `wait`.
async fn look(hub: &Hub, history: History, wait: Duration) -> Result<HistoryPage, Problem> {
    let page = hub.history(history.clone()).await?;
    if wait.is_zero() || !is_awaited(&page, &history) {
        return Ok(page);
    }
    // What is published between this look and the next one must not be missed: so the ear comes before the eye.
    let mut subscription = hub.subscribe(history.topic.as_str()).await?;
    let page = hub.history(history.clone()).await?;
    if !is_awaited(&page, &history) {
        return Ok(page);
    }
    // While the server is drained nobody is kept waiting.
    let (published, sent_away) = (pin!(subscription.next()), pin!(hub.sent_away()));
    match tokio::time::timeout(wait, select(published, sent_away)).await {
        Ok(Either::Left(_)) => Ok(hub.history(history).await?),
        Ok(Either::Right(_)) | Err(_) => Ok(page),
    }
}

/// Whether nothing has been published since, not even what is forgotten again.
fn is_awaited(page: &HistoryPage, history: &History) -> bool {
    HistoryRange::After(page.position) == history.range
}

/// Another one whenever the page of the same address is: messages do not change, and what is no longer among them
/// never comes back.
fn state(page: &HistoryPage) -> String {
    let first = page.messages.first().map_or(0, |message| message.position.offset);
    let last = page.messages.last().map_or(0, |message| message.position.offset);
    let (position, count) = (page.position, page.messages.len());
    let (recovered, more) = (u8::from(page.recovered), u8::from(page.more));
    format!("{position}.{first}-{last}.{count}.{recovered}{more}")
}
