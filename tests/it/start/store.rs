//! A store that cannot be had: one line names the setting and the cure, and the exit code says what kind of
//! trouble.

use std::time::Duration;

use tokio::time::Instant;

use crate::support::process::{eventually, free_port};
use crate::support::program::{Done, Program};
use crate::support::redis::Redis;

/// Wrong settings.
const SETTINGS: i32 = 78;
/// Nobody answers.
const UNREACHABLE: i32 = 69;
const PASSWORD: &str = "hunter2";

async fn started_with(redis_url: &str) -> Done {
    Program::run(&[], &[("PORT", "0"), ("REDIS_URL", redis_url)]).await
}

/// The one line that it says, which has all of these words.
async fn complaint(redis_url: &str, code: i32, words: &[&str]) -> String {
    let line = started_with(redis_url).await.one_line(code);
    assert!(!line.contains(PASSWORD), "a password in {line}");
    for word in words {
        assert!(line.contains(word), "{redis_url}: no `{word}` in {line}");
    }
    line
}

#[tokio::test]
async fn a_url_that_is_none_is_refused_with_what_would_be_one() {
    let urls = [
        "localhost:6379",
        "redis://",
        "redis://:hunter2@",
        "redis://:hunter2@host:port",
        "redis://:hun#hunter2@host",
        "redis://app@host",
        "redis-sentinel://host",
        "redis-cluster://host/3",
    ];
    for url in urls {
        complaint(url, SETTINGS, &["REDIS_URL", "redis"]).await;
    }
    let named = "redis://:hunter2@host/notes";
    complaint(named, SETTINGS, &["REDIS_URL", "database", "must be a number"]).await;
}

#[tokio::test]
async fn a_scheme_that_the_store_does_not_speak_is_refused_with_those_it_does() {
    for url in [
        "http://:hunter2@host",
        "rediss+unix:///run/redis.sock",
        "amqp://host",
    ] {
        complaint(
            url,
            SETTINGS,
            &["REDIS_URL", "rediss", "redis-cluster", "redis-sentinel"],
        )
        .await;
    }
}

#[tokio::test]
async fn a_redis_that_does_not_answer_is_told_from_wrong_settings() {
    let port = free_port();
    let refused = format!("redis://:hunter2@127.0.0.1:{port}");
    let words = ["REDIS_URL", "Connection refused", "start it"];
    let line = complaint(&refused, UNREACHABLE, &words).await;
    assert_eq!(
        line.matches("Connection refused").count(),
        1,
        "its cause once: {line}"
    );
    complaint(
        "redis+unix:///nowhere/redis.sock",
        UNREACHABLE,
        &["REDIS_URL", "No such file or directory"],
    )
    .await;
    complaint(
        "redis://nowhere.invalid",
        UNREACHABLE,
        &["REDIS_URL", "nowhere.invalid", "lookup"],
    )
    .await;
    let cluster = format!("redis-cluster://:hunter2@127.0.0.1:{port}");
    complaint(&cluster, UNREACHABLE, &["REDIS_URL", "out of reach"]).await;
}

#[tokio::test]
async fn a_user_that_redis_refuses_is_a_wrong_setting() {
    let redis = Redis::start_with(&["--requirepass", "correct"]).await;
    let port = redis.port();
    let at = |user: &str| format!("redis://{user}127.0.0.1:{port}");
    complaint(
        &at(":hunter2@"),
        SETTINGS,
        &["REDIS_URL", "WRONGPASS", "password"],
    )
    .await;
    complaint(
        &at("nobody:hunter2@"),
        SETTINGS,
        &["REDIS_URL", "nobody:***@", "user"],
    )
    .await;
    complaint(&at(""), SETTINGS, &["REDIS_URL", "wants a password"]).await;
    complaint(
        &at(":correct@").replace("redis:", "redis-cluster:"),
        SETTINGS,
        &["no cluster"],
    )
    .await;
    let far = format!("{}/99", at(":correct@"));
    let line = complaint(&far, SETTINGS, &["REDIS_URL", "database"]).await;
    assert!(!line.contains("correct@"), "a password in {line}");
}

#[tokio::test]
async fn a_user_who_may_not_do_what_is_needed_is_a_wrong_setting() {
    let rights = [
        "on", ">hunter2", "~*", "&*", "+@read", "+hello", "+auth", "+client",
    ];
    let arguments = [&["--user", "limited"], &rights[..]].concat();
    let redis = Redis::start_with(&arguments).await;
    let url = format!("redis://limited:hunter2@127.0.0.1:{}", redis.port());
    complaint(&url, SETTINGS, &["REDIS_URL", "NOPERM", "ACL"]).await;
}

#[tokio::test]
async fn a_node_waits_for_a_redis_that_starts_late() {
    let redis = Redis::start().await;
    redis.stop().await;
    let env = [
        ("REDIS_URL", &*redis.url()),
        ("MCP_STORE__WAIT", "10s"),
        ("PORT", "0"),
    ];
    let node = Program::start(&[], &env);
    eventually("the node waits", || async {
        node.stderr().contains("waiting for the store").then_some(())
    })
    .await;
    assert_eq!(node.stdout(), "", "no greeting before there is a store");
    redis.restart().await;
    node.greeted().await;
    assert!(node.told("sessions in").starts_with("redis"));
}

/// A7: the pauses between attempts double: one would reach over the end of the time. It is cut short, and the
/// last attempt is made at the end.
#[tokio::test]
async fn a_redis_that_comes_in_the_last_moment_is_found() {
    let redis = Redis::start().await;
    redis.stop().await;
    let env = [
        ("REDIS_URL", &*redis.url()),
        ("MCP_STORE__WAIT", "3s"),
        ("PORT", "0"),
    ];
    let node = Program::start(&[], &env);
    // After 0, 0.1, 0.3, 0.7 and 1.5 s; the next would be at 3.1 s.
    eventually("the fifth attempt fails", || async {
        let attempts = node.stderr().matches("waiting for the store").count();
        (attempts >= 5).then_some(())
    })
    .await;
    redis.restart().await;
    node.greeted().await;
}

/// A7: it waits all of the time that it was given.
#[tokio::test]
async fn a_node_that_waited_long_enough_gives_up() {
    let url = format!("redis://127.0.0.1:{}", free_port());
    let wait = Duration::from_millis(1100);
    let env = [("REDIS_URL", &*url), ("MCP_STORE__WAIT", "1100ms"), ("PORT", "0")];
    let started = Instant::now();
    let done = Program::run(&[], &env).await;
    assert!(started.elapsed() >= wait, "after {:?}", started.elapsed());
    assert_eq!(done.code, Some(UNREACHABLE), "{done:?}");
    assert!(done.stderr.contains("waiting for the store"), "{}", done.stderr);
    let last = done.stderr.lines().last().expect("a line");
    assert!(last.starts_with("mcp-server: REDIS_URL"), "{last}");
}
