//! One connection: hyper reads its requests and writes their answers, except for long streams.

use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use http::header::{CONNECTION, EXPECT};
use http::{HeaderValue, Request, Version};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{Span, debug};

use super::exchange::{Arriving, ExchangeState, answered};
use super::raw_stream;
use super::reusable_timer::ReusableTimer;
use super::socket::Socket;
use super::write_timeout::WriteTimeout;
use crate::causes::causes;
use crate::http::RawStream;

/// How long a connection may take to send its first request's head. Only a connection that has asked may be
/// idle for long.
const FIRST_HEAD_WITHIN: Duration = Duration::from_secs(10);
/// The same on a connection for health checks only, and how long such a connection reads the rest of a
/// refused request.
pub(super) const PROBE_HEAD_WITHIN: Duration = Duration::from_secs(2);
/// For how long, and how many bytes, the node reads the rest of a request that it refused early. Closing at
/// once would reset the connection, and clients that write all of their request before they read would not
/// see the answer (RFC 9112, section 9.6).
const LINGER_FOR: Duration = Duration::from_secs(5);
const LINGER_BYTES_MAX: usize = 64 << 20; // 16 of the largest bodies by default
const LINGER_AT_ONCE_BYTES: usize = 16 << 10;
/// How long a node that stops waits for the first request of a connection that it has accepted, and for the
/// end of one whose request it has refused.
pub(super) const FIRST_WITHIN: Duration = Duration::from_secs(1);
/// A request as it comes.
pub(super) type Arrived = Request<Body>;

/// What a connection is used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    /// All that its client asks.
    Any,
    /// Health checks and metrics. The next one needs its place soon.
    Probes,
}

/// Serves a connection until it is closed. It may be idle for so long between two requests, with the head of
/// the second. When `stop` fires, its present request is the last.
pub(super) fn serve<S, A, F>(
    stream: S,
    purpose: Use,
    idle: Duration,
    answer: A,
    stop: CancellationToken,
) -> impl Future<Output = ()> + Send
where
    S: AsyncRead + AsyncWrite + Socket + Unpin + Send + 'static,
    A: Fn(Arrived) -> F + Send + Sync + 'static,
    F: Future<Output = Result<Response, Infallible>> + Send + 'static,
{
    // Whose node it is, for the log. A task within the span would enter it each time that it is polled.
    let span = Span::current();
    let stream = WriteTimeout::new(stream);
    let exchange = Arc::new(Exchange::new(answer, stream.state()));
    let first_head = match purpose {
        Use::Any => FIRST_HEAD_WITHIN,
        Use::Probes => PROBE_HEAD_WITHIN,
    };
    let answers = Arc::clone(&exchange);
    // hyper keeps room for a request's future as long as the connection lasts: in a box it is a pointer.
    let service = service_fn(move |request: Request<Incoming>| {
        // At once, and not when the answer is first polled: hyper may read the end of the client's half
        // before.
        let request = request.map(|body| Body::new(Arriving::new(body, Arc::clone(&answers.state))));
        // The box comes first, so that the future is made in it: it is large, and would be copied.
        Box::into_pin(Box::write(
            Box::new_uninit(),
            Arc::clone(&answers).answer(request),
        ))
    });
    let connection = http1::Builder::new()
        .timer(ReusableTimer::first(first_head))
        .header_read_timeout(idle)
        .serve_connection(TokioIo::new(stream), service);
    // In a box: a task keeps room for what it is made of and once more for what it waits for.
    let mut connection = Box::pin(connection);
    async move {
        let served = tokio::select! {
            served = exchange.serve(connection.as_mut()) => served,
            () = stop.cancelled() => {
                // hyper closes a connection on which nothing has come yet, and what its client sends may be
                // on its way.
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
            Served::Ended(ended) => {
                // More of a refused head may come too, for example of one that is too large.
                let unread = match &ended {
                    Ok(()) => exchange.state.is_unread(),
                    Err(error) => error.is_parse(),
                };
                if unread {
                    drop(exchange);
                    let stream = Pin::into_inner(connection).into_parts().io.into_inner();
                    let patience = match purpose {
                        _ if stop.is_cancelled() => FIRST_WITHIN,
                        Use::Any => LINGER_FOR,
                        Use::Probes => PROBE_HEAD_WITHIN,
                    };
                    if !Box::pin(linger(stream, patience)).await {
                        span.in_scope(|| debug!("a client did not close the connection after its answer"));
                    }
                }
                ended.map_err(io::Error::other)
            }
            Served::Raw(response) => {
                // Nothing more is answered here, and the stream may last for hours.
                drop(exchange);
                let stream = Pin::into_inner(connection).into_parts().io.into_inner();
                Box::pin(raw_stream::write(stream, response)).await
            }
        };
        if let Err(error) = ended {
            span.in_scope(|| debug!(error = %causes(&error), "a connection broke off"));
        }
    }
}

/// Reads and drops what the client still sends after the answer, until the client has seen the answer. False
/// when the client has not closed the connection by then.
pub(super) async fn linger(mut stream: impl AsyncRead + Unpin, patience: Duration) -> bool {
    let read_on = async {
        let (mut ignored, mut left) = (vec![0; LINGER_AT_ONCE_BYTES], LINGER_BYTES_MAX);
        while let Ok(read @ 1..) = stream.read(&mut ignored).await {
            left = left.saturating_sub(read);
            if left == 0 {
                return;
            }
        }
    };
    timeout(patience, read_on).await.is_ok()
}

/// What a connection's task and its service share.
struct Exchange<A> {
    /// What answers requests.
    respond: A,
    /// Whether a request has come.
    asked: AtomicBool,
    /// The state of its present request.
    state: Arc<ExchangeState>,
    /// A response that hyper does not write.
    raw: Mutex<Option<Response>>,
}

/// Why hyper no longer serves a connection.
enum Served {
    /// It is closed.
    Ended(hyper::Result<()>),
    /// This response is to be written on it, and nothing after that.
    Raw(Response),
}

impl<A> Exchange<A> {
    fn new(respond: A, state: Arc<ExchangeState>) -> Self {
        Self {
            respond,
            asked: AtomicBool::new(false),
            state,
            raw: Mutex::new(None),
        }
    }

    /// Lets hyper serve the connection.
    async fn serve(&self, mut connection: Pin<&mut impl Future<Output = hyper::Result<()>>>) -> Served {
        poll_fn(|cx| {
            if let Poll::Ready(ended) = connection.as_mut().poll(cx) {
                return Poll::Ready(Served::Ended(ended));
            }
            // Earlier answers go first, and hyper still holds what the client did not read.
            if self.state.is_waiting() {
                return Poll::Pending;
            }
            match self.raw().take() {
                Some(response) => Poll::Ready(Served::Raw(response)),
                None => Poll::Pending,
            }
        })
        .await
    }

    /// Answers a request. A response that lasts is put aside, while the connection is polled, and hyper gets
    /// none.
    async fn answer<F>(self: Arc<Self>, request: Arrived) -> Result<Response, Infallible>
    where
        A: Fn(Arrived) -> F,
        F: Future<Output = Result<Response, Infallible>>,
    {
        self.asked.store(true, Ordering::Relaxed);
        // HTTP/1.0 knows no chunks.
        let chunked = request.version() == Version::HTTP_11;
        let asks_first = request.headers().contains_key(EXPECT);
        let mut response = (self.respond)(request).await?;
        if self.state.is_unread() {
            Box::pin(self.state.read_rest(asks_first)).await;
            // What comes after the rest is not read either, so the client must not send its next request here
            // (RFC 9112, section 9.6).
            if self.state.is_unread() {
                let close = HeaderValue::from_static("close");
                drop(response.headers_mut().insert(CONNECTION, close));
            }
        }
        if !chunked || response.extensions().get::<RawStream>().is_none() {
            return Ok(answered(&self.state, response));
        }
        // hyper no longer watches the connection: the writer finds out whether a half-closed client is still
        // there.
        self.state.end();
        *self.raw() = Some(response);
        std::future::pending().await
    }

    fn raw(&self) -> MutexGuard<'_, Option<Response>> {
        self.raw.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use futures::{FutureExt as _, stream};
    use tokio::io::{AsyncWriteExt as _, duplex};
    use tokio::task::yield_now;
    use tokio::time::{Instant, sleep};
    use tokio_util::task::TaskTracker;

    use super::*;
    use crate::http::response::as_raw_stream;

    const LONG: usize = 1000;
    const IDLE: Duration = Duration::from_secs(75);

    async fn answer(request: Arrived) -> Result<Response, Infallible> {
        Ok(match request.uri().path() {
            "/raw" => as_raw_stream(Response::new(Body::from("the stream")), RawStream::Reply),
            "/stream" => Response::new(Body::from_stream(stream::iter(
                "x".repeat(LONG)
                    .into_bytes()
                    .chunks(LONG / 10)
                    .map(|some| Ok::<_, Infallible>(some.to_vec()))
                    .collect::<Vec<_>>(),
            ))),
            _ => Response::new(Body::from("x".repeat(LONG))),
        })
    }

    /// A client that has closed its half, and reads slowly, is written all that it is answered.
    #[tokio::test]
    async fn what_is_answered_is_written_after_the_client_has_closed_its_half() {
        for path in ["/", "/stream", "/raw"] {
            let (mut client, server) = duplex(LONG / 10);
            let served =
                TaskTracker::new().spawn(serve(server, Use::Any, IDLE, answer, CancellationToken::new()));
            let request = format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n");
            client.write_all(request.as_bytes()).await.unwrap();
            client.shutdown().await.unwrap();
            let mut text = String::new();
            loop {
                // The node does what it can without its client.
                for _ in 0..100 {
                    yield_now().await;
                }
                let mut some = [0; LONG / 10];
                match client.read(&mut some).await.unwrap() {
                    0 => break,
                    count => text += str::from_utf8(&some[..count]).unwrap(),
                }
            }
            let (_, body) = text.split_once("\r\n\r\n").unwrap();
            match path {
                "/raw" => assert!(body.ends_with("\r\nthe stream\r\n0\r\n\r\n"), "{text}"),
                _ => assert_eq!(body.matches('x').count(), LONG, "{path}: {text}"),
            }
            served.await.unwrap();
        }
    }

    #[test]
    fn a_stream_waits_while_hyper_has_something_to_write() {
        let exchange = Exchange::new((), Arc::default());
        *exchange.raw() = Some(Response::new(Body::empty()));
        let serves = || {
            let mut connection = std::pin::pin!(std::future::pending());
            exchange.serve(connection.as_mut()).now_or_never().is_some()
        };
        exchange.state.note_waiting(true);
        assert!(!serves());
        exchange.state.note_waiting(false);
        assert!(serves());
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_is_closed_that_is_silent_for_too_long() {
        let (mut client, server) = duplex(2 * LONG);
        let served =
            TaskTracker::new().spawn(serve(server, Use::Any, IDLE, answer, CancellationToken::new()));
        let began = Instant::now();
        let pause = IDLE * 2 / 3;
        let mut read = vec![0; 2 * LONG];
        for turn in 0..4 {
            // The first head must not take as long.
            sleep(pause * turn.min(1)).await;
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
        assert_eq!(began.elapsed().as_secs(), (pause * 3 + IDLE).as_secs());
        served.await.unwrap();
    }

    /// F10: only a connection that has asked may be silent for long.
    #[tokio::test(start_paused = true)]
    async fn a_connection_is_closed_on_which_nothing_comes_at_first() {
        for (purpose, patience) in [(Use::Any, FIRST_HEAD_WITHIN), (Use::Probes, PROBE_HEAD_WITHIN)] {
            let (mut client, server) = duplex(LONG);
            let served = serve(server, purpose, IDLE, answer, CancellationToken::new());
            let served = TaskTracker::new().spawn(served);
            let began = Instant::now();
            client.write_all(b"GET / HT").await.unwrap();
            sleep(patience / 2).await;
            client.write_all(b"TP/1.1").await.unwrap();
            while client.read(&mut [0; LONG]).await.unwrap() > 0 {}
            assert_eq!(began.elapsed().as_secs(), patience.as_secs());
            served.await.unwrap();
        }
    }

    /// A place that is kept back for probes is not held by those who do not finish what was refused.
    #[tokio::test(start_paused = true)]
    async fn what_was_refused_is_read_on_for_a_while() {
        for (purpose, patience) in [(Use::Any, LINGER_FOR), (Use::Probes, PROBE_HEAD_WITHIN)] {
            let (mut client, server) = duplex(2 * LONG);
            let served = serve(server, purpose, IDLE, answer, CancellationToken::new());
            let served = TaskTracker::new().spawn(served);
            let began = Instant::now();
            let request = b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1000000\r\n\r\nx";
            client.write_all(request).await.unwrap();
            while client.read(&mut [0; LONG]).await.unwrap() > 0 {}
            served.await.unwrap();
            assert_eq!(began.elapsed().as_secs(), patience.as_secs());
        }
    }

    #[tokio::test]
    async fn a_stream_comes_after_answers_that_the_client_has_not_read() {
        let (mut client, server) = duplex(LONG / 4);
        let served =
            TaskTracker::new().spawn(serve(server, Use::Any, IDLE, answer, CancellationToken::new()));
        let first = b"GET / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\n\r\n.";
        let second = b"GET /raw HTTP/1.1\r\nhost: a\r\n\r\n";
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
