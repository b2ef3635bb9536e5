//! Elicitation: a tool that shows a form to the person at the client, who may fill it in or not. It says that it changes
//! nothing, so when its node dies another asks once more.

use anynode::session::Caller;
use rmcp::handler::server::wrapper::Parameters;
use rmcp::model::ElicitResult;
use rmcp::{ErrorData, tool, tool_router};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::Everything;
use crate::ask::form;

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
        caller: Caller,
    ) -> Result<String, ErrorData> {
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
        Ok(told("User response", caller.elicit(form).await?))
    }
}

/// The result of a tool that asked a person: what they did, and what they filled in.
pub(crate) fn told(heading: &str, answer: ElicitResult) -> String {
    let action = json!(answer.action);
    let action = action.as_str().unwrap_or_default();
    let content = answer
        .content
        .unwrap_or_else(|| Value::Object(Default::default()));
    format!("{heading}: action={action}, content={content}")
}
