//! `echo`: says back what it is told. It touches no store, so it also measures the server itself.

use rmcp::handler::server::tool::schema_for_output;
use rmcp::handler::server::wrapper::Parameters;
use rmcp::model::CallToolResult;
use rmcp::{tool, tool_router};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Tools;
use super::failure::Failure;
use super::spoken::spoken;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct EchoArguments {
    /// What to say back.
    text: String,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Echoed {
    /// What was said.
    text: String,
}

#[tool_router(router = echo_router, vis = "pub(super)")]
impl Tools {
    #[tool(
        title = "Echo",
        description = "Returns the text it is given, unchanged. Use it to check that the server can be reached.",
        output_schema = schema_for_output::<Echoed>(),
        annotations(read_only_hint = true, destructive_hint = false, idempotent_hint = true, open_world_hint = false)
    )]
    fn echo(
        &self,
        Parameters(EchoArguments { text }): Parameters<EchoArguments>,
    ) -> Result<CallToolResult, Failure> {
        spoken(text.clone(), &Echoed { text })
    }
}
