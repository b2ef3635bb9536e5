//! Tokens are nobody's but the client's and the node's: no log, no store, no handler and no other server gets one.

use std::collections::HashSet;

use futures::{StreamExt as _, stream};
use serde_json::json;

use super::{bearer, call};
use crate::support::client::Client;
use crate::support::cluster::Cluster;
use crate::support::issuer::{INTROSPECTION_SECRET, Issuer};

/// T38, T39: no token is in a log or in the store, and no user's name in a log.
#[tokio::test]
async fn no_token_is_in_a_log_or_in_the_store() {
    let issuer = Issuer::start().await;
    let own = issuer.env_with_introspection();
    let mut env: Vec<(&str, &str)> = own.iter().map(|(name, value)| (*name, value.as_str())).collect();
    env.extend([
        ("MCP_LOG__LEVEL", "trace"),
        ("MCP_AUTH__SCOPES", "mcp:tools"),
        ("MCP_AUTH__TOKENS__STATIC", "a-long-enough-token"),
    ]);
    let user = "somebody-whose-name-is-nowhere";
    for cluster in [Cluster::with(3, &env).await, Cluster::alone(&env).await] {
        let good = issuer.token(|token| token.sub(user));
        let opaque = issuer.opaque(|token| token.sub(user));
        let bad = issuer.token(|token| token.sub(user).ends_in(-100));
        let weak = issuer.token(|token| token.sub(user).scope("other"));
        let made_up = "made-up-by-somebody-who-guesses".to_owned();
        let tokens = [good, opaque, bad, weak, made_up, "a-long-enough-token".to_owned()];
        let mut sessions = Vec::new();
        for token in &tokens {
            for node in cluster.nodes() {
                drop(call(&bearer(Client::modern(&node.url()), token)).await);
                let client = bearer(Client::legacy(&node.url()), token);
                if call(&client).await.status != 200 {
                    continue;
                }
                sessions.push(client.session().await.to_owned());
                client
                    .call("remember", json!({ "key": "a", "value": "b" }))
                    .await
                    .ok();
                client
                    .call("countdown", json!({ "from": 2, "interval_ms": 200 }))
                    .await;
            }
        }
        assert!(sessions.len() >= 3 * cluster.nodes().len(), "{sessions:?}");
        let secrets = tokens.iter().chain(&sessions).map(String::as_str);
        let secrets: Vec<&str> = secrets.chain([INTROSPECTION_SECRET]).collect();
        for node in cluster.nodes() {
            let log = node.log();
            assert!(log.contains("TRACE"), "nothing was logged");
            for secret in secrets.iter().chain([&user]) {
                let line = log.lines().find(|line| line.contains(secret));
                assert_eq!(line, None, "{secret} is in the log");
            }
        }
        if !cluster.has_redis() {
            continue;
        }
        // All that Redis keeps, as it writes it to its disk.
        let redis = cluster.redis();
        redis.cli(&["CONFIG", "SET", "rdbcompression", "no"]);
        redis.cli(&["SAVE"]);
        let dump = std::fs::read(redis.dir().join("dump.rdb")).expect("what Redis has saved");
        let holds = |text: &str| dump.windows(text.len()).any(|window| window == text.as_bytes());
        assert!(holds(user), "the dump is none of these sessions");
        for token in &tokens {
            assert!(!holds(token), "{token} is in Redis");
        }
    }
}

/// T3: ids of sessions have nothing that could be guessed: none comes twice, and as many bits are set as are not.
#[tokio::test]
async fn ids_of_sessions_are_random() {
    const IDS: usize = 2000;
    for cluster in [Cluster::of(3).await, Cluster::alone(&[]).await] {
        let opened = stream::iter(0..IDS).map(|turn| {
            let client = Client::legacy(&cluster.turn(turn).url());
            async move {
                let answer = client.initialize().await.ok();
                answer.header("mcp-session-id").expect("a session").to_owned()
            }
        });
        let ids: HashSet<String> = opened.buffer_unordered(32).collect().await;
        assert_eq!(ids.len(), IDS, "an id came twice");
        // The version and variant of a UUID are 6 bits of its 128.
        let set: u32 = ids
            .iter()
            .map(|id| {
                let id = uuid::Uuid::parse_str(id).expect("a UUID");
                id.as_u128().count_ones()
            })
            .sum();
        let random_bits = 122.0 * IDS as f64;
        let fixed = 2.0 * IDS as f64; // 0100 and 10
        let share = (f64::from(set) - fixed) / random_bits;
        assert!((share - 0.5).abs() < 0.01, "{share} of the bits are set");
    }
}
