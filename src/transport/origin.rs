//! Which web pages may reach the server: those of its own origin (RFC 6454), and those that the operator allows. Clients
//! that are no browsers name no origin, and are not asked for one.

use std::fmt;
use std::str::FromStr;

use actix_http::header::{self, HeaderMap};
use serde::Deserialize;
use topichub_protocol::code::ErrorCode;

use super::problem::Problem;
use super::proxies::Forwarded;
use crate::settings::Settings;

/// The most that is repeated of an origin to the one who has named it.
const SHOWN_CHARS_MAX: usize = 128;

/// Whose pages may reach the server beside its own: `https://app.example.com`, `https://*.example.com` for all names
/// below one, `null` for pages without an origin such as files, or `*` for all.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct AllowedOrigin(Allowed);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Allowed {
    Any,
    Null,
    One(Origin),
    /// The host is what the names are below of.
    Below(Origin),
}

/// A text that is no origin.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no origin: a scheme and a host without a path are needed, such as https://app.example.com, \
     https://*.example.com or http://localhost:3000, or \"null\", or \"*\" for all"
)]
pub struct AllowedOriginError(String);

/// Scheme, host and port of a page, in lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Origin {
    scheme: String,
    host: String,
    /// None of a scheme that has no port of its own.
    port: Option<u16>,
}

/// What the server knows of itself in a request.
#[derive(Clone, Debug, Default)]
pub(crate) struct Site {
    /// What the client takes the server's name to be, with the port if it is not the usual one.
    pub(crate) host: Option<String>,
    /// Whether it is certain that the client uses TLS. If not, something before the server may have done so.
    pub(crate) is_secure: bool,
}

/// Where a request comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Visitor<'a> {
    /// No page of another site: one of ours, or no browser at all.
    Own,
    /// A page of a site that the operator has named.
    Named(&'a str),
    /// A page of any other site, and the operator allows all.
    Anybody,
    /// A page that has no business here.
    Foreign(&'a str),
}

impl Origin {
    fn parse(text: &str) -> Option<Self> {
        let (scheme, authority) = text.split_once("://")?;
        let (host, port) = split_port(authority)?;
        let is_scheme = !scheme.is_empty()
            && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
        if !is_scheme || host.is_empty() || host.contains(['/', '?', '#', '@', ' ', ',']) {
            return None;
        }
        let scheme = scheme.to_ascii_lowercase();
        let port = port.or_else(|| usual_port(&scheme));
        Some(Self { host: host.to_ascii_lowercase(), port, scheme })
    }

    /// Whether this page came from the server itself, as far as it knows its name.
    fn is_of(&self, site: &Site) -> bool {
        let Some((host, port)) = site.host.as_deref().and_then(split_port) else { return false };
        // A host without a port is at the usual one of the scheme that the client has used, whichever that was.
        let usual = if site.is_secure { Some(443) } else { usual_port(&self.scheme) };
        let is_possible = self.scheme == "https" || (self.scheme == "http" && !site.is_secure);
        is_possible && host.eq_ignore_ascii_case(&self.host) && port.or(usual) == self.port
    }
}

fn usual_port(scheme: &str) -> Option<u16> {
    match scheme {
        "https" => Some(443),
        "http" => Some(80),
        _ => None,
    }
}

/// A host and its port, if there is one.
fn split_port(authority: &str) -> Option<(&str, Option<u16>)> {
    match authority.rsplit_once(':') {
        // The colons of an address in brackets are none of a port.
        Some((host, port)) if !port.ends_with(']') => Some((host, Some(port.parse().ok()?))),
        _ => Some((authority, None)),
    }
}

impl FromStr for AllowedOrigin {
    type Err = AllowedOriginError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || AllowedOriginError(text.to_owned());
        Ok(Self(match text {
            "*" => Allowed::Any,
            "null" => Allowed::Null,
            _ => {
                let mut origin = Origin::parse(text).ok_or_else(invalid)?;
                match origin.host.strip_prefix("*.") {
                    _ if origin.host.trim_start_matches("*.").contains('*') => return Err(invalid()),
                    None => Allowed::One(origin),
                    Some(parent) => {
                        origin.host = parent.to_owned();
                        Allowed::Below(origin)
                    }
                }
            }
        }))
    }
}

impl TryFrom<String> for AllowedOrigin {
    type Error = AllowedOriginError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl AllowedOrigin {
    /// Whether it names this page's site; `*` names nobody.
    fn names(&self, text: &str, origin: Option<&Origin>) -> bool {
        match (&self.0, origin) {
            (Allowed::Any, _) => false,
            (Allowed::Null, _) => text == "null",
            (Allowed::One(allowed), Some(origin)) => allowed == origin,
            (Allowed::Below(allowed), Some(origin)) => {
                let name = origin.host.strip_suffix(&allowed.host).and_then(|name| name.strip_suffix('.'));
                let is_below = name.is_some_and(|name| !name.is_empty());
                is_below && (&allowed.scheme, allowed.port) == (&origin.scheme, origin.port)
            }
            (Allowed::One(_) | Allowed::Below(_), None) => false,
        }
    }
}

impl Site {
    pub(crate) fn new(headers: &HeaderMap, forwarded: Option<Forwarded>, is_secure: bool) -> Self {
        let said = || headers.get(header::HOST)?.to_str().ok().map(|host| host.trim().to_owned());
        Self { host: forwarded.and_then(|forwarded| forwarded.host).or_else(said), is_secure }
    }
}

impl<'a> Visitor<'a> {
    pub(crate) fn of(headers: &'a HeaderMap, site: &Site, allowed: &[AllowedOrigin]) -> Self {
        let mut lines = headers.get_all(header::ORIGIN);
        let Some(line) = lines.next() else { return Self::Own };
        let text = line.to_str().unwrap_or("\u{fffd}");
        if lines.next().is_some() {
            return Self::Foreign(text);
        }
        let origin = Origin::parse(text);
        if origin.as_ref().is_some_and(|origin| origin.is_of(site)) {
            Self::Own
        } else if allowed.iter().any(|allowed| allowed.names(text, origin.as_ref())) {
            Self::Named(text)
        } else if allowed.contains(&AllowedOrigin(Allowed::Any)) {
            Self::Anybody
        } else {
            Self::Foreign(text)
        }
    }

    /// What a page is told that has no business here.
    pub(crate) fn admit(self) -> Result<(), Problem> {
        match self {
            Self::Own | Self::Named(_) | Self::Anybody => Ok(()),
            Self::Foreign(origin) => Err(Problem::new(
                ErrorCode::Forbidden,
                format!(
                    "pages of the origin {} may not use this server; its operator can allow them with \
                     allowed_origins in [server]",
                    Shown(origin)
                ),
            )),
        }
    }
}

/// Whether the page that asks for a WebSocket may have it.
pub(crate) fn check(headers: &HeaderMap, site: &Site, settings: &Settings) -> Result<(), Problem> {
    Visitor::of(headers, site, &settings.allowed_origins).admit()
}

/// An origin as far as it is fit to be shown.
struct Shown<'a>(&'a str);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown: String = self.0.chars().take(SHOWN_CHARS_MAX).collect();
        f.write_str(&shown)
    }
}

#[cfg(test)]
mod tests {
    use actix_http::header::HeaderValue;

    use super::*;

    fn visitor(origin: &'static str, host: &str, is_secure: bool, allowed: &[&str]) -> String {
        let mut headers = HeaderMap::new();
        headers.insert(header::ORIGIN, HeaderValue::from_static(origin));
        let allowed: Vec<_> = allowed.iter().map(|text| text.parse().unwrap()).collect();
        let site = Site { host: Some(host.to_owned()), is_secure };
        let visitor = format!("{:?}", Visitor::of(&headers, &site, &allowed));
        visitor.split('(').next().unwrap_or_default().to_owned()
    }

    #[test]
    fn a_page_of_the_same_host_and_port_is_one_of_ours() {
        let cases = [
            ("http://localhost:8080", "localhost:8080", false, "Own"),
            ("https://live.example.com", "live.example.com", false, "Own"),
            ("http://live.example.com", "live.example.com", false, "Own"),
            ("https://live.example.com", "live.example.com:443", false, "Own"),
            ("http://live.example.com:80", "live.example.com", false, "Own"),
            ("HTTPS://Live.Example.com", "live.example.COM", true, "Own"),
            ("http://[::1]:8080", "[::1]:8080", false, "Own"),
            ("http://[::1]", "[::1]", false, "Own"),
            ("http://live.example.com", "live.example.com", true, "Foreign"),
            ("https://live.example.com:8443", "live.example.com", false, "Foreign"),
            ("http://localhost:3000", "localhost:8080", false, "Foreign"),
            ("http://live.example.com.evil.example", "live.example.com", false, "Foreign"),
            ("http://evil.example", "live.example.com", false, "Foreign"),
            ("ftp://live.example.com", "live.example.com", false, "Foreign"),
            ("http://live.example.com/", "live.example.com", false, "Foreign"),
            ("http://live.example.com@evil.example", "evil.example", false, "Foreign"),
            ("http://", "", false, "Foreign"),
            ("null", "null", false, "Foreign"),
            ("", "", false, "Foreign"),
        ];
        for (origin, host, is_secure, expected) in cases {
            assert_eq!(visitor(origin, host, is_secure, &[]), expected, "{origin} at {host}");
        }
    }

    #[test]
    fn the_operator_names_others() {
        let list = ["https://app.example.com", "https://*.example.org", "http://localhost:3000"];
        let cases = [
            ("https://app.example.com", "Named"),
            ("https://app.example.com:443", "Named"),
            ("http://app.example.com", "Foreign"),
            ("https://x.app.example.com", "Foreign"),
            ("https://a.b.example.org", "Named"),
            ("https://example.org", "Foreign"),
            ("https://.example.org", "Foreign"),
            ("https://evilexample.org", "Foreign"),
            ("https://a.example.org:8443", "Foreign"),
            ("http://localhost:3000", "Named"),
            ("null", "Foreign"),
        ];
        for (origin, expected) in cases {
            assert_eq!(visitor(origin, "live.example.com", true, &list), expected, "{origin}");
        }
        assert_eq!(visitor("null", "a", true, &["null"]), "Named");
        assert_eq!(visitor("null", "a", true, &["*"]), "Anybody");
        assert_eq!(visitor("https://evil.example", "a", true, &["*"]), "Anybody");
        assert_eq!(visitor("https://x.example.com", "a", true, &["*", "https://x.example.com"]), "Named");
    }

    #[test]
    fn no_origin_is_no_browser_and_two_are_none() {
        let (mut headers, site) = (HeaderMap::new(), Site::default());
        assert_eq!(Visitor::of(&headers, &site, &[]), Visitor::Own);
        let any = ["*".parse().unwrap()];
        for origin in ["https://a.example", "https://b.example"] {
            headers.append(header::ORIGIN, HeaderValue::from_static(origin));
        }
        assert_eq!(Visitor::of(&headers, &site, &any), Visitor::Foreign("https://a.example"));
    }

    #[test]
    fn what_is_no_origin_is_refused_with_examples() {
        for text in
            ["", "example.com", "https://example.com/app", "https://*", "https://a.*.com", "https://**.a"]
        {
            let error = text.parse::<AllowedOrigin>().map(|origin| format!("{origin:?}"));
            let error = error.expect_err(text).to_string();
            assert!(error.contains("https://*.example.com"), "{error}");
        }
    }
}
