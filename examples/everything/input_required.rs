//! Calls that need the client's input: one kind of input, all kinds at once, one after the other. A client of 2026-07-28 is
//! asked by the call's result and calls again (MRTR, SEP-2322); what it answered before comes back with it, sealed.
#![expect(
    deprecated,
    reason = "SEP-2577 deprecates sampling and roots; clients of all revisions still have them"
)]

use anynode::session::Caller;
use rmcp::model::{CreateMessageResult, ElicitResult, ListRootsResult};
use rmcp::{ErrorData, tool, tool_router};

use crate::Everything;
use crate::ask::{answer, directories, field, model, person, written};

#[tool_router(router = input_required_tools, vis = "pub(crate)")]
impl Everything {
    /// Greets the person by name, after asking for it.
    #[tool(annotations(read_only_hint = true))]
    async fn test_input_required_result_elicitation(&self, caller: Caller) -> Result<String, ErrorData> {
        Ok(format!(
            "Hello, {}!",
            name(&caller, "user_name", "What is your name?").await?
        ))
    }

    /// Asks the client's model a question.
    #[tool(annotations(read_only_hint = true))]
    async fn test_input_required_result_sampling(&self, caller: Caller) -> Result<String, ErrorData> {
        let question = model("What is the capital of France?", 100);
        let answers = caller.inputs([("capital_question", question)]).await?;
        Ok(written(&answer(&answers, "capital_question")?))
    }

    /// Asks which directories the client works in.
    #[tool(annotations(read_only_hint = true))]
    async fn test_input_required_result_list_roots(&self, caller: Caller) -> Result<String, ErrorData> {
        let answers = caller.inputs([("client_roots", directories())]).await?;
        Ok(roots_named(&answer(&answers, "client_roots")?))
    }

    /// Remembers, sealed at the client, that it has asked.
    #[tool(annotations(read_only_hint = true))]
    async fn test_input_required_result_request_state(&self, caller: Caller) -> Result<String, ErrorData> {
        confirmed(&caller, "state-ok").await
    }

    /// The same, to show that a state that was tampered with is refused.
    #[tool(annotations(read_only_hint = true))]
    async fn test_input_required_result_tampered_state(&self, caller: Caller) -> Result<String, ErrorData> {
        confirmed(&caller, "the state was as it was sealed").await
    }

    /// Asks for all kinds of input at once.
    #[tool(annotations(read_only_hint = true))]
    async fn test_input_required_result_multiple_inputs(&self, caller: Caller) -> Result<String, ErrorData> {
        let requests = [
            ("user_name", person("What is your name?", "name", "string")?),
            ("greeting", model("Generate a greeting", 50)),
            ("client_roots", directories()),
        ];
        let answers = caller.inputs(requests).await?;
        let who: ElicitResult = answer(&answers, "user_name")?;
        let greeting: CreateMessageResult = answer(&answers, "greeting")?;
        let roots = roots_named(&answer(&answers, "client_roots")?);
        Ok(format!(
            "{} {}, working in: {roots}",
            written(&greeting),
            field(&who, "name")
        ))
    }

    /// Asks twice: the second question comes after the first answer.
    #[tool(annotations(read_only_hint = true))]
    async fn test_input_required_result_multi_round(&self, caller: Caller) -> Result<String, ErrorData> {
        let name = name(&caller, "step1", "Step 1: What is your name?").await?;
        let question = person("Step 2: What is your favorite color?", "color", "string")?;
        let answers = caller.inputs([("step2", question)]).await?;
        let colour = field(&answer(&answers, "step2")?, "color");
        Ok(format!("{name} likes {colour}."))
    }
}

/// Asks for a name, under that key.
async fn name(caller: &Caller, key: &str, message: &str) -> Result<String, ErrorData> {
    let answers = caller.inputs([(key, person(message, "name", "string")?)]).await?;
    Ok(field(&answer(&answers, key)?, "name"))
}

/// Asks for a confirmation.
async fn confirmed(caller: &Caller, words: &str) -> Result<String, ErrorData> {
    let question = person("Please confirm", "ok", "boolean")?;
    let answers = caller.inputs([("confirm", question)]).await?;
    let _confirmed: ElicitResult = answer(&answers, "confirm")?;
    Ok(words.to_owned())
}

fn roots_named(answer: &ListRootsResult) -> String {
    let uris: Vec<_> = answer.roots.iter().map(|root| root.uri.as_str()).collect();
    uris.join(", ")
}
