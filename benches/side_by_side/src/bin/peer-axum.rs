//! The limit: plain axum that parses the request, echoes, and knows nothing of MCP.

use axum::routing::post;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use side_by_side::peer::{Echo, serve};

#[derive(Deserialize)]
struct Request {
    jsonrpc: String,
    id: u64,
    method: String,
    params: Params,
}

#[derive(Deserialize)]
struct Params {
    name: String,
    arguments: Echo,
}

#[derive(Serialize)]
struct Response {
    jsonrpc: &'static str,
    id: u64,
    result: Called,
}

#[derive(Serialize)]
struct Called {
    content: [Text; 1],
}

#[derive(Serialize)]
struct Text {
    r#type: &'static str,
    text: String,
}

async fn answer(Json(request): Json<Request>) -> Result<Json<Response>, axum::http::StatusCode> {
    let asked = (
        request.jsonrpc.as_str(),
        request.method.as_str(),
        request.params.name.as_str(),
    );
    if asked != ("2.0", "tools/call", "echo") {
        return Err(axum::http::StatusCode::BAD_REQUEST);
    }
    let text = request.params.arguments.text;
    Ok(Json(Response {
        jsonrpc: "2.0",
        id: request.id,
        result: Called {
            content: [Text { r#type: "text", text }],
        },
    }))
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    serve(Router::new().route("/mcp", post(answer))).await
}
