//! The servers that are measured, and how each is started.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::ValueEnum;
use serde::Serialize;
use tokio::process::Command;

use crate::cores::Cores;
use crate::process::{Process, free_port, pinned, redis};

/// A server that is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Server {
    /// Plain axum with JSON: the limit.
    Axum,
    /// anynode, its sessions in memory.
    AnynodeMemory,
    /// anynode, its sessions in Redis.
    AnynodeRedis,
    /// Another build of anynode, its sessions in memory; only when one is named.
    AnynodeOther,
    /// tower-mcp, its sessions in memory.
    TowerMcp,
    /// rmcp's own HTTP server, with sessions.
    RmcpSessions,
    /// rmcp's own HTTP server, without sessions.
    RmcpStateless,
    /// The official TypeScript server.
    TypeScript,
}

/// What is asked of a client before its calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Era {
    /// 2025-11-25: `initialize`, mostly with a session.
    Legacy,
    /// 2026-07-28: each request for itself.
    Modern,
}

impl Era {
    /// The revision that its clients speak.
    #[must_use]
    pub const fn revision(self) -> &'static str {
        match self {
            Self::Legacy => "2025-11-25",
            Self::Modern => "2026-07-28",
        }
    }
}

impl Server {
    /// All of them, in the order of the tables.
    pub const ALL: [Self; 8] = [
        Self::Axum,
        Self::AnynodeMemory,
        Self::AnynodeRedis,
        Self::AnynodeOther,
        Self::TowerMcp,
        Self::RmcpSessions,
        Self::RmcpStateless,
        Self::TypeScript,
    ];

    /// Those of anynode.
    pub const OURS: [Self; 3] = [Self::AnynodeMemory, Self::AnynodeRedis, Self::AnynodeOther];

    /// What tables call it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Axum => "plain axum JSON",
            Self::AnynodeMemory => "anynode, memory",
            Self::AnynodeRedis => "anynode, Redis",
            Self::AnynodeOther => "anynode, other build",
            Self::TowerMcp => "tower-mcp 0.25",
            Self::RmcpSessions => "rmcp 3.9, sessions",
            Self::RmcpStateless => "rmcp 3.9, stateless",
            Self::TypeScript => "TypeScript SDK 1.32",
        }
    }

    /// Whether it speaks a protocol of this era.
    #[must_use]
    pub const fn speaks(self, era: Era) -> bool {
        match era {
            Era::Legacy => true,
            // rmcp serves 2026-07-28 without sessions however it is set.
            Era::Modern => !matches!(self, Self::RmcpSessions | Self::TypeScript),
        }
    }

    /// Whether its legacy clients have sessions.
    #[must_use]
    pub const fn has_sessions(self) -> bool {
        !matches!(self, Self::Axum | Self::RmcpStateless)
    }
}

/// What makes the processes of a run.
#[derive(Debug)]
pub struct Starter {
    /// Where they run.
    pub cores: Cores,
    /// anynode's program.
    anynode: PathBuf,
    /// Another build of it.
    other: Option<PathBuf>,
    /// What is set in the environment of either.
    settings: Vec<(String, String)>,
    /// The directory of the other servers' programs.
    peers: PathBuf,
    /// The root of this crate.
    root: PathBuf,
    /// What every one of them is started under, such as `valgrind` and its options.
    pub under: Vec<String>,
    /// Which servers take part, if not all.
    pub only: Vec<Server>,
    /// Whether replies are streams where a server can choose, because the call sends something before its result.
    pub streams: bool,
}

/// A running server, with the Redis of its own that it may have.
#[derive(Debug)]
pub struct Running {
    /// The server.
    pub process: Process,
    /// Its Redis. Later in this struct, so that it outlives the server.
    pub redis: Option<Process>,
}

impl Starter {
    /// `anynode` is the program under test; the others were built beside this one.
    ///
    /// # Errors
    /// When this program does not know where it is, or there is no such program.
    pub fn new(
        cores: Cores,
        anynode: &Path,
        other: Option<&Path>,
        settings: &[String],
    ) -> anyhow::Result<Self> {
        let own = std::env::current_exe()?;
        let pairs = settings.iter().map(|setting| setting.split_once('='));
        let pairs = pairs.map(|pair| pair.context("a setting is NAME=VALUE"));
        Ok(Self {
            cores,
            anynode: anynode.canonicalize()?,
            other: other.map(Path::canonicalize).transpose()?,
            settings: pairs
                .map(|pair| pair.map(|(name, value)| (name.into(), value.into())))
                .collect::<anyhow::Result<_>>()?,
            peers: own.parent().unwrap_or(&own).to_owned(),
            root: Path::new(env!("CARGO_MANIFEST_DIR")).to_owned(),
            under: Vec::new(),
            only: Vec::new(),
            streams: false,
        })
    }

    /// Whether this server takes part.
    #[must_use]
    pub fn has(&self, server: Server) -> bool {
        (server != Server::AnynodeOther || self.other.is_some())
            && (self.only.is_empty() || self.only.contains(&server))
    }

    /// Starts a server, with a Redis of its own if it needs one.
    ///
    /// # Errors
    /// When one of them cannot be started.
    pub async fn start(&self, server: Server) -> anyhow::Result<Running> {
        self.start_with(server, &[]).await
    }

    /// The same with these settings, which only anynode's servers look at.
    ///
    /// # Errors
    /// When one of them cannot be started.
    pub async fn start_with(&self, server: Server, settings: &[(&str, &str)]) -> anyhow::Result<Running> {
        let redis = match server {
            Server::AnynodeRedis => Some(redis(self.cores.load).await?),
            _ => None,
        };
        let url = redis
            .as_ref()
            .map(|redis| format!("redis://127.0.0.1:{}", redis.port));
        let port = free_port()?;
        let process = match server {
            Server::AnynodeMemory | Server::AnynodeRedis => self.node(url.as_deref(), settings).await?,
            Server::AnynodeOther => {
                let other = self.other.as_deref().context("no other build is named")?;
                self.build(other, None, settings).await?
            }
            Server::Axum => self.peer("peer-axum", port, "").await?,
            Server::TowerMcp => self.peer("peer-tower-mcp", port, "").await?,
            Server::RmcpSessions => self.peer("peer-rmcp", port, "sessions").await?,
            Server::RmcpStateless => self.peer("peer-rmcp", port, "stateless").await?,
            Server::TypeScript => {
                // The Node.js that the tests install as well: a known version.
                let mut command = self.command(&self.root.join("../../tests/clients/node_modules/.bin/node"));
                command.arg(self.root.join("peer-typescript.mjs"));
                command.env("PEER_MODE", if self.streams { "sse" } else { "json" });
                // What it is like in production, which is faster.
                command
                    .env("NODE_ENV", "production")
                    .env("PORT", port.to_string());
                Process::start(command, port).await?
            }
        };
        Ok(Running { process, redis })
    }

    /// Starts one node of anynode.
    ///
    /// # Errors
    /// When it cannot be started.
    pub async fn node(&self, redis_url: Option<&str>, settings: &[(&str, &str)]) -> anyhow::Result<Process> {
        self.build(&self.anynode, redis_url, settings).await
    }

    /// Starts a Redis, and so many nodes of anynode on it.
    ///
    /// # Errors
    /// When one of them cannot be started.
    pub async fn cluster<const NODES: usize>(
        &self,
        settings: &[(&str, &str)],
    ) -> anyhow::Result<(Process, [Process; NODES])> {
        let redis = redis(self.cores.load).await?;
        let url = format!("redis://127.0.0.1:{}", redis.port);
        let mut nodes = Vec::with_capacity(NODES);
        for _ in 0..NODES {
            nodes.push(self.node(Some(&url), settings).await?);
        }
        let nodes = <[Process; NODES]>::try_from(nodes);
        Ok((
            redis,
            nodes.map_err(|_| anyhow::anyhow!("as many as were started"))?,
        ))
    }

    async fn build(
        &self,
        program: &Path,
        redis_url: Option<&str>,
        settings: &[(&str, &str)],
    ) -> anyhow::Result<Process> {
        let port = free_port()?;
        let mut command = self.command(program);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("MCP_") || name == "NODE_ID" {
                command.env_remove(name);
            }
        }
        command.env("HOST", "127.0.0.1").env("PORT", port.to_string());
        command.env("REDIS_URL", redis_url.unwrap_or_default());
        // Nothing is balanced here, so there is nobody to wait for at the end.
        command
            .env("MCP_DRAIN__DELAY", "0s")
            .env("MCP_DRAIN__DEADLINE", "1s");
        command.envs(self.settings.iter().map(|(name, value)| (name, value)));
        command.envs(settings.iter().copied());
        Process::start(command, port).await
    }

    async fn peer(&self, program: &str, port: u16, mode: &str) -> anyhow::Result<Process> {
        let mut command = self.command(&self.peers.join(program));
        command.env("PORT", port.to_string()).env("PEER_MODE", mode);
        Process::start(command, port).await
    }

    fn command(&self, program: &Path) -> Command {
        let program = program.to_string_lossy();
        let Some((first, options)) = self.under.split_first() else {
            return pinned(self.cores.server, &program);
        };
        let mut command = pinned(self.cores.server, first);
        command.args(options).arg(&*program);
        command
    }
}
