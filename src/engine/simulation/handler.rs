//! The server that simulated nodes serve. It has one tool; its arguments say what a call of it does.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, CancelledNotificationParam, ContentBlock,
    ElicitRequestParams, ElicitResult, ErrorCode, ProgressNotificationParam, RequestId, ServerCapabilities,
    ServerConfig, SubscribeRequestParams, SubscriptionFilter, Tool, ToolAnnotations,
    UnsubscribeRequestParams,
};
use rmcp::service::{NotificationContext, RequestContext};
use rmcp::{ErrorData, RoleServer, ServerHandler};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::time::sleep;

use super::world::{NodeLife, World};
use crate::session::{Caller, Session};

/// The tool that may be run again.
pub(super) const SAFE: &str = "safe";
/// The tool that must not.
pub(super) const ONCE: &str = "once";

/// What a call is to do, in this order.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Work {
    /// Names the call among all of the run.
    pub(super) key: String,
    /// Tells so much progress,
    pub(super) steps: u32,
    /// each after such a pause.
    pub(super) pause_ms: u64,
    /// Asks the client so often.
    pub(super) asks: u32,
    /// Says that this resource has changed.
    pub(super) changes: Option<String>,
    /// Whether that is the session's own.
    pub(super) own: bool,
    /// Counts in the session's state.
    pub(super) counts: bool,
}

/// The server.
#[derive(Debug, Clone)]
pub(super) struct SimulatedServer {
    pub(super) world: World,
    /// The node that it serves.
    pub(super) life: NodeLife,
}

fn failed(error: impl std::fmt::Display) -> ErrorData {
    ErrorData::new(ErrorCode(-32050), error.to_string(), None)
}

fn request_of(session: &Session, id: &RequestId) -> String {
    format!("{} {id}", session.id().as_str())
}

impl SimulatedServer {
    async fn work(
        &self,
        once: bool,
        work: &Work,
        context: &RequestContext<RoleServer>,
    ) -> Result<Value, ErrorData> {
        let caller = context
            .extensions
            .get::<Caller>()
            .ok_or_else(|| failed("no caller"))?;
        let _run = self.world.run(&work.key, &self.life, once);
        let token = context.meta.get_progress_token();
        for step in 1..=work.steps {
            tokio::select! {
                biased;
                () = context.ct.cancelled() => return Err(failed("cancelled")),
                () = sleep(Duration::from_millis(work.pause_ms)) => {}
            }
            if let Some(token) = &token {
                let progress = ProgressNotificationParam::new(token.clone(), step.into());
                let told = context
                    .peer
                    .notify_progress(progress.with_message(work.key.clone()))
                    .await;
                if let Err(error) = told {
                    self.world
                        .step(format!("call {} could not tell step {step}: {error}", work.key));
                }
            }
        }
        let mut answers = Vec::new();
        for number in 0..work.asks {
            let question = format!("{}?{number}", work.key);
            let params = ElicitRequestParams::FormElicitationParams {
                meta: None,
                message: question.clone(),
                requested_schema: serde_json::from_value(
                    json!({"type": "object", "properties": {"name": {"type": "string"}}}),
                )
                .map_err(failed)?,
            };
            let answer: ElicitResult = context.peer.create_elicitation(params).await.map_err(failed)?;
            let answer = answer.content.unwrap_or_default();
            if answer["name"] != question {
                self.world
                    .wrong(format!("call {} was given {answer} for {question}", work.key));
            }
            answers.push(answer);
        }
        if let Some(uri) = &work.changes {
            match (&caller.session, work.own) {
                (Some(session), true) => {
                    let own = format!("{}|{uri}", session.id().as_str());
                    let which = self.world.change(&own, &self.life);
                    caller.announcer.own_resource_updated(session.id(), uri).await;
                    self.world.changed(&own, which);
                }
                _ => {
                    let which = self.world.change(uri, &self.life);
                    caller.announcer.resource_updated(uri).await;
                    self.world.changed(uri, which);
                }
            }
        }
        let counted = match &caller.session {
            Some(session) if work.counts => session
                .update("count", |count: Option<u64>| Some(count.unwrap_or(0) + 1))
                .await
                .map_err(failed)?,
            _ => None,
        };
        Ok(json!({"key": work.key, "counted": counted, "answers": answers.len()}))
    }
}

impl ServerHandler for SimulatedServer {
    fn get_info(&self) -> ServerConfig {
        let capabilities = ServerCapabilities::builder()
            .enable_tools()
            .enable_resources()
            .enable_resources_subscribe()
            .build();
        ServerConfig::new(capabilities)
    }

    fn get_tool(&self, name: &str) -> Option<Tool> {
        let tool = Tool::new(name.to_owned(), Cow::Borrowed(""), Arc::default());
        Some(match name == SAFE {
            true => tool.with_annotations(ToolAnnotations::new().idempotent(true)),
            false => tool,
        })
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let arguments = Value::Object(request.arguments.unwrap_or_default());
        let work: Work = serde_json::from_value(arguments).map_err(failed)?;
        if let Some(session) = context.extensions.get::<Session>() {
            let request = request_of(session, &context.id);
            self.world.runs_request(&request, &self.life);
        }
        let done = self.work(request.name == ONCE, &work, &context).await?;
        Ok(CallToolResult::success(vec![ContentBlock::text(done.to_string())]).into())
    }

    async fn subscribe(
        &self,
        _request: SubscribeRequestParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        Ok(())
    }

    async fn unsubscribe(
        &self,
        _request: UnsubscribeRequestParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        Ok(())
    }

    async fn on_cancelled(
        &self,
        cancelled: CancelledNotificationParam,
        context: NotificationContext<RoleServer>,
    ) {
        let session = context.extensions.get::<Session>();
        let (Some(session), Some(id)) = (session, &cancelled.request_id) else {
            return self.world.wrong("a cancellation names no call");
        };
        // No reason is known if the store was away just then.
        let reason = cancelled.reason.as_deref().unwrap_or_default();
        self.world
            .told_cancelled(&request_of(session, id), reason, &self.life);
    }

    fn accepted_subscription_filter(&self, requested: &SubscriptionFilter) -> Option<SubscriptionFilter> {
        Some(requested.clone())
    }
}
