//! TLS to the node that is asked: trusted are the node's own certificate, as the settings name it, and
//! authorities.

use std::io;
use std::path::Path;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::HealthError;
use crate::config::Settings;
use crate::trust::{self, TrustError};

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
        let unreadable = |what, file: &Path, error: TrustError| HealthError::Trust {
            what,
            why: format!("{}: {error}", file.display()),
        };
        let own = match self.own_file {
            Some(file) => {
                let chain =
                    trust::certificates(file).map_err(|error| unreadable("tls.cert_file", file, error))?;
                chain.into_iter().next()
            }
            None => None,
        };
        let roots = match (trust::roots(self.ca_file), self.ca_file) {
            (Ok(roots), _) => roots,
            (Err(error), Some(file)) => return Err(unreadable("--ca", file, error)),
            // A container may have no authorities at all.
            (Err(_none), None) => RootCertStore::empty(),
        };
        let chains = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
        Ok(TrustedCertificates {
            own,
            chains: chains.build().ok(),
            provider: Arc::clone(provider),
        })
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
