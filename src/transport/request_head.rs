//! How long the head of a request may be: the HTTP server reads 128 KiB before it gives one up, for each connection. The
//! first head of a connection is watched as it arrives, later ones are measured when they are there.

use actix_http::Uri;
use actix_http::header::HeaderMap;

/// Watches the bytes of a connection up to the end of the first head.
#[derive(Debug)]
pub(super) struct HeadWatch {
    max: usize,
    seen: usize,
    /// Whether the line that is arriving is blank so far.
    line_is_blank: bool,
    /// Whether there has been a line: blank ones may come before it (RFC 9112 §2.2).
    has_begun: bool,
}

/// How far the head has come.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum HeadProgress {
    Arriving,
    Complete,
    TooLong,
}

impl HeadWatch {
    pub(super) fn new(max: usize) -> Self {
        Self { max, seen: 0, line_is_blank: true, has_begun: false }
    }

    pub(super) fn max(&self) -> usize {
        self.max
    }

    /// Whether anything has come.
    pub(super) fn has_begun(&self) -> bool {
        self.seen > 0
    }

    pub(super) fn see(&mut self, bytes: &[u8]) -> HeadProgress {
        for byte in bytes {
            self.seen += 1;
            match byte {
                _ if self.seen > self.max => return HeadProgress::TooLong,
                b'\n' if self.line_is_blank && self.has_begun => return HeadProgress::Complete,
                b'\n' => self.line_is_blank = true,
                b'\r' => {}
                _ => (self.line_is_blank, self.has_begun) = (false, true),
            }
        }
        HeadProgress::Arriving
    }
}

/// The length of a head that has been read, give or take what nobody can tell any more.
pub(super) fn head_bytes(target: &Uri, headers: &HeaderMap) -> usize {
    let lines = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + ": \r\n".len());
    let path = target.path_and_query().map_or(0, |path| path.as_str().len());
    path + lines.sum::<usize>()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn see(pieces: &[&str]) -> HeadProgress {
        let mut watch = HeadWatch::new(32);
        pieces
            .iter()
            .map(|piece| watch.see(piece.as_bytes()))
            .find(|progress| *progress != HeadProgress::Arriving)
            .unwrap_or(HeadProgress::Arriving)
    }

    #[test]
    fn a_head_ends_at_the_first_blank_line_behind_its_first() {
        assert_eq!(see(&["GET / HTTP/1.1\r\nHost: a\r\n"]), HeadProgress::Arriving);
        assert_eq!(see(&["GET / HTTP/1.1\r\nHost: a\r\n", "\r", "\n"]), HeadProgress::Complete);
        assert_eq!(see(&["\r\n\r\nGET / HTTP/1.1\r\n"]), HeadProgress::Arriving);
        assert_eq!(see(&["GET / HTTP/1.1\n\n"]), HeadProgress::Complete);
        assert_eq!(see(&["GET / HTTP/1.1\r\n\r\n", &"x".repeat(100)]), HeadProgress::Complete);
        assert_eq!(see(&["GET / HTTP/1.1\r\n", &"x".repeat(100)]), HeadProgress::TooLong);
        assert_eq!(see(&[&"\r\n".repeat(20)]), HeadProgress::TooLong);
    }
}
