//! The server behind a listener: accepts connections within a bound, and lets them finish when the node stops.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use axum::serve::{Listener as AxumListener, ListenerExt as _};
use futures::FutureExt as _;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::unix::SocketAddr as UnixAddress;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::{Instrument as _, debug, error, warn};

use super::connection::{self, Use};
use super::listener::{BoundListener, ListenerKind};
use super::socket::Socket;
use crate::causes::causes;
use crate::engine::shares::{PROBES_MAX, Resource, Share};
use crate::http::HttpService;
use crate::http::source::{Connected, ConnectionsFull, Purpose, Source};

const NODE_FULL: &str = "the node's limit of connections is reached (http.connections_max)";

/// Connections that are at a request still. They go on until this is dropped or [closed](Self::close).
#[derive(Debug)]
#[must_use]
pub(crate) struct UnfinishedConnections {
    kill: DropGuard,
    accepting: JoinSet<()>,
}

impl UnfinishedConnections {
    /// Drops them with the requests they are at, and waits until that is done.
    pub(crate) async fn close(mut self) {
        drop(self.kill);
        drop(self.accepting.join_next().await);
    }
}

/// A server at work. Dropping it closes the listener and all connections, with the requests they are at, as
/// soon as the runtime comes to it.
#[derive(Debug)]
pub(crate) struct Server {
    address: String,
    stop: DropGuard,
    /// Drops the connections.
    kill: DropGuard,
    /// One task, which accepts connections and owns them.
    accepting: JoinSet<()>,
    places: Places,
    socket: Option<PathBuf>,
}

impl Server {
    /// Begins to accept connections of clients, at most `connections_max` at a time. On [`PROBES_MAX`] more
    /// only questions after the node's health are answered. Yet more wait in the system's backlog.
    pub(crate) fn start(listener: BoundListener, http: HttpService, connections_max: usize) -> Self {
        Self::admit(listener, http, Places::new(connections_max))
    }

    /// Begins to accept connections for nothing but health checks and metrics, at most [`PROBES_MAX`] at a
    /// time. They are counted by themselves, so that clients cannot take them away.
    pub(crate) fn start_probes(listener: BoundListener, http: HttpService) -> Self {
        Self::admit(listener, http, Places::only_probes())
    }

    fn admit(listener: BoundListener, http: HttpService, places: Places) -> Self {
        let [stop, kill] = [(); 2].map(|()| CancellationToken::new());
        let accept = Accept {
            http,
            stop: stop.clone(),
            kill: kill.clone(),
            places: places.clone(),
            open: JoinSet::new(),
        };
        let mut accepting = JoinSet::new();
        let socket = match listener.kind {
            ListenerKind::Tcp(tcp) => {
                // Without it the small writes of a stream wait for the client's delayed acknowledgements, 40
                // ms each.
                let tcp = tcp.tap_io(|stream| {
                    if let Err(error) = stream.set_nodelay(true) {
                        debug!(error = %causes(&error), "could not set TCP_NODELAY");
                    }
                });
                accepting.spawn(accept.run(tcp).in_current_span());
                None
            }
            ListenerKind::Unix(unix, path) => {
                accepting.spawn(accept.run(unix).in_current_span());
                Some(path)
            }
        };
        Self {
            address: listener.address,
            stop: stop.drop_guard(),
            kill: kill.drop_guard(),
            accepting,
            places,
            socket,
        }
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Completes when connections are accepted no longer, though nobody has stopped the server.
    pub(crate) async fn broken(&mut self) {
        if let Some(Err(error)) = self.accepting.join_next().await {
            error!(error = %causes(&error), "connections are accepted no longer");
        }
    }

    /// Closes the listener and all connections at once.
    pub(crate) fn close(self) {
        remove(self.socket);
    }

    /// Stops accepting, lets each connection finish the request it is at, and waits for that until it is time
    /// to give up. Returns those that had not finished by then.
    pub(crate) async fn stop(self, give_up: impl Future<Output = ()>) -> Option<UnfinishedConnections> {
        // First of all: the next node may listen there while this one waits for its calls, and that file is
        // not ours.
        remove(self.socket);
        drop(self.stop);
        let mut accepting = self.accepting;
        tokio::select! {
            _ended = accepting.join_next() => None,
            () = give_up => {
                warn!(left = self.places.taken(), "some connections did not finish in time");
                Some(UnfinishedConnections { kill: self.kill, accepting })
            }
        }
    }
}

/// Removes the file of a Unix socket.
fn remove(socket: Option<PathBuf>) {
    if let Some(path) = socket
        && let Err(error) = std::fs::remove_file(&path)
    {
        debug!(error = %causes(&error), "could not remove the socket's file");
    }
}

/// The other end of an accepted connection.
trait Address {
    /// Where its requests come from.
    fn source(&self) -> Source;
}

impl Address for SocketAddr {
    fn source(&self) -> Source {
        Source::Address(self.ip())
    }
}

impl Address for UnixAddress {
    fn source(&self) -> Source {
        Source::Unix
    }
}

/// How many connections may be open.
#[derive(Debug, Clone)]
struct Places {
    any: Arc<Semaphore>,
    /// Places for those who ask how the node is.
    probes: Arc<Semaphore>,
    /// Of both.
    max: usize,
    /// What is counted by peer of those for probes.
    resource: Resource,
}

impl Places {
    fn new(connections_max: usize) -> Self {
        Self {
            any: Arc::new(Semaphore::new(connections_max)),
            probes: Arc::new(Semaphore::new(PROBES_MAX)),
            max: connections_max + PROBES_MAX,
            resource: Resource::Probes,
        }
    }

    fn only_probes() -> Self {
        Self {
            resource: Resource::ProbeAddress,
            ..Self::new(0)
        }
    }

    /// Waits until a connection may come. Its kind is known when it has come.
    async fn wait(&self) -> Option<OwnedSemaphorePermit> {
        tokio::select! {
            biased;
            place = Arc::clone(&self.any).acquire_owned() => place.ok(),
            place = Arc::clone(&self.probes).acquire_owned() => place.ok(),
        }
    }

    /// How many connections are open.
    fn taken(&self) -> usize {
        self.max - self.any.available_permits() - self.probes.available_permits()
    }
}

/// What a connection holds while it is open.
struct Seat {
    purpose: Use,
    _place: OwnedSemaphorePermit,
    /// Its part in the share of its peer; none of trusted proxies.
    _share: Option<Share>,
}

struct Accept {
    http: HttpService,
    stop: CancellationToken,
    kill: CancellationToken,
    places: Places,
    open: JoinSet<()>,
}

impl Accept {
    /// Accepts connections until the server stops, and then waits for those that are open.
    async fn run<L: AxumListener<Addr: Address, Io: Socket>>(mut self, mut listener: L) {
        loop {
            // axum's listeners try again when the system refuses a connection, for lack of file descriptors
            // say: after a moment, or when a connection has ended.
            let accepted = async {
                let place = self.places.wait().await;
                (place, listener.accept().await)
            };
            tokio::select! {
                () = self.stop.cancelled() => break,
                Some(_ended) = self.open.join_next() => {}
                (place, (stream, address)) = accepted => self.admit(place, stream, address.source()),
            }
        }
        drop(listener);
        let all = async { while self.open.join_next().await.is_some() {} };
        if self.kill.run_until_cancelled(all).await.is_none() {
            self.open.shutdown().await;
        }
    }

    /// Serves a connection, if there is a seat for it.
    fn admit<S: AsyncRead + AsyncWrite + Socket + Unpin + Send + 'static>(
        &mut self,
        place: Option<OwnedSemaphorePermit>,
        stream: S,
        source: Source,
    ) {
        let Some((seat, connected)) = self.seat(place, source) else {
            return debug!("a connection was closed at once: its client has too many");
        };
        // One counter to count up for each request, and nothing to copy.
        let asked = Arc::new((self.http.clone(), connected));
        let answer = move |request| {
            let asked = Arc::clone(&asked);
            async move { asked.0.answer(request, &asked.1).await }
        };
        let (idle, stop) = (self.http.service().keep_alive(), self.stop.clone());
        let served = connection::serve(stream, seat.purpose, idle, answer, stop);
        // Not in a block of its own, which would keep room for the connection twice.
        self.open.spawn(served.map(|()| drop(seat)));
    }

    /// What a connection from there gets: a place of its own if there is one and its peer has not too many,
    /// else one of those that are kept back, of which no peer gets more than half. `None` if it gets none.
    fn seat(&self, place: Option<OwnedSemaphorePermit>, source: Source) -> Option<(Seat, Connected)> {
        drop(place);
        let resource = self.places.resource;
        let trusted = self.http.service().trusts(source);
        let uses = self.http.service().uses(source);
        let take = |resource| match trusted {
            true => Ok(None),
            false => uses.take(resource, 1).map(Some),
        };
        let any = || Arc::clone(&self.places.any).try_acquire_owned();
        let (purpose, held) = match resource {
            Resource::ProbeAddress => (Purpose::Probes, None),
            _ => match (take(Resource::Connections), any()) {
                (Ok(share), Ok(place)) => (Purpose::Clients, Some((place, share))),
                (Ok(_), Err(_)) => (Purpose::Spare(ConnectionsFull::Node(NODE_FULL)), None),
                (Err(words), _) => (Purpose::Spare(ConnectionsFull::Peer(words)), None),
            },
        };
        let (used_for, (place, share)) = match held {
            Some(held) => (Use::Any, held),
            None => {
                let place = Arc::clone(&self.places.probes).try_acquire_owned().ok()?;
                (Use::Probes, (place, take(resource).ok()?))
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
        };
        Some((seat, connected))
    }
}
