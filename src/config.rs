//! Settings: every one of them, where they come from, and what they may be.
//!
//! Defaults come first, then a TOML file, then the environment, then flags. All that is wrong in any of them
//! is reported in one run. To add a setting: a field here with its default, a row in `config/table.rs`, and a
//! line in `settings.default.toml`; tests hold the three together.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use crate::protocol::era::Revision;

mod assigned;
mod audit;
mod auth;
mod checks;
mod load;
mod own;
mod problem;
mod rates;
mod read;
mod sources;
mod table;
mod tls;

pub(crate) use assigned::Assigned;
pub use audit::{AuditSettings, AuditTo};
pub use auth::AuthSettings;
pub(crate) use checks::{fit_shares, most_of};
pub(crate) use load::{Loaded, load, load_with};
pub(crate) use own::{OwnArea, read as read_own};
pub(crate) use problem::redact_url;
pub use problem::{Problem, SettingsError};
pub use rates::{LimitSettings, Rate};
pub(crate) use read::{ListenAddress, UNIX_PROXY, network};
pub use sources::Sources;
pub use tls::{ClientCerts, ClientPrincipal, TlsSettings};

/// `settings.default.toml`: every setting with its default, its unit, its range and its meaning.
pub(crate) const DEFAULTS_TOML: &str = include_str!("../settings.default.toml");

impl Settings {
    /// Whether these settings name any credentials that a client can send or show.
    pub(crate) fn knows_credentials(&self) -> bool {
        self.auth.knows_credentials() || self.tls.client_certs != ClientCerts::Off
    }

    /// Reads settings from defaults, file, environment and flags, each overriding those before it.
    ///
    /// # Errors
    /// Names everything that is wrong, not only the first.
    pub fn load(sources: Sources) -> Result<Self, SettingsError> {
        load(sources).map(|loaded| loaded.settings)
    }
}

/// All settings of a node: the sum of what each area needs.
#[derive(Clone, PartialEq, Eq)]
pub struct Settings {
    /// `PORT`: the TCP port to listen on.
    pub port: u16,
    /// `HOST`: the address to listen on, or `unix:/path`.
    pub host: String,
    /// `REDIS_URL`: empty for the in-memory store.
    pub redis_url: String,
    /// `NODE_ID`: empty to make one.
    pub node_id: String,
    /// The store.
    pub store: StoreSettings,
    /// Sessions.
    pub session: SessionSettings,
    /// HTTP.
    pub http: HttpSettings,
    /// TLS for clients.
    pub tls: TlsSettings,
    /// The protocol.
    pub protocol: ProtocolSettings,
    /// HTTP+SSE.
    pub sse: SseSettings,
    /// Credentials.
    pub auth: AuthSettings,
    /// Rates of requests.
    pub limit: LimitSettings,
    /// Calls.
    pub call: CallSettings,
    /// Subscriptions of clients without sessions.
    pub listen: ListenSettings,
    /// Streams of events.
    pub stream: StreamSettings,
    /// MRTR `requestState`.
    pub request_state: RequestStateSettings,
    /// Notebooks.
    pub notebook: NotebookSettings,
    /// Tasks.
    pub task: TaskSettings,
    /// Logs.
    pub log: LogSettings,
    /// The audit log.
    pub audit: AuditSettings,
    /// Shutting down.
    pub drain: DrainSettings,
}

/// `[store]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreSettings {
    /// What every key starts with.
    pub prefix: String,
    /// How long to wait for the store at start.
    pub wait: Duration,
    /// How long one command may take.
    pub timeout: Duration,
    /// How long sessions known to this node are served while the store is away.
    pub outage_grace: Duration,
    /// How many connections to keep.
    pub connections: usize,
    /// PEM file with the authorities to trust.
    pub ca_file: Option<PathBuf>,
    /// PEM file with the client certificate.
    pub cert_file: Option<PathBuf>,
    /// PEM file with the client certificate's key.
    pub key_file: Option<PathBuf>,
}

/// `[session]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionSettings {
    /// How long a session lives after its last use.
    pub ttl: Duration,
    /// How long a session lives whose client never sent `notifications/initialized`.
    pub uninitialized_ttl: Duration,
    /// How long a session lives however much it is used; zero for no limit.
    pub lifetime: Duration,
    /// How many sessions this node keeps restored.
    pub kept_max: usize,
    /// How many sessions there may be in the store.
    pub max: usize,
    /// How many of them one peer may have; four fifths if it is more than all.
    pub peer_max: usize,
    /// How many of those whose client never sent `notifications/initialized`.
    pub peer_uninitialized_max: usize,
    /// What happens when a peer has as many sessions as it may, and opens another.
    pub when_full: WhenFull,
}

/// What happens when a peer has as many sessions as it may, and opens another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhenFull {
    /// The new one is refused.
    Refuse,
    /// That of its sessions ends which was not used for longest, and has neither a stream nor a call in flight. If
    /// there is none, the new one is refused.
    EndOldest,
}

/// `[http]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpSettings {
    /// The largest request body, in bytes.
    pub body_bytes_max: usize,
    /// Origins that browsers may send besides loopback ones. `*` allows all.
    pub allowed_origins: Vec<String>,
    /// Hosts that requests may name besides loopback ones. `*` allows all.
    pub allowed_hosts: Vec<String>,
    /// Addresses and networks of proxies whose `X-Forwarded-For` is believed; `unix`: those that use the Unix
    /// socket.
    pub trusted_proxies: Vec<String>,
    /// Whether those proxies begin each connection with a header of the PROXY protocol.
    pub proxy_protocol: bool,
    /// How many connections this node keeps open at once.
    pub connections_max: usize,
    /// How many of them one address may have; four fifths if it is more than all.
    pub connections_peer_max: usize,
    /// How many bytes of bodies one peer may have on their way.
    pub bodies_peer_bytes_max: usize,
    /// How long a connection may be idle between two requests.
    pub keep_alive: Duration,
    /// Where health and metrics are served apart from the rest: `host:port`, or `unix:/path`. Empty for nowhere.
    pub probe_listen: String,
    /// The path below which clients reach this server. Empty to hand out relative URLs.
    pub public_path: String,
}

impl HttpSettings {
    /// What a client is told to ask for, as a reference to be resolved against the URL that it has asked.
    pub(crate) fn reference(&self, to: &str) -> String {
        match self.public_path.trim_end_matches('/') {
            "" if self.public_path.is_empty() => to.to_owned(),
            path => format!("{path}/{to}"),
        }
    }
}

/// `[protocol]`
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProtocolSettings {
    /// The revisions that are served. Empty: all.
    pub revisions: Vec<Revision>,
}

/// `[sse]`
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SseSettings {
    /// Whether a client may name its session by an unguessable key of its own.
    pub client_keys: bool,
    /// `sse.continue`: whether a client is served that skips `initialize`.
    pub skip_initialize: bool,
}

/// What form the reply to a request has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplyForm {
    /// One JSON body when the call answers soon and silently, else a stream of events.
    Auto,
    /// One JSON body, however long the call takes.
    Json,
    /// A stream of events from the start.
    Sse,
}

/// `[call]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallSettings {
    /// What form replies have.
    pub reply: ReplyForm,
    /// How long a call may stay silent before its reply turns into a stream.
    pub reply_grace: Duration,
    /// How long a call may take in all.
    pub timeout: Duration,
    /// How long to wait for a client's answer to sampling or elicitation.
    pub answer_timeout: Duration,
    /// How many calls this node runs at once.
    pub node_max: usize,
    /// How many of them may be one peer's; four fifths if it is more than all.
    pub peer_max: usize,
    /// How many calls one session may have in flight on this node.
    pub session_max: usize,
    /// How often a silent stream gets a comment, so that nothing on the way closes it.
    pub keep_alive: Duration,
}

/// `[listen]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenSettings {
    /// How many `subscriptions/listen` requests this node keeps open at once.
    pub node_max: usize,
    /// How many of them may be one peer's; four fifths if it is more than all.
    pub peer_max: usize,
}

/// `[stream]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamSettings {
    /// How long the stream of a call can be taken up after the call has ended.
    pub ttl: Duration,
    /// How many streams opened by `GET` this node carries at once.
    pub node_max: usize,
    /// How many of them may be one peer's; four fifths if it is more than all.
    pub peer_max: usize,
}

/// `[request_state]`
#[derive(Clone, PartialEq, Eq)]
pub struct RequestStateSettings {
    /// The secret that seals `requestState`, 32 characters or more; empty to share one through the store.
    pub secret: String,
    /// How long a sealed `requestState` can be used.
    pub ttl: Duration,
}

/// `[notebook]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotebookSettings {
    /// How long a notebook lives after its last use.
    pub ttl: Duration,
    /// How many notebooks one peer may have.
    pub peer_max: usize,
}

/// `[task]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskSettings {
    /// How long a task lives after it began.
    pub ttl: Duration,
    /// How many tasks this node runs at once.
    pub node_max: usize,
    /// How many of them may be one peer's; four fifths if it is more than all.
    pub peer_max: usize,
    /// How many tasks of one peer the store keeps, running or ended.
    pub peer_kept_max: usize,
}

/// How logs are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// Text on a terminal, JSON otherwise.
    Auto,
    /// Text.
    Text,
    /// JSON, one object a line.
    Json,
}

/// `[log]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogSettings {
    /// A tracing filter, such as `info` or `info,anynode=debug`.
    pub level: String,
    /// How logs are written.
    pub format: LogFormat,
}

/// `[drain]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DrainSettings {
    /// How long to go on serving after SIGTERM, so that balancers notice.
    pub delay: Duration,
    /// How long calls in flight may take to finish after that.
    pub deadline: Duration,
}

impl Default for HttpSettings {
    fn default() -> Self {
        Self {
            body_bytes_max: 4 << 20,
            allowed_origins: vec![],
            allowed_hosts: vec![],
            trusted_proxies: vec![],
            proxy_protocol: false,
            connections_max: 20_000,
            connections_peer_max: 16_000,
            bodies_peer_bytes_max: 204 << 20,
            keep_alive: Duration::from_secs(75),
            probe_listen: String::new(),
            public_path: String::new(),
        }
    }
}

impl Default for StoreSettings {
    fn default() -> Self {
        Self {
            prefix: String::new(),
            wait: Duration::ZERO,
            timeout: Duration::from_secs(2),
            outage_grace: Duration::from_secs(60),
            connections: 2,
            ca_file: None,
            cert_file: None,
            key_file: None,
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        const MINUTE: u64 = 60;
        Self {
            port: 3000,
            host: "127.0.0.1".into(),
            redis_url: String::new(),
            node_id: String::new(),
            store: StoreSettings::default(),
            session: SessionSettings {
                ttl: Duration::from_secs(30 * MINUTE),
                uninitialized_ttl: Duration::from_secs(MINUTE),
                lifetime: Duration::ZERO,
                kept_max: 100_000,
                max: 200_000, // x 0.9 KiB = 180 MB in Redis, x 5.5 KiB = 1.1 GB at worst, without handlers' state and streams
                peer_max: 160_000,
                peer_uninitialized_max: 10_000, // for 60 s each: 166 a second that come to nothing
                when_full: WhenFull::Refuse,
            },
            http: HttpSettings::default(),
            tls: TlsSettings::default(),
            protocol: ProtocolSettings::default(),
            sse: SseSettings::default(),
            auth: AuthSettings::default(),
            limit: LimitSettings::default(),
            call: CallSettings {
                reply: ReplyForm::Auto,
                reply_grace: Duration::from_millis(100),
                timeout: Duration::from_secs(10 * MINUTE),
                answer_timeout: Duration::from_secs(5 * MINUTE),
                node_max: 10_000,
                peer_max: 8000,
                session_max: 256,
                keep_alive: Duration::from_secs(15),
            },
            listen: ListenSettings {
                node_max: 10_000,
                peer_max: 8000,
            },
            stream: StreamSettings {
                ttl: Duration::from_secs(5 * MINUTE),
                node_max: 16_000,
                peer_max: 12_800,
            },
            request_state: RequestStateSettings {
                secret: String::new(),
                ttl: Duration::from_secs(60 * MINUTE),
            },
            notebook: NotebookSettings {
                ttl: Duration::from_secs(24 * 60 * MINUTE),
                peer_max: 1000, // x 256 KiB = 250 MiB
            },
            task: TaskSettings {
                ttl: Duration::from_secs(60 * MINUTE),
                node_max: 1000,
                peer_max: 800,
                peer_kept_max: 10_000, // 2.8 a second for task.ttl; x 256 KiB = 2.4 GiB at most
            },
            log: LogSettings {
                level: "info".into(),
                format: LogFormat::Auto,
            },
            audit: AuditSettings::default(),
            drain: DrainSettings {
                delay: Duration::from_secs(3),
                deadline: Duration::from_secs(25),
            },
        }
    }
}

// Debug output ends up in logs: it must not show credentials.
impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("port", &self.port)
            .field("host", &self.host)
            .field("redis_url", &redact_url(&self.redis_url))
            .field("node_id", &self.node_id)
            .field("store", &self.store)
            .field("session", &self.session)
            .field("stream", &self.stream)
            .field("http", &self.http)
            .field("tls", &self.tls)
            .field("sse", &self.sse)
            .field("auth", &self.auth)
            .field("limit", &self.limit)
            .field("call", &self.call)
            .field("listen", &self.listen)
            .field("request_state", &self.request_state)
            .field("notebook", &self.notebook)
            .field("task", &self.task)
            .field("log", &self.log)
            .field("audit", &self.audit)
            .field("drain", &self.drain)
            .finish()
    }
}

impl fmt::Debug for RequestStateSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestStateSettings")
            .field("secret", &problem::mask(&self.secret))
            .field("ttl", &self.ttl)
            .finish()
    }
}
