//! Cancellations and ids that are used again: clients use id 1 for everything, and share a session among
//! workers.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::support::calls::gauge;
use crate::support::client::{Answer, Client};
use crate::support::cluster::Cluster;
use crate::support::process::eventually;

/// `tools/call` of a countdown, with that id.
fn countdown(id: u32, from: u32, interval_ms: u32) -> Value {
    let arguments = json!({"from": from, "interval_ms": interval_ms});
    let params = json!({"name": "countdown", "arguments": arguments, "_meta": {"progressToken": id}});
    json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params})
}

async fn call(client: &Client, message: &Value) -> Answer {
    client
        .post(&client.session_headers().await, &message.to_string())
        .await
}

async fn cancel(client: &Client, id: u32) {
    let noted = client
        .notify("notifications/cancelled", json!({"requestId": id}))
        .await;
    assert_eq!(noted.status, 202);
}

/// Case `late_cancel`: what cancels a call that is over, or never was, is not meant for the next with its id.
#[tokio::test]
async fn a_cancellation_that_comes_too_late_swallows_no_later_call() {
    for cluster in Cluster::stages().await {
        let client = cluster.client();
        for pause_ms in [0, 30, 300] {
            call(&client, &countdown(1, 1, 20)).await.ok();
            cancel(&client, 1).await;
            cancel(&client, 2).await;
            sleep(Duration::from_millis(pause_ms)).await;
            for id in [1, 2, 1] {
                let answer = call(&client, &countdown(id, 3, 60)).await.ok();
                assert!(
                    answer.text().contains("counted"),
                    "{pause_ms} ms: {}",
                    answer.body
                );
            }
        }
        cluster.no_call_is_left().await;
    }
}

/// Case `late_cancel`: of two calls of one id the younger has ended; the elder is still there to be
/// cancelled.
#[tokio::test]
async fn all_calls_that_run_under_an_id_are_cancelled() {
    for cluster in Cluster::stages().await {
        let client = cluster.client();
        client.session().await;
        for round in 0..3 {
            let at = |index: usize| client.at(&cluster.turn(round + index).url());
            let mut elder = at(0)
                .open(&client.session_headers().await, &countdown(1, 100, 100))
                .await;
            let mut other = at(1)
                .open(&client.session_headers().await, &countdown(1, 100, 100))
                .await;
            elder.method("notifications/progress").await;
            other.method("notifications/progress").await;
            call(&at(2), &countdown(1, 2, 60)).await.ok();
            let began = Instant::now();
            cancel(&at(2), 1).await;
            elder.ends_unanswered().await;
            other.ends_unanswered().await;
            assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
            call(&at(1), &countdown(1, 2, 60)).await.ok();
        }
        cluster.no_call_is_left().await;
    }
}

/// Case `late_cancel`, F12: a call that no store knows of yet is cancelled through any node, and its reply is
/// no empty stream.
#[tokio::test]
async fn a_call_that_is_cancelled_before_its_reply_began_is_202() {
    for cluster in [
        Cluster::with(2, &[("MCP_CALL__REPLY_GRACE", "60s")]).await,
        Cluster::alone(&[("MCP_CALL__REPLY_GRACE", "60s")]).await,
        Cluster::alone(&[("MCP_CALL__REPLY", "json")]).await,
    ] {
        let client = cluster.client();
        client.session().await;
        for round in 0..4 {
            let caller = client.at(&cluster.turn(0).url());
            let mut silent = countdown(7, 1, 10_000);
            silent["params"]["_meta"] = json!({});
            let answer = tokio::spawn(async move { call(&caller, &silent).await });
            eventually("the call runs", || async {
                (gauge(&cluster.turn(0).url(), "anynode_calls_in_flight").await > 0.0).then_some(())
            })
            .await;
            cancel(&client.at(&cluster.turn(round).url()), 7).await;
            let answer = answer.await.expect("no panic");
            assert_eq!((answer.status, answer.body.as_str()), (202, ""), "round {round}");
        }
        cluster.no_call_is_left().await;
    }
}
