//! Keeps sessions in Redis so that any node can serve any client.
//!
//! Only this module and those below it know of fred. What must be atomic is a Lua script. `keys` names keys
//! and channels. `link` and `listener` notice and mend a lost connection.

pub(crate) mod belongings;
mod call_record;
mod calls;
mod connect;
mod keys;
mod link;
mod listener;
mod nodes;
mod rates;
mod record;
mod refused;
mod report;
mod scripts;
mod sessions;
mod state;
mod streams;
mod tls;
mod url;
mod usage;

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use fred::clients::Client;
use fred::error::Error as FredError;
use fred::interfaces::ClientLike;
use fred::types::{FromValue, Value};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::{Instrument as _, warn};

pub use self::connect::ConnectError;

use self::connect::{Connections, Driven};
use self::keys::Keys;
use self::link::{Alive, Link, keep, on_slot_of};
use self::listener::MessageListener;
use self::refused::store_error;
use self::scripts::{Script, Scripts};
use super::StoreError;
use crate::causes::causes;
use crate::config::{StoreSettings, redact_url};
use crate::session::once::Once;
use crate::session::{Life, NodeId};
use crate::telemetry::{metrics, seldom};

/// A store in Redis, alone, as a cluster, or behind sentinels. It stays connected until it is closed or
/// dropped.
#[derive(Debug)]
pub struct RedisStore {
    keys: Keys,
    link: Link,
    listener: MessageListener,
    scripts: Scripts,
    topology: &'static str,
    /// In which life each node acts whose lease was renewed here.
    lives: Mutex<BTreeMap<NodeId, Life>>,
    /// Unreadable records that were logged.
    unreadable: Once,
    // What drives the connections; they end with it.
    tasks: Mutex<JoinSet<()>>,
}

impl RedisStore {
    /// Connects to the Redis of `url`. While it is out of reach, tries again for `settings.wait`.
    ///
    /// The URL starts with `redis://`, `redis-cluster://` or `redis-sentinel://`, with `rediss` for TLS, or
    /// it is `redis+unix:///path`; `user:password@` and `/database` are where a URL has them (`?db=` for a
    /// socket).
    ///
    /// # Errors
    /// [`ConnectError`] says whether the settings are wrong, or Redis is out of reach.
    pub async fn connect(url: &str, settings: &StoreSettings) -> Result<Self, ConnectError> {
        let target = url::parse(url).map_err(|why| ConnectError::BadUrl {
            url: redact_url(url),
            why,
        })?;
        let keys = Keys::new(&settings.prefix).ok_or_else(|| {
            let why = "its braces would scatter a session over a cluster: use none, or one complete {tag}";
            ConnectError::setting("store.prefix", why.into())
        })?;
        let mut config = target.config;
        if target.tls {
            config.tls = Some(tls::connector(settings)?.into());
        } else {
            tls::refuse_unused(settings)?;
        }
        let builder = connect::builder(config, settings);
        let connected = connect::connect(&builder, url, settings).await?;

        let listener = MessageListener::new(connected.messages.0.clone(), keys.clone());
        let alive = |(client, _): &Driven<Client>| (client.clone(), Alive::new(true.into()));
        let clients: Vec<_> = connected.commands.iter().map(alive).collect();
        let link = Link::new(clients.clone());
        check_version(&link, url).await?;
        let scripts = Scripts::load(&link)
            .await
            .map_err(|error| ConnectError::of(url, error))?;
        let tasks = drive(connected, clients, &listener, settings.timeout);
        Ok(Self {
            keys,
            link,
            listener,
            scripts,
            topology: target.topology,
            lives: Mutex::default(),
            unreadable: Once::default(),
            tasks: Mutex::new(tasks),
        })
    }

    /// Whether messages are heard just now: `false` until the first `listen`, and while the connection is
    /// lost.
    #[must_use]
    pub fn subscribed(&self) -> bool {
        *self.listener.subscribed().borrow()
    }

    /// In which life a node acts; empty before its first lease.
    fn life_of(&self, node: &NodeId) -> String {
        let lives = self.lives.lock().unwrap_or_else(PoisonError::into_inner);
        lives
            .get(node)
            .map_or_else(String::new, |life| life.as_str().to_owned())
    }

    /// A node in its life, as scripts compare it with that of a call.
    fn acting(&self, node: &NodeId) -> String {
        format!("{node}/{}", self.life_of(node))
    }

    /// Runs a script as an operation, and reads its answer.
    async fn script<T: FromValue>(
        &self,
        script: &Script,
        keys: &[&str],
        args: Vec<Value>,
    ) -> Result<T, StoreError> {
        let run = async { script.run(&self.link, keys, args).await?.convert() };
        self.measured(script.name, run).await
    }

    /// Sends a command about `key` as an operation, and reads its answer.
    async fn ask<T: FromValue>(
        &self,
        operation: &'static str,
        command: &'static str,
        key: &str,
        args: Vec<Value>,
    ) -> Result<T, StoreError> {
        let ask = async { self.link.send(command, on_slot_of(key), args).await?.convert() };
        self.measured(operation, ask).await
    }

    /// Awaits an operation, and counts and times it.
    async fn measured<T>(
        &self,
        operation: &'static str,
        work: impl Future<Output = Result<T, FredError>> + Send,
    ) -> Result<T, StoreError> {
        let start = Instant::now();
        let outcome = work.await.map_err(store_error);
        if let Err(error @ StoreError::Refused { .. }) = &outcome {
            // Each operation fails while Redis is full, so this is logged seldom.
            seldom(error.words(), |left_out| {
                warn!(operation, error = %causes(error), left_out, "the store refused");
            });
        }
        let error = outcome.as_ref().err().map(StoreError::label);
        metrics::store_operation(operation, start.elapsed(), error);
        outcome
    }
}

/// Starts the tasks that keep the connections alive. What they log names the node that is being started.
fn drive(
    connected: Connections,
    clients: Vec<(Client, Alive)>,
    listener: &MessageListener,
    patience: Duration,
) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    for (driven, (_, alive)) in connected.commands.into_iter().zip(clients) {
        let beat = |client: Client| async move { client.ping::<Value>(None).await.map(drop) };
        tasks.spawn(keep(driven, alive, patience, beat).in_current_span());
    }
    tasks.spawn(
        listener
            .clone()
            .keep(connected.messages, patience)
            .in_current_span(),
    );
    tasks.spawn(listener.clone().run().in_current_span());
    tasks
}

/// Refuses a Redis that is too old, as far as it says what it is.
async fn check_version(link: &Link, url: &str) -> Result<(), ConnectError> {
    let version = match report::version(link).await {
        Ok(version) => version,
        Err(error) => return Err(ConnectError::of(url, error)),
    };
    match version {
        Some(version) if connect::parse_version(&version) < Some(connect::VERSION_MIN) => {
            let url = redact_url(url);
            Err(ConnectError::TooOld { url, version })
        }
        _ => Ok(()),
    }
}

/// A duration as Redis wants it: milliseconds, one at least, as text.
fn millis(duration: Duration) -> String {
    const LIFE_MAX_MS: u128 = 100 * 365 * 24 * 60 * 60 * 1000; // a hundred years: Redis adds it to the clock
    duration.as_millis().clamp(1, LIFE_MAX_MS).to_string()
}
