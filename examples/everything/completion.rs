//! Completion: what a client may offer while a person types an argument.

use rmcp::ErrorData;
use rmcp::model::{CompleteRequestParams, CompleteResult, CompletionInfo, Reference};

use crate::prompts::WITH_ARGUMENTS;
use crate::resources::TEMPLATE;

/// The values that begin as what was typed does.
pub(crate) fn complete(request: &CompleteRequestParams) -> Result<CompleteResult, ErrorData> {
    let candidates: &[&str] = match (&request.r#ref, request.argument.name.as_str()) {
        (Reference::Prompt(prompt), "arg1" | "arg2") if prompt.name == WITH_ARGUMENTS => {
            &["paris", "park", "party", "testValue1", "testValue2"]
        }
        (Reference::Resource(template), "id") if template.uri == TEMPLATE => &["1", "12", "123"],
        _ => {
            return Err(ErrorData::invalid_params(
                "there is no such argument to complete",
                None,
            ));
        }
    };
    let begins = |candidate: &&str| candidate.starts_with(&request.argument.value);
    let values = candidates
        .iter()
        .copied()
        .filter(begins)
        .map(str::to_owned)
        .collect();
    let completion = CompletionInfo::with_all_values(values);
    let completion = completion.map_err(|error| ErrorData::internal_error(error, None))?;
    Ok(CompleteResult::new(completion))
}
