//! One connection: hyper reads its requests and writes their answers, but for a stream that lasts.

use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use axum::response::Response;
use http::{Method, Request, Version};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::alarm::Alarm;
use super::lasting;
use super::stalled::Unstalled;
use crate::causes::causes;
use crate::http::answer::Lasting;

/// How long a connection may take to send a request's head, or stay idle between two. Longer than the 60 s that
/// balancers keep idle connections (nginx, AWS ALB), so that it is never this side that closes under a request.
const HEAD_WITHIN: Duration = Duration::from_secs(75);
/// How long a node that stops waits for the first request of a connection that it has accepted.
const FIRST_WITHIN: Duration = Duration::from_secs(1);
/// How long a write may make no headway because the client does not read: as long as a stream waits for its client. Then
/// the connection is closed, and with it goes what waits to be written; the log keeps what the client missed.
const WRITE_WITHIN: Duration = Duration::from_secs(10);

/// Serves a connection until it is closed. When `stop` fires, the request that it is at is its last.
pub(super) fn serve<S, A, F>(stream: S, answer: A, stop: CancellationToken) -> impl Future<Output = ()> + Send
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    A: Fn(Request<Incoming>) -> F + Send + Sync + 'static,
    F: Future<Output = Result<Response, Infallible>> + Send + 'static,
{
    let stream = Unstalled::new(stream, WRITE_WITHIN);
    let exchange = Arc::new(Exchange::new(answer, stream.waiting()));
    let answers = Arc::clone(&exchange);
    // hyper keeps room for a request's future as long as the connection lasts: in a box it is a pointer.
    let service = service_fn(move |request| Box::pin(Arc::clone(&answers).answer(request)));
    let connection = http1::Builder::new()
        .timer(Alarm::default())
        .header_read_timeout(HEAD_WITHIN)
        .serve_connection(TokioIo::new(stream), service);
    // In a box: a task keeps room for what it is made of and once more for what it waits for.
    let mut connection = Box::pin(connection);
    async move {
        let served = tokio::select! {
            served = exchange.serve(connection.as_mut()) => served,
            () = stop.cancelled() => {
                // hyper closes a connection on which nothing has come yet, and what its client sends may be on its way.
                if !exchange.asked.load(Ordering::Relaxed)
                    && let Ok(served) = timeout(FIRST_WITHIN, exchange.serve(connection.as_mut())).await
                {
                    served
                } else {
                    connection.as_mut().graceful_shutdown();
                    exchange.serve(connection.as_mut()).await
                }
            }
        };
        let ended = match served {
            Served::Ended(ended) => ended.map_err(io::Error::other),
            Served::Lasting(response) => {
                // Nothing more is answered here, and the stream may last for hours.
                drop(exchange);
                let stream = Pin::into_inner(connection).into_parts().io.into_inner();
                Box::pin(lasting::write(stream, response)).await
            }
        };
        if let Err(error) = ended {
            debug!(error = %causes(&error), "a connection broke off");
        }
    }
}

/// Whether the answer can have chunks: HTTP/1.0 knows none, and who asks for the head only gets no body.
fn knows_chunks(request: &Request<Incoming>) -> bool {
    request.version() == Version::HTTP_11 && request.method() != Method::HEAD
}

/// What a connection's task and its service share.
struct Exchange<A> {
    /// What answers requests.
    respond: A,
    /// Whether a request has come.
    asked: AtomicBool,
    /// Whether an answer waits for the client to read.
    waiting: Arc<AtomicBool>,
    /// A response that hyper does not write.
    lasting: Mutex<Option<Response>>,
}

/// Why hyper no longer serves a connection.
enum Served {
    /// It is closed.
    Ended(hyper::Result<()>),
    /// This response is to be written on it, and nothing after that.
    Lasting(Response),
}

impl<A> Exchange<A> {
    fn new(respond: A, waiting: Arc<AtomicBool>) -> Self {
        Self {
            respond,
            asked: AtomicBool::new(false),
            waiting,
            lasting: Mutex::new(None),
        }
    }

    /// Lets hyper serve the connection.
    async fn serve(&self, mut connection: Pin<&mut impl Future<Output = hyper::Result<()>>>) -> Served {
        poll_fn(|cx| {
            if let Poll::Ready(ended) = connection.as_mut().poll(cx) {
                return Poll::Ready(Served::Ended(ended));
            }
            // What was answered before goes first, and hyper still has what the client did not read.
            if self.waiting.load(Ordering::Relaxed) {
                return Poll::Pending;
            }
            match self.lasting().take() {
                Some(response) => Poll::Ready(Served::Lasting(response)),
                None => Poll::Pending,
            }
        })
        .await
    }

    /// Answers a request. A response that lasts is put aside, while the connection is polled, and hyper gets none.
    async fn answer<F>(self: Arc<Self>, request: Request<Incoming>) -> Result<Response, Infallible>
    where
        A: Fn(Request<Incoming>) -> F,
        F: Future<Output = Result<Response, Infallible>>,
    {
        self.asked.store(true, Ordering::Relaxed);
        let chunked = knows_chunks(&request);
        let response = (self.respond)(request).await?;
        if !chunked || response.extensions().get::<Lasting>().is_none() {
            return Ok(response);
        }
        *self.lasting() = Some(response);
        std::future::pending().await
    }

    fn lasting(&self) -> MutexGuard<'_, Option<Response>> {
        self.lasting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use futures::FutureExt as _;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};
    use tokio::task::yield_now;
    use tokio::time::{Instant, sleep};
    use tokio_util::task::TaskTracker;

    use super::*;
    use crate::http::answer::lasting as mark_lasting;

    const LONG: usize = 1000;

    async fn answer(request: Request<Incoming>) -> Result<Response, Infallible> {
        Ok(match request.uri().path() {
            "/lasting" => mark_lasting(Response::new(Body::from("the stream"))),
            _ => Response::new(Body::from("x".repeat(LONG))),
        })
    }

    #[test]
    fn a_stream_waits_while_hyper_has_something_to_write() {
        let exchange = Exchange::new((), Arc::default());
        *exchange.lasting() = Some(Response::new(Body::empty()));
        let serves = || {
            let mut connection = std::pin::pin!(std::future::pending());
            exchange.serve(connection.as_mut()).now_or_never().is_some()
        };
        exchange.waiting.store(true, Ordering::Relaxed);
        assert!(!serves());
        exchange.waiting.store(false, Ordering::Relaxed);
        assert!(serves());
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_is_closed_that_is_silent_for_too_long() {
        let (mut client, server) = duplex(2 * LONG);
        let served = TaskTracker::new().spawn(serve(server, answer, CancellationToken::new()));
        let began = Instant::now();
        let pause = HEAD_WITHIN * 2 / 3;
        let mut read = vec![0; 2 * LONG];
        for _ in 0..3 {
            sleep(pause).await;
            client
                .write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
                .await
                .unwrap();
            assert!(client.read(&mut read).await.unwrap() > LONG, "it is served");
        }
        // Half a head does not count, and its time runs from the last answer.
        sleep(pause).await;
        client.write_all(b"GET / HT").await.unwrap();
        while client.read(&mut read).await.unwrap() > 0 {}
        assert_eq!(began.elapsed().as_secs(), (pause * 3 + HEAD_WITHIN).as_secs());
        served.await.unwrap();
    }

    #[tokio::test]
    async fn a_stream_comes_after_answers_that_the_client_has_not_read() {
        let (mut client, server) = duplex(LONG / 4);
        let served = TaskTracker::new().spawn(serve(server, answer, CancellationToken::new()));
        let first = b"GET / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\n\r\n.";
        let second = b"GET /lasting HTTP/1.1\r\nhost: a\r\n\r\n";
        for request in [&first[..], &second[..]] {
            client.write_all(request).await.unwrap();
            // The node does what it can without its client.
            for _ in 0..100 {
                yield_now().await;
            }
        }
        let mut text = String::new();
        client.read_to_string(&mut text).await.unwrap();
        let (answer, stream) = text
            .split_once("HTTP/1.1 200 OK\r\n")
            .unwrap()
            .1
            .split_once("HTTP/1.1")
            .unwrap();
        assert!(answer.ends_with(&"x".repeat(LONG)), "{text}");
        assert!(stream.ends_with("\r\n\r\na\r\nthe stream\r\n0\r\n\r\n"), "{text}");
        served.await.unwrap();
    }
}
