//! What TLS trusts if the program says nothing else: the certificates of this machine.

use std::io;
use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore};

use crate::address::ServerUrl;
use crate::error::Error;

/// With cryptography of its own, so that neither this crate nor the program must install one for the whole process.
pub(crate) fn config(url: &Arc<ServerUrl>) -> Result<Arc<ClientConfig>, Error> {
    let unreachable = |why: io::Error| Error::Unreachable { url: Arc::clone(url), source: Arc::new(why) };
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let why = "this machine trusts no certificates: none were found";
        return Err(unreachable(io::Error::new(io::ErrorKind::NotFound, why)));
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| unreachable(io::Error::other(error)))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}
