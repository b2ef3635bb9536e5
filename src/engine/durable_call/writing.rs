//! What one run of a call has written, and which progress an earlier run has told.

use std::collections::HashMap;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::DurableCall;
use crate::random;
use crate::store::streams::Read;

/// What one run of a call has written.
pub(super) struct Writing {
    /// The run: another node that claims the call makes another.
    pub(super) run: String,
    /// How many events.
    pub(super) steps: u64,
    /// How many messages could not be.
    pub(super) lost: u64,
    /// Whether any more can be.
    pub(super) open: bool,
    /// How long an append waits for the store: not at all after a message that was given up.
    pub(super) patience: Duration,
    /// Fires when it is of no use to go on.
    pub(super) cancel: CancellationToken,
    /// What an earlier run has told.
    pub(super) told: Progress,
}

impl Writing {
    pub(super) fn new(told: Progress, patience: Duration, cancel: &CancellationToken) -> Self {
        Self {
            patience,
            run: random::uuid().simple().to_string(),
            steps: 0,
            lost: 0,
            open: !cancel.is_cancelled(),
            cancel: cancel.clone(),
            told,
        }
    }
}

/// How far calls have told their progress, by its token. Progress must increase (2025-11-25, Progress), so a
/// call that is run again is silent until it is further than the first run was.
#[derive(Debug, Default)]
pub(super) struct Progress(HashMap<String, f64>);

impl Progress {
    /// What the stream of a call tells.
    pub(super) async fn told(log: &DurableCall) -> Self {
        let (mut told, mut after) = (HashMap::new(), 0);
        let (session, stream) = (&log.cached.id, &log.record.stream);
        // Without it the client would be told again what it knows: a store that is away is waited for.
        let read = |after| async move {
            let read = || log.engine.store.read(session, stream, after);
            log.until_answered(log.engine.patience(), read).await
        };
        while let Ok(Read::Events { events, head, .. }) = read(after).await {
            let steps = events
                .iter()
                .filter_map(|event| progress_in(event.data.as_bytes()));
            for (token, step) in steps {
                let known = told.entry(token).or_insert(step);
                *known = known.max(step);
            }
            match events.last() {
                Some(last) if last.number < head => after = last.number,
                _ => break,
            }
        }
        Self(told)
    }

    pub(super) fn covers(&self, message: &[u8]) -> bool {
        !self.0.is_empty()
            && progress_in(message)
                .is_some_and(|(token, step)| self.0.get(&token).is_some_and(|told| step <= *told))
    }
}

/// The progress that a message tells, and its token, if it is of that kind.
fn progress_in(message: &[u8]) -> Option<(String, f64)> {
    #[derive(serde::Deserialize)]
    struct ProgressNotification {
        method: String,
        params: Params,
    }
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Params {
        progress_token: serde_json::Value,
        progress: f64,
    }
    let told: ProgressNotification = serde_json::from_slice(message).ok()?;
    (told.method == "notifications/progress")
        .then(|| (told.params.progress_token.to_string(), told.params.progress))
}
