//! Prompts: messages for a person to send, with arguments, with a resource or an image in them, and one that needs to know
//! more first.

use anynode::session::Caller;
use rmcp::handler::server::router::prompt::PromptRouter;
use rmcp::handler::server::wrapper::Parameters;
use rmcp::model::{ContentBlock, GetPromptResult, Prompt, PromptMessage, ResourceContents, Role};
use rmcp::{ErrorData, prompt, prompt_router};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::Everything;
use crate::ask::{answer, field, person};
use crate::content::PNG;

/// The prompt with arguments.
pub(crate) const WITH_ARGUMENTS: &str = "test_prompt_with_arguments";

#[derive(Deserialize, JsonSchema)]
struct TwoArguments {
    /// The first argument.
    arg1: String,
    /// The second argument.
    arg2: String,
}

#[derive(Deserialize, JsonSchema)]
struct WithResource {
    /// The URI of the resource to embed.
    #[serde(rename = "resourceUri")]
    resource_uri: String,
}

#[prompt_router(vis = "pub(crate)")]
impl Everything {
    /// A prompt of one message.
    #[prompt]
    fn test_simple_prompt(&self) -> GetPromptResult {
        said([ContentBlock::text("This is a simple prompt for testing.")])
    }

    /// A prompt made of its arguments.
    #[prompt]
    fn test_prompt_with_arguments(
        &self,
        Parameters(TwoArguments { arg1, arg2 }): Parameters<TwoArguments>,
    ) -> GetPromptResult {
        let text = format!("Prompt with arguments: arg1='{arg1}', arg2='{arg2}'");
        said([ContentBlock::text(text)])
    }

    /// A prompt with a resource in it.
    #[prompt]
    fn test_prompt_with_embedded_resource(
        &self,
        Parameters(WithResource { resource_uri }): Parameters<WithResource>,
    ) -> GetPromptResult {
        let text = "Embedded resource content for testing.";
        let resource = ResourceContents::text(text, resource_uri).with_mime_type("text/plain");
        said([
            ContentBlock::resource(resource),
            ContentBlock::text("Please process the embedded resource above."),
        ])
    }

    /// A prompt that asks for its context first.
    #[prompt]
    async fn test_input_required_result_prompt(&self, caller: Caller) -> Result<GetPromptResult, ErrorData> {
        let question = person("What context should the prompt use?", "context", "string")?;
        let answers = caller.inputs([("user_context", question)]).await?;
        let context = field(&answer(&answers, "user_context")?, "context");
        Ok(said([ContentBlock::text(format!(
            "Answer in this context: {context}"
        ))]))
    }

    /// A prompt with an image in it.
    #[prompt]
    fn test_prompt_with_image(&self) -> GetPromptResult {
        said([
            ContentBlock::image(PNG, "image/png"),
            ContentBlock::text("Please analyze the image above."),
        ])
    }
}

/// All prompts, in the same order each time.
pub(crate) fn list(router: &PromptRouter<Everything>) -> Vec<Prompt> {
    let mut prompts = router.list_all();
    prompts.sort_by(|one, other| one.name.cmp(&other.name));
    prompts
}

/// A prompt of what the person says, in order.
fn said<const N: usize>(blocks: [ContentBlock; N]) -> GetPromptResult {
    let messages = blocks.map(|block| PromptMessage::new(Role::User, block));
    GetPromptResult::new(messages.into())
}
