//! One call: a request, its caller and its handler, from dispatch to the response's bytes.

use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt as _;
use rmcp::model::{
    ClientRequest, InitializeRequest, InitializeRequestParams, InitializeResult, RequestId,
    RequestMetaObject, ServerResult,
};
use rmcp::service::RequestContext;
use rmcp::{ErrorData, Peer, RoleServer};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Engine;
use super::call_transport::{self, CallTransport, CallTransportSettings, LogGate, Open, peer_info};
use super::calls::InFlight;
use super::changes::ListenStart;
use super::handler::ask;
use super::open_requests::{Answers, OpenRequests};
use super::pages::{ask_for_page, first_page};
use super::running_call::{OUTBOUND_MESSAGES_MAX, RunningCall, later, outbound};
use super::shares::Share;
use super::whole_numbers::{has_fraction, write_as_integers};
use crate::audit::CameFrom;
use crate::cluster::{CachedSession, SessionError};
use crate::protocol::era::Era;
use crate::session::{Asking, Caller};
use crate::store::Change;
use crate::store::Limits;
use crate::store::streams::StreamId;

mod called_tool;
mod ending;

use called_tool::CalledTool;
use ending::{HandlerEnd, internal, not_changed, only_served};

/// The longest that a subscription is kept open; its client opens it again.
const SUBSCRIPTION_LASTS: Duration = Duration::from_secs(24 * 60 * 60);
/// How long a handler may go on after its token fired, before it is dropped.
const CANCEL_GRACE: Duration = Duration::from_secs(1);

impl Engine {
    /// The peer that a call shares with others, if it sends nothing before its result.
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

/// Changes a session because the handler has agreed to it.
async fn carry_out(
    engine: &Arc<Engine>,
    cached: &Arc<CachedSession>,
    change: &Change,
) -> Result<(), SessionError> {
    engine.sessions.change(cached, change).await?;
    match change {
        Change::Subscribe(uri) => Ok(engine.begin_telling(cached, uri).await?),
        _ => Ok(()),
    }
}

/// A request ready to be run.
#[derive(Debug)]
pub(crate) struct Call {
    /// Its name: unique among all calls of all nodes. Its stream has the same, and the ids of its requests
    /// begin so.
    pub name: StreamId,
    /// When it began.
    pub began: Instant,
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
    /// Its JSON text, if its client is asked by its result; empty if that is too large to be kept.
    pub body: Bytes,
    /// Who asks.
    pub caller: Caller,
    /// Which log messages the client wants.
    pub logs: LogGate,
    /// Where its listener begins, if it opens one.
    pub listens: Option<Arc<ListenStart>>,
    /// Fires when the call is cancelled.
    pub cancel: CancellationToken,
    /// What to change in its session when the handler agrees.
    pub on_success: Option<Change>,
    /// What it holds until it has ended.
    pub permits: Permits,
    /// Its session, if it has one. When the session ends, nobody can receive the answer.
    pub session: Option<Arc<CachedSession>>,
    /// Where it came from, if the audit log wants to know that.
    pub from: Option<Arc<CameFrom>>,
}

/// The permits that a call holds while it runs.
#[derive(Debug)]
pub(crate) struct Permits {
    _node: Share,
    _session: Option<InFlight>,
}

impl Permits {
    /// One on this node, in its peer's share of it, and one in its session, if it has one.
    pub(crate) const fn new(node: Share, session: Option<InFlight>) -> Self {
        Self {
            _node: node,
            _session: session,
        }
    }
}

/// Makes a call ready to run: it has its peer, and can be cancelled and answered, until the returned value is
/// dropped. The handler is asked when [`RunningCall::call`] is first polled. What the call sends before it
/// ends goes to `out`, if given; a call that sends nothing drops it. Needs a runtime.
pub(crate) fn run(engine: Arc<Engine>, mut call: Call, out: Option<mpsc::Sender<Bytes>>) -> RunningCall {
    write_whole_numbers(&engine, &mut call.request);
    let name: Arc<str> = call.name.as_str().into();
    let CallPeer {
        peer,
        open,
        answers,
        messages,
    } = CallPeer::of(&engine, &call, &name, out);
    let registered = call.caller.session.as_ref().map(|session| {
        engine.calls.register(
            (session.id().clone(), call.id.clone()),
            name,
            call.began,
            call.cancel.clone(),
            answers.clone(),
            Some(call.caller.peer.clone()),
        )
    });
    // A subscription lasts as long as its client wants.
    let endless = matches!(call.request, ClientRequest::SubscriptionsListenRequest(_));
    let timeout = match endless {
        true => SUBSCRIPTION_LASTS,
        false => engine.settings.call.timeout,
    };
    let (era, method, began) = (call.caller.era(), call.method, call.began);
    let asking = open
        .is_some()
        .then(|| Asking::of(era, &peer, &call.cancel, call.body));
    call.caller.asking.clone_from(&asking);
    let (on_success, permits, session) = (call.on_success, call.permits, call.session);
    let (id, cancel, request) = (call.id, call.cancel, call.request);
    let mut context = RequestContext::new(id.clone(), peer);
    context.ct = cancel.clone();
    context.meta = call.meta;
    if let Some(session) = &call.caller.session {
        context.extensions.insert(session.clone());
    }
    let called = CalledTool::of(&engine, &call.caller, &request, session.as_ref(), call.from);
    context.extensions.insert(call.caller);
    let call = Box::pin(async move {
        let measured = engine.measures.begin(era, method, began);
        // A subscription is counted among the streams.
        let in_flight = (!endless).then(|| engine.measures.call_in_flight());
        let ended = {
            let result = match first_page(&request) {
                Some(first) => ask_for_page(&*engine.handler, request, first, context),
                None => ask(&*engine.handler, request, context),
            };
            let request = async {
                let mut result = match &asking {
                    Some(asking) => asking.result(result.await)?,
                    None => result.await?,
                };
                only_served(&mut result, engine.revisions);
                if let (Some(cached), Some(change)) = (&session, &on_success) {
                    // Few calls have any, and unboxed its room would be kept, and moved, in the future of
                    // each.
                    Box::pin(carry_out(&engine, cached, change))
                        .await
                        .map_err(|error| not_changed(&error.into()))?;
                }
                Ok(result)
            };
            let request = pin!(AssertUnwindSafe(request).catch_unwind());
            let session_ended = session.as_deref().map(|cached| &cached.ended);
            bounded(request, &cancel, session_ended, timeout).await
        };
        drop((registered, answers, in_flight, open));
        let (finished, outcome) = called_tool::finish(called, ended, id, era, method);
        measured.end(outcome);
        drop(permits);
        finished
    });
    RunningCall { call, messages }
}

/// How a call talks to its client before its result.
struct CallPeer {
    peer: Peer<RoleServer>,
    /// Keeps the peer open; `None` of one that calls share, which reaches nobody.
    open: Option<Open>,
    /// Where its client's answers go; `None` likewise.
    answers: Option<Answers>,
    /// What it sends; `None` likewise, and if that goes elsewhere.
    messages: Option<mpsc::Receiver<Bytes>>,
}

impl CallPeer {
    fn of(engine: &Engine, call: &Call, name: &Arc<str>, out: Option<mpsc::Sender<Bytes>>) -> Self {
        if let Some(peer) = engine.shared_peer(call) {
            return Self {
                peer,
                open: None,
                answers: None,
                messages: None,
            };
        }
        let (out, messages) = match out {
            Some(out) => (out, None),
            None => {
                let (out, messages) = outbound();
                (out, Some(messages))
            }
        };
        let (sender, answers_in) = mpsc::channel(Limits::ANSWERS_WAITING_MAX);
        let settings = transport_settings(engine, call, Arc::clone(name));
        let answers = Answers {
            sender,
            open: settings.open.clone(),
        };
        let transport = CallTransport::new(settings, out, answers_in);
        let open = call_transport::open(peer_info(&call.caller), transport);
        Self {
            peer: open.peer().clone(),
            open: Some(open),
            answers: Some(answers),
            messages,
        }
    }
}

/// Writes whole numbers in a tool's arguments as its schema wants them.
fn write_whole_numbers(engine: &Engine, request: &mut ClientRequest) {
    if let ClientRequest::CallToolRequest(call) = request
        && let Some(arguments) = &mut call.params.arguments
        && has_fraction(arguments.values())
        && let Some(tool) = engine.tool(&call.params.name)
    {
        write_as_integers(arguments, &tool.input_schema);
    }
}

/// What the transport of a call's own peer needs to know.
fn transport_settings(engine: &Engine, call: &Call, name: Arc<str>) -> CallTransportSettings {
    CallTransportSettings {
        name,
        first_request: call.first_request,
        logs: call.logs.clone(),
        capabilities: Arc::clone(&call.caller.capabilities),
        answer_timeout: engine.settings.call.answer_timeout,
        announcer: call.caller.announcer.clone(),
        listens: call.listens.clone(),
        open: OpenRequests::default(),
    }
}

type Caught = Result<Result<ServerResult, ErrorData>, Box<dyn std::any::Any + Send>>;

async fn bounded(
    mut request: Pin<&mut impl Future<Output = Caught>>,
    cancel: &CancellationToken,
    session_ended: Option<&CancellationToken>,
    timeout: Duration,
) -> HandlerEnd {
    let stopped = async {
        let Some(session_ended) = session_ended else {
            cancel.cancelled().await;
            return HandlerEnd::Cancelled;
        };
        tokio::select! {
            () = cancel.cancelled() => HandlerEnd::Cancelled,
            () = session_ended.cancelled() => {
                cancel.cancel();
                HandlerEnd::SessionEnded
            }
        }
    };
    tokio::select! {
        biased;
        caught = &mut request => match caught {
            // A cancelled handler may still return something, but nobody receives it.
            _ if cancel.is_cancelled() => HandlerEnd::Cancelled,
            _ if session_ended.is_some_and(CancellationToken::is_cancelled) => HandlerEnd::SessionEnded,
            Ok(Ok(result)) => HandlerEnd::Result(Box::new(result)),
            Ok(Err(error)) => HandlerEnd::Error(error),
            Err(_panic) => HandlerEnd::Panicked,
        },
        end = stopped => {
            // The handler has been told, and may put things in order.
            if tokio::time::timeout(CANCEL_GRACE, &mut request).await.is_err() {
                tracing::debug!("a cancelled handler did not stop by itself");
            }
            end
        }
        () = later(timeout) => {
            cancel.cancel();
            HandlerEnd::TimedOut(timeout)
        }
    }
}

/// Asks the handler to answer `initialize`, with the bounds of any call.
///
/// # Errors
/// The handler's, or an internal error.
pub(crate) async fn initialize(
    params: InitializeRequestParams,
    caller: &Caller,
    engine: &Engine,
) -> Result<InitializeResult, ErrorData> {
    // Nobody reads before there is a session: what the handler sends is dropped, and what it asks is never
    // answered. Both ends stay alive, for a peer without them is closed.
    let (outbound, mut unheard) = mpsc::channel(OUTBOUND_MESSAGES_MAX);
    let (_no_answers, answers) = mpsc::channel(1);
    let settings = CallTransportSettings {
        name: "initialize".into(),
        first_request: 0,
        logs: LogGate::Request(None),
        capabilities: Arc::clone(&caller.capabilities),
        // A request that is not refused ends at once.
        answer_timeout: Duration::ZERO,
        announcer: caller.announcer.clone(),
        listens: None,
        open: OpenRequests::default(),
    };
    let peer = call_transport::open(params.clone(), CallTransport::new(settings, outbound, answers));
    let cancel = CancellationToken::new();
    let mut context = RequestContext::new(RequestId::Number(0), peer.peer().clone());
    context.ct = cancel.clone();
    context.extensions.insert(caller.clone());
    let request = ClientRequest::InitializeRequest(InitializeRequest::new(params));
    let request = pin!(AssertUnwindSafe(ask(&*engine.handler, request, context)).catch_unwind());
    let drained = async {
        while unheard.recv().await.is_some() {}
        std::future::pending().await
    };
    let ended = tokio::select! {
        ended = bounded(request, &cancel, None, engine.settings.call.timeout) => ended,
        never = drained => never,
    };
    match ended {
        HandlerEnd::Result(result) => match *result {
            ServerResult::InitializeResult(result) => Ok(result),
            _ => Err(internal()),
        },
        HandlerEnd::Error(error) => Err(error),
        HandlerEnd::Panicked | HandlerEnd::TimedOut(_) | HandlerEnd::Cancelled | HandlerEnd::SessionEnded => {
            Err(internal())
        }
    }
}
