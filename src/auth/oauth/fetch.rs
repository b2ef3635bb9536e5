//! Asks issuers, within bounds: of time, of bytes, and of where. No redirect is followed, so only URLs are asked that settings or an
//! issuer's own metadata name.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::{Bytes, BytesMut};
use http::header::DATE;
use reqwest::redirect::Policy;
use reqwest::{Client, RequestBuilder, StatusCode};
use rustls::ClientConfig;
use url::form_urlencoded::{Serializer, byte_serialize};
use url::{Host, Url};

use crate::trust::{self, TrustError};

/// How long one answer may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// The longest answer.
const ANSWER_BYTES_MAX: usize = 256 << 10; // x 9 requests at a time of each of 8 issuers = 18 MiB

/// Why an issuer could not be asked.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchError {
    /// There was no answer.
    #[error("there was no answer: {0}")]
    Unreachable(#[source] reqwest::Error),
    /// The answer was of another kind.
    #[error("the answer was HTTP {0}")]
    Status(StatusCode),
    /// The answer is too long.
    #[error("the answer has more than {ANSWER_BYTES_MAX} bytes")]
    TooLong,
}

/// Why no issuer can be asked at all.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FetcherError {
    /// Nobody is trusted.
    #[error("auth.ca_file: {0}")]
    Trust(#[from] TrustError),
    /// TLS cannot be used.
    #[error("TLS is not available: {0}")]
    Tls(#[source] rustls::Error),
    /// The settings name something else than a URL.
    #[error("auth.issuers, auth.keys_url and auth.introspection_url are URLs")]
    Url,
    /// The client cannot be made.
    #[error("no HTTP client could be made: {0}")]
    Client(#[source] reqwest::Error),
}

/// An answer.
#[derive(Debug)]
pub(super) struct Fetched {
    pub(super) body: Bytes,
    /// The time there.
    pub(super) date: Option<SystemTime>,
}

/// Asks one server.
#[derive(Debug, Clone)]
pub(super) struct Fetcher(Client);

impl Fetcher {
    /// One that asks the server of that URL, and trusts `ca_file` or else the system's authorities. Proxies of the
    /// environment are used, but not to reach this machine.
    pub(super) fn new(url: &Url, ca_file: Option<&Path>) -> Result<Self, FetcherError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(FetcherError::Tls)?;
        let roots = match url.scheme() == "https" {
            true => trust::roots(ca_file)?,
            false => rustls::RootCertStore::empty(),
        };
        let client = Client::builder()
            .tls_backend_preconfigured(tls.with_root_certificates(roots).with_no_client_auth())
            .redirect(Policy::none())
            .referer(false)
            .timeout(ANSWER_WITHIN)
            .user_agent(concat!("anynode/", env!("CARGO_PKG_VERSION")));
        let client = match is_this_machine(url) {
            true => client.no_proxy(),
            false => client,
        };
        Ok(Self(client.build().map_err(FetcherError::Client)?))
    }

    /// What there is at that URL.
    pub(super) async fn get(&self, url: &Url) -> Result<Fetched, FetchError> {
        let request = self.0.get(url.clone()).header("accept", "application/json");
        answer(request).await
    }

    /// What that URL answers to a form, sent as that client (RFC 6749, section 2.3.1).
    pub(super) async fn post_form(
        &self,
        url: &Url,
        (client, secret): (&str, &str),
        form: &[(&str, &str)],
    ) -> Result<Fetched, FetchError> {
        let request = self
            .0
            .post(url.clone())
            .header("accept", "application/json")
            .header("content-type", "application/x-www-form-urlencoded")
            .basic_auth(encoded(client), Some(encoded(secret)))
            .body(Serializer::new(String::new()).extend_pairs(form).finish());
        answer(request).await
    }
}

fn encoded(text: &str) -> String {
    byte_serialize(text.as_bytes()).collect()
}

async fn answer(request: RequestBuilder) -> Result<Fetched, FetchError> {
    // Without the URL: a query may be a secret.
    let unreachable = |error: reqwest::Error| FetchError::Unreachable(error.without_url());
    let mut response = request.send().await.map_err(unreachable)?;
    if response.status() != StatusCode::OK {
        return Err(FetchError::Status(response.status()));
    }
    let date = response.headers().get(DATE).and_then(|date| date.to_str().ok());
    let date = date.and_then(|date| httpdate::parse_http_date(date).ok());
    let mut body = BytesMut::new();
    while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
        if body.len() + chunk.len() > ANSWER_BYTES_MAX {
            return Err(FetchError::TooLong);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Fetched {
        body: body.freeze(),
        date,
    })
}

/// Whether a URL is of this machine.
pub(super) fn is_this_machine(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}
