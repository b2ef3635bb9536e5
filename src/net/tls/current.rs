//! The certificate in use, which all connections share.

use std::sync::{Arc, PoisonError, RwLock};

use rustls::ServerConfig;

use super::certificate::CertificateFacts;
use super::config::{InUse, TlsFiles};
use crate::config::TlsSettings;
use crate::net::tls_error::TlsError;
use crate::telemetry::metrics;

/// What connections are made with. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Tls {
    inner: Arc<TlsInner>,
}

#[derive(Debug)]
struct TlsInner {
    settings: TlsSettings,
    in_use: RwLock<InUse>,
    /// Of the files when they were first read.
    first_digest: [u8; 32],
}

/// Reads the files that the settings name. `None` if they name none.
///
/// # Errors
/// [`TlsError`] says in words what does not fit.
pub(crate) fn load(settings: &TlsSettings) -> Result<Option<Tls>, TlsError> {
    if !settings.is_on() {
        return Ok(None);
    }
    let files = TlsFiles::read(settings)?;
    let in_use = files.to_config(settings)?;
    metrics::certificate_expires(in_use.facts.expires);
    Ok(Some(Tls {
        inner: Arc::new(TlsInner {
            settings: settings.clone(),
            in_use: RwLock::new(in_use),
            first_digest: files.digest(),
        }),
    }))
}

impl Tls {
    /// What this node's certificate says.
    pub(crate) fn facts(&self) -> CertificateFacts {
        let in_use = self.inner.in_use.read();
        in_use.unwrap_or_else(PoisonError::into_inner).facts.clone()
    }

    pub(super) fn settings(&self) -> &TlsSettings {
        &self.inner.settings
    }

    pub(super) fn first_digest(&self) -> [u8; 32] {
        self.inner.first_digest
    }

    /// What the next connection is made with.
    pub(super) fn config(&self) -> Arc<ServerConfig> {
        let in_use = self.inner.in_use.read();
        Arc::clone(&in_use.unwrap_or_else(PoisonError::into_inner).config)
    }

    /// Makes the next connections with this.
    pub(super) fn take_up(&self, fresh: InUse) {
        metrics::certificate_expires(fresh.facts.expires);
        *self.inner.in_use.write().unwrap_or_else(PoisonError::into_inner) = fresh;
    }
}
