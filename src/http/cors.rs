//! Lets pages of allowed origins call from a browser, and read every answer (Fetch, "CORS protocol"). Other
//! clients send no `Origin`, and pay nothing.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use futures::FutureExt as _;
use http::header::{
    ACCEPT, ACCESS_CONTROL_REQUEST_HEADERS, AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE,
};
use http::{HeaderName, HeaderValue, Method, Request};
use tower::{Layer as _, ServiceExt as _, service_fn};
use tower_http::cors::{AllowHeaders, AllowOrigin, CorsLayer};

use super::admit::{LAST_EVENT_ID, SESSION_HEADER};
use crate::protocol::headers::{METHOD_HEADER, NAME_HEADER, VERSION_HEADER, is_param};

/// How long a browser may keep what it was told: then it asks again. Chromium keeps it for 2 h at most.
const ASKED_AGAIN_AFTER: Duration = Duration::from_secs(3600);

/// The answers to pages of an allowed origin.
#[derive(Debug, Clone)]
pub(super) struct Cors {
    layer: CorsLayer,
}

impl Cors {
    pub(super) fn new() -> Self {
        let exposed = [
            SESSION_HEADER.clone(),
            VERSION_HEADER.clone(),
            WWW_AUTHENTICATE,
            RETRY_AFTER,
        ];
        Self {
            // Never with credentials: a page proves itself by headers of its own.
            layer: CorsLayer::new()
                .allow_origin(AllowOrigin::mirror_request())
                .allow_methods([Method::GET, Method::POST, Method::DELETE])
                .allow_headers(AllowHeaders::mirror_request())
                .expose_headers(exposed)
                .max_age(ASKED_AGAIN_AFTER),
        }
    }

    /// The answer to a page of an allowed origin: what `answer` makes of its request, with the headers that
    /// let the page read it. A preflight, which asks whether the page may, is answered here.
    pub(super) async fn answer<F>(
        &self,
        mut request: Request<Body>,
        answer: impl Fn(Request<Body>) -> F,
    ) -> Response
    where
        F: Future<Output = Response>,
    {
        permit_headers(&mut request);
        // Not an `async` block, which would keep room for the answer's future twice.
        let inner = service_fn(|request| answer(request).map(Ok::<_, Infallible>));
        let Ok(response) = self.layer.layer(inner).oneshot(request).await;
        response
    }
}

/// Leaves of the headers that a preflight asks for those that a page may send.
fn permit_headers(request: &mut Request<Body>) {
    let Some(asked) = request.headers_mut().remove(ACCESS_CONTROL_REQUEST_HEADERS) else {
        return;
    };
    let asked = asked.to_str().unwrap_or_default();
    let permitted: Vec<&str> = asked
        .split(',')
        .map(str::trim)
        .filter(|name| may_send(name))
        .collect();
    if let Ok(permitted) = HeaderValue::from_str(&permitted.join(", "))
        && !permitted.is_empty()
    {
        request
            .headers_mut()
            .insert(ACCESS_CONTROL_REQUEST_HEADERS, permitted);
    }
}

/// Whether a page may send a header of that name.
fn may_send(name: &str) -> bool {
    let known: [&HeaderName; 8] = [
        &CONTENT_TYPE,
        &ACCEPT,
        &AUTHORIZATION,
        &SESSION_HEADER,
        &VERSION_HEADER,
        &LAST_EVENT_ID,
        &METHOD_HEADER,
        &NAME_HEADER,
    ];
    known
        .iter()
        .any(|known| name.eq_ignore_ascii_case(known.as_str()))
        || is_param(name)
}
