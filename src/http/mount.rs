//! The service behind another program's router: it comes without the connections that a node has of its own.

use std::convert::Infallible;
use std::net::SocketAddr;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::response::Response;
use http::Request;
use http_body_util::BodyExt as _;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::service_fn;

use super::source::{Connected, Purpose, Source};
use super::{HttpService, MCP, MESSAGES, MESSAGES_BELOW, SSE, response};
use crate::protocol::error::Refusal;

/// What answers the requests that another program passes on.
#[derive(Debug, Clone)]
pub(crate) struct MountedService {
    http: HttpService,
    /// Requests that are not answered yet, or whose answers are not written.
    requests: TaskTracker,
    /// Fires when nothing is served any longer.
    closed: CancellationToken,
}

impl MountedService {
    /// The same service, which enters requests in `requests`, and refuses all when `closed` fires.
    #[must_use]
    pub(crate) const fn new(http: HttpService, requests: TaskTracker, closed: CancellationToken) -> Self {
        Self {
            http,
            requests,
            closed,
        }
    }

    /// A router of the paths for clients.
    pub(crate) fn router(self) -> Router {
        let paths = [MCP, SSE, MESSAGES, MESSAGES_BELOW];
        paths.into_iter().fold(Router::new(), |all, path| {
            let [this, slash] = [self.clone(), self.clone()];
            all.route_service(path, service_fn(move |request| this.clone().answer(request)))
                .route_service(
                    &format!("{path}/"),
                    service_fn(move |request| slash.clone().answer(request)),
                )
        })
    }

    async fn answer(self, request: Request<Body>) -> Result<Response, Infallible> {
        let open = self.requests.token();
        let connected = self.connected(&request);
        let answered = self
            .closed
            .run_until_cancelled(self.http.answer(request, &connected))
            .await;
        let response = match answered {
            Some(response) => response?,
            None => response::refusal(&Refusal::ShuttingDown, None),
        };
        // The token is held as long as the body is written.
        Ok(response.map(|body| {
            Body::new(body.map_frame(move |frame| {
                let _open = &open;
                frame
            }))
        }))
    }

    /// The other end of the connection, if the program's server tells (`axum::extract::ConnectInfo`).
    fn connected(&self, request: &Request<Body>) -> Connected {
        let told = request.extensions().get::<ConnectInfo<SocketAddr>>();
        let source = told.map_or(Source::Unix, |ConnectInfo(address)| Source::Address(address.ip()));
        Connected {
            source,
            uses: self.http.service().uses(source),
            purpose: Purpose::Clients,
        }
    }
}
