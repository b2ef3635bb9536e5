//! The listening socket: bound where the settings say, or passed by systemd.

use std::io;
use std::path::{Path, PathBuf};

use listenfd::ListenFd;
use tokio::net::{TcpListener, UnixListener};

use crate::config::{ListenAddress, Settings};

/// The scheme of a Unix socket's address.
const UNIX: &str = "unix:";

/// An address that cannot be listened on.
#[derive(Debug)]
pub(crate) struct ListenError {
    /// The settings that name the address.
    pub(crate) address: String,
    pub(crate) source: io::Error,
}

/// A bound listener.
#[derive(Debug)]
pub(crate) struct BoundListener {
    pub(super) kind: ListenerKind,
    pub(super) address: String,
}

#[derive(Debug)]
pub(super) enum ListenerKind {
    Tcp(TcpListener),
    Unix(UnixListener, PathBuf),
}

impl BoundListener {
    /// Listens on the socket that systemd passed, or else where the settings say.
    pub(crate) async fn bind(settings: &Settings) -> Result<Self, ListenError> {
        let scheme = Scheme::of(settings);
        if let Some(listener) = Self::passed(scheme)? {
            return Ok(listener);
        }
        let (host, port) = (&settings.host, settings.port);
        match host.strip_prefix(UNIX) {
            Some(path) => Self::bind_unix(path.into(), format!("HOST={host}")),
            None => Self::bind_tcp(scheme, host, port, format!("HOST={host} PORT={port}")).await,
        }
    }

    /// Listens where health and metrics have an address of their own, if they have.
    pub(crate) async fn bind_probes(settings: &Settings) -> Result<Option<Self>, ListenError> {
        let text = &settings.http.probe_listen;
        let named = format!("http.probe_listen={text}");
        let bound = match ListenAddress::parse(text) {
            None => return Ok(None),
            Some(ListenAddress::Unix(path)) => Self::bind_unix(path.into(), named),
            Some(ListenAddress::Tcp(host, port)) => Self::bind_tcp(Scheme::Http, host, port, named).await,
        };
        bound.map(Some)
    }

    /// The first socket of a socket unit. It stays open while the node is started again: connections wait
    /// meanwhile.
    fn passed(scheme: Scheme) -> Result<Option<Self>, ListenError> {
        let failed = |source| ListenError {
            address: "the socket that was passed (LISTEN_FDS)".to_owned(),
            source,
        };
        let socket = ListenFd::from_env().take_tcp_listener(0).map_err(failed)?;
        let Some(socket) = socket else { return Ok(None) };
        socket.set_nonblocking(true).map_err(failed)?;
        let listener = TcpListener::from_std(socket).map_err(failed)?;
        let address = scheme.url(&listener).map_err(failed)?;
        Ok(Some(Self {
            kind: ListenerKind::Tcp(listener),
            address,
        }))
    }

    async fn bind_tcp(scheme: Scheme, host: &str, port: u16, named: String) -> Result<Self, ListenError> {
        let failed = |source| ListenError {
            address: named.clone(),
            source,
        };
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let listener = TcpListener::bind((bare, port)).await.map_err(failed)?;
        let address = scheme.url(&listener).map_err(failed)?;
        Ok(Self {
            kind: ListenerKind::Tcp(listener),
            address,
        })
    }

    fn bind_unix(path: PathBuf, named: String) -> Result<Self, ListenError> {
        let failed = |source| ListenError {
            address: named.clone(),
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
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Gives the address back: nothing is left of it, also no file of a Unix socket.
    pub(crate) fn release(self) {
        if let ListenerKind::Unix(listener, path) = self.kind {
            drop(listener);
            // It is this listener's: another one would not have let it be bound.
            std::fs::remove_file(path).ok();
        }
    }
}

/// What clients speak to a TCP listener.
#[derive(Debug, Clone, Copy)]
enum Scheme {
    Http,
    Https,
}

impl Scheme {
    const fn of(settings: &Settings) -> Self {
        match settings.tls.is_on() {
            true => Self::Https,
            false => Self::Http,
        }
    }

    /// Where that listener is reached.
    fn url(self, listener: &TcpListener) -> io::Result<String> {
        let address = listener.local_addr()?;
        Ok(match self {
            Self::Http => format!("http://{address}"),
            Self::Https => format!("https://{address}"),
        })
    }
}

/// A socket that a crashed process left behind is removed; one that somebody listens on is not.
fn remove_stale(path: &Path) -> io::Result<()> {
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
