//! TLS to Redis: the trusted certificates, and this node's own.

use std::path::Path;
use std::sync::Arc;

use fred::types::config::TlsConnector;
use rustls::ClientConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::connect::ConnectError;
use crate::config::StoreSettings;
use crate::trust;

/// A connector that trusts `store.ca_file`, or else the system's authorities, and shows the client
/// certificate if one is set.
pub(super) fn connector(settings: &StoreSettings) -> Result<TlsConnector, ConnectError> {
    let ca_file = settings.ca_file.as_deref();
    let roots = trust::roots(ca_file).map_err(|error| {
        let why = error.to_string();
        match ca_file {
            Some(path) => ConnectError::file("store.ca_file", path, why),
            None => ConnectError::setting("store.ca_file", why),
        }
    })?;
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

fn certificates(setting: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, ConnectError> {
    trust::certificates(path).map_err(|error| ConnectError::file(setting, path, error.to_string()))
}

fn key(path: &Path) -> Result<PrivateKeyDer<'static>, ConnectError> {
    PrivateKeyDer::from_pem_file(path).map_err(|error| {
        let why = format!("it cannot be read as a PEM private key: {error}");
        ConnectError::file("store.key_file", path, why)
    })
}
