//! An MCP server inside an existing axum program: beside its own routes, below its own layers, on its own listener, and
//! drained with it. Run it on as many nodes as you like:
//!
//! ```sh
//! PORT=3000 cargo run --example embedded
//! curl http://127.0.0.1:3000/orders
//! ```
//!
//! MCP clients connect to `http://127.0.0.1:3000/agents/mcp`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anynode::config::Sources;
use anynode::session::Caller;
use anynode::{App, Settings};
use axum::Router;
use axum::extract::State;
use axum::http::{HeaderName, HeaderValue};
use axum::middleware::map_response;
use axum::response::Response;
use axum::routing::get;
use rmcp::{tool, tool_router};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

/// What the program had before, and its tools use too.
#[derive(Clone, Default)]
struct Orders {
    placed: Arc<AtomicU64>,
}

#[tool_router(server_handler)]
impl Orders {
    /// Places an order, and says how many this node has taken.
    #[tool]
    fn place_order(&self, caller: Caller) -> String {
        let placed = self.placed.fetch_add(1, Ordering::Relaxed) + 1;
        format!("{} has taken {placed} orders", caller.node)
    }
}

/// A route of the program's own.
async fn orders(State(orders): State<Orders>) -> String {
    format!("{} orders\n", orders.placed.load(Ordering::Relaxed))
}

/// A layer of the program's own.
async fn sign(mut response: Response) -> Response {
    let (name, value) = (
        HeaderName::from_static("x-shop"),
        HeaderValue::from_static("orders"),
    );
    response.headers_mut().insert(name, value);
    response
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let mut terminate = signal(SignalKind::terminate())?;
    // The same settings as those of `mcp-server`: REDIS_URL, PORT, MCP_SESSION__TTL and so on.
    let settings = Settings::load(Sources::from_process())?;
    let listener = TcpListener::bind((settings.host.as_str(), settings.port)).await?;
    let shop = Orders::default();

    let tools = shop.clone();
    let (mcp, node) = App::builder()
        .settings(settings)
        .handler(|| tools)
        .build()
        .await?;

    let program = Router::new()
        .route("/orders", get(orders))
        .with_state(shop)
        .nest("/agents", mcp)
        .merge(node.probes())
        .layer(map_response(sign));

    let (broken, draining) = (node.broken(), node.drain());
    let program = program.into_make_service_with_connect_info::<SocketAddr>();
    let server = axum::serve(listener, program).with_graceful_shutdown(async move {
        tokio::select! {
            _told = terminate.recv() => {}
            error = broken => tracing::error!(%error, "the node has ended"),
        }
        draining.await;
    });
    tokio::select! {
        served = async { server.await } => served?,
        // A client that takes nothing may hold its connection for longer.
        () = node.drained() => {}
    }
    node.stop().await;
    Ok(())
}
