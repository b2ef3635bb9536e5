//! Sampling: a tool that has the client's model write something.

use rmcp::handler::server::wrapper::Parameters;
use rmcp::model::{CallToolResponse, CallToolResult, ContentBlock};
use rmcp::service::RequestContext;
use rmcp::{ErrorData, RoleServer, tool, tool_router};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::Everything;
use crate::ask::{Asked, model, prompt, written};
use crate::rounds::Rounds;

#[derive(Deserialize, JsonSchema)]
struct Sampling {
    /// What to ask the model.
    prompt: String,
}

#[tool_router(router = sampling_tools, vis = "pub(crate)")]
impl Everything {
    /// Asks the client's model, and returns what it wrote.
    #[tool(annotations(read_only_hint = true))]
    async fn test_sampling(
        &self,
        Parameters(arguments): Parameters<Sampling>,
        rounds: Rounds,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        Ok(
            match model(&rounds, &context, prompt(&arguments.prompt, 100)).await? {
                Asked::Answered(answer) => {
                    let text = format!("LLM response: {}", written(&answer));
                    CallToolResult::success(vec![ContentBlock::text(text)]).into()
                }
                Asked::Later(round) => round.into(),
            },
        )
    }
}
