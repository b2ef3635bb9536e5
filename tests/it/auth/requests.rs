//! Good credentials open nothing that a request does not ask for in the form it has to have.

use serde_json::json;

use super::{bearer, stages};
use crate::support::client::{Answer, Client};
use crate::support::http::http_client;
use crate::support::issuer::Issuer;

/// What would count up, if it were run.
const INCREMENT: &str =
    r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"increment","arguments":{"key":"n"}}}"#;

/// T1: over a socket, and on every node. That no path is forgotten, a test of the route table shows.
#[tokio::test]
async fn nothing_is_answered_without_credentials() {
    let issuer = Issuer::start().await;
    let http = http_client().build().expect("a client");
    for cluster in stages(&issuer, &[]).await {
        for node in cluster.nodes() {
            for path in ["/", "/mcp", "/sse", "/messages", "/messages?sessionId=x"] {
                for method in ["GET", "POST", "DELETE", "PUT", "PATCH", "HEAD", "OPTIONS", "BREW"] {
                    let request =
                        http.request(method.parse().expect("a method"), format!("{}{path}", node.url()));
                    let answer = request.body(INCREMENT).send().await.expect("an answer");
                    assert_eq!(answer.status().as_u16(), 401, "{method} {path}");
                    assert!(
                        answer.headers().contains_key("www-authenticate"),
                        "{method} {path}"
                    );
                }
            }
        }
    }
}

/// T11: with one session open, a request without a session is not taken for one of that.
#[tokio::test]
async fn a_session_is_never_guessed() {
    let issuer = Issuer::start().await;
    for cluster in stages(&issuer, &[]).await {
        let alice = bearer(Client::legacy(&cluster.node(0).url()), &issuer.token(|t| t));
        alice.session().await;
        for node in cluster.nodes() {
            let answer = alice.at(&node.url()).post(&[], INCREMENT).await;
            assert_eq!(answer.status, 400, "{}", answer.body);
            assert!(answer.body.contains("Mcp-Session-Id"), "{}", answer.body);
        }
        assert_eq!(counted(&alice).await, 1);
    }
}

/// T33: what a page may send to another origin without asking is no request.
#[tokio::test]
async fn what_a_form_can_send_is_not_run() {
    let issuer = Issuer::start().await;
    for cluster in stages(&issuer, &[]).await {
        let alice = bearer(Client::legacy(&cluster.node(0).url()), &issuer.token(|t| t));
        for kind in [
            "text/plain",
            "application/x-www-form-urlencoded",
            "multipart/form-data; boundary=x",
        ] {
            let mut headers = alice.session_headers().await;
            headers.push(("content-type".to_owned(), kind.to_owned()));
            assert_eq!(alice.post(&headers, INCREMENT).await.status, 415, "{kind}");
        }
        assert_eq!(counted(&alice).await, 1);
    }
}

/// T34: a page whose name was bound to this address is refused. A header of a proxy changes nothing.
#[tokio::test]
async fn a_name_that_was_bound_to_this_address_is_no_host() {
    let issuer = Issuer::start().await;
    let token = issuer.token(|t| t);
    for cluster in stages(&issuer, &[("MCP_HTTP__ALLOWED_HOSTS", "127.0.0.1")]).await {
        for node in cluster.nodes() {
            let alice = bearer(Client::legacy(&node.url()), &token);
            for (name, value) in [
                ("x-forwarded-host", "127.0.0.1"),
                ("x-forwarded-host", "evil.example"),
                ("forwarded", "host=127.0.0.1"),
            ] {
                let mut headers = alice.session_headers().await;
                headers.push((name.to_owned(), value.to_owned()));
                assert_eq!(
                    alice.post(&headers, INCREMENT).await.status,
                    200,
                    "{name}: {value}"
                );
                headers.push(("host".to_owned(), "evil.example".to_owned()));
                assert_eq!(
                    alice.post(&headers, INCREMENT).await.status,
                    403,
                    "{name}: {value}"
                );
            }
            alice.delete().await;
        }
    }
}

/// T35: members have one name, in one spelling, once.
#[tokio::test]
async fn a_member_of_another_spelling_is_not_the_member() {
    let issuer = Issuer::start().await;
    for cluster in stages(&issuer, &[]).await {
        let alice = bearer(Client::legacy(&cluster.node(0).url()), &issuer.token(|t| t));
        for (member, other) in [
            (r#""method""#, r#""Method""#),
            (r#""params""#, "\"param\u{17f}\""),
            (r#""name""#, r#""NAME""#),
            (r#""jsonrpc""#, r#""JSONRPC""#),
            (r#""method""#, r#""method":"ping","method""#),
            (r#""name""#, r#""name":"echo","name""#),
        ] {
            let body = INCREMENT.replace(member, other);
            let answer = alice.post(&alice.session_headers().await, &body).await;
            assert!(
                answer.response().get("result").is_none(),
                "{body}: {}",
                answer.body
            );
        }
        assert_eq!(counted(&alice).await, 1);
    }
}

/// How often it was counted, with this time.
async fn counted(client: &Client) -> u64 {
    let answer: Answer = client.call("increment", json!({ "key": "n" })).await.ok();
    let counted = answer
        .text()
        .chars()
        .filter(char::is_ascii_digit)
        .collect::<String>();
    counted
        .parse()
        .unwrap_or_else(|_| panic!("a number in {}", answer.body))
}
