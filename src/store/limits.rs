//! How much a store keeps of what clients can add to: the same in every store, and held by the contract.

use std::time::Duration;

/// The bounds that every store holds.
#[derive(Debug)]
pub struct Limits;

impl Limits {
    /// The most events that one stream keeps; the oldest go first.
    pub const STREAM_EVENTS_MAX: u64 = 1024;
    /// The most bytes of events that one stream keeps; the oldest go first. The newest event is always kept.
    pub const STREAM_BYTES_MAX: u64 = 4 << 20;
    /// The most streams that one session keeps. When one more is made, the oldest that are done go, a quarter
    /// of all at most; of those that are not done, none goes: the bound on calls in flight bounds them.
    pub const SESSION_STREAMS_MAX: usize = 256; // SESSION_BYTES_MAX bounds what is in them
    /// The most bytes of events that one session keeps in all its streams. The oldest streams that are done
    /// go first, a quarter of all bytes at most, then the oldest events of the stream that grows. The newest
    /// event of each is always kept.
    pub const SESSION_BYTES_MAX: u64 = 16 << 20; // 4 streams as long as they may be; 64 KiB for each of 256
    /// The most events that one [`read`](super::StreamStore::read) returns.
    pub const READ_EVENTS_MAX: usize = 128;
    /// The most bytes of events that one [`read`](super::StreamStore::read) returns. One event is returned
    /// of any length.
    pub const READ_BYTES_MAX: usize = 512 << 10; // 512 KiB, so that a client that reads slowly does not hold a whole log

    /// The most answers to a call's requests that wait to be taken. Those beyond are refused.
    pub const ANSWERS_WAITING_MAX: usize = 32; // as many as a call has open requests
    /// The most bytes of answers that wait for one call. A single answer is kept even if it is longer.
    pub const ANSWERS_WAITING_BYTES_MAX: usize = 8 << 20; // two of the largest bodies by default
    /// How long an answer is kept whose call is not registered: one that runs registers again when it finds
    /// that a store which took over had not heard of it.
    pub const EARLY_ANSWERS_FOR: Duration = Duration::from_secs(60); // a call looks every few seconds
    /// The most answers of one session that are kept so; the oldest go first.
    pub const EARLY_ANSWERS_MAX: usize = 16;
    /// The most bytes of them. A single answer is kept even if it is longer.
    pub const EARLY_ANSWERS_BYTES_MAX: usize = 1 << 20;
    /// The most requests of one call that are answered. Answers beyond are refused.
    pub const ANSWERS_MAX: usize = 4096; // 4096 x 20 B = 80 KiB to know which were
    /// The most cancellations of one session that are noted, for calls that are not registered yet; the first
    /// to end go first.
    pub const CANCELS_NOTED_MAX: usize = 256;
    /// For how long it is noted that a claimed call has ended, so that its former node does not begin it
    /// again.
    pub const ENDED_CALL_STAY: Duration = Duration::from_secs(60 * 60); // longer than any pause after which a node continues

    /// The most topics that have a version of their own.
    pub const TOPICS_MAX: usize = 65_536; // 65536 x 128 B = 8 MiB
    /// How many messages may wait for a slow reader before the oldest is dropped (the reader then reads
    /// everything again).
    pub const MESSAGES_WAITING_MAX: usize = 4096; // 4096 x 256 B = 1 MiB
    /// The most sessions that one [`of_peer`](super::SessionStore::of_peer) returns.
    pub const OF_PEER_MAX: usize = 16; // each is read whole
    /// The most that is kept of each kind of what was [seen](super::SessionStore::sight) of a session; the oldest
    /// goes first.
    pub const SIGHTINGS_MAX: usize = 32; // 32 x 32 B = 1 KiB
    /// The most sessions that one [`list`](super::SessionStore::list) returns.
    pub const SESSION_LIST_MAX: usize = 10_000;
}
