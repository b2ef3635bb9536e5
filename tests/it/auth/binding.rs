//! Sessions, streams, tasks and notebooks belong to the principal of a token: to all others they do not exist.

use std::collections::HashSet;

use serde_json::json;

use super::{bearer, call, stages};
use crate::support::client::Client;
use crate::support::http::http_client;
use crate::support::issuer::Issuer;

/// T2, T4, T8: bob can reach nothing of alice's session, in any way. It stays as it was.
#[tokio::test]
async fn a_session_does_not_exist_for_others() {
    let issuer = Issuer::start().await;
    let (alice, bob) = (issuer.token(|t| t), issuer.token(|t| t.sub("bob")));
    for cluster in stages(&issuer, &[]).await {
        let owner = bearer(Client::legacy(&cluster.node(0).url()), &alice);
        let session = owner.session().await.to_owned();
        let note = json!({ "uri": "note://session/a" });
        owner.request("resources/subscribe", note).await.ok();
        let mut stream = owner.listen(None).await;
        let lifetime = async || {
            if cluster.nodes().len() == 1 {
                return None;
            }
            let key = format!("session:{session}");
            Some(cluster.redis().command(&["PTTL", &key]).await.int())
        };
        let before = lifetime().await;
        assert!(before.is_none_or(|left| left > 0), "{before:?}");
        for node in cluster.nodes() {
            let thief = bearer(Client::legacy(&node.url()), &bob).in_session(&session);
            assert_eq!(call(&thief).await.status, 404);
            let batch = r#"[{"jsonrpc":"2.0","id":1,"method":"ping"},{"jsonrpc":"2.0","id":2,"method":"tools/list"}]"#;
            let headers = [("mcp-session-id".to_owned(), session.clone())];
            assert_eq!(thief.post(&headers, batch).await.status, 404);
            assert_eq!(
                thief.notify("notifications/initialized", json!({})).await.status,
                404
            );
            assert_eq!(thief.respond(&json!(1), json!({})).await.status, 404);
            assert_eq!(thief.get(None).await.status().as_u16(), 404);
            assert_eq!(thief.get(Some("standalone-1")).await.status().as_u16(), 404);
            assert_eq!(thief.delete().await.status, 404);
            let own = bearer(Client::legacy(&node.url()), &bob);
            let resumed = own.get(Some("c0ffee-1")).await.status().as_u16();
            assert_eq!(resumed, 400, "an event id of no session of his");
        }
        let after = lifetime().await;
        assert!(after <= before, "nobody else prolongs it: {before:?}, {after:?}");
        owner
            .call("remember", json!({ "key": "a", "value": "b" }))
            .await
            .ok();
        stream.method("notifications/resources/updated").await;
        assert_eq!(owner.delete().await.status, 204);
    }
}

/// The same for the transport of 2024-11-05.
#[tokio::test]
async fn a_stream_of_sse_does_not_exist_for_others() {
    let issuer = Issuer::start().await;
    let (alice, bob) = (issuer.token(|t| t), issuer.token(|t| t.sub("bob")));
    let http = http_client().build().expect("a client");
    for cluster in stages(&issuer, &[]).await {
        let url = cluster.node(0).url();
        let open = http
            .get(format!("{url}/sse"))
            .bearer_auth(&alice)
            .header("accept", "text/event-stream");
        let mut stream = crate::support::sse::EventStream::new(open.send().await.expect("a stream"));
        let endpoint = stream.endpoint().await;
        for node in cluster.nodes() {
            let ping = json!({ "jsonrpc": "2.0", "id": 1, "method": "ping" });
            let post = http
                .post(format!("{}/{endpoint}", node.url()))
                .bearer_auth(&bob)
                .json(&ping);
            assert_eq!(post.send().await.expect("an answer").status().as_u16(), 404);
            let (_, session) = endpoint.split_once("sessionId=").expect("an endpoint");
            let take = http
                .get(format!("{}/sse?sessionId={session}", node.url()))
                .bearer_auth(&bob);
            let take = take
                .header("accept", "text/event-stream")
                .send()
                .await
                .expect("an answer");
            assert_eq!(take.status().as_u16(), 404);
        }
        let ping = json!({ "jsonrpc": "2.0", "id": 1, "method": "ping" });
        let post = http
            .post(format!("{url}/{endpoint}"))
            .bearer_auth(&alice)
            .json(&ping);
        assert_eq!(post.send().await.expect("an answer").status().as_u16(), 202);
        stream.answer_to(&json!(1)).await;
    }
}

/// T5: a notebook's handle is of no use to others, and tells them nothing.
#[tokio::test]
async fn a_notebook_does_not_exist_for_others() {
    let issuer = Issuer::start().await;
    let (alice, bob) = (issuer.token(|t| t), issuer.token(|t| t.sub("bob")));
    for cluster in stages(&issuer, &[]).await {
        let url = cluster.node(0).url();
        let (owner, thief) = (
            bearer(Client::modern(&url), &alice),
            bearer(Client::modern(&url), &bob),
        );
        let handle = owner.open_notebook().await;
        let arguments = |handle: &str| json!({ "key": "a", "value": "b", "notebook": handle });
        owner.call("remember", arguments(&handle)).await.ok();
        let stolen = thief
            .call("recall", json!({ "key": "a", "notebook": handle }))
            .await;
        let unknown = thief
            .call(
                "recall",
                json!({ "key": "a", "notebook": "0123456789abcdef0123456789abcdef" }),
            )
            .await;
        let words = |answer: &crate::support::client::Answer| {
            answer
                .body
                .replace(&handle, "")
                .replace("0123456789abcdef0123456789abcdef", "")
                .replace("\"id\":2", "\"id\":1")
        };
        assert_eq!(words(&stolen), words(&unknown));
    }
}

/// T6: every caller gets its own answer, also when all use the same id.
#[tokio::test]
async fn answers_are_not_crossed() {
    let issuer = Issuer::start().await;
    for cluster in stages(&issuer, &[]).await {
        let callers = (0..64).map(|number| {
            let name = format!("user-{number}");
            let token = issuer.token(|token| token.sub(&name));
            let client = bearer(Client::legacy(&cluster.turn(number).url()), &token);
            let expected = format!("{}#{name}", issuer.url());
            async move {
                let seen = client.call("whoami", json!({})).await.ok();
                assert_eq!(seen.structured()["principal"], expected);
            }
        });
        futures::future::join_all(callers).await;
    }
}

/// T7: a refreshed token goes on with the same session, stream and call, also with other claims.
#[tokio::test]
async fn a_refreshed_token_goes_on() {
    let issuer = Issuer::start().await;
    for cluster in stages(&issuer, &[]).await {
        let first = issuer.token(|t| t);
        let second = issuer.token(|t| {
            t.claim("azp", "another")
                .claim("client_id", "another")
                .scope("mcp:tools more")
        });
        let node = |index: usize| cluster.turn(index).url();
        let client = bearer(Client::legacy(&node(0)), &first);
        client.call("increment", json!({ "key": "n" })).await.ok();
        let session = client.session().await.to_owned();
        let (id, mut reply) = client
            .stream(
                "tools/call",
                json!({ "name": "countdown", "arguments": { "from": 3, "interval_ms": 1000 } }),
            )
            .await;
        let refreshed = bearer(Client::legacy(&node(1)), &second).in_session(&session);
        let counted = refreshed.call("increment", json!({ "key": "n" })).await.ok();
        assert!(counted.body.contains('2'), "{}", counted.body);
        // Its reply goes on, and is taken up by the other token on another node.
        let event = loop {
            let event = reply.next().await.expect("an event");
            if event.id.is_some() {
                break event;
            }
        };
        drop(reply);
        let mut taken = refreshed.listen(event.id.as_deref()).await;
        taken.answer_to(&id).await;
    }
}

/// T9: a machine is no user, also if it has the name of one.
#[tokio::test]
async fn machines_are_no_users() {
    let issuer = Issuer::start().await;
    for cluster in stages(&issuer, &[]).await {
        let mut seen = HashSet::new();
        let principal = async |token: String| {
            let client = bearer(Client::modern(&cluster.node(0).url()), &token);
            let told = client.call("whoami", json!({})).await.ok();
            let told = told.structured()["principal"].as_str().map(str::to_owned);
            told.expect("a principal")
        };
        for token in [
            issuer.token(|t| t.sub("cli").claim("client_id", "cli")),
            issuer.token(|t| t.sub("cli").claim("client_id", "other")),
            issuer.token(|t| t.sub("#cli").claim("client_id", "other")),
            issuer.token(|t| t.without("sub").claim("client_id", "#cli")),
        ] {
            let principal = principal(token).await;
            assert!(seen.insert(principal.clone()), "{principal} is two");
        }
        let nameless = issuer.token(|t| t.without("sub").claim("client_id", "cli"));
        assert_eq!(principal(nameless).await, format!("{}##cli", issuer.url()));
    }
}

/// T12: what a client does next depends on it: 404 opens another session, 401 asks for another token.
#[tokio::test]
async fn a_dead_session_is_404_and_a_bad_token_401() {
    let issuer = Issuer::start().await;
    let (good, bad) = (issuer.token(|t| t), issuer.token(|t| t.ends_in(-100)));
    for cluster in stages(&issuer, &[]).await {
        let client = |token: &str| bearer(Client::legacy(&cluster.node(0).url()), token);
        let live = client(&good).session().await.to_owned();
        let dead = "0123456789abcdef0123456789abcdef";
        assert_eq!(call(&client(&good).in_session(dead)).await.status, 404);
        assert_eq!(call(&client(&bad).in_session(&live)).await.status, 401);
        assert_eq!(call(&client(&bad).in_session(dead)).await.status, 401);
    }
}
