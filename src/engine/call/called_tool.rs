//! What the audit log tells of a tool's call: it is made ready before the call runs, and written when it has ended.

use std::sync::Arc;

use rmcp::model::{ClientRequest, JsonObject, RequestId, ServerResult};

use super::ending::{self, HandlerEnd};
use crate::audit::{Act, Actor, Audit, CameFrom};
use crate::cluster::CachedSession;
use crate::engine::Engine;
use crate::engine::running_call::Finished;
use crate::protocol::era::Era;
use crate::session::{Caller, Principal};
use crate::telemetry::metrics::Outcome;

/// How a call ended of which nobody said it: its client has gone, or the node stops.
const ABANDONED: &str = "abandoned";

/// The most bytes of a tool's arguments in a line. Longer ones are left out: half of a JSON text is none.
const ARGUMENTS_BYTES_MAX: usize = 2048;

/// A call of a tool that the audit log wants to know of. It is told when this is dropped.
pub(super) struct CalledTool {
    audit: Audit,
    outcome: &'static str,
    principal: Principal,
    client: Option<String>,
    session: Option<String>,
    from: Option<Arc<CameFrom>>,
    /// The tool; `None` if there is none of that name.
    tool: Option<String>,
    arguments: Option<String>,
}

/// The arguments as text, if they are as few as a line holds. Longer ones are not written out.
fn kept(arguments: &JsonObject) -> Option<String> {
    let mut text = [0; ARGUMENTS_BYTES_MAX];
    let mut room = &mut text[..];
    serde_json::to_writer(&mut room, arguments).ok()?;
    let left = room.len();
    let text = text.get(..ARGUMENTS_BYTES_MAX - left)?;
    std::str::from_utf8(text).ok().map(str::to_owned)
}

impl CalledTool {
    /// That of a call; `None` when the log is off, or it calls no tool. In a box: the room for it would be moved
    /// with each call.
    pub(super) fn of(
        engine: &Engine,
        caller: &Caller,
        request: &ClientRequest,
        session: Option<&Arc<CachedSession>>,
        from: Option<Arc<CameFrom>>,
    ) -> Option<Box<Self>> {
        if !engine.audit.is_on() {
            return None;
        }
        let ClientRequest::CallToolRequest(call) = request else {
            return None;
        };
        let name = &*call.params.name;
        let arguments = call
            .params
            .arguments
            .as_ref()
            .filter(|_| engine.audit.wants_arguments());
        Some(Box::new(Self {
            audit: engine.audit.clone(),
            outcome: ABANDONED,
            principal: caller.principal.clone(),
            client: caller.client.as_ref().map(|client| client.name.clone()),
            session: session.map(|cached| cached.tag.clone()),
            from,
            tool: engine.tool(name).is_some().then(|| name.to_owned()),
            arguments: arguments.and_then(kept),
        }))
    }

    /// Ends it so. A tool that says of its result that it is an error has failed.
    const fn end(&mut self, failed: bool, outcome: Outcome) {
        self.outcome = match failed {
            true => Outcome::Error.label(),
            false => outcome.label(),
        };
    }
}

/// How a call ends, which is noted of one that calls a tool.
pub(super) fn finish(
    called: Option<Box<CalledTool>>,
    end: HandlerEnd,
    id: RequestId,
    era: Era,
    method: &'static str,
) -> (Finished, Outcome) {
    let failed = called.is_some() && has_failed(&end);
    let (finished, outcome) = ending::finish(end, id, era, method);
    if let Some(mut called) = called {
        called.end(failed, outcome);
    }
    (finished, outcome)
}

/// Whether a handler's result is what a tool says of its failure.
fn has_failed(end: &HandlerEnd) -> bool {
    match end {
        HandlerEnd::Result(result) => {
            matches!(&**result, ServerResult::CallToolResult(result) if result.is_error == Some(true))
        }
        _ => false,
    }
}

impl Drop for CalledTool {
    fn drop(&mut self) {
        let actor = Actor {
            principal: Some(&self.principal),
            client: self.client.as_deref(),
            session: self.session.as_deref(),
            from: self.from.as_deref(),
            method: Some("tools/call"),
        };
        let called = Act::ToolCalled {
            tool: self.tool.as_deref(),
            outcome: self.outcome,
            arguments: self.arguments.as_deref(),
        };
        self.audit.note(&actor, &called);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn arguments_are_kept_whole_or_not_at_all() {
        let of = |length: usize| {
            let arguments = json!({ "text": "x".repeat(length) });
            kept(arguments.as_object().unwrap())
        };
        let around = r#"{"text":""}"#.len();
        assert_eq!(of(0).as_deref(), Some(r#"{"text":""}"#));
        let most = of(ARGUMENTS_BYTES_MAX - around).unwrap();
        assert_eq!(most.len(), ARGUMENTS_BYTES_MAX);
        assert_eq!(of(ARGUMENTS_BYTES_MAX - around + 1), None);
        assert_eq!(of(1 << 20), None);
    }
}
