//! TLS for clients: the certificate in use, and its files, which are taken up when they change.
//!
//! Connections that are open keep what they were made with. Sessions are not resumed: each connection shows its
//! certificates.

mod certificate;
mod config;
mod current;
mod handshake;
mod reload;

pub(crate) use certificate::CertificateFacts;
pub(crate) use current::{Tls, load};
pub(super) use handshake::accept;
pub(crate) use reload::{expires_soon, keep_fresh};
