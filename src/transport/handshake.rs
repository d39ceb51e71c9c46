//! The WebSocket opening handshake (RFC 6455 §4.2): what a request must say, and what it is answered.

use actix_http::Method;
use actix_http::Version;
use actix_http::header::{self, HeaderMap, HeaderName};
use topichub_protocol::codec::Codec;
use topichub_protocol::websocket::deflate::{self, Agreed};
use topichub_protocol::websocket::handshake::{Selection, accept_key, is_valid_key, select};

use super::link::Terms;
use super::problem::Problem;
use crate::settings::Settings;

/// A handshake that succeeds.
#[derive(Debug)]
pub(crate) struct Accepted {
    /// The value of `Sec-WebSocket-Accept`.
    pub(crate) accept: String,
    /// The subprotocol to be answered: none if none was offered.
    pub(crate) subprotocol: Option<&'static str>,
    pub(crate) codec: Codec,
    /// Whether messages may be compressed; its text is the value of `Sec-WebSocket-Extensions`.
    pub(crate) deflate: Option<Agreed>,
}

/// Checks a request for `/ws`.
pub(crate) fn negotiate(
    method: &Method,
    version: Version,
    headers: &HeaderMap,
    settings: &Settings,
) -> Result<Accepted, Problem> {
    if !has_token(headers, header::UPGRADE, "websocket") {
        return Err(Problem::upgrade_required("this address speaks WebSocket: connect with ws:// or wss://"));
    }
    if *method != Method::GET || version < Version::HTTP_11 {
        let detail =
            format!("a WebSocket handshake is a GET request of HTTP/1.1 or higher, got {method} {version:?}");
        return Err(Problem::bad_request(detail));
    }
    if !has_token(headers, header::CONNECTION, "upgrade") {
        return Err(Problem::bad_request("the header Connection must contain Upgrade"));
    }
    let has_body = headers.get_all(header::CONTENT_LENGTH).any(|length| length.as_bytes() != b"0");
    if has_body || headers.contains_key(header::TRANSFER_ENCODING) {
        return Err(Problem::bad_request("a WebSocket handshake has no body"));
    }
    // None, or one that is said twice, is none (RFC 6455 §11.3).
    let one = |name: HeaderName| {
        let mut lines = headers.get_all(name);
        let value = lines.next()?.to_str().ok()?.trim();
        lines.next().is_none().then_some(value)
    };
    if one(header::SEC_WEBSOCKET_VERSION) != Some("13") {
        return Err(Problem::upgrade_required("the header Sec-WebSocket-Version must be 13"));
    }
    let Some(key) = one(header::SEC_WEBSOCKET_KEY).filter(|key| is_valid_key(key)) else {
        return Err(Problem::bad_request("one header Sec-WebSocket-Key must be the base64 of 16 bytes"));
    };
    let (codec, subprotocol) = subprotocol(headers, settings)?;
    let deflate = if settings.deflate { deflate(headers) } else { None };
    Ok(Accepted { accept: accept_key(key), subprotocol, codec, deflate })
}

/// An offer to compress that we cannot take is declined by saying nothing; the handshake goes on.
fn deflate(headers: &HeaderMap) -> Option<Agreed> {
    let lines = headers.get_all(header::SEC_WEBSOCKET_EXTENSIONS);
    deflate::negotiate(lines.filter_map(|line| line.to_str().ok()), &deflate::Settings::default())
}

impl Accepted {
    /// What the connection is to keep to.
    pub(crate) fn terms(&self, settings: &Settings) -> Terms {
        let (codec, deflate) = (self.codec, self.deflate);
        Terms { codec, deflate, message_bytes_max: settings.message_bytes_max }
    }
}

fn subprotocol(headers: &HeaderMap, settings: &Settings) -> Result<(Codec, Option<&'static str>), Problem> {
    let ours = Codec::SUBPROTOCOLS.join(" and ");
    let lines =
        headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).map(|line| line.to_str().unwrap_or("\u{fffd}"));
    match select(lines, &Codec::SUBPROTOCOLS) {
        Selection::Selected(name) => Ok((Codec::from_subprotocol(name).unwrap_or(Codec::Json), Some(name))),
        Selection::NotOffered if !settings.subprotocol_required => Ok((Codec::Json, None)),
        Selection::NotOffered => {
            Err(Problem::bad_request(format!("no subprotocol was offered; this server speaks {ours}")))
        }
        Selection::Unknown => Err(Problem::bad_request(format!(
            "none of the subprotocols offered is known; this server speaks {ours}"
        ))),
        Selection::Malformed => Err(Problem::bad_request(format!(
            "Sec-WebSocket-Protocol must be a list of names such as {ours}"
        ))),
    }
}

/// Whether a header that is a list contains a token, in any case (RFC 9110 §5.6.1).
fn has_token(headers: &HeaderMap, name: HeaderName, token: &str) -> bool {
    headers
        .get_all(name)
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(','))
        .any(|item| item.trim().eq_ignore_ascii_case(token))
}
