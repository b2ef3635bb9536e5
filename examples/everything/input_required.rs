//! Calls that need the client's input (MRTR): one kind of input, all kinds at once, one after the other, and what the
//! server remembers between rounds.

use rmcp::model::{
    CallToolResponse, CallToolResult, ContentBlock, CreateMessageRequest, CreateMessageResult, ElicitRequest,
    ElicitRequestParams, ElicitResult, InputRequest, ListRootsRequest, ListRootsResult,
};
use rmcp::{ErrorData, tool, tool_router};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::Everything;
use crate::ask::{form, prompt, written};
use crate::rounds::Rounds;

/// What the tool of several rounds knows after each.
#[derive(Serialize, Deserialize)]
enum Progress {
    AskedName,
    AskedColour { name: String },
}

#[tool_router(router = input_required_tools, vis = "pub(crate)")]
impl Everything {
    /// Greets the person by name, after asking for it.
    #[tool(annotations(read_only_hint = true))]
    fn test_input_required_result_elicitation(&self, rounds: Rounds) -> Result<CallToolResponse, ErrorData> {
        let answer: Option<ElicitResult> = rounds.answer("user_name")?;
        Ok(match answer {
            Some(answer) => text(&format!("Hello, {}!", field(&answer, "name"))),
            None => rounds.ask([("user_name", name("What is your name?")?)]).into(),
        })
    }

    /// Asks the client's model a question.
    #[tool(annotations(read_only_hint = true))]
    fn test_input_required_result_sampling(&self, rounds: Rounds) -> Result<CallToolResponse, ErrorData> {
        let answer: Option<CreateMessageResult> = rounds.answer("capital_question")?;
        Ok(match answer {
            Some(answer) => text(&written(&answer)),
            None => {
                let question = sampled("What is the capital of France?", 100);
                rounds.ask([("capital_question", question)]).into()
            }
        })
    }

    /// Asks which directories the client works in.
    #[tool(annotations(read_only_hint = true))]
    fn test_input_required_result_list_roots(&self, rounds: Rounds) -> Result<CallToolResponse, ErrorData> {
        let answer: Option<ListRootsResult> = rounds.answer("client_roots")?;
        Ok(match answer {
            Some(answer) => text(&roots_named(&answer)),
            None => rounds.ask([("client_roots", roots())]).into(),
        })
    }

    /// Remembers, sealed at the client, that it has asked.
    #[tool(annotations(read_only_hint = true))]
    fn test_input_required_result_request_state(
        &self,
        rounds: Rounds,
    ) -> Result<CallToolResponse, ErrorData> {
        confirmed(&rounds, "state-ok")
    }

    /// The same, to show that a state that was tampered with is refused.
    #[tool(annotations(read_only_hint = true))]
    fn test_input_required_result_tampered_state(
        &self,
        rounds: Rounds,
    ) -> Result<CallToolResponse, ErrorData> {
        confirmed(&rounds, "the state was as it was sealed")
    }

    /// Asks for all kinds of input at once.
    #[tool(annotations(read_only_hint = true))]
    fn test_input_required_result_multiple_inputs(
        &self,
        rounds: Rounds,
    ) -> Result<CallToolResponse, ErrorData> {
        let asked: Option<bool> = rounds.remembered()?;
        let answers = (
            rounds.answer::<ElicitResult>("user_name")?,
            rounds.answer::<CreateMessageResult>("greeting")?,
            rounds.answer::<ListRootsResult>("client_roots")?,
        );
        if let (Some(true), (Some(who), Some(greeting), Some(roots))) = (asked, answers) {
            let (who, greeting, roots) = (field(&who, "name"), written(&greeting), roots_named(&roots));
            return Ok(text(&format!("{greeting} {who}, working in: {roots}")));
        }
        let requests = [
            ("user_name", name("What is your name?")?),
            ("greeting", sampled("Generate a greeting", 50)),
            ("client_roots", roots()),
        ];
        Ok(rounds.ask_and_remember(requests, &true)?.into())
    }

    /// Asks twice: the second question comes after the first answer.
    #[tool(annotations(read_only_hint = true))]
    fn test_input_required_result_multi_round(&self, rounds: Rounds) -> Result<CallToolResponse, ErrorData> {
        let first = rounds.answer::<ElicitResult>("step1")?;
        let second = rounds.answer::<ElicitResult>("step2")?;
        match (rounds.remembered()?, first, second) {
            (Some(Progress::AskedColour { name }), _, Some(answer)) => {
                let colour = field(&answer, "color");
                Ok(text(&format!("{name} likes {colour}.")))
            }
            (Some(Progress::AskedName), Some(answer), _) => {
                let name = field(&answer, "name");
                ask_colour(&rounds, name)
            }
            (Some(Progress::AskedColour { name }), _, None) => ask_colour(&rounds, name),
            (Some(Progress::AskedName) | None, ..) => {
                let step = name("Step 1: What is your name?")?;
                Ok(rounds
                    .ask_and_remember([("step1", step)], &Progress::AskedName)?
                    .into())
            }
        }
    }
}

/// A form with one required field.
pub(crate) fn ask_for(message: &str, field: &str, kind: &str) -> Result<ElicitRequestParams, ErrorData> {
    let schema = json!({"type": "object", "properties": {field: {"type": kind}}, "required": [field]});
    form(message, schema)
}

/// A result of one text.
pub(crate) fn text(text: &str) -> CallToolResponse {
    CallToolResult::success(vec![ContentBlock::text(text)]).into()
}

/// Asks for a confirmation, and remembers that it has.
fn confirmed(rounds: &Rounds, words: &str) -> Result<CallToolResponse, ErrorData> {
    let asked: Option<bool> = rounds.remembered()?;
    let answer: Option<ElicitResult> = rounds.answer("confirm")?;
    if let (Some(true), Some(_)) = (asked, answer) {
        return Ok(text(words));
    }
    let request = ElicitRequest::new(ask_for("Please confirm", "ok", "boolean")?);
    let requests = [("confirm", InputRequest::Elicitation(request))];
    Ok(rounds.ask_and_remember(requests, &true)?.into())
}

fn ask_colour(rounds: &Rounds, name: String) -> Result<CallToolResponse, ErrorData> {
    let form = ask_for("Step 2: What is your favorite color?", "color", "string")?;
    let requests = [("step2", InputRequest::Elicitation(ElicitRequest::new(form)))];
    Ok(rounds
        .ask_and_remember(requests, &Progress::AskedColour { name })?
        .into())
}

fn name(message: &str) -> Result<InputRequest, ErrorData> {
    let form = ask_for(message, "name", "string")?;
    Ok(InputRequest::Elicitation(ElicitRequest::new(form)))
}

fn sampled(question: &str, max_tokens: u32) -> InputRequest {
    InputRequest::CreateMessage(CreateMessageRequest::new(prompt(question, max_tokens)))
}

fn roots() -> InputRequest {
    InputRequest::ListRoots(ListRootsRequest::default())
}

fn roots_named(answer: &ListRootsResult) -> String {
    let uris: Vec<_> = answer.roots.iter().map(|root| root.uri.as_str()).collect();
    uris.join(", ")
}

/// What a person filled in; nothing when they did not.
pub(crate) fn field(answer: &ElicitResult, name: &str) -> String {
    let filled = answer.content.as_ref().and_then(|content| content.get(name));
    filled.and_then(Value::as_str).unwrap_or_default().to_owned()
}
