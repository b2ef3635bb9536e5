//! What a client can be asked for is what it declared: in `initialize`, or in each request of its own. A call that needs
//! more is refused with the capability it lacks.

use rmcp::model::{
    CallToolResponse, CallToolResult, ClientCapabilities, ContentBlock, CreateMessageRequest, ElicitRequest,
    InputRequest, InputRequests, InputRequiredResult,
};
use rmcp::service::RequestContext;
use rmcp::{ErrorData, RoleServer, tool, tool_router};

use crate::Everything;
use crate::ask::{missing, person, prompt};
use crate::elicitation::told;
use crate::input_required::{ask_for, text};
use crate::rounds::Rounds;

#[tool_router(router = capability_tools, vis = "pub(crate)")]
impl Everything {
    /// Asks for all that the client can be asked for.
    #[tool(annotations(read_only_hint = true))]
    fn test_input_required_result_capabilities(&self, rounds: Rounds) -> Result<CallToolResponse, ErrorData> {
        let declared = &rounds.caller.capabilities;
        let mut requests = InputRequests::new();
        if declared.sampling.is_some() {
            let request = CreateMessageRequest::new(prompt("Say anything", 100));
            requests.insert("words".into(), InputRequest::CreateMessage(request));
        }
        if declared.elicitation.is_some() {
            let request = ElicitRequest::new(ask_for("Say anything", "words", "string")?);
            requests.insert("person".into(), InputRequest::Elicitation(request));
        }
        let answered = requests
            .keys()
            .all(|key| matches!(rounds.answer::<serde_json::Value>(key), Ok(Some(_))));
        Ok(match answered {
            true => text("Asked for all that can be asked for."),
            false => InputRequiredResult::from_input_requests(requests).into(),
        })
    }

    /// Needs a client whose model can be asked.
    #[tool(annotations(read_only_hint = true))]
    fn test_missing_capability(&self, rounds: Rounds) -> Result<CallToolResult, ErrorData> {
        if rounds.caller.capabilities.sampling.is_none() {
            return Err(missing(ClientCapabilities::builder().enable_sampling().build()));
        }
        let words = "This client's model can be asked.";
        Ok(CallToolResult::success(vec![ContentBlock::text(words)]))
    }

    /// Asks a person. A client without a session is never sent a request, only a result.
    #[tool(annotations(read_only_hint = true))]
    async fn test_streaming_elicitation(
        &self,
        rounds: Rounds,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let form = ask_for("What is your name?", "name", "string")?;
        Ok(told("User response", person(&rounds, &context, form).await?))
    }
}
