//! Connections to Redis that mend themselves, and commands that fail quickly while they are broken.
//!
//! fred reconnects by itself, for ever. Three things are added here. Commands are refused at once while there
//! is no connection, instead of waiting for one. A connection that is open but silent (a stopped Redis, a cut
//! wire) is found by a heartbeat and replaced: fred's own check for that is put off by every further write.
//! And fred's task, which a few errors end for good, is started again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use fred::clients::Client;
use fred::error::{Error as FredError, ErrorKind};
use fred::interfaces::ClientLike;
use fred::types::config::{Options, Server};
use fred::types::{ClusterHash, CustomCommand, Value};
use futures::future::join_all;
use tokio::time::{sleep, timeout};
use tokio_util::task::AbortOnDropHandle;
use tracing::debug;

use super::connect::Driven;
use crate::causes::causes;

/// How often a connection is asked for a sign of life.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// How long to wait before fred's task is started again.
const RESTART_DELAY: Duration = Duration::from_millis(500);
/// How often a command is sent that a cluster answers with `MOVED` or `ASK`.
const SENDS_MAX: u32 = 5;
/// After how many of them fred follows `ASK`, which it must do on the connection that it has just asked. Only in
/// that case, of a slot that is on its way, it may still repeat a command when a master is demoted at the same time.
const SENDS_ALONE: u32 = 2;
/// What fred says of a command that was answered with `MOVED` or `ASK` and may not be sent elsewhere. It has
/// read where the slots are by then, if it was `MOVED`.
const REDIRECTED: &str = "Too many redirections.";

/// Whether a connection answers, as its keeper sees it.
pub(super) type Alive = Arc<AtomicBool>;

/// A few connections that share the commands.
#[derive(Clone)]
pub(super) struct Link {
    clients: Arc<[(Client, Alive)]>,
    next: Arc<AtomicUsize>,
    clustered: bool,
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link")
            .field("connections", &self.clients.len())
            .finish_non_exhaustive()
    }
}

impl Link {
    /// Shares commands among `clients`.
    pub(super) fn new(clients: Vec<(Client, Alive)>) -> Self {
        Self {
            clustered: clients.iter().any(|(client, _)| client.is_clustered()),
            clients: clients.into(),
            next: Arc::default(),
        }
    }

    /// The next connection in turn that works.
    fn client(&self) -> Option<&Client> {
        let count = self.clients.len().max(1);
        let first = self.next.fetch_add(1, Ordering::Relaxed);
        (0..count)
            .filter_map(|n| self.clients.get(first.wrapping_add(n) % count))
            .find(|(client, alive)| alive.load(Ordering::Relaxed) && client.is_connected())
            .map(|(client, _)| client)
    }

    /// Sends a command to the node that owns the slot `hash` says (in a cluster), and returns its answer.
    pub(super) async fn send(
        &self,
        command: &'static str,
        hash: ClusterHash,
        args: Vec<Value>,
    ) -> Result<Value, FredError> {
        self.send_to(None, command, hash, args).await
    }

    /// Like [`send`](Self::send), to one node of a cluster.
    ///
    /// A command that may have been carried out is never sent a second time: the caller must decide. fred would
    /// do that in a cluster, with what a master has not answered when it is found to be one no longer, so fred
    /// has one attempt, and a command that was redirected is sent again here.
    pub(super) async fn send_to(
        &self,
        server: Option<Server>,
        command: &'static str,
        hash: ClusterHash,
        args: Vec<Value>,
    ) -> Result<Value, FredError> {
        let mut sends = 1;
        while self.clustered && sends < SENDS_MAX {
            let answer = self.send_once(server.clone(), command, hash.clone(), args.clone(), sends);
            match answer.await {
                Err(error) if error.details() == REDIRECTED => sends += 1,
                answer => return answer,
            }
        }
        self.send_once(server, command, hash, args, sends).await
    }

    async fn send_once(
        &self,
        server: Option<Server>,
        command: &'static str,
        hash: ClusterHash,
        args: Vec<Value>,
        sends: u32,
    ) -> Result<Value, FredError> {
        let Some(client) = self.client() else {
            return Err(FredError::new(ErrorKind::IO, "not connected"));
        };
        let redirections = u32::from(sends > SENDS_ALONE);
        let options = Options {
            fail_fast: true,
            max_attempts: Some(1 + redirections),
            max_redirections: Some(redirections),
            cluster_node: server,
            ..Options::default()
        };
        let client = client.with_options(&options);
        // fred's futures are large: 7 KiB for one command.
        Box::pin(client.custom(CustomCommand::new_static(command, hash, false), args)).await
    }

    /// The nodes of a cluster that own slots; one `None` when there is no cluster.
    pub(super) fn masters(&self) -> Vec<Option<Server>> {
        use fred::interfaces::ClusterInterface;
        let client = self.client().filter(|client| client.is_clustered());
        match client.and_then(ClusterInterface::cached_cluster_state) {
            Some(state) => state.unique_primary_nodes().into_iter().map(Some).collect(),
            None => vec![None],
        }
    }

    /// Closes the connections once what is under way is done, or soon in any case.
    pub(super) async fn quit(&self) {
        let quits = self
            .clients
            .iter()
            .map(|(client, _)| timeout(HEARTBEAT, client.quit()));
        // It can only fail because there is nothing left to close.
        drop(join_all(quits).await);
    }
}

/// Where a command goes that concerns `key`.
pub(super) fn on_slot_of(key: &str) -> ClusterHash {
    ClusterHash::Custom(fred::util::redis_keyslot(key.as_bytes()))
}

/// Keeps one client alive until it is dropped: `beat` asks for a sign of life, `handle` is fred's task.
pub(super) async fn keep<C, F>(
    (client, mut handle): Driven<C>,
    alive: Alive,
    patience: Duration,
    beat: impl Fn(C) -> F,
) where
    C: ClientLike,
    F: Future<Output = Result<(), FredError>>,
{
    loop {
        let ended = tokio::select! {
            _ = &mut handle => true,
            () = sleep(HEARTBEAT) => false,
        };
        let silent =
            !ended && client.is_connected() && timeout(patience, beat(client.clone())).await.is_err();
        if ended || silent {
            debug!(ended, silent, "replacing a connection");
            alive.store(false, Ordering::Relaxed);
            // Not fred's own way to reconnect: its task may be stuck in a write, and would send commands a
            // second time.
            handle.abort();
            handle = restart(&client).await;
            alive.store(true, Ordering::Relaxed);
        }
    }
}

async fn restart(client: &impl ClientLike) -> AbortOnDropHandle<Result<(), FredError>> {
    loop {
        sleep(RESTART_DELAY).await;
        match client.init().await {
            Ok(handle) => return AbortOnDropHandle::new(handle),
            Err(error) => debug!(error = %causes(&error), "could not connect again yet"),
        }
    }
}
