//! The listener: accepts connections within a bound, and lets them finish when the node stops.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use axum::serve::{Listener as AxumListener, ListenerExt as _};
use futures::FutureExt as _;
use listenfd::ListenFd;
use tokio::net::unix::SocketAddr as UnixAddress;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;
use tracing::{Instrument as _, debug, warn};

use super::connection::Use;
use super::drain::GiveUp;
use super::socket::Socket;
use super::{AppError, connection};
use crate::causes::causes;
use crate::config::Settings;
use crate::engine::shares::{PROBES_MAX, Resource, Share};
use crate::http::HttpService;
use crate::http::source::{Connected, ConnectionsFull, Source};

/// The scheme of a Unix socket's address.
const UNIX: &str = "unix:";

/// A bound listener.
#[derive(Debug)]
pub(super) struct BoundListener {
    kind: ListenerKind,
    address: String,
}

#[derive(Debug)]
enum ListenerKind {
    Tcp(TcpListener),
    Unix(UnixListener, PathBuf),
}

impl BoundListener {
    /// Listens on the socket that systemd passed, or else where the settings say.
    pub(super) async fn bind(settings: &Settings) -> Result<Self, AppError> {
        if let Some(listener) = Self::passed()? {
            return Ok(listener);
        }
        match settings.host.strip_prefix(UNIX) {
            Some(path) => Self::bind_unix(path.into()),
            None => Self::bind_tcp(&settings.host, settings.port).await,
        }
    }

    /// The first socket of a socket unit. It stays open while the node is started again: connections wait
    /// meanwhile.
    fn passed() -> Result<Option<Self>, AppError> {
        let failed = |source| AppError::Listen {
            address: "the socket that was passed (LISTEN_FDS)".to_owned(),
            source,
        };
        let socket = ListenFd::from_env().take_tcp_listener(0).map_err(failed)?;
        let Some(socket) = socket else { return Ok(None) };
        socket.set_nonblocking(true).map_err(failed)?;
        let listener = TcpListener::from_std(socket).map_err(failed)?;
        let address = format!("http://{}", listener.local_addr().map_err(failed)?);
        Ok(Some(Self {
            kind: ListenerKind::Tcp(listener),
            address,
        }))
    }

    async fn bind_tcp(host: &str, port: u16) -> Result<Self, AppError> {
        let failed = |source| AppError::Listen {
            address: format!("HOST={host} PORT={port}"),
            source,
        };
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let listener = TcpListener::bind((bare, port)).await.map_err(failed)?;
        let address = format!("http://{}", listener.local_addr().map_err(failed)?);
        Ok(Self {
            kind: ListenerKind::Tcp(listener),
            address,
        })
    }

    fn bind_unix(path: PathBuf) -> Result<Self, AppError> {
        let failed = |source| AppError::Listen {
            address: format!("HOST={UNIX}{}", path.display()),
            source,
        };
        remove_stale(&path).map_err(failed)?;
        let listener = UnixListener::bind(&path).map_err(failed)?;
        let address = format!("{UNIX}{}", path.display());
        Ok(Self {
            kind: ListenerKind::Unix(listener, path),
            address,
        })
    }

    /// Where it listens.
    pub(super) fn address(&self) -> &str {
        &self.address
    }
}

/// A socket that a crashed process left behind is removed; one that somebody listens on is not.
fn remove_stale(path: &std::path::Path) -> io::Result<()> {
    if std::os::unix::net::UnixStream::connect(path).is_ok() {
        return Err(io::Error::from(io::ErrorKind::AddrInUse));
    }
    match std::fs::symlink_metadata(path) {
        Ok(found) if std::os::unix::fs::FileTypeExt::is_socket(&found.file_type()) => {
            std::fs::remove_file(path)
        }
        _ => Ok(()),
    }
}

/// Connections that are at a request still. They go on until this is dropped.
#[derive(Debug)]
#[must_use]
pub(super) struct UnfinishedConnections {
    _kill: DropGuard,
}

/// A listener at work.
#[derive(Debug)]
pub(super) struct RunningListener {
    address: String,
    stop: DropGuard,
    /// Drops the connections, with the requests they are at.
    kill: DropGuard,
    tasks: TaskTracker,
    socket: Option<PathBuf>,
}

impl RunningListener {
    /// Begins to accept connections, at most `connections_max` at a time. On [`PROBES_MAX`] more only
    /// questions after the node's health are answered. Yet more wait in the system's backlog.
    pub(super) fn start(listener: BoundListener, http: HttpService, connections_max: usize) -> Self {
        let [stop, kill] = [(); 2].map(|()| CancellationToken::new());
        let tasks = TaskTracker::new();
        let accept = Accept {
            http,
            stop: stop.clone(),
            kill: kill.clone(),
            tasks: tasks.clone(),
            places: Arc::new(Semaphore::new(connections_max)),
            spare: Arc::new(Semaphore::new(PROBES_MAX)),
        };
        let socket = match listener.kind {
            ListenerKind::Tcp(tcp) => {
                // Without it the small writes of a stream wait for the client's delayed acknowledgements, 40
                // ms each.
                let tcp = tcp.tap_io(|stream| {
                    if let Err(error) = stream.set_nodelay(true) {
                        debug!(error = %causes(&error), "could not set TCP_NODELAY");
                    }
                });
                drop(tasks.spawn(accept.each(tcp).in_current_span()));
                None
            }
            ListenerKind::Unix(unix, path) => {
                drop(tasks.spawn(accept.each(unix).in_current_span()));
                Some(path)
            }
        };
        Self {
            address: listener.address,
            // Without it a listener that nobody holds would go on.
            stop: stop.drop_guard(),
            kill: kill.drop_guard(),
            tasks,
            socket,
        }
    }

    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// Stops accepting, lets each connection finish the request it is at, and waits for that until it is time
    /// to give up. Returns those that had not finished by then.
    pub(super) async fn stop(self, give_up: &GiveUp) -> Option<UnfinishedConnections> {
        // First of all: the next node may listen there while this one waits for its calls, and that file is
        // not ours.
        if let Some(path) = self.socket
            && let Err(error) = std::fs::remove_file(&path)
        {
            debug!(error = %causes(&error), "could not remove the socket's file");
        }
        drop(self.stop);
        self.tasks.close();
        tokio::select! {
            () = self.tasks.wait() => None,
            () = give_up.reached() => {
                warn!(left = self.tasks.len(), "some connections did not finish in time");
                Some(UnfinishedConnections { _kill: self.kill })
            }
        }
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
    http: HttpService,
    stop: CancellationToken,
    kill: CancellationToken,
    tasks: TaskTracker,
    places: Arc<Semaphore>,
    /// Places for those who ask how the node is.
    spare: Arc<Semaphore>,
}

/// What a connection holds while it is open.
struct Seat {
    purpose: Use,
    _place: OwnedSemaphorePermit,
    /// Its part in the share of its peer; none of trusted proxies.
    _share: Option<Share>,
}

impl Accept {
    /// axum's listeners wait a moment and try again when the system refuses a connection, for lack of file
    /// descriptors say.
    async fn each<L: AxumListener<Addr: Address, Io: Socket>>(self, mut listener: L) {
        loop {
            let accepted = async {
                // A place for the next connection. Its kind is known when it has come.
                let place = self.any_place().await;
                (place, listener.accept().await)
            };
            let (place, (stream, address)) = tokio::select! {
                () = self.stop.cancelled() => return,
                accepted = accepted => accepted,
            };
            let Some((seat, connected)) = self.seat(place, address.source()) else {
                debug!("a connection was closed at once: its client has too many");
                continue;
            };
            // One counter to count up for each request, and nothing to copy.
            let asked = Arc::new((self.http.clone(), connected));
            let answer = move |request| {
                let asked = Arc::clone(&asked);
                async move { asked.0.answer(request, &asked.1).await }
            };
            let served = connection::serve(stream, seat.purpose, answer, self.stop.clone());
            // Not in a block of its own, which would keep room for the connection twice.
            let served = self.kill.clone().run_until_cancelled_owned(served);
            drop(self.tasks.spawn(served.map(move |_| drop(seat))));
        }
    }

    async fn any_place(&self) -> Option<OwnedSemaphorePermit> {
        tokio::select! {
            biased;
            place = Arc::clone(&self.places).acquire_owned() => place.ok(),
            spare = Arc::clone(&self.spare).acquire_owned() => spare.ok(),
        }
    }

    /// What a connection from there gets: a place of its own if there is one and its peer has not too many,
    /// else one of those that are kept back, of which no peer gets more than half. `None` if it gets none.
    fn seat(&self, place: Option<OwnedSemaphorePermit>, source: Source) -> Option<(Seat, Connected)> {
        drop(place);
        let trusted = self.http.service().trusts(source);
        let uses = self.http.service().uses(source);
        let take = |resource| match trusted {
            true => Ok(None),
            false => uses.take(resource, 1).map(Some),
        };
        let full = match (
            take(Resource::Connections),
            Arc::clone(&self.places).try_acquire_owned(),
        ) {
            (Ok(share), Ok(place)) => {
                let seat = Seat {
                    purpose: Use::Any,
                    _place: place,
                    _share: share,
                };
                let full = None;
                return Some((seat, Connected { source, uses, full }));
            }
            (Ok(_), Err(_)) => {
                ConnectionsFull::Node("the node's limit of connections is reached (http.connections_max)")
            }
            (Err(words), _) => ConnectionsFull::Peer(words),
        };
        let seat = Seat {
            purpose: Use::Probes,
            _place: Arc::clone(&self.spare).try_acquire_owned().ok()?,
            _share: take(Resource::Probes).ok()?,
        };
        let full = Some(full);
        Some((seat, Connected { source, uses, full }))
    }
}
