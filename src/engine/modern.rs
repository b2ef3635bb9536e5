//! What a node does with a request that brings its own context: 2026-07-28, stateless.

use std::sync::Arc;

use rmcp::model::{ClientCapabilities, ClientRequest, SubscriptionFilter, SubscriptionsListenRequest};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::Engine;
use super::call::{self, Call, Permits};
use super::call_transport::LogGate;
use super::changes::ListenStart;
use super::dispatch::{permit, resource};
use super::incoming::{Incoming, Requester};
use super::reply::{Flight, Reply};
use super::request::RequestMeta;
use super::running_call::RunningCall;
use super::unknown_method::unknown_method;
use crate::config::ReplyForm;
use crate::protocol::classify::is_legacy_only;
use crate::protocol::era::{Era, Revision};
use crate::protocol::error::Refusal;
use crate::protocol::message::Request;
use crate::session::SessionRecord;
use crate::session::{Caller, Connection, Principal};
use crate::store::streams::StreamId;
use crate::telemetry::metrics::{StreamKind, method_label};

/// The context that a request brings in its `_meta`.
#[derive(Debug)]
pub(crate) struct ModernContext {
    /// The revision it is served in.
    pub revision: Revision,
    /// What its client can do.
    pub capabilities: ClientCapabilities,
}

/// A request, parsed by its method.
#[derive(Debug)]
pub(crate) struct ModernRequest {
    request: ClientRequest,
    method: &'static str,
}

impl ModernRequest {
    /// Reads a request.
    ///
    /// # Errors
    /// [`Refusal::MethodNotFound`], [`Refusal::InvalidParams`].
    pub(crate) fn read(request: &Request<'_>) -> Result<Self, Refusal> {
        let method = method_label(&request.method);
        if is_legacy_only(&request.method) {
            return Err(Refusal::MethodNotFound(unknown_method(method, Era::Modern)));
        }
        let typed = super::request::typed_request(&request.method, request.params)?;
        if let ClientRequest::SubscriptionsListenRequest(listen) = &typed {
            check_listen(listen)?;
        }
        Ok(Self {
            request: typed,
            method,
        })
    }

    /// The request as rmcp has it.
    #[must_use]
    pub(crate) const fn typed(&self) -> &ClientRequest {
        &self.request
    }

    /// Whether it opens a subscription. Its reply is a stream that lasts, also when other replies are single
    /// bodies.
    #[must_use]
    pub(crate) const fn listens(&self) -> bool {
        self.opens_listener().is_some()
    }

    /// What the subscription that it opens wants to know of.
    const fn opens_listener(&self) -> Option<&SubscriptionFilter> {
        match &self.request {
            ClientRequest::SubscriptionsListenRequest(listen) => Some(&listen.params.notifications),
            _ => None,
        }
    }
}

impl Engine {
    /// A request of 2026-07-28. When its stream is closed, it is cancelled (Transports, "Cancellation").
    ///
    /// # Errors
    /// [`Refusal`].
    pub(crate) async fn modern_request(
        self: &Arc<Self>,
        incoming: Incoming,
        context: ModernContext,
        id: rmcp::model::RequestId,
        request: ModernRequest,
        meta: RequestMeta,
    ) -> Result<Reply, Refusal> {
        let node = permit(&incoming.requester.peer, resource(request.method))?;
        // A subscription ends when the node leaves, and its client opens another elsewhere; a call may
        // finish.
        let mut times = self.reply_times(incoming.form);
        let until = self.stream_until(&incoming.requester.identity);
        let (cancel, kind, listens) = match request.opens_listener() {
            Some(filter) => {
                times.form = ReplyForm::Auto;
                let start = Box::pin(ListenStart::read(self, filter)).await?;
                let cancel = self.stopping.leaving.child_token();
                (cancel, StreamKind::Listen, Some(Arc::new(start)))
            }
            None => (CancellationToken::new(), StreamKind::Reply, None),
        };
        let call = Call {
            name: StreamId::generate(),
            began: incoming.began,
            first_request: 0,
            id,
            method: request.method,
            request: request.request,
            logs: LogGate::Request(meta.meta.log_level().map(Into::into)),
            listens,
            body: incoming.body.clone(),
            from: incoming.from.clone(),
            caller: self.modern_caller(incoming, context, &meta),
            meta: meta.meta,
            cancel: cancel.clone(),
            on_success: None,
            permits: Permits::new(node, None),
            session: None,
        };
        let listener = call.listens.is_some();
        let running = call::run(Arc::clone(self), call, None);
        let running = match until.filter(|_| listener) {
            Some(until) => ended_at(until, running, cancel.clone()),
            None => running,
        };
        let flight = Flight::new(running, cancel, false, self.work.clone()).of_kind(kind);
        Ok(flight.reply(times).await)
    }

    fn modern_caller(
        self: &Arc<Self>,
        incoming: Incoming,
        context: ModernContext,
        meta: &RequestMeta,
    ) -> Caller {
        let Requester { identity, peer, info } = incoming.requester;
        let (principal, peer): (Principal, _) = (identity.principal().clone(), peer.peer());
        Caller {
            revision: context.revision,
            node: self.node.clone(),
            restored: false,
            client: meta.meta.client_info().map(Arc::new),
            capabilities: Arc::new(context.capabilities),
            session: None,
            notebooks: self.notebooks(&principal, peer),
            connection: Connection::default(),
            request: info,
            tasks: self.tasks_of(&principal, peer),
            announcer: self.announcer(),
            request_state: self.request_state(),
            asking: None,
            peer: peer.clone(),
            principal,
            identity,
        }
    }
}

/// The same subscription, which ends at that time: the credentials that opened it count no longer.
fn ended_at(until: Instant, running: RunningCall, cancel: CancellationToken) -> RunningCall {
    let mut call = running.call;
    let bounded = async move {
        tokio::select! {
            finished = &mut call => return finished,
            () = sleep_until(until) => cancel.cancel(),
        }
        call.await
    };
    RunningCall {
        call: Box::pin(bounded),
        messages: running.messages,
    }
}

/// A listener has the same limit of resources as a session.
fn check_listen(listen: &SubscriptionsListenRequest) -> Result<(), Refusal> {
    let resources = listen.params.notifications.resource_subscriptions.as_deref();
    if resources.unwrap_or_default().len() <= SessionRecord::SUBSCRIPTIONS_MAX {
        return Ok(());
    }
    Err(Refusal::InvalidParams(format!(
        "`notifications.resourceSubscriptions` may have {} members",
        SessionRecord::SUBSCRIPTIONS_MAX
    )))
}
