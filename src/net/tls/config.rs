//! The files of `[tls]`, and what rustls makes of them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, ServerConfig, SignatureScheme,
};
use sha2::{Digest as _, Sha256};

use super::certificate::{CertificateFacts, client_name};
use crate::config::{ClientCerts, ClientPrincipal, TlsSettings};
use crate::net::tls_error::TlsError;
use crate::trust;

const CERT: &str = "tls.cert_file";
const KEY: &str = "tls.key_file";
const CLIENT_CA: &str = "tls.client_ca_file";
/// The protocol of all connections.
const ALPN: &[u8] = b"http/1.1";

/// What the files hold.
#[derive(Debug)]
pub(super) struct TlsFiles {
    cert: Vec<u8>,
    key: Vec<u8>,
    client_ca: Vec<u8>,
}

/// What connections are made with, and what the files say.
#[derive(Debug, Clone)]
pub(super) struct InUse {
    pub(super) config: Arc<ServerConfig>,
    pub(super) facts: CertificateFacts,
}

impl TlsFiles {
    /// Reads them. A file that the settings do not name is empty.
    pub(super) fn read(settings: &TlsSettings) -> Result<Self, TlsError> {
        let read = |setting, path: &Option<PathBuf>| match path {
            Some(path) => {
                std::fs::read(path).map_err(|error| TlsError::file(setting, path, &error.to_string()))
            }
            None => Ok(Vec::new()),
        };
        Ok(Self {
            cert: read(CERT, &settings.cert_file)?,
            key: read(KEY, &settings.key_file)?,
            client_ca: read(CLIENT_CA, &settings.client_ca_file)?,
        })
    }

    /// Differs when a file does.
    pub(super) fn digest(&self) -> [u8; 32] {
        let mut all = Sha256::new();
        for file in [&self.cert, &self.key, &self.client_ca] {
            all.update(Sha256::digest(file));
        }
        all.finalize().into()
    }

    /// What they come to.
    ///
    /// # Errors
    /// When they do not fit, in words.
    pub(super) fn to_config(&self, settings: &TlsSettings) -> Result<InUse, TlsError> {
        let chain = certificates(CERT, path(settings.cert_file.as_deref()), &self.cert)?;
        let facts = chain.first().and_then(|first| CertificateFacts::of(first));
        let facts = facts.ok_or_else(|| {
            TlsError::file(
                CERT,
                path(settings.cert_file.as_deref()),
                "its first certificate cannot be read",
            )
        })?;
        let key_file = path(settings.key_file.as_deref());
        let key = PrivateKeyDer::from_pem_slice(&self.key).map_err(|error| {
            let why = match error {
                pem::Error::NoItemsFound => "it holds no private key without a password".to_owned(),
                error => format!("it cannot be read as a PEM private key: {error}"),
            };
            TlsError::file(KEY, key_file, &why)
        })?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| TlsError::setting(CERT, format!("TLS is not available: {error}")))?;
        let builder = match self.clients(settings, provider)? {
            Some(clients) => builder.with_client_cert_verifier(clients),
            None => builder.with_no_client_auth(),
        };
        let mut config = builder.with_single_cert(chain, key).map_err(|error| {
            let why = match error {
                Error::InconsistentKeys(_) => format!("it does not fit the certificate in {CERT}"),
                error => format!("it cannot be used with the certificate in {CERT}: {error}"),
            };
            TlsError::file(KEY, key_file, &why)
        })?;
        config.alpn_protocols = vec![ALPN.to_vec()];
        // A session that is taken up again would show no certificate, and each stream would keep what it needs
        // for that.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(InUse {
            config: Arc::new(config),
            facts,
        })
    }

    /// What checks the certificates of clients, if they are asked for one.
    fn clients(
        &self,
        settings: &TlsSettings,
        provider: Arc<CryptoProvider>,
    ) -> Result<Option<Arc<dyn ClientCertVerifier>>, TlsError> {
        if settings.client_certs == ClientCerts::Off {
            return Ok(None);
        }
        let file = path(settings.client_ca_file.as_deref());
        let wrong = |error: &dyn std::error::Error| TlsError::file(CLIENT_CA, file, &error.to_string());
        let authorities = certificates(CLIENT_CA, file, &self.client_ca)?;
        let roots = trust::roots_of(authorities).map_err(|error| wrong(&error))?;
        let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
        let clients = match settings.client_certs {
            ClientCerts::Optional => clients.allow_unauthenticated(),
            ClientCerts::Required | ClientCerts::Off => clients,
        };
        let chains = clients.build().map_err(|error| wrong(&error))?;
        Ok(Some(Arc::new(NamedClients {
            chains,
            kind: settings.client_principal,
        })))
    }
}

/// The path of a file that is set; the settings are checked for that.
fn path(file: Option<&Path>) -> &Path {
    file.unwrap_or_else(|| Path::new(""))
}

fn certificates(
    setting: &'static str,
    path: &Path,
    text: &[u8],
) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    trust::certificates_in(text).map_err(|error| TlsError::file(setting, path, &error.to_string()))
}

/// Lets clients in whose certificates the authorities vouch for, and which name them.
#[derive(Debug)]
struct NamedClients {
    chains: Arc<dyn ClientCertVerifier>,
    kind: ClientPrincipal,
}

impl ClientCertVerifier for NamedClients {
    fn offer_client_auth(&self) -> bool {
        self.chains.offer_client_auth()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.chains.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.chains.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self.chains.verify_client_cert(certificate, intermediates, now)?;
        match client_name(certificate, self.kind) {
            Some(_name) => Ok(verified),
            // Without a name it would be nobody's, and anybody's.
            None => Err(CertificateError::ApplicationVerificationFailure.into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chains
            .verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chains
            .verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chains.supported_verify_schemes()
    }
}
