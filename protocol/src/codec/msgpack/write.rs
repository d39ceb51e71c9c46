//! The pieces of MessagePack, each in the smallest form that holds it.
//! Each appends to the bytes so far; headers can also be put before what they count, once that is known.

use rmp::Marker;

/// Appends an integer. Outside of what MessagePack holds it would be a float; callers have none such.
pub(crate) fn write_integer(number: i128, out: &mut Vec<u8>) {
    if let Ok(small) = i8::try_from(number)
        && small >= -32
    {
        out.push(small.to_be_bytes()[0]);
    } else if let Ok(number) = u8::try_from(number) {
        marked(Marker::U8, &[number], out);
    } else if let Ok(number) = i8::try_from(number) {
        marked(Marker::I8, &number.to_be_bytes(), out);
    } else if let Ok(number) = u16::try_from(number) {
        marked(Marker::U16, &number.to_be_bytes(), out);
    } else if let Ok(number) = i16::try_from(number) {
        marked(Marker::I16, &number.to_be_bytes(), out);
    } else if let Ok(number) = u32::try_from(number) {
        marked(Marker::U32, &number.to_be_bytes(), out);
    } else if let Ok(number) = i32::try_from(number) {
        marked(Marker::I32, &number.to_be_bytes(), out);
    } else if let Ok(number) = u64::try_from(number) {
        marked(Marker::U64, &number.to_be_bytes(), out);
    } else if let Ok(number) = i64::try_from(number) {
        marked(Marker::I64, &number.to_be_bytes(), out);
    } else {
        write_f64(number as f64, out);
    }
}

/// Appends a double.
pub(crate) fn write_f64(number: f64, out: &mut Vec<u8>) {
    marked(Marker::F64, &number.to_be_bytes(), out);
}

/// Appends a string.
pub(crate) fn write_text(text: &str, out: &mut Vec<u8>) {
    header(TEXT, text.len(), |bytes| out.extend_from_slice(bytes));
    out.extend_from_slice(text.as_bytes());
}

/// Appends a `bin`.
pub(crate) fn write_bin(bytes: &[u8], out: &mut Vec<u8>) {
    header(BIN, bytes.len(), |header| out.extend_from_slice(header));
    out.extend_from_slice(bytes);
}

/// Appends the head of an array of so many items.
pub(crate) fn write_array_header(len: usize, out: &mut Vec<u8>) {
    header(ARRAY, len, |bytes| out.extend_from_slice(bytes));
}

/// Appends the head of a map of so many pairs.
pub(crate) fn write_map_header(len: usize, out: &mut Vec<u8>) {
    header(MAP, len, |bytes| out.extend_from_slice(bytes));
}

/// Makes the bytes from `start` on a string.
pub(crate) fn insert_text_header(start: usize, out: &mut Vec<u8>) {
    header(TEXT, out.len() - start, |bytes| drop(out.splice(start..start, bytes.iter().copied())));
}

/// Makes the values from `start` on, so many of them, an array.
pub(crate) fn insert_array_header(start: usize, len: usize, out: &mut Vec<u8>) {
    header(ARRAY, len, |bytes| drop(out.splice(start..start, bytes.iter().copied())));
}

/// Makes the values from `start` on, so many pairs of them, a map.
pub(crate) fn insert_map_header(start: usize, len: usize, out: &mut Vec<u8>) {
    header(MAP, len, |bytes| drop(out.splice(start..start, bytes.iter().copied())));
}

/// How lengths are written for one kind of value: in the marker itself below `fix.1`, else in 1, 2 or 4 bytes.
struct Lengths {
    fix: (u8, usize),
    one: Option<Marker>,
    two: Marker,
    four: Marker,
}

const TEXT: Lengths =
    Lengths { fix: (0xa0, 32), one: Some(Marker::Str8), two: Marker::Str16, four: Marker::Str32 };
const BIN: Lengths =
    Lengths { fix: (0, 0), one: Some(Marker::Bin8), two: Marker::Bin16, four: Marker::Bin32 };
const ARRAY: Lengths = Lengths { fix: (0x90, 16), one: None, two: Marker::Array16, four: Marker::Array32 };
const MAP: Lengths = Lengths { fix: (0x80, 16), one: None, two: Marker::Map16, four: Marker::Map32 };

fn header(kind: Lengths, len: usize, write: impl FnOnce(&[u8])) {
    let (base, fixed) = kind.fix;
    // Lengths come from bytes in memory within the limit of a message, far below 2^32.
    let [a, b, c, d] = (len as u32).to_be_bytes();
    match (len, kind.one) {
        (len, _) if len < fixed => write(&[base | d]),
        (..0x100, Some(one)) => write(&[one.to_u8(), d]),
        (..0x1_0000, _) => write(&[kind.two.to_u8(), c, d]),
        _ => write(&[kind.four.to_u8(), a, b, c, d]),
    }
}

fn marked(marker: Marker, bytes: &[u8], out: &mut Vec<u8>) {
    out.push(marker.to_u8());
    out.extend_from_slice(bytes);
}
