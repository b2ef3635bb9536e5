//! A reply that is a stream without a log: it lasts as long as its connection, which cannot be taken up again.

use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::question::RefuseQuestions;
use super::running_call::{Finished, RunningCall, give_up, next};
use crate::protocol::sse;
use crate::telemetry::metrics::{self, StreamKind};

mod client;

use client::{ReplyReceiver, Turn};

/// How long one event may wait for a place in the queue of a client that does not read. Then the client
/// counts as gone: a call must not hold its place, and its messages, for somebody who takes none of them.
pub(crate) const WRITE_WITHIN: Duration = Duration::from_secs(10);

/// A call whose messages and response go to its client as they come.
#[derive(Debug)]
pub(super) struct UnloggedStream {
    pub running: RunningCall,
    /// Stops the call.
    pub cancel: CancellationToken,
    /// Whether the call goes on for a while when its client has gone.
    pub survives: bool,
    /// What the stream counts as.
    pub kind: StreamKind,
    /// How often a silent stream gets a comment.
    pub keep_alive: Duration,
    /// What refuses the call's questions, if its client cannot be asked.
    pub questions: Option<RefuseQuestions>,
}

impl UnloggedStream {
    /// Writes to the client at the other end of `client`: what came `first`, what the call sends, and its
    /// response.
    pub(super) fn write(
        mut self,
        client: mpsc::Sender<Bytes>,
        first: impl IntoIterator<Item = Bytes, IntoIter: Send> + Send,
    ) -> impl Future<Output = ()> + Send {
        // Counted from now on: its client may ask at once.
        let opened = metrics::stream_open(self.kind);
        async move {
            let mut client = ReplyReceiver::new(client);
            for message in first {
                if self.passes(&message) {
                    client.write(sse::message(&message)).await;
                }
            }
            let finished = self.run(&mut client).await;
            // What the call sent is written; what a task of it sends later is not.
            if let Some(mut messages) = self.running.messages.take() {
                messages.close();
                while let Ok(message) = messages.try_recv() {
                    if self.passes(&message) {
                        client.write(sse::message(&message)).await;
                    }
                }
            }
            match finished.body {
                Some(body) => client.write(sse::message(&body)).await,
                // A reply of no bytes is taken for one that broke.
                None => client.write(sse::NOTHING_MORE).await,
            }
            client.flush().await;
            drop(opened);
        }
    }

    /// Runs the call to its end. The call goes on, and with it its bounds, while an event waits to be
    /// written; only what it sends waits behind that event.
    async fn run(&mut self, client: &mut ReplyReceiver) -> Finished {
        let mut given_up = pin!(give_up(&self.cancel));
        let mut abandoned = false;
        loop {
            tokio::select! {
                biased;
                finished = &mut self.running.call => return finished,
                turn = client.turn() => match turn {
                    Turn::Written => {}
                    // It was given no event id.
                    Turn::Gone if self.survives => abandoned = true,
                    Turn::Gone => self.cancel.cancel(),
                },
                () = &mut given_up, if abandoned => abandoned = false,
                Some(message) = next(&mut self.running.messages), if client.is_ready() => {
                    if self.passes(&message) {
                        client.put(sse::message(&message));
                    }
                }
                () = sleep(self.keep_alive), if client.is_ready() => client.put(sse::KEEP_ALIVE),
            }
        }
    }

    /// Whether a message is for the client: a question may be refused instead.
    fn passes(&self, message: &[u8]) -> bool {
        self.questions
            .as_ref()
            .is_none_or(|questions| !questions.refuse(message))
    }
}
