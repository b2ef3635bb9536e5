//! Clients that do as the protocol says when a stream breaks off: they come back for it, wherever they are
//! served.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::BoxFuture;
use serde_json::Value;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::watch::{Emptied, may_be_gone};
use crate::support::client::Client;
use crate::support::process::eventually;
use crate::support::sse::EventStream;

/// How long a client waits before it tries again to open its stream.
const AGAIN_AFTER: Duration = Duration::from_millis(100);
/// How long it waits for an event before it looks whether it may stop.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// How to open a stream again after the last event id.
pub(super) type Reopen = Box<dyn Fn(Option<String>) -> BoxFuture<'static, reqwest::Response> + Send + Sync>;

/// What a client has heard.
#[derive(Debug, Default)]
pub(super) struct Heard {
    /// Every JSON-RPC message, in order.
    pub(super) messages: Vec<Value>,
    ids: Vec<String>,
    /// How often the stream was opened again.
    pub(super) reopened: usize,
    /// The session was not known any longer when the client came back.
    pub(super) gone: bool,
}

impl Heard {
    /// The response to request `id`.
    pub(super) fn answer(&self, id: &Value) -> Option<&Value> {
        let mut responses = self.messages.iter();
        responses.find(|message| message.get("method").is_none() && message.get("id") == Some(id))
    }

    /// The steps of the progress that was told.
    pub(super) fn steps(&self) -> Vec<f64> {
        let told = self.messages.iter();
        let told = told.filter(|message| message["method"] == "notifications/progress");
        told.map(|message| message["params"]["progress"].as_f64().expect("a number"))
            .collect()
    }

    /// How often a resource was said to be updated.
    pub(super) fn updates(&self, uri: &str) -> usize {
        let told = self.messages.iter();
        told.filter(|message| {
            message["method"] == "notifications/resources/updated" && message["params"]["uri"] == uri
        })
        .count()
    }
}

/// A client that reads a stream, and opens it again whenever it breaks off.
pub(super) struct Follower {
    heard: Arc<Mutex<Heard>>,
    task: JoinHandle<()>,
}

impl Follower {
    /// Reads on for as long as it is kept, or to the answer to request `until`.
    pub(super) fn start(
        stream: Option<EventStream>,
        until: Option<Value>,
        emptied: &Emptied,
        reopen: Reopen,
    ) -> Self {
        let heard = Arc::default();
        let (log, emptied) = (Arc::clone(&heard), Arc::clone(emptied));
        let task = tokio::spawn(async move { follow(stream, until, &emptied, &reopen, &log).await });
        Self { heard, task }
    }

    /// Follows the reply to a call of `client`, which comes back at `again`.
    pub(super) fn call(id: &Value, stream: EventStream, again: &Client, emptied: &Emptied) -> Self {
        Self::start(Some(stream), Some(id.clone()), emptied, listening(again))
    }

    /// Looks at what was heard until now.
    pub(super) fn heard<T>(&self, look: impl FnOnce(&Heard) -> T) -> T {
        look(&self.heard.lock().unwrap())
    }

    /// Waits until `wanted` holds for what was heard.
    pub(super) async fn hears(&self, what: &str, wanted: impl Fn(&Heard) -> bool) {
        eventually(what, || async {
            if self.heard(|heard| wanted(heard)) {
                return Some(());
            }
            let ended = self.task.is_finished();
            assert!(
                !ended,
                "{what}: the client gave up: {:?}",
                self.heard.lock().unwrap()
            );
            None
        })
        .await;
    }

    /// Waits until the client came back in vain, because the session is gone.
    pub(super) async fn hears_that_it_is_gone(&self) {
        eventually("the session of a stream is known to be gone", || async {
            self.heard(|heard| heard.gone).then_some(())
        })
        .await;
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Opens a stream again with `GET /mcp`.
pub(super) fn listening(client: &Client) -> Reopen {
    let client = client.clone();
    Box::new(move |last| {
        let client = client.clone();
        Box::pin(async move { client.get(last.as_deref()).await })
    })
}

async fn follow(
    mut stream: Option<EventStream>,
    until: Option<Value>,
    emptied: &Emptied,
    reopen: &Reopen,
    heard: &Mutex<Heard>,
) {
    let mut last = None;
    loop {
        let Some(open) = &mut stream else {
            let response = reopen(last.clone()).await;
            match response.status().as_u16() {
                200 => {
                    heard.lock().unwrap().reopened += 1;
                    stream = Some(EventStream::new(response));
                }
                503 => sleep(AGAIN_AFTER).await,
                404 if may_be_gone(emptied) => {
                    heard.lock().unwrap().gone = true;
                    return;
                }
                _ => panic!(
                    "a stream was not opened again: {response:?} {:?}",
                    response.headers()
                ),
            }
            continue;
        };
        let event = match open.next_within(LOOK_EVERY).await {
            None => continue,
            Some(None) => {
                stream = None;
                continue;
            }
            Some(Some(event)) => event,
        };
        let mut heard = heard.lock().unwrap();
        if let Some(id) = event.id.clone().filter(|_| event.data.as_deref() != Some("")) {
            assert!(!heard.ids.contains(&id), "event {id} came twice");
            heard.ids.push(id);
        }
        last = event.id.clone().or(last);
        if event.event.as_deref() != Some("endpoint") {
            heard.messages.extend(event.message());
        }
        if until.as_ref().is_some_and(|id| heard.answer(id).is_some()) {
            return;
        }
    }
}
