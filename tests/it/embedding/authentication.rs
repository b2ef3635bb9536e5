//! A program's own authentication: its principals are those of the node, its challenges reach clients.

use http::HeaderName;

use super::*;
use crate::support::http::http_client;

static USER: HeaderName = HeaderName::from_static("x-user");

/// Takes the principal from a header that a proxy would set, and knows three answers.
#[derive(Debug)]
struct ByHeader;

#[async_trait::async_trait]
impl Authenticate for ByHeader {
    async fn authenticate(&self, head: &Parts) -> Result<Identity, Challenge> {
        let user = head.headers.get("x-user").and_then(|user| user.to_str().ok());
        match user {
            Some("guest") => Ok(Identity::anonymous()),
            Some("banned") => Err(Challenge::forbidden(Some("Bearer error=\"insufficient_scope\""))),
            Some("late") => Err(Challenge::unavailable()),
            Some("broken") => panic!("this panic is part of the test"),
            Some(user) => Ok(Principal(user.into()).into()),
            None => Err(Challenge::unauthorized("Bearer realm=\"shop\"").in_words("sign in at /login")),
        }
    }

    fn credentials(&self) -> &[HeaderName] {
        std::slice::from_ref(&USER)
    }
}

async fn program() -> Program {
    Program::start(|builder| builder.authenticate(ByHeader), Desk::default()).await
}

#[tokio::test]
async fn sessions_belong_to_the_principal_that_the_program_names() {
    let program = program().await;
    let alice = Client::legacy(&program.url()).header("x-user", "alice");
    assert_eq!(
        alice.call("who", json!({})).await.ok().text(),
        r#""alice" "principal:alice""#
    );
    let session = alice.session().await.to_owned();
    let bob = Client::legacy(&program.url())
        .header("x-user", "bob")
        .in_session(&session);
    assert_eq!(bob.call("who", json!({})).await.status, 404);
    assert_eq!(bob.get(None).await.status().as_u16(), 404);
    assert_eq!(bob.delete().await.status, 404);
    alice.call("who", json!({})).await.ok();
    let guest = Client::modern(&program.url()).header("x-user", "guest");
    assert_eq!(
        guest.call("who", json!({})).await.ok().text(),
        r#""" "address:127.0.0.1""#
    );
    program.stop().await;
}

#[tokio::test]
async fn credentials_count_once_and_are_nobody_elses() {
    let program = program().await;
    let alice = Client::modern(&program.url()).header("x-user", "alice");
    assert_eq!(alice.call("told", json!({})).await.ok().text(), "None");
    let twice = alice.header("x-user", "bob").call("told", json!({})).await;
    assert_eq!(twice.status, 400, "{}", twice.body);
    program.stop().await;
}

#[tokio::test]
async fn challenges_reach_the_client_with_their_status_and_words() {
    let program = program().await;
    let as_user = |user: &str| Client::modern(&program.url()).header("x-user", user);
    let unknown = Client::modern(&program.url()).call("who", json!({})).await;
    assert_eq!(unknown.status, 401);
    assert_eq!(unknown.header("www-authenticate"), Some("Bearer realm=\"shop\""));
    assert_eq!(unknown.error()["message"], "sign in at /login");
    let banned = as_user("banned").call("who", json!({})).await;
    assert_eq!(banned.status, 403);
    assert_eq!(
        banned.header("www-authenticate"),
        Some("Bearer error=\"insufficient_scope\"")
    );
    let late = as_user("late").call("who", json!({})).await;
    assert_eq!((late.status, late.header("retry-after")), (503, Some("1")));
    assert_eq!(as_user("broken").call("who", json!({})).await.status, 500);
    // Also for streams, for the end of a session, and for unknown methods.
    let http = http_client().build().expect("a client");
    for (method, path) in [
        ("GET", "mcp"),
        ("DELETE", "mcp"),
        ("PUT", "mcp"),
        ("GET", "sse"),
        ("POST", "messages"),
    ] {
        let method = method.parse().expect("a method");
        let asked = http.request(method, format!("{}/{path}", program.url()));
        let asked = asked.header("accept", "text/event-stream").send().await;
        assert_eq!(asked.expect("an answer").status().as_u16(), 401, "{path}");
    }
    program.stop().await;
}
