//! TLS for the load: a certificate that a node shows, and connections that trust it.

use std::sync::Arc;

use anyhow::Context as _;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::http::Connection;

/// A certificate for this machine, in files that nodes read.
pub struct Certificate {
    files: TempDir,
    connector: TlsConnector,
}

impl Certificate {
    /// A new one.
    ///
    /// # Errors
    /// When it cannot be made, or written.
    pub fn new() -> anyhow::Result<Self> {
        let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["127.0.0.1".to_owned()])?;
        let files = tempfile::tempdir()?;
        std::fs::write(files.path().join("cert.pem"), cert.pem())?;
        std::fs::write(files.path().join("key.pem"), signing_key.serialize_pem())?;
        let mut roots = RootCertStore::empty();
        roots.add(cert.der().clone())?;
        let client = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self {
            files,
            connector: TlsConnector::from(Arc::new(client)),
        })
    }

    /// Settings of a node that shows it.
    #[must_use]
    pub fn settings(&self) -> Vec<(String, String)> {
        let file = |name: &str| self.files.path().join(name).display().to_string();
        vec![
            ("MCP_TLS__CERT_FILE".into(), file("cert.pem")),
            ("MCP_TLS__KEY_FILE".into(), file("key.pem")),
        ]
    }

    /// Connects to a node on this machine that shows it.
    ///
    /// # Errors
    /// When nobody listens, or shows another.
    pub async fn connect(&self, port: u16) -> anyhow::Result<Connection<TlsStream<TcpStream>>> {
        let stream = TcpStream::connect(("127.0.0.1", port)).await?;
        stream.set_nodelay(true)?;
        let name = ServerName::try_from("127.0.0.1")?;
        let stream = self.connector.connect(name, stream).await.context("TLS")?;
        Ok(Connection::over(stream))
    }
}
