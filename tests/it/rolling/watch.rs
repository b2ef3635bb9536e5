//! Clients that are told when a note changes: each change reaches each of them, wherever its stream is at
//! that moment.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::calls::Called;
use super::sse::{Resume, Sse};
use super::streamable::Streamable;
use super::wire::{Order, Wire, named, next};
use crate::support::client::MODERN;
use crate::support::sse::EventStream;

/// The note that is watched.
const KEY: &str = "beat";
/// How long a change may take to be told, streams being closed and opened again meanwhile.
const TOLD_WITHIN: Duration = Duration::from_secs(10);
/// How often it is looked whether all were told.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// Between a change that all were told of and the next.
const PAUSE: Duration = Duration::from_millis(50);

/// A client that has been told of changes up to some number.
#[derive(Debug)]
pub(super) struct Watcher {
    name: String,
    seen: AtomicU64,
}

/// A change that is watched for.
#[derive(Debug, Clone)]
pub(super) struct Beat {
    notebook: String,
}

impl Beat {
    /// Makes the notebook with the note.
    pub(super) async fn new(writer: &Streamable) -> Result<Self, String> {
        let opened = writer
            .call(json!({"name": "open_notebook", "arguments": {}}))
            .await?;
        let notebook = opened.facts("notebook")?.as_str().ok_or("no handle")?;
        let beat = Self {
            notebook: notebook.into(),
        };
        beat.write(writer, 0).await?;
        Ok(beat)
    }

    async fn write(&self, writer: &Streamable, number: u64) -> Result<Called, String> {
        let arguments = json!({"key": KEY, "value": number, "notebook": self.notebook});
        writer
            .call(json!({"name": "remember", "arguments": arguments}))
            .await
    }

    fn uri(&self) -> String {
        format!("note://{}/{KEY}", self.notebook)
    }

    fn recall(&self) -> Value {
        json!({"name": "recall", "arguments": {"key": KEY, "notebook": self.notebook}})
    }

    /// Changes the note until told to stop; all must have been told of one change before the next is made.
    pub(super) async fn keep(
        &self,
        writer: &Streamable,
        watchers: &[Arc<Watcher>],
        stop: &CancellationToken,
    ) {
        let ledger = &writer.wire.ledger;
        for number in 1.. {
            if stop.is_cancelled() {
                return;
            }
            let written = match self.write(writer, number).await {
                Ok(written) => written,
                Err(error) => return ledger.fail(format!("the writer of change {number}: {error}")),
            };
            let until = Instant::now() + TOLD_WITHIN;
            for watcher in watchers {
                while watcher.seen.load(Ordering::Acquire) < number {
                    if Instant::now() > until {
                        let (name, by) = (&watcher.name, &written.nodes);
                        return ledger.fail(format!(
                            "{name}: not told of change {number} (made on {by:?}) within {TOLD_WITHIN:?}"
                        ));
                    }
                    sleep(LOOK_EVERY).await;
                }
            }
            ledger.count(|seen| seen.changes += 1);
            sleep(PAUSE).await;
        }
    }
}

impl Watcher {
    fn new(name: &str) -> Arc<Self> {
        Arc::new(Self {
            name: name.into(),
            seen: AtomicU64::new(0),
        })
    }

    /// Takes what `recall` answered.
    fn see(&self, called: &Called) -> Result<(), String> {
        let number = called.facts("value")?.as_u64().ok_or("no number in the note")?;
        self.seen.fetch_max(number, Ordering::AcqRel);
        Ok(())
    }
}

/// Watches over `GET /mcp`, for a client with a session.
pub(super) async fn standalone(
    wire: Wire,
    name: &str,
    revision: &'static str,
    beat: &Beat,
) -> Result<Arc<Watcher>, String> {
    let client = Streamable::open(wire, revision).await?;
    client
        .request("resources/subscribe", json!({"uri": beat.uri()}))
        .await?;
    let (watcher, beat) = (Watcher::new(name), beat.clone());
    let (told, mut stream) = (Arc::clone(&watcher), client.listen(None).await?);
    tokio::spawn(async move {
        let mut order = Order::default();
        loop {
            if let Err(error) = read_standalone(&client, &mut stream, &mut order, &beat, &told).await {
                let (name, node) = (&told.name, named(stream.headers()));
                return client
                    .wire
                    .ledger
                    .fail(format!("{name}: on the GET stream of {node}: {error}"));
            }
            sleep(order.retry()).await;
            stream = match client.listen(order.last_id.as_deref()).await {
                Ok(stream) => stream,
                Err(error) => return client.wire.ledger.fail(format!("{}: {error}", told.name)),
            };
            client.wire.ledger.count(|seen| seen.reopened += 1);
        }
    });
    Ok(watcher)
}

async fn read_standalone(
    client: &Streamable,
    stream: &mut EventStream,
    order: &mut Order,
    beat: &Beat,
    told: &Watcher,
) -> Result<(), String> {
    while let Some(event) = next(stream).await? {
        let Some(message) = order.take(&event)? else {
            continue;
        };
        client.wire.ledger.count(|seen| seen.events += 1);
        if message["method"] != "notifications/resources/updated" {
            return Err(format!("a message that nobody expects: {message}"));
        }
        client.wire.ledger.count(|seen| seen.told += 1);
        told.see(&client.call(beat.recall()).await?)?;
    }
    Ok(())
}

/// Watches over `subscriptions/listen` (2026-07-28). It reads the note when it has opened one: what changed
/// while there was no subscription is not told.
pub(super) async fn modern(wire: Wire, name: &str, beat: &Beat) -> Result<Arc<Watcher>, String> {
    let client = Streamable::open(wire, MODERN).await?;
    let (watcher, beat) = (Watcher::new(name), beat.clone());
    let told = Arc::clone(&watcher);
    tokio::spawn(async move {
        loop {
            if let Err(error) = read_modern(&client, &beat, &told).await {
                return client.wire.ledger.fail(format!("{}: {error}", told.name));
            }
            client.wire.ledger.count(|seen| seen.reopened += 1);
        }
    });
    Ok(watcher)
}

async fn read_modern(client: &Streamable, beat: &Beat, told: &Watcher) -> Result<(), String> {
    let filter = json!({"notifications": {"resourceSubscriptions": [beat.uri()]}});
    let (_, response) = client.send("subscriptions/listen", filter).await?;
    let node = named(response.headers());
    let mut stream = EventStream::new(response);
    while let Some(event) = next(&mut stream).await? {
        let message = event.message().unwrap_or_default();
        client.wire.ledger.count(|seen| seen.events += 1);
        match message["method"].as_str() {
            Some("notifications/resources/updated") => client.wire.ledger.count(|seen| seen.told += 1),
            Some("notifications/subscriptions/acknowledged") => {}
            _ => return Err(format!("a message of {node} that nobody expects: {message}")),
        }
        told.see(&client.call(beat.recall()).await?)?;
    }
    Ok(())
}

/// Watches over HTTP with SSE.
pub(super) async fn sse(wire: Wire, name: &str, beat: &Beat) -> Result<Arc<Watcher>, String> {
    let (client, mut changed) = Sse::open(wire, name, Resume::AfterTheLastEvent).await?;
    client
        .request("resources/subscribe", json!({"uri": beat.uri()}))
        .await?;
    let (watcher, beat) = (Watcher::new(name), beat.clone());
    let told = Arc::clone(&watcher);
    tokio::spawn(async move {
        while changed.recv().await.is_some() {
            client.wire.ledger.count(|seen| seen.told += 1);
            let seen = client.call(beat.recall()).await;
            if let Err(error) = seen.and_then(|called| told.see(&called)) {
                return client.wire.ledger.fail(format!("{}: {error}", told.name));
            }
        }
    });
    Ok(watcher)
}
