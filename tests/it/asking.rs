//! Asking the client in the middle of a call, in either era: `caller.ask`, `sample`, `roots` and `inputs`. The
//! rounds of one call reach different nodes.
#![expect(
    deprecated,
    reason = "SEP-2577 deprecates sampling; clients of all revisions still have it"
)]

use std::time::Duration;

use anynode::NoPeer;
use anynode::session::{AskError, Caller};
use rmcp::handler::server::wrapper::Parameters;
use rmcp::model::{CreateMessageRequestParams, InputRequests, SamplingMessage};
use rmcp::{ErrorData, tool, tool_router};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::support::client::Client;
use crate::support::inside::Inside;

/// How often a call is looked after that hears of nothing.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Asks in each way.
#[derive(Debug, Clone)]
struct Asker;

#[derive(Debug, Deserialize, JsonSchema)]
struct Name {
    name: String,
}

#[derive(Debug, Deserialize, JsonSchema)]
struct Age {
    years: u8,
}

#[derive(Debug, Deserialize, JsonSchema)]
struct Greeting {
    /// In which words.
    #[serde(default)]
    words: String,
}

#[tool_router(server_handler)]
impl Asker {
    /// Asks twice, one after the other.
    #[tool]
    async fn register(
        &self,
        Parameters(greeting): Parameters<Greeting>,
        caller: Caller,
    ) -> Result<String, ErrorData> {
        let Name { name } = caller.ask("Who?").await?;
        let Age { years } = caller.ask(format!("How old, {name}?")).await?;
        Ok(format!("{} {name}, {years}", greeting.words))
    }

    /// Asks, and goes on without the answer.
    #[tool]
    async fn shrug(&self, caller: Caller) -> String {
        match caller.ask::<Name>("Who?").await {
            Ok(Name { name }) => name,
            Err(error) => format!("went on: {error}"),
        }
    }

    /// Asks, and turns the error into another.
    #[tool]
    async fn wrap(&self, caller: Caller) -> Result<String, String> {
        let answer = caller.ask::<Name>("Who?").await;
        answer
            .map(|Name { name }| name)
            .map_err(|error| format!("wrapped: {error}"))
    }

    /// Returns the library's own error.
    #[tool]
    async fn own(&self, caller: Caller) -> Result<String, AskError> {
        caller.ask("Who?").await.map(|Name { name }| name)
    }

    /// Has the client's model write, and looks where the client works.
    #[tool]
    async fn survey(&self, caller: Caller) -> Result<String, AskError> {
        let prompt = CreateMessageRequestParams::new(vec![SamplingMessage::user_text("Write")], 10);
        let wrote = caller.sample(prompt).await?;
        let roots = caller.roots().await?;
        let uris: Vec<_> = roots.iter().map(|root| root.uri.as_str()).collect();
        Ok(format!("{} in {}", wrote.model, uris.join(", ")))
    }

    /// Asks for nothing.
    #[tool]
    async fn nothing(&self, caller: Caller) -> Result<String, AskError> {
        let answers = caller.inputs(InputRequests::new()).await?;
        Ok(format!("{} answers", answers.len()))
    }

    /// Is no form.
    #[tool]
    async fn formless(&self, caller: Caller) -> Result<String, AskError> {
        caller
            .ask("What?")
            .await
            .map(|value: Vec<Name>| format!("{value:?}"))
    }

    /// Is said to be silent.
    #[tool]
    async fn silent(&self, caller: Caller) -> Result<String, AskError> {
        caller.ask("Who?").await.map(|Name { name }| name)
    }
}

fn capable(client: Client) -> Client {
    client.capabilities(json!({"elicitation": {}, "sampling": {}, "roots": {}}))
}

fn filled(content: Value) -> Value {
    json!({"action": "accept", "content": content})
}

/// Calls a tool, answers what it asks, each round on the next of the nodes, and returns the last result.
async fn in_rounds(nodes: &Inside, tool: &str, arguments: Value, answers: &[Value]) -> Value {
    let mut params = json!({"name": tool, "arguments": arguments});
    for (round, answer) in answers.iter().enumerate() {
        let client = capable(Client::modern(nodes.url(round)));
        let asked = client.request("tools/call", params.clone()).await.ok();
        assert_eq!(asked.result()["resultType"], "input_required", "round {round}");
        params["requestState"] = asked.result()["requestState"].clone();
        // Some clients leave empty arguments out.
        if params["arguments"] == json!({}) {
            params.as_object_mut().unwrap().remove("arguments");
        }
        params["inputResponses"] = json!({"input": answer});
    }
    let client = capable(Client::modern(nodes.url(answers.len())));
    let last = client.request("tools/call", params).await;
    last.response()["result"].clone()
}

fn text(result: &Value) -> &str {
    result["content"][0]["text"].as_str().unwrap_or_default()
}

#[tokio::test]
async fn a_modern_client_is_asked_round_by_round_on_any_node() {
    let nodes = Inside::of(3, Asker).await;
    let answers = [filled(json!({"name": "Ada"})), filled(json!({"years": 36}))];
    let result = in_rounds(&nodes, "register", json!({"words": "Hello"}), &answers).await;
    assert_eq!(text(&result), "Hello Ada, 36");
    let wrote = json!({"role": "assistant", "model": "m", "content": {"type": "text", "text": "w"}});
    let roots = json!({"roots": [{"uri": "file:///a"}, {"uri": "file:///b"}]});
    let result = in_rounds(&nodes, "survey", json!({}), &[wrote, roots]).await;
    assert_eq!(text(&result), "m in file:///a, file:///b");
    for tool in ["wrap", "own"] {
        let result = in_rounds(&nodes, tool, json!({}), &[filled(json!({"name": "Ada"}))]).await;
        assert_eq!(text(&result), "Ada", "{tool}");
    }
    nodes.stop().await;
}

#[tokio::test]
async fn a_legacy_client_is_asked_by_requests_on_any_node() {
    for nodes in Inside::stages(Asker).await {
        let client = capable(nodes.client());
        let call = json!({"name": "register", "arguments": {"words": "Hello"}});
        let (id, mut stream) = client.stream("tools/call", call).await;
        for answer in [json!({"name": "Ada"}), json!({"years": 36})] {
            let asked = stream.method("elicitation/create").await;
            client.respond(&asked["id"], filled(answer)).await;
        }
        assert_eq!(text(&stream.answer_to(&id).await["result"]), "Hello Ada, 36");
        nodes.stop().await;
    }
}

#[tokio::test]
async fn a_person_who_does_not_answer_is_told_of_in_words() {
    let nodes = Inside::of(1, Asker).await;
    for (action, words) in [
        ("decline", "the person declined to answer"),
        ("cancel", "the person closed the question without an answer"),
    ] {
        let answer = json!({"action": action});
        let result = in_rounds(&nodes, "own", json!({}), std::slice::from_ref(&answer)).await;
        assert_eq!((text(&result), &result["isError"]), (words, &json!(true)));
        let client = capable(nodes.client());
        let (id, mut stream) = client.stream("tools/call", json!({"name": "own"})).await;
        let asked = stream.method("elicitation/create").await;
        client.respond(&asked["id"], answer).await;
        let result = stream.answer_to(&id).await["result"].clone();
        assert_eq!((text(&result), &result["isError"]), (words, &json!(true)));
    }
    nodes.stop().await;
}

#[tokio::test]
async fn a_tool_that_goes_on_without_the_answer_has_its_own_result() {
    let nodes = Inside::of(1, Asker).await;
    let client = capable(Client::modern(nodes.url(0)));
    let shrugged = client.call("shrug", json!({})).await.ok();
    assert!(shrugged.text().starts_with("went on: "), "{}", shrugged.text());
    nodes.stop().await;
}

#[tokio::test]
async fn an_answer_counts_only_for_its_principal_call_and_question() {
    let nodes = Inside::of(2, Asker).await;
    let client = capable(Client::modern(nodes.url(0)));
    let other = capable(Client::modern(nodes.url(1)));
    let call = |words: &str| json!({"name": "register", "arguments": {"words": words}});
    let first = client.request("tools/call", call("Hello")).await.ok();
    let state = first.result()["requestState"].clone();
    let with = |mut params: Value, answer: Value| {
        params["requestState"] = state.clone();
        params["inputResponses"] = json!({"input": answer});
        params
    };
    let ada = || filled(json!({"name": "Ada"}));
    // Another call, or another tool: not the state of that.
    for params in [
        with(call("Bye"), ada()),
        with(json!({"name": "own", "arguments": {"words": "Hello"}}), ada()),
    ] {
        assert_eq!(other.request("tools/call", params).await.code(), -32602);
    }
    // What is no answer is the request's fault.
    let unfit = other
        .request("tools/call", with(call("Hello"), json!(12345)))
        .await;
    assert_eq!(unfit.code(), -32602);
    // The answer to the first question is not taken for one to the second.
    let second = other.request("tools/call", with(call("Hello"), ada())).await.ok();
    let mut third = call("Hello");
    third["requestState"] = second.result()["requestState"].clone();
    let again = client.request("tools/call", third.clone()).await.ok();
    let asked = &again.result()["inputRequests"]["input"]["params"]["message"];
    assert_eq!(asked, "How old, Ada?", "without an answer it is asked again");
    third["requestState"] = json!(format!("{}x", third["requestState"].as_str().unwrap()));
    assert_eq!(client.request("tools/call", third).await.code(), -32602);
    nodes.stop().await;
}

#[tokio::test]
async fn a_client_that_did_not_declare_it_is_not_asked() {
    let nodes = Inside::of(1, Asker).await;
    let modern = Client::modern(nodes.url(0)).call("own", json!({})).await;
    assert_eq!(modern.code(), -32021);
    assert_eq!(
        modern.error()["data"],
        json!({"requiredCapabilities": {"elicitation": {}}})
    );
    let legacy = nodes.client().call("own", json!({})).await;
    assert_eq!(
        legacy.text(),
        "this client cannot be asked for that: it did not declare the `elicitation` capability"
    );
    nodes.stop().await;
}

/// A handler must be able to tell a person who is slow from one who refuses.
#[tokio::test]
async fn a_client_that_does_not_answer_in_time_did_not_refuse() {
    let nodes = Inside::with(1, Asker, |settings| {
        settings.call.answer_timeout = Duration::from_millis(50);
    })
    .await;
    let client = capable(nodes.client());
    let (id, mut stream) = client.stream("tools/call", json!({"name": "own"})).await;
    let result = stream.answer_to(&id).await["result"].clone();
    assert_eq!(text(&result), "the client did not answer in time: try again");
    nodes.stop().await;
}

/// A call that was the first to say that its client is initialized did not hear of the session's end.
#[tokio::test]
async fn a_call_that_waits_for_an_answer_ends_with_its_session() {
    let nodes = Inside::of(1, Asker).await;
    let client = capable(nodes.client());
    let opened = client.initialize().await.ok();
    let id = opened.header("mcp-session-id").expect("a session");
    let client = client.in_session(id);
    let (_, mut stream) = client.stream("tools/call", json!({"name": "own"})).await;
    stream.method("elicitation/create").await;
    assert_eq!(client.delete().await.status, 204);
    let ended = timeout(LOOK_EVERY / 2, nodes.no_call_is_left()).await;
    assert!(ended.is_ok(), "the call goes on until somebody looks");
    nodes.stop().await;
}

/// What is written by place and not by name is no form that anybody has filled in.
#[tokio::test]
async fn a_list_is_no_answer_to_a_form() {
    let nodes = Inside::of(1, Asker).await;
    let unfit = json!({"action": "accept", "content": ["Ada"]});
    let client = capable(Client::modern(nodes.url(0)));
    for input in [unfit.clone(), json!(["accept", {"name": "Ada"}, null])] {
        let params = json!({"name": "own", "inputResponses": {"input": input}});
        assert_eq!(client.request("tools/call", params).await.code(), -32602);
    }
    let client = capable(nodes.client());
    let (id, mut stream) = client.stream("tools/call", json!({"name": "own"})).await;
    let asked = stream.method("elicitation/create").await;
    client.respond(&asked["id"], unfit).await;
    let result = stream.answer_to(&id).await["result"].clone();
    assert_eq!(result["isError"], true, "{result}");
    nodes.stop().await;
}

#[tokio::test]
async fn who_asks_for_nothing_gets_nothing_at_once() {
    let nodes = Inside::of(1, Asker).await;
    for client in [nodes.client(), Client::modern(nodes.url(0))] {
        assert_eq!(client.call("nothing", json!({})).await.ok().text(), "0 answers");
    }
    nodes.stop().await;
}

#[tokio::test]
async fn mistakes_of_the_tool_and_of_its_mounting_are_said() {
    let nodes = Inside::of(1, Asker).await;
    let formless = capable(nodes.client()).call("formless", json!({})).await;
    assert_eq!(formless.code(), -32603);
    let words = formless.error()["message"].as_str().unwrap_or_default();
    assert!(words.starts_with("the type asked for is no form"), "{words}");
    let large = json!({"words": "x".repeat(70_000)});
    let large = capable(Client::modern(nodes.url(0)))
        .call("register", large)
        .await;
    assert_eq!(large.code(), -32602);
    nodes.stop().await;

    let node = anynode::App::builder()
        .settings(anynode::Settings {
            port: 0,
            ..anynode::Settings::default()
        })
        .handler(|| NoPeer::new(Asker, &["silent"]))
        .spawn()
        .await
        .expect("the node starts");
    for client in [Client::legacy(node.address()), Client::modern(node.address())] {
        let silent = capable(client).call("silent", json!({})).await;
        assert_eq!(silent.code(), -32603);
        let words = silent.error()["message"].as_str().unwrap_or_default();
        assert!(words.contains("NoPeer"), "{words}");
    }
    node.stop().await;
}
