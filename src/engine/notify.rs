//! Hands a client's notification to the handler.
//!
//! rmcp builds a notification's context only inside its serve loop, so each notification gets a short-lived
//! one.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use rmcp::ErrorData;
use rmcp::model::{
    ClientNotification, ClientRequest, GetExtensions as _, InitializeRequestParams, JsonRpcMessage,
    ServerConfig, ServerResult,
};
use rmcp::service::{
    NotificationContext, RequestContext, RoleServer, RxJsonRpcMessage, Service, TxJsonRpcMessage,
    serve_directly,
};
use rmcp::transport::Transport;
use tokio_util::sync::CancellationToken;

use super::call_transport::{CallTransport, Closed, peer_info};
use super::handler::Handler;
use crate::causes::causes;
use crate::session::Caller;
use crate::telemetry::seldom;

/// Runs the handler for one notification, at most `limit`. What it sends meanwhile goes through `transport`.
pub(crate) async fn deliver(
    mut notification: ClientNotification,
    caller: Caller,
    handler: Arc<dyn Handler>,
    transport: CallTransport,
    limit: Duration,
) {
    let info: InitializeRequestParams = peer_info(&caller);
    if let Some(session) = &caller.session {
        notification.extensions_mut().insert(session.clone());
    }
    notification.extensions_mut().insert(caller);
    let done = CancellationToken::new();
    let transport = OneNotification {
        notification: Some(notification),
        done: done.clone(),
        transport,
    };
    let forward = Forward { handler, done, limit };
    // It ends with the handler, which the limit is on.
    if let Err(cause) = serve_directly(forward, transport, Some(info)).waiting().await {
        let words = "the task that delivers a notification broke";
        seldom(
            words,
            |left_out| tracing::error!(error = %causes(&cause), left_out, "{words}"),
        );
    }
}

/// A transport that brings one notification, then answers to what its handler asks, and closes when it is
/// done with.
struct OneNotification {
    notification: Option<ClientNotification>,
    done: CancellationToken,
    transport: CallTransport,
}

impl Transport<RoleServer> for OneNotification {
    type Error = Closed;

    fn send(
        &mut self,
        item: TxJsonRpcMessage<RoleServer>,
    ) -> impl Future<Output = Result<(), Closed>> + Send + 'static {
        self.transport.send(item)
    }

    async fn receive(&mut self) -> Option<RxJsonRpcMessage<RoleServer>> {
        if let Some(notification) = self.notification.take() {
            return Some(JsonRpcMessage::notification(notification));
        }
        let done = self.done.clone();
        tokio::select! {
            () = done.cancelled() => None,
            message = self.transport.receive() => message,
        }
    }

    fn close(&mut self) -> impl Future<Output = Result<(), Closed>> + Send {
        std::future::ready(Ok(()))
    }
}

struct Forward {
    handler: Arc<dyn Handler>,
    done: CancellationToken,
    limit: Duration,
}

impl Service<RoleServer> for Forward {
    async fn handle_request(
        &self,
        _request: ClientRequest,
        _context: RequestContext<RoleServer>,
    ) -> Result<ServerResult, ErrorData> {
        Err(ErrorData::internal_error(
            "only notifications come this way",
            None,
        ))
    }

    async fn handle_notification(
        &self,
        notification: ClientNotification,
        context: NotificationContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        let _done = self.done.clone().drop_guard();
        let handled = self.handler.notification(notification, context);
        // The limit is here, around the handler itself: rmcp runs this in a task of its own, which goes on
        // when its serve loop has been given up.
        if tokio::time::timeout(self.limit, handled).await.is_err() {
            let words = "a handler did not finish with a notification in time and was stopped";
            seldom(words, |left_out| tracing::warn!(left_out, "{words}"));
        }
        Ok(())
    }

    fn get_info(&self) -> ServerConfig {
        self.handler.info()
    }
}
