//! One call: a request, its caller and its handler, from dispatch to the response's bytes.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use http::StatusCode;
use rmcp::model::{
    ClientRequest, ErrorCode, Implementation, InitializeRequest, InitializeRequestParams, InitializeResult,
    RequestId, RequestMetaObject, ServerJsonRpcMessage, ServerResult,
};
use rmcp::service::RequestContext;
use rmcp::{ErrorData, Peer, RoleServer};
use serde_json::json;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::error;

use super::calls::{ANSWERS_WAITING_MAX, Answer, Calls};
use super::handler::Handler;
use super::peer::{self, LogGate, Wire, WireSettings};
use super::reply::{Finished, later};
use super::silent::SilentPeers;
use super::switchboard::Switchboard;
use super::topics::{Listeners, Tell};
use crate::cluster::{Live, SessionError, Sessions};
use crate::config::CallSettings;
use crate::protocol::era::Era;
use crate::protocol::error::{CODE_TRANSPORT, Refusal, error_body};
use crate::session::Caller;
use crate::store::Change;
use crate::store::streams::StreamId;
use crate::telemetry::metrics::{self, Outcome};

/// The longest that a subscription is kept open; its client opens it again.
const SUBSCRIPTION_LASTS: Duration = Duration::from_secs(24 * 60 * 60);
/// How long a handler may go on after its token fired, before it is dropped.
const CANCEL_GRACE: Duration = Duration::from_secs(1);

/// How many bytes most results have.
const USUAL_BODY_BYTES: usize = 256;

/// Bounds on a call's time.
#[derive(Debug, Clone, Copy)]
pub struct CallTimes {
    /// How long it may take in all.
    pub timeout: Duration,
    /// How long its client may take to answer a request of it.
    pub answer_timeout: Duration,
}

/// What runs calls on this node.
#[derive(Debug)]
pub struct Runner {
    /// The handler.
    pub handler: Arc<dyn Handler>,
    /// The calls that are running.
    pub calls: Arc<Calls>,
    /// The open `subscriptions/listen` requests.
    pub listeners: Arc<Listeners>,
    /// Bounds on a call's time.
    pub times: CallTimes,
    /// How calls are measured.
    pub measures: Arc<metrics::Requests>,
    /// The peers of calls that say nothing.
    pub silent: SilentPeers,
}

impl Runner {
    /// Runs calls with this handler. None are running yet. Needs a runtime.
    #[must_use]
    pub fn new(handler: Arc<dyn Handler>, settings: &CallSettings) -> Self {
        Self {
            handler,
            calls: Arc::default(),
            listeners: Arc::default(),
            times: CallTimes {
                timeout: settings.timeout,
                answer_timeout: settings.answer_timeout,
            },
            measures: Arc::default(),
            silent: SilentPeers::open(),
        }
    }

    /// The peer that a call shares with others, if it says nothing before its result.
    fn shared_peer(&self, call: &Call) -> Option<Peer<RoleServer>> {
        let ClientRequest::CallToolRequest(request) = &call.request else {
            return None;
        };
        // rmcp asks the peer whether a client with a session can be given a task.
        let tasks = call.caller.era() == Era::Legacy && call.caller.capabilities.supports_tasks();
        if tasks || !self.handler.is_silent(&request.params.name) {
            return None;
        }
        self.silent.of(call.caller.revision)
    }
}

/// What to change in a session when the handler agrees.
#[derive(Debug)]
pub struct Then {
    /// Where sessions are changed.
    pub sessions: Sessions,
    /// Where it is noted what the session was told.
    pub board: Arc<Switchboard>,
    /// The session.
    pub live: Arc<Live>,
    /// The change.
    pub change: Change,
}

impl Then {
    async fn carry_out(&self) -> Result<(), SessionError> {
        self.sessions.change(&self.live, &self.change).await?;
        // From here on the session is told of what changes.
        Ok(self.board.sync(&self.live, Tell::Nothing).await?)
    }
}

/// A request ready to be run.
#[derive(Debug)]
pub struct Call {
    /// Its name: unique among all calls of all nodes. Its stream has the same, and the ids of its requests begin so.
    pub name: StreamId,
    /// The number of its first request to the client.
    pub first_request: u64,
    /// The id that the client gave it.
    pub id: RequestId,
    /// The method's name, for metrics.
    pub method: &'static str,
    /// The typed request.
    pub request: ClientRequest,
    /// The request's `_meta`.
    pub meta: RequestMetaObject,
    /// Who asks.
    pub caller: Caller,
    /// Which log messages the client wants.
    pub logs: LogGate,
    /// The HTTP request it came in, for handlers that look at headers.
    pub parts: http::request::Parts,
    /// Fires when the call is cancelled.
    pub cancel: CancellationToken,
    /// What to change in the session when the handler agrees.
    pub then: Option<Then>,
}

/// Runs a call. Never panics, always ends: by the handler's result, its error, or a bound.
#[must_use]
pub fn run(runner: Arc<Runner>, call: Call, outbound: mpsc::Sender<Bytes>) -> BoxFuture<'static, Finished> {
    let name: Arc<str> = call.name.as_str().into();
    let (voice, answers) = match runner.shared_peer(&call) {
        Some(shared) => (Voice::Shared(shared), None),
        None => {
            let (answers, answers_in) = mpsc::channel(ANSWERS_WAITING_MAX);
            (Voice::Own(answers_in), Some(answers))
        }
    };
    let registered = call.caller.session.as_ref().map(|session| {
        runner.calls.register(
            session.id().clone(),
            call.id.clone(),
            Arc::clone(&name),
            call.cancel.clone(),
            answers.clone(),
        )
    });
    // A subscription lasts as long as its client wants.
    let endless = matches!(call.request, ClientRequest::SubscriptionsListenRequest(_));
    let timeout = if endless {
        SUBSCRIPTION_LASTS
    } else {
        runner.times.timeout
    };
    let running = async move {
        let measured = runner.measures.begin(call.caller.era(), call.method);
        let in_flight = runner.measures.call_in_flight();
        let (peer, _open) = match voice {
            Voice::Shared(shared) => (shared, None),
            Voice::Own(answers) => {
                let wire = Wire::new(wire(&runner, &call, name), outbound, answers);
                let open = peer::open(peer_info(&call.caller), wire);
                (open.peer().clone(), Some(open))
            }
        };
        let era = call.caller.era();
        let id = call.id.clone();
        let cancel = call.cancel.clone();
        let Prepared {
            request,
            context,
            then,
        } = prepare(call, peer);
        let request = async {
            let result = runner.handler.request(request, context).await?;
            if let Some(then) = &then {
                // Few calls have any, and unboxed its room would be kept, and moved, in the future of each.
                Box::pin(then.carry_out())
                    .await
                    .map_err(|error| not_changed(&error.into()))?;
            }
            Ok(result)
        };
        let request = AssertUnwindSafe(request).catch_unwind();
        let ended = bounded(request, &cancel, timeout).await;
        drop((registered, answers, in_flight));
        let (finished, outcome) = finish(ended, id, era);
        measured.end(outcome);
        finished
    };
    Box::pin(running)
}

/// How a call talks to its client before its result.
enum Voice {
    /// Not at all: this peer reaches nobody.
    Shared(Peer<RoleServer>),
    /// By a peer of its own, which is given the client's answers.
    Own(mpsc::Receiver<Answer>),
}

/// What the wire of a call's own peer needs to know.
fn wire(runner: &Runner, call: &Call, name: Arc<str>) -> WireSettings {
    WireSettings {
        name,
        first_request: call.first_request,
        logs: call.logs.clone(),
        capabilities: Arc::clone(&call.caller.capabilities),
        answer_timeout: runner.times.answer_timeout,
        announcer: call.caller.announcer.clone(),
        listeners: Arc::clone(&runner.listeners),
    }
}

/// How a handler's run ended.
enum End {
    Result(Box<ServerResult>),
    Error(ErrorData),
    Panicked,
    TimedOut(Duration),
    Cancelled,
}

type Caught = Result<Result<ServerResult, ErrorData>, Box<dyn std::any::Any + Send>>;

async fn bounded(
    request: impl Future<Output = Caught>,
    cancel: &CancellationToken,
    timeout: Duration,
) -> End {
    tokio::pin!(request);
    tokio::select! {
        biased;
        caught = &mut request => match caught {
            // A handler that heard its token may still return something, but nobody hears what it says.
            _ if cancel.is_cancelled() => End::Cancelled,
            Ok(Ok(result)) => End::Result(Box::new(result)),
            Ok(Err(error)) => End::Error(error),
            Err(_panic) => End::Panicked,
        },
        () = cancel.cancelled() => {
            // The handler has been told, and may put things in order.
            if tokio::time::timeout(CANCEL_GRACE, &mut request).await.is_err() {
                tracing::debug!("a cancelled handler did not stop by itself");
            }
            End::Cancelled
        }
        () = later(timeout) => {
            cancel.cancel();
            End::TimedOut(timeout)
        }
    }
}

fn body(result: ServerResult, id: RequestId) -> serde_json::Result<Vec<u8>> {
    let mut body = Vec::with_capacity(USUAL_BODY_BYTES);
    serde_json::to_writer(&mut body, &ServerJsonRpcMessage::response(result, id))?;
    Ok(body)
}

fn finish(end: End, id: RequestId, era: Era) -> (Finished, Outcome) {
    match end {
        End::Result(result) => match body(*result, id.clone()) {
            Ok(body) => (
                Finished {
                    body: Some(body.into()),
                    status: StatusCode::OK,
                },
                Outcome::Ok,
            ),
            Err(cause) => {
                error!(%cause, "a handler's result cannot be written as JSON");
                (failure(&id, &internal(), era), Outcome::Error)
            }
        },
        End::Error(cause) => (failure(&id, &cause, era), Outcome::Error),
        End::Panicked => {
            error!("a handler panicked: its call gets an internal error, others go on");
            (failure(&id, &internal(), era), Outcome::Error)
        }
        End::TimedOut(timeout) => {
            let words = format!(
                "the call did not finish within {} s and was stopped",
                timeout.as_secs()
            );
            (
                failure(&id, &ErrorData::new(ErrorCode(CODE_TRANSPORT), words, None), era),
                Outcome::Timeout,
            )
        }
        End::Cancelled => (
            Finished {
                body: None,
                status: StatusCode::OK,
            },
            Outcome::Cancelled,
        ),
    }
}

/// The error of a call whose handler agreed to a change that the session did not take.
fn not_changed(refusal: &Refusal) -> ErrorData {
    let data = refusal
        .retry_after_seconds()
        .map(|seconds| json!({ RETRY_AFTER_MEMBER: seconds }));
    ErrorData::new(refusal.code(), refusal.to_string(), data)
}

/// Asks the handler to answer `initialize`, with the bounds of any call.
///
/// # Errors
/// The handler's, or an internal error.
pub async fn initialize(
    params: InitializeRequestParams,
    caller: &Caller,
    runner: &Runner,
) -> Result<InitializeResult, ErrorData> {
    // Nobody reads before there is a session: what the handler sends is dropped, and what it asks is never answered.
    // Both ends stay alive, for a peer without them is closed.
    let (outbound, mut unheard) = mpsc::channel(peer::OUTBOUND_MESSAGES_MAX);
    let (_no_answers, answers) = mpsc::channel(1);
    let wire = WireSettings {
        name: "initialize".into(),
        first_request: 0,
        logs: LogGate::Request(None),
        capabilities: Arc::clone(&caller.capabilities),
        // A request that is not refused ends at once.
        answer_timeout: Duration::ZERO,
        announcer: caller.announcer.clone(),
        listeners: Arc::default(),
    };
    let peer = peer::open(params.clone(), Wire::new(wire, outbound, answers));
    let cancel = CancellationToken::new();
    let mut context = RequestContext::new(RequestId::Number(0), peer.peer().clone());
    context.ct = cancel.clone();
    context.extensions.insert(caller.clone());
    let request = ClientRequest::InitializeRequest(InitializeRequest::new(params));
    let request = AssertUnwindSafe(runner.handler.request(request, context)).catch_unwind();
    let drained = async {
        while unheard.recv().await.is_some() {}
        std::future::pending().await
    };
    let ended = tokio::select! {
        ended = bounded(request, &cancel, runner.times.timeout) => ended,
        never = drained => never,
    };
    match ended {
        End::Result(result) => match *result {
            ServerResult::InitializeResult(result) => Ok(result),
            _ => Err(internal()),
        },
        End::Error(error) => Err(error),
        End::Panicked | End::TimedOut(_) | End::Cancelled => Err(internal()),
    }
}

fn internal() -> ErrorData {
    ErrorData::internal_error("internal error: the call failed unexpectedly", None)
}

fn failure(id: &RequestId, error: &ErrorData, era: Era) -> Finished {
    Finished {
        body: Some(error_body(Some(id), error).into()),
        status: status_of(error, era),
    }
}

/// The member of an error's `data` that says when to try again: the call could not be run for want of the store.
const RETRY_AFTER_MEMBER: &str = "retryAfterSeconds";

/// The HTTP status of a JSON-RPC error. In a session an error is an answer like any other; 2026-07-28 gives some
/// errors a status of their own (Transports, "Status Codes").
fn status_of(error: &ErrorData, era: Era) -> StatusCode {
    if error.code.0 == CODE_TRANSPORT
        && error
            .data
            .as_ref()
            .is_some_and(|data| data.get(RETRY_AFTER_MEMBER).is_some())
    {
        return StatusCode::SERVICE_UNAVAILABLE;
    }
    match (era, error.code) {
        (Era::Legacy, _) => StatusCode::OK,
        (
            Era::Modern,
            ErrorCode::HEADER_MISMATCH
            | ErrorCode::MISSING_REQUIRED_CLIENT_CAPABILITY
            | ErrorCode::UNSUPPORTED_PROTOCOL_VERSION,
        ) => StatusCode::BAD_REQUEST,
        (Era::Modern, ErrorCode::METHOD_NOT_FOUND) => StatusCode::NOT_FOUND,
        (Era::Modern, _) => StatusCode::OK,
    }
}

/// What the handler gets, and what follows.
struct Prepared {
    request: ClientRequest,
    context: RequestContext<RoleServer>,
    then: Option<Then>,
}

/// Takes the call apart: nothing of it is copied that is not needed twice.
fn prepare(call: Call, peer: Peer<RoleServer>) -> Prepared {
    let mut context = RequestContext::new(call.id, peer);
    context.ct = call.cancel;
    context.meta = call.meta;
    if let Some(session) = &call.caller.session {
        context.extensions.insert(session.clone());
    }
    context.extensions.insert(call.caller);
    context.extensions.insert(call.parts);
    Prepared {
        request: call.request,
        context,
        then: call.then,
    }
}

/// What rmcp's peer knows of the client, which decides what rmcp lets a handler do: a modern client cannot be sent
/// requests, and results carry the members of the client's revision only.
pub(crate) fn peer_info(caller: &Caller) -> InitializeRequestParams {
    let client = caller
        .client
        .as_deref()
        .cloned()
        .unwrap_or_else(|| Implementation::new("unknown", "unknown"));
    InitializeRequestParams::new(caller.capabilities.as_ref().clone(), client)
        .with_protocol_version(caller.revision.to_rmcp())
}
