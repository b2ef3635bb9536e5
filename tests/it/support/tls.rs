//! TLS in tests: authorities, certificates in files, and clients that trust them.

use crate::support::http::http_client;
use std::path::PathBuf;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// An authority of the test's own.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

/// A certificate and its key.
#[derive(Debug, Clone)]
pub(crate) struct Pair {
    /// In PEM.
    pub(crate) cert: String,
    /// In PEM.
    pub(crate) key: String,
}

impl Authority {
    /// One of that name.
    pub(crate) fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(vec![]).expect("parameters");
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let pem = params.self_signed(&key).expect("a certificate").pem();
        let issuer = Issuer::new(params, key);
        Self { issuer, pem }
    }

    /// Its own certificate, in PEM.
    pub(crate) fn pem(&self) -> &str {
        &self.pem
    }

    /// A certificate for this machine.
    pub(crate) fn server(&self) -> Pair {
        self.pair(|_as_it_is| ())
    }

    /// The same with something changed.
    pub(crate) fn pair(&self, change: impl FnOnce(&mut CertificateParams)) -> Pair {
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let mut params = CertificateParams::new(names).expect("parameters");
        change(&mut params);
        let key = KeyPair::generate().expect("a key");
        let cert = params.signed_by(&key, &self.issuer).expect("a certificate");
        Pair {
            cert: cert.pem(),
            key: key.serialize_pem(),
        }
    }
}

impl Pair {
    /// The certificate, in DER.
    pub(crate) fn der(&self) -> CertificateDer<'static> {
        CertificateDer::from_pem_slice(self.cert.as_bytes()).expect("a certificate")
    }
}

/// The files that a node reads.
#[derive(Debug)]
pub(crate) struct PemFiles {
    dir: TempDir,
}

impl PemFiles {
    /// Files with that pair, and that authority for clients.
    pub(crate) fn of(pair: &Pair, clients: &Authority) -> Self {
        let files = Self {
            dir: tempfile::tempdir().expect("a temporary directory"),
        };
        files.put(pair);
        files.write("ca.pem", clients.pem());
        files
    }

    /// Puts another pair in place.
    pub(crate) fn put(&self, pair: &Pair) {
        self.write("cert.pem", &pair.cert);
        self.write("key.pem", &pair.key);
    }

    /// Writes one of the files.
    pub(crate) fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).expect("a PEM file");
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The environment of a node with TLS.
    pub(crate) fn env(&self) -> Vec<(String, String)> {
        let set = |name: &str, file| (name.to_owned(), self.path(file).display().to_string());
        vec![
            set("MCP_TLS__CERT_FILE", "cert.pem"),
            set("MCP_TLS__KEY_FILE", "key.pem"),
        ]
    }

    /// The same of one that asks clients for certificates.
    pub(crate) fn env_asking(&self, client_certs: &str, principal: &str) -> Vec<(String, String)> {
        let mut env = self.env();
        let ca = self.path("ca.pem").display().to_string();
        for (name, value) in [
            ("MCP_TLS__CLIENT_CA_FILE", ca.as_str()),
            ("MCP_TLS__CLIENT_CERTS", client_certs),
            ("MCP_TLS__CLIENT_PRINCIPAL", principal),
        ] {
            env.push((name.to_owned(), value.to_owned()));
        }
        env
    }
}

/// Borrowed, as clusters take it.
pub(crate) fn borrowed(env: &[(String, String)]) -> Vec<(&str, &str)> {
    env.iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect()
}

/// What a client trusts and shows.
pub(crate) fn client_config(trusted: &Authority, own: Option<&Pair>) -> ClientConfig {
    of_versions(trusted, own, rustls::ALL_VERSIONS)
}

/// The same with these versions only.
pub(crate) fn of_versions(
    trusted: &Authority,
    own: Option<&Pair>,
    versions: &[&'static SupportedProtocolVersion],
) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    let authority = CertificateDer::from_pem_slice(trusted.pem().as_bytes());
    roots
        .add(authority.expect("a certificate"))
        .expect("an authority");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .expect("versions")
        .with_root_certificates(roots);
    match own {
        Some(own) => {
            let key = PrivateKeyDer::from_pem_slice(own.key.as_bytes()).expect("a key");
            config
                .with_client_auth_cert(vec![own.der()], key)
                .expect("a pair")
        }
        None => config.with_no_client_auth(),
    }
}

/// An HTTP client that trusts this authority, and shows that certificate.
pub(crate) fn http(trusted: &Authority, own: Option<&Pair>) -> reqwest::Client {
    let builder = http_client().tls_backend_preconfigured(client_config(trusted, own));
    builder.build().expect("a client")
}

/// One connection to a port of this machine.
pub(crate) async fn connect(port: u16, config: ClientConfig) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(("127.0.0.1", port)).await?;
    let name = ServerName::try_from("localhost").expect("a name");
    TlsConnector::from(Arc::new(config)).connect(name, stream).await
}
