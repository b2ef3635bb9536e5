//! Requests that bring their own context: 2026-07-28, stateless.

use std::sync::Arc;

use axum::response::Response;
use rmcp::model::{ClientCapabilities, ClientRequest, SubscriptionsListenRequest};
use tokio_util::sync::CancellationToken;

use super::answer::Lasting;
use super::mcp::{Came, note, place, reply_times, resource, version_header};
use super::{Shared, answer, body};
use crate::config::ReplyForm;
use crate::protocol::classify::{check_modern, is_legacy_only};
use crate::protocol::era::{Era, Revision};
use crate::protocol::error::Refusal;
use crate::protocol::headers::{check_params, name_member};
use crate::protocol::message::Request;
use crate::session::record::SUBSCRIPTIONS_MAX;
use crate::session::{Caller, Connection, Peer, Principal};
use crate::store::streams::StreamId;
use crate::telemetry::metrics::{StreamKind, method_label};
use crate::transport::call::{self, Call, Places};
use crate::transport::peer::LogGate;
use crate::transport::reply::{Flight, Reply};
use crate::transport::request::{Peek, typed_request};

/// Any request. When its stream is closed, it is cancelled (2026-07-28, Transports, "Cancellation").
pub(super) async fn request(
    shared: &Arc<Shared>,
    came: Came,
    request: Request<'_>,
    peek: Peek,
) -> Result<Response, Refusal> {
    let method = method_label(&request.method);
    note(Era::Modern, method, None);
    let name = peek.named(name_member(&request.method));
    let header = version_header(&came.parts);
    let (revision, capabilities) =
        check_modern(&came.parts.headers, header, &request.method, name, &peek.meta)?;
    if is_legacy_only(&request.method) {
        return Err(Refusal::MethodNotFound(method.to_owned()));
    }
    let typed = typed_request(&request.method, request.params)?;
    if let ClientRequest::CallToolRequest(call) = &typed
        && let Some(tool) = shared.runner.handler.tool(&call.params.name)
    {
        check_params(
            &came.parts.headers,
            &tool.input_schema,
            call.params.arguments.as_ref(),
        )?;
    }
    if let ClientRequest::SubscriptionsListenRequest(listen) = &typed {
        check_listen(listen)?;
    }
    let place = place(&came.peer, resource(&request.method))?;
    // A subscription ends when the node leaves, and its client opens another elsewhere; a call may finish.
    let mut times = reply_times(shared);
    let (cancel, kind) = match &typed {
        ClientRequest::SubscriptionsListenRequest(_) => {
            // It is a stream, whatever form other replies have.
            times.form = ReplyForm::Auto;
            body::check_accept(&came.parts.headers, times.form)?;
            (shared.leaving.child_token(), StreamKind::Listen)
        }
        _ => (CancellationToken::new(), StreamKind::Reply),
    };
    let call = Call {
        name: StreamId::generate(),
        began: came.began,
        first_request: 0,
        id: request.id,
        method,
        request: typed,
        caller: caller(
            shared,
            revision,
            capabilities,
            (came.principal, came.peer.peer()),
            &peek,
        ),
        logs: LogGate::Request(peek.meta.log_level().map(Into::into)),
        meta: peek.meta,
        parts: came.parts,
        cancel: cancel.clone(),
        then: None,
        places: Places {
            node: place,
            session: None,
        },
        session: None,
    };
    let running = call::run(Arc::clone(&shared.runner), call, None);
    let flight = Flight::new(running, cancel, false, shared.work.clone()).of_kind(kind);
    let reply = flight.reply(times).await;
    let lasts = kind == StreamKind::Listen && matches!(reply, Reply::Stream(_));
    let response = answer::reply(reply)?;
    Ok(if lasts {
        answer::lasting(response, Lasting::Standing)
    } else {
        response
    })
}

/// A listener may want to know of as many resources as a session.
fn check_listen(listen: &SubscriptionsListenRequest) -> Result<(), Refusal> {
    let resources = listen.params.notifications.resource_subscriptions.as_deref();
    if resources.unwrap_or_default().len() <= SUBSCRIPTIONS_MAX {
        return Ok(());
    }
    Err(Refusal::InvalidParams(format!(
        "`notifications.resourceSubscriptions` may have {SUBSCRIPTIONS_MAX} members"
    )))
}

fn caller(
    shared: &Shared,
    revision: Revision,
    capabilities: ClientCapabilities,
    (principal, peer): (Principal, &Peer),
    peek: &Peek,
) -> Caller {
    Caller {
        revision,
        node: shared.node.clone(),
        restored: false,
        client: peek.meta.client_info().map(Arc::new),
        capabilities: Arc::new(capabilities),
        session: None,
        notebooks: shared.notebooks(&principal, peer),
        connection: Connection::default(),
        tasks: shared.tasks(&principal, peer),
        announcer: shared.announcer(),
        request_state: shared.request_state(),
        principal,
        peer: peer.clone(),
    }
}
