//! An [`Authority`] that goes by configuration: tokens (JWT), their keys, API keys and roles. What somebody may do is
//! decided elsewhere, by the grants that come out of here; nothing of this is on the way of a message.

mod api_key;
mod claims;
mod fetch;
mod issue;
mod jwk;
mod jwks;
mod key;
mod policy;
mod revoked;
mod role;
mod settings;
#[cfg(test)]
mod tests;
mod token;

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use topichub_protocol::code::ErrorCode;
use topichub_protocol::command::CommandError;
use topichub_protocol::topic::Filter;

use self::claims::Parts;
pub use self::issue::{
    ApiKeyPair, IssueError, Issuer, TokenPlan, algorithm_names, check_pattern, is_api_key, new_api_key,
    take_apart,
};
use self::jwks::Source;
use self::key::Key;
use self::policy::Policy;
use self::revoked::Revoked;
pub use self::settings::{
    ApiKeySettings, AuthMistake, AuthSettings, KeySettings, RoleSettings, Secret, Step,
};
use self::token::TokenError;
use crate::authority::{Authority, Identified};
use crate::clock;
use crate::hub::explanation::{Candidate, Explanation};
use crate::hub::grants::Action;
use crate::hub::identity::Identity;

/// Who somebody is, by the `[auth]` tables of the configuration.
///
/// ```
/// # #[actix_web::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::sync::Arc;
/// use topichub::auth::{Auth, AuthSettings};
///
/// // From TOML, or whatever else serde reads.
/// let settings: AuthSettings = serde_json::from_str(
///     r#"{
///         "keys": [{ "algorithm": "HS256", "secret": "at least thirty-two bytes, and random ones" }],
///         "roles": [{ "name": "anonymous", "subscribe": ["news.>"] }]
///     }"#,
/// )?;
/// let auth = Arc::new(Auth::new(&settings)?);
/// let hub = topichub::Hub::start_with(topichub::Settings::default(), auth.clone())?;
/// // With other keys and roles, later:
/// auth.reload(&settings)?;
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Auth {
    current: RwLock<Arc<Current>>,
    revoked: Mutex<Revoked>,
}

/// What is decided by until the next reload.
#[derive(Debug)]
struct Current {
    policy: Policy,
    sources: Vec<Arc<Source>>,
    cookie: Option<Arc<str>>,
    query_token: bool,
}

/// Why there is no authority.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AuthError {
    /// The settings cannot be used.
    #[error(transparent)]
    Mistake(#[from] AuthMistake),
    /// No thread for the keys that are fetched.
    #[error("no thread to fetch keys on")]
    Thread(#[from] std::io::Error),
}

impl AuthSettings {
    /// Looks for the first value that no server can run with. Reads the files that are named, and fetches nothing.
    ///
    /// # Errors
    /// The value, and what is allowed.
    pub fn check(&self) -> Result<(), AuthMistake> {
        Policy::of(self).map(drop)
    }
}

impl Auth {
    /// Reads the keys, and begins to fetch those that are elsewhere.
    ///
    /// # Errors
    /// If the settings cannot be used.
    pub fn new(settings: &AuthSettings) -> Result<Self, AuthError> {
        key::install_provider();
        let current = Current::new(settings, &[])?;
        Ok(Self { current: RwLock::new(Arc::new(current)), revoked: Mutex::default() })
    }

    /// Takes other keys, roles and API keys, for all who come or authenticate from now on. Sessions keep what they have
    /// until they authenticate again or their token expires; one that came by an API key that has been taken away keeps it
    /// until it ends. Keys that have been fetched stay, where the address and its terms have. Revoked tokens stay revoked.
    ///
    /// # Errors
    /// If the settings cannot be used. Then everything stays as it was.
    pub fn reload(&self, settings: &AuthSettings) -> Result<(), AuthError> {
        let current = Current::new(settings, &self.current().sources)?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(current);
        Ok(())
    }

    fn current(&self) -> Arc<Current> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn revoked(&self) -> MutexGuard<'_, Revoked> {
        self.revoked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Who has this, unless it has been revoked.
    async fn bearer(&self, credential: &str) -> Identified {
        let current = self.current();
        let identified = if credential.starts_with(api_key::PREFIX) {
            let known = api_key::find(&current.policy.api_keys, credential);
            known.cloned().ok_or_else(|| CommandError::new(ErrorCode::Unauthorized, "no such API key"))
        } else {
            current.bearer_of_token(credential).await.map(Arc::new)
        };
        let identity = identified?;
        if identity.token_id.as_deref().is_some_and(|id| self.revoked().holds(id)) {
            return Err(TokenError::Revoked.into());
        }
        Ok(identity)
    }
}

impl Authority for Auth {
    fn anonymous(&self) -> Option<Arc<Identity>> {
        self.current().policy.anonymous.clone()
    }

    fn identify<'a>(&'a self, credential: &'a str) -> Pin<Box<dyn Future<Output = Identified> + Send + 'a>> {
        Box::pin(async move {
            let identified = self.bearer(credential).await;
            if let Err(error) = &identified {
                log::debug!("a credential is not accepted: {}", error.message);
            }
            identified
        })
    }

    fn cookie(&self) -> Option<Arc<str>> {
        self.current().cookie.clone()
    }

    fn takes_tokens_in_addresses(&self) -> bool {
        self.current().query_token
    }

    fn revoke(&self, token_id: &str) {
        self.revoked().add(token_id);
    }

    fn presumed(&self, user: Option<&str>, roles: &[&str]) -> Identity {
        let current = self.current();
        let terms = &current.policy.terms;
        let names = terms.token_roles.iter().map(|name| &**name).chain(roles.iter().copied());
        let mut roles: Vec<_> = names.filter_map(|name| terms.role(name).cloned()).collect();
        roles.sort_by(|one, another| one.name.cmp(&another.name));
        roles.dedup_by(|one, another| one.name == another.name);
        token::bearer_of(user, &roles, "roles".into())
    }

    fn explain(&self, identity: &Identity, action: Action, filter: &Filter) -> Explanation {
        let current = self.current();
        let mut candidates = Vec::new();
        for role in identity.roles.iter().filter_map(|name| current.policy.terms.role(name)) {
            candidates.extend(role.patterns(action).map(|pattern| Candidate {
                source: format!("role {}", role.name).into(),
                pattern: pattern.as_str().into(),
                filter: pattern.of(identity.user.as_deref()).map_err(|unfit| unfit.to_string()),
            }));
        }
        // What no role has given is of the token itself.
        for pattern in identity.grants.of(action) {
            let is_of_a_role =
                |known: &Candidate| known.filter.as_ref().is_ok_and(|filter| filter == pattern);
            if !candidates.iter().any(is_of_a_role) {
                candidates.push(Candidate {
                    source: identity.origin.clone(),
                    pattern: pattern.as_str().into(),
                    filter: Ok(pattern.clone()),
                });
            }
        }
        Explanation::from_candidates(identity, action, filter, candidates)
    }
}

impl Current {
    fn new(settings: &AuthSettings, before: &[Arc<Source>]) -> Result<Self, AuthError> {
        let policy = Policy::of(settings)?;
        let sources =
            policy.sources.iter().map(|spec| match before.iter().find(|source| source.spec() == spec) {
                Some(source) => Ok(Arc::clone(source)),
                None => Source::start(spec.clone()).map(Arc::new),
            });
        let sources = sources.collect::<Result<_, _>>()?;
        if settings.query_token {
            log::warn!("tokens may stand in addresses (auth.query_token), where logs and histories see them");
        }
        log::info!(
            "who comes in is decided by keys: {}, addresses of keys: {}, API keys: {}, roles: {}; whoever shows nothing {}",
            policy.keys.len(),
            policy.sources.len(),
            policy.api_keys.len(),
            policy.terms.roles.len(),
            if policy.anonymous.is_some() { "is anonymous" } else { "is not let in" },
        );
        let cookie = settings.cookie.as_deref().map(Into::into);
        Ok(Self { policy, sources, cookie, query_token: settings.query_token })
    }

    async fn bearer_of_token(&self, token: &str) -> Result<Identity, CommandError> {
        let parts = Parts::of(token)?;
        match self.verify(&parts) {
            Err(Verdict { error, needs_keys: true, .. }) if self.sources_of(&parts).next().is_none() => {
                return Err(error.into());
            }
            Err(Verdict { needs_keys: true, .. }) => {}
            decided => return decided.map_err(|verdict| verdict.error.into()),
        }
        // All are asked before any is waited for.
        let asked: Vec<_> = self.sources_of(&parts).map(|source| source.refresh()).collect();
        for refresh in asked {
            refresh.done().await;
        }
        self.verify(&parts).map_err(|Verdict { error, needs_keys }| {
            let lacking = self.sources_of(&parts).filter(|source| source.keys().is_none());
            match lacking.map(|source| source.next()).max() {
                Some(wait) if needs_keys => {
                    let after = wait.max(Duration::from_secs(1));
                    let message =
                        "the keys that this token could be verified with cannot be fetched at present";
                    CommandError::new(ErrorCode::Unavailable, message).with_after(after)
                }
                _ => error.into(),
            }
        })
    }

    fn verify(&self, parts: &Parts<'_>) -> Result<Identity, Verdict> {
        let fetched: Vec<Arc<[Key]>> = self.sources.iter().filter_map(|source| source.keys()).collect();
        let mut keys: Vec<&[Key]> = vec![&self.policy.keys];
        keys.extend(fetched.iter().map(|keys| &**keys));
        token::identify(parts, &keys, &self.policy.terms, clock::since_1970())
            .map_err(|error| Verdict { needs_keys: error.is_for_want_of_a_key(parts, &keys), error })
    }

    /// Where a key for this token could come from.
    fn sources_of(&self, parts: &Parts<'_>) -> impl Iterator<Item = &Arc<Source>> {
        let algorithm = parts.algorithm;
        self.sources.iter().filter(move |source| source.may_bring(algorithm))
    }
}

/// A token that proves nothing, with the keys there are.
struct Verdict {
    error: TokenError,
    needs_keys: bool,
}
