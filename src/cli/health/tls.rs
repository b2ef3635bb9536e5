//! TLS to the node that is asked: trusted are the node's own certificate, as the settings name it, and
//! authorities.

use std::io;
use std::path::Path;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::HealthError;
use crate::config::Settings;

/// Which certificates are trusted.
#[derive(Debug)]
pub(super) struct Trust<'a> {
    ca_file: Option<&'a Path>,
    own_file: Option<&'a Path>,
}

impl<'a> Trust<'a> {
    /// Trusts that file's authorities, or else the system's, and the certificate that a node of these settings
    /// shows.
    pub(super) fn of(ca_file: Option<&'a Path>, settings: &'a Settings) -> Self {
        Self {
            ca_file,
            own_file: settings.tls.cert_file.as_deref(),
        }
    }

    /// Speaks TLS to the host at the other end.
    ///
    /// # Errors
    /// [`HealthError::Trust`]; inside, what went wrong with the other end.
    pub(super) async fn secure(
        &self,
        stream: TcpStream,
        host: &str,
    ) -> Result<io::Result<TlsStream<TcpStream>>, HealthError> {
        let name = match ServerName::try_from(host.to_owned()) {
            Ok(name) => name,
            Err(error) => return Ok(Err(io::Error::other(error))),
        };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let trusted = Arc::new(self.certificates(&provider)?);
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let config = match config {
            Ok(config) => config.dangerous().with_custom_certificate_verifier(trusted),
            Err(error) => return Ok(Err(io::Error::other(error))),
        };
        let connector = TlsConnector::from(Arc::new(config.with_no_client_auth()));
        Ok(connector.connect(name, stream).await)
    }

    fn certificates(&self, provider: &Arc<CryptoProvider>) -> Result<TrustedCertificates, HealthError> {
        let own = match self.own_file {
            Some(file) => read("tls.cert_file", file)?.into_iter().next(),
            None => None,
        };
        let mut roots = RootCertStore::empty();
        match self.ca_file {
            Some(file) => {
                for authority in read("--ca", file)? {
                    let added = roots.add(authority);
                    added.map_err(|error| unreadable("--ca", file, &error))?;
                }
            }
            // Systems carry odd certificates: what cannot be read is left out, as browsers do.
            None => drop(roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs)),
        }
        let chains = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
        Ok(TrustedCertificates {
            own,
            // A container may have no authorities at all.
            chains: chains.build().ok(),
            provider: Arc::clone(provider),
        })
    }
}

fn read(what: &'static str, file: &Path) -> Result<Vec<CertificateDer<'static>>, HealthError> {
    let certificates = CertificateDer::pem_file_iter(file).and_then(Iterator::collect);
    certificates.map_err(|error| unreadable(what, file, &error))
}

fn unreadable(what: &'static str, file: &Path, error: &dyn std::error::Error) -> HealthError {
    HealthError::Trust {
        what,
        why: format!("{}: {error}", file.display()),
    }
}

/// Trusts one certificate as it is, also one that has expired or names other hosts: who has its key is the node.
/// And it trusts authorities, as everybody does.
#[derive(Debug)]
struct TrustedCertificates {
    own: Option<CertificateDer<'static>>,
    chains: Option<Arc<WebPkiServerVerifier>>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for TrustedCertificates {
    fn verify_server_cert(
        &self,
        shown: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        stapled: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if self.own.as_ref() == Some(shown) {
            return Ok(ServerCertVerified::assertion());
        }
        match &self.chains {
            Some(chains) => chains.verify_server_cert(shown, intermediates, name, stapled, now),
            None => Err(CertificateError::UnknownIssuer.into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}
