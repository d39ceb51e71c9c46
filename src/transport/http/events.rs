//! `/events`: a session without a WebSocket. Its answer is a stream without an end, or ends as soon as there is something.

use std::future::poll_fn;
use std::net::IpAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use actix_http::body::{BodySize, MessageBody};
use actix_http::header::HeaderName;
use actix_web::http::header::{self, Header};
use actix_web::{HttpRequest, HttpResponse, web};
use bytes::Bytes;
use tokio::time::Instant;
use topichub_protocol::codec::Codec;
use topichub_protocol::codec::query::Query;
use topichub_protocol::command::{Command, CommandId, Operation, Replay};
use topichub_protocol::event_id::{EventId, EventIdError};

use super::caller::caller;
use super::openapi::{EventCommand, EventMap, EventStreamText, FilterText, PolicyName};
use super::representation::content_type;
use super::request::{query_of, read};
use crate::actors::session::{Session, Visitor};
use crate::embed::Hub;
use crate::hub::identity::Identity;
use crate::transport::admission::Ticket;
use crate::transport::arrival::{self, Arrival, Heir};
use crate::transport::link::Link;
use crate::transport::origin::{self, Site};
use crate::transport::problem::Problem;
use crate::transport::proxies;
use crate::transport::source::Source;

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// What nginx looks at before it collects an answer.
const X_ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// How the maps are to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// One after the other, for as long as both sides like.
    Stream,
    /// As one array, with so many messages at most, which is waited for until then.
    Poll { limit: u64, until: Instant },
}

impl Form {
    /// By `Accept` (RFC 9110 §12.5.1): a stream unless JSON is welcomer.
    fn of(request: &HttpRequest, query: &Query<'_>) -> Result<Self, Problem> {
        let mut ranges = header::Accept::parse(request).map(|accept| accept.0).unwrap_or_default();
        ranges.retain(|range| range.quality > header::Quality::ZERO);
        ranges.sort_by_key(|range| std::cmp::Reverse(range.quality));
        let polls = ranges.iter().find_map(|range| match range.item.essence_str() {
            "text/event-stream" | "text/*" | "*/*" => Some(false),
            "application/json" | "application/*" => Some(true),
            _ => None,
        });
        if !polls.unwrap_or(false) {
            return Ok(Self::Stream);
        }
        let (wait, limit) = query.long_poll()?;
        Ok(Self::Poll { limit, until: Instant::now() + wait })
    }
}

/// Subscribe over HTTP
///
/// The maps of a WebSocket session, as Server-Sent Events: `welcome`, `subscribed`, then messages (without `event`), `gap`,
/// `unsubscribed`, `expiring` and `goodbye`, which ends the stream. Each `id` says where the reader stands; a browser sends
/// it back in `Last-Event-ID` and goes on from there. With `Accept: application/json` it is a long poll: one array,
/// answered as soon as there is something, and the answer's `Last-Event-ID` is to be sent with the next.
#[utoipa::path(
    get, path = "/events", tag = "topics",
    params(
        ("topic" = Vec<FilterText>, Query, description = "What to subscribe to; more than one is said again and again", min_items = 1),
        ("last" = Option<u64>, Query, description = "Begin with so many messages of the past of each topic; only one of this, `seconds` and `after`", minimum = 0, maximum = 10000),
        ("seconds" = Option<u64>, Query, description = "Begin with the messages of so many seconds", minimum = 1, maximum = 31622400),
        ("after" = Option<String>, Query, description = "Go on behind this event id", max_length = 4096),
        ("slow" = Option<PolicyName>, Query, description = "What happens if the reader does not keep up"),
        ("max_rate" = Option<f64>, Query, description = "The most messages of a topic in a second", minimum = 0.1, maximum = 1000),
        ("group" = Option<String>, Query, description = "Share the messages with the other members of this group; not in a long poll", min_length = 1, max_length = 128),
        ("echo" = Option<bool>, Query, description = "As in `subscribe`; a stream publishes nothing itself"),
        ("wait" = Option<u64>, Query, description = "How long a long poll waits, in seconds; 25 if it is not said", minimum = 0, maximum = 60),
        ("limit" = Option<u64>, Query, description = "The most messages in the answer of a long poll, 100 if it is not said", minimum = 1, maximum = 1000),
        ("Last-Event-ID" = Option<String>, Header, description = "Go on behind this event id, whatever else is said of the past", max_length = 4096),
    ),
    responses(
        (status = 200, description = "The stream, or what a long poll has found", content((EventStreamText = "text/event-stream"), (Vec<EventMap> = "application/json")), headers(("Last-Event-ID" = String, description = "Of a long poll: what to send with the next"))),
        (status = 400, description = "The query or the id is not as it must be"),
        (status = 409, description = "Over a limit in number, such as the topics of a session"),
        (status = 429, description = "Too many commands"),
        (status = 431, description = "The head of the request, with its query, is over the limit"),
    ),
)]
pub(super) async fn stream(hub: Hub, request: HttpRequest) -> Result<HttpResponse, Problem> {
    let guest = Guest::of(&hub, &request).await?;
    let query = query_of(&request)?;
    let operation = Operation::Subscribe(query.subscribe()?);
    answer(hub, (request, guest), &query, vec![Command { id: None, operation }]).await
}

/// Subscribe over HTTP, each topic in its own way
///
/// The same with the commands in the body: an array of 1 to 128 `subscribe` commands, each with options of its own.
#[utoipa::path(
    post, path = "/events", tag = "topics",
    params(
        ("after" = Option<String>, Query, description = "Go on behind this event id, whatever the commands say of the past", max_length = 4096),
        ("wait" = Option<u64>, Query, description = "How long a long poll waits, in seconds; 25 if it is not said", minimum = 0, maximum = 60),
        ("limit" = Option<u64>, Query, description = "The most messages in the answer of a long poll, 100 if it is not said", minimum = 1, maximum = 1000),
        ("Last-Event-ID" = Option<String>, Header, description = "Go on behind this event id, whatever else is said of the past", max_length = 4096),
    ),
    request_body(content((Vec<EventCommand> = "application/json"))),
    responses(
        (status = 200, description = "The stream, or what a long poll has found", content((EventStreamText = "text/event-stream"), (Vec<EventMap> = "application/json")), headers(("Last-Event-ID" = String, description = "Of a long poll: what to send with the next"))),
        (status = 400, description = "The query, the id or a command is not as it must be"),
        (status = 408, description = "The body came too slowly"),
        (status = 409, description = "Over a limit in number, such as the topics of a session, or the same topic twice"),
        (status = 413, description = "The body is over the limit"),
        (status = 429, description = "Too many commands"),
        (status = 431, description = "The head of the request, with its query, is over the limit"),
    ),
)]
pub(super) async fn stream_of(
    hub: Hub,
    request: HttpRequest,
    body: web::Payload,
) -> Result<HttpResponse, Problem> {
    let guest = Guest::of(&hub, &request).await?;
    let query = query_of(&request)?;
    let body = read(&hub, body, hub.settings().batch_bytes_max).await?;
    let commands = Codec::Json.decode_subscribes(&body)?;
    answer(hub, (request, guest), &query, commands).await
}

/// Who asks for a session, and from where.
struct Guest {
    identity: Arc<Identity>,
    peer: Option<IpAddr>,
    /// What a trusted proxy says.
    client: Option<IpAddr>,
}

impl Guest {
    /// Whoever may have a session at all.
    async fn of(hub: &Hub, request: &HttpRequest) -> Result<Self, Problem> {
        hub.takes_newcomers()?;
        let (settings, headers) = (hub.settings(), request.headers());
        let peer = request.peer_addr().map(|address| address.ip());
        let forwarded = proxies::forwarded(&settings.trusted_proxies, peer, headers)?;
        let client = forwarded.as_ref().and_then(|forwarded| forwarded.client);
        // A session is more than a look: like a WebSocket it is for pages that may have it only.
        origin::check(headers, &Site::new(headers, forwarded, arrival::is_secure(request)), &settings)?;
        Ok(Self { identity: caller(hub, request).await?, peer, client })
    }
}

async fn answer(
    hub: Hub,
    (request, guest): (HttpRequest, Guest),
    query: &Query<'_>,
    mut commands: Vec<Command>,
) -> Result<HttpResponse, Problem> {
    let form = Form::of(&request, query)?;
    begin_behind(id_of(&request, query)?.as_ref(), &mut commands)?;
    if form != Form::Stream {
        commands.iter().try_for_each(may_come_and_go)?;
    }
    let Guest { identity, peer, client } = guest;
    let arrival = request.conn_data::<Rc<Arrival>>().cloned();
    let ticket = if form == Form::Stream { ticket(&hub, arrival.as_deref(), peer, client)? } else { None };
    let (worker, bytes) = (hub.worker(), request.query_string().len() / commands.len());
    let outboxes = Rc::clone(&worker.outboxes);
    let link = match form {
        Form::Stream => Link::events(&commands, outboxes),
        Form::Poll { limit, .. } => Link::poll(&commands, limit, outboxes),
    };
    // Until somebody goes on with it: whoever hangs up meanwhile leaves nothing behind.
    let heir = Heir::new(Rc::clone(&link));
    let visitor = Visitor { ticket, address: client.or(peer), identity: Some(identity) };
    Session::begin(worker, Rc::clone(&link), Source::silence(), visitor, (commands, bytes));
    poll_fn(|cx| link.poll_begun(cx)).await?;
    match form {
        Form::Stream => Ok(stream_to(arrival, heir)),
        Form::Poll { until, .. } => Ok(collected(&link, until).await),
    }
}

/// Where the client stands, by the header or else by the query.
fn id_of(request: &HttpRequest, query: &Query<'_>) -> Result<Option<EventId>, Problem> {
    let mut lines = request.headers().get_all(LAST_EVENT_ID);
    let Some(line) = lines.next().filter(|line| !line.is_empty()) else { return Ok(query.event_id()?) };
    if lines.next().is_some() {
        return Err(Problem::bad_request("the header Last-Event-ID is there twice"));
    }
    let text = std::str::from_utf8(line.as_bytes());
    let text = text.map_err(|_| Problem::bad_request("the header Last-Event-ID is not UTF-8"))?;
    text.parse().map(Some).map_err(|error| Problem::bad_request(format!("the header Last-Event-ID: {error}")))
}

fn invalid_id(error: EventIdError) -> Problem {
    Problem::bad_request(error.to_string())
}

/// Has the commands go on behind an id. Without one, and if a command says nothing of the past, it at least says where
/// its topics stand, so that the ids of the stream can. Each command gets its number, from 1, as its id.
fn begin_behind(id: Option<&EventId>, commands: &mut [Command]) -> Result<(), Problem> {
    if matches!((id, &*commands), (Some(EventId::One(_)), [_, _, ..])) {
        return Err(invalid_id(EventIdError::OneForMany));
    }
    for (command, number) in commands.iter_mut().zip(1..) {
        command.id.get_or_insert(CommandId::Integer(number));
        let Operation::Subscribe(subscribe) = &mut command.operation else { continue };
        if subscribe.options.group.is_some() {
            continue;
        }
        if let Some(id) = id {
            subscribe.options.replay = Some(id.replay(&subscribe.filters).map_err(invalid_id)?);
        }
        subscribe.options.replay.get_or_insert(Replay::Last(0));
    }
    Ok(())
}

/// The session of a long poll is gone with the answer.
fn may_come_and_go(command: &Command) -> Result<(), Problem> {
    let Operation::Subscribe(subscribe) = &command.operation else { return Ok(()) };
    let word = match (&subscribe.options.presence, &subscribe.options.group) {
        (Some(_), _) => "presence",
        (None, Some(_)) => "group",
        (None, None) => return Ok(()),
    };
    Err(Problem::bad_request(format!(
        "\"{word}\" is not for long polls: the session would come and go with each answer"
    )))
}

/// The place of a stream among the connections: that of the connection on which it is asked for, where that is one of
/// ours.
fn ticket(
    hub: &Hub,
    arrival: Option<&Arrival>,
    peer: Option<IpAddr>,
    client: Option<IpAddr>,
) -> Result<Option<Ticket>, Problem> {
    let admission = hub.admission();
    let admitted = match (arrival, client) {
        (Some(_), None) => Ok(None),
        (Some(arrival), Some(client)) => arrival.attribute(admission, client).map(|()| None),
        (None, client) => admission.admit(peer).and_then(|mut ticket| {
            client.map_or(Ok(()), |client| admission.attribute(&mut ticket, client))?;
            Ok(Some(ticket))
        }),
    };
    admitted.map_err(|refusal| admission.problem(refusal))
}

/// The head of a stream. What follows is written to the socket itself where that is ours, up to the end of the connection.
fn stream_to(arrival: Option<Rc<Arrival>>, heir: Heir) -> HttpResponse {
    let mut response = HttpResponse::Ok();
    response.content_type("text/event-stream");
    response.insert_header((header::CACHE_CONTROL, "no-store, no-transform"));
    response.insert_header((X_ACCEL_BUFFERING, "no"));
    response.append_header((header::VARY, "accept"));
    // Behind a stream there is no telling what an answer belongs to.
    response.force_close();
    let Some(arrival) = arrival else {
        return match heir.into_body() {
            Some(body) => response.body(body),
            None => response.finish(),
        };
    };
    arrival.bequeath(heir);
    let mut response = response.body(HeadOnly);
    response.head_mut().no_chunking(true);
    response
}

/// The maps of a long poll, once there are any or nobody waits for them any longer.
async fn collected(link: &Link, until: Instant) -> HttpResponse {
    let complete = || poll_fn(|cx| link.poll_complete(cx));
    if tokio::time::timeout_at(until, complete()).await.is_err() {
        link.hurry();
        complete().await;
    }
    let (maps, place) = link.take_answer();
    let mut response = HttpResponse::Ok();
    response.content_type(content_type(Codec::Json));
    response.insert_header((header::CACHE_CONTROL, "no-store"));
    response.append_header((header::VARY, "accept"));
    if !place.is_empty() {
        response.insert_header((LAST_EVENT_ID, place));
    }
    response.body(maps)
}

/// A body without an end of its own: it goes on where the HTTP server has let go of the connection.
struct HeadOnly;

impl MessageBody for HeadOnly {
    type Error = std::convert::Infallible;

    fn size(&self) -> BodySize {
        BodySize::Stream
    }

    fn poll_next(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        Poll::Ready(None)
    }
}
