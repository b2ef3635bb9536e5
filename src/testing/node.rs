//! One node of a test, in a thread of its own: so it can be killed, and held up, apart from the others.
#![expect(clippy::panic, reason = "a test that cannot go on fails by a panic")]

use std::net::SocketAddr;
use std::panic::resume_unwind;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

use tokio::runtime;
use tokio::sync::{mpsc, oneshot};
use tokio::task::spawn_blocking;

use crate::app::{Builder, Running};

/// What a node is told.
enum Order {
    /// Finish calls, leave the others, end.
    Stop,
    /// End.
    Kill,
    /// Say so, and do nothing until something comes, or nothing can come any more.
    Pause(oneshot::Sender<()>, Receiver<()>),
}

/// A node in a thread of its own.
#[derive(Debug)]
pub(super) struct TestNode {
    url: String,
    commands: mpsc::Sender<Order>,
    thread: Option<JoinHandle<()>>,
    paused: Option<SyncSender<()>>,
}

impl TestNode {
    /// Starts it, and returns once it listens.
    pub(super) async fn start(app: Builder) -> Self {
        let (listens, listening) = oneshot::channel();
        let (commands, told) = mpsc::channel(1);
        let run = move || {
            let runtime = runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.unwrap_or_else(|error| panic!("no runtime: {error}"));
            runtime.block_on(run(app, listens, told));
            // All that the node has left behind goes at once.
            runtime.shutdown_background();
        };
        let thread = thread::Builder::new().name("test-node".into()).spawn(run);
        let thread = thread.unwrap_or_else(|error| panic!("no thread: {error}"));
        let url = match listening.await {
            Ok(url) => url,
            Err(_ended) => panic!("a node did not start; its thread has said why"),
        };
        Self {
            url,
            commands,
            thread: Some(thread),
            paused: None,
        }
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// Where it listens.
    pub(super) fn socket(&self) -> SocketAddr {
        let address = self.url.strip_prefix("http://").unwrap_or(&self.url);
        address
            .parse()
            .unwrap_or_else(|_bad| panic!("a node of a test listens on a port, not at {}", self.url))
    }

    pub(super) async fn kill(&mut self) {
        self.resume();
        self.end(Order::Kill).await;
    }

    pub(super) async fn pause(&mut self) {
        if self.paused.is_some() {
            return;
        }
        let (said, pausing) = oneshot::channel();
        let (go_on, until) = sync_channel(1);
        if self.commands.send(Order::Pause(said, until)).await.is_ok() && pausing.await.is_ok() {
            self.paused = Some(go_on);
        }
    }

    pub(super) fn resume(&mut self) {
        // It goes on when the other end is gone.
        self.paused = None;
    }

    pub(super) async fn stop(mut self) {
        self.resume();
        self.end(Order::Stop).await;
    }

    async fn end(&mut self, command: Order) {
        // One that has ended already hears nothing.
        self.commands.send(command).await.ok();
        if let Some(thread) = self.thread.take()
            && let Ok(Err(panic)) = spawn_blocking(|| thread.join()).await
        {
            resume_unwind(panic);
        }
    }
}

async fn run(app: Builder, listens: oneshot::Sender<String>, mut told: mpsc::Receiver<Order>) {
    let node: Running = match app.spawn().await {
        Ok(node) => node,
        Err(error) => panic!("a node did not start: {error}"),
    };
    if listens.send(node.address().to_owned()).is_err() {
        return;
    }
    loop {
        match told.recv().await {
            Some(Order::Pause(said, until)) => {
                said.send(()).ok();
                // Nothing else of this thread goes on meanwhile: that is what it is for.
                until.recv().ok();
            }
            Some(Order::Stop) => return node.stop().await,
            Some(Order::Kill) | None => return drop(node),
        }
    }
}
