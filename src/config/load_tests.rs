//! Tests of loading: precedence, sources, one report for everything, and that the default file is true.

use std::collections::BTreeSet;
use std::io::Write;
use std::time::Duration;

use super::*;
use crate::config::DEFAULTS_TOML;

fn environment(variables: &[(&str, &str)]) -> Sources {
    let pair = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    Sources {
        environment: variables.iter().map(pair).collect(),
        ..Sources::default()
    }
}

fn file(text: &str) -> (tempfile::NamedTempFile, Sources) {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    let sources = Sources {
        file: Some(file.path().into()),
        ..Sources::default()
    };
    (file, sources)
}

fn lines(sources: Sources) -> Vec<String> {
    let error = load(sources).unwrap_err();
    error.problems.iter().map(ToString::to_string).collect()
}

#[test]
fn with_no_source_at_all_everything_is_default() {
    let loaded = load(Sources::default()).unwrap();
    assert_eq!(
        loaded.settings,
        Settings::default(),
        "settings.default.toml differs from Settings::default()"
    );
    assert_eq!(loaded.assigned().count(), 0);
}

#[test]
fn the_default_file_names_every_setting_with_its_variable_and_nothing_else() {
    let parsed: toml::Table = DEFAULTS_TOML.parse().unwrap();
    let mut named = BTreeSet::new();
    for (key, value) in &parsed {
        match value.as_table() {
            Some(area) => named.extend(area.keys().map(|below| format!("{key}.{below}"))),
            None => assert!(named.insert(key.clone())),
        }
    }
    let known: BTreeSet<String> = SETTINGS.iter().map(|setting| setting.name.to_owned()).collect();
    assert_eq!(named, known);
    for setting in SETTINGS {
        let line = format!("# {}", setting.variable());
        assert!(
            DEFAULTS_TOML
                .lines()
                .any(|l| l == line || l.starts_with(&format!("{line}__"))),
            "{line}"
        );
    }
}

#[test]
fn flags_override_the_environment_which_overrides_the_file_which_overrides_defaults() {
    let (_kept, mut sources) = file("port = 1\nhost = \"::1\"\n[session]\nttl = \"1h\"\nlifetime = \"2h\"");
    sources.environment = environment(&[("PORT", "2"), ("MCP_SESSION__TTL", "2h")]).environment;
    sources.flags = vec![("port".into(), "3".into())];
    let loaded = load(sources).unwrap();
    assert_eq!(loaded.settings.port, 3);
    assert_eq!(loaded.settings.session.ttl, Duration::from_secs(7200));
    assert_eq!(loaded.settings.host, "::1");
    assert_eq!(loaded.settings.session.lifetime, Duration::from_secs(7200));
    assert_eq!(
        loaded.settings.session.kept_max,
        Settings::default().session.kept_max
    );
    let source = |name: &str| {
        loaded
            .in_force
            .iter()
            .find(|a| a.name == name)
            .unwrap()
            .source
            .clone()
    };
    assert_eq!(source("port"), "--port");
    assert_eq!(source("session.ttl"), "MCP_SESSION__TTL");
    assert_eq!(loaded.assigned().count(), 4);
}

/// A21: `RUST_LOG` ranks above a file and below this server's own variable. What is no filter is another
/// program's.
#[test]
fn rust_log_sets_the_level_unless_this_servers_own_settings_do() {
    let level = |variables: &[(&str, &str)]| {
        let (_kept, mut sources) = file("[log]\nlevel = \"error\"");
        sources.environment = environment(variables).environment;
        let loaded = load(sources).unwrap();
        (loaded.settings.log.level, loaded.foreign.concat())
    };
    let of = |level: &str| (level.to_owned(), String::new());
    assert_eq!(level(&[]), of("error"));
    assert_eq!(level(&[("RUST_LOG", "debug")]), of("debug"));
    assert_eq!(level(&[("RUST_LOG", "")]), of("error"));
    for both in [
        [("RUST_LOG", "debug"), ("MCP_LOG__LEVEL", "warn")],
        [("MCP_LOG__LEVEL", "warn"), ("RUST_LOG", "debug")],
    ] {
        assert_eq!(level(&both), of("warn"));
    }
    let (kept, told) = level(&[("RUST_LOG", "my_program")]);
    assert_eq!(kept, "error");
    assert!(told.contains("RUST_LOG"), "{told}");
}

#[test]
fn every_wrong_setting_is_reported_in_one_run_with_its_source_and_what_is_allowed() {
    let (kept, mut sources) = file("port = \"http\"\n[call]\ntimeout = 30\n[colour]\nof = \"logs\"");
    sources.environment = environment(&[("HOST", "a b"), ("MCP_SESSION__TTL", "10 parsecs")]).environment;
    sources.flags = vec![
        ("log.format".into(), "xml".into()),
        ("sesion.ttl".into(), "1m".into()),
    ];
    let path = kept.path().display();
    assert_eq!(
        lines(sources),
        [
            format!("port = \"http\" (from {path}): expected a whole number from 0 to 65535"),
            "host = \"a b\" (from HOST): expected an IP address, a host name, or unix:/path/to/socket".into(),
            "session.ttl = \"10 parsecs\" (from MCP_SESSION__TTL): expected a duration with its unit, \
             from 10ms to 365d, such as 30m, 10s or 100ms"
                .into(),
            format!(
                "call.timeout = \"30\" (from {path}): expected a duration with its unit, \
                 from 10ms to 1d, such as 30m, 10s or 100ms"
            ),
            "log.format = \"xml\" (from --set log.format): expected auto, text or json".into(),
            format!(
                "colour.of (from {path}): there is no such setting; the command `config default` prints all"
            ),
            "sesion.ttl (from --set sesion.ttl): there is no such setting; did you mean session.ttl?".into(),
        ]
    );
}

#[test]
fn secrets_are_never_shown() {
    let (_kept, mut sources) = file("[auth.tokens]\nbob = \"hunter2\"\n[auth]\ntoken = \"hunter2\"");
    sources.environment = environment(&[
        ("REDIS_URL", "http://:hunter2@h"),
        ("MCP_AUTH__TOKENS__ALICE", "hunter2"),
        ("MCP_REQUEST_STATE__SECRET", "hunter2"),
        ("MCP_REDIS_URL", "hunter2"),
    ])
    .environment;
    let lines = lines(sources);
    assert!(lines.iter().all(|line| !line.contains("hunter2")), "{lines:#?}");
    assert_eq!(lines.len(), 6, "{lines:#?}");
    let (_kept, sources) = file("port = 1\nredis_url = \"redis://:hunter2@h\n");
    let error = load(sources).unwrap_err().to_string();
    assert!(error.contains("line 2") && !error.contains("hunter2"), "{error}");
    let good = environment(&[
        ("REDIS_URL", "redis://:hunter2@h"),
        ("MCP_AUTH__TOKENS__A", "hunter2-hunter2-"),
    ]);
    let shown = format!("{:?}", load(good).unwrap());
    assert!(!shown.contains("hunter2"), "{shown}");
    assert_eq!(shown.matches(" stream: ").count(), 1, "each area once: {shown}");
}

#[test]
fn unknown_variables_are_errors_but_those_of_kubernetes_and_of_others_are_not() {
    let meant = |name: &str| lines(environment(&[(name, "5m")])).join("\n");
    assert!(meant("MCP_SESSION_TTL").ends_with("did you mean MCP_SESSION__TTL?"));
    assert!(meant("MCP_PORT").ends_with("did you mean PORT?"));
    assert!(meant("MCP_SESION_TTL").ends_with("did you mean MCP_SESSION__TTL?"));
    assert!(meant("MCP_CALL__TIMEOUTT").ends_with("did you mean MCP_CALL__TIMEOUT?"));
    assert!(meant("MCP_FROB__NICATE").ends_with("the command `config default` prints all"));
    assert!(
        meant("MCP_AUTH__TOKENS").contains("did you mean") || meant("MCP_AUTH__TOKENS").contains("no such")
    );
    let links = environment(&[
        ("MCP_SERVICE_HOST", "10.0.0.1"),
        ("MCP_SERVICE_PORT_HTTP", "80"),
        ("MCP_PORT", "tcp://10.0.0.1:80"),
        ("MCP_SERVER_PORT_80_TCP_ADDR", "10.0.0.1"),
        ("MCP_CONFIG", ""),
        ("PATH", "/bin"),
    ]);
    let loaded = load(links).unwrap();
    assert_eq!(loaded.settings, Settings::default());
    assert_eq!(loaded.foreign, Vec::<String>::new());
    let others = [
        "MCP_TIMEOUT",
        "MCP_TOOL_TIMEOUT",
        "MCP_SERVER_REQUEST_TIMEOUT",
        "MCP_REQUEST_TIMEOUT_RESET_ON_PROGRESS",
        "MCP_AUTO_OPEN_ENABLED",
        "MCP_PROXY_AUTH_TOKEN",
        "MCP_REMOTE_CONFIG_DIR",
    ];
    let loaded = load(environment(&others.map(|name| (name, "5")))).unwrap();
    assert_eq!(loaded.settings, Settings::default());
    assert_eq!(loaded.foreign, others);
}

#[test]
fn an_empty_variable_counts_as_unset() {
    let empty = environment(&[("REDIS_URL", ""), ("NODE_ID", ""), ("PORT", ""), ("HOST", "")]);
    let loaded = load(empty).unwrap();
    assert_eq!(loaded.settings, Settings::default());
    assert_eq!(loaded.assigned().count(), 0);
}

#[test]
fn tokens_add_up_over_sources() {
    let (_kept, mut sources) = file("[auth.tokens]\n\"Bob.B\" = \"0123456789abcdef\"");
    sources.environment = environment(&[("MCP_AUTH__TOKENS__ALICE", "fedcba9876543210")]).environment;
    sources.flags = vec![("auth.tokens.d.e".into(), "00000000000000000".into())];
    let tokens = load(sources).unwrap().settings.auth.tokens;
    assert_eq!(tokens.keys().collect::<Vec<_>>(), ["Bob.B", "alice", "d.e"]);
}

#[test]
fn settings_are_checked_against_each_other() {
    let lines_of = |variables: &[(&str, &str)]| lines(environment(variables));
    let found = lines_of(&[
        ("MCP_SESSION__TTL", "30s"),
        ("MCP_SESSION__UNINITIALIZED_TTL", "60s"),
    ]);
    let expected = "(from MCP_SESSION__UNINITIALIZED_TTL): expected at most session.ttl, which is 30s";
    assert_eq!(found, [format!("session.uninitialized_ttl = \"60s\" {expected}")]);
    let found = lines_of(&[("MCP_STORE__CERT_FILE", "Cargo.toml")]);
    assert!(found.concat().starts_with("store.key_file = \"\""), "{found:?}");
    let found = lines_of(&[("MCP_STORE__KEY_FILE", "Cargo.toml")]);
    assert!(found.concat().starts_with("store.cert_file = \"\""), "{found:?}");
    let same = "0123456789abcdef";
    let found = lines_of(&[("MCP_AUTH__TOKENS__A", same), ("MCP_AUTH__TOKENS__B", same)]);
    assert!(
        found
            .concat()
            .contains("(from MCP_AUTH__TOKENS__B): expected a token of its own"),
        "{found:?}"
    );
}

#[test]
fn probes_need_an_address_that_is_not_the_clients() {
    let loaded = |port: &str, host: &str, probes: &str| {
        load(environment(&[
            ("PORT", port),
            ("HOST", host),
            ("MCP_HTTP__PROBE_LISTEN", probes),
        ]))
    };
    for (host, probes) in [
        ("127.0.0.1", "127.0.0.1:3000"),
        ("0.0.0.0", "127.0.0.1:3000"),
        ("127.0.0.1", "0.0.0.0:3000"),
        ("::", "127.0.0.1:3000"),
        ("localhost", "localhost:3000"),
        ("unix:/run/mcp.sock", "unix:/run/mcp.sock"),
    ] {
        let found = loaded("3000", host, probes).unwrap_err().to_string();
        let told = "(from MCP_HTTP__PROBE_LISTEN): expected another address";
        assert!(found.contains(told), "{host}: {found}");
    }
    for (port, host, probes) in [
        ("3000", "127.0.0.1", "127.0.0.1:3001"),
        ("3000", "127.0.0.1", "127.0.0.2:3000"),
        ("3000", "0.0.0.0", "[::1]:3000"),
        ("0", "127.0.0.1", "127.0.0.1:0"),
        ("3000", "unix:/run/mcp.sock", "127.0.0.1:3000"),
    ] {
        assert!(loaded(port, host, probes).is_ok(), "{port} {host} {probes}");
    }
}

#[test]
fn clients_are_told_relative_urls_or_those_of_the_public_path() {
    let reference = |path: &str| {
        let http = load(environment(&[("MCP_HTTP__PUBLIC_PATH", path)]))
            .unwrap()
            .settings
            .http;
        http.reference("messages?sessionId=a")
    };
    assert_eq!(reference(""), "messages?sessionId=a");
    assert_eq!(reference("/"), "/messages?sessionId=a");
    for path in ["/tools", "/tools/"] {
        assert_eq!(reference(path), "/tools/messages?sessionId=a");
    }
}

#[test]
fn a_default_follows_what_was_set() {
    let session = load(environment(&[("MCP_SESSION__TTL", "5s")]))
        .unwrap()
        .settings
        .session;
    assert_eq!(session.uninitialized_ttl, Duration::from_secs(5));
    let call = |variables: &[(&str, &str)]| load(environment(variables)).unwrap().settings.call;
    assert_eq!(call(&[("MCP_CALL__NODE_MAX", "100")]).peer_max, 80);
    assert_eq!(call(&[("MCP_CALL__NODE_MAX", "1")]).peer_max, 1);
    assert_eq!(call(&[("MCP_CALL__NODE_MAX", "20000")]).peer_max, 16_000);
    let set = [("MCP_CALL__NODE_MAX", "100"), ("MCP_CALL__PEER_MAX", "100")];
    assert_eq!(call(&set).peer_max, 100);
    let too_many = [("MCP_CALL__NODE_MAX", "100"), ("MCP_CALL__PEER_MAX", "101")];
    let found = lines(environment(&too_many)).concat();
    assert!(
        found.contains("expected at most call.node_max, which is 100"),
        "{found}"
    );
}

#[test]
fn a_setting_that_is_wrong_by_itself_is_reported_once() {
    let found = lines(environment(&[
        ("MCP_SESSION__TTL", "x"),
        ("MCP_SESSION__UNINITIALIZED_TTL", "1h"),
    ]));
    assert_eq!(found.len(), 1, "{found:?}");
}

#[test]
fn a_file_that_is_missing_or_of_the_wrong_shape_is_named() {
    let missing = Sources {
        file: Some("/nonexistent/settings.toml".into()),
        ..environment(&[("PORT", "x")])
    };
    let found = lines(missing);
    assert!(found[0].starts_with("the settings file (from /nonexistent/settings.toml): cannot be read"));
    assert_eq!(found.len(), 2, "the environment is checked too");
    let (_kept, sources) = file("session = 5\n[port]\nx = 1");
    let found = lines(sources).join("\n");
    assert!(
        found.contains("in a file, its settings stand below [session]"),
        "{found}"
    );
    assert!(found.contains("port"), "{found}");
}
