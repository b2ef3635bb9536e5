//! Sampling: a tool that has the client's model write something.

use anynode::session::{AskError, Caller};
use rmcp::handler::server::wrapper::Parameters;
use rmcp::{tool, tool_router};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::Everything;
use crate::ask::{prompt, written};

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
        caller: Caller,
    ) -> Result<String, AskError> {
        let answer = caller.sample(prompt(&arguments.prompt, 100)).await?;
        Ok(format!("LLM response: {}", written(&answer)))
    }
}
