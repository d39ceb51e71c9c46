//! SIGHUP: the configuration is read again, and what can change while the server runs does. A mistake changes nothing.

use std::sync::Arc;

use topichub::auth::Auth;
use topichub::{Hub, Tls};

use super::config::Config;
use super::config_error::ConfigError;
use super::config_print::in_force;
use super::config_sources::Layers;
use super::{logging, serve, service};

/// The keys and tables that [`Reload::apply`] puts into force. All others wait for a restart,
const LIVE: [&str; 4] = ["auth", "limits", "log.level", "topics"];

/// and so do these among them, as [`Hub::reload`] says.
const NOT_LIVE: [&str; 10] = [
    "limits.accepts_per_second_max",
    "limits.connections_max",
    "limits.connections_per_address_max",
    "limits.handshake_timeout",
    "limits.handshakes_max",
    "limits.local_flight_bytes_max",
    "limits.presence_interval",
    "limits.presence_members_max",
    "limits.publishes_per_second_per_user_max",
    "limits.sessions_per_user_max",
];

/// What it takes to read the configuration again.
pub(super) struct Reload {
    pub(super) layers: Layers,
    /// All keys and their values: of those that wait for a restart the ones that the server began with.
    pub(super) in_force: Vec<(String, String)>,
    /// Whether the rules of the demo stand behind those of the file.
    pub(super) demo: bool,
    /// The certificates, if there are any.
    pub(super) tls: Option<Tls>,
    /// Keys, roles and API keys, if there are any.
    pub(super) auth: Option<Arc<Auth>>,
}

impl Reload {
    /// Reads it again at each SIGHUP, for as long as the server runs.
    #[cfg(unix)]
    pub(super) async fn run(mut self, hub: Hub, mut hangups: tokio::signal::unix::Signal) {
        while hangups.recv().await.is_some() {
            service::reloading();
            log::info!("SIGHUP received: the configuration is read again");
            self.again(&hub);
            service::ready();
        }
    }

    fn again(&mut self, hub: &Hub) {
        match self.read() {
            Ok((config, now)) => {
                let (live, waiting): (Vec<_>, Vec<_>) =
                    changed(&self.in_force, &now).into_iter().partition(|key| is_live(key));
                self.in_force.retain(|(key, _)| !is_live(key));
                self.in_force.extend(now.into_iter().filter(|(key, _)| is_live(key)));
                if config.auth.is_some() != self.auth.is_some() {
                    log::warn!("whether there is a table [auth] at all is in force only after a restart");
                }
                self.apply(config, hub, !live.is_empty());
                if !live.is_empty() {
                    log::info!("changed: {}", live.join(", "));
                }
                if !waiting.is_empty() {
                    log::warn!("changed, but in force only after a restart: {}", waiting.join(", "));
                }
                if live.is_empty() && waiting.is_empty() {
                    log::info!("nothing has changed");
                }
            }
            Err(error) => {
                let told = error.into_failure().text;
                log::error!("the configuration stays as it was:\n{}", told.trim_end());
            }
        }
    }

    fn read(&self) -> Result<(Config, Vec<(String, String)>), ConfigError> {
        let sources = self.layers.read()?;
        let merged = sources.merge()?;
        Ok((merged.config()?, in_force(&merged)))
    }

    /// Everything that changes live has its place here, and its keys in [`LIVE`]. The files that they name are read again
    /// though no key has changed.
    fn apply(&self, config: Config, hub: &Hub, has_changed: bool) {
        logging::change(&config.log.level);
        if let Some(Err(error)) = self.tls.as_ref().map(Tls::reload) {
            log::error!("the certificates stay as they were: {error}");
        }
        if let (Some(auth), Some(settings)) = (&self.auth, &config.auth)
            && let Err(error) = auth.reload(settings)
        {
            log::error!("keys and roles stay as they were: {error}");
        }
        if !has_changed {
            return;
        }
        match serve::settings(config, self.demo) {
            Ok(settings) => hub.reload(settings),
            Err(error) => log::error!("the rules for topics stay as they were: {error}"),
        }
    }
}

fn is_live(key: &str) -> bool {
    let is_within =
        |table: &&str| key.strip_prefix(table).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
    LIVE.iter().any(is_within) && !NOT_LIVE.contains(&key)
}

/// The keys whose values are others now.
fn changed(before: &[(String, String)], now: &[(String, String)]) -> Vec<String> {
    let differs = |entry: &&(String, String)| !before.contains(entry);
    let gone = before.iter().filter(|(key, _)| !now.iter().any(|(other, _)| other == key));
    now.iter().filter(differs).chain(gone).map(|(key, _)| key.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::super::config_keys;
    use super::*;

    #[test]
    fn what_waits_for_a_restart_is_there() {
        let keys: Vec<_> = config_keys::values().into_iter().map(|(way, _)| way.join(".")).collect();
        for key in NOT_LIVE {
            assert!(keys.iter().any(|known| known == key), "{key}");
        }
    }
}
