//! Handshakes with clients: how one ends is counted, and what a client has done wrong is logged seldom.

use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::time::Duration;

use rustls::{AlertDescription, Error};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tracing::{debug, warn};

use super::certificate::client_name;
use super::current::Tls;
use crate::causes::causes;
use crate::net::connection::{PROBE_HEAD_WITHIN, linger};
use crate::net::socket::Socket;
use crate::telemetry::{metrics, seldom};

/// How much may wait in a connection's own buffer for the system to take it, besides what the system holds. A
/// write must make headway within its time, and this is the least that counts as headway.
const BUFFER_BYTES_MAX: usize = 16 << 10;
/// What a client gets that speaks HTTP where TLS is spoken.
const SPEAK_TLS: &[u8] = b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain\r\ncontent-length: 40\r\n\
    connection: close\r\n\r\nThis address speaks TLS: ask by https.\r\n";

/// Why a handshake came to nothing.
#[derive(Debug, thiserror::Error)]
enum HandshakeFault {
    #[error("the client speaks HTTP without TLS")]
    PlainHttp,
    #[error("it was not done in time")]
    Late,
    #[error("the client has gone")]
    Closed(#[source] io::Error),
    #[error("the client's certificate is missing, or is not accepted")]
    Certificate(#[source] io::Error),
    #[error("the client does not trust this node's certificate")]
    Distrusted(#[source] io::Error),
    #[error("it failed")]
    Failed(#[source] io::Error),
}

impl HandshakeFault {
    fn of(error: io::Error) -> Self {
        let cause = error.get_ref().and_then(|cause| cause.downcast_ref::<Error>());
        match cause {
            Some(Error::NoCertificatesPresented | Error::InvalidCertificate(_)) => Self::Certificate(error),
            Some(Error::AlertReceived(alert)) if distrusts(*alert) => Self::Distrusted(error),
            Some(_) => Self::Failed(error),
            None => match error.kind() {
                ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => {
                    Self::Closed(error)
                }
                _ => Self::Failed(error),
            },
        }
    }

    /// Its name in metrics.
    const fn label(&self) -> &'static str {
        match self {
            Self::PlainHttp => "plain_http",
            Self::Late => "late",
            Self::Closed(_) => "closed",
            Self::Certificate(_) => "client_certificate",
            Self::Distrusted(_) => "distrusted",
            Self::Failed(_) => "failed",
        }
    }

    fn tell(&self) {
        match self {
            // What somebody must put right.
            Self::Certificate(_) | Self::Distrusted(_) => seldom(self.label(), |left_out| {
                warn!(error = %causes(self), left_out, "a TLS handshake failed");
            }),
            _ => debug!(error = %causes(self), "a TLS handshake failed"),
        }
    }
}

/// Whether a client says by that alert that a certificate is not to be trusted.
const fn distrusts(alert: AlertDescription) -> bool {
    use AlertDescription as Alert;
    matches!(
        alert,
        Alert::BadCertificate
            | Alert::UnsupportedCertificate
            | Alert::CertificateRevoked
            | Alert::CertificateExpired
            | Alert::CertificateUnknown
            | Alert::UnknownCA
    )
}

/// Shakes hands with a client. Gives the stream and the name in the client's certificate, if it has shown one.
pub(in crate::net) async fn accept<S>(
    tls: &Tls,
    stream: S,
    within: Duration,
) -> Option<(TlsStream<S>, Option<Arc<str>>)>
where
    S: AsyncRead + AsyncWrite + Socket + Unpin + Sync,
{
    let shaken = timeout(within, shake(tls, stream)).await;
    match shaken.unwrap_or(Err(HandshakeFault::Late)) {
        Ok(stream) => {
            metrics::tls_handshake("ok");
            let (_, connection) = stream.get_ref();
            let shown = connection.peer_certificates().and_then(<[_]>::first);
            let name = shown.and_then(|shown| client_name(shown, tls.settings().client_principal));
            Some((stream, name))
        }
        Err(fault) => {
            metrics::tls_handshake(fault.label());
            fault.tell();
            None
        }
    }
}

async fn shake<S>(tls: &Tls, mut stream: S) -> Result<TlsStream<S>, HandshakeFault>
where
    S: AsyncRead + AsyncWrite + Socket + Unpin + Sync,
{
    let mut first = [0];
    let shown = stream.first_bytes(&mut first).await;
    shown.map_err(HandshakeFault::Closed)?;
    // Each method of HTTP begins with a letter, and no handshake does.
    if first.first().is_some_and(u8::is_ascii_alphabetic) {
        if stream.write_all(SPEAK_TLS).await.is_ok() && stream.shutdown().await.is_ok() {
            linger(stream, PROBE_HEAD_WITHIN).await;
        }
        return Err(HandshakeFault::PlainHttp);
    }
    let acceptor = TlsAcceptor::from(tls.config());
    let accepted = acceptor.accept_with(stream, |connection| {
        connection.set_buffer_limit(Some(BUFFER_BYTES_MAX));
    });
    accepted.await.map_err(HandshakeFault::of)
}

impl<S: Socket + Sync> Socket for TlsStream<S> {
    /// The system has only what is encrypted.
    async fn first_bytes(&self, _room: &mut [u8]) -> io::Result<usize> {
        Ok(0)
    }

    fn ask_after(&self) -> io::Result<()> {
        self.get_ref().0.ask_after()
    }

    fn is_gone(&self) -> bool {
        self.get_ref().0.is_gone()
    }
}
