//! A running call, before it is known what form its reply has: what it sends, how it ends, how long it may go on.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use tokio::sync::mpsc;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

/// How many messages of a call may wait to be written; then the handler waits.
///
/// Their number is bounded, their size is the handler's own choice: with messages of 1 KiB, 64 KiB a call.
pub(crate) const OUTBOUND_MESSAGES_MAX: usize = 64;
/// How long a call may go on whose client has gone, and can never come for the answer. A lost connection is
/// no cancellation (2025-11-25, Transports, "Sending Messages to the Server"), so that the call may finish
/// what it is at; but it must not hold its place until its time is up.
pub(crate) const ABANDONED_FOR: Duration = Duration::from_secs(5);

/// A call that is ready to run, or runs.
#[must_use]
pub(crate) struct RunningCall {
    /// The call. Never panics, always ends: by the handler's result, its error, or a bound.
    pub call: BoxFuture<'static, Finished>,
    /// What it sends before it ends; `None` if it sends nothing, or sends it elsewhere.
    pub messages: Option<mpsc::Receiver<Bytes>>,
}

impl fmt::Debug for RunningCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RunningCall")
    }
}

impl RunningCall {
    /// A call that has ended already.
    pub(crate) fn ended(finished: Finished) -> Self {
        Self {
            call: Box::pin(std::future::ready(finished)),
            messages: None,
        }
    }
}

/// What kind of answer it is. When the answer is the whole body, HTTP gives it a status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// A response like any other: a result, or an error of the method's own.
    Answered,
    /// None: the call was cancelled, or there is nothing to answer.
    Nothing,
    /// An error: the request does not hold what 2026-07-28 asks for.
    Malformed,
    /// An error: there is no such method, or no such session any longer.
    NotFound,
    /// An error: a limit of the client is reached, and it can try again later.
    TooMany,
    /// An error: the node lacks something that it needs, and the client can try again later.
    Unavailable,
}

/// How a call ended.
#[derive(Debug)]
pub(crate) struct Finished {
    /// The JSON-RPC response; `None` for a call that was cancelled, which has none.
    pub body: Option<Bytes>,
    /// What kind of answer it is.
    pub verdict: Verdict,
}

impl Finished {
    /// A response like any other.
    pub(crate) const fn answered(body: Bytes) -> Self {
        Self {
            body: Some(body),
            verdict: Verdict::Answered,
        }
    }

    /// The end of a call without a response.
    #[must_use]
    pub(crate) const fn nothing() -> Self {
        Self {
            body: None,
            verdict: Verdict::Nothing,
        }
    }
}

/// Gives a call some time to finish whose client can never come for the answer, then cancels it.
pub(crate) async fn give_up(cancel: &CancellationToken) {
    sleep(ABANDONED_FOR).await;
    tracing::debug!("a call is cancelled: its client has gone, and cannot come back");
    cancel.cancel();
}

/// Waits that long, from when it is first polled: a timer is made, and the clock read, only by a call that
/// has to wait.
pub(crate) async fn later(wait: Duration) {
    sleep(wait).await;
}

/// The next message of a call, if it sends any.
pub(crate) async fn next(messages: &mut Option<mpsc::Receiver<Bytes>>) -> Option<Bytes> {
    messages.as_mut()?.recv().await
}

/// The messages of a call that sends nothing.
#[must_use]
pub(crate) fn silence() -> mpsc::Receiver<Bytes> {
    mpsc::channel(1).1
}

/// Where a call's messages go, and the other end.
#[must_use]
pub(crate) fn outbound() -> (mpsc::Sender<Bytes>, mpsc::Receiver<Bytes>) {
    mpsc::channel(OUTBOUND_MESSAGES_MAX)
}
