//! From a method and its parameters' text to rmcp's typed request: parsed once, as what the method says it
//! is.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use rmcp::model::{
    CallToolRequest, CancelTaskRequest, ClientNotification, ClientRequest, CompleteRequest,
    CustomNotification, CustomRequest, DiscoverRequest, GetPromptRequest, GetSkillRequest, GetTaskRequest,
    ListPromptsRequest, ListResourceTemplatesRequest, ListResourcesRequest, ListSkillsRequest,
    ListToolsRequest, PingRequest, ReadResourceDirectoryRequest, ReadResourceRequest, RequestMetaObject,
    RequestOptionalParam, SubscriptionsListenRequest, UpdateTaskRequest,
};
#[expect(
    deprecated,
    reason = "legacy clients still send what later revisions deprecate"
)]
use rmcp::model::{SetLevelRequest, SubscribeRequest, UnsubscribeRequest};
use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeOwned, DeserializeSeed, IgnoredAny, IntoDeserializer as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::protocol::error::Refusal;

/// The typed request of a method. A method that rmcp does not know becomes a custom request.
///
/// # Errors
/// [`Refusal::InvalidParams`] when the parameters do not fit the method.
#[expect(
    deprecated,
    reason = "legacy clients still send what later revisions deprecate"
)]
pub(crate) fn typed_request(method: &str, params: Option<&RawValue>) -> Result<ClientRequest, Refusal> {
    Ok(match method {
        "tools/call" => ClientRequest::CallToolRequest(CallToolRequest::new(required(params)?)),
        "tools/list" => ClientRequest::ListToolsRequest(ListToolsRequest::with(optional(params)?)),
        "resources/read" => ClientRequest::ReadResourceRequest(ReadResourceRequest::new(required(params)?)),
        "resources/list" => {
            ClientRequest::ListResourcesRequest(ListResourcesRequest::with(optional(params)?))
        }
        "resources/templates/list" => {
            ClientRequest::ListResourceTemplatesRequest(ListResourceTemplatesRequest::with(optional(params)?))
        }
        "resources/directory/read" => {
            ClientRequest::ReadResourceDirectoryRequest(ReadResourceDirectoryRequest::new(required(params)?))
        }
        "resources/subscribe" => ClientRequest::SubscribeRequest(SubscribeRequest::new(required(params)?)),
        "resources/unsubscribe" => {
            ClientRequest::UnsubscribeRequest(UnsubscribeRequest::new(required(params)?))
        }
        "prompts/get" => ClientRequest::GetPromptRequest(GetPromptRequest::new(required(params)?)),
        "prompts/list" => ClientRequest::ListPromptsRequest(ListPromptsRequest::with(optional(params)?)),
        "completion/complete" => ClientRequest::CompleteRequest(CompleteRequest::new(required(params)?)),
        "logging/setLevel" => ClientRequest::SetLevelRequest(SetLevelRequest::new(required(params)?)),
        "ping" => ClientRequest::PingRequest(PingRequest::default()),
        "server/discover" => ClientRequest::DiscoverRequest(DiscoverRequest::default()),
        "subscriptions/listen" => {
            ClientRequest::SubscriptionsListenRequest(SubscriptionsListenRequest::new(required(params)?))
        }
        "tasks/get" => ClientRequest::GetTaskRequest(GetTaskRequest::new(required(params)?)),
        "tasks/update" => ClientRequest::UpdateTaskRequest(UpdateTaskRequest::new(required(params)?)),
        "tasks/cancel" => ClientRequest::CancelTaskRequest(CancelTaskRequest::new(required(params)?)),
        "skills/list" => ClientRequest::ListSkillsRequest(ListSkillsRequest::with(optional(params)?)),
        "skills/get" => ClientRequest::GetSkillRequest(GetSkillRequest::new(required(params)?)),
        // All that it has is its own.
        _ => ClientRequest::CustomRequest(CustomRequest::new(method, params.map(parse).transpose()?)),
    })
}

/// The typed notification of a method. `notifications/cancelled` never comes here: the transport acts on it.
///
/// # Errors
/// [`Refusal::InvalidParams`] when the parameters do not fit the method.
pub(crate) fn typed_notification(
    method: &str,
    params: Option<&RawValue>,
) -> Result<ClientNotification, Refusal> {
    Ok(match method {
        "notifications/initialized" => ClientNotification::InitializedNotification(Default::default()),
        "notifications/roots/list_changed" => {
            ClientNotification::RootsListChangedNotification(Default::default())
        }
        "notifications/progress" => ClientNotification::ProgressNotification(
            rmcp::model::ProgressNotification::new(params.ok_or_else(missing).and_then(parse)?),
        ),
        _ => {
            let params = params.map(parse).transpose()?;
            ClientNotification::CustomNotification(CustomNotification::new(method, params))
        }
    })
}

/// What the pipeline itself reads of a request's parameters, of every method. The names are `None` when
/// they are no strings: a method of a handler's own may mean something else by them, and the typed parse
/// refuses the others.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct RequestMeta {
    /// The request's metadata.
    #[serde(rename = "_meta", default, deserialize_with = "or_default")]
    pub meta: RequestMetaObject,
    /// The tool or prompt that is named.
    #[serde(default, deserialize_with = "if_text")]
    pub name: Option<String>,
    /// The resource that is named.
    #[serde(default, deserialize_with = "if_text")]
    pub uri: Option<String>,
    /// The task that is named.
    #[serde(default, rename = "taskId", deserialize_with = "if_text")]
    pub task_id: Option<String>,
}

/// Null is as good as nothing: serializers of several languages write it for what is not there.
fn or_default<'de, T: Deserialize<'de> + Default, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

fn if_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let raw = <&RawValue>::deserialize(deserializer)?;
    Ok(serde_json::from_str(raw.get()).ok())
}

impl RequestMeta {
    /// Reads `_meta` and the names, leaving the rest unparsed.
    ///
    /// # Errors
    /// [`Refusal::InvalidParams`].
    pub(crate) fn read(params: Option<&RawValue>) -> Result<Self, Refusal> {
        params.map_or_else(|| Ok(Self::default()), parse)
    }

    /// What `Mcp-Name` must repeat.
    #[must_use]
    pub(crate) fn named(&self, member: Option<&'static str>) -> Option<&str> {
        match member? {
            "name" => self.name.as_deref(),
            "uri" => self.uri.as_deref(),
            _ => self.task_id.as_deref(),
        }
    }
}

trait WithOptional<P> {
    fn with(params: Option<P>) -> Self;
}

impl<M: Default, P> WithOptional<P> for RequestOptionalParam<M, P> {
    fn with(params: Option<P>) -> Self {
        Self {
            method: M::default(),
            params,
            extensions: Default::default(),
        }
    }
}

/// Reads an object as a `T`, but for its `_meta`, which [`RequestMeta`] has read: rmcp keeps it beside typed
/// parameters too.
struct Object<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for Object<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<T, A::Error> {
        T::deserialize(MapAccessDeserializer::new(WithoutMeta(members)))
    }
}

/// An object's members but `_meta`.
struct WithoutMeta<A>(A);

/// A member's name, which is copied only if it is written with escapes.
#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'de, A: MapAccess<'de>> MapAccess<'de> for WithoutMeta<A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, A::Error> {
        while let Some(Name(name)) = self.0.next_key()? {
            if name != "_meta" {
                return seed.deserialize(name.into_deserializer()).map(Some);
            }
            self.0.next_value::<IgnoredAny>()?;
        }
        Ok(None)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, A::Error> {
        self.0.next_value_seed(seed)
    }
}

fn parse_typed<T: DeserializeOwned>(params: &RawValue) -> Result<T, Refusal> {
    // A deserializer of its own only for objects: for others the words of the usual one are right.
    if !params.get().starts_with('{') {
        return parse(params);
    }
    serde_json::Deserializer::from_str(params.get())
        .deserialize_map(Object(PhantomData))
        .map_err(|error| Refusal::InvalidParams(error.to_string()))
}

fn parse<T: DeserializeOwned>(params: &RawValue) -> Result<T, Refusal> {
    serde_json::from_str(params.get()).map_err(|error| Refusal::InvalidParams(error.to_string()))
}

fn missing() -> Refusal {
    Refusal::InvalidParams("`params` is missing".into())
}

fn required<T: DeserializeOwned>(params: Option<&RawValue>) -> Result<T, Refusal> {
    parse_typed(params.ok_or_else(missing)?)
}

fn optional<T: DeserializeOwned>(params: Option<&RawValue>) -> Result<Option<T>, Refusal> {
    params.map(parse_typed).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(text: &str) -> Box<RawValue> {
        RawValue::from_string(text.to_owned()).unwrap()
    }

    #[test]
    fn each_method_becomes_the_request_it_names() {
        for (method, params) in [
            ("tools/call", r#"{"name":"echo","arguments":{}}"#),
            ("tools/list", "{}"),
            ("resources/read", r#"{"uri":"note://session/a"}"#),
            ("prompts/get", r#"{"name":"handoff"}"#),
            (
                "completion/complete",
                r#"{"ref":{"type":"ref/prompt","name":"x"},"argument":{"name":"a","value":""}}"#,
            ),
            ("logging/setLevel", r#"{"level":"debug"}"#),
            ("resources/subscribe", r#"{"uri":"note://session/a"}"#),
            ("server/discover", r#"{"_meta":{}}"#),
            ("ping", "{}"),
            ("tasks/get", r#"{"taskId":"1"}"#),
        ] {
            let request = typed_request(method, Some(&raw(params))).unwrap();
            assert_eq!(request.method(), method);
        }
        assert!(matches!(
            typed_request("x/y", None),
            Ok(ClientRequest::CustomRequest(_))
        ));
    }

    #[test]
    fn names_that_are_no_strings_are_left_to_the_method() {
        let peek = RequestMeta::read(Some(&raw(
            r#"{"name":5,"uri":{"a":[1]},"taskId":null,"_meta":{"x":1}}"#,
        )))
        .unwrap();
        assert_eq!((peek.name, peek.uri, peek.task_id), (None, None, None));
        let peek = RequestMeta::read(Some(&raw(r#"{"name":"a\u0062","uri":"u"}"#))).unwrap();
        assert_eq!(
            (peek.name.as_deref(), peek.uri.as_deref()),
            (Some("ab"), Some("u"))
        );
        assert!(matches!(
            typed_request("tools/call", Some(&raw(r#"{"name":5}"#))),
            Err(Refusal::InvalidParams(_))
        ));
    }

    #[test]
    fn metadata_is_beside_the_parameters_and_not_in_them() {
        let params = r#"{"_meta":{"progressToken":1},"n\u0061me":"echo","_meta":{"x":{}},"arguments":{"_meta":{"is":"its own"}}}"#;
        let Ok(ClientRequest::CallToolRequest(call)) = typed_request("tools/call", Some(&raw(params))) else {
            panic!("it is a call");
        };
        assert_eq!((call.params.name.as_ref(), call.params.meta), ("echo", None));
        assert_eq!(call.params.arguments.unwrap()["_meta"]["is"], "its own");
        let Ok(ClientRequest::CustomRequest(own)) = typed_request("x/y", Some(&raw(params))) else {
            panic!("it is a method of someone's own");
        };
        assert_eq!(own.params.unwrap()["_meta"]["x"], serde_json::json!({}));
    }

    #[test]
    fn nobody_else_reads_the_metadata_of_notifications() {
        let params = raw(r#"{"progressToken":1,"progress":1,"_meta":{"x":1}}"#);
        let told = typed_notification("notifications/progress", Some(&params));
        let Ok(ClientNotification::ProgressNotification(progress)) = told else {
            panic!("it tells progress");
        };
        assert!(
            serde_json::to_string(&progress.params)
                .unwrap()
                .contains(r#""_meta":{"x":1}"#)
        );
    }

    #[test]
    fn parameters_that_do_not_fit_are_refused() {
        assert!(matches!(
            typed_request("tools/call", None),
            Err(Refusal::InvalidParams(_))
        ));
        assert!(matches!(
            typed_request("tools/call", Some(&raw("[]"))),
            Err(Refusal::InvalidParams(_))
        ));
        assert!(matches!(
            typed_request("logging/setLevel", Some(&raw(r#"{"level":"loud"}"#))),
            Err(Refusal::InvalidParams(_))
        ));
        assert!(matches!(
            RequestMeta::read(Some(&raw(r#"{"_meta":5}"#))),
            Err(Refusal::InvalidParams(_))
        ));
    }
}
