//! A handler with its type erased: what the pipeline needs of an rmcp `ServerHandler`.

use std::fmt;

use futures::future::BoxFuture;
use futures::{StreamExt as _, stream};
use rmcp::model::{
    ClientNotification, ClientRequest, ErrorCode, ServerConfig, ServerResult, SubscribeRequestParams,
    SubscriptionsListenRequest, Tool,
};
use rmcp::service::{NotificationContext, RequestContext, RoleServer, Service};
use rmcp::{ErrorData, ServerHandler};

use crate::telemetry::seldom;

/// How many resources of one listener are asked for at once.
const ASKED_AT_ONCE: usize = 16;

/// What the pipeline needs of a handler. Every rmcp [`ServerHandler`] is one.
pub trait Handler: Send + Sync + 'static {
    /// Runs one request.
    fn request<'a>(
        &'a self,
        request: ClientRequest,
        context: RequestContext<RoleServer>,
    ) -> BoxFuture<'a, Result<ServerResult, ErrorData>>;

    /// Takes one notification.
    fn notification<'a>(
        &'a self,
        notification: ClientNotification,
        context: NotificationContext<RoleServer>,
    ) -> BoxFuture<'a, ()>;

    /// The server's name, version, instructions and capabilities.
    fn info(&self) -> ServerConfig;

    /// A tool's definition, for the header checks of SEP-2243.
    fn tool(&self, name: &str) -> Option<Tool>;

    /// Whether a tool sends nothing before its result, see [`NoPeer`](crate::NoPeer).
    fn is_silent(&self, _tool: &str) -> bool {
        false
    }
}

impl<H: ServerHandler> Handler for H {
    fn request<'a>(
        &'a self,
        request: ClientRequest,
        context: RequestContext<RoleServer>,
    ) -> BoxFuture<'a, Result<ServerResult, ErrorData>> {
        if let ClientRequest::SubscriptionsListenRequest(listen) = request {
            return Box::pin(async move {
                let listen = admitted(self, listen, &context).await?;
                Service::handle_request(self, listen.into(), context).await
            });
        }
        Box::pin(Service::handle_request(self, request, context))
    }

    fn notification<'a>(
        &'a self,
        notification: ClientNotification,
        context: NotificationContext<RoleServer>,
    ) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            if let Err(error) = Service::handle_notification(self, notification, context).await {
                let words = "a handler refused a notification";
                seldom(words, |left_out| {
                    tracing::warn!(code = error.code.0, left_out, "{words}")
                });
            }
        })
    }

    fn info(&self) -> ServerConfig {
        ServerHandler::get_info(self)
    }

    fn tool(&self, name: &str) -> Option<Tool> {
        self.get_tool(name)
    }
}

/// A listener may hear only of resources to which a session of the same principal may subscribe. rmcp's
/// filter for handlers knows no caller, so `subscribe` decides, which does. A handler without it (-32601)
/// refuses none.
async fn admitted<H: ServerHandler>(
    handler: &H,
    mut listen: SubscriptionsListenRequest,
    context: &RequestContext<RoleServer>,
) -> Result<SubscriptionsListenRequest, ErrorData> {
    let Some(wanted) = listen.params.notifications.resource_subscriptions.take() else {
        return Ok(listen);
    };
    let asked = wanted.into_iter().map(|uri| async move {
        #[expect(
            deprecated,
            reason = "only legacy clients send it; here it is asked for modern ones"
        )]
        let asked = handler.subscribe(SubscribeRequestParams::new(uri.clone()), context.clone());
        (uri, asked.await)
    });
    let mut asked = stream::iter(asked).buffered(ASKED_AT_ONCE);
    let mut admitted = Vec::new();
    while let Some((uri, answer)) = asked.next().await {
        match answer {
            Ok(()) => admitted.push(uri),
            Err(error) if error.code == ErrorCode::METHOD_NOT_FOUND => admitted.push(uri),
            Err(error)
                if matches!(
                    error.code,
                    ErrorCode::INVALID_PARAMS | ErrorCode::RESOURCE_NOT_FOUND
                ) => {}
            // It is not known whether it may, for example because the store is out of reach.
            Err(error) => return Err(error),
        }
    }
    drop(asked);
    listen.params.notifications.resource_subscriptions = Some(admitted);
    Ok(listen)
}

impl fmt::Debug for dyn Handler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("dyn Handler")
    }
}
