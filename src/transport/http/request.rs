//! What a request names in its address, the topic in the path and the parameters of the query; and its body.

use std::borrow::Cow;

use actix_web::{HttpRequest, web};
use bytes::Bytes;
use percent_encoding::percent_decode_str;
use topichub_protocol::code::ErrorCode;
use topichub_protocol::codec::query::Query;
use topichub_protocol::topic::Topic;

use crate::embed::Hub;
use crate::transport::problem::Problem;

/// How much of what was sent an answer repeats, in characters.
const SHOWN_CHARS_MAX: usize = 64;

/// Reads a body of at most `max` bytes. A peer that is slower with it than with a handshake is given up.
pub(super) async fn read(hub: &Hub, body: web::Payload, max: usize) -> Result<Bytes, Problem> {
    let timeout = hub.settings().handshake_timeout;
    match tokio::time::timeout(timeout, body.to_bytes_limited(max)).await {
        Ok(Ok(Ok(bytes))) => Ok(bytes),
        Ok(Ok(Err(_))) => Err(Problem::bad_request("the body could not be read")),
        Ok(Err(_)) => Err(Problem::new(ErrorCode::TooLarge, format!("the body is longer than {max} bytes"))),
        Err(_) => Err(Problem::too_late("body", timeout)),
    }
}

/// Which segment of the path is the topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// `/topics/{topic}`
    Last,
    /// `/topics/{topic}/messages`
    LastButOne,
}

/// The topic in the path, whatever of it is percent-encoded.
pub(super) fn topic_of(request: &HttpRequest, place: Place) -> Result<Topic, Problem> {
    let invalid = |detail: String| Problem::new(ErrorCode::InvalidTopic, detail);
    // As it was sent: the router would put replacement characters for what is not UTF-8.
    let mut segments = request.uri().path().rsplit('/');
    let text = match place {
        Place::Last => segments.next(),
        Place::LastButOne => segments.nth(1),
    };
    let sent = text.unwrap_or_default();
    let text = percent_decode_str(sent).decode_utf8();
    let text = text.map_err(|_| invalid(format!("the topic {:?} is not UTF-8", shown(sent))))?;
    Topic::parse(&text).map_err(|error| invalid(format!("invalid topic {:?}: {error}", shown(&text))))
}

/// The parameters of the query, as forms and `URLSearchParams` write them: percent-encoded, a blank as a `+`.
pub(super) fn query_of(request: &HttpRequest) -> Result<Query<'static>, Problem> {
    let parameters = request.query_string().split('&').filter(|parameter| !parameter.is_empty());
    let parameter = |parameter: &str| {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        Ok((decoded(name)?, decoded(value)?))
    };
    parameters.map(parameter).collect::<Result<_, _>>().map(Query::new)
}

fn decoded(sent: &str) -> Result<Cow<'static, str>, Problem> {
    let text = sent.replace('+', " ");
    match percent_decode_str(&text).decode_utf8() {
        Ok(text) => Ok(text.into_owned().into()),
        Err(_) => Err(Problem::bad_request(format!("{:?} in the query is not UTF-8", shown(sent)))),
    }
}

/// So much of what was sent that an answer may repeat it.
pub(super) fn shown(sent: &str) -> String {
    sent.chars().take(SHOWN_CHARS_MAX).collect()
}
