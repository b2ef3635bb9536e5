//! The requests that a call has open at its client, and the way of their answers to it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rmcp::model::ServerRequest;
use serde_json::value::RawValue;
use tokio::sync::mpsc;
use tokio::time::Instant;

/// What a request of the server asks for, and so what its answer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RequestKind {
    Sampling,
    Elicitation,
    Roots,
    Ping,
    Custom,
}

impl RequestKind {
    pub(crate) const fn of(request: &ServerRequest) -> Self {
        match request {
            ServerRequest::CreateMessageRequest(_) => Self::Sampling,
            ServerRequest::ElicitRequest(_) => Self::Elicitation,
            ServerRequest::ListRootsRequest(_) => Self::Roots,
            ServerRequest::PingRequest(_) => Self::Ping,
            _ => Self::Custom,
        }
    }
}

/// The requests that one run of a call has open at its client, by their numbers: an answer to any other is
/// not its own. The run of a call that another node has claimed since goes on for a moment, and has other
/// numbers.
#[derive(Debug, Clone, Default)]
pub(crate) struct OpenRequests(Arc<Mutex<BTreeMap<u64, OpenRequest>>>);

/// What it asks for, and until when its answer is waited for.
#[derive(Debug, Clone, Copy)]
struct OpenRequest {
    kind: RequestKind,
    until: Instant,
}

impl OpenRequests {
    /// Notes a request. Its answer may come until `until`.
    pub(crate) fn insert(&self, number: u64, kind: RequestKind, until: Instant) {
        self.lock().insert(number, OpenRequest { kind, until });
    }

    /// Nobody waits for its answer any longer. False when nobody did.
    pub(crate) fn remove(&self, number: u64) -> bool {
        self.lock().remove(&number).is_some()
    }

    /// How many are open.
    pub(crate) fn len(&self) -> usize {
        self.lock().len()
    }

    /// The numbers of all.
    pub(crate) fn numbers(&self) -> Vec<u64> {
        self.lock().keys().copied().collect()
    }

    /// The request whose wait ends first, and when.
    pub(crate) fn first_to_end(&self) -> Option<(u64, Instant)> {
        let open = self.lock();
        open.iter()
            .map(|(number, request)| (*number, request.until))
            .min_by_key(|(_, until)| *until)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, OpenRequest>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A client's answer to a request that a call sent it.
#[derive(Debug)]
pub(crate) struct Answer {
    /// Which of the call's requests it answers.
    pub number: u64,
    /// What that asked for.
    pub kind: RequestKind,
    /// The result's JSON text, or the error's.
    pub outcome: ResponseOutcome,
}

/// A result's JSON text, or an error's.
pub(crate) type ResponseOutcome = Result<Box<RawValue>, Box<RawValue>>;

/// Where the answers to a call's requests go, and which of them are open.
#[derive(Debug, Clone)]
pub(crate) struct Answers {
    /// To the call.
    pub sender: mpsc::Sender<Answer>,
    /// What it has asked.
    pub open: OpenRequests,
}

impl Answers {
    /// Hands an answer over. The first counts: the request is closed then.
    pub(crate) fn hand_over(&self, number: u64, outcome: ResponseOutcome) -> Handed {
        let mut open = self.open.lock();
        let Some(&OpenRequest { kind, .. }) = open.get(&number) else {
            return Handed::NotOpen;
        };
        let answer = Answer {
            number,
            kind,
            outcome,
        };
        match self.sender.try_send(answer) {
            Ok(()) => {
                open.remove(&number);
                Handed::Over
            }
            Err(mpsc::error::TrySendError::Full(_)) => Handed::Full,
            Err(mpsc::error::TrySendError::Closed(_)) => Handed::NotOpen,
        }
    }
}

/// Outcome of [`Answers::hand_over`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub(crate) enum Handed {
    /// The call has it.
    Over,
    /// No call of this node has that request open: it may be another node's.
    NotOpen,
    /// The call cannot take it just now.
    Full,
}
