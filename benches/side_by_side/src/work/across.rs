//! Events that begin on one node and belong on a stream of another: how long they take.

use std::time::Instant;

use anyhow::{Context as _, ensure};
use serde::Serialize;
use serde_json::{Value, json};

use crate::http::Connection;
use crate::mcp::{self, Caller, Numbered, post, request};
use crate::process::Process;
use crate::server::{Era, Starter};
use crate::statistics::Latency;

/// How it went. Each time includes the request that causes the event: reading it and running its call.
#[derive(Debug, Serialize)]
pub struct Across {
    /// An answer on the stream of a client of 2024-11-05, which asked the node that holds it.
    pub answer_same_node: Latency,
    /// The same, asked of the other node.
    pub answer_other_node: Latency,
    /// `notifications/resources/updated`, about a note that was written on the other node.
    pub update_other_node: Latency,
}

/// Sends requests to two nodes, and waits for events at one of them.
///
/// # Errors
/// When an event is not the right one, or does not come.
pub async fn measure(starter: &Starter, events: usize) -> anyhow::Result<Across> {
    let (_redis, [one, other]) = starter.cluster(&[]).await?;
    Ok(Across {
        answer_same_node: answers(&one, &one, events).await?,
        answer_other_node: answers(&one, &other, events).await?,
        update_other_node: updates(&one, &other, events).await?,
    })
}

/// Holds a stream of 2024-11-05 at one node, and calls at another.
async fn answers(streams: &Process, calls: &Process, events: usize) -> anyhow::Result<Latency> {
    let mut stream = Connection::open(streams.port).await?;
    let open = b"GET /sse HTTP/1.1\r\nhost: 127.0.0.1\r\naccept: text/event-stream\r\n\r\n";
    stream.listen(open).await?;
    let endpoint = stream.event().await?;
    ensure!(endpoint.kind == "endpoint", "{endpoint:?}");
    let mut poster = Connection::open(calls.port).await?;
    let client = json!({"name": "side-by-side", "version": "0"});
    let params = json!({"protocolVersion": "2024-11-05", "capabilities": {}, "clientInfo": client});
    let mut hello = Numbered::new(post(&endpoint.data, "", &request("initialize", params)));
    let ready = post(
        &endpoint.data,
        "",
        &json!({"jsonrpc": "2.0", "method": "notifications/initialized"}),
    );
    accepted(&mut poster, hello.next().1).await?;
    stream.event().await?;
    accepted(&mut poster, &ready).await?;
    let params = json!({"name": "echo", "arguments": {"text": "hello"}});
    let mut echo = Numbered::new(post(&endpoint.data, "", &request("tools/call", params)));
    let mut taken = Vec::new();
    for index in 0..events + events / 10 {
        let (number, request) = echo.next();
        let begun = Instant::now();
        let (posted, ended) = tokio::join!(accepted(&mut poster, request), async {
            let event = stream.event().await?;
            let ended = begun.elapsed();
            mcp::result(event.data.as_bytes(), number)?;
            anyhow::Ok(ended)
        });
        posted?;
        if index >= events / 10 {
            taken.push(ended?);
        }
    }
    Ok(Latency::of(taken))
}

async fn accepted(connection: &mut Connection, request: &[u8]) -> anyhow::Result<()> {
    let answer = connection.exchange(request).await?;
    let said = String::from_utf8_lossy(answer.body);
    ensure!(answer.head.status == 202, "status {}: {said}", answer.head.status);
    Ok(())
}

/// Subscribes to a note at one node, and writes it at another.
async fn updates(streams: &Process, writes: &Process, events: usize) -> anyhow::Result<Latency> {
    let mut writer = Connection::open(writes.port).await?;
    let note = Note::make(&mut writer).await?;
    let mut stream = note.listen(streams.port).await?;
    let mut taken = Vec::new();
    for index in 0..events + events / 10 {
        let (written, ended) = tokio::join!(
            async {
                let begun = Instant::now();
                note.write(&mut writer, index).await?;
                anyhow::Ok(begun)
            },
            async {
                let event = stream.event().await?;
                let ended = Instant::now();
                note.is_told_by(&event.data)?;
                anyhow::Ok(ended)
            }
        );
        if index >= events / 10 {
            taken.push(ended? - written?);
        }
    }
    Ok(Latency::of(taken))
}

/// A note that anyone can write who knows its notebook.
#[derive(Debug)]
pub struct Note {
    notebook: String,
    /// What is subscribed to.
    uri: String,
}

impl Note {
    /// Opens a notebook.
    ///
    /// # Errors
    /// When the node does not let us.
    pub async fn make(connection: &mut Connection) -> anyhow::Result<Self> {
        let caller = Caller::without_session(Era::Modern);
        let params = json!({"name": "open_notebook", "arguments": {}});
        let opened = mcp::ask(connection, &caller, "tools/call", params).await?;
        let notebook = opened["structuredContent"]["notebook"]
            .as_str()
            .context("no handle")?;
        Ok(Self {
            notebook: notebook.to_owned(),
            uri: format!("note://{notebook}/n"),
        })
    }

    /// Opens a session that subscribes to the note, and its standalone stream.
    ///
    /// # Errors
    /// When the node does not let us.
    pub async fn listen(&self, port: u16) -> anyhow::Result<Connection> {
        let mut connection = Connection::open(port).await?;
        let caller = mcp::initialize(&mut connection).await?;
        mcp::ask(
            &mut connection,
            &caller,
            "resources/subscribe",
            json!({"uri": self.uri}),
        )
        .await?;
        connection.listen(&caller.bare("GET", "")).await?;
        Ok(connection)
    }

    /// Writes the note.
    ///
    /// # Errors
    /// When the node does not let us.
    pub async fn write(&self, connection: &mut Connection, value: usize) -> anyhow::Result<()> {
        let caller = Caller::without_session(Era::Modern);
        let arguments = json!({"key": "n", "value": value, "notebook": self.notebook});
        let params = json!({"name": "remember", "arguments": arguments});
        mcp::ask(connection, &caller, "tools/call", params).await?;
        Ok(())
    }

    /// Checks that this message says that the note was written.
    ///
    /// # Errors
    /// When it says anything else.
    pub fn is_told_by(&self, message: &str) -> anyhow::Result<()> {
        let told: Value = serde_json::from_str(message)?;
        let right = told["method"] == "notifications/resources/updated" && told["params"]["uri"] == *self.uri;
        ensure!(right, "not an update of {}: {message}", self.uri);
        Ok(())
    }
}
