//! Hearing messages of other nodes: one connection that subscribes, and subscribes again whenever it was
//! lost.
//!
//! Pub/sub forgets what is published while nobody listens. So a listener receives [`Received::Disconnected`]
//! when the connection is lost, and again when it is back: what was read in between may have changed unheard.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fred::clients::SubscriberClient;
use fred::error::{Error as FredError, ErrorKind};
use fred::interfaces::{ClientLike, EventInterface, PubsubInterface};
use fred::types::{CustomCommand, Message, Value};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, watch};
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

use super::connect::Driven;
use super::keys::Keys;
use super::link::{Alive, keep, on_slot_of};
use crate::causes::causes;
use crate::session::NodeId;
use crate::store::Limits;
use crate::store::Received;

/// How long to wait before a failed subscription is tried again.
const RETRY_DELAY: Duration = Duration::from_millis(200);

/// Listens for messages to some nodes, and to all.
#[derive(Debug, Clone)]
pub(super) struct MessageListener {
    client: SubscriberClient,
    keys: Keys,
    listeners: Arc<Mutex<BTreeMap<String, broadcast::Sender<Received>>>>,
    subscribed: watch::Sender<bool>,
}

impl MessageListener {
    pub(super) fn new(client: SubscriberClient, keys: Keys) -> Self {
        Self {
            client,
            keys,
            listeners: Arc::default(),
            subscribed: watch::Sender::new(false),
        }
    }

    /// Whether messages are heard just now, and how to learn that it changes.
    pub(super) fn subscribed(&self) -> watch::Receiver<bool> {
        self.subscribed.subscribe()
    }

    /// Begins to hear messages to `node` and to all.
    pub(super) async fn listen(&self, node: &NodeId) -> Result<broadcast::Receiver<Received>, FredError> {
        let channel = self.keys.node(node);
        let receiver = {
            let mut listeners = self.lock();
            listeners.retain(|_, listener| listener.receiver_count() > 0);
            listeners
                .entry(channel)
                .or_insert_with(|| broadcast::channel(Limits::MESSAGES_WAITING_MAX).0)
                .subscribe()
        };
        self.subscribe().await?;
        Ok(receiver)
    }

    /// Subscribes to every channel there is a listener for, and makes sure of it.
    async fn subscribe(&self) -> Result<(), FredError> {
        let channels: Vec<String> = {
            let listeners = self.lock();
            let nodes = listeners.keys().cloned();
            nodes.chain([self.keys.nodes()]).collect()
        };
        self.client.subscribe(channels.clone()).await?;
        // fred says that it has subscribed before Redis has answered, or refused. This asks, on the same
        // connection.
        let mut asked: Vec<String> = vec!["NUMSUB".into()];
        asked.extend(channels);
        let counts = CustomCommand::new_static("PUBSUB", on_slot_of(self.client.id()), false);
        let answer: Vec<(String, u64)> = self.client.custom(counts, asked).await?;
        if answer.iter().any(|(_, count)| *count == 0) {
            let reason = "Redis refused the subscription: the user needs `&*`, or `&<prefix>node*`";
            return Err(FredError::new(ErrorKind::Auth, reason));
        }
        self.subscribed.send_replace(true);
        Ok(())
    }

    /// Passes on what is heard, until it is dropped.
    pub(super) async fn run(self) {
        let mut messages = self.client.message_rx();
        let mut connections = self.client.reconnect_rx();
        let mut errors = self.client.error_rx();
        loop {
            // The channels close when the client quits, and never before.
            let open = tokio::select! {
                message = messages.recv() => match message {
                    Ok(message) => {
                        self.deliver(&message);
                        true
                    }
                    Err(RecvError::Lagged(_)) => {
                        self.deliver_to_all(&Received::Gap);
                        true
                    }
                    Err(RecvError::Closed) => false,
                },
                error = errors.recv() => match error {
                    Ok((error, _)) => {
                        self.lost(error.details());
                        true
                    }
                    Err(error) => error != RecvError::Closed,
                },
                connected = connections.recv() => {
                    let open = connected != Err(RecvError::Closed);
                    if open {
                        self.resubscribe().await;
                    }
                    open
                }
            };
            if !open {
                return;
            }
        }
    }

    /// Keeps the connection alive until it is dropped.
    pub(super) async fn keep(self, driven: Driven<SubscriberClient>, patience: Duration) {
        let beat = |_| async {
            if timeout(patience, self.beat()).await.is_err() {
                self.lost("it is silent");
                // Only now the keeper's own patience, which is as long, ends.
                std::future::pending::<()>().await;
            }
            Ok(())
        };
        keep(driven, Alive::default(), patience + RETRY_DELAY, beat).await;
    }

    async fn beat(&self) -> Result<(), FredError> {
        let ping = CustomCommand::new_static("PING", on_slot_of(self.client.id()), false);
        self.client.custom::<Value, String>(ping, vec![]).await.map(drop)
    }

    fn lost(&self, reason: &str) {
        if self.subscribed.send_replace(false) {
            warn!(
                reason,
                "messages of other nodes do not arrive: the connection to Redis was lost"
            );
            self.deliver_to_all(&Received::Disconnected);
        }
    }

    async fn resubscribe(&self) {
        if self.lock().is_empty() {
            return;
        }
        // fred also tells of the first connection, when nothing was lost. That cannot be told from a loss
        // that nobody noticed, so listeners are told of a gap.
        let noticed = !self.subscribed.send_replace(false);
        while let Err(error) = self.subscribe().await {
            warn!(error = %causes(&error), "could not subscribe to messages of other nodes again yet");
            sleep(RETRY_DELAY).await;
        }
        if noticed {
            info!("messages of other nodes arrive again");
        }
        self.deliver_to_all(&Received::Gap);
    }

    pub(super) async fn quit(&self) {
        // From here on a lost connection is no news.
        self.subscribed.send_replace(false);
        // It can only fail because there is nothing left to close.
        drop(timeout(RETRY_DELAY, self.client.quit()).await);
    }

    fn deliver(&self, message: &Message) {
        // Whatever is not text was not sent by a node.
        let Some(text) = message.value.as_str() else {
            return;
        };
        let heard = Received::Message((&*text).into());
        if message.channel.as_bytes() == self.keys.nodes().as_bytes() {
            self.deliver_to_all(&heard);
        } else if let Some(listener) = self.lock().get(&*message.channel) {
            drop(listener.send(heard));
        }
    }

    fn deliver_to_all(&self, heard: &Received) {
        for listener in self.lock().values() {
            drop(listener.send(heard.clone()));
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, broadcast::Sender<Received>>> {
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
