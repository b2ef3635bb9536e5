//! Bounds hold against every handler: on the time of calls and of notifications, and on the wait for slow
//! clients.

use std::sync::Arc;
use std::time::Duration;

use rmcp::model::{
    InitializeRequestParams, InitializeResult, LoggingLevel, LoggingMessageNotificationParam,
    ServerCapabilities, ServerConfig,
};
use rmcp::service::{NotificationContext, RequestContext};
use rmcp::{ErrorData, RoleServer, ServerHandler, tool, tool_handler, tool_router};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Notify;

use super::serve;
use crate::support::client::Client;
use crate::support::process::PATIENCE;

const MINUTES: Duration = Duration::from_secs(600);

/// Who makes a whole smaller in code, and leaves a peer's share of it alone, still leaves room for others.
#[tokio::test]
async fn a_peers_share_follows_what_it_is_a_part_of() {
    let running = serve(Unruly::default(), |settings| settings.http.connections_max = 5).await;
    let url = running.address().to_owned();
    let address = url.strip_prefix("http://").expect("an address");
    let mut answers = Vec::new();
    let mut open = Vec::new();
    for _ in 0..5 {
        let mut connection = TcpStream::connect(address).await.expect("a connection");
        let request = "GET /nowhere HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n";
        connection.write_all(request.as_bytes()).await.expect("a request");
        let mut status = [0; 12];
        connection.read_exact(&mut status).await.expect("an answer");
        answers.push(String::from_utf8_lossy(&status).into_owned());
        open.push(connection);
    }
    let (found, refused) = ("HTTP/1.1 404", "HTTP/1.1 429");
    assert_eq!(answers, [found, found, found, found, refused]);
    drop(open);
    running.stop().await;
}

/// A handler that does not end by itself, and tells when it was ended.
#[derive(Debug, Default, Clone)]
struct Unruly {
    ended: Arc<Notify>,
    tells_at_once: bool,
}

/// Lives as long as a handler's future.
struct Ends(Arc<Notify>);

impl Drop for Ends {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

#[tool_router]
impl Unruly {
    #[tool(description = "Sends large messages without end")]
    async fn flood(&self, context: RequestContext<RoleServer>) -> Result<String, ErrorData> {
        let _ends = Ends(Arc::clone(&self.ended));
        let large = json!("x".repeat(64 << 10));
        loop {
            tell(&context, &large).await?;
        }
    }
}

async fn tell(context: &RequestContext<RoleServer>, data: &serde_json::Value) -> Result<(), ErrorData> {
    let message = LoggingMessageNotificationParam::new(LoggingLevel::Error, data.clone());
    let told = context.peer.notify_logging_message(message).await;
    told.map_err(|error| ErrorData::internal_error(error.to_string(), None))
}

#[tool_handler]
impl ServerHandler for Unruly {
    fn get_info(&self) -> ServerConfig {
        let capabilities = ServerCapabilities::builder()
            .enable_tools()
            .enable_logging()
            .build();
        ServerConfig::new(capabilities)
    }

    async fn initialize(
        &self,
        request: InitializeRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<InitializeResult, ErrorData> {
        if self.tells_at_once {
            for number in 0..200 {
                tell(&context, &json!(number)).await?;
            }
        }
        self.negotiate_initialize(&request)
    }

    async fn on_roots_list_changed(&self, _context: NotificationContext<RoleServer>) {
        let _ends = Ends(Arc::clone(&self.ended));
        tokio::time::sleep(MINUTES).await;
    }
}

impl Unruly {
    async fn has_ended(&self) {
        let ended = tokio::time::timeout(PATIENCE, self.ended.notified()).await;
        ended.expect("the handler is stopped");
    }
}

#[tokio::test]
async fn a_client_that_does_not_read_suspends_neither_timeout_nor_cancellation() {
    let flood = || json!({"name": "flood", "arguments": {}});
    let handler = Unruly::default();
    let node = serve(handler.clone(), |settings| {
        settings.call.timeout = Duration::from_secs(1)
    })
    .await;
    let client = Client::legacy(node.address());
    let (_, unread) = client.stream("tools/call", flood()).await;
    handler.has_ended().await;
    drop(unread);
    node.stop().await;

    let node = serve(handler.clone(), |settings| settings.call.timeout = MINUTES).await;
    let client = Client::legacy(node.address());
    let (id, unread) = client.stream("tools/call", flood()).await;
    // Long enough for every queue and buffer on the way to fill up.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let cancelled = client
        .notify("notifications/cancelled", json!({"requestId": id}))
        .await;
    assert_eq!(cancelled.status, 202);
    handler.has_ended().await;
    drop(unread);
    node.stop().await;
}

#[tokio::test]
async fn a_handler_is_stopped_that_takes_too_long_over_a_notification() {
    let handler = Unruly::default();
    let node = serve(handler.clone(), |settings| {
        settings.call.timeout = Duration::from_millis(300)
    })
    .await;
    let client = Client::legacy(node.address());
    let sent = client.notify("notifications/roots/list_changed", json!({})).await;
    assert_eq!(sent.status, 202);
    handler.has_ended().await;
    node.stop().await;
}

#[tokio::test]
async fn a_handler_may_log_while_it_initializes() {
    let handler = Unruly {
        tells_at_once: true,
        ..Unruly::default()
    };
    let node = serve(handler, |_| {}).await;
    Client::legacy(node.address()).initialize().await.ok();
    node.stop().await;
}
