//! The settings of TLS for clients.

use std::path::PathBuf;

/// `[tls]`
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsSettings {
    /// PEM file with this node's certificate, then those of its issuers. None for plain HTTP.
    pub cert_file: Option<PathBuf>,
    /// PEM file with the certificate's key.
    pub key_file: Option<PathBuf>,
    /// PEM file with the authorities that vouch for clients.
    pub client_ca_file: Option<PathBuf>,
    /// Whether clients show a certificate.
    pub client_certs: ClientCerts,
    /// What of a client's certificate names it.
    pub client_principal: ClientPrincipal,
}

impl TlsSettings {
    /// Whether clients speak TLS to this node.
    pub(crate) const fn is_on(&self) -> bool {
        self.cert_file.is_some()
    }
}

/// Whether clients show a certificate.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ClientCerts {
    /// They are not asked for one.
    #[default]
    Off,
    /// They may.
    Optional,
    /// They must.
    Required,
}

/// What of a client's certificate names it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ClientPrincipal {
    /// The first URI among its subject's alternative names, such as a SPIFFE id.
    #[default]
    Uri,
    /// The first DNS name there.
    Dns,
    /// The common name of its subject.
    Cn,
}
