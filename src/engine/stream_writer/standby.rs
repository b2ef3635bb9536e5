//! Which of several connections carries a stream: the newest, and when that is gone the newest of those that
//! wait.

use std::slice;
use std::time::Duration;

use tokio::time::Instant;
use tracing::debug;

use super::{LOOK_AGAIN, StreamWriter, WriterStop};
use crate::causes::causes;
use crate::engine::changes::Tell;
use crate::store::streams::{Attached, Holder, Over};

/// How soon a connection looks again for a node whose lease has ended, before it takes that for dead: in an
/// outage of the store all leases end, and the living renew theirs soon after.
const DEAD_AGAIN: Duration = Duration::from_secs(5);

/// Whether a connection carries its stream.
pub(super) enum WriterRole {
    /// It does.
    Carries,
    /// It waits, and looks again then.
    Waits(Instant),
}

/// What is known of another connection.
enum Other {
    /// It carries the stream.
    Carries,
    /// Its node may be dead: that is to be looked at once more.
    MayBeDead,
    /// It has gone.
    Gone,
}

impl StreamWriter {
    /// Carries the stream from now on if nobody else does, or if who does has gone; else waits.
    pub(super) async fn take_over(&mut self, holder: Option<Holder>) -> Result<WriterRole, WriterStop> {
        let other = match &holder {
            Some(holder) if *holder == self.holder() => None,
            Some(holder) => Some(self.look_at(holder).await),
            None => Some(Other::Gone),
        };
        let waits = match other {
            None => None,
            Some(Other::Carries) => Some(self.read_every()),
            Some(Other::MayBeDead) => Some(DEAD_AGAIN),
            Some(Other::Gone) => self.attach(holder.as_ref()).await?,
        };
        if let Some(waits) = waits {
            return Ok(WriterRole::Waits(Instant::now() + waits));
        }
        self.dead = None;
        self.carried.connection.set_waits(false);
        if self.stream.is_session_stream() {
            self.engine.sync_or_later(&self.cached, Tell::Changes).await;
        }
        Ok(WriterRole::Carries)
    }

    /// Takes the stream from a connection that has gone, or from nobody. Returns how soon to look again when
    /// another was first.
    async fn attach(&mut self, from: Option<&Holder>) -> Result<Option<Duration>, WriterStop> {
        let (store, ttl) = (&self.engine.store, self.engine.sessions.ttl());
        let own = self.holder();
        let attach = store.attach(&self.cached.id, &self.stream, &own, Over::Only(from), ttl);
        match attach.await {
            Ok(Attached::Attached { delivered, .. }) => {
                debug!(session = self.cached.tag, "a connection takes a stream over");
                if self.options.note_delivered {
                    // Other connections of this client were given these.
                    self.written = self.written.max(delivered);
                    self.noted = self.noted.max(delivered);
                }
                Ok(None)
            }
            Ok(Attached::Held(_)) => {
                self.carried.connection.set_waits(true);
                Ok(Some(self.read_every()))
            }
            // It has ended since it was read, perhaps with events that nobody else can tell: the log is read again.
            Ok(Attached::NoStream) => Ok(Some(Duration::ZERO)),
            Ok(Attached::Gone) => Err(WriterStop::Gone),
            Err(error) => {
                debug!(session = self.cached.tag, error = %causes(&error), "a stream is not taken over yet");
                Ok(Some(LOOK_AGAIN))
            }
        }
    }

    /// Looks at the connection that is said to carry the stream. If it does, this one waits.
    async fn look_at(&mut self, other: &Holder) -> Other {
        let engine = &self.engine;
        let carries = if other.node == engine.node {
            // If it is not here, it has just gone, or was one of a former life of this node.
            engine
                .streams
                .has(&self.cached.id, &self.stream, other.connection)
        } else {
            // A node of which nobody can say whether it lives may live.
            let nodes = slice::from_ref(&other.node);
            let dead = engine.membership.dead_among(&*engine.store, nodes).await;
            dead.map_or(true, |dead| dead.is_empty())
        };
        if carries {
            self.dead = None;
            self.carried.connection.set_waits(true);
            return Other::Carries;
        }
        let seen_before = self.dead.replace(other.clone()).as_ref() == Some(other);
        if other.node == self.engine.node || seen_before {
            return Other::Gone;
        }
        self.carried.connection.set_waits(true);
        Other::MayBeDead
    }
}
