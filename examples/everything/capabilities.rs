//! What a client can be asked for is what it declared: in `initialize`, or in each request of its own. A call that needs
//! more is refused with the capability it lacks.

use anynode::session::Caller;
use rmcp::model::{ClientCapabilities, InputRequests};
use rmcp::{ErrorData, tool, tool_router};

use crate::Everything;
use crate::ask::{form_of, missing, model, person};
use crate::elicitation::told;

#[tool_router(router = capability_tools, vis = "pub(crate)")]
impl Everything {
    /// Asks for all that the client can be asked for.
    #[tool(annotations(read_only_hint = true))]
    async fn test_input_required_result_capabilities(&self, caller: Caller) -> Result<String, ErrorData> {
        let mut requests = InputRequests::new();
        if caller.capabilities.sampling.is_some() {
            requests.insert("words".into(), model("Say anything", 100));
        }
        if caller.capabilities.elicitation.is_some() {
            requests.insert("person".into(), person("Say anything", "words", "string")?);
        }
        caller.inputs(requests).await?;
        Ok("Asked for all that can be asked for.".to_owned())
    }

    /// Needs a client whose model can be asked.
    #[tool(annotations(read_only_hint = true))]
    fn test_missing_capability(&self, caller: Caller) -> Result<String, ErrorData> {
        if caller.capabilities.sampling.is_none() {
            return Err(missing(ClientCapabilities::builder().enable_sampling().build()));
        }
        Ok("This client's model can be asked.".to_owned())
    }

    /// Asks a person. A client without a session is never sent a request, only a result.
    #[tool(annotations(read_only_hint = true))]
    async fn test_streaming_elicitation(&self, caller: Caller) -> Result<String, ErrorData> {
        let form = form_of("What is your name?", "name", "string")?;
        Ok(told("User response", caller.elicit(form).await?))
    }
}
