//! Tasks (SEP-2663): a tool returns a handle at once, and the work goes on. Any node tells how it stands, takes what the
//! client answers to it, and cancels it.

use std::time::Duration;

use anynode::session::Caller;
use anynode::session::tasks::Working;
use rmcp::handler::server::wrapper::Parameters;
use rmcp::model::{
    CallToolResponse, CallToolResult, ClientCapabilities, ContentBlock, ElicitResult, InputRequests,
};
use rmcp::{ErrorData, tool, tool_router};
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::time::sleep;

use crate::Everything;
use crate::ask::{answer, field, missing, person};

/// How long the jobs take that end by themselves.
const JOB: Duration = Duration::from_secs(1);
/// The longest that `slow_compute` takes.
const SLOW_SECONDS_MAX: f64 = 3600.0;

#[derive(Deserialize, JsonSchema)]
struct Greeting {
    /// Whom to greet.
    name: String,
}

#[derive(Deserialize, JsonSchema)]
struct Computation {
    /// How long it takes.
    seconds: f64,
    /// What it is called.
    #[serde(default)]
    #[schemars(with = "String")] // absent, not null: strict clients refuse a member of two types
    label: Option<String>,
}

#[derive(Deserialize, JsonSchema)]
struct Deletion {
    /// What to delete, once that is confirmed.
    filename: String,
}

#[tool_router(router = task_tools, vis = "pub(crate)")]
impl Everything {
    /// Greets, at once: not every tool is a task, also for clients that know them.
    #[tool]
    fn greet(&self, Parameters(Greeting { name }): Parameters<Greeting>) -> String {
        format!("Hello, {name}!")
    }

    /// Takes its time: as a task for clients that know tasks, while they wait for all others.
    #[tool]
    async fn slow_compute(
        &self,
        Parameters(Computation { seconds, label }): Parameters<Computation>,
        caller: Caller,
    ) -> Result<CallToolResponse, ErrorData> {
        let takes = Duration::from_secs_f64(seconds.clamp(0.0, SLOW_SECONDS_MAX));
        let words = format!("{} took {seconds} s", label.as_deref().unwrap_or("It"));
        if !caller.capabilities.supports_tasks() {
            sleep(takes).await;
            return Ok(said(&words).into());
        }
        let work = async move |task: Working| {
            task.set_status("computing").await;
            tokio::select! {
                () = sleep(takes) => Ok(said(&words)),
                // It would be dropped soon in any case; here is the place to put things in order.
                () = task.cancelled().cancelled() => Ok(said("stopped")),
            }
        };
        Ok(caller.tasks.start(work).await?.into())
    }

    /// Fails as tools do: the task is completed, and its result says that it is an error.
    #[tool]
    async fn failing_job(&self, caller: Caller) -> Result<CallToolResponse, ErrorData> {
        require_tasks(&caller)?;
        let work = async move |_task: Working| {
            sleep(JOB).await;
            Ok(CallToolResult::error(vec![ContentBlock::text("The job failed.")]))
        };
        Ok(caller.tasks.start(work).await?.into())
    }

    /// Fails as requests do: the task has failed, with an error and without a result.
    #[tool]
    async fn protocol_error_job(&self, caller: Caller) -> Result<CallToolResponse, ErrorData> {
        require_tasks(&caller)?;
        let work = async move |_task: Working| {
            sleep(JOB).await;
            Err(ErrorData::internal_error("the job could not be done", None))
        };
        Ok(caller.tasks.start(work).await?.into())
    }

    /// Waits for a confirmation, which the client gives whenever it likes, to any node.
    #[tool]
    async fn confirm_delete(
        &self,
        Parameters(Deletion { filename }): Parameters<Deletion>,
        caller: Caller,
    ) -> Result<CallToolResponse, ErrorData> {
        require_tasks(&caller)?;
        let question = person(&format!("Delete {filename}?"), "confirm", "boolean")?;
        let requests = InputRequests::from([("confirm".into(), question)]);
        let work = async move |task: Working| {
            let answers = task.ask(requests).await?;
            let answer: ElicitResult = answer(&answers, "confirm")?;
            let confirmed = answer
                .content
                .and_then(|content| content.get("confirm")?.as_bool());
            let words = if confirmed == Some(true) {
                "Deleted"
            } else {
                "Kept"
            };
            Ok(said(&format!("{words} {filename}.")))
        };
        Ok(caller.tasks.start(work).await?.into())
    }

    /// Asks two things at once, each of which can be answered on its own.
    #[tool]
    async fn multi_input(&self, caller: Caller) -> Result<CallToolResponse, ErrorData> {
        require_tasks(&caller)?;
        let requests = InputRequests::from([
            ("first".into(), person("The first?", "value", "string")?),
            ("second".into(), person("The second?", "value", "string")?),
        ]);
        let work = async move |task: Working| {
            let answers = task.ask(requests).await?;
            let count = answers.len();
            Ok(said(&format!("Got {count} answers.")))
        };
        Ok(caller.tasks.start(work).await?.into())
    }

    /// Asks first, in a round of its own, and begins the task with the answer.
    #[tool]
    async fn test_tool_with_task(&self, caller: Caller) -> Result<CallToolResponse, ErrorData> {
        require_tasks(&caller)?;
        let question = person("What is your name?", "name", "string")?;
        let answers = caller.inputs([("user_name", question)]).await?;
        let name = field(&answer(&answers, "user_name")?, "name");
        let work = async move |_task: Working| {
            sleep(JOB).await;
            Ok(said(&format!("Hello, {name}!")))
        };
        Ok(caller.tasks.start(work).await?.into())
    }
}

/// Refuses a client that could not ask after a task.
fn require_tasks(caller: &Caller) -> Result<(), ErrorData> {
    match caller.capabilities.supports_tasks() {
        true => Ok(()),
        false => Err(missing(ClientCapabilities::builder().enable_tasks().build())),
    }
}

fn said(words: &str) -> CallToolResult {
    CallToolResult::success(vec![ContentBlock::text(words)])
}
