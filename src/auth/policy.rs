//! What the settings come to: keys read, patterns checked, names resolved. Made once, at start and at a reload; whatever
//! is wrong is found here, and named with its place.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use jsonwebtoken::Algorithm;

use super::api_key::{self, ApiKey};
use super::claims::ClaimNames;
use super::key::{self, Key, KeyError};
use super::role::{ANONYMOUS, Role, Written};
use super::settings::Step::{Entry, Key as At};
use super::settings::{AuthMistake, AuthSettings, KeySettings, RoleSettings, Secret, Step};
use crate::hub::grants::Action;
use crate::hub::identity::Identity;

/// The most entries of one list. All keys without an id may have to be tried for one token.
const KEYS_MAX: usize = 100;

/// The longest leeway: beyond, it is no clock that is off.
const LEEWAY_MAX: Duration = Duration::from_secs(300);

/// The longest time for fetched keys.
const TIME_MAX: Duration = Duration::from_secs(30 * 24 * 3600);

/// All that is decided by.
#[derive(Debug)]
pub(super) struct Policy {
    pub(super) terms: Terms,
    pub(super) keys: Vec<Key>,
    pub(super) sources: Vec<SourceSpec>,
    pub(super) api_keys: Vec<ApiKey>,
    pub(super) anonymous: Option<Arc<Identity>>,
}

/// What a token must fulfil, and what its claims are called.
#[derive(Debug)]
pub(super) struct Terms {
    pub(super) issuer: Option<Box<str>>,
    pub(super) audience: Option<Box<str>>,
    pub(super) leeway: Duration,
    pub(super) require_expiry: bool,
    pub(super) claims: ClaimNames,
    pub(super) token_roles: Vec<Box<str>>,
    pub(super) roles: Vec<Arc<Role>>,
}

impl Terms {
    pub(super) fn role(&self, name: &str) -> Option<&Arc<Role>> {
        self.roles.iter().find(|role| *role.name == *name)
    }
}

/// Where keys are fetched, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SourceSpec {
    pub(super) url: Box<str>,
    /// The only algorithm whose keys are taken.
    pub(super) algorithm: Option<Algorithm>,
    pub(super) issuer: Option<Box<str>>,
    pub(super) audience: Option<Box<str>>,
    pub(super) age_max: Duration,
    pub(super) interval: Duration,
    pub(super) stale_max: Duration,
    pub(super) timeout: Duration,
}

/// What a key is made of.
enum Origin {
    Secret(Vec<u8>),
    Public(String),
    Url(String),
}

impl Policy {
    /// Reads and checks all of it, files included.
    pub(super) fn of(settings: &AuthSettings) -> Result<Self, AuthMistake> {
        check_values(settings)?;
        let roles = roles(settings)?;
        let known = |names: &[String], way: &[Step]| {
            for (index, name) in names.iter().enumerate() {
                if !settings.roles.iter().any(|role| role.name == *name) {
                    let way = [way, &[Entry(index)]].concat();
                    return Err(AuthMistake::new(&way, "no such role", roles_there_are(settings)));
                }
            }
            Ok(())
        };
        known(&settings.token_roles, &[At("token_roles")])?;
        let mut policy = Self {
            terms: Terms {
                issuer: settings.issuer.as_deref().map(Into::into),
                audience: settings.audience.as_deref().map(Into::into),
                leeway: settings.leeway,
                require_expiry: settings.require_expiry,
                claims: claim_names(settings)?,
                token_roles: settings.token_roles.iter().map(|name| name.as_str().into()).collect(),
                roles,
            },
            keys: Vec::new(),
            sources: Vec::new(),
            api_keys: Vec::new(),
            anonymous: None,
        };
        for (index, key) in settings.keys.iter().enumerate() {
            policy.add_key(settings, key, index)?;
        }
        for (index, key) in settings.api_keys.iter().enumerate() {
            known(&key.roles, &[At("api_keys"), Entry(index), At("roles")])?;
        }
        policy.api_keys = api_keys(settings, &policy.terms)?;
        let anonymous = policy.terms.role(ANONYMOUS).cloned();
        policy.anonymous =
            anonymous.map(|role| Arc::new(super::token::bearer_of(None, &[role], ANONYMOUS.into())));
        if settings.keys.is_empty() && settings.api_keys.is_empty() && policy.anonymous.is_none() {
            let help = "set [[auth.keys]], [[auth.api_keys]], or [[auth.roles]] with name = \"anonymous\"";
            return Err(AuthMistake::new(&[], "nobody could ever come in", help));
        }
        Ok(policy)
    }

    fn add_key(
        &mut self,
        settings: &AuthSettings,
        of: &KeySettings,
        index: usize,
    ) -> Result<(), AuthMistake> {
        let way = |key| [At("keys"), Entry(index), At(key)];
        let (origin, from) = origin(of, index)?;
        let algorithm = match &of.algorithm {
            Some(name) => Some(key::parse_algorithm(name).ok_or_else(|| {
                AuthMistake::new(
                    &way("algorithm"),
                    "no such algorithm",
                    format!("known are {}", key::algorithms()),
                )
            })?),
            None => None,
        };
        let issuer = of.issuer.as_deref().map(Into::into);
        let audience = of.audience.as_deref().map(Into::into);
        if let Origin::Url(url) = origin {
            if let Some(algorithm) = algorithm.filter(|algorithm| is_symmetric(*algorithm)) {
                let help = format!("secrets are not fetched: {algorithm:?} needs `secret` or `secret_file`");
                return Err(AuthMistake::new(&way("algorithm"), "not for fetched keys", help));
            }
            if of.id.is_some() {
                let help = "each fetched key has an id of its own: leave `id` out";
                return Err(AuthMistake::new(&way("id"), "not for fetched keys", help));
            }
            if self.sources.iter().any(|source| *source.url == *url) {
                return Err(AuthMistake::new(&way("jwks_url"), "named twice", "name each address once"));
            }
            let spec = SourceSpec {
                url: check_url(url, &way("jwks_url"))?,
                algorithm,
                issuer,
                audience,
                age_max: settings.jwks_age_max,
                interval: settings.jwks_interval,
                stale_max: settings.jwks_stale_max.max(settings.jwks_age_max),
                timeout: settings.jwks_timeout,
            };
            self.sources.push(spec);
            return Ok(());
        }
        let algorithm = algorithm.ok_or_else(|| {
            let help = format!("name the only algorithm of this key: {}", key::algorithms());
            AuthMistake::new(&[At("keys"), Entry(index)], "missing key `algorithm`", help)
        })?;
        let read = match origin {
            Origin::Secret(secret) => Key::from_secret(algorithm, &secret),
            Origin::Public(pem) => Key::from_pem(algorithm, &pem),
            Origin::Url(_) => return Ok(()),
        };
        let key = read.map_err(|error| AuthMistake::new(&way(from), "not a key for this", of_key(&error)))?;
        let id = of.id.as_deref();
        if let Some(id) = id.filter(|id| self.keys.iter().any(|key| key.id.as_deref() == Some(*id))) {
            let help = format!("{id:?} is another key's: each id once");
            return Err(AuthMistake::new(&way("id"), "named twice", help));
        }
        self.keys.push(key.bound(id, issuer, audience));
        Ok(())
    }
}

fn of_key(error: &KeyError) -> String {
    error.to_string()
}

fn is_symmetric(algorithm: Algorithm) -> bool {
    algorithm.family() == jsonwebtoken::AlgorithmFamily::Hmac
}

fn check_values(settings: &AuthSettings) -> Result<(), AuthMistake> {
    let moment = Duration::from_secs(1);
    let times = [
        ("leeway", settings.leeway, Duration::ZERO, LEEWAY_MAX),
        ("jwks_age_max", settings.jwks_age_max, moment, TIME_MAX),
        ("jwks_interval", settings.jwks_interval, moment, TIME_MAX),
        ("jwks_stale_max", settings.jwks_stale_max, Duration::ZERO, TIME_MAX),
        ("jwks_timeout", settings.jwks_timeout, Duration::from_millis(100), Duration::from_secs(60)),
    ];
    for (key, value, min, max) in times {
        if !(min..=max).contains(&value) {
            let [min, max] = [min, max].map(humantime::format_duration);
            return Err(AuthMistake::new(&[At(key)], "out of range", format!("`{key}` is {min} to {max}")));
        }
    }
    let lists = [
        ("keys", settings.keys.len()),
        ("api_keys", settings.api_keys.len()),
        ("roles", settings.roles.len()),
    ];
    for (key, len) in lists {
        let max = if key == "keys" { KEYS_MAX } else { KEYS_MAX * 100 };
        if len > max {
            return Err(AuthMistake::new(&[At(key)], "too many", format!("at most {max}, got {len}")));
        }
    }
    let is_cookie_name = |name: &String| {
        let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        !name.is_empty() && name.bytes().all(is_token)
    };
    if settings.cookie.as_ref().is_some_and(|name| !is_cookie_name(name)) {
        let help = "letters, digits and !#$%&'*+-.^_`|~ (RFC 6265 §4.1.1)";
        return Err(AuthMistake::new(&[At("cookie")], "not the name of a cookie", help));
    }
    Ok(())
}

fn claim_names(settings: &AuthSettings) -> Result<ClaimNames, AuthMistake> {
    let names = [
        ("user_claim", &settings.user_claim),
        ("roles_claim", &settings.roles_claim),
        ("topics_claim", &settings.topics_claim),
        ("data_claim", &settings.data_claim),
    ];
    let mut seen: HashSet<&str> = ClaimNames::REGISTERED.into_iter().collect();
    for (key, name) in names {
        if name.is_empty() || !seen.insert(name) {
            let help = format!(
                "each claim is for one thing, and {} are not free",
                ClaimNames::REGISTERED.join(", ")
            );
            return Err(AuthMistake::new(&[At(key)], "not a claim for this", help));
        }
    }
    let [user, roles, topics, data] = names.map(|(_, name)| name.as_str().into());
    Ok(ClaimNames { user, roles, topics, data })
}

/// The secret of a key that has one.
pub(super) fn secret_of(key: &KeySettings, index: usize) -> Result<Vec<u8>, AuthMistake> {
    match origin(key, index)? {
        (Origin::Secret(secret), _) => Ok(secret),
        (Origin::Public(_) | Origin::Url(_), from) => Err(AuthMistake::new(
            &[At("keys"), Entry(index), At(from)],
            "not a secret",
            "sign with another key",
        )),
    }
}

fn origin(key: &KeySettings, index: usize) -> Result<(Origin, &'static str), AuthMistake> {
    let way = |of| [At("keys"), Entry(index), At(of)];
    let all = [
        ("secret", key.secret.is_some()),
        ("secret_file", key.secret_file.is_some()),
        ("public_key", key.public_key.is_some()),
        ("public_key_file", key.public_key_file.is_some()),
        ("jwks_url", key.jwks_url.is_some()),
    ];
    let mut said = all.into_iter().filter_map(|(name, is_said)| is_said.then_some(name));
    let one_of = "exactly one of `secret`, `secret_file`, `public_key`, `public_key_file` and `jwks_url`";
    let from = said.next().ok_or_else(|| {
        AuthMistake::new(&[At("keys"), Entry(index)], "a key without anything to verify with", one_of)
    })?;
    if let Some(second) = said.next() {
        return Err(AuthMistake::new(&way(second), "one source too many for a key", one_of));
    }
    let read = |path: &String| {
        std::fs::read_to_string(path).map_err(|error| {
            AuthMistake::new(&way(from), "this file cannot be read", format!("{path}: {error}"))
        })
    };
    let origin = match key {
        KeySettings { secret: Some(secret), .. } => Origin::Secret(Secret::as_bytes(secret).to_vec()),
        KeySettings { secret_file: Some(path), .. } => {
            let text = std::fs::read(path).map_err(|error| {
                AuthMistake::new(&way(from), "this file cannot be read", format!("{path}: {error}"))
            })?;
            let text = text.strip_suffix(b"\n").unwrap_or(&text);
            Origin::Secret(text.strip_suffix(b"\r").unwrap_or(text).to_vec())
        }
        KeySettings { public_key: Some(pem), .. } => Origin::Public(pem.clone()),
        KeySettings { public_key_file: Some(path), .. } => Origin::Public(read(path)?),
        KeySettings { jwks_url, .. } => Origin::Url(jwks_url.clone().unwrap_or_default()),
    };
    Ok((origin, from))
}

fn check_url(url: String, way: &[Step]) -> Result<Box<str>, AuthMistake> {
    let sound = url.parse::<ureq::http::Uri>().ok().filter(|parsed| {
        matches!(parsed.scheme_str(), Some("http" | "https"))
            && parsed.host().is_some_and(|host| !host.is_empty())
            // A password would end up in the log.
            && !parsed.authority().is_some_and(|authority| authority.as_str().contains('@'))
    });
    match sound {
        Some(_) => Ok(url.into()),
        None => Err(AuthMistake::new(
            way,
            "not an address to fetch keys from",
            "such as https://login.example.com/jwks.json",
        )),
    }
}

fn roles(settings: &AuthSettings) -> Result<Vec<Arc<Role>>, AuthMistake> {
    let mut roles: Vec<Arc<Role>> = Vec::new();
    for (index, of) in settings.roles.iter().enumerate() {
        let name = [At("roles"), Entry(index), At("name")];
        if !super::token::is_name(&of.name) || of.name.contains(char::is_whitespace) {
            let help = "1 to 128 bytes without blanks and control characters";
            return Err(AuthMistake::new(&name, "not a name for a role", help));
        }
        if roles.iter().any(|role| *role.name == *of.name) {
            return Err(AuthMistake::new(
                &name,
                "named twice",
                format!("there is a role {:?} before it", of.name),
            ));
        }
        roles.push(Arc::new(role(of, index)?));
    }
    Ok(roles)
}

fn role(of: &RoleSettings, index: usize) -> Result<Role, AuthMistake> {
    let is_anonymous = of.name == ANONYMOUS;
    if is_anonymous && of.admin {
        let help = "whoever shows nothing could do anything: `--open` is for development";
        return Err(AuthMistake::new(&[At("roles"), Entry(index), At("admin")], "not for anonymous", help));
    }
    let presence = of.presence.as_ref().unwrap_or(&of.subscribe);
    let history = of.history.as_ref().unwrap_or(&of.subscribe);
    let lists = [&of.subscribe, &of.publish, presence, history];
    let mut written = Vec::new();
    for (action, patterns) in Action::ALL.into_iter().zip(lists) {
        for (entry, pattern) in patterns.iter().enumerate() {
            let mistake = |what, help: String| {
                AuthMistake::new(&[At("roles"), Entry(index), At(action.as_str()), Entry(entry)], what, help)
            };
            let parsed = Written::parse(pattern)
                .map_err(|error| mistake("not a topic or pattern", format!("{pattern:?}: {error}")))?;
            if action == Action::Publish && parsed.is_system() {
                let help = "topics that begin with $sys are the server's, and only it publishes there";
                return Err(mistake("nobody may publish there", help.to_owned()));
            }
            if is_anonymous && parsed.is_template() {
                let help = "who shows nothing has no name that {user} could stand for";
                return Err(mistake("not for anonymous", help.to_owned()));
            }
            if let Some(unknown) = placeholder(pattern).filter(|place| *place != "{user}") {
                return Err(mistake("no such place", format!("{unknown} is not known; {{user}} is")));
            }
            written.push((action, parsed));
        }
    }
    Ok(Role::new(&of.name, of.admin, written))
}

/// The first thing in braces that is not `{user}`.
fn placeholder(pattern: &str) -> Option<&str> {
    pattern.match_indices('{').find_map(|(begin, _)| {
        let end = begin + pattern[begin..].find('}')?;
        let place = &pattern[begin..=end];
        (place != "{user}").then_some(place)
    })
}

fn roles_there_are(settings: &AuthSettings) -> String {
    let names: Vec<_> = settings.roles.iter().map(|role| format!("{:?}", role.name)).collect();
    if names.is_empty() {
        "there are no [[auth.roles]]".to_owned()
    } else {
        format!("there are {}", names.join(", "))
    }
}

fn api_keys(settings: &AuthSettings, terms: &Terms) -> Result<Vec<ApiKey>, AuthMistake> {
    let mut keys: Vec<ApiKey> = Vec::new();
    for (index, of) in settings.api_keys.iter().enumerate() {
        let way = |key| [At("api_keys"), Entry(index), At(key)];
        if !super::token::is_name(&of.name) {
            let help = "1 to 128 bytes without control characters";
            return Err(AuthMistake::new(&way("name"), "not a name for a key", help));
        }
        let hash = api_key::parse_hash(&of.hash).ok_or_else(|| {
            let help = "`sha256:` and 64 hexadecimal digits, as `topichub token --api-key NAME` prints it";
            AuthMistake::new(&way("hash"), "not a hash", help)
        })?;
        if keys.iter().any(|key| key.name() == of.name) {
            return Err(AuthMistake::new(&way("name"), "named twice", "each API key has a name of its own"));
        }
        if keys.iter().any(|key| key.has_hash(&hash)) {
            return Err(AuthMistake::new(&way("hash"), "named twice", "this key has another name already"));
        }
        let roles: Vec<_> = of.roles.iter().filter_map(|name| terms.role(name).cloned()).collect();
        keys.push(ApiKey::new(&of.name, hash, &roles));
    }
    Ok(keys)
}
