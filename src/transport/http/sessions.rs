//! Sessions, for administrators: who is connected, and ending that.

use actix_web::{HttpRequest, HttpResponse, web};
use serde::{Deserialize, Serialize};
use topichub_protocol::topic::Filter;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::caller::permit_admin;
use super::parameters::{page_limit, parameters};
use super::request::{read, shown};
use crate::administration::SessionStatus;
use crate::embed::Hub;
use crate::transport::problem::Problem;

/// Which sessions are wanted.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    /// Only those of this user.
    user: Option<String>,
    /// The `next` of the page before.
    after: Option<Uuid>,
    /// How many, 1 to 1,000; 100 if it is not said.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
}

/// One session.
#[derive(Debug, Serialize, ToSchema)]
struct Session {
    /// As in its `welcome`.
    session: Uuid,
    /// `null` if it has not said who it is, or has no name.
    user: Option<Box<str>>,
    /// `pubsub.json` or `pubsub.msgpack`; `events` or `poll` for a stream or a long poll over HTTP.
    protocol: &'static str,
    /// Where it comes from, if that is known.
    address: Option<String>,
    /// For how long it has been connected, in milliseconds.
    age_ms: u64,
    /// How many topics and patterns it is subscribed to.
    subscriptions: u64,
    /// How many bytes wait for it to read them.
    waiting_bytes: u64,
}

/// A page of sessions, in an order that stays the same.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SessionList {
    sessions: Vec<Session>,
    /// Where the next page begins, as `after`; `null` on the last page.
    next: Option<Uuid>,
}

/// How many sessions, subscriptions or messages have ended.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Ended {
    /// How many.
    pub(super) ended: u64,
}

/// What is to end.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Subscription {
    /// The topic or pattern, exactly as it was subscribed to.
    topic: String,
}

impl From<SessionStatus> for Session {
    fn from(status: SessionStatus) -> Self {
        Self {
            session: status.session,
            user: status.user,
            protocol: status.protocol,
            address: status.address.map(|address| address.to_string()),
            age_ms: status.age.as_millis() as u64,
            subscriptions: status.subscriptions as u64,
            waiting_bytes: status.waiting_bytes as u64,
        }
    }
}

/// List sessions
#[utoipa::path(
    get, path = "/sessions", operation_id = "sessions", tag = "administration", params(Wanted),
    responses(
        (status = 200, description = "A page of sessions", body = SessionList),
        (status = 400, description = "The query is not as it must be"),
    ),
)]
pub(super) async fn list(hub: Hub, request: HttpRequest) -> Result<HttpResponse, Problem> {
    permit_admin(&hub, &request).await?;
    let Wanted { user, after, limit } = parameters(&request)?;
    let page = hub.list_sessions(user.as_deref(), after, page_limit(limit)?).await;
    let sessions = page.sessions.into_iter().map(Session::from).collect();
    Ok(HttpResponse::Ok().json(SessionList { sessions, next: page.next }))
}

/// End a session
///
/// It is told `goodbye` with 4005, which says not to come back.
#[utoipa::path(
    post, path = "/sessions/{session}/disconnect", tag = "administration",
    params(("session" = Uuid, Path, description = "Its id")),
    responses(
        (status = 200, description = "It ends", body = Ended),
        (status = 400, description = "The id is no UUID"),
        (status = 404, description = "There is no such session"),
    ),
)]
pub(super) async fn disconnect(
    hub: Hub,
    request: HttpRequest,
    session: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    permit_admin(&hub, &request).await?;
    let id = Uuid::parse_str(&session);
    let id =
        id.map_err(|_| Problem::bad_request(format!("a session's id is a UUID, got {:?}", shown(&session))))?;
    if hub.disconnect_session(id).await {
        Ok(HttpResponse::Ok().json(Ended { ended: 1 }))
    } else {
        Err(Problem::not_found(format!("there is no session {id}")))
    }
}

/// End all sessions of a user
///
/// Each is told `goodbye` with 4005, which says not to come back.
#[utoipa::path(
    post, path = "/users/{user}/disconnect", tag = "administration",
    params(("user" = String, Path, description = "The user's name", min_length = 1)),
    responses(
        (status = 200, description = "How many end", body = Ended),
    ),
)]
pub(super) async fn disconnect_user(
    hub: Hub,
    request: HttpRequest,
    user: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    permit_admin(&hub, &request).await?;
    let ended = hub.disconnect_user(&user).await as u64;
    Ok(HttpResponse::Ok().json(Ended { ended }))
}

/// End subscriptions of a user
///
/// Those to exactly this topic or pattern, in all sessions of the user; each is told `unsubscribed` with `forbidden`.
/// Nothing keeps the user from subscribing again but permissions.
#[utoipa::path(
    post, path = "/users/{user}/unsubscribe", tag = "administration",
    params(("user" = String, Path, description = "The user's name", min_length = 1)),
    request_body = Subscription,
    responses(
        (status = 200, description = "How many end", body = Ended),
        (status = 400, description = "The body is not as it must be"),
        (status = 408, description = "The body came too slowly"),
        (status = 413, description = "The body is over the limit"),
    ),
)]
pub(super) async fn unsubscribe_user(
    hub: Hub,
    request: HttpRequest,
    user: web::Path<String>,
    body: web::Payload,
) -> Result<HttpResponse, Problem> {
    permit_admin(&hub, &request).await?;
    let body = read(&hub, body, hub.settings().message_bytes_max).await?;
    let Subscription { topic } =
        serde_json::from_slice(&body).map_err(|error| Problem::bad_request(format!("the body: {error}")))?;
    let filter = Filter::parse(&topic).map_err(Problem::invalid_topic)?;
    let ended = hub.unsubscribe_user(&user, filter).await as u64;
    Ok(HttpResponse::Ok().json(Ended { ended }))
}

/// Revoke a token
///
/// From now on the token with this id (`jti`) proves nothing on this server; sessions that came with it end with 4001.
/// It is forgotten when the server restarts: keep tokens short-lived.
#[utoipa::path(
    post, path = "/tokens/{token_id}/revoke", tag = "administration",
    params(("token_id" = String, Path, description = "The claim `jti` of the token", min_length = 1)),
    responses(
        (status = 200, description = "How many sessions end", body = Ended),
    ),
)]
pub(super) async fn revoke(
    hub: Hub,
    request: HttpRequest,
    token_id: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    permit_admin(&hub, &request).await?;
    let ended = hub.revoke_token(&token_id).await as u64;
    Ok(HttpResponse::Ok().json(Ended { ended }))
}
