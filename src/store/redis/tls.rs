//! TLS to Redis: the trusted certificates, and this node's own.

use std::path::Path;
use std::sync::Arc;

use fred::types::config::TlsConnector;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

use super::connect::ConnectError;
use crate::config::StoreSettings;

/// A connector that trusts `store.ca_file`, or else the system's authorities, and shows the client
/// certificate if one is set.
pub(super) fn connector(settings: &StoreSettings) -> Result<TlsConnector, ConnectError> {
    let roots = roots(settings.ca_file.as_deref())?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| ConnectError::setting("REDIS_URL", format!("TLS is not available: {error}")))?
        .with_root_certificates(roots);
    let config = match (&settings.cert_file, &settings.key_file) {
        (Some(cert_file), Some(key_file)) => config
            .with_client_auth_cert(certificates("store.cert_file", cert_file)?, key(key_file)?)
            .map_err(|error| {
                let why = format!("it does not fit the certificate in store.cert_file: {error}");
                ConnectError::file("store.key_file", key_file, why)
            })?,
        (None, None) => config.with_no_client_auth(),
        (Some(_), None) => return Err(half("store.cert_file", "store.key_file")),
        (None, Some(_)) => return Err(half("store.key_file", "store.cert_file")),
    };
    Ok(config.into())
}

/// Complains about TLS settings that a URL without TLS would leave unused.
pub(super) fn refuse_unused(settings: &StoreSettings) -> Result<(), ConnectError> {
    let files = [
        ("store.ca_file", &settings.ca_file),
        ("store.cert_file", &settings.cert_file),
        ("store.key_file", &settings.key_file),
    ];
    match files.iter().find(|(_, file)| file.is_some()) {
        Some((setting, _)) => Err(ConnectError::setting(
            setting,
            "it is set, but REDIS_URL does not ask for TLS: use the scheme `rediss`, or remove it".into(),
        )),
        None => Ok(()),
    }
}

fn half(set: &'static str, missing: &'static str) -> ConnectError {
    ConnectError::setting(set, format!("it is set without {missing}: set both, or neither"))
}

fn roots(ca_file: Option<&Path>) -> Result<RootCertStore, ConnectError> {
    let mut roots = RootCertStore::empty();
    match ca_file {
        Some(path) => {
            for certificate in certificates("store.ca_file", path)? {
                roots
                    .add(certificate)
                    .map_err(|error| ConnectError::file("store.ca_file", path, error.to_string()))?;
            }
        }
        None => {
            // Systems carry odd certificates: what cannot be read is left out, as browsers do.
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if roots.is_empty() {
                let why =
                    "the system has no certificate authorities: set it to a PEM file with those to trust";
                return Err(ConnectError::setting("store.ca_file", why.into()));
            }
        }
    }
    Ok(roots)
}

fn certificates(setting: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, ConnectError> {
    let unreadable = |error: rustls::pki_types::pem::Error| {
        ConnectError::file(setting, path, format!("it cannot be read as PEM: {error}"))
    };
    let certificates = CertificateDer::pem_file_iter(path).map_err(unreadable)?;
    let certificates: Vec<_> = certificates.collect::<Result<_, _>>().map_err(unreadable)?;
    if certificates.is_empty() {
        let why = "it holds no certificate: give a PEM file with `BEGIN CERTIFICATE`";
        return Err(ConnectError::file(setting, path, why.into()));
    }
    Ok(certificates)
}

fn key(path: &Path) -> Result<PrivateKeyDer<'static>, ConnectError> {
    PrivateKeyDer::from_pem_file(path).map_err(|error| {
        let why = format!("it cannot be read as a PEM private key: {error}");
        ConnectError::file("store.key_file", path, why)
    })
}
