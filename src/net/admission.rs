//! What a connection goes through before its first request: a seat, the header of the PROXY protocol, TLS.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::connection::{self, FIRST_WITHIN, PROBE_HEAD_WITHIN, Use};
use super::proxy_header::{self, BEGINNING_BYTES, HeaderFault, Proxied};
use super::seats::{Place, Seat, Seats};
use super::socket::Socket;
use super::tls::{self, Tls};
use crate::causes::causes;
use crate::config::HttpSettings;
use crate::http::HttpService;
use crate::http::source::{Connected, Source};
use crate::telemetry::{metrics, seldom};

/// How long a trusted proxy may take to say whose connection it is, and how long others may take to send the
/// first bytes that tell whether they claim to be one.
const HEADER_WITHIN: Duration = Duration::from_secs(10);
/// How long a TLS handshake may take.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(10);

/// What stands before the first request of each connection of a listener.
#[derive(Debug, Clone, Default)]
pub(crate) struct Entrance {
    /// Whether trusted proxies say whose connection it is.
    proxy_protocol: bool,
    tls: Option<Tls>,
}

impl Entrance {
    /// That of clients.
    pub(crate) const fn new(settings: &HttpSettings, tls: Option<Tls>) -> Self {
        Self {
            proxy_protocol: settings.proxy_protocol,
            tls,
        }
    }
}

/// Admits the connections of a listener.
#[derive(Debug)]
pub(super) struct Admission {
    http: HttpService,
    seats: Seats,
    entrance: Entrance,
    stop: CancellationToken,
}

impl Admission {
    pub(super) const fn new(
        http: HttpService,
        seats: Seats,
        entrance: Entrance,
        stop: CancellationToken,
    ) -> Self {
        Self {
            http,
            seats,
            entrance,
            stop,
        }
    }

    /// Waits until a connection may come.
    pub(super) async fn wait(&self) -> Option<Place> {
        self.seats.wait().await
    }

    /// Whether a connection is asked anything before its first request.
    pub(super) const fn asks_first(&self) -> bool {
        self.entrance.proxy_protocol || self.entrance.tls.is_some()
    }

    /// The seat of a connection from there, if there is one.
    pub(super) fn seat(&self, place: Place, source: Source) -> Option<(Seat, Connected)> {
        let seat = self.seats.take(place, source);
        if seat.is_none() {
            debug!("a connection was closed at once: its client has too many");
        }
        seat
    }

    /// Serves a connection until it is closed.
    pub(super) fn serve<S>(
        &self,
        stream: S,
        (seat, connected): (Seat, Connected),
    ) -> impl Future<Output = ()> + Send + use<S>
    where
        S: AsyncRead + AsyncWrite + Socket + Unpin + Send + 'static,
    {
        // One counter to count up for each request, and nothing to copy.
        let asked = Arc::new((self.http.clone(), connected));
        let answer = move |request| {
            let asked = Arc::clone(&asked);
            async move { asked.0.answer(request, &asked.1).await }
        };
        let (idle, stop) = (self.http.service().keep_alive(), self.stop.clone());
        connection::serve(stream, seat.purpose, idle, answer, stop).map(|()| drop(seat))
    }

    /// Asks a connection what is to be known before its first request, and serves it. A node that stops waits a
    /// second for what it asks.
    pub(super) async fn enter<S>(self: Arc<Self>, place: Place, stream: S, source: Source)
    where
        S: AsyncRead + AsyncWrite + Socket + Unpin + Send + Sync + 'static,
    {
        let stopping = async {
            self.stop.cancelled().await;
            sleep(FIRST_WITHIN).await;
        };
        // In boxes: what has been asked takes no room while the connection lasts.
        let serving = tokio::select! {
            serving = Box::pin(self.ask(place, stream, source)) => serving,
            () = stopping => None,
        };
        drop(self);
        if let Some(serving) = serving {
            serving.await;
        }
    }

    async fn ask<S>(&self, place: Place, mut stream: S, source: Source) -> Option<BoxFuture<'static, ()>>
    where
        S: AsyncRead + AsyncWrite + Socket + Unpin + Send + Sync + 'static,
    {
        let (seat, mut connected) = match self.entrance.proxy_protocol {
            true => self.seat_by_header(place, &mut stream, source).await?,
            false => self.seat(place, source)?,
        };
        let Some(tls) = &self.entrance.tls else {
            return Some(Box::pin(self.serve(stream, (seat, connected))));
        };
        let within = patience(seat.purpose, HANDSHAKE_WITHIN);
        let (stream, certificate) = tls::accept(tls, stream, within).await?;
        connected.certificate = certificate;
        Some(Box::pin(self.serve(stream, (seat, connected))))
    }

    /// The seat of a connection whose client a trusted proxy names. From others such a header is a lie.
    async fn seat_by_header<S>(
        &self,
        place: Place,
        stream: &mut S,
        source: Source,
    ) -> Option<(Seat, Connected)>
    where
        S: AsyncRead + Socket + Unpin + Sync,
    {
        if !self.seats.trusts(source) {
            let seat = self.seat(place, source)?;
            let within = patience(seat.0.purpose, HEADER_WITHIN);
            let honest = names_no_client(&self.seats, stream, source, within).await;
            return honest.then_some(seat);
        }
        // Until the header is there the connection counts for no client.
        let within = patience(self.seats.purpose_of(&place), HEADER_WITHIN);
        let source = match read_header(stream, source, within).await? {
            Proxied::Client(client) => Source::Address(client.to_canonical()),
            Proxied::Own => source,
        };
        self.seat(place, source)
    }
}

/// How long a connection of that purpose may take for what others may take so long for.
fn patience(purpose: Use, usual: Duration) -> Duration {
    match purpose {
        Use::Any => usual,
        Use::Probes => usual.min(PROBE_HEAD_WITHIN),
    }
}

/// Whose connection it is, as a trusted proxy says. `None` if it does not.
async fn read_header(
    stream: &mut (impl AsyncRead + Unpin),
    proxy: Source,
    within: Duration,
) -> Option<Proxied> {
    let fault = match timeout(within, proxy_header::read(stream)).await {
        Ok(Ok(proxied)) => {
            metrics::proxy_header(proxied.label());
            return Some(proxied);
        }
        Ok(Err(fault)) => fault,
        Err(_late) => HeaderFault::Late,
    };
    metrics::proxy_header(fault.label());
    // Balancers that only look whether somebody listens close what they have opened.
    if !matches!(fault, HeaderFault::Ended(_)) {
        seldom(fault.label(), |left_out| {
            warn!(
                from = %proxy.peer(),
                error = %causes(&fault),
                left_out,
                "a connection of a trusted proxy was closed: http.proxy_protocol asks for the header"
            );
        });
    }
    None
}

/// Whether a connection may go on that is no trusted proxy's: it must not name another client.
async fn names_no_client(
    seats: &Seats,
    stream: &(impl Socket + Sync),
    source: Source,
    within: Duration,
) -> bool {
    let mut room = [0; BEGINNING_BYTES];
    let Ok(Ok(shown)) = timeout(within, stream.first_bytes(&mut room)).await else {
        return false;
    };
    let named = proxy_header::is_beginning(room.get(..shown).unwrap_or_default());
    if named {
        metrics::proxy_header("untrusted");
        seats.note_spoofed(source);
        seldom("untrusted PROXY header", |left_out| {
            warn!(
                from = %source.peer(),
                left_out,
                "a connection was closed: it begins with a header of the PROXY protocol, and http.trusted_proxies does not \
                 list it"
            );
        });
    }
    !named
}
