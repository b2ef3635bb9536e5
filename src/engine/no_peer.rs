//! Tools that send nothing before their result: their calls need no peer of their own.

use futures::future::BoxFuture;
use rmcp::model::{
    ClientCapabilities, ClientNotification, ClientRequest, Implementation, InitializeRequestParams,
    ServerConfig, ServerResult, Tool,
};
use rmcp::service::{
    NotificationContext, RequestContext, RoleServer, RxJsonRpcMessage, TxJsonRpcMessage, serve_directly,
};
use rmcp::transport::Transport;
use rmcp::{ErrorData, Peer};

use super::call_transport::{Idle, Open};
use super::handler::Handler;
use crate::protocol::era::Revision;
use crate::telemetry::seldom;

/// A handler some of whose tools send nothing before their result.
///
/// A call needs a peer of its own only to talk meanwhile: to ask its client something, to tell progress, to
/// log, or to announce a change. rmcp gives each peer a task, and without it a quick call costs an eighth
/// less. The tools that are named here are given a peer that all their calls share: what they send through it
/// goes nowhere, and is an error. It knows no client either. The client of a call is in its
/// [`Caller`](crate::session::Caller), whose `announcer` can announce changes too.
///
/// ```no_run
/// # use std::process::ExitCode;
/// # use rmcp::ServerHandler;
/// # #[derive(Default)] struct MyServer;
/// # impl ServerHandler for MyServer {}
/// use anynode::NoPeer;
///
/// fn main() -> ExitCode {
///     anynode::cli::main(|| NoPeer::new(MyServer::default(), &["add", "look_up"]))
/// }
/// ```
#[derive(Debug)]
pub struct NoPeer<H> {
    handler: H,
    tools: &'static [&'static str],
}

impl<H> NoPeer<H> {
    /// The same handler, of which these tools send nothing before their result.
    pub const fn new(handler: H, tools: &'static [&'static str]) -> Self {
        Self { handler, tools }
    }
}

impl<H: Handler> Handler for NoPeer<H> {
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

/// The peers that calls of silent tools share: one for each revision, which decides what rmcp lets a result
/// have.
#[derive(Debug)]
pub(crate) struct SharedPeers {
    open: [(Revision, Open); Revision::ALL.len()],
}

impl SharedPeers {
    /// Opens them. Call this outside any request: they would keep the request's span for ever. Needs a
    /// runtime.
    #[must_use]
    pub(crate) fn open() -> Self {
        Self {
            open: Revision::ALL.map(|revision| (revision, open(revision))),
        }
    }

    /// The peer of a call of that revision, which reaches nobody.
    #[must_use]
    pub(crate) fn of(&self, revision: Revision) -> Option<Peer<RoleServer>> {
        let found = self.open.iter().find(|(of, _)| *of == revision);
        found.map(|(_, open)| open.peer().clone())
    }
}

fn open(revision: Revision) -> Open {
    let nobody = Implementation::new("unknown", "unknown");
    let info = InitializeRequestParams::new(ClientCapabilities::default(), nobody);
    let info = info.with_protocol_version(revision.to_rmcp());
    serve_directly(Idle, Unconnected::default(), Some(info))
}

/// The transport of a peer that reaches nobody.
#[derive(Debug, Default)]
struct Unconnected {
    /// Whether this is logged already. Each tool that sends something gets an error.
    logged: bool,
}

/// A tool that is declared silent has sent something.
#[derive(Debug, thiserror::Error)]
#[error("this tool is declared silent (NoPeer::new), so its calls reach no client before their result")]
pub(crate) struct SaidToBeSilent;

impl Transport<RoleServer> for Unconnected {
    type Error = SaidToBeSilent;

    fn send(
        &mut self,
        _item: TxJsonRpcMessage<RoleServer>,
    ) -> impl Future<Output = Result<(), SaidToBeSilent>> + Send + 'static {
        if !std::mem::replace(&mut self.logged, true) {
            let words = "a tool that is declared silent (NoPeer::new) sends something: it reaches nobody";
            seldom(words, |left_out| tracing::warn!(left_out, "{words}"));
        }
        std::future::ready(Err(SaidToBeSilent))
    }

    async fn receive(&mut self) -> Option<RxJsonRpcMessage<RoleServer>> {
        std::future::pending().await
    }

    fn close(&mut self) -> impl Future<Output = Result<(), SaidToBeSilent>> + Send {
        std::future::ready(Ok(()))
    }
}
