//! `completion/complete`: the keys and notebooks that a client may offer while a person types.

use rmcp::ErrorData;
use rmcp::model::{CompleteRequestParams, CompleteResult, CompletionInfo, Reference};

use super::failure::Failure;
use super::handoff::HANDOFF;
use super::notes::Notes;
use super::uri::{OWN, TEMPLATE};
use crate::session::Caller;

/// What can be completed: each argument of the resource template and of the prompt.
#[derive(Debug, PartialEq, Eq)]
enum Completed {
    /// The keys of a notebook.
    Key,
    /// The names of notebooks.
    Notebook,
    /// Free text, which nobody can guess.
    Nothing,
}

/// The values that an argument may have, of those that begin as it does.
pub(super) async fn complete(
    caller: &Caller,
    request: CompleteRequestParams,
) -> Result<CompleteResult, ErrorData> {
    let argument = &request.argument;
    let candidates = match completed(&request.r#ref, &argument.name)? {
        Completed::Nothing => Vec::new(),
        // Handles are credentials and cannot be listed, so only a session's own notebook has a name to offer.
        Completed::Notebook => caller.session.iter().map(|_| OWN.to_owned()).collect(),
        Completed::Key => {
            let context = request.context.as_ref();
            let notebook = context.and_then(|context| context.get_argument("notebook"));
            keys(caller, notebook.map(String::as_str)).await?
        }
    };
    matching(candidates, &argument.value)
}

fn completed(reference: &Reference, argument: &str) -> Result<Completed, ErrorData> {
    match (reference, argument) {
        (Reference::Resource(template), "key") if template.uri == TEMPLATE => Ok(Completed::Key),
        (Reference::Resource(template), "notebook") if template.uri == TEMPLATE => Ok(Completed::Notebook),
        (Reference::Prompt(prompt), "notebook") if prompt.name == HANDOFF => Ok(Completed::Notebook),
        (Reference::Prompt(prompt), "to") if prompt.name == HANDOFF => Ok(Completed::Nothing),
        _ => Err(ErrorData::invalid_params(
            format!(
                "nothing to complete: known are `key` and `notebook` of the resource template {TEMPLATE}, and \
                 `notebook` and `to` of the prompt {HANDOFF}"
            ),
            None,
        )),
    }
}

/// The keys of a notebook; none when there is no such notebook, for the person may still be typing its name.
async fn keys(caller: &Caller, notebook: Option<&str>) -> Result<Vec<String>, ErrorData> {
    let listed = match Notes::of(caller, notebook).await {
        Ok(notes) => notes.all().await,
        Err(failure) => Err(failure),
    };
    match listed {
        Ok(notes) => Ok(notes.into_iter().map(|(key, _)| key).collect()),
        Err(Failure::Tell(_)) => Ok(Vec::new()),
        Err(Failure::Refuse(error)) => Err(error),
    }
}

/// Those of `candidates` that begin with `typed`, as many as a reply may hold (100), and how many there are.
fn matching(mut candidates: Vec<String>, typed: &str) -> Result<CompleteResult, ErrorData> {
    candidates.retain(|candidate| candidate.starts_with(typed));
    let total = u32::try_from(candidates.len()).ok();
    let more = candidates.len() > CompletionInfo::MAX_VALUES;
    candidates.truncate(CompletionInfo::MAX_VALUES);
    let values = CompletionInfo::with_pagination(candidates, total, more)
        .map_err(|error| ErrorData::internal_error(error, None))?;
    Ok(CompleteResult::new(values))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_holds_what_begins_as_typed_up_to_its_bound() {
        let candidates: Vec<_> = (0..250).map(|n| format!("{}{n:03}", ["a", "b"][n % 2])).collect();
        let few = matching(candidates.clone(), "b00").unwrap().completion;
        assert_eq!(few.values, ["b001", "b003", "b005", "b007", "b009"]);
        assert_eq!((few.total, few.has_more), (Some(5), Some(false)));
        let many = matching(candidates.clone(), "a").unwrap().completion;
        assert_eq!(many.values.len(), 100);
        assert_eq!((many.total, many.has_more), (Some(125), Some(true)));
        let none = matching(candidates, "zz").unwrap().completion;
        assert_eq!((none.total, none.has_more), (Some(0), Some(false)));
    }

    #[test]
    fn only_arguments_that_exist_are_completed() {
        let template = Reference::for_resource(TEMPLATE);
        let prompt = Reference::for_prompt(HANDOFF);
        assert_eq!(completed(&template, "key"), Ok(Completed::Key));
        assert_eq!(completed(&template, "notebook"), Ok(Completed::Notebook));
        assert_eq!(completed(&prompt, "notebook"), Ok(Completed::Notebook));
        assert_eq!(completed(&prompt, "to"), Ok(Completed::Nothing));
        assert!(completed(&template, "to").is_err());
        assert!(completed(&Reference::for_resource("file:///{path}"), "path").is_err());
        assert!(completed(&Reference::for_prompt("other"), "to").is_err());
    }
}
