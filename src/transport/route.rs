//! Door B: a route in somebody's own actix-web `App`. The WebSocket is the streaming body of a 101 response.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use actix_http::StatusCode;
use actix_http::body::{BodySize, MessageBody};
use actix_web::dev::Payload;
use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, web};
use bytes::Bytes;

use super::arrival;
use super::credential;
use super::handshake::negotiate;
use super::link::Link;
use super::origin::{self, Site};
use super::problem::Problem;
use super::proxies;
use super::source::Source;
use crate::actors::session::Session;
use crate::embed::Hub;

/// Answers a handshake and starts the session behind it.
pub(crate) async fn websocket(
    hub: Hub,
    request: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    let settings = hub.settings();
    let accepted = negotiate(request.method(), request.version(), request.headers(), &settings)?;
    hub.takes_newcomers()?;
    let admission = hub.admission();
    let peer = request.peer_addr().map(|address| address.ip());
    let forwarded = proxies::forwarded(&settings.trusted_proxies, peer, request.headers())?;
    let client = forwarded.as_ref().and_then(|forwarded| forwarded.client);
    let site = Site::new(request.headers(), forwarded, arrival::is_secure(&request));
    origin::check(request.headers(), &site, &settings)?;
    let identity = credential::identify(hub.authority(), request.headers(), request.query_string(), true);
    let identity = identity.await?;
    let mut ticket = admission.admit(peer).map_err(|refusal| admission.problem(refusal))?;
    if let Some(client) = client {
        admission.attribute(&mut ticket, client).map_err(|refusal| admission.problem(refusal))?;
    }
    let address = client.or(peer);
    let worker = hub.worker();
    let link = Link::body(&accepted.terms(&settings), Rc::clone(&worker.outboxes));
    let payload: Payload = payload.into_inner();
    Session::begin(worker, Rc::clone(&link), Source::payload(payload), ticket, address, identity);

    let mut response = HttpResponse::build(StatusCode::SWITCHING_PROTOCOLS);
    response.upgrade("websocket").insert_header((header::SEC_WEBSOCKET_ACCEPT, accepted.accept));
    if let Some(subprotocol) = accepted.subprotocol {
        response.insert_header((header::SEC_WEBSOCKET_PROTOCOL, subprotocol));
    }
    if let Some(agreed) = accepted.deflate {
        response.insert_header((header::SEC_WEBSOCKET_EXTENSIONS, agreed.to_string()));
    }
    Ok(response.body(LinkBody(link)))
}

/// What the link sends, as the body of a response.
struct LinkBody(Rc<Link>);

impl MessageBody for LinkBody {
    type Error = std::convert::Infallible;

    fn size(&self) -> BodySize {
        BodySize::Stream
    }

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        self.0.poll_body(cx).map(|bytes| bytes.map(Ok))
    }
}

impl Drop for LinkBody {
    fn drop(&mut self) {
        self.0.peer_has_gone();
    }
}
