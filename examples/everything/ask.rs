//! Asking the client in the middle of a call, in the way that it can be asked: by a request that it answers (to
//! 2025-11-25), or by a result after which it calls again (2026-07-28). The tools that ask do not tell them apart.

use anynode::Era;
use rmcp::model::{
    ClientCapabilities, CreateMessageRequest, CreateMessageRequestParams, CreateMessageResult, ElicitRequest,
    ElicitRequestParams, ElicitResult, ElicitationSchema, InputRequest, InputRequiredResult, SamplingMessage,
};
use rmcp::service::{RequestContext, ServiceError};
use rmcp::{ErrorData, RoleServer};
use serde_json::Value;

use crate::rounds::Rounds;

/// The name of the one input that the tools here ask for.
const INPUT: &str = "input";

/// What came of asking.
pub(crate) enum Asked<T> {
    /// The client's answer.
    Answered(T),
    /// The result that asks: return it, and the client calls again.
    Later(InputRequiredResult),
}

/// Shows a form to the person at the client.
pub(crate) async fn person(
    rounds: &Rounds,
    context: &RequestContext<RoleServer>,
    form: ElicitRequestParams,
) -> Result<Asked<ElicitResult>, ErrorData> {
    match rounds.caller.era() {
        Era::Legacy => {
            let answer = context.peer.create_elicitation(form).await;
            Ok(Asked::Answered(answer.map_err(unanswered)?))
        }
        Era::Modern => {
            if rounds.caller.capabilities.elicitation.is_none() {
                return Err(missing(
                    ClientCapabilities::builder().enable_elicitation().build(),
                ));
            }
            later(rounds, InputRequest::Elicitation(ElicitRequest::new(form)))
        }
    }
}

/// Has the client's model write something.
pub(crate) async fn model(
    rounds: &Rounds,
    context: &RequestContext<RoleServer>,
    prompt: CreateMessageRequestParams,
) -> Result<Asked<CreateMessageResult>, ErrorData> {
    match rounds.caller.era() {
        Era::Legacy => {
            let answer = context.peer.create_message(prompt).await;
            Ok(Asked::Answered(answer.map_err(unanswered)?))
        }
        Era::Modern => {
            if rounds.caller.capabilities.sampling.is_none() {
                return Err(missing(ClientCapabilities::builder().enable_sampling().build()));
            }
            later(
                rounds,
                InputRequest::CreateMessage(CreateMessageRequest::new(prompt)),
            )
        }
    }
}

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

/// A prompt of one message.
pub(crate) fn prompt(text: &str, max_tokens: u32) -> CreateMessageRequestParams {
    CreateMessageRequestParams::new(vec![SamplingMessage::user_text(text)], max_tokens)
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

fn later<T: serde::de::DeserializeOwned>(
    rounds: &Rounds,
    request: InputRequest,
) -> Result<Asked<T>, ErrorData> {
    Ok(match rounds.answer(INPUT)? {
        Some(answer) => Asked::Answered(answer),
        None => Asked::Later(rounds.ask([(INPUT, request)])),
    })
}

fn unanswered(error: ServiceError) -> ErrorData {
    match error {
        ServiceError::McpError(refused) => refused,
        other => ErrorData::internal_error(format!("the client could not be asked: {other}"), None),
    }
}
