//! A handler with its type erased: what the pipeline needs of an rmcp `ServerHandler`.

use std::fmt;

use futures::future::BoxFuture;
use rmcp::model::{ClientNotification, ClientRequest, ServerConfig, ServerResult, Tool};
use rmcp::service::{NotificationContext, RequestContext, RoleServer, Service};
use rmcp::{ErrorData, ServerHandler};

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

    /// Whether a tool says nothing before its result, see [`Silent`].
    fn is_silent(&self, _tool: &str) -> bool {
        false
    }
}

/// A handler of whose tools some say nothing before their result.
///
/// A call needs a peer of its own only to talk to its client meanwhile: to ask it something, to tell progress or to log.
/// rmcp gives each peer a task, and that is an eighth of what a quick call costs. The tools that are named here are
/// given a peer that all their calls share: what they send through it goes nowhere, and is an error. It knows no client either;
/// a tool that wants to know its own asks its [`Caller`](crate::session::Caller).
///
/// ```no_run
/// # use std::process::ExitCode;
/// # use rmcp::ServerHandler;
/// # #[derive(Default)] struct MyServer;
/// # impl ServerHandler for MyServer {}
/// use anynode::Silent;
///
/// fn main() -> ExitCode {
///     anynode::cli::main(|| Silent::new(MyServer::default(), &["add", "look_up"]))
/// }
/// ```
#[derive(Debug)]
pub struct Silent<H> {
    handler: H,
    tools: &'static [&'static str],
}

impl<H> Silent<H> {
    /// The same handler, of which these tools say nothing before their result.
    pub const fn new(handler: H, tools: &'static [&'static str]) -> Self {
        Self { handler, tools }
    }
}

impl<H: Handler> Handler for Silent<H> {
    fn request<'a>(
        &'a self,
        request: ClientRequest,
        context: RequestContext<RoleServer>,
    ) -> BoxFuture<'a, Result<ServerResult, ErrorData>> {
        self.handler.request(request, context)
    }

    fn notification<'a>(
        &'a self,
        notification: ClientNotification,
        context: NotificationContext<RoleServer>,
    ) -> BoxFuture<'a, ()> {
        self.handler.notification(notification, context)
    }

    fn info(&self) -> ServerConfig {
        self.handler.info()
    }

    fn tool(&self, name: &str) -> Option<Tool> {
        self.handler.tool(name)
    }

    fn is_silent(&self, tool: &str) -> bool {
        self.tools.contains(&tool) || self.handler.is_silent(tool)
    }
}

impl<H: ServerHandler> Handler for H {
    fn request<'a>(
        &'a self,
        request: ClientRequest,
        context: RequestContext<RoleServer>,
    ) -> BoxFuture<'a, Result<ServerResult, ErrorData>> {
        Box::pin(Service::handle_request(self, request, context))
    }

    fn notification<'a>(
        &'a self,
        notification: ClientNotification,
        context: NotificationContext<RoleServer>,
    ) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            if let Err(error) = Service::handle_notification(self, notification, context).await {
                tracing::warn!(code = error.code.0, "a handler refused a notification");
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

impl fmt::Debug for dyn Handler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("dyn Handler")
    }
}
