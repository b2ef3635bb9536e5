//! The example `everything` over HTTP+SSE: what clients of 2024-11-05 can use of it.

use serde_json::{Value, json};

use super::{Client, text};
use crate::support::cluster::Cluster;

/// Calls a tool that asks its client, and gives this answer; the tool's text.
async fn asked(client: &mut Client, tool: &str, arguments: Value, method: &str, answer: Value) -> String {
    let call = json!({"name": tool, "arguments": arguments});
    let id = client.send("tools/call", call).await;
    let request = client.stream.method(method).await;
    let answer = json!({"jsonrpc": "2.0", "id": request["id"], "result": answer});
    assert_eq!(client.post(&answer).await.status, 202);
    text(&client.stream.answer_to(&id).await).to_owned()
}

async fn result(client: &mut Client, method: &str, params: Value) -> Value {
    let answer = client.ask(method, params).await;
    assert!(answer.get("error").is_none(), "{method}: {answer}");
    answer["result"].clone()
}

/// Lists tools, and calls some.
async fn tools(client: &mut Client) {
    let tools = result(client, "tools/list", json!({})).await;
    let named = |tool: &Value, name: &str| tool["name"] == name;
    let tools = tools["tools"].as_array().expect("tools");
    for name in [
        "test_simple_text",
        "test_image_content",
        "test_audio_content",
        "test_error_handling",
    ] {
        assert!(tools.iter().any(|tool| named(tool, name)), "no tool {name}");
        let said = client.call(name, json!({})).await;
        assert!(said["result"]["content"][0]["type"].is_string(), "{name}: {said}");
    }
}

/// Calls that tell of themselves while they run.
async fn messages(client: &mut Client) {
    result(client, "logging/setLevel", json!({"level": "debug"})).await;
    let logging = json!({"name": "test_tool_with_logging", "arguments": {}});
    let id = client.send("tools/call", logging).await;
    for _ in 0..3 {
        client.stream.method("notifications/message").await;
    }
    client.stream.answer_to(&id).await;
    let token = json!({"progressToken": "p"});
    let progress = json!({"name": "test_tool_with_progress", "arguments": {}, "_meta": token});
    let id = client.send("tools/call", progress).await;
    for progress in [0, 50, 100] {
        let told = client.stream.method("notifications/progress").await;
        assert_eq!(told["params"]["progress"].as_f64(), Some(f64::from(progress)));
    }
    client.stream.answer_to(&id).await;
}

/// Calls that ask the client.
async fn questions(client: &mut Client) {
    let words = json!({"type": "text", "text": "hello"});
    let sampled = json!({"role": "assistant", "content": words, "model": "m"});
    let prompt = json!({"prompt": "Say hello"});
    let said = asked(client, "test_sampling", prompt, "sampling/createMessage", sampled).await;
    assert_eq!(said, "LLM response: hello");
    let form = json!({"action": "accept", "content": {"username": "ann", "email": "ann@example.com"}});
    let message = json!({"message": "Who?"});
    let said = asked(client, "test_elicitation", message, "elicitation/create", form).await;
    assert!(said.contains("action=accept") && said.contains("ann"), "{said}");
}

/// Resources, templates, and a subscription.
async fn resources(client: &mut Client) {
    let resources = result(client, "resources/list", json!({})).await;
    let uri = resources["resources"][0]["uri"].clone();
    let read = result(client, "resources/read", json!({ "uri": uri })).await;
    assert_eq!(read["contents"][0]["uri"], uri);
    let templates = result(client, "resources/templates/list", json!({})).await;
    assert!(templates["resourceTemplates"][0]["uriTemplate"].is_string());
    result(client, "resources/subscribe", json!({ "uri": uri })).await;
    client
        .send(
            "tools/call",
            json!({"name": "test_trigger_resource_update", "arguments": {"uri": uri}}),
        )
        .await;
    let updated = client.stream.method("notifications/resources/updated").await;
    assert_eq!(updated["params"]["uri"], uri);
}

/// Prompts, and completion of their arguments.
async fn prompts(client: &mut Client) {
    let prompts = result(client, "prompts/list", json!({})).await;
    assert!(
        prompts["prompts"]
            .as_array()
            .is_some_and(|prompts| prompts.len() > 2)
    );
    let prompt = json!({"name": "test_simple_prompt"});
    let got = result(client, "prompts/get", prompt).await;
    assert!(got["messages"][0]["content"]["text"].is_string());
    let reference = json!({"type": "ref/prompt", "name": "test_prompt_with_arguments"});
    let argument = json!({"name": "arg1", "value": "te"});
    let completion = json!({"ref": reference, "argument": argument});
    let completed = result(client, "completion/complete", completion).await;
    assert!(completed["completion"]["values"].is_array());
}

#[tokio::test]
async fn the_surface_of_everything_is_served_over_http_with_sse() {
    for cluster in Cluster::stages_of_example("everything").await {
        let can = json!({"sampling": {}, "elicitation": {}, "roots": {}});
        let mut client = Client::start(&cluster, 0, can).await;
        tools(&mut client).await;
        messages(&mut client).await;
        questions(&mut client).await;
        resources(&mut client).await;
        prompts(&mut client).await;
        assert_eq!(result(&mut client, "ping", json!({})).await, json!({}));
    }
}
