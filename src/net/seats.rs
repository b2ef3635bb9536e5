//! How many connections there may be: each takes a place, and a part of its peer's share, as long as it is
//! open.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::connection::Use;
use crate::engine::shares::{PROBES_MAX, Resource, Share};
use crate::http::Service;
use crate::http::source::{Connected, ConnectionsFull, Purpose, Source};

const NODE_FULL: &str = "the node's limit of connections is reached (http.connections_max)";

/// How many connections may be open.
#[derive(Debug, Clone)]
pub(super) struct Seats {
    service: Service,
    any: Arc<Semaphore>,
    /// Places for those who ask how the node is.
    probes: Arc<Semaphore>,
    /// Of both.
    max: usize,
    /// What is counted by peer of those for probes.
    resource: Resource,
}

/// A place of a connection whose peer may not be known yet.
#[derive(Debug)]
pub(super) struct Place(OwnedSemaphorePermit);

impl Place {
    fn is_of(&self, places: &Arc<Semaphore>) -> bool {
        Arc::ptr_eq(self.0.semaphore(), places)
    }

    /// One of those for this one: the same if it is one of them. It is not given back and taken again, because
    /// the next connection may wait for it.
    fn swap(self, places: &Arc<Semaphore>) -> Result<Self, Self> {
        if self.is_of(places) {
            return Ok(self);
        }
        let other = Arc::clone(places).try_acquire_owned();
        other.map(Self).map_err(|_none| self)
    }
}

/// What a connection holds while it is open.
#[derive(Debug)]
pub(super) struct Seat {
    pub(super) purpose: Use,
    _place: Place,
    /// Its part in the share of its peer; none of trusted proxies.
    _share: Option<Share>,
}

impl Seats {
    /// Seats for so many clients, and [`PROBES_MAX`] that are kept back for those who ask how the node is.
    pub(super) fn new(service: Service, connections_max: usize) -> Self {
        Self {
            service,
            any: Arc::new(Semaphore::new(connections_max)),
            probes: Arc::new(Semaphore::new(PROBES_MAX)),
            max: connections_max + PROBES_MAX,
            resource: Resource::Probes,
        }
    }

    /// Seats for those alone.
    pub(super) fn only_probes(service: Service) -> Self {
        Self {
            resource: Resource::ProbeAddress,
            ..Self::new(service, 0)
        }
    }

    /// Waits until a connection may come. Its kind is known when it has come.
    pub(super) async fn wait(&self) -> Option<Place> {
        let place = tokio::select! {
            biased;
            place = Arc::clone(&self.any).acquire_owned() => place,
            place = Arc::clone(&self.probes).acquire_owned() => place,
        };
        place.ok().map(Place)
    }

    /// How many connections are open.
    pub(super) fn taken(&self) -> usize {
        self.max - self.any.available_permits() - self.probes.available_permits()
    }

    /// Notes for alarms that somebody speaks as only trusted proxies may.
    pub(super) fn note_spoofed(&self, source: Source) {
        self.service.note_spoofed(source);
    }

    /// Whether a trusted proxy connects from there, for many clients.
    pub(super) fn trusts(&self, source: Source) -> bool {
        self.service.trusts(source)
    }

    /// What a place is good for before it is known whose it is.
    pub(super) fn purpose_of(&self, place: &Place) -> Use {
        match place.is_of(&self.any) {
            true => Use::Any,
            false => Use::Probes,
        }
    }

    /// What a connection from there gets: a place of its own if there is one and its peer has not too many,
    /// else one of those that are kept back, of which no peer gets more than half. `None` if it gets none.
    pub(super) fn take(&self, place: Place, source: Source) -> Option<(Seat, Connected)> {
        let trusted = self.service.trusts(source);
        let uses = self.service.uses(source);
        let take = |resource| match trusted {
            true => Ok(None),
            false => uses.take(resource, 1).map(Some),
        };
        let (purpose, held) = match self.resource {
            Resource::ProbeAddress => (Purpose::Probes, Err(place)),
            _ => match (take(Resource::Connections), place.swap(&self.any)) {
                (Ok(share), Ok(place)) => (Purpose::Clients, Ok((place, share))),
                (Ok(_), Err(place)) => (Purpose::Spare(ConnectionsFull::Node(NODE_FULL)), Err(place)),
                (Err(words), Ok(place) | Err(place)) => {
                    (Purpose::Spare(ConnectionsFull::Peer(words)), Err(place))
                }
            },
        };
        let (used_for, (place, share)) = match held {
            Ok(held) => (Use::Any, held),
            Err(place) => {
                let place = place.swap(&self.probes).ok()?;
                (Use::Probes, (place, take(self.resource).ok()?))
            }
        };
        let seat = Seat {
            purpose: used_for,
            _place: place,
            _share: share,
        };
        let connected = Connected {
            source,
            uses,
            purpose,
            certificate: None,
        };
        Some((seat, connected))
    }
}
