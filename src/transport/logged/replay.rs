//! What another node needs to run a call again, if that is safe.

use std::sync::Arc;

use bytes::Bytes;

use crate::store::streams::REPLAY_BYTES_MAX;
use crate::transport::handler::Handler;

/// The request of a call, for a node that may have to run it again.
#[derive(Debug)]
pub struct Replay {
    /// The handler, which knows what is safe to repeat.
    pub handler: Arc<dyn Handler>,
    /// The method.
    pub method: &'static str,
    /// The tool that is called, if one is.
    pub tool: Option<String>,
    /// The request's JSON text.
    pub body: Bytes,
}

impl Replay {
    /// The request's text, if it can be run again without harm: it has no side effects, or says that repeating them is
    /// the same as doing it once.
    pub(super) fn into_body(self) -> Option<String> {
        let safe = match self.method {
            "tools/call" => self
                .tool
                .as_deref()
                .and_then(|name| self.handler.tool(name))
                .is_some_and(|tool| {
                    let hints = tool.annotations.unwrap_or_default();
                    hints.read_only_hint == Some(true) || hints.idempotent_hint == Some(true)
                }),
            "tools/list"
            | "resources/list"
            | "resources/templates/list"
            | "resources/read"
            | "prompts/list"
            | "prompts/get"
            | "completion/complete" => true,
            _ => false,
        };
        if !safe || self.body.is_empty() || self.body.len() > REPLAY_BYTES_MAX {
            return None;
        }
        String::from_utf8(self.body.into()).ok()
    }
}
