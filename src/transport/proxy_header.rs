//! The header by which a proxy in front names the client of a TCP connection: PROXY protocol, versions 1 and 2.

use std::io;
use std::net::SocketAddr;

use ppp::{v1, v2};
use tokio::io::{AsyncRead, AsyncReadExt};

/// The longest header of version 1, its line end included.
const LINE_BYTES_MAX: usize = 107;

/// What each header of version 2 begins with: its prefix, version, kind and length.
const FIXED_BYTES: usize = 16;

/// The longest header of version 2 that is read: addresses take 232 bytes, the rest is for what is not asked for.
const HEADER_BYTES_MAX: usize = 4096;

/// Reads the header and not a byte more. The client's address; none if the proxy speaks for itself or does not know.
pub(super) async fn read(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<SocketAddr>> {
    let invalid = |reason: String| io::Error::new(io::ErrorKind::InvalidData, reason);
    let mut header = vec![0; v2::PROTOCOL_PREFIX.len()];
    stream.read_exact(&mut header).await?;
    if header == v2::PROTOCOL_PREFIX {
        header.resize(FIXED_BYTES, 0);
        stream.read_exact(&mut header[v2::PROTOCOL_PREFIX.len()..]).await?;
        let length = usize::from(u16::from_be_bytes([header[14], header[15]]));
        if FIXED_BYTES + length > HEADER_BYTES_MAX {
            return Err(invalid(format!(
                "a PROXY header of {length} bytes, the limit is {HEADER_BYTES_MAX}"
            )));
        }
        header.resize(FIXED_BYTES + length, 0);
        stream.read_exact(&mut header[FIXED_BYTES..]).await?;
        let header = v2::Header::try_from(&header[..]).map_err(|error| invalid(error.to_string()))?;
        return Ok(match (header.command, header.addresses) {
            (v2::Command::Proxy, v2::Addresses::IPv4(said)) => {
                Some((said.source_address, said.source_port).into())
            }
            (v2::Command::Proxy, v2::Addresses::IPv6(said)) => {
                Some((said.source_address, said.source_port).into())
            }
            _ => None,
        });
    }
    while !header.ends_with(b"\r\n") {
        if header.len() == LINE_BYTES_MAX || !header.starts_with(b"PROXY ") {
            return Err(invalid("no PROXY header".to_owned()));
        }
        header.push(stream.read_u8().await?);
    }
    let header = v1::Header::try_from(&header[..]).map_err(|error| invalid(error.to_string()))?;
    Ok(match header.addresses {
        v1::Addresses::Tcp4(said) => Some((said.source_address, said.source_port).into()),
        v1::Addresses::Tcp6(said) => Some((said.source_address, said.source_port).into()),
        v1::Addresses::Unknown => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a header says, and what is left of the connection's bytes.
    async fn said(bytes: &[u8]) -> (io::Result<Option<SocketAddr>>, &[u8]) {
        let mut rest = bytes;
        (read(&mut rest).await, rest)
    }

    fn version_2(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let length = u16::try_from(body.len()).unwrap().to_be_bytes();
        [v2::PROTOCOL_PREFIX, &[0x20 | command, family], &length, body, b"GET /"].concat()
    }

    const ADDRESSES: [u8; 12] = [203, 0, 113, 9, 127, 0, 0, 1, 0x12, 0x67, 0, 80];

    #[actix_rt::test]
    async fn both_versions_name_the_client_and_take_no_byte_too_many() {
        let client: SocketAddr = "203.0.113.9:4711".parse().unwrap();
        let with_more = [&ADDRESSES[..], &[4, 0, 1, 0]].concat();
        let cases = [
            (b"PROXY TCP4 203.0.113.9 127.0.0.1 4711 80\r\nGET /".to_vec(), Some(client)),
            (b"PROXY UNKNOWN\r\nGET /".to_vec(), None),
            (version_2(1, 0x11, &ADDRESSES), Some(client)),
            (version_2(1, 0x11, &with_more), Some(client)),
            (version_2(0, 0x11, &ADDRESSES), None),
            (version_2(0, 0, &[]), None),
        ];
        for (bytes, expected) in cases {
            let (said, rest) = said(&bytes).await;
            assert_eq!((said.unwrap(), rest), (expected, &b"GET /"[..]), "{bytes:?}");
        }
    }

    #[actix_rt::test]
    async fn what_is_no_header_is_an_error() {
        let long = [b"PROXY TCP4 ", &[b'1'; 200][..], b"\r\n"].concat();
        let cases = [
            b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(),
            b"PROXY".to_vec(),
            b"PROXY TCP4 203.0.113.999 127.0.0.1 4711 80\r\n".to_vec(),
            b"PROXY TCP4 203.0.113.9\r\n".to_vec(),
            long,
            version_2(7, 0x11, &ADDRESSES),
            version_2(1, 0x11, &ADDRESSES[..5]),
            version_2(1, 0x21, &ADDRESSES),
            version_2(1, 0x11, &[0; 5000]),
            version_2(1, 0x11, &ADDRESSES)[..20].to_vec(),
        ];
        for bytes in cases {
            assert!(said(&bytes).await.0.is_err(), "{bytes:?}");
        }
    }
}
