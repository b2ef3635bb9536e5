//! Bounds hold whatever a handler does: on the time of calls and of notifications, and on the wait for slow clients.

use std::sync::Arc;
use std::time::Duration;

use rmcp::model::{
    InitializeRequestParams, InitializeResult, LoggingLevel, LoggingMessageNotificationParam,
    ServerCapabilities, ServerConfig,
};
use rmcp::service::{NotificationContext, RequestContext};
use rmcp::{ErrorData, RoleServer, ServerHandler, tool, tool_handler, tool_router};
use serde_json::json;
use tokio::sync::Notify;

use super::serve;
use crate::support::client::Client;
use crate::support::process::PATIENCE;

const MINUTES: Duration = Duration::from_secs(600);

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
