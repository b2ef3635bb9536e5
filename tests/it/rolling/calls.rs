//! What the load calls, and what must come of it.

use serde_json::{Value, json};

/// What came of a call.
#[derive(Debug, Default)]
pub(super) struct Called {
    /// The response.
    pub(super) response: Value,
    /// What was told before it.
    pub(super) told: Vec<Value>,
    /// The nodes that answered, one for each connection.
    pub(super) nodes: Vec<String>,
}

/// How long calls are, and what may become of them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Length {
    pub(super) steps: u32,
    pub(super) interval_ms: u32,
    /// Whether a call may be run again from its beginning. Its progress is still told once, its log is
    /// not.
    pub(super) again: bool,
}

/// A call that takes its time, and tells how far it is.
pub(super) fn countdown(length: Length, token: &str) -> Value {
    json!({
        "name": "countdown",
        "arguments": {"from": length.steps, "interval_ms": length.interval_ms},
        "_meta": {"progressToken": token},
    })
}

impl Called {
    /// Each step once and in order, and then the result.
    pub(super) fn check_countdown(&self, length: Length) -> Result<(), String> {
        if self.facts("counted")? != length.steps {
            return Err(format!("a wrong result: {}", self.response));
        }
        let progress = self
            .told
            .iter()
            .filter(|told| told["method"] == "notifications/progress");
        let steps: Vec<f64> = progress
            .filter_map(|told| told["params"]["progress"].as_f64())
            .collect();
        let expected: Vec<f64> = (1..=length.steps).map(f64::from).collect();
        if steps != expected {
            return Err(format!("steps lost, doubled or out of order: {steps:?}"));
        }
        let logged = self
            .told
            .iter()
            .filter(|told| told["method"] == "notifications/message");
        let left: Vec<u64> = logged
            .filter_map(|told| told["params"]["data"]["left"].as_u64())
            .collect();
        let expected: Vec<u64> = (0..u64::from(length.steps)).rev().collect();
        // Clients of 2026-07-28 have not asked for logs.
        if !length.again && !left.is_empty() && left != expected {
            return Err(format!("log messages lost, doubled or out of order: {left:?}"));
        }
        Ok(())
    }

    /// The text that was echoed.
    pub(super) fn check_echo(&self, text: &str) -> Result<(), String> {
        match self.facts("text")? == text {
            true => Ok(()),
            false => Err(format!("a wrong echo of {text}: {}", self.response)),
        }
    }

    /// The sum, which must be one more than before.
    pub(super) fn check_sum(&self, before: u64) -> Result<u64, String> {
        let sum = self.facts("value")?.as_u64();
        match sum {
            Some(sum) if sum == before + 1 => Ok(sum),
            _ => Err(format!(
                "{before} plus one gave {}: not exactly once",
                self.response
            )),
        }
    }

    /// A member of the result's structured content.
    pub(super) fn facts(&self, name: &str) -> Result<&Value, String> {
        let fact = self.response["result"]["structuredContent"].get(name);
        fact.ok_or_else(|| format!("no result with `{name}`: {}", self.response))
    }
}
