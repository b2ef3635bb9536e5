//! The state of a connection's present request: whether all of it has come, whether it is answered, and
//! whether its client has closed its half meanwhile.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::response::Response;
use bytes::Bytes;
use futures::task::AtomicWaker;
use http_body_util::BodyExt as _;
use hyper::body::{Frame, Incoming, SizeHint};
use tokio::time::{Instant, Sleep, sleep, timeout};

/// The comment that a stream writes to a half-closed client, to learn whether the client is still there.
/// Clients ignore comments.
pub(super) const PROBE: Bytes = Bytes::from_static(b":\n\n");
/// When the probe is sent again. If the client has gone, its system answers the first with a reset, and the
/// second fails.
pub(super) const PROBE_AGAIN_AFTER: Duration = Duration::from_millis(100);
pub(super) const PROBE_EVERY: Duration = Duration::from_secs(1);

/// How long the rest of a body that its service has left is waited for, and how long it may be. Most bodies are short,
/// and on their way.
const REST_WITHIN: Duration = Duration::from_millis(250);
const REST_BYTES_MAX: u64 = 16 << 10; // nothing of it is kept

/// What a connection is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum ExchangePhase {
    /// At no request.
    Idle,
    /// At one whose body comes.
    Reading,
    /// A request has come, and its answer has not begun.
    Answering,
    /// A stream is written.
    Streaming,
}

/// What it means that the client sends no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum InputEnd {
    /// There is nothing to wait for.
    Counts,
    /// A whole request may be there that its service has not taken yet: look again at once.
    MayCount,
    /// The client has asked, and may only have closed its half. It is not known whether it is still there.
    WaitsForAnswer,
    /// The same, while a stream is written that finds out whether the client is still there.
    WaitsForStream,
    /// The answer is not written yet. A write without progress ends by itself.
    WaitsForWriting,
}

/// What the connection and the service, on either side of hyper, tell each other without it.
#[derive(Debug, Default)]
pub(super) struct ExchangeState {
    phase: AtomicU8,
    /// Whether something of the last request has not been read.
    unread: AtomicBool,
    /// Whether the client has closed its half.
    half_closed: AtomicBool,
    /// Whether the connection has looked again since.
    looked_again: AtomicBool,
    /// Wakes the connection that hides the end of input from hyper.
    hidden: AtomicWaker,
    /// Whether something waits for the client to read.
    waiting: AtomicBool,
    /// What the service has left of the last request's body.
    rest: Mutex<Option<Incoming>>,
}

impl ExchangeState {
    /// A request's head has come, and its body with it if it has none.
    fn begin(&self, whole: bool) {
        self.unread.store(!whole, Ordering::Relaxed);
        self.enter(if whole {
            ExchangePhase::Answering
        } else {
            ExchangePhase::Reading
        });
    }

    fn has_arrived(&self) {
        if self.unread.swap(false, Ordering::Relaxed) {
            self.enter(ExchangePhase::Answering);
        }
    }

    fn enter(&self, phase: ExchangePhase) {
        self.phase.store(phase as u8, Ordering::Relaxed);
    }

    /// hyper has the answer. If the client closes its half from now on, the connection ends once the answer
    /// is written.
    pub(super) fn end(&self) {
        self.enter(ExchangePhase::Idle);
        self.read_again();
    }

    /// hyper, once told that nothing is there yet, does not read again by itself.
    fn read_again(&self) {
        if self.half_closed.load(Ordering::Relaxed) {
            self.hidden.wake();
        }
    }

    /// Whether something waits for the client to read.
    pub(super) fn is_waiting(&self) -> bool {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Notes whether something waits for the client to read.
    pub(super) fn note_waiting(&self, waiting: bool) {
        self.waiting.store(waiting, Ordering::Relaxed);
        if !waiting {
            self.read_again();
        }
    }

    /// Reads on a body that its service has left, because it has refused the request before all of it had come: then the
    /// connection can go on. A long one, one that does not come, and one whose client asks first whether to send it, are
    /// left: [`Self::is_unread`].
    pub(super) async fn read_rest(&self, asks_first: bool) {
        let rest = self.rest().take();
        let short = |rest: &Incoming| rest.size_hint().lower() <= REST_BYTES_MAX;
        let Some(mut rest) = rest.filter(|rest| !asks_first && short(rest)) else {
            return;
        };
        let read_on = async {
            let mut left = REST_BYTES_MAX;
            while let Some(Ok(frame)) = rest.frame().await {
                let bytes = frame.data_ref().map_or(0, Bytes::len);
                let Some(less) = left.checked_sub(u64::try_from(bytes).unwrap_or(u64::MAX)) else {
                    return;
                };
                left = less;
            }
            if rest.is_end_stream() {
                self.has_arrived();
            }
        };
        // In time or not: the state says whether all has come.
        timeout(REST_WITHIN, read_on).await.unwrap_or_default();
    }

    fn rest(&self) -> MutexGuard<'_, Option<Incoming>> {
        self.rest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the client may still be sending the body of a request that is answered already.
    pub(super) fn is_unread(&self) -> bool {
        self.unread.load(Ordering::Relaxed)
    }

    /// What it means that the client sends no more.
    pub(super) fn end_of_input(&self, cx: &Context<'_>) -> InputEnd {
        let phase = self.phase.load(Ordering::Relaxed);
        if phase == ExchangePhase::Idle as u8 && !self.is_waiting() {
            return InputEnd::Counts;
        }
        if phase == ExchangePhase::Reading as u8 {
            // A body that is not whole yet will never be.
            return match self.looked_again.swap(true, Ordering::Relaxed) {
                true => InputEnd::Counts,
                false => InputEnd::MayCount,
            };
        }
        self.half_closed.store(true, Ordering::Relaxed);
        self.hidden.register(cx.waker());
        match phase {
            idle if idle == ExchangePhase::Idle as u8 => InputEnd::WaitsForWriting,
            streaming if streaming == ExchangePhase::Streaming as u8 => InputEnd::WaitsForStream,
            _ => InputEnd::WaitsForAnswer,
        }
    }
}

/// A request's body, which tells when it has come whole. When it is dropped before, the rest of it can be
/// [read on](ExchangeState::read_rest).
#[derive(Debug)]
pub(super) struct Arriving {
    /// `None` once it is dropped.
    body: Option<Incoming>,
    state: Arc<ExchangeState>,
}

impl Arriving {
    /// The body of a request whose head has come.
    pub(super) fn new(body: Incoming, state: Arc<ExchangeState>) -> Self {
        state.begin(body.is_end_stream());
        Self {
            body: Some(body),
            state,
        }
    }
}

impl HttpBody for Arriving {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Some(body) = &mut self.body else {
            return Poll::Ready(None);
        };
        let frame = ready!(Pin::new(&mut *body).poll_frame(cx));
        // A reader that has all of it need not ask for more.
        if frame.is_none() || body.is_end_stream() {
            self.state.has_arrived();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map(HttpBody::size_hint).unwrap_or_default()
    }
}

impl Drop for Arriving {
    fn drop(&mut self) {
        if self.state.is_unread() {
            *self.state.rest() = self.body.take();
        }
    }
}

/// Notes that this response answers the request.
pub(super) fn answered(state: &Arc<ExchangeState>, response: Response) -> Response {
    if response.body().size_hint().exact().is_some() {
        state.end();
        return response;
    }
    state.enter(ExchangePhase::Streaming);
    response.map(|body| {
        Body::new(Streaming {
            body,
            state: Arc::clone(state),
            again: None,
        })
    })
}

/// The stream that answers a request. While it is silent it probes whether a half-closed client is still
/// there.
struct Streaming {
    body: Body,
    state: Arc<ExchangeState>,
    /// When it probes again, once it has.
    again: Option<Pin<Box<Sleep>>>,
}

impl Streaming {
    fn poll_probe(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.state.half_closed.load(Ordering::Relaxed) {
            return Poll::Pending;
        }
        match &mut self.again {
            None => self.again = Some(Box::pin(sleep(PROBE_AGAIN_AFTER))),
            Some(again) => {
                ready!(again.as_mut().poll(cx));
                again.as_mut().reset(Instant::now() + PROBE_EVERY);
            }
        }
        Poll::Ready(())
    }
}

impl HttpBody for Streaming {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) {
            return Poll::Ready(frame);
        }
        self.poll_probe(cx).map(|()| Some(Ok(Frame::data(PROBE))))
    }
}

impl Drop for Streaming {
    fn drop(&mut self) {
        self.state.end();
    }
}
