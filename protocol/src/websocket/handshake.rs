//! The values of the opening handshake (RFC 6455 §4): key, accept and subprotocol.
//! Headers as strings only; requests, responses and status codes are the transport's.

use base64::Engine as _;
use base64::alphabet::STANDARD as ALPHABET;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use sha1::{Digest, Sha1};

const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
const KEY_BYTES: usize = 16;

/// The key's 128 bits leave four over in their last character; clients may put anything there.
const LENIENT: GeneralPurpose =
    GeneralPurpose::new(&ALPHABET, GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true));

/// What came of the subprotocols that a client offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Selection {
    /// None was offered; the server answers without the header.
    NotOffered,
    /// The first of the client's that we support; the server answers with it.
    Selected(&'static str),
    /// Some were offered, none of them ours.
    Unknown,
    /// Not a list of tokens.
    Malformed,
}

/// The `Sec-WebSocket-Accept` that answers a `Sec-WebSocket-Key` (RFC 6455 §4.2.2).
#[must_use]
pub fn accept_key(key: &str) -> String {
    let hash = Sha1::new().chain_update(key).chain_update(GUID).finalize();
    STANDARD.encode(hash)
}

/// Whether a `Sec-WebSocket-Key` is the base64 of 16 bytes (RFC 6455 §4.1).
#[must_use]
pub fn is_valid_key(key: &str) -> bool {
    key.len() == 24 && LENIENT.decode(key).is_ok_and(|bytes| bytes.len() == KEY_BYTES)
}

/// Chooses a subprotocol from the values of all `Sec-WebSocket-Protocol` header lines, which are one list in their
/// order (RFC 6455 §11.3.4). The client's order of preference decides. Names are tokens (RFC 7230 §3.2.6) and
/// compared exactly; empty elements are skipped (RFC 7230 §7); a name offered twice, though a client must not, does no harm.
pub fn select<'a>(
    offered_header_lines: impl Iterator<Item = &'a str>,
    supported: &[&'static str],
) -> Selection {
    let mut selection = Selection::NotOffered;
    for name in offered_header_lines.flat_map(|line| line.split(',')) {
        let name = name.trim_matches([' ', '\t']);
        if name.is_empty() {
            continue;
        }
        if !is_token(name) {
            return Selection::Malformed;
        }
        if matches!(selection, Selection::Selected(_)) {
            continue;
        }
        selection = supported
            .iter()
            .find(|supported| **supported == name)
            .map_or(Selection::Unknown, |supported| Selection::Selected(supported));
    }
    selection
}

/// RFC 7230 §3.2.6.
pub(super) fn is_token(text: &str) -> bool {
    let is_token_byte = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(is_token_byte)
}

#[cfg(test)]
mod tests {
    use super::{Selection, accept_key, is_valid_key, select};

    const OURS: &[&str] = &["pubsub.json", "pubsub.msgpack"];

    #[track_caller]
    fn check(lines: &[&str], wanted: Selection) {
        assert_eq!(select(lines.iter().copied(), OURS), wanted, "{lines:?}");
    }

    #[test]
    fn the_rfcs_key_has_the_rfcs_accept() {
        assert_eq!(accept_key("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert_eq!(accept_key("x3JJHMbDL1EzLkh9GBhXDw=="), "HSmrc0sMlYUkAGmm5OPpG2HaGWk=");
    }

    #[test]
    fn a_key_is_sixteen_bytes_in_base64() {
        for key in ["dGhlIHNhbXBsZSBub25jZQ==", "AAAAAAAAAAAAAAAAAAAAAA==", "AAAAAAAAAAAAAAAAAAAAAB=="] {
            assert!(is_valid_key(key), "{key}");
        }
        let fifteen = "AAAAAAAAAAAAAAAAAAAA";
        let seventeen = "AAAAAAAAAAAAAAAAAAAAAAA=";
        let eighteen = "AAAAAAAAAAAAAAAAAAAAAAAA";
        let unpadded = "dGhlIHNhbXBsZSBub25jZQ";
        for key in [
            "",
            fifteen,
            seventeen,
            eighteen,
            unpadded,
            "dGhlIHNhbXBsZSBub25jZ-==",
            "!!!!!!!!!!!!!!!!!!!!!!==",
        ] {
            assert!(!is_valid_key(key), "{key}");
        }
    }

    #[test]
    fn the_clients_order_decides_over_all_lines() {
        check(&["pubsub.msgpack, pubsub.json"], Selection::Selected("pubsub.msgpack"));
        check(&["other", "pubsub.json", "pubsub.msgpack"], Selection::Selected("pubsub.json"));
        check(&["other,pubsub.msgpack\t", " pubsub.json"], Selection::Selected("pubsub.msgpack"));
    }

    #[test]
    fn nothing_and_nothing_of_ours_are_told_apart() {
        check(&[], Selection::NotOffered);
        check(&["", " , "], Selection::NotOffered);
        check(&["graphql-ws", "mqtt"], Selection::Unknown);
        check(&["PubSub.JSON"], Selection::Unknown);
    }

    #[test]
    fn empty_elements_and_duplicates_do_no_harm() {
        check(&[",, pubsub.json ,", ""], Selection::Selected("pubsub.json"));
        check(&["pubsub.json, pubsub.json", "pubsub.json"], Selection::Selected("pubsub.json"));
    }

    #[test]
    fn a_name_that_is_no_token_spoils_the_list_wherever_it_stands() {
        for line in
            ["pubsub.json, a b", "\"pubsub.json\"", "pubsub/json", "pubsub.json; q=1", "a, b\u{e9}", "a\0"]
        {
            check(&[line], Selection::Malformed);
            check(&["pubsub.json", line], Selection::Malformed);
            check(&[line, "pubsub.json"], Selection::Malformed);
        }
    }
}
