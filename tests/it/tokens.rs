//! An authority of the tests' own, whose tokens say in plain text what they are for.

use std::collections::HashSet;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use tokio::sync::Notify;
use topichub::protocol::{CommandError, ErrorCode};
use topichub::{Action, Authority, Filter, Grants, Identified, Identity};

/// A token is `USER:PATTERN,PATTERN…`, which allows everything on these; the user `root` is an administrator, and
/// `USER!SECONDS` runs out. The token itself is its id.
#[derive(Default)]
pub struct Names {
    pub anonymous: Option<&'static str>,
    /// Whoever asks waits for this.
    pub held: Option<Arc<Notify>>,
    pub revoked: Mutex<HashSet<String>>,
}

fn identity(token: &str) -> Identified {
    let (user, patterns) = token
        .split_once(':')
        .ok_or_else(|| CommandError::new(ErrorCode::Unauthorized, "the token is none"))?;
    let (user, seconds) = user.split_once('!').map_or((user, None), |(user, left)| (user, left.parse().ok()));
    let mut grants = Grants::default();
    for pattern in patterns.split(',').filter(|pattern| !pattern.is_empty()) {
        Action::ALL.iter().for_each(|action| grants.allow(*action, Filter::parse(pattern).unwrap()));
    }
    grants.admin = user == "root";
    let expires = seconds.map(|seconds: f64| {
        SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default() + Duration::from_secs_f64(seconds)
    });
    Ok(Arc::new(Identity {
        user: Some(user.into()),
        grants,
        expires,
        token_id: Some(token.into()),
        ..Identity::default()
    }))
}

impl Authority for Names {
    fn anonymous(&self) -> Option<Arc<Identity>> {
        self.anonymous.and_then(|token| identity(token).ok())
    }

    fn identify<'a>(&'a self, credential: &'a str) -> Pin<Box<dyn Future<Output = Identified> + Send + 'a>> {
        Box::pin(async move {
            if let Some(held) = &self.held {
                held.notified().await;
            }
            if self.revoked.lock().unwrap().contains(credential) {
                return Err(CommandError::new(ErrorCode::Unauthorized, "the token was revoked"));
            }
            identity(credential)
        })
    }

    fn revoke(&self, token_id: &str) {
        self.revoked.lock().unwrap().insert(token_id.to_owned());
    }
}
