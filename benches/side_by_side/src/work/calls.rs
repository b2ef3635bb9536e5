//! Work that any server can do, measured by how often it is done: quick calls, whole sessions, calls that tell progress.

use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::ensure;
use serde::Serialize;
use serde_json::{Value, json};

use crate::http::Connection;
use crate::load::{self, Client, Sample, Span};
use crate::mcp::{self, Caller, Numbered, blank};
use crate::server::{Era, Running, Server, Starter};

/// How many sessions the quick calls are spread over.
const SESSIONS: usize = 32;
/// How many events a call with progress sends before its result.
const PROGRESS_EVENTS: usize = 10;

/// One kind of such work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Work {
    /// Calls of `echo` in 32 sessions, or without any.
    Echo {
        /// How clients speak.
        era: Era,
        /// How many of them there are.
        connections: usize,
    },
    /// Sessions that are opened, asked for their tools and one call, and ended.
    Churn,
    /// Calls that tell progress ten times.
    Progress,
}

impl Work {
    /// All kinds.
    pub const ALL: [Self; 6] = [
        Self::Echo {
            era: Era::Legacy,
            connections: 32,
        },
        Self::Echo {
            era: Era::Legacy,
            connections: 256,
        },
        Self::Echo {
            era: Era::Modern,
            connections: 32,
        },
        Self::Echo {
            era: Era::Modern,
            connections: 256,
        },
        Self::Churn,
        Self::Progress,
    ];

    /// What tables call it.
    #[must_use]
    pub fn name(self) -> String {
        match self {
            Self::Echo {
                era: Era::Legacy,
                connections,
            } => {
                format!("tools/call echo, 2025-11-25, 32 sessions, {connections} connections")
            }
            Self::Echo {
                era: Era::Modern,
                connections,
            } => {
                format!("tools/call echo, 2026-07-28, {connections} connections")
            }
            Self::Churn => {
                "whole sessions: initialize, initialized, list, call, delete; 32 connections".into()
            }
            Self::Progress => {
                format!("a call with {PROGRESS_EVENTS} progress events, 2025-11-25, 32 connections")
            }
        }
    }

    /// Whether this server can do it.
    #[must_use]
    pub const fn suits(self, server: Server) -> bool {
        match self {
            Self::Echo { era, .. } => server.speaks(era),
            Self::Churn => server.has_sessions(),
            // tower-mcp tells progress on another stream, the standalone one, and loses it without one.
            Self::Progress => !matches!(server, Server::Axum | Server::TowerMcp),
        }
    }

    /// Starts the server, lets it do the work, and stops it.
    ///
    /// # Errors
    /// When it does not do it right.
    pub async fn sample(self, starter: &mut Starter, server: Server, span: Span) -> anyhow::Result<Sample> {
        starter.streams = self == Self::Progress;
        let running = starter.start(server).await?;
        match self {
            Self::Echo { era, connections } => {
                let clients = echoes(&running, server, era, connections).await?;
                // Redis has nothing to do.
                let span = Span { awake: true, ..span };
                load::run(clients, &running.process, span).await
            }
            Self::Churn => {
                let mut clients = Vec::new();
                for _ in 0..SESSIONS {
                    clients.push(Churn(Connection::open(running.process.port).await?));
                }
                load::run(clients, &running.process, span).await
            }
            Self::Progress => {
                let mut clients = Vec::new();
                for _ in 0..SESSIONS {
                    clients.push(Progress::new(&running, server).await?);
                }
                load::run(clients, &running.process, span).await
            }
        }
    }
}

/// Clients that call `echo`, as many as there are connections, in 32 sessions if the server has any.
///
/// # Errors
/// When they cannot connect.
pub async fn echoes(
    running: &Running,
    server: Server,
    era: Era,
    connections: usize,
) -> anyhow::Result<Vec<Echo>> {
    let mut callers: Vec<Caller> = Vec::new();
    let mut clients = Vec::new();
    for index in 0..connections {
        let mut connection = Connection::open(running.process.port).await?;
        if index < SESSIONS {
            callers.push(if era == Era::Legacy && server.has_sessions() {
                mcp::initialize(&mut connection).await?
            } else {
                Caller::without_session(era)
            });
        }
        let call = callers[index % SESSIONS].echo().from(index as u64);
        clients.push(Echo { connection, call });
    }
    Ok(clients)
}

/// Calls `echo`.
#[derive(Debug)]
pub struct Echo {
    connection: Connection,
    call: Numbered,
}

impl Client for Echo {
    async fn once(&mut self) -> anyhow::Result<()> {
        let (number, request) = self.call.next();
        mcp::echoed(&self.connection.exchange(request).await?, number)
    }
}

struct Churn(Connection);

impl Client for Churn {
    async fn once(&mut self) -> anyhow::Result<()> {
        let Self(connection) = self;
        let caller = mcp::initialize(connection).await?;
        let listed = mcp::ask(connection, &caller, "tools/list", json!({})).await?;
        let has_echo = |tools: &Vec<Value>| tools.iter().any(|tool| tool["name"] == "echo");
        ensure!(
            listed["tools"].as_array().is_some_and(has_echo),
            "no tools in {listed}"
        );
        let mut echo = caller.echo();
        let (number, request) = echo.next();
        mcp::echoed(&connection.exchange(request).await?, number)?;
        let ended = connection.exchange(&caller.bare("DELETE", "")).await?;
        ensure!(
            (200..300).contains(&ended.head.status),
            "delete: status {}",
            ended.head.status
        );
        Ok(())
    }
}

struct Progress {
    connection: Connection,
    call: Numbered,
}

impl Progress {
    async fn new(running: &Running, server: Server) -> anyhow::Result<Self> {
        static CLIENTS: AtomicU64 = AtomicU64::new(0);
        let mut connection = Connection::open(running.process.port).await?;
        let caller = if server.has_sessions() {
            mcp::initialize(&mut connection).await?
        } else {
            Caller::without_session(Era::Legacy)
        };
        if Server::OURS.contains(&server) {
            // anynode's countdown also logs each step, the others' do not.
            mcp::ask(
                &mut connection,
                &caller,
                "logging/setLevel",
                json!({"level": "emergency"}),
            )
            .await?;
        }
        let arguments = json!({"from": PROGRESS_EVENTS, "interval_ms": 0});
        let call = caller.call("countdown", &arguments, &json!({"progressToken": blank()}));
        let client = CLIENTS.fetch_add(1, Ordering::Relaxed) % SESSIONS as u64;
        Ok(Self {
            connection,
            call: call.from(client),
        })
    }
}

impl Client for Progress {
    async fn once(&mut self) -> anyhow::Result<()> {
        let (number, request) = self.call.next();
        let answer = self.connection.exchange(request).await?;
        mcp::called(&answer, number)?;
        let messages = answer.messages()?;
        ensure!(
            messages.len() == PROGRESS_EVENTS + 1,
            "{} messages: {messages:?}",
            messages.len()
        );
        let token = format!("\"progressToken\":\"{number}\"");
        for message in &messages[..PROGRESS_EVENTS] {
            ensure!(message.contains(&token), "not progress of this call: {message}");
        }
        Ok(())
    }
}
