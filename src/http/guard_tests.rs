//! Tests of who may call, and from where.

use http::Request;

use super::super::source::Purpose;
use super::*;

fn guard(change: impl FnOnce(&mut Settings)) -> Guard {
    let mut settings = Settings::default();
    change(&mut settings);
    Guard::new(&settings, None, "notes").unwrap().0
}

fn connected() -> Connected {
    let source = Source::Address([127, 0, 0, 1].into());
    Connected {
        source,
        uses: Arc::new(Shares::new(&Settings::default())).of(source.peer()),
        purpose: Purpose::Clients,
        certificate: None,
    }
}

fn admit(guard: &Guard, pairs: &[(HeaderName, &'static str)]) -> Result<Principal, Refusal> {
    let pairs = pairs.iter();
    admitted(
        guard,
        pairs
            .map(|(name, value)| (name.clone(), HeaderValue::from_static(value)))
            .collect(),
    )
}

/// What needs no waiting here.
fn admitted(guard: &Guard, headers: HeaderMap) -> Result<Principal, Refusal> {
    let (mut head, ()) = Request::builder().uri("/mcp").body(()).unwrap().into_parts();
    head.headers = headers;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build();
    let admitted = runtime
        .unwrap()
        .block_on(guard.admit(&head, &connected(), &RateLimits::off()));
    admitted.map(|identity| identity.principal().clone())
}

fn unauthorized() -> Result<Principal, Refusal> {
    Err(Refusal::Challenged(
        Challenge::unauthorized("Bearer realm=\"anynode\"").into(),
    ))
}

#[test]
fn a_local_server_answers_to_loopback_names_on_any_port() {
    let guard = guard(|_| {});
    for host in [
        "localhost",
        "localhost:3000",
        "127.0.0.1:8080",
        "[::1]:3000",
        "[::1]",
        "LOCALHOST:1",
        "app.localhost:3000",
        "a.b.LocalHost",
    ] {
        assert!(admit(&guard, &[(HOST, host)]).is_ok(), "{host}");
    }
    for host in [
        "evil.example.com",
        "evil.example.com:3000",
        "localhost.evil.com",
        "evil-localhost",
        "evil.example/.localhost",
        ".localhost",
        "localhost:3000@evil.example",
        "",
    ] {
        assert_eq!(
            admit(&guard, &[(HOST, host)]),
            Err(Refusal::HostNotAllowed),
            "{host}"
        );
    }
    assert_eq!(admit(&guard, &[]), Err(Refusal::HostNotAllowed));
}

#[test]
fn a_server_on_another_address_takes_any_host_until_told_otherwise() {
    let open = guard(|s| s.host = "0.0.0.0".into());
    assert!(admit(&open, &[(HOST, "mcp.example.com")]).is_ok());
    let listed = guard(|s| {
        s.host = "0.0.0.0".into();
        s.http.allowed_hosts = vec!["MCP.example.com".into()];
    });
    assert!(admit(&listed, &[(HOST, "mcp.example.com:443")]).is_ok());
    assert_eq!(
        admit(&listed, &[(HOST, "other.example.com")]),
        Err(Refusal::HostNotAllowed)
    );
}

#[test]
fn origins_are_loopback_or_listed() {
    let guard = guard(|s| s.http.allowed_origins = vec!["https://app.example.com".into()]);
    let of = |origin| admit(&guard, &[(HOST, "localhost"), (ORIGIN, origin)]);
    assert!(of("http://localhost:5173").is_ok());
    assert!(of("http://app.localhost:5173").is_ok());
    assert!(of("https://app.example.com").is_ok());
    for bad in [
        "http://evil.example.com",
        "null",
        "http://localhost.evil.com",
        // M3: what is after `@` is the host.
        "http://localhost:3000@evil.example",
        "http://localhost@evil.example",
        "http://localhost:3000/path",
        "http://evil.example/.localhost",
        "http://evil.example?.localhost",
        "http://evil.example@x.localhost",
        "http://.localhost",
        "https://app.example.com:8443",
    ] {
        assert_eq!(of(bad), Err(Refusal::OriginNotAllowed), "{bad}");
    }
}

/// M3: of two headers the first counted.
#[test]
fn headers_that_count_once_are_refused_when_they_come_twice() {
    let guard = guard(|_| {});
    for (name, spelt) in &SINGLE {
        let mut headers = HeaderMap::new();
        headers.insert(HOST, HeaderValue::from_static("localhost"));
        headers.append(name.clone(), HeaderValue::from_static("localhost"));
        headers.append(name.clone(), HeaderValue::from_static("localhost"));
        let refused = admitted(&guard, headers);
        assert_eq!(refused, Err(Refusal::DoubledHeader(spelt)));
    }
    let mut headers = HeaderMap::new();
    headers.insert(HOST, HeaderValue::from_static("localhost"));
    for kind in ["application/json", "text/event-stream"] {
        headers.append(http::header::ACCEPT, HeaderValue::from_static(kind));
    }
    assert!(admitted(&guard, headers).is_ok());
}

/// Asks somebody who never answers.
#[derive(Debug)]
struct Unanswered;

#[async_trait::async_trait]
impl Authenticate for Unanswered {
    async fn authenticate(&self, _head: &Parts) -> Result<Identity, Challenge> {
        std::future::pending().await
    }
}

#[tokio::test(start_paused = true)]
async fn who_makes_a_request_is_waited_for_so_long_and_no_longer() {
    let (guard, _tasks) = Guard::new(&Settings::default(), Some(Arc::new(Unanswered)), "notes").unwrap();
    let head = Request::builder().uri("/mcp").header(HOST, "localhost").body(());
    let (head, ()) = head.unwrap().into_parts();
    let began = tokio::time::Instant::now();
    let refused = guard.admit(&head, &connected(), &RateLimits::off()).await;
    assert!(refused == Err(Refusal::Challenged(Challenge::unavailable().into())));
    assert_eq!(began.elapsed(), AUTHENTICATE_WITHIN);
}

#[test]
fn a_token_names_its_principal() {
    let guard = guard(|s| drop(s.auth.tokens.insert("alice".into(), "a-long-enough-token".into())));
    let of = |value| admit(&guard, &[(HOST, "localhost"), (AUTHORIZATION, value)]);
    assert_eq!(of("Bearer a-long-enough-token"), Ok(Principal("alice".into())));
    assert_eq!(of("bearer a-long-enough-token"), Ok(Principal("alice".into())));
    for bad in ["Basic a-long-enough-token", "a-long-enough-token", ""] {
        assert_eq!(of(bad), unauthorized(), "{bad}");
    }
    for wrong in [
        "Bearer wrong",
        "Bearer a-long-enough-toke",
        "Bearer a-long-enough-token2",
    ] {
        let refused = of(wrong);
        let label = refused.as_ref().map_err(Refusal::label);
        assert_eq!(label, Err("invalid_token"), "{wrong}");
    }
    assert_eq!(admit(&guard, &[(HOST, "localhost")]), unauthorized());
}
