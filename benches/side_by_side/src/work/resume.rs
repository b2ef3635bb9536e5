//! A stream of a thousand events that is taken up again on another node, from its beginning.

use std::time::Instant;

use anyhow::{Context as _, ensure};
use serde::Serialize;
use serde_json::json;

use crate::http::Connection;
use crate::mcp::{self, blank};
use crate::server::Starter;
use crate::statistics::Latency;

/// Each step of a countdown is two events, progress and a log message.
const COUNTDOWNS: usize = 5;
const STEPS: usize = 100;
const EVENTS: usize = COUNTDOWNS * STEPS * 2;

/// How it went, from the request to take the stream up.
#[derive(Debug, Serialize)]
pub struct Resume {
    /// How many events the log held; all but the first are sent again.
    pub events: usize,
    /// Until the first of them came.
    pub first_event: Latency,
    /// Until the last of them came.
    pub last_event: Latency,
}

/// Fills the log of a session's standalone stream on one node, then takes it up on another, several times.
///
/// # Errors
/// When an event is missing or out of order.
pub async fn measure(starter: &Starter, times: usize) -> anyhow::Result<Resume> {
    // With one body a reply, what calls send before it goes to the standalone stream.
    let (_redis, [one, other]) = starter.cluster(&[("MCP_CALL__REPLY", "json")]).await?;
    let mut calls = Connection::open(one.port).await?;
    let caller = mcp::initialize(&mut calls).await?;
    let mut stream = Connection::open(one.port).await?;
    stream.listen(&caller.bare("GET", "")).await?;
    let arguments = json!({"from": STEPS, "interval_ms": 0});
    let mut countdown = caller.call("countdown", &arguments, &json!({"progressToken": blank()}));
    let (called, ids) = tokio::join!(
        async {
            for _ in 0..COUNTDOWNS {
                let (number, request) = countdown.next();
                mcp::called(&calls.exchange(request).await?, number)?;
            }
            anyhow::Ok(())
        },
        async {
            let mut ids = Vec::new();
            while ids.len() < EVENTS {
                ids.push(stream.event().await?.id);
            }
            anyhow::Ok(ids)
        }
    );
    called?;
    let ids = ids?;
    let first = ids.first().context("no events")?;
    let resume = caller.bare("GET", &format!("last-event-id: {first}\r\n"));
    let (mut first_event, mut last_event) = (Vec::new(), Vec::new());
    for _ in 0..times {
        let mut again = Connection::open(other.port).await?;
        let begun = Instant::now();
        again.listen(&resume).await?;
        for (index, id) in ids.iter().enumerate().skip(1) {
            let event = again.event().await?;
            ensure!(event.id == *id, "event {} in place of {id}", event.id);
            if index == 1 {
                first_event.push(begun.elapsed());
            }
        }
        last_event.push(begun.elapsed());
    }
    Ok(Resume {
        events: EVENTS,
        first_event: Latency::of(first_event),
        last_event: Latency::of(last_event),
    })
}
