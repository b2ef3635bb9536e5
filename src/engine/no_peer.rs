//! Tools that send nothing before their result: their calls need no peer of their own.

use std::sync::atomic::{AtomicBool, Ordering};

use futures::future::BoxFuture;
use rmcp::model::{
    ClientCapabilities, ClientNotification, ClientRequest, Implementation, InitializeRequestParams,
    ListToolsRequest, ListToolsResult, ServerConfig, ServerResult, Tool,
};
use rmcp::service::{
    NotificationContext, RequestContext, RoleServer, RxJsonRpcMessage, TxJsonRpcMessage, serve_directly,
};
use rmcp::transport::Transport;
use rmcp::{ErrorData, Peer};

use super::call_transport::{Idle, Open};
use super::handler::Handler;
use crate::nearest::closest;
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
///     anynode::cli::main(anynode::program!(), || NoPeer::new(MyServer::default(), &["add", "look_up"]))
/// }
/// ```
///
/// A name that is no tool's is logged, when the node starts or when the tools are first listed: its tool would
/// still have a peer of its own for each call.
#[derive(Debug)]
pub struct NoPeer<H> {
    handler: H,
    tools: &'static [&'static str],
    /// Whether the names were held against a list of the tools.
    checked: AtomicBool,
}

impl<H> NoPeer<H> {
    /// The same handler, of which these tools send nothing before their result.
    pub const fn new(handler: H, tools: &'static [&'static str]) -> Self {
        Self {
            handler,
            tools,
            checked: AtomicBool::new(false),
        }
    }

    /// The names that a whole list of the tools does not have, in words.
    fn missing_from(&self, listed: &[Tool]) -> Vec<String> {
        let is_listed = |name: &str| listed.iter().any(|tool| tool.name == name);
        let missing = self.tools.iter().filter(|name| !is_listed(name));
        let words = missing.map(|name| {
            let names = listed.iter().map(|tool| &*tool.name);
            no_such_tool(name, closest(name, names, usize::MAX))
        });
        words.collect()
    }
}

fn no_such_tool(name: &str, meant: Option<&str>) -> String {
    let meant = meant.map(|meant| format!("; did you mean {meant:?}?"));
    format!(
        "NoPeer::new names {name:?}, which is no tool of this server{}",
        meant.unwrap_or_default()
    )
}

/// Whether a page of tools is all of them.
fn is_whole(request: &ListToolsRequest, result: &ListToolsResult) -> bool {
    let page = request.params.as_ref().and_then(|params| params.cursor.as_ref());
    page.is_none() && result.next_cursor.is_none()
}

impl<H: Handler> Handler for NoPeer<H> {
    fn request<'a>(
        &'a self,
        request: ClientRequest,
        context: RequestContext<RoleServer>,
    ) -> BoxFuture<'a, Result<ServerResult, ErrorData>> {
        if let ClientRequest::ListToolsRequest(list) = &request
            && !self.checked.load(Ordering::Relaxed)
        {
            let list = list.clone();
            return Box::pin(async move {
                let listed = self.handler.request(request, context).await;
                if let Ok(ServerResult::ListToolsResult(page)) = &listed
                    && is_whole(&list, page)
                    && !self.checked.swap(true, Ordering::Relaxed)
                {
                    for fault in self.missing_from(&page.tools) {
                        tracing::warn!("{fault}");
                    }
                }
                listed
            });
        }
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

    /// The names that are no tool's, if the handler finds others of them by name: not every one can.
    fn faults(&self) -> Vec<String> {
        let mut faults = self.handler.faults();
        let is_known = |name: &&&str| self.handler.tool(name).is_some();
        let (known, unknown): (Vec<_>, Vec<_>) = self.tools.iter().partition(is_known);
        if !known.is_empty() {
            self.checked.store(true, Ordering::Relaxed);
            faults.extend(unknown.into_iter().map(|name| no_such_tool(name, None)));
        }
        faults
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rmcp::ServerHandler;

    use super::*;

    fn tool(name: &'static str) -> Tool {
        Tool::new(name, "", Arc::default())
    }

    /// Two tools that it finds by their names.
    struct Finds;

    impl ServerHandler for Finds {
        fn get_tool(&self, name: &str) -> Option<Tool> {
            let known = ["count", "reset"].into_iter().find(|known| *known == name);
            known.map(tool)
        }
    }

    /// A handler that finds none.
    struct FindsNone;

    impl ServerHandler for FindsNone {}

    #[test]
    fn a_name_that_is_no_tools_is_told_at_the_start() {
        let faults = NoPeer::new(Finds, &["count", "rest"]).faults();
        assert_eq!(
            faults,
            ["NoPeer::new names \"rest\", which is no tool of this server"]
        );
        assert_eq!(NoPeer::new(Finds, &["count"]).faults(), [""; 0]);
        // Whether there are none, or none can be found, is not known.
        assert_eq!(NoPeer::new(Finds, &["cuont"]).faults(), [""; 0]);
        assert_eq!(NoPeer::new(FindsNone, &["count"]).faults(), [""; 0]);
    }

    #[test]
    fn a_name_that_is_not_listed_is_told_with_what_was_meant() {
        let handler = NoPeer::new(FindsNone, &["cuont", "reset"]);
        let missing = handler.missing_from(&[tool("count"), tool("reset")]);
        assert_eq!(
            missing,
            ["NoPeer::new names \"cuont\", which is no tool of this server; did you mean \"count\"?"]
        );
    }
}
