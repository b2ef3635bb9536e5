//! JSON-RPC messages as they come in: split into their parts, with what they carry left unparsed.

use std::borrow::Cow;

use rmcp::model::RequestId;
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::error::Refusal;

/// The longest string id accepted, in bytes.
pub(crate) const ID_BYTES_MAX: usize = 512;
/// The most messages one batch may hold.
pub(crate) const BATCH_MESSAGES_MAX: usize = 64;

/// One JSON-RPC message.
#[derive(Debug)]
pub(crate) enum Message<'a> {
    /// Wants a response.
    Request(Request<'a>),
    /// Wants none.
    Notification(Notification<'a>),
    /// A client's answer to a request of the server.
    Response(Response<'a>),
}

/// A request: its id, its method, and its parameters unparsed.
#[derive(Debug)]
pub(crate) struct Request<'a> {
    /// Echoed in the response, with its type.
    pub id: RequestId,
    /// Which method is called.
    pub method: Cow<'a, str>,
    /// The parameters' JSON text.
    pub params: Option<&'a RawValue>,
}

/// A notification.
#[derive(Debug)]
pub(crate) struct Notification<'a> {
    /// Which notification it is.
    pub method: Cow<'a, str>,
    /// The parameters' JSON text.
    pub params: Option<&'a RawValue>,
}

/// A response to a request that the server sent.
#[derive(Debug)]
pub(crate) struct Response<'a> {
    /// The id of the server's request; `None` for an error of a client that could not read which it was.
    pub id: Option<RequestId>,
    /// The result's JSON text, or the error's.
    pub outcome: Result<&'a RawValue, &'a RawValue>,
}

/// What a request body holds.
#[derive(Debug)]
pub(crate) enum Body<'a> {
    /// One message.
    One(Message<'a>),
    /// A batch, in which each message stands or falls alone. Only 2025-03-26 allows them.
    Batch(Vec<Result<Message<'a>, Unreadable>>),
}

/// Why a message cannot be read, and its id, where that can be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unreadable {
    pub refusal: Refusal,
    pub id: Option<RequestId>,
}

impl From<Refusal> for Unreadable {
    fn from(refusal: Refusal) -> Self {
        Self { refusal, id: None }
    }
}

impl Unreadable {
    /// The refusal of this text. It bears the text's id if that can be read, and is a request's: a response has
    /// the id of a request of the server, and the client would take the refusal for an answer to one of its own.
    fn of(refusal: Refusal, text: &str) -> Self {
        #[derive(Deserialize)]
        struct Outline<'a> {
            #[serde(borrow)]
            id: &'a RawValue,
            #[serde(borrow, rename = "method")]
            _method: &'a RawValue,
            result: Option<IgnoredAny>,
            error: Option<IgnoredAny>,
        }
        let outline: Option<Outline<'_>> = serde_json::from_str(text).ok().filter(|_| begins_object(text));
        let request = outline.filter(|outline| outline.result.is_none() && outline.error.is_none());
        let id = request.and_then(|request| parse_id(request.id).ok());
        Self { refusal, id }
    }
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    jsonrpc: Option<Cow<'a, str>>,
    #[serde(borrow, default, deserialize_with = "even_null")]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    method: Option<Cow<'a, str>>,
    #[serde(borrow)]
    params: Option<&'a RawValue>,
    #[serde(borrow)]
    result: Option<&'a RawValue>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
}

/// Tells an `id` of null, which is wrong, from no `id`, which makes a notification.
fn even_null<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

impl<'a> Body<'a> {
    /// Reads a request body.
    ///
    /// # Errors
    /// [`Refusal::NotJson`] or [`Refusal::NotAMessage`].
    pub(crate) fn parse(bytes: &'a [u8]) -> Result<Self, Unreadable> {
        // Once for all of it: read from bytes, each string would be looked at by itself.
        let text = str::from_utf8(bytes).map_err(|_not_utf8| Refusal::NotJson)?;
        match text.trim_ascii_start().starts_with('[') {
            true => Self::parse_batch(text),
            false => Ok(Self::One(parse_message(text)?)),
        }
    }

    fn parse_batch(text: &'a str) -> Result<Self, Unreadable> {
        let items: Vec<&RawValue> = serde_json::from_str(text).map_err(|_syntax| Refusal::NotJson)?;
        match items.len() {
            0 => Err(Refusal::NotAMessage("a batch must hold at least one message").into()),
            1..=BATCH_MESSAGES_MAX => Ok(Self::Batch(
                items.into_iter().map(|item| parse_message(item.get())).collect(),
            )),
            _ => Err(Refusal::NotAMessage("a batch may hold 64 messages at the most").into()),
        }
    }
}

fn parse_message(text: &str) -> Result<Message<'_>, Unreadable> {
    read_message(text).map_err(|refusal| Unreadable::of(refusal, text))
}

fn read_message(text: &str) -> Result<Message<'_>, Refusal> {
    // An array would be read as the members in their order, which no other reader of JSON-RPC does
    // (SEP-2243).
    if !begins_object(text) {
        let json = serde_json::from_str::<IgnoredAny>(text).is_ok();
        return Err(if json { SHAPE } else { Refusal::NotJson });
    }
    let envelope: Envelope<'_> = serde_json::from_str(text).map_err(|error| classify(text, &error))?;
    if envelope.jsonrpc.as_deref() != Some("2.0") {
        return Err(Refusal::NotAMessage("`jsonrpc` must be \"2.0\""));
    }
    let params = envelope.params.filter(|params| params.get() != "null");
    if params.is_some_and(|params| !begins_object(params.get())) {
        return Err(Refusal::NotAMessage("`params` must be an object"));
    }
    let unaddressed = envelope.id.is_none_or(|id| id.get() == "null");
    if let (true, None, None, Some(error)) = (unaddressed, &envelope.method, envelope.result, envelope.error)
    {
        return Ok(Message::Response(Response {
            id: None,
            outcome: Err(error),
        }));
    }
    let id = envelope.id.map(parse_id).transpose()?;
    match (envelope.method, id, envelope.result, envelope.error) {
        (Some(method), Some(id), None, None) => Ok(Message::Request(Request { id, method, params })),
        (Some(method), None, None, None) => Ok(Message::Notification(Notification { method, params })),
        (None, Some(id), Some(result), None) => Ok(Message::Response(Response {
            id: Some(id),
            outcome: Ok(result),
        })),
        (None, Some(id), None, Some(error)) => Ok(Message::Response(Response {
            id: Some(id),
            outcome: Err(error),
        })),
        _ => Err(Refusal::NotAMessage(
            "it must have `method` (a request, with `id`, or a notification, without), or `id` with `result` or `error`",
        )),
    }
}

/// The refusal of JSON of another shape.
const SHAPE: Refusal = Refusal::NotAMessage(
    "it must be a JSON object with the members of JSON-RPC 2.0, each of its type and once",
);

fn begins_object(text: &str) -> bool {
    text.trim_ascii_start().starts_with('{')
}

/// Text that is not JSON at all is one thing, JSON of the wrong shape another.
fn classify(text: &str, error: &serde_json::Error) -> Refusal {
    let wrong_shape = error.is_data() && serde_json::from_str::<IgnoredAny>(text).is_ok();
    if wrong_shape { SHAPE } else { Refusal::NotJson }
}

/// Reads an id, keeping its type (JSON-RPC 2.0, section 4; MCP forbids null and fractions).
///
/// # Errors
/// [`Refusal::NotAMessage`].
pub(crate) fn parse_id(raw: &RawValue) -> Result<RequestId, Refusal> {
    const RULE: Refusal =
        Refusal::NotAMessage("`id` must be a signed 64-bit integer or a string of 512 bytes at the most");
    match serde_json::from_str(raw.get()).map_err(|_syntax| RULE)? {
        serde_json::Value::String(text) if text.len() <= ID_BYTES_MAX => Ok(RequestId::String(text.into())),
        serde_json::Value::Number(number) => number.as_i64().map(RequestId::Number).ok_or(RULE),
        _ => Err(RULE),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str) -> Result<Message<'_>, Refusal> {
        match Body::parse(text.as_bytes()).map_err(|unreadable| unreadable.refusal)? {
            Body::One(message) => Ok(message),
            Body::Batch(_) => panic!("not one message"),
        }
    }

    #[test]
    fn a_request_keeps_its_id_with_its_type() {
        let Ok(Message::Request(request)) = one(r#"{"jsonrpc":"2.0","id":"7","method":"ping"}"#) else {
            panic!()
        };
        assert_eq!(request.id, RequestId::String("7".into()));
        for id in [i64::MIN, -1, 0, 9_007_199_254_740_993, i64::MAX] {
            let text = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"ping"}}"#);
            let Ok(Message::Request(request)) = one(&text) else {
                panic!("{text}")
            };
            assert_eq!(request.id, RequestId::Number(id));
        }
    }

    #[test]
    fn ids_that_would_not_survive_are_refused() {
        for id in ["9223372036854775808", "1.5", "1e3", "true", "[1]", "{}", "null"] {
            let text = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"ping"}}"#);
            assert!(matches!(one(&text), Err(Refusal::NotAMessage(_))), "{id}");
        }
    }

    #[test]
    fn an_id_is_as_long_as_it_may_be_and_no_longer() {
        let of_length = |bytes: usize| {
            format!(
                r#"{{"jsonrpc":"2.0","id":"{}","method":"ping"}}"#,
                "x".repeat(bytes)
            )
        };
        assert!(matches!(one(&of_length(ID_BYTES_MAX)), Ok(Message::Request(_))));
        assert!(matches!(
            one(&of_length(ID_BYTES_MAX + 1)),
            Err(Refusal::NotAMessage(_))
        ));
    }

    #[test]
    fn a_batch_holds_as_many_messages_as_it_may_and_no_more() {
        let of = |count: usize| format!("[{}]", vec![r#"{"jsonrpc":"2.0","method":"x"}"#; count].join(","));
        let full = of(BATCH_MESSAGES_MAX);
        assert!(
            matches!(Body::parse(full.as_bytes()), Ok(Body::Batch(items)) if items.len() == BATCH_MESSAGES_MAX)
        );
        let over = of(BATCH_MESSAGES_MAX + 1);
        assert!(matches!(
            Body::parse(over.as_bytes()).map_err(|unreadable| unreadable.refusal),
            Err(Refusal::NotAMessage(_))
        ));
    }

    #[test]
    fn what_is_not_json_is_told_from_what_is_not_a_message() {
        for text in ["", "{", "nonsense", r#"{"jsonrpc":1, oops"#, "[1,", "\u{0}"] {
            let parsed = Body::parse(text.as_bytes()).map_err(|unreadable| unreadable.refusal);
            assert!(matches!(parsed, Err(Refusal::NotJson)), "{text}");
        }
        for text in [
            "1",
            "null",
            "\"x\"",
            "{}",
            "[]",
            r#"{"jsonrpc":"1.0","id":1,"method":"ping"}"#,
            r#"{"jsonrpc":"2.0","id":1}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":5}"#,
            r#"{"jsonrpc":"2.0","id":1,"id":2,"method":"ping"}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"x","result":{}}"#,
        ] {
            let parsed = Body::parse(text.as_bytes()).map_err(|unreadable| unreadable.refusal);
            assert!(matches!(parsed, Err(Refusal::NotAMessage(_))), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_refused_with_its_id_where_that_can_be() {
        let id_of = |text: &str| Body::parse(text.as_bytes()).expect_err("a refusal").id;
        for (id, read) in [
            ("7", RequestId::Number(7)),
            ("\"a\"", RequestId::String("a".into())),
        ] {
            for rest in [
                r#""method":5"#,
                r#""method":"ping""#,
                r#""jsonrpc":"2.0","method":"x","params":[]"#,
            ] {
                assert_eq!(
                    id_of(&format!(r#"{{"id":{id},{rest}}}"#)),
                    Some(read.clone()),
                    "{rest}"
                );
            }
        }
        for text in [
            r#"{"id":1.5,"method":5}"#,
            r#"{"id":1,"id":1}"#,
            "{\"id\":1,",
            "[[1]]",
            "1",
            r#"{"method":1}"#,
            r#"{"jsonrpc":"2.0","id":1,"result":{},"error":{}}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"x","result":{}}"#,
            r#"{"id":1,"result":{}}"#,
        ] {
            let parsed = Body::parse(text.as_bytes());
            let id = match parsed {
                Ok(Body::Batch(items)) => items.into_iter().find_map(|item| item.expect_err("a refusal").id),
                parsed => parsed.expect_err("a refusal").id,
            };
            assert_eq!(id, None, "{text}");
        }
        let Ok(Body::Batch(items)) = Body::parse(br#"[{"id":3,"method":4}]"#) else {
            panic!()
        };
        assert_eq!(
            items[0].as_ref().expect_err("a refusal").id,
            Some(RequestId::Number(3))
        );
    }

    #[test]
    fn what_is_not_utf8_is_not_json() {
        for bytes in [
            &b"\xff"[..],
            b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"pi\xffng\"}",
            b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\",\"more\":\"\xc3\x28\"}",
            b"[{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"},\"\xff\"]",
        ] {
            let parsed = Body::parse(bytes).map_err(|unreadable| unreadable.refusal);
            assert!(
                matches!(parsed, Err(Refusal::NotJson)),
                "{}",
                bytes.escape_ascii()
            );
        }
    }

    #[test]
    fn notifications_and_responses_are_recognized() {
        assert!(matches!(
            one(r#"{"jsonrpc":"2.0","method":"notifications/x"}"#),
            Ok(Message::Notification(_))
        ));
        let Ok(Message::Response(response)) = one(r#"{"jsonrpc":"2.0","id":"a-0","result":{"x":1}}"#) else {
            panic!()
        };
        assert_eq!(response.outcome.map(RawValue::get).ok(), Some(r#"{"x":1}"#));
    }

    #[test]
    fn what_is_given_by_position_is_refused() {
        for text in [
            r#"[["2.0",1,"ping",null,null,null]]"#,
            r#"[ ["2.0", 1, "tools/call", {}, null, null] ]"#,
        ] {
            let Ok(Body::Batch(items)) = Body::parse(text.as_bytes()) else {
                panic!()
            };
            let refusal = items[0].as_ref().map_err(|unreadable| &unreadable.refusal);
            assert!(matches!(refusal, Err(Refusal::NotAMessage(_))), "{text}");
        }
        for params in [r#"["echo",{}]"#, " [\"a\"]", "5", "\"x\"", "[]", "true"] {
            for id in ["", r#""id":1,"#] {
                let text = format!(r#"{{"jsonrpc":"2.0",{id}"method":"tools/call","params":{params}}}"#);
                assert!(matches!(one(&text), Err(Refusal::NotAMessage(_))), "{text}");
            }
        }
        for params in ["{}", " \n{}", "null"] {
            let text = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{params}}}"#);
            assert!(matches!(one(&text), Ok(Message::Request(_))), "{text}");
        }
    }

    #[test]
    fn an_error_may_come_without_an_id_and_nothing_else_may() {
        for id in ["", r#""id":null,"#] {
            let text = format!(r#"{{"jsonrpc":"2.0",{id}"error":{{"code":-32700,"message":"?"}}}}"#);
            let Ok(Message::Response(response)) = one(&text) else {
                panic!("{text}")
            };
            assert_eq!((response.id, response.outcome.is_err()), (None, true));
            let result = format!(r#"{{"jsonrpc":"2.0",{id}"result":{{}}}}"#);
            assert!(matches!(one(&result), Err(Refusal::NotAMessage(_))), "{result}");
        }
    }

    #[test]
    fn each_message_of_a_batch_stands_alone() {
        let text = br#"[{"jsonrpc":"2.0","id":1,"method":"ping"}, 5]"#;
        let Ok(Body::Batch(items)) = Body::parse(text) else {
            panic!()
        };
        assert!(matches!(items[0], Ok(Message::Request(_))));
        let refusal = items[1].as_ref().map_err(|unreadable| &unreadable.refusal);
        assert!(matches!(refusal, Err(Refusal::NotAMessage(_))));
    }
}
