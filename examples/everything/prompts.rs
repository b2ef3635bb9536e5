//! Prompts: messages for a person to send, with arguments, with a resource or an image in them, and one that needs to know
//! more first.

use anynode::session::Caller;
use rmcp::handler::server::router::prompt::PromptRouter;
use rmcp::handler::server::wrapper::Parameters;
use rmcp::model::{
    ContentBlock, ElicitRequest, ElicitResult, GetPromptRequestParams, GetPromptResponse, GetPromptResult,
    InputRequest, Prompt, PromptMessage, ResourceContents, Role,
};
use rmcp::{ErrorData, prompt, prompt_router};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::Everything;
use crate::content::PNG;
use crate::input_required::{ask_for, field};
use crate::rounds::Rounds;

/// The prompt with arguments.
pub(crate) const WITH_ARGUMENTS: &str = "test_prompt_with_arguments";
/// The prompt that asks before it answers.
pub(crate) const IN_ROUNDS: &str = "test_input_required_result_prompt";
/// What it asks for.
const CONTEXT: &str = "user_context";

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
    let described = "A prompt that asks for its context first";
    prompts.push(Prompt::new(IN_ROUNDS, Some(described), None));
    prompts.sort_by(|one, other| one.name.cmp(&other.name));
    prompts
}

/// The prompt in rounds (2026-07-28). rmcp's macros give prompts no way to see the rounds, so it is served here.
pub(crate) fn in_rounds(
    caller: &Caller,
    request: GetPromptRequestParams,
) -> Result<GetPromptResponse, ErrorData> {
    let caller = caller.clone();
    let rounds = Rounds::new(caller, IN_ROUNDS, request.request_state, request.input_responses);
    let answer: Option<ElicitResult> = rounds.answer(CONTEXT)?;
    let Some(answer) = answer else {
        let form = ask_for("What context should the prompt use?", "context", "string")?;
        let request = InputRequest::Elicitation(ElicitRequest::new(form));
        return Ok(rounds.ask([(CONTEXT, request)]).into());
    };
    let text = format!("Answer in this context: {}", field(&answer, "context"));
    Ok(said([ContentBlock::text(text)]).into())
}

/// A prompt of what the person says, in order.
fn said<const N: usize>(blocks: [ContentBlock; N]) -> GetPromptResult {
    let messages = blocks.map(|block| PromptMessage::new(Role::User, block));
    GetPromptResult::new(messages.into())
}
