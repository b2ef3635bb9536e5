//! `countdown`: a call that takes its time, and says how far it is.

use std::time::Duration;

use rmcp::handler::server::wrapper::{Json, Parameters};
#[expect(
    deprecated,
    reason = "SEP-2577 deprecates logging; legacy clients and modern `_meta` still use it"
)]
use rmcp::model::{LoggingLevel, LoggingMessageNotificationParam};
use rmcp::model::{ProgressNotificationParam, ProgressToken};
use rmcp::service::RequestContext;
use rmcp::{Peer, RoleServer, tool, tool_router};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::task::yield_now;
use tokio::time::sleep;

use super::Tools;
use super::failure::Failure;

/// The most steps of one countdown.
const STEPS_MAX: u32 = 100;
/// The longest step, in milliseconds.
const INTERVAL_MS_MAX: u64 = 10_000; // 100 x 10 s = 17 min at most
/// The length of a step when the caller does not say.
const INTERVAL_MS_DEFAULT: u64 = 1000;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct CountdownArguments {
    /// How many steps to count down.
    #[schemars(with = "i64", range(min = 1, max = 100))]
    from: u32,
    /// How long each step takes, in milliseconds.
    #[serde(default = "interval_ms_default")]
    #[schemars(with = "i64", range(min = 0, max = 10_000))]
    interval_ms: u64,
}

const fn interval_ms_default() -> u64 {
    INTERVAL_MS_DEFAULT
}

#[derive(Debug, Serialize, JsonSchema)]
struct CountedDown {
    /// How many steps were counted.
    #[schemars(with = "i64")]
    counted: u32,
}

#[tool_router(router = countdown_router, vis = "pub(super)")]
impl Tools {
    #[tool(
        title = "Count down",
        description = "Counts down from a number to 0, one step each interval, and returns when it is done. Reports \
                       progress when the call has a progress token, and logs each step. It can be cancelled.",
        annotations(
            read_only_hint = true,
            destructive_hint = false,
            idempotent_hint = true,
            open_world_hint = false
        )
    )]
    async fn countdown(
        &self,
        Parameters(arguments): Parameters<CountdownArguments>,
        context: RequestContext<RoleServer>,
    ) -> Result<Json<CountedDown>, Failure> {
        let CountdownArguments { from, interval_ms } = arguments;
        if !(1..=STEPS_MAX).contains(&from) {
            let text = format!("`from` must be 1 to {STEPS_MAX}, this is {from}");
            return Err(Failure::bad_arguments(text));
        }
        if interval_ms > INTERVAL_MS_MAX {
            let text = format!("`interval_ms` must be 0 to {INTERVAL_MS_MAX}, this is {interval_ms}");
            return Err(Failure::bad_arguments(text));
        }
        let token = context.meta.get_progress_token();
        for step in 1..=from {
            tokio::select! {
                () = context.ct.cancelled() => {
                    return Err(Failure::tell(format!("Cancelled, {} before the end.", from + 1 - step)));
                }
                () = pause(interval_ms) => {}
            }
            report(&context.peer, token.as_ref(), step, from).await;
        }
        Ok(Json(CountedDown { counted: from }))
    }
}

/// Waits so long, or only lets others go first: a timer's shortest wait is a millisecond.
async fn pause(interval_ms: u64) {
    match interval_ms {
        0 => yield_now().await,
        _ => sleep(Duration::from_millis(interval_ms)).await,
    }
}

/// Says that `step` of `from` is done. A client that cannot be told may come back for the result, so failing
/// to tell it does not end the countdown.
async fn report(peer: &Peer<RoleServer>, token: Option<&ProgressToken>, step: u32, from: u32) {
    let left = from - step;
    if let Some(token) = token {
        let progress = ProgressNotificationParam::new(token.clone(), step.into())
            .with_total(from.into())
            .with_message(format!("{left} to go"));
        if let Err(error) = peer.notify_progress(progress).await {
            tracing::debug!(%error, "progress was not sent");
        }
    }
    #[expect(
        deprecated,
        reason = "SEP-2577 deprecates logging; legacy clients and modern `_meta` still use it"
    )]
    let logged = {
        let message = LoggingMessageNotificationParam::new(LoggingLevel::Info, json!({ "left": left }));
        peer.notify_logging_message(message.with_logger("countdown"))
            .await
    };
    if let Err(error) = logged {
        tracing::debug!(%error, "a log message was not sent");
    }
}
