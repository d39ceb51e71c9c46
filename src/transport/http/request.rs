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

/// Reads a body of at most `max` bytes. A peer that is slower with it than with a handshake is given up.
pub(super) async fn read(hub: &Hub, body: web::Payload, max: usize) -> Result<Bytes, Problem> {
    let read = tokio::time::timeout(hub.settings().handshake_timeout, body.to_bytes_limited(max));
    match read.await {
        Ok(Ok(Ok(bytes))) => Ok(bytes),
        Ok(Ok(Err(_))) => Err(Problem::bad_request("the body could not be read")),
        Ok(Err(_)) => Err(Problem::new(ErrorCode::TooLarge, format!("the body is longer than {max} bytes"))),
        Err(_) => Err(Problem::request_timeout()),
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
    let text = percent_decode_str(text.unwrap_or_default()).decode_utf8();
    let text = text.map_err(|_| invalid("the topic is not UTF-8".to_owned()))?;
    let shown: String = text.chars().take(64).collect();
    Topic::parse(&text).map_err(|error| invalid(format!("invalid topic {shown:?}: {error}")))
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

fn decoded(text: &str) -> Result<Cow<'static, str>, Problem> {
    let text = text.replace('+', " ");
    match percent_decode_str(&text).decode_utf8() {
        Ok(text) => Ok(text.into_owned().into()),
        Err(_) => Err(Problem::bad_request("the query is not UTF-8")),
    }
}
