//! What is kept of a task, and how it changes. One that has ended never changes again.

use std::collections::BTreeMap;
use std::time::{Duration, UNIX_EPOCH};

use humantime_serde::re::humantime::format_rfc3339_millis;
use rmcp::ErrorData;
use rmcp::model::{
    CallToolResult, DetailedTask, InputRequest, InputRequests, InputResponses, JsonObject, Task, TaskPayload,
    TaskStatus,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::session::{NodeId, Principal};

/// How often a client should ask after a task.
const POLL_EVERY_MS: u64 = 500;

/// The version of a task's record. A node that finds a higher one leaves the task to nodes that know it.
const VERSION: u32 = 1;

/// The version of records that do not say theirs.
const fn unnumbered() -> u32 {
    VERSION
}

/// Why a record cannot be read.
#[derive(Debug)]
pub(super) enum Unread {
    /// A newer version has written it.
    Newer,
    /// No version could.
    Unreadable(serde_json::Error),
}

/// What is kept of a task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct TaskRecord {
    #[serde(default = "unnumbered")]
    v: u32,
    /// Whose it is.
    pub(super) principal: Principal,
    /// The node that runs it.
    pub(super) node: String,
    /// How it stands.
    pub(super) status: TaskStatus,
    message: Option<String>,
    created_ms: u64,
    /// When it last changed, in unix milliseconds.
    pub(super) updated_ms: u64,
    ttl_ms: u64,
    inputs: BTreeMap<String, Input>,
    /// The result of a task that was completed, the error of one that failed.
    outcome: Option<JsonObject>,
}

/// Something that a task asked its client for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Input {
    request: InputRequest,
    answer: Option<Value>,
}

impl TaskRecord {
    /// Reads what is kept.
    pub(super) fn read(kept: Value) -> Result<Self, Unread> {
        let newer = kept.get("v").and_then(Value::as_u64) > Some(u64::from(VERSION));
        match newer {
            true => Err(Unread::Newer),
            false => serde_json::from_value(kept).map_err(Unread::Unreadable),
        }
    }

    /// A task that has just begun.
    pub(super) fn new(principal: &Principal, node: &NodeId, now_ms: u64, ttl: Duration) -> Self {
        Self {
            v: VERSION,
            principal: principal.clone(),
            node: node.as_str().to_owned(),
            status: TaskStatus::Working,
            message: None,
            created_ms: now_ms,
            updated_ms: now_ms,
            ttl_ms: u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX),
            inputs: BTreeMap::new(),
            outcome: None,
        }
    }

    /// Whether it has ended: completed, failed or cancelled.
    pub(super) fn has_ended(&self) -> bool {
        self.status.is_terminal()
    }

    /// Sets its status message.
    pub(super) fn set_status(&mut self, message: &str, now_ms: u64) {
        self.unless_ended(now_ms, |task| task.message = Some(message.to_owned()));
    }

    /// Asks the client for something.
    pub(super) fn ask(&mut self, requests: &InputRequests, now_ms: u64) {
        self.unless_ended(now_ms, |task| {
            let inputs = requests.iter().map(|(key, request)| {
                let request = request.clone();
                (
                    key.clone(),
                    Input {
                        request,
                        answer: None,
                    },
                )
            });
            task.inputs.extend(inputs);
            task.status = TaskStatus::InputRequired;
        });
    }

    /// Takes the client's answers to what it was asked and has not answered.
    pub(super) fn answer(&mut self, answers: &InputResponses, now_ms: u64) {
        self.unless_ended(now_ms, |task| {
            for (key, answer) in answers {
                if let Some(input) = task.inputs.get_mut(key).filter(|input| input.answer.is_none()) {
                    input.answer = Some(answer.clone());
                }
            }
            if task.inputs.values().all(|input| input.answer.is_some()) {
                task.status = TaskStatus::Working;
            }
        });
    }

    /// The answers to all of `keys`, once there are all.
    pub(super) fn answers<'a>(&self, keys: impl Iterator<Item = &'a String>) -> Option<InputResponses> {
        keys.map(|key| Some((key.clone(), self.inputs.get(key)?.answer.clone()?)))
            .collect()
    }

    /// Ends it with a result, be that one that says `isError`.
    pub(super) fn complete(&mut self, result: &CallToolResult, now_ms: u64) {
        self.end(TaskStatus::Completed, object(result), now_ms);
    }

    /// Ends it with an error.
    pub(super) fn fail(&mut self, error: &ErrorData, now_ms: u64) {
        self.end(TaskStatus::Failed, object(error), now_ms);
    }

    /// Ends it without either.
    pub(super) fn cancel(&mut self, now_ms: u64) {
        self.end(TaskStatus::Cancelled, None, now_ms);
    }

    /// As a client sees it.
    pub(super) fn task(&self, id: &str) -> Task {
        let mut task = Task::new(id, self.status, time(self.created_ms), time(self.updated_ms))
            .with_ttl_ms(self.ttl_ms)
            .with_poll_interval_ms(POLL_EVERY_MS);
        task.status_message = self.message.clone();
        task
    }

    /// The same, with its outcome or with what it asks for.
    pub(super) fn detailed(&self, id: &str) -> DetailedTask {
        let outcome = || self.outcome.clone().unwrap_or_default();
        let payload = match self.status {
            TaskStatus::InputRequired => {
                let open = self.inputs.iter().filter(|(_, input)| input.answer.is_none());
                let input_requests = open.map(|(key, input)| (key.clone(), input.request.clone()));
                TaskPayload::InputRequired {
                    input_requests: input_requests.collect(),
                }
            }
            TaskStatus::Completed => TaskPayload::Completed { result: outcome() },
            TaskStatus::Failed => TaskPayload::Failed { error: outcome() },
            TaskStatus::Cancelled => TaskPayload::Cancelled,
            _ => TaskPayload::Working,
        };
        DetailedTask::new(self.task(id), payload)
    }

    fn end(&mut self, status: TaskStatus, outcome: Option<JsonObject>, now_ms: u64) {
        self.unless_ended(now_ms, |task| {
            task.status = status;
            task.outcome = outcome;
        });
    }

    fn unless_ended(&mut self, now_ms: u64, change: impl FnOnce(&mut Self)) {
        if !self.has_ended() {
            change(self);
            self.updated_ms = now_ms;
        }
    }
}

fn object(value: &impl Serialize) -> Option<JsonObject> {
    match serde_json::to_value(value) {
        Ok(Value::Object(object)) => Some(object),
        _ => None,
    }
}

fn time(unix_ms: u64) -> String {
    format_rfc3339_millis(UNIX_EPOCH + Duration::from_millis(unix_ms)).to_string()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn task() -> TaskRecord {
        let node = NodeId::parse("node-1").unwrap();
        TaskRecord::new(&Principal("alice".into()), &node, 1_000, Duration::from_secs(60))
    }

    fn seen(task: &TaskRecord) -> Value {
        serde_json::to_value(task.detailed("id")).unwrap()
    }

    fn asked(keys: [&str; 2]) -> InputRequests {
        let request = json!({"method": "elicitation/create", "params": {
            "message": "?", "requestedSchema": {"type": "object", "properties": {}}
        }});
        keys.map(|key| (key.to_owned(), serde_json::from_value(request.clone()).unwrap()))
            .into()
    }

    #[test]
    fn each_input_can_be_answered_on_its_own_and_only_once() {
        let mut task = task();
        task.ask(&asked(["a", "b"]), 2_000);
        assert_eq!(seen(&task)["status"], "input_required");
        task.answer(&[("a".into(), json!(1)), ("c".into(), json!(3))].into(), 3_000);
        let open = seen(&task)["inputRequests"].as_object().cloned().unwrap();
        assert_eq!(open.keys().collect::<Vec<_>>(), ["b"]);
        task.answer(&[("a".into(), json!(9)), ("b".into(), json!(2))].into(), 4_000);
        assert_eq!(seen(&task)["status"], "working");
        let keys = ["a".to_owned(), "b".to_owned()];
        let answers = task.answers(keys.iter()).unwrap();
        assert_eq!(answers, [("a".into(), json!(1)), ("b".into(), json!(2))].into());
    }

    /// F16: A task of a newer version is left to the nodes of that version; unknown fields are fine.
    #[test]
    fn a_record_of_another_version_is_not_guessed_at() {
        let mut kept = serde_json::to_value(task()).unwrap();
        kept["more"] = json!(1);
        assert_eq!(TaskRecord::read(kept.clone()).unwrap(), task());
        kept["v"] = json!(2);
        assert!(matches!(TaskRecord::read(kept), Err(Unread::Newer)));
        assert!(matches!(TaskRecord::read(json!({})), Err(Unread::Unreadable(_))));
    }

    #[test]
    fn a_task_that_has_ended_stays_as_it_is() {
        let mut task = task();
        task.cancel(2_000);
        let ended = task.clone();
        task.complete(&CallToolResult::success(vec![]), 3_000);
        task.fail(&ErrorData::internal_error("x", None), 3_000);
        task.ask(&asked(["a", "b"]), 3_000);
        task.answer(&[("a".into(), json!(1))].into(), 3_000);
        task.set_status("x", 3_000);
        assert_eq!(task, ended);
    }

    #[test]
    fn an_outcome_is_told_with_the_task_and_survives_the_store() {
        let mut task = task();
        task.fail(&ErrorData::internal_error("broke", None), 2_000);
        let text = serde_json::to_string(&task).unwrap();
        let task: TaskRecord = serde_json::from_str(&text).unwrap();
        assert_eq!(
            seen(&task),
            json!({
                "taskId": "id", "status": "failed", "ttlMs": 60_000, "pollIntervalMs": 500,
                "createdAt": "1970-01-01T00:00:01.000Z", "lastUpdatedAt": "1970-01-01T00:00:02.000Z",
                "error": {"code": -32603, "message": "broke"}
            })
        );
    }
}
