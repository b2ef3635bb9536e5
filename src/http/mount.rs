//! The service behind another program's router: it comes without the connections that a node has of its own.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::ConnectInfo;
use axum::response::Response;
use http::Request;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;
use tower::service_fn;

use super::source::{Connected, Purpose, Source};
use super::{CLIENTS, HttpService, response};
use crate::protocol::error::Refusal;

/// What answers the requests that another program passes on.
#[derive(Debug)]
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
        let this = Arc::new(self);
        let slashed = CLIENTS.map(|path| format!("{path}/"));
        let paths = CLIENTS.into_iter().chain(slashed.iter().map(String::as_str));
        paths.fold(Router::new(), |all, path| {
            let this = Arc::clone(&this);
            let answer = service_fn(move |request| Arc::clone(&this).answer(request));
            all.route_service(path, answer)
        })
    }

    async fn answer(self: Arc<Self>, request: Request<Body>) -> Result<Response, Infallible> {
        if self.closed.is_cancelled() {
            return Ok(response::refusal(&Refusal::ShuttingDown, None));
        }
        let open = self.requests.token();
        let connected = self.connected(&request);
        // Pinned here, or the future of waiting for either would keep room for it twice.
        let answer = pin!(self.http.answer(request, &connected));
        let answered = self.closed.run_until_cancelled(answer).await;
        let response = match answered {
            Some(response) => response?,
            None => broken_off(),
        };
        Ok(response.map(|body| Body::new(MountedBody::new(body, open, &self.closed))))
    }

    /// The other end of the connection, if the program's server tells (`axum::extract::ConnectInfo`).
    fn connected(&self, request: &Request<Body>) -> Connected {
        let told = request.extensions().get::<ConnectInfo<SocketAddr>>();
        let source = told.map_or(Source::Untold, |ConnectInfo(address)| {
            Source::Address(address.ip())
        });
        Connected {
            source,
            uses: self.http.service().uses(source),
            purpose: Purpose::Clients,
            certificate: None,
        }
    }
}

/// The answer to a request whose call has begun, and will not end: the connection breaks off, as when a node is
/// lost. Any words would invite the client to send it again.
fn broken_off() -> Response {
    let nothing = futures::stream::iter([Err::<Bytes, _>(Refusal::ShuttingDown)]);
    Response::new(Body::from_stream(nothing))
}

/// The body of an answer, which counts as a request until it is written.
struct MountedBody {
    body: Body,
    _open: TaskTrackerToken,
    /// Ends a stream when nothing is served any longer; nothing of a body that is there already.
    closed: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
}

impl MountedBody {
    fn new(body: Body, open: TaskTrackerToken, closed: &CancellationToken) -> Self {
        let streams = body.size_hint().exact().is_none();
        Self {
            body,
            _open: open,
            closed: streams.then(|| Box::pin(closed.clone().cancelled_owned())),
        }
    }
}

impl HttpBody for MountedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) {
            return Poll::Ready(frame);
        }
        let closed = self.closed.as_mut().map(|closed| closed.as_mut().poll(cx));
        match closed {
            // Broken off, and not ended: the client is to come back for the rest, elsewhere.
            Some(Poll::Ready(())) => Poll::Ready(Some(Err(axum::Error::new(Refusal::ShuttingDown)))),
            _ => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
