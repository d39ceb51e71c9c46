//! How an error repeats the words of a peer: shortened, and harmless in a terminal and in a log.

/// The most characters of a peer's text that an error repeats.
const QUOTE_MAX: usize = 48;

/// The text in quotes, its controls escaped and its end cut off if it is long.
pub(crate) fn quote(text: &str) -> String {
    match text.char_indices().nth(QUOTE_MAX) {
        Some((at, _)) => format!("\"{}…\"", text[..at].escape_debug()),
        None => format!("\"{}\"", text.escape_debug()),
    }
}
