//! What a message of a run carries: its run, topic, number and time, then filler that follows from them.
//! A payload is text, so that it is the same in both codecs; sockets and counts are not known here.

use std::io::Write;

use bytes::Bytes;
use topichub::Payload;
use topichub::protocol::PayloadError;

/// Digits of each field; all are hexadecimal.
const RUN: usize = 8;
const TOPIC: usize = 6;
const NUMBER: usize = 10;
const TIME: usize = 12;

/// `bench-` and the run: what a payload begins with.
const MARK_BYTES: usize = 6 + RUN;
const STAMP_BYTES: usize = MARK_BYTES + 1 + TOPIC + 1 + NUMBER + 1 + TIME;

/// The stamp in quotes.
pub(super) const PAYLOAD_BYTES_MIN: usize = STAMP_BYTES + 2;

/// Which message it is, and when it was due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    pub(super) topic: u32,
    /// The first of a topic is 1.
    pub(super) number: u64,
    /// Nanoseconds since the run began.
    pub(super) due: u64,
}

/// Writes and finds the stamps of one run.
#[derive(Debug)]
pub(super) struct Stamper {
    mark: [u8; MARK_BYTES],
    payload_bytes: usize,
}

impl Stamper {
    /// `run` tells this run from others that publish at the same time.
    pub(super) fn new(run: u32, payload_bytes: usize) -> Self {
        let mut mark = [0; MARK_BYTES];
        let _ = write!(&mut mark[..], "bench-{run:08x}"); // exactly as long
        Self { mark, payload_bytes }
    }

    /// Appends the payload of a message, as JSON.
    pub(super) fn write(&self, stamp: Stamp, out: &mut Vec<u8>) {
        let start = out.len();
        out.push(b'"');
        out.extend_from_slice(&self.mark);
        let Stamp { topic, number, due } = stamp;
        let _ = write!(out, ".{topic:06x}.{number:010x}.{due:012x}"); // into memory
        let filler = start + self.payload_bytes - 1 - out.len();
        fill(number, filler, out);
        out.push(b'"');
    }

    /// The payload of a message.
    pub(super) fn payload(&self, stamp: Stamp) -> Result<Payload, PayloadError> {
        let mut text = Vec::with_capacity(self.payload_bytes);
        self.write(stamp, &mut text);
        Payload::from_json(Bytes::from(text))
    }

    /// The stamp in an encoded message, and where it begins; `hint` is where it began in the last one.
    pub(super) fn find(&self, bytes: &[u8], hint: usize) -> Option<(Stamp, usize)> {
        let is_here = |at: usize| bytes.get(at..at + MARK_BYTES) == Some(&self.mark[..]);
        let at = if is_here(hint) { hint } else { (0..bytes.len()).find(|at| is_here(*at))? };
        let mut rest = bytes.get(at + MARK_BYTES..at + STAMP_BYTES)?;
        let mut field = |digits: usize| {
            let (field, after) = rest.split_at_checked(digits + 1)?;
            rest = after;
            let (dot, digits) = field.split_first()?;
            (*dot == b'.').then(|| hexadecimal(digits)).flatten()
        };
        let topic = u32::try_from(field(TOPIC)?).ok()?;
        Some((Stamp { topic, number: field(NUMBER)?, due: field(TIME)? }, at))
    }
}

/// The filler is another one for each message, and as easy to compress as prices are.
fn fill(number: u64, len: usize, out: &mut Vec<u8>) {
    let end = out.len() + len;
    let mut random = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    while out.len() < end {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let _ = write!(out, " bid {}.{:02}", 100 + random % 97, random / 97 % 100); // into memory
    }
    out.truncate(end);
}

fn hexadecimal(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0, |value: u64, digit| {
        let digit = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(value << 4 | u64::from(digit))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(payload_bytes: usize, stamp: Stamp) {
        let stamper = Stamper::new(0xc0ffee, payload_bytes);
        let payload = stamper.payload(stamp).unwrap();
        assert_eq!(payload.as_bytes().len(), payload_bytes);
        let message = [&b"{\"data\":"[..], payload.as_bytes(), b"}"].concat();
        for hint in [0, 9, 1000] {
            assert_eq!(stamper.find(&message, hint), Some((stamp, 9)));
        }
        assert_eq!(Stamper::new(1, payload_bytes).find(&message, 9), None);
    }

    #[test]
    fn a_stamp_is_found_again_in_payloads_of_any_length() {
        check(PAYLOAD_BYTES_MIN, Stamp { topic: 0, number: 1, due: 0 });
        check(PAYLOAD_BYTES_MIN + 1, Stamp { topic: 9_999, number: 1_000_000_000, due: 86_400_000_000_000 });
        check(128, Stamp { topic: 0xff_ffff, number: 0xff_ffff_ffff, due: 0xffff_ffff_ffff });
        check(70_000, Stamp { topic: 7, number: 8, due: 9 });
    }

    #[test]
    fn a_stamp_that_is_cut_or_has_other_digits_is_none() {
        let stamper = Stamper::new(7, PAYLOAD_BYTES_MIN);
        let mut text = Vec::new();
        stamper.write(Stamp { topic: 1, number: 2, due: 3 }, &mut text);
        assert_eq!(stamper.find(&text[..text.len() - 2], 1), None);
        text[20] = b'G';
        assert_eq!(stamper.find(&text, 1), None);
    }
}
