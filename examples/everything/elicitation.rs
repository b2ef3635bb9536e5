//! Elicitation: a tool that shows a form to the person at the client, who may fill it in or not. It says that it changes
//! nothing, so when its node dies another asks once more.

use rmcp::handler::server::wrapper::Parameters;
use rmcp::model::{CallToolResponse, CallToolResult, ContentBlock, ElicitResult};
use rmcp::service::RequestContext;
use rmcp::{ErrorData, RoleServer, tool, tool_router};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::Everything;
use crate::ask::{Asked, form, person};
use crate::rounds::Rounds;

#[derive(Deserialize, JsonSchema)]
struct Elicitation {
    /// What to tell the person.
    message: String,
}

#[tool_router(router = elicitation_tools, vis = "pub(crate)")]
impl Everything {
    /// Asks the person for a name and an address.
    #[tool(annotations(read_only_hint = true))]
    async fn test_elicitation(
        &self,
        Parameters(arguments): Parameters<Elicitation>,
        rounds: Rounds,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let form = form(
            &arguments.message,
            json!({
                "type": "object",
                "properties": {
                    "username": {"type": "string", "description": "User's response"},
                    "email": {"type": "string", "description": "User's email address"},
                },
                "required": ["username", "email"],
            }),
        )?;
        let asked = person(&rounds, &context, form).await?;
        Ok(told("User response", asked))
    }
}

/// The result of a tool that asked a person: what they did, and what they filled in.
pub(crate) fn told(heading: &str, asked: Asked<ElicitResult>) -> CallToolResponse {
    match asked {
        Asked::Answered(ElicitResult { action, content, .. }) => {
            let action = json!(action);
            let action = action.as_str().unwrap_or_default();
            let content = content.unwrap_or_else(|| Value::Object(Default::default()));
            let text = format!("{heading}: action={action}, content={content}");
            CallToolResult::success(vec![ContentBlock::text(text)]).into()
        }
        Asked::Later(round) => round.into(),
    }
}
