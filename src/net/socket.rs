//! What a socket knows of its client: what it has sent first, and whether one that has closed its half waits or
//! has gone.

use std::io;
use std::time::Duration;

use futures::FutureExt as _;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{Interest, Ready};
use tokio::net::{TcpStream, UnixStream};

/// After how long, and then how often, the system asks whether a silent client is still there. Two questions
/// without an answer are the end. The system of a client that has gone answers by a reset, once it has
/// forgotten the connection: Linux does after 60 s.
const ASKED_AFTER: Duration = Duration::from_secs(10);
const ASKS_UNANSWERED_MAX: u32 = 2;

/// A socket that can tell what its other end does.
pub(super) trait Socket {
    /// Waits for the first bytes, and shows as many as are there and have room, without taking them. Shows none
    /// where the system cannot.
    fn first_bytes(&self, room: &mut [u8]) -> impl Future<Output = io::Result<usize>> + Send;

    /// Lets the system ask from now on whether the other end is there.
    fn ask_after(&self) -> io::Result<()>;

    /// Whether the other end has gone, as far as the system knows. That it has closed its half does not
    /// count.
    fn is_gone(&self) -> bool;
}

impl Socket for TcpStream {
    fn first_bytes(&self, room: &mut [u8]) -> impl Future<Output = io::Result<usize>> + Send {
        self.peek(room)
    }

    fn ask_after(&self) -> io::Result<()> {
        let asks = TcpKeepalive::new()
            .with_time(ASKED_AFTER)
            .with_interval(ASKED_AFTER)
            .with_retries(ASKS_UNANSWERED_MAX);
        SockRef::from(self).set_tcp_keepalive(&asks)
    }

    fn is_gone(&self) -> bool {
        says_closed(self.ready(Interest::WRITABLE))
    }
}

impl Socket for UnixStream {
    async fn first_bytes(&self, _room: &mut [u8]) -> io::Result<usize> {
        Ok(0)
    }

    fn ask_after(&self) -> io::Result<()> {
        // The system tells at once.
        Ok(())
    }

    fn is_gone(&self) -> bool {
        says_closed(self.ready(Interest::WRITABLE))
    }
}

/// Whether a socket reports that it can never be written to again.
fn says_closed(ready: impl Future<Output = io::Result<Ready>>) -> bool {
    ready
        .now_or_never()
        .is_some_and(|ready| ready.is_ok_and(Ready::is_write_closed))
}

/// Of a pipe in memory nothing is known.
#[cfg(test)]
impl Socket for tokio::io::DuplexStream {
    async fn first_bytes(&self, _room: &mut [u8]) -> io::Result<usize> {
        Ok(0)
    }

    fn ask_after(&self) -> io::Result<()> {
        Ok(())
    }

    fn is_gone(&self) -> bool {
        false
    }
}
