//! The port behind which it is decided who somebody is: by tokens, keys, or a program's own means.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use topichub_protocol::command::CommandError;
use topichub_protocol::topic::Filter;

use crate::hub::explanation::Explanation;
use crate::hub::grants::{Action, Grants};
use crate::hub::identity::Identity;

/// What comes of a credential: `unauthorized` if it proves nothing, `unavailable` if that cannot be found out now.
pub type Identified = Result<Arc<Identity>, CommandError>;

/// Decides who somebody is. What they may do is in the [`Identity`]; the hub holds them to it.
///
/// It is asked once for each session or request, and again when a session authenticates anew: never for a message.
pub trait Authority: Send + Sync + 'static {
    /// Who somebody is that shows nothing; `None` if everybody must show something.
    fn anonymous(&self) -> Option<Arc<Identity>>;

    /// Who has this token or key. Ready at once unless something has to be fetched.
    fn identify<'a>(&'a self, credential: &'a str) -> Pin<Box<dyn Future<Output = Identified> + Send + 'a>>;

    /// Whether `authenticate` may name a user without any proof.
    fn believes_names(&self) -> bool {
        false
    }

    /// The cookie in which a browser may bring a token. Then every request with an `Origin` must have an allowed one.
    fn cookie(&self) -> Option<Arc<str>> {
        None
    }

    /// Whether a token may stand in the address (`?token=`), where logs and histories see it.
    fn takes_tokens_in_addresses(&self) -> bool {
        false
    }

    /// From now on the token of this id proves nothing, as long as this authority remembers it.
    fn revoke(&self, token_id: &str) {
        let _ = token_id;
    }

    /// Who somebody with a token of this name and these roles would be. Of an authority that knows no roles, who shows nothing.
    fn presumed(&self, user: Option<&str>, roles: &[&str]) -> Identity {
        let _ = roles;
        let anonymous = self.anonymous().map(|identity| Identity::clone(&identity));
        Identity { user: user.map(Into::into), ..anonymous.unwrap_or_default() }
    }

    /// Why somebody may or may not do something.
    fn explain(&self, identity: &Identity, action: Action, filter: &Filter) -> Explanation {
        Explanation::of(identity, action, filter)
    }
}

/// Anybody may do everything on all topics but the server's own, and is who they say they are.
#[derive(Debug)]
pub struct Open(Arc<Identity>);

impl Open {
    /// For programs that ask nobody who they are.
    pub fn new() -> Self {
        Self(Arc::new(Identity::open()))
    }

    /// Anybody may do everything there is, on the server's own topics and to the server itself: for development.
    pub fn to_everything() -> Self {
        Self(Arc::new(Identity { grants: Grants::everything(), ..Identity::open() }))
    }
}

impl Default for Open {
    fn default() -> Self {
        Self::new()
    }
}

impl Authority for Open {
    fn anonymous(&self) -> Option<Arc<Identity>> {
        Some(Arc::clone(&self.0))
    }

    /// Whatever a client shows: it needs nothing.
    fn identify<'a>(&'a self, _: &'a str) -> Pin<Box<dyn Future<Output = Identified> + Send + 'a>> {
        Box::pin(std::future::ready(Ok(Arc::clone(&self.0))))
    }

    fn believes_names(&self) -> bool {
        true
    }
}
