//! `topichub serve`: settings from file, environment and flags, then the server until a signal, and an orderly end.

use std::io::{self, IsTerminal};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::ServerHandle;
use topichub::auth::{Auth, AuthSettings};
use topichub::protocol::topic::TopicError;
use topichub::{Authority, Hub, Open, Settings, Tls, TlsSettings};

use super::args::ServeArgs;
use super::config::Config;
use super::config_error::{ConfigError, Mistake};
use super::config_print::in_force;
use super::config_sources::{Flag, Layers};
use super::listen::{ListenError, listen};
use super::reload::Reload;
use super::stop_signals::{SIGTERM, StopSignals};
use super::{Exit, Failure, logging, service};
use crate::demo::{self, Pace};
use crate::pages;

/// Open files that are no connections: listeners, the event loops, standard streams; and room for those who are refused.
const FILES_KEPT: usize = 256;

/// How often the log says how far that is.
const PROGRESS: Duration = Duration::from_secs(5);

/// What to serve, whoever has said it.
struct Plan {
    listen: String,
    workers: usize,
    limits: Settings,
    admin_listen: Option<String>,
    drain: Duration,
    doorkeeper: Doorkeeper,
    demo: Option<Pace>,
    tls: Option<TlsSettings>,
    proxy_protocol: bool,
    reload: Reload,
}

/// Who decides who somebody is.
enum Doorkeeper {
    /// Nobody: all are guests.
    None,
    /// `--open`.
    Open,
    /// `[auth]`.
    Auth(Box<AuthSettings>),
}

/// Who decides, and the same where it goes by the configuration.
type Hired = (Arc<dyn Authority>, Option<Arc<Auth>>);

impl Doorkeeper {
    /// Who it is; the second is what SIGHUP can tell of other keys and roles.
    fn hire(&self) -> Result<Hired, ServeError> {
        Ok(match self {
            Self::None => (Arc::new(Open::new()), None),
            Self::Open => {
                log::warn!(
                    "--open: ANYBODY who reaches this server may do EVERYTHING on it, administration included"
                );
                (Arc::new(Open::to_everything()), None)
            }
            Self::Auth(settings) => {
                let auth = Arc::new(Auth::new(settings)?);
                (Arc::clone(&auth) as Arc<dyn Authority>, Some(auth))
            }
        })
    }
}

/// The server could not start or go on.
#[derive(Debug, thiserror::Error)]
enum ServeError {
    #[error(transparent)]
    Listen(#[from] ListenError),
    #[error(transparent)]
    Hub(#[from] topichub::StartError),
    #[error(transparent)]
    Auth(#[from] topichub::auth::AuthError),
    #[error(transparent)]
    Demo(#[from] TopicError),
    #[error(transparent)]
    Tls(#[from] topichub::TlsError),
    #[error("cannot serve")]
    Server(#[from] io::Error),
    #[error("the server has ended by itself")]
    Ended,
}

impl From<ServeError> for Failure {
    fn from(error: ServeError) -> Self {
        let advice = match &error {
            ServeError::Listen(error) => error.advice(),
            _ => None,
        };
        Failure::new(Exit::Refused, &error, advice)
    }
}

/// `topichub serve`.
pub(super) fn run(args: ServeArgs) -> Result<(), Failure> {
    let layers = layers(&args);
    let sources = layers.read().map_err(ConfigError::into_failure)?;
    let sound = || {
        let merged = sources.merge()?;
        Ok((merged.config()?, in_force(&merged)))
    };
    let (config, in_force) =
        sound().map_err(|mistake: Box<Mistake>| ConfigError::from(mistake).into_failure())?;
    logging::start(&config.log.level, config.log.format);
    for warning in sources.warnings.iter().chain(&config.doubts()) {
        log::warn!("{warning}");
    }
    let plan = Plan {
        listen: config.server.listen.clone(),
        workers: config.server.workers.unwrap_or_else(cores),
        admin_listen: config.server.admin_listen.clone(),
        drain: config.server.drain,
        tls: config.tls.clone(),
        proxy_protocol: config.server.proxy_protocol,
        doorkeeper: match &config.auth {
            _ if args.open => Doorkeeper::Open,
            Some(settings) => Doorkeeper::Auth(Box::new(settings.clone())),
            None => Doorkeeper::None,
        },
        limits: settings(config, args.demo).map_err(ServeError::from)?,
        demo: args.demo.then_some(Pace(args.demo_pace)),
        reload: Reload { layers, in_force, demo: args.demo, tls: None, auth: None },
    };
    Ok(actix_rt::System::new().block_on(serve(plan))?)
}

/// What the hub is told of a configuration.
pub(super) fn settings(config: Config, demo: bool) -> Result<Settings, TopicError> {
    let mut settings = config.limits;
    settings.topics = config.topics;
    settings.trusted_proxies = config.server.trusted_proxies;
    settings.allowed_origins = config.server.allowed_origins;
    if demo {
        // Behind those of the file, so that these win.
        settings.topics.extend(demo::rules()?);
    }
    Ok(settings)
}

/// File, environment and flags.
fn layers(args: &ServeArgs) -> Layers {
    let flag = |name, way, value: Option<String>| Some(Flag { name, way, value: value? });
    let flags = [
        flag("--listen", ["server", "listen"], args.listen.clone()),
        flag("--workers", ["server", "workers"], args.workers.map(|workers| workers.to_string())),
        flag(
            "--drain",
            ["server", "drain"],
            args.drain.map(|drain| humantime::format_duration(drain).to_string()),
        ),
        flag("--log", ["log", "level"], args.log.clone()),
        flag(
            "--log-format",
            ["log", "format"],
            args.log_format.map(|format| format!("{format:?}").to_lowercase()),
        ),
    ];
    let mut layers = Layers::of_process(args.config.as_deref());
    layers.flags.extend(flags.into_iter().flatten());
    layers
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, NonZeroUsize::get)
}

async fn serve(plan: Plan) -> Result<(), ServeError> {
    let mut limits = plan.limits;
    raise_open_files(&mut limits);
    let tls = plan.tls.map(Tls::new).transpose()?;
    let mut listener = listen(&plan.listen)?;
    let at = listener.local_addr()?;
    let (http, websocket) = if tls.is_some() && at.is_some() { ("https", "wss") } else { ("http", "ws") };
    let places = match at {
        Some(address) => format!("{http}://{address} and {websocket}://{address}/ws"),
        None => plan.listen.clone(),
    };
    if plan.proxy_protocol {
        listener = listener.with_proxy_protocol();
    }
    if let Some(tls) = &tls {
        listener = listener.with_tls(tls.clone());
    }
    let mut listeners = vec![listener];
    if let Some(address) = &plan.admin_listen {
        let listener = listen(address)?.for_operators();
        let at = listener.local_addr()?.map_or_else(|| address.clone(), |at| format!("http://{at}"));
        log::info!("for those who run the server: {at}/metrics, /healthz, /readyz");
        listeners.push(listener);
    }
    let (authority, auth) = plan.doorkeeper.hire()?;
    let hub = Hub::start_with(limits, authority)?;
    let server = topichub::serve(hub.clone(), listeners, plan.workers, pages::configure)?;
    let handle = server.handle();
    let mut server = actix_rt::spawn(server);
    reload_at_hangup(Reload { tls, auth, ..plan.reload }, &hub)?;
    actix_rt::spawn(service::keep_alive(hub.clone()));
    let mut signals = StopSignals::listen()?;

    let workers = if plan.workers == 1 { "worker" } else { "workers" };
    let demo = if plan.demo.is_some() { "on" } else { "off" };
    log::info!(
        "topichub {} serves {places} with {} {workers}, demo {demo}",
        env!("CARGO_PKG_VERSION"),
        plan.workers,
    );
    if let Some(pace) = plan.demo {
        demo::start(&hub, pace);
    }
    service::ready();

    let (over, is_signalled) = tokio::select! {
        signal = signals.next() => {
            log::info!("{signal} received: the server stops");
            // Who presses Ctrl-C waits for the end.
            (if signal == SIGTERM { plan.drain } else { Duration::ZERO }, true)
        }
        over = hub.drain_begun() => {
            log::info!("an administrator drains the server");
            (over, false)
        }
        ended = &mut server => {
            ended.map_err(io::Error::other)??;
            return Err(ServeError::Ended);
        }
    };
    service::stopping();
    stop(&hub, &handle, over, &mut signals, is_signalled).await;
    server.await.map_err(io::Error::other)??;
    log::info!("the server has stopped");
    Ok(())
}

/// Takes no new sessions, sends the others away over this time, and finishes what was asked over HTTP. Until then the
/// port stays open, so that whoever looks is told that this server is not ready. Another signal ends it at once; the first
/// SIGTERM does not, because whoever stops services may have an administrator's drain go before it.
async fn stop(
    hub: &Hub,
    server: &ServerHandle,
    over: Duration,
    signals: &mut StopSignals,
    mut is_signalled: bool,
) {
    let time = humantime::format_duration(over);
    log::info!("sessions told to come back over {time}: {}", hub.sessions());
    let mut drained = std::pin::pin!(hub.drain(over));
    let mut progress = tokio::time::interval_at(tokio::time::Instant::now() + PROGRESS, PROGRESS);
    loop {
        tokio::select! {
            drained = &mut drained => {
                if drained.cut > 0 {
                    log::warn!("sessions that did not answer in time and were cut off: {}", drained.cut);
                }
                log::info!("sessions that have ended: {}", drained.sessions);
                return server.stop(true).await;
            }
            _ = progress.tick() => log::info!("sessions left: {}", hub.sessions()),
            signal = signals.next() => {
                if is_signalled || signal != SIGTERM {
                    log::warn!("{signal} received; sessions that are cut off: {}", hub.sessions());
                    return server.stop(false).await;
                }
                is_signalled = true;
                log::info!("{signal} received: the server stops already; another ends it at once");
            }
        }
    }
}

/// Sees to SIGHUP. On a terminal and without a file it means that the terminal is gone, and ends the server as it would
/// any program.
#[cfg(unix)]
fn reload_at_hangup(reload: Reload, hub: &Hub) -> io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};

    if reload.layers.file.is_some() || !io::stderr().is_terminal() {
        let hangups = signal(SignalKind::hangup())?;
        actix_rt::spawn(reload.run(hub.clone(), hangups));
    }
    Ok(())
}

/// There is no SIGHUP here.
#[cfg(not(unix))]
fn reload_at_hangup(_: Reload, _: &Hub) -> io::Result<()> {
    Ok(())
}

/// Each connection is an open file, and many systems start programs with a limit of 1,024. Newcomers for whom there is
/// no file could not even be told so.
fn raise_open_files(limits: &mut Settings) {
    let files = match rlimit::increase_nofile_limit(u64::MAX) {
        Ok(files) => files,
        Err(error) => {
            log::warn!("the limit of open files stays as it is: {error}");
            rlimit::getrlimit(rlimit::Resource::NOFILE).map_or(u64::MAX, |(soft, _)| soft)
        }
    };
    let files_for_connections =
        usize::try_from(files).unwrap_or(usize::MAX).saturating_sub(FILES_KEPT).max(1);
    limits.connections_max = limits.connections_max.min(files_for_connections);
    log::info!("at most {} connections, with {files} open files allowed", limits.connections_max);
}
