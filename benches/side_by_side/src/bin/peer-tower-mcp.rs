//! tower-mcp with sessions in memory; requests of 2026-07-28 are served without one.

use side_by_side::peer::{Countdown, Echo, serve};
use tower_mcp::extract::{Context, Json};
use tower_mcp::transport::http::{HttpTransport, SessionConfig, SubscriptionLimits};
use tower_mcp::{CallToolResult, McpRouter, ToolBuilder};

/// More than any workload opens: what is measured is the work, not the bound.
const SESSIONS_MAX: usize = 1_000_000;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let echo = ToolBuilder::new("echo")
        .description("Returns the text it is given, unchanged.")
        .read_only()
        .handler(|Echo { text }: Echo| async move { Ok(CallToolResult::text(text)) })
        .build();
    let countdown = ToolBuilder::new("countdown")
        .description("Counts down and reports each step.")
        .extractor_handler(
            (),
            |context: Context, Json(countdown): Json<Countdown>| async move {
                for step in 1..=countdown.from {
                    countdown.pause().await;
                    let (progress, total) = (f64::from(step), f64::from(countdown.from));
                    context
                        .report_progress(progress, Some(total), Some("to go"))
                        .await;
                }
                Ok(CallToolResult::text(countdown.from.to_string()))
            },
        )
        .build();
    let router = McpRouter::new()
        .server_info("tower-mcp", "0.25")
        .tool(echo)
        .tool(countdown);
    let transport = HttpTransport::new(router)
        .session_config(SessionConfig::default().max_sessions(SESSIONS_MAX))
        .subscription_limits(SubscriptionLimits::default().max_active(SESSIONS_MAX));
    serve(transport.into_router_at("/mcp")).await
}
