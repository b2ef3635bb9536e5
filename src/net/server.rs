//! The server behind a listener: accepts connections within a bound, and lets them finish when the node stops.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use axum::serve::{Listener as AxumListener, ListenerExt as _};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::unix::SocketAddr as UnixAddress;
use tokio::task::JoinSet;
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::{Instrument as _, debug, error, warn};

use super::admission::{Admission, Entrance};
use super::listener::{BoundListener, ListenerKind};
use super::seats::{Place, Seats};
use super::socket::Socket;
use crate::causes::causes;
use crate::http::HttpService;
use crate::http::source::Source;

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
    seats: Seats,
    socket: Option<PathBuf>,
}

impl Server {
    /// Begins to accept connections of clients, at most `connections_max` at a time. On `PROBES_MAX` more
    /// only questions after the node's health are answered. Yet more wait in the system's backlog.
    pub(crate) fn start(
        listener: BoundListener,
        http: HttpService,
        connections_max: usize,
        entrance: Entrance,
    ) -> Self {
        let seats = Seats::new(http.service().clone(), connections_max);
        Self::admit(listener, http, seats, entrance)
    }

    /// Begins to accept connections for nothing but health checks and metrics, at most `PROBES_MAX` at a
    /// time. They are counted by themselves, so that clients cannot take them away.
    pub(crate) fn start_probes(listener: BoundListener, http: HttpService) -> Self {
        let seats = Seats::only_probes(http.service().clone());
        Self::admit(listener, http, seats, Entrance::default())
    }

    fn admit(listener: BoundListener, http: HttpService, seats: Seats, entrance: Entrance) -> Self {
        let [stop, kill] = [(); 2].map(|()| CancellationToken::new());
        let admission = Admission::new(http, seats.clone(), entrance, stop.clone());
        let accept = Accept {
            admission: Arc::new(admission),
            stop: stop.clone(),
            kill: kill.clone(),
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
            seats,
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
                warn!(left = self.seats.taken(), "some connections did not finish in time");
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

struct Accept {
    admission: Arc<Admission>,
    stop: CancellationToken,
    kill: CancellationToken,
    open: JoinSet<()>,
}

impl Accept {
    /// Accepts connections until the server stops, and then waits for those that are open.
    async fn run<L: AxumListener<Addr: Address, Io: Socket + Sync>>(mut self, mut listener: L) {
        loop {
            // axum's listeners try again when the system refuses a connection, for lack of file descriptors
            // say: after a moment, or when a connection has ended.
            let accepted = async {
                let place = self.admission.wait().await;
                (place, listener.accept().await)
            };
            tokio::select! {
                () = self.stop.cancelled() => break,
                Some(_ended) = self.open.join_next() => {}
                (Some(place), (stream, address)) = accepted => self.admit(place, stream, address.source()),
            }
        }
        drop(listener);
        let all = async { while self.open.join_next().await.is_some() {} };
        if self.kill.run_until_cancelled(all).await.is_none() {
            self.open.shutdown().await;
        }
    }

    /// Serves a connection, if there is a seat for it.
    fn admit<S: AsyncRead + AsyncWrite + Socket + Unpin + Send + Sync + 'static>(
        &mut self,
        place: Place,
        stream: S,
        source: Source,
    ) {
        if self.admission.asks_first() {
            self.open
                .spawn(Arc::clone(&self.admission).enter(place, stream, source));
        } else if let Some(seat) = self.admission.seat(place, source) {
            // Not in a block of its own, which would keep room for the connection twice.
            self.open.spawn(self.admission.serve(stream, seat));
        }
    }
}
