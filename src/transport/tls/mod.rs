//! TLS: the certificates, and their change while the server runs. What is said over a connection is in `session`.

pub(crate) mod session;

use std::fs::Metadata;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};
use serde::Deserialize;

/// How often the files are looked at.
const WATCH_INTERVAL: Duration = Duration::from_secs(2);

/// The files of TLS, all of them PEM. They are read again when they change.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "cli", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct TlsSettings {
    /// The server's certificate, followed by those that lead from it to an authority that clients know.
    #[cfg_attr(feature = "cli", schemars(example = "/etc/topichub/certificate.pem"))]
    pub certificate: PathBuf,
    /// The private key that belongs to the certificate.
    #[cfg_attr(feature = "cli", schemars(example = "/etc/topichub/key.pem"))]
    pub key: PathBuf,
    /// The authorities whose clients may connect. If it is set, every client needs a certificate of one of them.
    #[cfg_attr(feature = "cli", schemars(example = "/etc/topichub/clients.pem"))]
    pub client_ca: Option<PathBuf>,
}

/// What listeners with TLS share: the certificates of the day. Clones are cheap and all mean the same.
#[derive(Clone, Debug)]
pub struct Tls {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    settings: TlsSettings,
    config: RwLock<Arc<ServerConfig>>,
    /// How the files were when they were last read, whatever came of it.
    read: Mutex<Stamp>,
}

/// Length and time of change of each file; none of one that is not there.
type Stamp = Vec<Option<(u64, Option<SystemTime>)>>;

/// The files cannot be used for TLS.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file cannot be read, or has no PEM of the kind that is needed.
    #[error("cannot read {what} from {path}: {source}")]
    Unreadable {
        /// What is needed from it.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: pem::Error,
    },
    /// A file has no certificate in it.
    #[error("there is no certificate in {path}")]
    NoCertificate {
        /// The file.
        path: PathBuf,
    },
    /// Certificate and key do not make a server.
    #[error("the certificate {path} cannot be used with its key: {source}")]
    Certificate {
        /// The certificate's file.
        path: PathBuf,
        /// What is wrong.
        source: rustls::Error,
    },
    /// An authority cannot be used.
    #[error("the authorities in {path} cannot be used: {reason}")]
    Authority {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The cryptography itself does not work.
    #[error("TLS cannot be set up")]
    Setup(#[from] rustls::Error),
}

impl TlsSettings {
    /// Those of a server that asks its clients for no certificate.
    pub fn new(certificate: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        Self { certificate: certificate.into(), key: key.into(), client_ca: None }
    }

    fn stamp(&self) -> Stamp {
        let files = [Some(&self.certificate), Some(&self.key), self.client_ca.as_ref()];
        let stamp = |metadata: Metadata| (metadata.len(), metadata.modified().ok());
        files.into_iter().flatten().map(|path| path.metadata().ok().map(stamp)).collect()
    }

    fn load(&self) -> Result<Arc<ServerConfig>, TlsError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider));
        let builder = builder.with_safe_default_protocol_versions()?;
        let builder = match &self.client_ca {
            None => builder.with_no_client_auth(),
            Some(path) => {
                let unusable = |reason: String| TlsError::Authority { path: path.clone(), reason };
                let mut roots = RootCertStore::empty();
                for authority in certificates(path)? {
                    roots.add(authority).map_err(|error| unusable(error.to_string()))?;
                }
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
                let verifier = verifier.build().map_err(|error| unusable(error.to_string()))?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let key = PrivateKeyDer::from_pem_file(&self.key);
        let key = key.map_err(|source| TlsError::Unreadable {
            what: "the private key",
            path: self.key.clone(),
            source,
        })?;
        let config = builder.with_single_cert(certificates(&self.certificate)?, key);
        let mut config =
            config.map_err(|source| TlsError::Certificate { path: self.certificate.clone(), source })?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        // Resumption is by tickets alone, which the clients keep. Their key is another after each reading of the files,
        // so that nobody gets in on the word of an authority that is no longer there.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.ticketer = aws_lc_rs::Ticketer::new()?;
        config.send_tls13_tickets = 1;
        Ok(Arc::new(config))
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let unreadable = |source| TlsError::Unreadable { what: "certificates", path: path.to_owned(), source };
    let all: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path).map_err(unreadable)?.collect();
    match all.map_err(unreadable)? {
        none if none.is_empty() => Err(TlsError::NoCertificate { path: path.to_owned() }),
        some => Ok(some),
    }
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// If one cannot be read or used.
    pub fn new(settings: TlsSettings) -> Result<Self, TlsError> {
        let read = Mutex::new(settings.stamp());
        let config = RwLock::new(settings.load()?);
        Ok(Self { inner: Arc::new(Inner { settings, config, read }) })
    }

    /// Reads the files again. Whoever connects from now on gets the new certificate; open connections go on with
    /// theirs. If the new files cannot be used, the old certificate stays.
    ///
    /// # Errors
    /// If a file cannot be read or used.
    pub fn reload(&self) -> Result<(), TlsError> {
        *self.inner.read.lock().unwrap_or_else(PoisonError::into_inner) = self.inner.settings.stamp();
        let config = self.inner.settings.load()?;
        *self.inner.config.write().unwrap_or_else(PoisonError::into_inner) = config;
        Ok(())
    }

    /// Reads the files again if they have changed since; says in the log what came of it.
    pub(super) fn reload_if_changed(&self) {
        let stamp = self.inner.settings.stamp();
        if *self.inner.read.lock().unwrap_or_else(PoisonError::into_inner) == stamp {
            return;
        }
        let path = self.inner.settings.certificate.display();
        match self.reload() {
            Ok(()) => log::info!("the certificate {path} has been read again"),
            Err(error) => log::error!("the old certificate stays in use: {error}"),
        }
    }

    /// Looks at the files from time to time, for as long as the actix system runs.
    pub(super) fn watch(&self) {
        let tls = self.clone();
        actix_rt::spawn(async move {
            let mut interval = tokio::time::interval(WATCH_INTERVAL);
            loop {
                interval.tick().await;
                tls.reload_if_changed();
            }
        });
    }

    /// What the next connection is to be served with.
    pub(super) fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.inner.config.read().unwrap_or_else(PoisonError::into_inner))
    }
}
