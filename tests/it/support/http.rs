//! HTTP clients for this machine alone.

use std::sync::LazyLock;

use reqwest::{ClientBuilder, IntoUrl, Response};
use rustls::{ClientConfig, RootCertStore};

use super::process::know_tls;

/// TLS that trusts nobody, for clients that speak plain HTTP. Without it, each one reads all the authorities of the machine, which takes
/// an unoptimized build 20 ms.
static NO_TLS: LazyLock<ClientConfig> = LazyLock::new(|| {
    know_tls();
    ClientConfig::builder()
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth()
});

/// What an HTTP client is made of that asks no proxy.
pub(crate) fn http_client() -> ClientBuilder {
    reqwest::Client::builder()
        .no_proxy()
        .tls_backend_preconfigured(NO_TLS.clone())
}

/// The answer to a GET, on a connection of its own.
pub(crate) async fn http_get(url: impl IntoUrl) -> reqwest::Result<Response> {
    http_client().build()?.get(url).send().await
}
