//! One fetch of keys over HTTP, bounded in time and size whatever the server does.

use std::sync::Arc;
use std::time::Duration;

use ureq::Agent;
use ureq::http::header::CACHE_CONTROL;
use ureq::tls::{Certificate, RootCerts, TlsConfig};

use super::policy::SourceSpec;

/// The longest answer. Sets of large providers have 20 KiB.
const BODY_BYTES_MAX: u64 = 256 * 1024;

/// How often an address may point to another.
const REDIRECTS_MAX: u32 = 3;

/// What came.
#[derive(Debug)]
pub(super) struct Fetched {
    pub(super) body: Vec<u8>,
    /// `Cache-Control: max-age`; zero for `no-store` and `no-cache`.
    pub(super) age_max: Option<Duration>,
}

/// The way to one address.
pub(super) struct Fetcher {
    agent: Agent,
    url: Box<str>,
}

impl Fetcher {
    pub(super) fn new(spec: &SourceSpec) -> Self {
        let is_https = spec.url.starts_with("https:");
        if !is_https {
            log::warn!(
                "keys from {} come over plain HTTP: whoever is on the way can put in their own",
                spec.url
            );
        }
        let mut config = Agent::config_builder()
            .timeout_global(Some(spec.timeout))
            .max_redirects(REDIRECTS_MAX)
            // What begins under TLS stays there.
            .https_only(is_https)
            .max_idle_connections(0)
            .user_agent(concat!("topichub/", env!("CARGO_PKG_VERSION")))
            .accept("application/jwk-set+json, application/json");
        if is_https {
            config = config.tls_config(tls());
        }
        Self { agent: Agent::new_with_config(config.build()), url: spec.url.clone() }
    }

    /// Fetches. An error is for the log.
    pub(super) fn fetch(&self) -> Result<Fetched, String> {
        let mut response = self.agent.get(&*self.url).call().map_err(|error| error.to_string())?;
        let age_max = response.headers().get(CACHE_CONTROL).and_then(|value| age_max(value.to_str().ok()?));
        let body = response.body_mut().with_config().limit(BODY_BYTES_MAX).read_to_vec();
        let body = body.map_err(|error| match error {
            ureq::Error::BodyExceedsLimit(max) => format!("the answer is longer than {max} bytes"),
            error => error.to_string(),
        })?;
        Ok(Fetched { body, age_max })
    }
}

/// The system's own certificates; where these are is said by `SSL_CERT_FILE`.
fn tls() -> TlsConfig {
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        log::warn!("some of the system's certificates cannot be read: {error}");
    }
    let certificates: Vec<_> =
        found.certs.iter().map(|certificate| Certificate::from_der(certificate).to_owned()).collect();
    TlsConfig::builder()
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .root_certs(RootCerts::Specific(Arc::new(certificates)))
        .build()
}

fn age_max(header: &str) -> Option<Duration> {
    let mut age = None;
    for directive in header.split(',').map(str::trim) {
        if directive.eq_ignore_ascii_case("no-store") || directive.eq_ignore_ascii_case("no-cache") {
            return Some(Duration::ZERO);
        }
        if let Some((name, value)) = directive.split_once('=')
            && name.trim().eq_ignore_ascii_case("max-age")
        {
            age = value.trim().trim_matches('"').parse().ok().map(Duration::from_secs);
        }
    }
    age
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_age_is_what_the_server_says_if_it_can_be_read() {
        let seconds = |header| age_max(header).map(|age| age.as_secs());
        assert_eq!(seconds("public, max-age=300, must-revalidate"), Some(300));
        assert_eq!(seconds("Max-Age=\"60\""), Some(60));
        assert_eq!(seconds("max-age=300, no-store"), Some(0));
        assert_eq!(seconds("no-cache"), Some(0));
        for header in ["", "public", "max-age", "max-age=", "max-age=-1", "max-age=1e9", "s-maxage=5"] {
            assert_eq!(seconds(header), None, "{header}");
        }
    }
}
