//! Asks issuers, within bounds: of time, of bytes, and of where. No redirect is followed, so only URLs are asked that settings or an
//! issuer's own metadata name.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, DATE, USER_AGENT};
use http::{Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::client::legacy::{Client, Error as ClientError};
use hyper_util::client::proxy::matcher::Matcher;
use hyper_util::rt::TokioExecutor;
use rustls::{ClientConfig, RootCertStore};
use tokio::time::timeout;
use url::form_urlencoded::{Serializer, byte_serialize};
use url::{Host, Url};

use crate::trust::{self, TrustError};

/// How long one answer may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// The longest answer.
const ANSWER_BYTES_MAX: usize = 256 << 10; // of 64 tokens and 8 issuers at a time: 18 MiB
const JSON: &str = "application/json";
const FORM: &str = "application/x-www-form-urlencoded";
const AGENT: &str = concat!("anynode/", env!("CARGO_PKG_VERSION"));

/// Why an issuer could not be asked.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchError {
    /// There was no answer.
    #[error("there was no answer")]
    Unreachable(#[source] ClientError),
    /// There was none in time.
    #[error("there was no answer within {ANSWER_WITHIN:?}")]
    Late,
    /// The answer was of another kind.
    #[error("the answer was HTTP {0}")]
    Status(StatusCode),
    /// The answer broke off.
    #[error("the answer broke off")]
    Broken(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The answer is too long.
    #[error("the answer has more than {ANSWER_BYTES_MAX} bytes")]
    TooLong,
    /// The request cannot be made.
    #[error("the request cannot be made")]
    Request(#[source] http::Error),
}

impl FetchError {
    /// Whether the server is out of reach, so that it answers nothing else either.
    pub(super) const fn is_out_of_reach(&self) -> bool {
        matches!(self, Self::Unreachable(_) | Self::Late)
    }
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
}

/// Asks one server.
#[derive(Debug, Clone)]
pub(super) enum Fetcher {
    /// Itself.
    Direct(Client<HttpsConnector<HttpConnector>, Full<Bytes>>),
    /// By way of a proxy of the environment.
    Proxied(Client<HttpsConnector<Tunnel<HttpConnector>>, Full<Bytes>>),
}

/// An answer.
#[derive(Debug)]
pub(super) struct Fetched {
    pub(super) body: Bytes,
    /// The time there.
    pub(super) date: Option<SystemTime>,
}

impl Fetcher {
    /// One that asks the server of that URL, and trusts `ca_file` or else the system's authorities. A proxy that the
    /// environment names is used (`HTTPS_PROXY`, `NO_PROXY`), but not to reach this machine.
    pub(super) fn new(url: &Url, ca_file: Option<&Path>) -> Result<Self, FetcherError> {
        let roots = match url.scheme() == "https" {
            true => trust::roots(ca_file)?,
            false => RootCertStore::empty(),
        };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(FetcherError::Tls)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let https = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1();
        let client = Client::builder(TokioExecutor::new());
        let uri: Uri = url.as_str().parse().map_err(|_error| FetcherError::Url)?;
        let proxy = match is_this_machine(url) {
            true => None,
            false => Matcher::from_env().intercept(&uri),
        };
        let Some(proxy) = proxy else {
            return Ok(Self::Direct(client.build(https.build())));
        };
        let mut connector = HttpConnector::new();
        connector.enforce_http(false);
        let tunnel = Tunnel::new(proxy.uri().clone(), connector);
        let tunnel = match proxy.basic_auth() {
            Some(auth) => tunnel.with_auth(auth.clone()),
            None => tunnel,
        };
        Ok(Self::Proxied(client.build(https.wrap_connector(tunnel))))
    }

    /// What there is at that URL.
    pub(super) async fn get(&self, url: &Url) -> Result<Fetched, FetchError> {
        self.ask(Request::get(url.as_str()).body(Full::default())).await
    }

    /// What that URL answers to a form, sent as that client (RFC 6749, section 2.3.1).
    pub(super) async fn post_form(
        &self,
        url: &Url,
        (client, secret): (&str, &str),
        form: &[(&str, &str)],
    ) -> Result<Fetched, FetchError> {
        let basic = STANDARD.encode(format!("{}:{}", encoded(client), encoded(secret)));
        let body = Serializer::new(String::new()).extend_pairs(form).finish();
        let request = Request::post(url.as_str())
            .header(AUTHORIZATION, format!("Basic {basic}"))
            .header(CONTENT_TYPE, FORM)
            .body(Full::from(body));
        self.ask(request).await
    }

    async fn ask(&self, request: http::Result<Request<Full<Bytes>>>) -> Result<Fetched, FetchError> {
        let mut request = request.map_err(FetchError::Request)?;
        let headers = request.headers_mut();
        headers.insert(ACCEPT, http::HeaderValue::from_static(JSON));
        headers.insert(USER_AGENT, http::HeaderValue::from_static(AGENT));
        let asked = async {
            let response = match self {
                Self::Direct(client) => client.request(request).await,
                Self::Proxied(client) => client.request(request).await,
            };
            answer(response.map_err(FetchError::Unreachable)?).await
        };
        timeout(ANSWER_WITHIN, asked)
            .await
            .unwrap_or(Err(FetchError::Late))
    }
}

async fn answer(response: Response<Incoming>) -> Result<Fetched, FetchError> {
    if response.status() != StatusCode::OK {
        return Err(FetchError::Status(response.status()));
    }
    let date = response.headers().get(DATE).and_then(|date| date.to_str().ok());
    let date = date.and_then(|date| httpdate::parse_http_date(date).ok());
    let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX)
        .collect()
        .await;
    let body = body.map_err(|error| match error.is::<LengthLimitError>() {
        true => FetchError::TooLong,
        false => FetchError::Broken(error),
    })?;
    Ok(Fetched {
        body: body.to_bytes(),
        date,
    })
}

fn encoded(text: &str) -> String {
    byte_serialize(text.as_bytes()).collect()
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
