//! What a client can be asked for in the middle of a call, and how its answers are read. `Caller::inputs` asks, in
//! the way that the client's revision has; the tools here do not tell them apart.
#![expect(
    deprecated,
    reason = "SEP-2577 deprecates sampling and roots; clients of all revisions still have them"
)]

use rmcp::ErrorData;
use rmcp::model::{
    ClientCapabilities, CreateMessageRequest, CreateMessageRequestParams, CreateMessageResult, ElicitRequest,
    ElicitRequestParams, ElicitResult, ElicitationSchema, InputRequest, InputResponses, ListRootsRequest,
    SamplingMessage,
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// A form, from the JSON Schema of its fields.
pub(crate) fn form(message: &str, schema: Value) -> Result<ElicitRequestParams, ErrorData> {
    let requested_schema: ElicitationSchema = serde_json::from_value(schema)
        .map_err(|error| ErrorData::internal_error(format!("not a form: {error}"), None))?;
    Ok(ElicitRequestParams::FormElicitationParams {
        meta: None,
        message: message.to_owned(),
        requested_schema,
    })
}

/// A form with one required field.
pub(crate) fn form_of(message: &str, field: &str, kind: &str) -> Result<ElicitRequestParams, ErrorData> {
    let schema = json!({"type": "object", "properties": {field: {"type": kind}}, "required": [field]});
    form(message, schema)
}

/// A prompt of one message.
pub(crate) fn prompt(text: &str, max_tokens: u32) -> CreateMessageRequestParams {
    CreateMessageRequestParams::new(vec![SamplingMessage::user_text(text)], max_tokens)
}

/// Asks a person for one field.
pub(crate) fn person(message: &str, field: &str, kind: &str) -> Result<InputRequest, ErrorData> {
    let form = form_of(message, field, kind)?;
    Ok(InputRequest::Elicitation(ElicitRequest::new(form)))
}

/// Asks the client's model.
pub(crate) fn model(question: &str, max_tokens: u32) -> InputRequest {
    InputRequest::CreateMessage(CreateMessageRequest::new(prompt(question, max_tokens)))
}

/// Asks which directories the client works in.
pub(crate) fn directories() -> InputRequest {
    InputRequest::ListRoots(ListRootsRequest::default())
}

/// One of the answers, by its name.
pub(crate) fn answer<T: DeserializeOwned>(answers: &InputResponses, name: &str) -> Result<T, ErrorData> {
    let answer = answers.get(name).cloned().unwrap_or_default();
    serde_json::from_value(answer).map_err(|error| {
        let words = format!("`{name}` is not an answer to what was asked: {error}");
        ErrorData::invalid_params(words, None)
    })
}

/// What a person filled in; nothing when they did not.
pub(crate) fn field(answer: &ElicitResult, name: &str) -> String {
    let filled = answer.content.as_ref().and_then(|content| content.get(name));
    filled.and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// What a model wrote, as one text.
pub(crate) fn written(answer: &CreateMessageResult) -> String {
    let texts = answer.message.content.iter().filter_map(|block| block.as_text());
    texts
        .map(|text| text.text.as_str())
        .collect::<Vec<_>>()
        .join("\n")
}

/// The error for a client that cannot be asked: it names what the client would have to declare.
pub(crate) fn missing(capability: ClientCapabilities) -> ErrorData {
    ErrorData::missing_required_client_capability(capability)
}
