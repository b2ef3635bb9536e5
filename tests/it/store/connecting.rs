//! Ways to reach Redis, and what is said when a setting keeps it from being reached.

use std::path::PathBuf;
use std::time::Duration;

use anynode::config::StoreSettings;
use anynode::session::SessionId;
use anynode::store::redis::{ConnectError, RedisStore};
use anynode::store::{NodeStore, SessionStore};
use tokio::time::{Instant, sleep};

use super::{assert_that_all_keys_end, connect, keeps_the_contract, settings};
use crate::support::process::{free_port, until};
use crate::support::redis::topology::Sentinels;
use crate::support::redis::{Redis, certificates, rights};

const PASSWORD: &str = "hunter2/@";
const ESCAPED: &str = "hunter2%2F%40";

async fn refusal(url: &str, settings: &StoreSettings) -> ConnectError {
    let error = RedisStore::connect(url, settings)
        .await
        .expect_err("it must not connect");
    let message = error.to_string();
    assert!(!message.contains('\n'), "{message}");
    assert!(!message.contains("hunter2"), "{message}");
    error
}

#[tokio::test(flavor = "multi_thread")]
async fn the_user_that_is_recommended_will_do_without_info_too() {
    let redis = Redis::prepare(&["--aclfile", "{dir}/users.acl"]);
    let mut rules = rights::rules();
    rules.retain(|rule| rule != "+info");
    let acl = format!("user default off\nuser app on >{PASSWORD} {}\n", rules.join(" "));
    std::fs::write(redis.path("users.acl"), acl).expect("an ACL file");
    redis.run().await;
    let url = format!("redis://app:{ESCAPED}@127.0.0.1:{}", redis.port());
    keeps_the_contract(&url).await;
    let report = connect(&url).await.report().await.expect("Redis answers");
    assert!(
        report
            .version
            .is_some_and(|version| version.starts_with("7.") || version.starts_with("8."))
    );
    assert_eq!(
        report.eviction_policy, None,
        "neither CONFIG nor INFO may be asked"
    );

    for credentials in ["app:hunter2wrong@", "stranger:hunter2@", ""] {
        let url = format!("redis://{credentials}127.0.0.1:{}", redis.port());
        let waiting = StoreSettings {
            wait: Duration::from_secs(60),
            ..settings()
        };
        let started = Instant::now();
        let error = refusal(&url, &waiting).await;
        assert!(matches!(error, ConnectError::Refused { .. }), "{error:?}");
        assert!(
            error.is_settings() && error.to_string().contains("REDIS_URL"),
            "{error}"
        );
        assert!(
            started.elapsed() < Duration::from_secs(30),
            "a wrong password must not be waited on"
        );
    }
}

#[tokio::test]
async fn a_password_and_a_database_in_the_url_are_used() {
    let redis = Redis::start_with(&["--requirepass", PASSWORD]).await;
    let store = connect(&format!("redis://:{ESCAPED}@127.0.0.1:{}/3", redis.port())).await;
    store.notebook_open_for_test().await;
    let keyspace = redis.cli(&["-a", PASSWORD, "--no-auth-warning", "info", "keyspace"]);
    assert!(
        keyspace.contains("db3:keys=2") && !keyspace.contains("db0"),
        "{keyspace}"
    );
    let url = format!("redis://:{ESCAPED}@127.0.0.1:{}/99", redis.port());
    let error = refusal(&url, &settings()).await;
    assert!(error.is_settings(), "{error}");
}

trait OpenOne {
    async fn notebook_open_for_test(&self);
}

impl OpenOne for RedisStore {
    async fn notebook_open_for_test(&self) {
        use anynode::session::Principal;
        use anynode::session::state::{StateRoom, StateScope, StateStore};
        let (scope, owner) = (StateScope::Notebook("n".into()), Principal::anonymous());
        let room = StateRoom {
            peer: "peer",
            peer_max: 1000,
        };
        let opened = self
            .state_open(&scope, &owner, Duration::from_secs(60), room)
            .await;
        opened.expect("Redis answers");
    }
}

/// A Redis that only speaks TLS, and settings that it accepts.
async fn with_tls() -> (Redis, StoreSettings) {
    let mut redis = Redis::prepare(&["--port", "0", "--tls-auth-clients", "yes"]);
    certificates::write(redis.dir());
    redis.add_arguments(&[
        "--tls-cert-file",
        "{dir}/server.pem",
        "--tls-key-file",
        "{dir}/server.key",
    ]);
    redis.add_arguments(&["--tls-ca-cert-file", "{dir}/ca.pem", "--tls-port", "{port}"]);
    redis.run().await;
    let good = StoreSettings {
        ca_file: Some(redis.path("ca.pem")),
        cert_file: Some(redis.path("client.pem")),
        key_file: Some(redis.path("client.key")),
        ..settings()
    };
    (redis, good)
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_with_an_authority_and_a_client_certificate_of_our_own() {
    let (redis, good) = with_tls().await;
    for host in ["localhost", "127.0.0.1"] {
        let url = format!("rediss://{host}:{}", redis.port());
        let store = RedisStore::connect(&url, &good).await.expect("TLS works");
        store.ping().await.expect("Redis answers");
        store.close().await;
    }
    let without_certificate = StoreSettings {
        cert_file: None,
        key_file: None,
        ..good.clone()
    };
    let another_authority = StoreSettings {
        ca_file: Some(redis.path("other.pem")),
        ..good.clone()
    };
    for bad in [without_certificate, another_authority] {
        let error = refusal(&format!("rediss://localhost:{}", redis.port()), &bad).await;
        assert!(matches!(error, ConnectError::Tls { .. }), "{error:?}");
        assert!(error.to_string().contains("store.ca_file"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tls_setting_that_cannot_be_is_named() {
    let (redis, good) = with_tls().await;
    let url = format!("rediss://localhost:{}", redis.port());
    let file = |name: &str| -> Option<PathBuf> { Some(redis.path(name)) };
    let change = |change: &dyn Fn(&mut StoreSettings)| {
        let mut changed = good.clone();
        change(&mut changed);
        changed
    };
    let broken = [
        (change(&|s| s.ca_file = file("absent.pem")), "store.ca_file"),
        (change(&|s| s.ca_file = file("server.key")), "store.ca_file"),
        (change(&|s| s.key_file = file("server.key")), "store.key_file"),
        (change(&|s| s.key_file = None), "store.cert_file"),
    ];
    for (bad, setting) in broken {
        let error = refusal(&url, &bad).await;
        assert!(
            error.is_settings() && error.to_string().starts_with(setting),
            "{error}"
        );
    }
    let plain = format!("redis://localhost:{}", redis.port());
    let error = refusal(&plain, &good).await;
    assert!(
        error.is_settings() && error.to_string().contains("rediss"),
        "{error}"
    );
    let error = refusal(&plain, &settings()).await;
    assert!(
        error.to_string().contains("rediss"),
        "no TLS to a port with it: {error}"
    );
}

#[tokio::test]
async fn a_unix_socket_will_do() {
    let redis = Redis::start_with(&["--unixsocket", "{dir}/redis.sock"]).await;
    let url = format!("redis+unix://{}?db=1", redis.path("redis.sock").display());
    let store = connect(&url).await;
    store.notebook_open_for_test().await;
    // The notebook, and how many its peer has.
    assert!(redis.cli(&["info", "keyspace"]).contains("db1:keys=2"));
    let report = store.report().await.expect("Redis answers");
    assert_eq!(report.eviction_policy.as_deref(), Some("noeviction"));
    assert_eq!(report.topology, "centralized");
    assert!(report.clock_ms.is_some_and(|ms| ms > 1_700_000_000_000));
}

#[tokio::test]
async fn nobody_at_the_address_is_not_the_settings_fault() {
    let url = format!("redis://:hunter2@127.0.0.1:{}", free_port());
    let error = refusal(&url, &settings()).await;
    assert!(!error.is_settings(), "{error}");
    assert!(error.to_string().contains(":***@127.0.0.1"), "{error}");
    assert!(error.to_string().contains("(Connection refused)"), "{error}");
    let redis = Redis::start().await;
    let error = refusal(&format!("rediss://127.0.0.1:{}", redis.port()), &settings()).await;
    assert!(
        error.to_string().contains("rediss"),
        "TLS to a port without it: {error}"
    );
}

#[tokio::test]
async fn a_url_or_prefix_that_cannot_be_is_refused_at_once() {
    let error = refusal("http://:hunter2@localhost", &settings()).await;
    assert!(
        matches!(error, ConnectError::BadUrl { .. }) && error.is_settings(),
        "{error:?}"
    );
    let scattered = StoreSettings {
        prefix: "a{".into(),
        ..settings()
    };
    let error = refusal("redis://localhost", &scattered).await;
    assert!(error.to_string().starts_with("store.prefix"), "{error}");
}

#[tokio::test]
async fn a_redis_that_starts_late_is_waited_for() {
    let port = free_port();
    let url = format!("redis://127.0.0.1:{port}");
    let waiting = StoreSettings {
        wait: Duration::from_secs(30),
        ..settings()
    };
    let late = async {
        sleep(Duration::from_millis(700)).await;
        let redis = Redis::prepare_on(port, &[]);
        redis.run().await;
        redis
    };
    let (store, _redis) = tokio::join!(RedisStore::connect(&url, &waiting), late);
    store.expect("it must wait").ping().await.expect("Redis answers");
}

#[tokio::test(flavor = "multi_thread")]
async fn sentinels_show_the_way_also_after_a_failover() {
    let sentinels = Sentinels::start().await;
    let url = sentinels.url();
    keeps_the_contract(&url).await;
    assert_that_all_keys_end(sentinels.master());

    let store = connect(&url).await;
    assert_eq!(store.report().await.expect("Redis answers").topology, "sentinel");
    sentinels.master().kill().await;
    until("the replica has taken over", async || {
        store
            .touch(&SessionId::generate(), 1, Duration::from_secs(60))
            .await
            .is_ok()
    })
    .await;
    assert!(sentinels.replica().cli(&["role"]).starts_with("master"));
}
