//! Where a request shows who asks: the header `Authorization`, a cookie, or the address, as far as the authority takes
//! them there.

use std::sync::Arc;

use actix_http::header::{self, HeaderMap};
use percent_encoding::percent_decode_str;
use topichub_protocol::command::TOKEN_BYTES_MAX;

use super::problem::Problem;
use crate::authority::Authority;
use crate::hub::identity::Identity;

/// Who asks, as far as the request shows it; `None` if it shows nothing. A browser sends its cookie wherever a page
/// asks it to: `own_page` says whether this one may.
pub(crate) async fn identify(
    authority: &dyn Authority,
    headers: &HeaderMap,
    query: &str,
    own_page: bool,
) -> Result<Option<Arc<Identity>>, Problem> {
    let Some(credential) = find(authority, headers, query, own_page)? else { return Ok(None) };
    if credential.len() > TOKEN_BYTES_MAX {
        let message = format!("the token has {} bytes, the limit is {TOKEN_BYTES_MAX}", credential.len());
        return Err(Problem::unauthorized(message));
    }
    Ok(Some(authority.identify(&credential).await?))
}

fn find(
    authority: &dyn Authority,
    headers: &HeaderMap,
    query: &str,
    own_page: bool,
) -> Result<Option<String>, Problem> {
    let mut lines = headers.get_all(header::AUTHORIZATION);
    if let Some(line) = lines.next() {
        if lines.next().is_some() {
            return Err(Problem::bad_request("the header Authorization is there twice"));
        }
        let (scheme, credential) =
            line.to_str().ok().and_then(|line| line.trim().split_once(' ')).unwrap_or_default();
        if !scheme.eq_ignore_ascii_case("bearer") || credential.trim().is_empty() {
            return Err(Problem::unauthorized("the header Authorization must be Bearer and a token or key"));
        }
        return Ok(Some(credential.trim().to_owned()));
    }
    if let Some(token) = parameter(query, "token") {
        if authority.takes_tokens_in_addresses() {
            return Ok(Some(token));
        }
        if !authority.believes_names() {
            return Err(Problem::unauthorized(
                "this server takes no token in the address: send the header Authorization or the command authenticate",
            ));
        }
    }
    let cookie = authority.cookie().filter(|_| own_page);
    Ok(cookie.and_then(|name| cookie_in(headers, &name)))
}

fn parameter(query: &str, name: &str) -> Option<String> {
    let mut parameters = query.split('&').filter_map(|parameter| parameter.split_once('='));
    let (_, value) = parameters.find(|(key, _)| *key == name)?;
    percent_decode_str(value).decode_utf8().ok().map(Into::into)
}

/// The value of a cookie (RFC 6265 §4.2).
fn cookie_in(headers: &HeaderMap, name: &str) -> Option<String> {
    let lines = headers.get_all(header::COOKIE).filter_map(|line| line.to_str().ok());
    let mut pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    let (_, value) = pairs.find(|(key, _)| *key == name)?;
    Some(value.trim_matches('"').to_owned())
}

#[cfg(test)]
mod tests {
    use std::future::{Future, ready};
    use std::pin::Pin;

    use actix_http::header::HeaderValue;

    use super::*;
    use crate::authority::Identified;

    #[derive(Default)]
    struct Strict {
        cookie: Option<Arc<str>>,
        addresses: bool,
    }

    impl Authority for Strict {
        fn anonymous(&self) -> Option<Arc<Identity>> {
            None
        }

        fn identify<'a>(&'a self, _: &'a str) -> Pin<Box<dyn Future<Output = Identified> + Send + 'a>> {
            Box::pin(ready(Ok(Arc::new(Identity::default()))))
        }

        fn cookie(&self) -> Option<Arc<str>> {
            self.cookie.clone()
        }

        fn takes_tokens_in_addresses(&self) -> bool {
            self.addresses
        }
    }

    fn headers(lines: &[(header::HeaderName, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        lines.iter().for_each(|(name, value)| headers.append(name.clone(), HeaderValue::from_static(value)));
        headers
    }

    #[test]
    fn the_header_comes_first_and_says_bearer() {
        let all = Strict { cookie: Some("session".into()), addresses: true };
        let shown = [(header::AUTHORIZATION, "bEARER  a.b.c"), (header::COOKIE, "session=cookie")];
        assert_eq!(find(&all, &headers(&shown), "token=query", true).unwrap().as_deref(), Some("a.b.c"));
        for wrong in ["Basic YTpi", "Bearer", "Bearer ", "token"] {
            assert!(find(&all, &headers(&[(header::AUTHORIZATION, wrong)]), "", true).is_err(), "{wrong}");
        }
        let twice = [(header::AUTHORIZATION, "Bearer a"), (header::AUTHORIZATION, "Bearer b")];
        assert!(find(&all, &headers(&twice), "", true).is_err());
        assert_eq!(find(&all, &headers(&[]), "a=b", true).unwrap(), None);
    }

    #[test]
    fn a_token_in_the_address_counts_only_where_that_is_allowed() {
        let allowed = Strict { addresses: true, ..Strict::default() };
        let found = find(&allowed, &headers(&[]), "x=1&token=a%2Eb", true).unwrap();
        assert_eq!(found.as_deref(), Some("a.b"));
        assert!(find(&Strict::default(), &headers(&[]), "token=a", true).is_err());
    }

    #[test]
    fn a_cookie_counts_only_if_it_is_set_and_a_page_of_ours_asks() {
        let shown = headers(&[(header::COOKIE, "other=1; session=\"a.b.c\"; last=2")]);
        let named = Strict { cookie: Some("session".into()), ..Strict::default() };
        assert_eq!(find(&named, &shown, "", true).unwrap().as_deref(), Some("a.b.c"));
        assert_eq!(find(&named, &shown, "", false).unwrap(), None);
        assert_eq!(find(&Strict::default(), &shown, "", true).unwrap(), None);
    }
}
