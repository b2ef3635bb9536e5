//! MCP as the load speaks it: requests that are prepared once and numbered in place, and answers that are checked.

use std::borrow::Cow;

use anyhow::{Context as _, bail, ensure};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::http::{Answer, Connection, Stream};
use crate::server::Era;

const LEGACY: &str = "2025-11-25";
const MODERN: &str = "2026-07-28";

/// Ids have ten digits, so that a number is written over another without moving the rest.
const FIRST_ID: u64 = 1_000_000_000;
/// What stands for the id while a request is prepared: ten digits that nothing else contains.
const BLANK: &str = "4815162342";

/// How requests of one client begin: its era, its session and its credentials.
#[derive(Debug, Clone)]
pub struct Caller {
    /// How it speaks.
    pub era: Era,
    /// Its session.
    pub session: Option<String>,
    /// Its bearer token.
    pub token: Option<String>,
}

impl Caller {
    /// A client without a session.
    #[must_use]
    pub const fn without_session(era: Era) -> Self {
        Self {
            era,
            session: None,
            token: None,
        }
    }

    /// A client of this session.
    #[must_use]
    pub const fn of_session(session: String) -> Self {
        Self {
            era: Era::Legacy,
            session: Some(session),
            token: None,
        }
    }

    /// The same with this bearer token, if there is one.
    #[must_use]
    pub fn with_token(self, token: Option<String>) -> Self {
        Self { token, ..self }
    }

    /// A whole request to `/mcp`: its head, and this message, to which a modern client adds itself.
    #[must_use]
    pub fn post(&self, mut message: Value) -> Vec<u8> {
        let mut headers = String::new();
        let method = message["method"].as_str().unwrap_or_default().to_owned();
        match self.era {
            Era::Legacy if method == "initialize" => {}
            Era::Legacy => headers.push_str(&format!("mcp-protocol-version: {LEGACY}\r\n")),
            Era::Modern => {
                headers.push_str(&format!(
                    "mcp-protocol-version: {MODERN}\r\nmcp-method: {method}\r\n"
                ));
                if let Some(name) = message["params"]["name"].as_str() {
                    headers.push_str(&format!("mcp-name: {name}\r\n"));
                }
                let meta = &mut message["params"]["_meta"];
                meta["io.modelcontextprotocol/protocolVersion"] = MODERN.into();
                meta["io.modelcontextprotocol/clientInfo"] = json!({"name": "side-by-side", "version": "0"});
                meta["io.modelcontextprotocol/clientCapabilities"] = json!({});
            }
        }
        if let Some(session) = &self.session {
            headers.push_str(&format!("mcp-session-id: {session}\r\n"));
        }
        if let Some(token) = &self.token {
            headers.push_str(&format!("authorization: Bearer {token}\r\n"));
        }
        post("/mcp", &headers, &message)
    }

    /// A `GET` or `DELETE` of `/mcp`, with more headers.
    #[must_use]
    pub fn bare(&self, method: &str, headers: &str) -> Vec<u8> {
        let session = self.session.as_deref().unwrap_or_default();
        format!(
            "{method} /mcp HTTP/1.1\r\nhost: 127.0.0.1\r\naccept: text/event-stream\r\n\
             mcp-session-id: {session}\r\nmcp-protocol-version: {LEGACY}\r\n{headers}\r\n"
        )
        .into_bytes()
    }

    /// Prepares `tools/call`; `arguments` may say [`blank`] where the number belongs.
    #[must_use]
    pub fn call(&self, tool: &str, arguments: &Value, meta: &Value) -> Numbered {
        let mut params = json!({"name": tool, "arguments": arguments});
        if meta.is_object() {
            params["_meta"] = meta.clone();
        }
        Numbered::new(self.post(request("tools/call", params)))
    }

    /// Prepares a call of `echo` that says its own number.
    #[must_use]
    pub fn echo(&self) -> Numbered {
        self.call("echo", &json!({"text": format!("say {BLANK}")}), &Value::Null)
    }
}

/// Where the number belongs.
#[must_use]
pub const fn blank() -> &'static str {
    BLANK
}

/// A whole `POST` of this message.
#[must_use]
pub fn post(path: &str, headers: &str, message: &Value) -> Vec<u8> {
    let body = message.to_string();
    let length = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n\
         accept: application/json, text/event-stream\r\n{headers}content-length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

/// A request whose id is still blank.
#[must_use]
pub fn request(method: &str, params: Value) -> Value {
    // A number, so that it takes as long to read as any.
    let id: u64 = BLANK.parse().unwrap_or_default();
    json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params})
}

/// A prepared request that gets a new number each time.
#[derive(Debug, Clone)]
pub struct Numbered {
    bytes: Vec<u8>,
    blanks: Vec<usize>,
    number: u64,
}

impl Numbered {
    /// Finds the blanks of a request.
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Self {
        let blanks = memchr::memmem::find_iter(&bytes, BLANK).collect();
        Self {
            bytes,
            blanks,
            number: FIRST_ID,
        }
    }

    /// The request with the next number.
    pub fn next(&mut self) -> (u64, &[u8]) {
        self.number += 1;
        let digits = self.number.to_string();
        for &at in &self.blanks {
            self.bytes[at..at + BLANK.len()].copy_from_slice(digits.as_bytes());
        }
        (self.number, &self.bytes)
    }

    /// Where this text stands in it.
    #[must_use]
    pub fn position(&self, text: &str) -> Option<usize> {
        memchr::memmem::find(&self.bytes, text.as_bytes())
    }

    /// Writes a text over what stands there, which is as long.
    pub fn write(&mut self, at: usize, text: &str) {
        self.bytes[at..at + text.len()].copy_from_slice(text.as_bytes());
    }

    /// The same, counting from another number: clients of one session must not use the same ids.
    #[must_use]
    pub const fn from(mut self, client: u64) -> Self {
        // Ten million each, for up to 256 clients: ids keep ten digits.
        self.number = FIRST_ID + client * 10_000_000;
        self
    }
}

#[derive(Debug, Deserialize)]
struct Response<'a> {
    jsonrpc: &'a str,
    id: u64,
    #[serde(borrow)]
    result: Option<Called<'a>>,
    error: Option<&'a RawValue>,
}

#[derive(Debug, Deserialize)]
struct Called<'a> {
    #[serde(borrow, default)]
    content: Vec<Content<'a>>,
    #[serde(rename = "isError", default)]
    is_error: bool,
}

#[derive(Debug, Deserialize)]
struct Content<'a> {
    #[serde(borrow, default)]
    text: Cow<'a, str>,
}

/// Checks that this is the result of the call with this number, and returns its text.
///
/// # Errors
/// When it is anything else.
pub fn called<'a>(answer: &'a Answer<'_>, number: u64) -> anyhow::Result<Cow<'a, str>> {
    ensure!(
        answer.head.status == 200,
        "status {}: {}",
        answer.head.status,
        shown(answer.body)
    );
    result(answer.response(), number)
}

/// Checks that this message is the result of the call with this number, and returns its text.
///
/// # Errors
/// When it is anything else.
pub fn result(message: &[u8], number: u64) -> anyhow::Result<Cow<'_, str>> {
    let response: Response<'_> = serde_json::from_slice(message).with_context(|| shown(message))?;
    ensure!(
        response.jsonrpc == "2.0" && response.id == number,
        "not the answer to {number}: {}",
        shown(message)
    );
    match (response.result, response.error) {
        (Some(mut result), None) if !result.is_error && !result.content.is_empty() => {
            Ok(result.content.swap_remove(0).text)
        }
        _ => bail!("no result: {}", shown(message)),
    }
}

/// Checks that this echoes what [`Caller::echo`] said.
///
/// # Errors
/// When it does not.
pub fn echoed(answer: &Answer<'_>, number: u64) -> anyhow::Result<()> {
    let text = called(answer, number)?;
    let said = text.strip_prefix("say ").and_then(|digits| digits.parse().ok());
    ensure!(said == Some(number), "said {text:?} in place of {number}");
    Ok(())
}

fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(500)]).into_owned()
}

/// Opens a session.
///
/// # Errors
/// When the server does not let it.
pub async fn initialize(connection: &mut Connection) -> anyhow::Result<Caller> {
    initialize_by(connection, None).await
}

/// Opens a session with this bearer token, if there is one.
///
/// # Errors
/// When the server does not let it.
pub async fn initialize_by<S: Stream>(
    connection: &mut Connection<S>,
    token: Option<String>,
) -> anyhow::Result<Caller> {
    let params = json!({
        "protocolVersion": LEGACY, "capabilities": {}, "clientInfo": {"name": "side-by-side", "version": "0"}
    });
    let nobody = Caller::without_session(Era::Legacy).with_token(token);
    let mut hello = Numbered::new(nobody.post(request("initialize", params)));
    let answer = connection.exchange(hello.next().1).await?;
    let agreed: Value = serde_json::from_slice(answer.response()).with_context(|| shown(answer.body))?;
    ensure!(
        agreed["result"]["protocolVersion"] == LEGACY,
        "agreed to {agreed}"
    );
    let session = answer.head.session.context("no session")?;
    let caller = Caller::of_session(session).with_token(nobody.token);
    let ready = caller.post(json!({"jsonrpc": "2.0", "method": "notifications/initialized"}));
    let accepted = connection.exchange(&ready).await?;
    ensure!(
        accepted.head.status == 202,
        "initialized: status {}",
        accepted.head.status
    );
    Ok(caller)
}

/// Sends a request, and returns its result.
///
/// # Errors
/// When there is none.
pub async fn ask(
    connection: &mut Connection,
    caller: &Caller,
    method: &str,
    params: Value,
) -> anyhow::Result<Value> {
    let mut asked = Numbered::new(caller.post(request(method, params)));
    let answer = connection.exchange(asked.next().1).await?;
    let mut response: Value =
        serde_json::from_slice(answer.response()).with_context(|| shown(answer.body))?;
    ensure!(
        answer.head.status == 200,
        "{method}: status {}: {response}",
        answer.head.status
    );
    ensure!(
        response["error"].is_null() && response["result"]["isError"] != true,
        "{method}: {response}"
    );
    Ok(response["result"].take())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_request_has_a_number_of_its_own() {
        let mut echo = Caller::without_session(Era::Modern).echo().from(7);
        let (first, bytes) = echo.next();
        assert_eq!(first, 1_070_000_001);
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        assert!(
            text.contains("\"id\":1070000001") && text.contains("\"say 1070000001\""),
            "{text}"
        );
        assert!(!text.contains(BLANK));
        assert_eq!(echo.next().0, first + 1);
    }

    #[test]
    fn a_token_is_replaced_in_place() {
        let caller = Caller::without_session(Era::Modern).with_token(Some("one-token".into()));
        let mut echo = caller.echo();
        let at = echo.position("one-token").unwrap();
        echo.write(at, "a-token-2");
        let text = String::from_utf8(echo.next().1.to_vec()).unwrap();
        assert!(text.contains("\r\nauthorization: Bearer a-token-2\r\n"), "{text}");
    }

    #[test]
    fn only_the_right_result_will_do() {
        let right = br#"{"jsonrpc":"2.0","id":5,"result":{"content":[{"type":"text","text":"say 5"}],"isError":false}}"#;
        assert_eq!(result(right, 5).unwrap(), "say 5");
        assert!(result(right, 6).is_err());
        for wrong in [
            r#"{"jsonrpc":"2.0","id":5,"error":{"code":-1,"message":""}}"#,
            r#"{"jsonrpc":"2.0","id":5,"result":{"content":[{"type":"text","text":"x"}],"isError":true}}"#,
            r#"{"jsonrpc":"2.0","id":5,"result":{}}"#,
            "",
        ] {
            assert!(result(wrong.as_bytes(), 5).is_err(), "{wrong}");
        }
    }
}
