//! `anynode::testing`, as those use it who test a server of their own.

use std::time::Duration;

use anynode::Era;
use anynode::session::{Caller, Session};
use anynode::testing::TestServer;
use rmcp::model::{
    CallToolRequestParams, ClientCapabilities, ClientConfig, ElicitRequestParams, ElicitResult,
    ElicitationAction, Implementation,
};
use rmcp::service::{RequestContext, RoleClient, RunningService};
use rmcp::{ClientHandler, ErrorData, tool, tool_router};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;
use tokio::time::timeout;

use crate::support::http::http_get;
use crate::support::process::PATIENCE;

/// What is tested.
struct Till;

#[derive(Deserialize, JsonSchema)]
struct Sure {
    sure: bool,
}

#[tool_router(server_handler)]
impl Till {
    /// Names the node that answers.
    #[tool]
    fn node(&self, caller: Caller) -> String {
        caller.node.to_string()
    }

    /// Counts in the session.
    #[tool]
    async fn count(&self, session: Session) -> Result<String, ErrorData> {
        let add_one = |count: Option<u64>| Some(count.unwrap_or(0) + 1);
        Ok(session.update("count", add_one).await?.unwrap_or(0).to_string())
    }

    /// Asks the person.
    #[tool]
    async fn confirm(&self, caller: Caller) -> Result<String, ErrorData> {
        let Sure { sure } = caller.ask("Really?").await?;
        Ok(sure.to_string())
    }

    /// Takes its time; another node may do it again.
    #[tool(annotations(read_only_hint = true))]
    async fn slow(&self, caller: Caller) -> String {
        tokio::time::sleep(Duration::from_secs(2)).await;
        caller.node.to_string()
    }
}

/// A client whose person agrees.
#[derive(Debug, Clone, Default)]
struct Agrees;

impl ClientHandler for Agrees {
    async fn create_elicitation(
        &self,
        _form: ElicitRequestParams,
        _context: RequestContext<RoleClient>,
    ) -> Result<ElicitResult, ErrorData> {
        let mut answer = ElicitResult::new(ElicitationAction::Accept);
        answer.content = Some(json!({"sure": true}));
        Ok(answer)
    }

    fn get_info(&self) -> ClientConfig {
        let capabilities = ClientCapabilities::builder().enable_elicitation().build();
        ClientConfig::new(capabilities, Implementation::new("agrees", "1"))
    }
}

async fn call<C: ClientHandler>(client: &RunningService<RoleClient, C>, tool: &'static str) -> String {
    let called = timeout(PATIENCE, client.call_tool(CallToolRequestParams::new(tool)));
    let result = called.await.expect("in time").expect("a result");
    result.content[0].as_text().expect("a text").text.clone()
}

#[tokio::test]
async fn clients_of_both_eras_meet_each_node_and_are_asked() {
    let server = TestServer::of(2, || Till).await;
    for era in [Era::Legacy, Era::Modern] {
        let client = server.connect(era, Agrees).await;
        let mut nodes = Vec::new();
        for _ in 0..4 {
            nodes.push(call(&client, "node").await);
        }
        nodes.sort();
        nodes.dedup();
        assert_eq!(nodes.len(), 2, "{era}");
        assert_eq!(call(&client, "confirm").await, "true", "{era}");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_session_survives_the_death_of_a_node_and_so_does_a_call() {
    let mut server = TestServer::of(2, || Till).await;
    let client = server.connect(Era::Legacy, ()).await;
    assert_eq!(call(&client, "count").await, "1");
    let slow = tokio::spawn({
        let peer = client.peer().clone();
        async move { peer.call_tool(CallToolRequestParams::new("slow")).await }
    });
    tokio::time::sleep(Duration::from_millis(500)).await;
    server.kill(0).await;
    server.kill(0).await; // it is dead already
    assert_eq!(call(&client, "count").await, "2");
    let survivor = call(&client, "node").await;
    let ran = timeout(PATIENCE, slow).await.expect("in time").expect("no panic");
    let ran = ran.expect("a result");
    assert_eq!(ran.content[0].as_text().expect("a text").text, survivor);
    server.stop().await;
}

#[tokio::test]
async fn a_node_that_is_held_up_does_nothing_until_it_is_resumed() {
    let mut server = TestServer::start(|| Till).await;
    let client = server.connect(Era::Modern, ()).await;
    call(&client, "node").await;
    server.pause(0).await;
    let called = client.call_tool(CallToolRequestParams::new("node"));
    let held = timeout(Duration::from_millis(500), called).await;
    assert!(held.is_err(), "a node that is held up does not answer");
    server.resume(0);
    call(&client, "node").await;
    server.stop().await;
}

#[tokio::test]
async fn a_node_of_a_test_is_built_as_any_other() {
    let server = TestServer::with(1, |app| {
        let mut settings = TestServer::settings();
        settings
            .auth
            .tokens
            .insert("alice".into(), "a-long-enough-token".into());
        app.settings(settings).handler(|| Till)
    })
    .await;
    let refused = http_get(format!("{}/mcp", server.node_url(0)))
        .await
        .expect("an answer");
    assert_eq!(refused.status().as_u16(), 401);
    let through = http_get(format!("{}/health", server.url()))
        .await
        .expect("an answer");
    assert_eq!(through.status().as_u16(), 200);
    server.stop().await;
}
