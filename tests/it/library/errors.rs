//! A tool passes errors of its session and notebooks on with `?`, and its client can act on them.

use anynode::session::{Caller, Session};
use rmcp::handler::server::wrapper::Parameters;
use rmcp::{ErrorData, ServerHandler, tool, tool_handler, tool_router};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use crate::support::client::Client;
use crate::support::inside::Inside;

/// Each tool meets one kind of error, and says nothing of it itself.
#[derive(Debug, Clone)]
struct Careless;

#[derive(Debug, Deserialize, JsonSchema)]
struct Value {
    key: String,
    bytes: usize,
}

#[tool_router]
impl Careless {
    #[tool(description = "Writes a value into the session")]
    async fn keep(
        &self,
        Parameters(Value { key, bytes }): Parameters<Value>,
        session: Session,
    ) -> Result<String, ErrorData> {
        session.set(&key, &"x".repeat(bytes)).await?;
        Ok("kept".into())
    }

    #[tool(description = "Reads the value as a number")]
    async fn number(&self, session: Session) -> Result<String, ErrorData> {
        let number: Option<u64> = session.get("text").await?;
        Ok(format!("{number:?}"))
    }

    #[tool(description = "Opens a notebook")]
    async fn open(&self, caller: Caller) -> Result<String, ErrorData> {
        let (handle, _notebook) = caller.notebooks.open().await?;
        Ok(handle)
    }
}

#[tool_handler]
impl ServerHandler for Careless {}

#[tokio::test]
async fn a_tools_own_question_mark_says_what_the_client_can_do() {
    let nodes = Inside::with(2, Careless, |settings| {
        settings.notebook.peer_max = 1;
        settings.store.timeout = std::time::Duration::from_millis(300);
    })
    .await;
    let client = nodes.client();
    for (key, bytes, words) in [
        ("", 1, "1 to 256 bytes"),
        ("large", 300 << 10, "more than 262144 bytes"),
    ] {
        let refused = client.call("keep", json!({"key": key, "bytes": bytes})).await;
        assert_eq!(
            (refused.status, refused.code()),
            (200, -32602),
            "{}",
            refused.body
        );
        assert!(refused.body.contains(words), "{}", refused.body);
    }
    client.call("keep", json!({"key": "text", "bytes": 3})).await.ok();
    let wrong = client.call("number", json!({})).await;
    assert_eq!((wrong.status, wrong.code()), (200, -32603), "{}", wrong.body);
    assert!(!wrong.body.contains("xxx"), "{}", wrong.body);
    client.call("open", json!({})).await.ok();
    let limit = client.call("open", json!({})).await;
    assert_eq!((limit.status, limit.code()), (429, -32000), "{}", limit.body);
    assert!(limit.body.contains("notebook.peer_max"), "{}", limit.body);
    assert!(limit.header("retry-after").is_some());

    // A store out of reach is an outage, and no error of the server.
    nodes.redis().expect("a Redis").stop().await;
    for client in [client, Client::modern(nodes.url(0))] {
        let away = client.call("open", json!({})).await;
        assert_eq!((away.status, away.code()), (503, -32000), "{}", away.body);
        assert_eq!(away.error()["data"]["retryAfterSeconds"], 1, "{}", away.body);
        assert!(away.body.contains("out of reach"), "{}", away.body);
    }
}
