//! Session ids as text: the hyphenated form of a UUID (RFC 9562 §4), which the types hold as a number.
//! Any version and variant will do; whether there is such a session is not asked here.

/// Where the hyphens stand.
const HYPHENS: [usize; 4] = [8, 13, 18, 23];

/// The text of a session id, without an allocation.
pub(crate) struct SessionText([u8; 36]);

impl SessionText {
    pub(crate) fn of(session: u128) -> Self {
        let mut text = [b'-'; 36];
        let places = (0..text.len()).filter(|at| !HYPHENS.contains(at));
        for (index, at) in places.enumerate() {
            let digit = session >> (124 - 4 * index) & 15;
            text[at] = b"0123456789abcdef"[digit as usize];
        }
        Self(text)
    }

    pub(crate) fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

/// The number behind a text in either case of hex, if it has the form.
pub(crate) fn parse(text: &str) -> Option<u128> {
    if text.len() != 36 {
        return None;
    }
    text.bytes().enumerate().try_fold(0, |session, (at, byte)| match HYPHENS.contains(&at) {
        true => (byte == b'-').then_some(session),
        false => Some(session << 4 | u128::from(char::from(byte).to_digit(16)?)),
    })
}

#[cfg(test)]
mod tests {
    use super::{SessionText, parse};

    #[test]
    fn a_session_id_is_its_text() {
        let session = 0x67e55044_10b1_426f_9247_bb680e5fe0c8;
        assert_eq!(SessionText::of(session).as_str(), "67e55044-10b1-426f-9247-bb680e5fe0c8");
        for session in [0, 1, session, u128::MAX] {
            assert_eq!(parse(SessionText::of(session).as_str()), Some(session));
        }
        assert_eq!(parse("67E55044-10B1-426F-9247-BB680E5FE0C8"), Some(session));
    }

    #[test]
    fn what_is_not_hyphenated_so_is_no_session_id() {
        for text in [
            "",
            "67e5504410b1426f9247bb680e5fe0c8",
            "{67e55044-10b1-426f-9247-bb680e5fe0c8}",
            "67e55044-10b1-426f-9247-bb680e5fe0c",
            "67e55044-10b1-426f-9247-bb680e5fe0c88",
            "67e5504-410b1-426f-9247-bb680e5fe0c8",
            "67e55044-10b1-426f-9247-bb680e5fe0cg",
            "+7e55044-10b1-426f-9247-bb680e5fe0c8",
            "67e55044-10b1-426f-9247-bb680e5fe0é",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
