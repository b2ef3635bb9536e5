//! One change that a thousand streams on three nodes want to hear of.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde::Serialize;
use tokio::sync::mpsc;

use super::across::Note;
use crate::http::Connection;
use crate::server::Starter;
use crate::statistics::Latency;

const NODES: usize = 3;
/// How long a change may take to reach everyone before the run fails.
const PATIENCE: Duration = Duration::from_secs(30);

/// How it went, from the request that makes the change.
#[derive(Debug, Serialize)]
pub struct FanOut {
    /// How many streams there were.
    pub streams: usize,
    /// Until a stream was told, over all streams and changes.
    pub told: Latency,
    /// Until the last stream was told, over all changes.
    pub all_told: Latency,
}

/// Changes a note again and again, each time when everyone has heard of the last change.
///
/// # Errors
/// When somebody is not told, or told anything else.
pub async fn measure(starter: &Starter, streams: usize, changes: usize) -> anyhow::Result<FanOut> {
    let (_redis, nodes) = starter.cluster::<NODES>(&[]).await?;
    let mut writer = Connection::open(nodes[0].port).await?;
    let note = std::sync::Arc::new(Note::make(&mut writer).await?);
    let (tell, mut heard) = mpsc::channel(streams);
    for index in 0..streams {
        let mut stream = note.listen(nodes[index % NODES].port).await?;
        let (tell, note) = (tell.clone(), note.clone());
        // They end with the runtime, or with the nodes.
        drop(tokio::spawn(async move {
            while let Ok(event) = stream.event().await {
                let now = Instant::now();
                if tell
                    .send(note.is_told_by(&event.data).map(|()| now))
                    .await
                    .is_err()
                {
                    break;
                }
            }
        }));
    }
    let (mut told, mut all_told) = (Vec::new(), Vec::new());
    // The first change warms up.
    for change in 0..=changes {
        let begun = Instant::now();
        note.write(&mut writer, change).await?;
        let mut last = begun;
        for _ in 0..streams {
            let at = tokio::time::timeout(PATIENCE, heard.recv())
                .await
                .context("somebody was not told")?;
            let at = at.context("nobody listens")??;
            last = last.max(at);
            if change > 0 {
                told.push(at - begun);
            }
        }
        if change > 0 {
            all_told.push(last - begun);
        }
    }
    Ok(FanOut {
        streams,
        told: Latency::of(told),
        all_told: Latency::of(all_told),
    })
}
