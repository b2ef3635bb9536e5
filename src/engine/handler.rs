//! A handler with its type erased: what the pipeline needs of an rmcp `ServerHandler`.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use futures::future::BoxFuture;
use rmcp::model::{ClientNotification, ClientRequest, ServerConfig, ServerResult, Tool};
use rmcp::service::{NotificationContext, RequestContext, RoleServer, Service};
use rmcp::{ErrorData, ServerHandler};

use super::unknown_method::in_words;
use crate::protocol::era::Era;
use crate::session::Caller;
use crate::telemetry::seldom;

mod subscriptions;

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

    /// What is wrong with how the handler is put together, in words. It is asked once, when the node starts,
    /// and logged.
    fn faults(&self) -> Vec<String> {
        Vec::new()
    }

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
        // By reference: nearly all requests go on as they are, and each move of one is a copy.
        if !needs_help(&request) {
            return Box::pin(Service::handle_request(self, request, context));
        }
        match request {
            ClientRequest::SubscriptionsListenRequest(listen) => {
                Box::pin(subscriptions::listen(self, listen, context))
            }
            ClientRequest::CustomRequest(ref custom) => {
                let (method, era) = (custom.method.clone(), era_of(&context));
                Box::pin(async move {
                    let answer = Service::handle_request(self, request, context).await;
                    answer.map_err(|error| in_words(error, &method, era))
                })
            }
            request => Box::pin(subscriptions::subscribe(self, request, context)),
        }
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

/// Whether the library does something for the handler beside asking it.
const fn needs_help(request: &ClientRequest) -> bool {
    matches!(
        request,
        ClientRequest::SubscriptionsListenRequest(_)
            | ClientRequest::SubscribeRequest(_)
            | ClientRequest::UnsubscribeRequest(_)
            | ClientRequest::CustomRequest(_)
    )
}

fn era_of(context: &RequestContext<RoleServer>) -> Era {
    let caller = context.extensions.get::<Caller>();
    caller.map_or(Era::Legacy, Caller::era)
}

/// Asks the handler. A panic of the asking itself comes only when the future is awaited, where it is caught.
///
/// Not an `async fn`, whose room for what the handler is given would be kept, and moved, as long as the
/// handler's own.
pub(super) fn ask<'a>(
    handler: &'a dyn Handler,
    request: ClientRequest,
    context: RequestContext<RoleServer>,
) -> BoxFuture<'a, Result<ServerResult, ErrorData>> {
    catch_unwind(AssertUnwindSafe(|| handler.request(request, context)))
        .unwrap_or_else(|panic| Box::pin(async { resume_unwind(panic) }))
}

impl fmt::Debug for dyn Handler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("dyn Handler")
    }
}
