//! MessagePack's timestamps (extension type -1) as RFC 3339 text.
//! Pure arithmetic on bytes: no clock is read.

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// The type of a timestamp extension.
pub(crate) const TIMESTAMP: i8 = -1;

/// The instant as RFC 3339 in UTC, with as many digits of a second as it has; `None` if the bytes are not one of
/// the three forms of the specification, or not in the years 0 to 9999, which is all RFC 3339 can say.
pub(crate) fn rfc3339(bytes: &[u8]) -> Option<String> {
    let (seconds, nanos) = match bytes.len() {
        4 => (i64::from(u32::from_be_bytes(*bytes.first_chunk()?)), 0),
        8 => {
            let both = u64::from_be_bytes(*bytes.first_chunk()?);
            ((both & 0x3_ffff_ffff) as i64, (both >> 34) as u32)
        }
        12 => (i64::from_be_bytes(*bytes.last_chunk()?), u32::from_be_bytes(*bytes.first_chunk()?)),
        _ => return None,
    };
    let instant = OffsetDateTime::from_unix_timestamp(seconds).ok()?.replace_nanosecond(nanos).ok()?;
    instant.format(&Rfc3339).ok()
}
