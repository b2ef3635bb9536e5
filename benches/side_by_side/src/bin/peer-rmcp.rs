//! rmcp's own HTTP server. `PEER_MODE` is `sessions` or `stateless`; the latter serves 2026-07-28 as well, and answers with
//! one JSON body where it can, which is the faster form.

use std::sync::Arc;

use axum::Router;
use rmcp::handler::server::wrapper::Parameters;
use rmcp::model::{
    CallToolResult, ContentBlock, ProgressNotificationParam, ServerCapabilities, ServerConfig,
};
use rmcp::service::RequestContext;
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};
use rmcp::{ErrorData, RoleServer, ServerHandler, tool, tool_handler, tool_router};
use side_by_side::peer::{Countdown, Echo, serve};

/// One for each session or request, as rmcp has it.
#[derive(Clone)]
struct Server;

#[tool_router]
impl Server {
    #[tool(description = "Returns the text it is given, unchanged.")]
    fn echo(&self, Parameters(Echo { text }): Parameters<Echo>) -> CallToolResult {
        CallToolResult::success(vec![ContentBlock::text(text)])
    }

    #[tool(description = "Counts down and reports each step.")]
    async fn countdown(
        &self,
        Parameters(countdown): Parameters<Countdown>,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResult, ErrorData> {
        let token = context.meta.get_progress_token();
        for step in 1..=countdown.from {
            countdown.pause().await;
            if let Some(token) = &token {
                let progress = ProgressNotificationParam::new(token.clone(), step.into())
                    .with_total(countdown.from.into())
                    .with_message("to go");
                let told = context.peer.notify_progress(progress).await;
                told.map_err(|error| ErrorData::internal_error(error.to_string(), None))?;
            }
        }
        Ok(CallToolResult::success(vec![ContentBlock::text(
            countdown.from.to_string(),
        )]))
    }
}

#[tool_handler]
impl ServerHandler for Server {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let sessions = std::env::var("PEER_MODE")? == "sessions";
    let config = StreamableHttpServerConfig::default()
        .with_legacy_session_mode(sessions)
        .with_json_response(!sessions);
    let service = StreamableHttpService::new(|| Ok(Server), Arc::new(LocalSessionManager::default()), config);
    serve(Router::new().route_service("/mcp", service)).await
}
