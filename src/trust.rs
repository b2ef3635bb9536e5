//! The authorities that this program trusts when it asks others by TLS, and what it reads from PEM files.

use std::path::Path;

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::{Error as PemError, PemObject as _};

/// Why nobody can be trusted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TrustError {
    /// The file is no PEM file.
    #[error("it cannot be read as PEM: {0}")]
    Unreadable(#[source] PemError),
    /// The file has no certificate.
    #[error("it holds no certificate: give a PEM file with `BEGIN CERTIFICATE`")]
    Empty,
    /// A certificate in the file cannot be trusted.
    #[error("{0}")]
    Unusable(#[source] rustls::Error),
    /// The system names no authorities.
    #[error("the system has no certificate authorities: set it to a PEM file with those to trust")]
    NoSystem,
}

/// The authorities in that file, or else the system's.
pub(crate) fn roots(ca_file: Option<&Path>) -> Result<RootCertStore, TrustError> {
    if let Some(path) = ca_file {
        return roots_of(certificates(path)?);
    }
    let mut roots = RootCertStore::empty();
    // Systems carry odd certificates: what cannot be read is left out, as browsers do.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    match roots.is_empty() {
        true => Err(TrustError::NoSystem),
        false => Ok(roots),
    }
}

/// These authorities.
pub(crate) fn roots_of(authorities: Vec<CertificateDer<'static>>) -> Result<RootCertStore, TrustError> {
    let mut roots = RootCertStore::empty();
    for authority in authorities {
        roots.add(authority).map_err(TrustError::Unusable)?;
    }
    Ok(roots)
}

/// The certificates in a PEM file.
pub(crate) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TrustError> {
    let certificates = CertificateDer::pem_file_iter(path).map_err(TrustError::Unreadable)?;
    some(certificates)
}

/// The certificates in the text of a PEM file.
#[cfg(feature = "tls")]
pub(crate) fn certificates_in(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TrustError> {
    some(CertificateDer::pem_slice_iter(pem))
}

fn some(
    certificates: impl Iterator<Item = Result<CertificateDer<'static>, PemError>>,
) -> Result<Vec<CertificateDer<'static>>, TrustError> {
    let certificates: Vec<_> = certificates
        .collect::<Result<_, _>>()
        .map_err(TrustError::Unreadable)?;
    match certificates.is_empty() {
        true => Err(TrustError::Empty),
        false => Ok(certificates),
    }
}
