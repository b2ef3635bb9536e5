//! Streams outlive the token that opened them by some time and no longer; calls that were let in may finish.

use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use super::{bearer, stages};
use crate::support::client::Client;
use crate::support::http::http_client;
use crate::support::issuer::Issuer;
use crate::support::process::PATIENCE;

const ENV: [(&str, &str); 2] = [("MCP_AUTH__STREAM_GRACE", "1s"), ("MCP_AUTH__CLOCK_SKEW", "1s")];

/// T25: a stream ends some time after its token, and its client goes on with a new one, on any node, without a gap.
#[tokio::test]
async fn a_stream_ends_after_its_token_and_goes_on_with_the_next() {
    let issuer = Issuer::start().await;
    for cluster in stages(&issuer, &ENV).await {
        let short = issuer.token(|token| token.ends_in(2));
        let client = bearer(Client::legacy(&cluster.turn(0).url()), &short);
        let session = client.session().await.to_owned();
        let subscribe = json!({ "uri": "note://session/a" });
        client.request("resources/subscribe", subscribe).await.ok();
        let mut stream = client.listen(None).await;
        let began = Instant::now();
        while let Some(Some(_)) = stream.next_within(PATIENCE).await {}
        assert!(began.elapsed() > Duration::from_secs(1), "{:?}", began.elapsed());
        assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
        let last = stream.last_id().map(str::to_owned);
        // What happens meanwhile waits.
        let next = issuer.token(|token| token);
        let renewed = bearer(Client::legacy(&cluster.turn(1).url()), &next).in_session(&session);
        renewed
            .call("remember", json!({ "key": "a", "value": "b" }))
            .await
            .ok();
        let mut stream = renewed.listen(last.as_deref()).await;
        stream.method("notifications/resources/updated").await;
    }
}

#[tokio::test]
async fn a_subscription_ends_after_its_token() {
    let issuer = Issuer::start().await;
    for cluster in stages(&issuer, &ENV).await {
        let short = issuer.token(|token| token.ends_in(2));
        let client = bearer(Client::modern(&cluster.turn(0).url()), &short);
        let filter = json!({ "notifications": { "toolsListChanged": true } });
        let (_id, mut stream) = client.stream("subscriptions/listen", filter).await;
        let began = Instant::now();
        while let Some(Some(_)) = stream.next_within(PATIENCE).await {}
        assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    }
}

/// The client of 2024-11-05 would lose its session with its stream.
#[tokio::test]
async fn a_stream_of_sse_goes_on() {
    let issuer = Issuer::start().await;
    let http = http_client().build().expect("a client");
    for cluster in stages(&issuer, &ENV).await {
        let (short, next) = (
            issuer.token(|token| token.ends_in(2)),
            issuer.token(|token| token),
        );
        let open = http
            .get(format!("{}/sse", cluster.node(0).url()))
            .bearer_auth(&short);
        let open = open
            .header("accept", "text/event-stream")
            .send()
            .await
            .expect("a stream");
        let mut stream = crate::support::sse::EventStream::new(open);
        let endpoint = stream.endpoint().await;
        tokio::time::sleep(Duration::from_secs(5)).await;
        let ping = json!({ "jsonrpc": "2.0", "id": 1, "method": "ping" });
        let post = http
            .post(format!("{}/{endpoint}", cluster.turn(1).url()))
            .bearer_auth(&next)
            .json(&ping);
        assert_eq!(post.send().await.expect("an answer").status().as_u16(), 202);
        stream.answer_to(&json!(1)).await;
    }
}

/// A call that was let in runs on, and answers.
#[tokio::test]
async fn a_call_outlasts_its_token() {
    let issuer = Issuer::start().await;
    for cluster in stages(&issuer, &ENV).await {
        let short = issuer.token(|token| token.ends_in(1));
        let client = bearer(Client::legacy(&cluster.turn(0).url()), &short);
        let countdown = json!({ "name": "countdown", "arguments": { "from": 5, "interval_ms": 1000 } });
        let (id, mut reply) = client.stream("tools/call", countdown).await;
        let answer = reply.answer_to(&id).await;
        assert!(answer.get("result").is_some(), "{answer}");
    }
}
