//! A handler that declares subscriptions need not write any code for them; one that does may still refuse.

use anynode::session::Caller;
use rmcp::handler::server::wrapper::Parameters;
use rmcp::model::{
    ErrorCode, ServerCapabilities, ServerConfig, SubscribeRequestMethod, SubscribeRequestParams,
};
use rmcp::service::RequestContext;
use rmcp::{ErrorData, RoleServer, ServerHandler, tool, tool_handler, tool_router};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::support::client::Client;
use crate::support::inside::Inside;

const OPEN: &str = "test://open";
const NEXT: &str = "test://next";

#[derive(Debug, Deserialize, JsonSchema)]
struct Changed {
    uri: String,
}

fn declared() -> ServerConfig {
    let capabilities = ServerCapabilities::builder()
        .enable_tools()
        .enable_resources()
        .enable_resources_subscribe()
        .build();
    ServerConfig::new(capabilities)
}

/// Declares subscriptions, and leaves the rest to the library.
#[derive(Debug, Clone)]
struct Declares;

#[tool_router]
impl Declares {
    #[tool(description = "Announces a change")]
    async fn change(&self, Parameters(Changed { uri }): Parameters<Changed>, caller: Caller) -> String {
        caller.announcer.resource_updated(&uri).await;
        "announced".into()
    }
}

#[tool_handler]
impl ServerHandler for Declares {
    fn get_info(&self) -> ServerConfig {
        declared()
    }
}

/// Declares none.
#[derive(Debug, Clone)]
struct Silent;

impl ServerHandler for Silent {}

/// Declares them, and refuses some resources, each with another error.
#[derive(Debug, Clone)]
struct Refuses;

impl ServerHandler for Refuses {
    fn get_info(&self) -> ServerConfig {
        declared()
    }

    async fn subscribe(
        &self,
        request: SubscribeRequestParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        match request.uri.as_str() {
            OPEN => Ok(()),
            "test://other-method" => Err(ErrorData::new(
                ErrorCode::METHOD_NOT_FOUND,
                "use test://open",
                None,
            )),
            "test://default" => Err(ErrorData::method_not_found::<SubscribeRequestMethod>()),
            _ => Err(ErrorData::resource_not_found("no such resource", None)),
        }
    }
}

fn uri(uri: &str) -> Value {
    json!({ "uri": uri })
}

#[tokio::test]
async fn subscriptions_that_are_declared_work_on_every_node() {
    for nodes in Inside::stages(Declares).await {
        let client = nodes.client();
        let mut standing = client.listen(None).await;
        let subscribed = client.request("resources/subscribe", uri(OPEN)).await.ok();
        assert_eq!(subscribed.result(), &json!({}));
        let changer = nodes.client();
        changer.call("change", uri(OPEN)).await.ok();
        let told = standing.method("notifications/resources/updated").await;
        assert_eq!(told["params"]["uri"], OPEN);
        let ended = client.request("resources/unsubscribe", uri(OPEN)).await.ok();
        assert_eq!(ended.result(), &json!({}));
        client.request("resources/subscribe", uri(NEXT)).await.ok();
        // It is told of the second of these only.
        for changed in [OPEN, NEXT] {
            changer.call("change", uri(changed)).await.ok();
        }
        let told = standing.method("notifications/resources/updated").await;
        assert_eq!(told["params"]["uri"], NEXT);
    }
}

#[tokio::test]
async fn listeners_get_what_is_declared_of_what_they_ask_for() {
    for nodes in Inside::stages(Declares).await {
        let modern = Client::modern(nodes.url(0));
        let asked = json!({"notifications": {"resourceSubscriptions": [OPEN], "toolsListChanged": true}});
        let (_id, mut listener) = modern.stream("subscriptions/listen", asked).await;
        let acknowledged = listener.method("notifications/subscriptions/acknowledged").await;
        let accepted = json!({"resourceSubscriptions": [OPEN]});
        assert_eq!(
            acknowledged["params"]["notifications"], accepted,
            "{acknowledged}"
        );
        Client::modern(nodes.url(1)).call("change", uri(OPEN)).await.ok();
        let told = listener.method("notifications/resources/updated").await;
        assert_eq!(told["params"]["uri"], OPEN);
    }
}

#[tokio::test]
async fn what_is_not_declared_is_no_method() {
    let nodes = Inside::of(1, Silent).await;
    for method in ["resources/subscribe", "resources/unsubscribe"] {
        let refused = nodes.client().request(method, uri(OPEN)).await;
        assert_eq!(refused.code(), -32601, "{}", refused.body);
    }
    let asked = json!({"notifications": {"resourceSubscriptions": [OPEN]}});
    let refused = Client::modern(nodes.url(0))
        .request("subscriptions/listen", asked)
        .await;
    assert_eq!(refused.code(), -32601, "{}", refused.body);
}

#[tokio::test]
async fn a_handler_that_refuses_is_obeyed() {
    let nodes = Inside::of(2, Refuses).await;
    let client = nodes.client();
    for (resource, code) in [("test://none", -32002), ("test://other-method", -32601)] {
        let refused = client.request("resources/subscribe", uri(resource)).await;
        assert_eq!(refused.code(), code, "{}", refused.body);
    }
    // What rmcp's default says while the capability is declared is no refusal.
    for resource in [OPEN, "test://default"] {
        client.request("resources/subscribe", uri(resource)).await.ok();
    }
    let asked = ["test://none", "test://other-method", OPEN];
    let asked = json!({"notifications": {"resourceSubscriptions": asked}});
    let (_id, mut listener) = Client::modern(nodes.url(0))
        .stream("subscriptions/listen", asked)
        .await;
    let acknowledged = listener.method("notifications/subscriptions/acknowledged").await;
    let accepted = json!({"resourceSubscriptions": [OPEN]});
    assert_eq!(
        acknowledged["params"]["notifications"], accepted,
        "{acknowledged}"
    );
}
