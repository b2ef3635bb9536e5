//! `ask`: puts a question to the person at the client (elicitation).

use rmcp::handler::server::tool::schema_for_output;
use rmcp::handler::server::wrapper::Parameters;
use rmcp::model::CallToolResult;
use rmcp::{tool, tool_router};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Tools;
use super::failure::Failure;
use super::spoken::spoken;
use crate::session::{AskError, Caller};

#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct AskArguments {
    /// The question, as the person shall read it.
    question: String,
}

/// The form that the person fills in.
#[derive(Debug, Deserialize, JsonSchema)]
struct AnswerForm {
    #[schemars(title = "Answer")]
    answer: String,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Asked {
    /// What the person did: `accept` (answered), `decline` (would not say) or `cancel` (closed the question).
    action: &'static str,
    /// The answer; only with `accept`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
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
    ) -> Result<CallToolResult, Failure> {
        let (action, answer) = match caller.ask(arguments.question).await {
            Ok(AnswerForm { answer }) => ("accept", Some(answer)),
            Err(AskError::Declined) => ("decline", None),
            Err(AskError::Dismissed) => ("cancel", None),
            Err(other) => return Err(other.into()),
        };
        let text = match (&answer, action) {
            (Some(answer), _) => answer.as_str(),
            (None, "decline") => "The person declined to answer.",
            (None, _) => "The person closed the question without an answer.",
        };
        spoken(
            text,
            &Asked {
                action,
                answer: answer.clone(),
            },
        )
    }
}
