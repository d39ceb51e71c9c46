//! Proxies in front of the server: which ones are trusted, and what they say about their clients (RFC 7239). What
//! anybody else says about that is not heard.

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use actix_http::header::{HeaderMap, HeaderName};
use ipnet::IpNet;
use serde::Deserialize;

use super::problem::Problem;

const FORWARDED: HeaderName = HeaderName::from_static("forwarded");
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// Where connections come from whose word about their clients counts: an address, a network, or `unix` for all that
/// come over unix sockets.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct TrustedProxy(Place);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    Network(IpNet),
    Unix,
}

/// A text that names no place.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no trusted proxy: an address such as 10.0.0.1, a network such as 10.0.0.0/8, or \"unix\" is needed"
)]
pub struct TrustedProxyError(String);

impl FromStr for TrustedProxy {
    type Err = TrustedProxyError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "unix" {
            return Ok(Self(Place::Unix));
        }
        let network = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
        network.map(|network| Self(Place::Network(network))).map_err(|_| TrustedProxyError(text.to_owned()))
    }
}

impl TryFrom<String> for TrustedProxy {
    type Error = TrustedProxyError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

/// Whether a peer is one of the proxies; a peer on a unix socket has no address.
pub(crate) fn trusts(proxies: &[TrustedProxy], peer: Option<IpAddr>) -> bool {
    proxies.iter().any(|TrustedProxy(place)| match (place, peer) {
        (Place::Unix, None) => true,
        (Place::Network(network), Some(peer)) => network.contains(&peer.to_canonical()),
        _ => false,
    })
}

/// What a trusted proxy says about the client of a request.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Forwarded {
    /// The nearest hop that is not a trusted proxy itself, if it is known.
    pub(crate) client: Option<IpAddr>,
    /// What the client takes the server's name to be.
    pub(crate) host: Option<String>,
}

/// What is known of the client of a request beyond its peer: nothing unless the peer is a trusted proxy.
pub(crate) fn forwarded(
    proxies: &[TrustedProxy],
    peer: Option<IpAddr>,
    headers: &HeaderMap,
) -> Result<Option<Forwarded>, Problem> {
    if !trusts(proxies, peer) {
        return Ok(None);
    }
    let standard = elements(headers, &FORWARDED);
    let (mut by_standard, mut host) = (Vec::new(), None);
    for element in &standard {
        let mut hop = None;
        for (name, value) in pairs(element) {
            match () {
                () if name.eq_ignore_ascii_case("for") => hop = address(&value),
                () if name.eq_ignore_ascii_case("host") && host.is_none() => host = Some(value),
                () => {}
            }
        }
        by_standard.push(hop);
    }
    let customary = elements(headers, &X_FORWARDED_FOR);
    let by_custom: Vec<_> = customary.iter().map(|hop| address(&unquoted(hop))).collect();
    let client = match (nearest(proxies, &by_standard), nearest(proxies, &by_custom)) {
        (client, None) | (None, client) => client.flatten(),
        (Some(client), Some(same)) if client == same => client,
        // A proxy sets one of them, and whoever sends the other along wants to be somebody else.
        (Some(_), Some(_)) => {
            return Err(Problem::bad_request(
                "Forwarded and X-Forwarded-For name different clients: a proxy must set one and remove the other",
            ));
        }
    };
    let host = host.or_else(|| elements(headers, &X_FORWARDED_HOST).into_iter().next());
    Ok(Some(Forwarded { client, host }))
}

/// The nearest hop that is not a trusted proxy, or the farthest if all are. `Some(None)` if it is not named.
fn nearest(proxies: &[TrustedProxy], hops: &[Option<IpAddr>]) -> Option<Option<IpAddr>> {
    let untrusted = hops.iter().rev().find(|hop| hop.is_none_or(|hop| !trusts(proxies, Some(hop))));
    untrusted.or(hops.first()).copied()
}

/// The elements of all lines of a list header, which are separated by commas outside of quotes.
fn elements(headers: &HeaderMap, name: &HeaderName) -> Vec<String> {
    let lines = headers.get_all(name).map(|line| line.to_str().unwrap_or_default());
    lines.flat_map(|line| split(line, ',')).map(|element| element.trim().to_owned()).collect()
}

/// The pairs of an element of `Forwarded`.
fn pairs(element: &str) -> impl Iterator<Item = (&str, String)> {
    let pairs = split(element, ';').into_iter().filter_map(|pair| pair.split_once('='));
    pairs.map(|(name, value)| (name.trim(), unquoted(value)))
}

fn split(text: &str, separator: char) -> Vec<&str> {
    let mut quoted = false;
    let mut escaped = false;
    text.split(move |letter| {
        match letter {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ => return letter == separator && !quoted,
        }
        false
    })
    .collect()
}

fn unquoted(value: &str) -> String {
    let value = value.trim();
    let inner = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
    inner.map_or_else(|| value.to_owned(), |inner| inner.replace('\\', ""))
}

/// The address of a hop: with a port or without, IPv6 in brackets or not; none of `unknown` and `_hidden`.
fn address(hop: &str) -> Option<IpAddr> {
    let bare = hop.strip_prefix('[').and_then(|hop| hop.strip_suffix(']')).unwrap_or(hop);
    let address = bare.parse().ok().or_else(|| Some(hop.parse::<SocketAddr>().ok()?.ip()));
    address.map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use actix_http::header::HeaderValue;

    use super::*;

    fn look(peer: &str, lines: &[(HeaderName, &'static str)]) -> Result<Option<Forwarded>, Problem> {
        let proxies = ["10.0.0.0/8", "2001:db8::/32", "192.0.2.7"].map(|text| text.parse().unwrap());
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(name.clone(), HeaderValue::from_static(value));
        }
        forwarded(&proxies, Some(peer.parse().unwrap()), &headers)
    }

    fn client(lines: &[(HeaderName, &'static str)]) -> Option<String> {
        look("10.0.0.1", lines).unwrap().unwrap().client.map(|client| client.to_string())
    }

    #[test]
    fn the_nearest_hop_that_is_not_trusted_is_the_client() {
        let cases = [
            ("203.0.113.9", Some("203.0.113.9")),
            ("198.51.100.1, 203.0.113.9", Some("203.0.113.9")),
            ("1.2.3.4, 203.0.113.9, 192.0.2.7, 10.9.9.9", Some("203.0.113.9")),
            ("10.1.1.1, 10.2.2.2", Some("10.1.1.1")),
            ("203.0.113.9:4711", Some("203.0.113.9")),
            ("2001:db9::1", Some("2001:db9::1")),
            ("[2001:db9::1]:80", Some("2001:db9::1")),
            ("::ffff:203.0.113.9", Some("203.0.113.9")),
            ("203.0.113.9, unknown", None),
            ("203.0.113.9,", None),
        ];
        for (line, expected) in cases {
            assert_eq!(client(&[(X_FORWARDED_FOR, line)]).as_deref(), expected, "{line}");
        }
        let lines = [(X_FORWARDED_FOR, "203.0.113.9"), (X_FORWARDED_FOR, "10.0.0.2")];
        assert_eq!(client(&lines).as_deref(), Some("203.0.113.9"), "several lines are one list");
        assert_eq!(client(&[]), None);
    }

    #[test]
    fn the_standard_header_is_read_with_its_quotes() {
        let cases = [
            ("for=203.0.113.9", Some("203.0.113.9")),
            ("For=\"[2001:db9::1]:4711\";proto=https", Some("2001:db9::1")),
            ("for=1.2.3.4, for=203.0.113.9;by=10.0.0.9, for=10.0.0.2", Some("203.0.113.9")),
            ("for=\"a, for=1.2.3.4\"", None),
            ("for=_hidden", None),
            ("by=203.0.113.9", None),
        ];
        for (line, expected) in cases {
            assert_eq!(client(&[(FORWARDED, line)]).as_deref(), expected, "{line}");
        }
        let named = look("192.0.2.7", &[(FORWARDED, "for=203.0.113.9;host=\"live.example.com:8443\"")]);
        assert_eq!(named.unwrap().unwrap().host.as_deref(), Some("live.example.com:8443"));
        let named = look("192.0.2.7", &[(X_FORWARDED_HOST, "live.example.com")]);
        assert_eq!(named.unwrap().unwrap().host.as_deref(), Some("live.example.com"));
    }

    #[test]
    fn who_is_not_trusted_is_not_heard_and_two_truths_are_none() {
        let lines = [(X_FORWARDED_FOR, "1.2.3.4"), (FORWARDED, "for=1.2.3.4")];
        assert_eq!(look("203.0.113.9", &lines).unwrap(), None);
        assert_eq!(client(&lines).as_deref(), Some("1.2.3.4"));
        look("10.0.0.1", &[(X_FORWARDED_FOR, "1.2.3.4"), (FORWARDED, "for=5.6.7.8")]).unwrap_err();
    }

    #[test]
    fn what_is_no_place_is_refused_with_examples() {
        for text in ["", "10.0.0.0/33", "example.com", "Unix"] {
            let error = text.parse::<TrustedProxy>().unwrap_err().to_string();
            assert!(error.contains("10.0.0.0/8"), "{error}");
        }
        assert!(trusts(&["unix".parse().unwrap()], None));
        assert!(!trusts(&["0.0.0.0/0".parse().unwrap()], None));
    }
}
