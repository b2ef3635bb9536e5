//! Tests of the readers: what is taken, and what is refused.

use super::*;

fn of(text: &str) -> ValueKind {
    ValueKind::String(text.into())
}

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn durations_need_a_unit_and_keep_to_their_range() {
    let read = |text| duration(&of(text), SECOND..=60 * SECOND);
    assert_eq!(read("1m"), Ok(60 * SECOND));
    assert_eq!(read(" 1500ms "), Ok(Duration::from_millis(1500)));
    for bad in ["61s", "0s", "30", "ten", "", "-1s"] {
        let expected = read(bad).unwrap_err();
        assert!(expected.contains("from 1s to 1m"), "{bad}: {expected}");
    }
    assert!(
        duration(&ValueKind::I64(30), SECOND..=60 * SECOND).is_err(),
        "30 of what?"
    );
    assert_eq!(
        duration_or_zero(&of("0s"), SECOND..=60 * SECOND),
        Ok(Duration::ZERO)
    );
    assert!(duration_or_zero(&of("5ms"), SECOND..=60 * SECOND).is_err());
}

#[test]
fn sizes_are_bytes_or_carry_a_unit() {
    let read = |value: &ValueKind| size(value, 1024..=1 << 30);
    assert_eq!(read(&ValueKind::I64(4096)), Ok(4096));
    assert_eq!(read(&of("4096")), Ok(4096));
    assert_eq!(read(&of("4MiB")), Ok(4 << 20));
    assert_eq!(read(&of("1 GiB")), Ok(1 << 30));
    for bad in ["4MB", "2GiB", "1", "99999999999999999999GiB"] {
        assert!(read(&of(bad)).unwrap_err().contains("from 1KiB to 1GiB"), "{bad}");
    }
}

#[test]
fn counts_come_from_files_and_from_text() {
    assert_eq!(count::<u16>(&ValueKind::I64(8080), 0..=65_535), Ok(8080));
    assert_eq!(count::<u16>(&of("0"), 0..=65_535), Ok(0));
    for bad in [
        of("65536"),
        of("http"),
        of("-1"),
        ValueKind::Float(1.5),
        ValueKind::I64(-1),
    ] {
        let expected = count::<u16>(&bad, 0..=65_535).unwrap_err();
        assert_eq!(expected, "a whole number from 0 to 65535");
    }
}

#[test]
fn lists_are_arrays_or_text_with_commas() {
    assert_eq!(
        hosts(&of("a.example, b:8080,")),
        Ok(vec!["a.example".into(), "b:8080".into()])
    );
    assert_eq!(hosts(&of("")), Ok(vec![]));
    assert_eq!(
        hosts(&of("[::1]:3000,*")),
        Ok(vec!["[::1]:3000".into(), "*".into()])
    );
    assert!(
        hosts(&of("https://a.example"))
            .unwrap_err()
            .contains("\"https://a.example\" is not")
    );
    assert!(origins(&of("https://a.example,http://localhost:5173")).is_ok());
    for bad in [
        "a.example",
        "https://a.example/",
        "https://a.example/path",
        "https://",
    ] {
        assert!(origins(&of(bad)).is_err(), "{bad}");
    }
}

#[test]
fn hosts_to_listen_on_are_addresses_names_or_sockets() {
    for good in [
        "0.0.0.0",
        "::",
        "localhost",
        "node-1.internal",
        "my_service",
        "unix:/run/mcp.sock",
    ] {
        assert!(host(&of(good)).is_ok(), "{good}");
    }
    for bad in [
        "",
        "256.1.1.1",
        "a b",
        "http://a",
        "unix:run.sock",
        "unix:/",
        "-a",
        "a..b",
        "a:80",
    ] {
        assert!(host(&of(bad)).is_err(), "{bad}");
    }
}

#[test]
fn store_urls_name_a_scheme_that_the_store_speaks_and_a_place() {
    for good in [
        "",
        "redis://localhost",
        "rediss://user:p%40ss@h:6380/1",
        "redis-cluster://a:1?node=b:2",
        "valkeys-sentinel://s:26379?sentinelServiceName=main",
        "redis+unix:///run/redis.sock",
    ] {
        assert!(redis_url(&of(good)).is_ok(), "{good}");
    }
    for bad in [
        "localhost:6379",
        "http://h",
        "redis://",
        "redis:/h",
        "redis+unix://",
        "REDIS://h:x",
    ] {
        assert!(redis_url(&of(bad)).unwrap_err().contains("valkey+unix"), "{bad}");
    }
}

#[test]
fn a_prefix_keeps_a_session_in_one_slot() {
    for good in ["", "mcp:", "{mcp}:"] {
        assert!(prefix(&of(good)).is_ok(), "{good}");
    }
    for bad in ["{", "}a{", "{}", "{a}{b}", "a*", "a b", &"x".repeat(65)] {
        assert!(prefix(&of(bad)).is_err(), "{bad}");
    }
}

#[test]
fn credentials_have_a_least_length() {
    assert!(token(&of("0123456789abcdef")).is_ok());
    assert!(token(&of("0123456789abcde")).is_err());
    assert!(token(&of("0123456789 abcdef")).is_err());
    assert!(secret(&of("")).is_ok());
    assert!(secret(&of(&"x".repeat(31))).is_err());
    assert!(secret(&of(&"x".repeat(32))).is_ok());
}

#[test]
fn log_settings_are_what_tracing_takes() {
    for good in ["info", "WARN,anynode=debug", "off", "[span{id=1}]=debug"] {
        assert!(log_filter(&of(good)).is_ok(), "{good}");
    }
    for bad in ["", "verbose", "info,anynode=loud", "a=b=c"] {
        assert!(log_filter(&of(bad)).is_err(), "{bad}");
    }
    assert_eq!(log_format(&of("json")), Ok(LogFormat::Json));
    assert!(log_format(&of("xml")).is_err());
    assert_eq!(reply_form(&of("sse")), Ok(ReplyForm::Sse));
    assert!(reply_form(&of("SSE")).is_err());
}

#[test]
fn files_are_opened_before_they_are_trusted() {
    assert_eq!(file(&of("")), Ok(None));
    assert!(file(&of("Cargo.toml")).is_ok_and(|path| path.is_some()));
    assert!(file(&of("/nonexistent.pem")).unwrap_err().contains("can be read"));
}

#[test]
fn switches_are_true_or_false() {
    assert_eq!(switch(&ValueKind::Boolean(true)), Ok(true));
    assert_eq!(switch(&of("False")), Ok(false));
    for bad in [of("yes"), of(""), ValueKind::I64(1)] {
        assert_eq!(switch(&bad), Err("true or false".to_owned()));
    }
}

#[test]
fn an_address_for_probes_has_a_port_or_is_a_socket() {
    for good in [
        "",
        "0.0.0.0:9090",
        "127.0.0.1:0",
        "[::]:9090",
        "[::1]:9090",
        "localhost:9090",
        "unix:/run/probes.sock",
    ] {
        assert_eq!(listen(&of(good)).as_deref(), Ok(good));
    }
    for bad in [
        "9090",
        ":9090",
        "0.0.0.0",
        "::1",
        "::1:9090",
        "[::1]",
        "[0.0.0.0]:9090",
        "0.0.0.0:65536",
        "0.0.0.0:http",
        "a b:9090",
        "http://0.0.0.0:9090",
        "unix:",
        "unix:probes.sock",
    ] {
        assert!(listen(&of(bad)).unwrap_err().contains("0.0.0.0:9090"), "{bad}");
    }
    assert_eq!(
        ListenAddress::parse("[::1]:9"),
        Some(ListenAddress::Tcp("::1", 9))
    );
    assert_eq!(ListenAddress::parse("unix:/s"), Some(ListenAddress::Unix("/s")));
}

#[test]
fn a_public_path_is_one_that_urls_keep_as_it_is() {
    for good in ["", "/", "/tools", "/tools/", "/a/b-c_d.e~f"] {
        assert_eq!(public_path(&of(good)).as_deref(), Ok(good));
    }
    for bad in [
        "tools",
        "//",
        "/a//b",
        "/a/../b",
        "/.",
        "/a b",
        "/a?b",
        "/a#b",
        "/%61",
        "https://host/a",
    ] {
        assert!(public_path(&of(bad)).unwrap_err().contains("/tools"), "{bad}");
    }
}
