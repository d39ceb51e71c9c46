//! Cross-origin requests over HTTP (the Fetch standard's CORS protocol): pages of allowed origins may ask and read the
//! answers, and no page of another changes anything here.

use actix_http::StatusCode;
use actix_web::body::{EitherBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::Method;
use actix_web::http::header::{self, HeaderMap, HeaderValue};
use actix_web::middleware::Next;
use actix_web::{Error, HttpResponse, ResponseError};

use super::arrival;
use super::origin::{Site, Visitor};
use super::proxies;
use crate::embed::Hub;

/// What a page may do once it has asked.
const METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD, POST, PUT, DELETE");

/// What a page may say beyond what it always may.
const HEADERS: HeaderValue =
    HeaderValue::from_static("authorization, content-type, if-none-match, last-event-id");

/// What a page may read beyond what it always may.
const EXPOSED: HeaderValue = HeaderValue::from_static("etag, last-event-id, retry-after, location, link");

/// How long a browser need not ask again, in seconds.
const MAX_AGE: HeaderValue = HeaderValue::from_static("600");

const ANYBODY: HeaderValue = HeaderValue::from_static("*");

/// The middleware of what the hub answers over HTTP.
pub(crate) async fn cross_origin<Body: MessageBody + 'static>(
    hub: Hub,
    request: ServiceRequest,
    next: Next<Body>,
) -> Result<ServiceResponse<EitherBody<Body>>, Error> {
    let settings = hub.settings();
    let headers = request.headers();
    let peer = request.peer_addr().map(|address| address.ip());
    // Who cannot be told from others is not told to be another.
    let forwarded = proxies::forwarded(&settings.trusted_proxies, peer, headers).unwrap_or_default();
    let site = Site::new(headers, forwarded, arrival::is_secure(request.request()));
    let visitor = Visitor::of(headers, &site, &settings.allowed_origins);
    let grant = match visitor {
        Visitor::Named(_) => headers.get(header::ORIGIN).cloned().map(|origin| (origin, true)),
        Visitor::Anybody => Some((ANYBODY, false)),
        Visitor::Own | Visitor::Foreign(_) => None,
    };
    let is_preflight = *request.method() == Method::OPTIONS
        && headers.contains_key(header::ORIGIN)
        && headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
    let looks_only = matches!(*request.method(), Method::GET | Method::HEAD);
    let mut response = match visitor.admit() {
        // A page may ask without asking first, in the way of a form; then it must not be carried out.
        Err(problem) if !looks_only => request.into_response(problem.error_response()).map_into_right_body(),
        _ if is_preflight => {
            let mut answer = HttpResponse::new(StatusCode::NO_CONTENT);
            let said = answer.headers_mut();
            said.insert(header::ACCESS_CONTROL_ALLOW_METHODS, METHODS);
            said.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, HEADERS);
            said.insert(header::ACCESS_CONTROL_MAX_AGE, MAX_AGE);
            request.into_response(answer).map_into_right_body()
        }
        _ => next.call(request).await?.map_into_left_body(),
    };
    grant_to(grant, response.headers_mut());
    Ok(response)
}

/// Tells the browser whether the page may read the answer; one whose site is named also with its credentials.
fn grant_to(grant: Option<(HeaderValue, bool)>, headers: &mut HeaderMap) {
    headers.append(header::VARY, HeaderValue::from_static("origin"));
    let Some((origin, with_credentials)) = grant else { return };
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
    if with_credentials {
        headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
    }
}
