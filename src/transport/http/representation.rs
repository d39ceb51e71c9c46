//! How something that can be asked for again is shown: in which notation, and not at all if the client has it already.

use actix_web::http::header::{self, EntityTag, Header, IfNoneMatch};
use actix_web::{HttpRequest, HttpResponse};
use topichub_protocol::codec::Codec;

/// The notation that the client would rather have, by its `Accept` (RFC 9110 §12.5.1). JSON unless it says otherwise.
pub(super) fn codec_of(request: &HttpRequest) -> Codec {
    let Ok(header::Accept(mut ranges)) = header::Accept::parse(request) else { return Codec::Json };
    ranges.retain(|range| range.quality > header::Quality::ZERO);
    // The sort is stable: of two that are as welcome, the first.
    ranges.sort_by_key(|range| std::cmp::Reverse(range.quality));
    let codec = |range: &header::QualityItem<actix_web::mime::Mime>| match range.item.essence_str() {
        "application/msgpack" | "application/x-msgpack" | "application/vnd.msgpack" => Some(Codec::MsgPack),
        "application/json" | "application/*" | "*/*" => Some(Codec::Json),
        _ => None,
    };
    ranges.iter().find_map(codec).unwrap_or(Codec::Json)
}

/// The `Content-Type` of a notation.
pub(super) fn content_type(codec: Codec) -> &'static str {
    if codec.is_text() { "application/json" } else { "application/msgpack" }
}

/// Answers with a body, unless it is the one that the client has. `state` stands for the body: it is another one
/// whenever the body would be. Whoever keeps the answer asks each time whether it still holds.
pub(super) fn show(
    request: &HttpRequest,
    codec: Codec,
    state: &str,
    write: impl FnOnce(&mut Vec<u8>),
) -> HttpResponse {
    let notation = if codec.is_text() { "json" } else { "msgpack" };
    let tag = EntityTag::new_strong(format!("{state}.{notation}"));
    let known = match IfNoneMatch::parse(request) {
        Ok(IfNoneMatch::Any) => true,
        Ok(IfNoneMatch::Items(tags)) => tags.iter().any(|known| known.weak_eq(&tag)),
        Err(_) => false,
    };
    let mut response = if known { HttpResponse::NotModified() } else { HttpResponse::Ok() };
    response.insert_header((header::ETAG, tag.to_string()));
    response.insert_header((header::CACHE_CONTROL, "no-cache"));
    response.insert_header((header::VARY, "accept"));
    if known {
        return response.finish();
    }
    let mut out = Vec::new();
    write(&mut out);
    response.content_type(content_type(codec)).body(out)
}
