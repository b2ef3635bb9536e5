//! `ask`: puts a question to the person at the client (elicitation).

use rmcp::handler::server::tool::{InputResponses, RequestState, schema_for_output};
use rmcp::handler::server::wrapper::Parameters;
use rmcp::model::{
    CallToolResponse, ClientCapabilities, ElicitRequest, ElicitRequestParams, ElicitResult,
    ElicitationAction, ElicitationSchema, InputRequest,
};
use rmcp::service::RequestContext;
use rmcp::{ErrorData, RoleServer, tool, tool_router};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Tools;
use super::failure::Failure;
use super::input::{Rounds, answer};
use super::spoken::spoken;
use crate::protocol::era::Era;
use crate::session::Caller;

/// The input's name among `inputRequests`, and its field in the form.
const ANSWER: &str = "answer";

#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct AskArguments {
    /// The question, as the person shall read it.
    question: String,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Asked {
    /// What the person did: `accept` (answered), `decline` (would not say) or `cancel` (closed the question).
    action: &'static str,
    /// The answer; only with `accept`.
    #[serde(skip_serializing_if = "Option::is_none")]
    answer: Option<String>,
}

#[tool_router(router = ask_router, vis = "pub(super)")]
impl Tools {
    #[tool(
        title = "Ask the person",
        description = "Asks the person at the client one question and returns their answer. They may decline. Never \
                       ask for passwords or other secrets.",
        output_schema = schema_for_output::<Asked>(),
        annotations(read_only_hint = true, destructive_hint = false, idempotent_hint = false, open_world_hint = true)
    )]
    async fn ask(
        &self,
        Parameters(arguments): Parameters<AskArguments>,
        caller: Caller,
        context: RequestContext<RoleServer>,
        RequestState(state): RequestState,
        InputResponses(responses): InputResponses,
    ) -> Result<CallToolResponse, Failure> {
        require_elicitation(&caller)?;
        if caller.era() == Era::Legacy {
            let asked = context.peer.create_elicitation(form(&arguments.question)?);
            let result = answer(&context.ct, asked).await?;
            return said(concluded(result).map_err(Failure::Tell)?);
        }
        let rounds = Rounds::new(&caller, "ask", &arguments, ANSWER)?;
        match rounds.input(state, responses)? {
            Some(result) => said(concluded(result).map_err(Failure::bad_arguments)?),
            None => {
                let request = ElicitRequest::new(form(&arguments.question)?);
                Ok(rounds.ask(InputRequest::Elicitation(request)).into())
            }
        }
    }
}

/// Checks that the client shows forms. An `elicitation` capability that names no mode means forms
/// (2025-11-25, Elicitation, "Capabilities").
fn require_elicitation(caller: &Caller) -> Result<(), Failure> {
    let declared = caller.capabilities.elicitation.as_ref();
    if declared.is_some_and(|modes| modes.form.is_some() || modes.url.is_none()) {
        return Ok(());
    }
    Err(match caller.era() {
        Era::Legacy => Failure::tell(
            "This client cannot show questions: it did not declare the `elicitation` capability. Ask the person in \
             the conversation instead.",
        ),
        Era::Modern => {
            let needed = ClientCapabilities::builder().enable_elicitation().build();
            ErrorData::missing_required_client_capability(needed).into()
        }
    })
}

/// A form with one line of text.
fn form(question: &str) -> Result<ElicitRequestParams, Failure> {
    let schema = ElicitationSchema::builder()
        .required_string_with(ANSWER, |field| field.title("Answer"))
        .build()
        .map_err(|error| ErrorData::internal_error(error, None))?;
    Ok(ElicitRequestParams::FormElicitationParams {
        meta: None,
        message: question.to_owned(),
        requested_schema: schema,
    })
}

/// What the person did. Fails with words when the client's answer is not one to this form.
fn concluded(result: ElicitResult) -> Result<Asked, String> {
    let (action, answer) = match result.action {
        ElicitationAction::Accept => {
            let content = result.content.unwrap_or_default();
            let Some(answer) = content.get(ANSWER).and_then(|answer| answer.as_str()) else {
                return Err(format!("the client's answer has no text in `content.{ANSWER}`"));
            };
            ("accept", Some(answer.to_owned()))
        }
        ElicitationAction::Decline => ("decline", None),
        _ => ("cancel", None),
    };
    Ok(Asked { action, answer })
}

fn said(asked: Asked) -> Result<CallToolResponse, Failure> {
    let text = match (&asked.answer, asked.action) {
        (Some(answer), _) => answer.as_str(),
        (None, "decline") => "The person declined to answer.",
        (None, _) => "The person closed the question without an answer.",
    };
    Ok(spoken(text, &asked)?.into())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn facts(result: Value) -> Result<Value, String> {
        let asked = concluded(serde_json::from_value(result).unwrap())?;
        Ok(serde_json::to_value(asked).unwrap())
    }

    #[test]
    fn every_way_to_answer_has_its_result() {
        assert_eq!(
            facts(json!({"action": "accept", "content": {"answer": "42"}})),
            Ok(json!({"action": "accept", "answer": "42"}))
        );
        assert_eq!(
            facts(json!({"action": "decline"})),
            Ok(json!({"action": "decline"}))
        );
        assert_eq!(
            facts(json!({"action": "cancel"})),
            Ok(json!({"action": "cancel"}))
        );
        assert!(facts(json!({"action": "accept"})).is_err());
        assert!(facts(json!({"action": "accept", "content": {"answer": 42}})).is_err());
    }

    #[test]
    fn the_form_asks_for_one_required_string() {
        let form = serde_json::to_value(form("Why?").unwrap()).unwrap();
        assert_eq!(form["message"], "Why?");
        assert_eq!(form["requestedSchema"]["properties"]["answer"]["type"], "string");
        assert_eq!(form["requestedSchema"]["required"], json!(["answer"]));
    }
}
