//! Notebooks belong to a principal. To any other they do not exist, and nothing that another does keeps them
//! alive.

use serde_json::{Value, json};

use crate::support::client::Client;
use crate::support::cluster::Cluster;

const ALICE: &str = "alice-has-a-token-of-her-own";
const MALLORY: &str = "mallory-has-a-token-as-well";
const TOKENS: [(&str, &str); 2] = [
    ("MCP_AUTH__TOKENS__ALICE", ALICE),
    ("MCP_AUTH__TOKENS__MALLORY", MALLORY),
];

fn with_token(client: Client, token: &str) -> Client {
    client.header("authorization", &format!("Bearer {token}"))
}

/// What is acknowledged of a listener's wish to hear of these.
async fn acknowledged(client: &Client, uris: &[&String]) -> Vec<Value> {
    let wanted = json!({"notifications": {"resourceSubscriptions": uris}});
    let (_, mut stream) = client.stream("subscriptions/listen", wanted).await;
    let told = stream.method("notifications/subscriptions/acknowledged").await;
    let resources = &told["params"]["notifications"]["resourceSubscriptions"];
    resources.as_array().cloned().unwrap_or_default()
}

/// F14 and finding 19: nobody hears of changes in a notebook of another principal, or learns that there is
/// one.
#[tokio::test]
async fn whoever_may_not_read_a_notebook_hears_nothing_of_it() {
    for cluster in [Cluster::with(2, &TOKENS).await, Cluster::alone(&TOKENS).await] {
        let [alice, mallory] = [ALICE, MALLORY].map(|token| with_token(cluster.client(), token));
        let handle = alice.open_notebook().await;
        let theirs = format!("note://{handle}/k");
        let nobodys = format!("note://{}/k", uuid::Uuid::new_v4());
        let subscribe = |uri: &String| ("resources/subscribe", json!({"uri": uri}));
        let (method, params) = subscribe(&theirs);
        alice.request(method, params).await.ok();
        let mut answers = Vec::new();
        for uri in [&theirs, &nobodys] {
            let (method, params) = subscribe(uri);
            let answer = mallory.request(method, params).await;
            assert_eq!(answer.code(), -32002, "{answer:?}");
            answers.push(answer.error()["message"].clone());
        }
        assert_eq!(answers[0], answers[1], "foreign and unknown are answered alike");
        // A session's own notes are its own.
        let own = "note://session/k".to_owned();
        let (method, params) = subscribe(&own);
        mallory.request(method, params).await.ok();

        let [alice, mallory] = [alice.into_modern(), mallory.into_modern()];
        assert_eq!(acknowledged(&alice, &[&theirs, &nobodys]).await, [json!(theirs)]);
        assert_eq!(
            acknowledged(&mallory, &[&nobodys, &theirs]).await,
            Vec::<Value>::new()
        );
    }
}

/// F14: what a stranger tries with a notebook does not keep it alive; what its principal does, does.
#[tokio::test]
async fn a_stranger_does_not_keep_a_notebook_alive() {
    const LEFT_MS: i64 = 60_000;
    let cluster = Cluster::with(2, &TOKENS).await;
    let [alice, mallory] = [ALICE, MALLORY].map(|token| with_token(cluster.client(), token));
    let handle = alice.open_notebook().await;
    let key = format!("notebook:{handle}");
    let redis = cluster.redis();
    redis.command(&["PEXPIRE", &key, &LEFT_MS.to_string()]).await;
    let uri = format!("note://{handle}/k");
    let with_handle = json!({"key": "k", "value": 1, "notebook": handle});
    for tool in [
        "recall",
        "list_notes",
        "remember",
        "increment",
        "forget",
        "summarize",
    ] {
        let mut arguments = with_handle.clone();
        let fields = arguments.as_object_mut().expect("an object");
        fields.retain(|field, _| match tool {
            "remember" => true,
            "list_notes" | "summarize" => field == "notebook",
            _ => field != "value",
        });
        let answer = mallory.call(tool, arguments).await;
        assert_eq!(answer.result()["isError"], true, "{tool}: {answer:?}");
    }
    let reference = json!({"type": "ref/resource", "uri": "note://{notebook}/{key}"});
    for (method, params) in [
        ("resources/read", json!({"uri": uri})),
        ("resources/subscribe", json!({"uri": uri})),
        (
            "prompts/get",
            json!({"name": "handoff", "arguments": {"notebook": handle}}),
        ),
        (
            "completion/complete",
            json!({"ref": reference, "argument": {"name": "key", "value": ""}, "context": {"arguments": {"notebook": handle}}}),
        ),
    ] {
        let answer = mallory.request(method, params).await;
        assert!(!answer.body.contains("\"k\""), "{method}: {answer:?}");
    }
    acknowledged(&mallory.clone().into_modern(), &[&uri]).await;
    let left = redis.command(&["PTTL", &key]).await.int();
    assert!(0 < left && left <= LEFT_MS, "{left} ms");
    alice
        .call("recall", json!({"key": "k", "notebook": handle}))
        .await
        .ok();
    let left = redis.command(&["PTTL", &key]).await.int();
    assert!(left > LEFT_MS, "{left} ms");
}
