//! The user of Redis that deploy/README.md recommends: all other tests are that user, and these show that it
//! may do no more.

use std::collections::BTreeSet;
use std::path::Path;

use crate::support::redis::Redis;
use crate::support::redis::rights::{PASSWORD, USER, documented};

/// What the client itself sends, apart from the store: to log in, to find its way in a cluster and behind
/// sentinels, and to subscribe.
const OF_THE_CLIENT: [&str; 13] = [
    "hello",
    "auth",
    "ping",
    "select",
    "quit",
    "info",
    "client|id",
    "cluster|slots",
    "cluster|info",
    "asking",
    "role",
    "subscribe",
    "unsubscribe",
];

#[tokio::test]
async fn keys_channels_and_commands_of_others_are_refused() {
    let redis = Redis::start().await;
    let as_user = |command: &[&str]| {
        let user = ["--user", USER, "--pass", PASSWORD, "--no-auth-warning"];
        redis.cli(&[&user[..], command].concat())
    };
    assert_eq!(as_user(&["hset", "session:x", "v", "1"]), "1");
    assert_eq!(as_user(&["publish", "node:x", "hello"]), "0");
    redis.cli(&["pexpire", "session:x", "1000000"]);
    let script = "return redis.call('HGET', KEYS[1], 'v')";
    for command in [
        &["hget", "shop:session:x", "v"][..],
        &["hset", "sessionx", "v", "1"],
        &["del", "cart"],
        &["get", "cart"],
        &["eval", script, "1", "cart"],
        &["publish", "cart", "hello"],
        &["append", "session:x", "1"],
        &["keys", "*"],
        &["flushall"],
        &["config", "get", "*"],
        &["acl", "list"],
        &["script", "flush"],
        &["client", "list"],
        &["monitor"],
    ] {
        let answer = as_user(command);
        let refused = answer.contains("NOPERM") || answer.contains("can't access at least one of the keys");
        assert!(refused, "{command:?}: {answer}");
    }
}

/// A command that the store no longer sends is taken off the page.
#[test]
fn each_command_that_is_allowed_is_sent() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/store/redis");
    let files = std::fs::read_dir(folder).expect("the folder is there");
    let paths = files.map(|entry| entry.expect("it can be listed").path());
    let source: String = paths
        .map(|path| std::fs::read_to_string(path).expect("a file of the store"))
        .collect();
    let sent = |name: &str| {
        let mut words = name.split('|').map(str::to_ascii_uppercase);
        words.all(|word| source.contains(&format!("'{word}'")) || source.contains(&format!("\"{word}\"")))
    };
    let (mut needless, mut seen) = (BTreeSet::new(), 0);
    for name in documented().iter().filter_map(|rule| rule.strip_prefix('+')) {
        if !OF_THE_CLIENT.contains(&name) && !sent(name) {
            needless.insert(name);
        }
        seen += 1;
    }
    assert!(seen > 40, "{seen} commands only");
    assert!(needless.is_empty(), "nothing sends {needless:?}");
}
