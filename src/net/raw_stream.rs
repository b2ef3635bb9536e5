//! Streams that may be open, and silent, for hours: they are written without hyper, which keeps two buffers
//! of 8 KiB for each connection as long as it lasts.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::SystemTime;

use axum::body::{Body, HttpBody as _};
use axum::response::Response;
use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use http::HeaderValue;
use http::header::{CONNECTION, DATE, TRANSFER_ENCODING};
use http::response::Parts;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

use super::exchange::{PROBE, PROBE_AGAIN_AFTER, PROBE_EVERY};
use crate::http::RawStream;

/// How many events are given to the system at once, at most.
const FRAMES_AT_ONCE: usize = 16;
/// How many bytes of ignored input are read at once.
const IGNORED_BYTES: usize = 512;
const LINE_END: Bytes = Bytes::from_static(b"\r\n");
/// The end of a chunked body (RFC 9112, section 7.1).
const LAST_CHUNK: Bytes = Bytes::from_static(b"0\r\n\r\n");

/// Writes a response to a request of HTTP/1.1, with its body as it comes, until the body ends or the client
/// goes away. The body is in chunks, unless its end is that of the connection. The connection ends with it, as its headers say: the node ignores what else the
/// client sends (RFC 9112, section 9.6). A half-closed client may wait for a reply: the node probes whether
/// it is still there.
///
/// # Errors
/// The connection's, or the body's, whose last chunk is then missing.
pub(super) async fn write<S>(mut connection: S, response: Response) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (parts, mut body) = response.into_parts();
    let raw = parts.extensions.get::<RawStream>().copied();
    let framing = match raw {
        Some(RawStream::StandingUnchunked) => Framing::None,
        Some(RawStream::Standing | RawStream::Reply) | None => Framing::Chunks,
    };
    let stands = matches!(raw, Some(RawStream::Standing | RawStream::StandingUnchunked));
    let mut waiting = VecDeque::from([head(parts, framing)]);
    // Made when the client closes its half.
    let mut probe_at: Option<Pin<Box<Sleep>>> = None;
    loop {
        let ended = tokio::select! {
            biased;
            ended = poll_fn(|cx| poll_frames(&mut body, framing, &mut waiting, cx)) => ended,
            closed = poll_fn(|cx| poll_half_closed(&mut connection, cx)), if probe_at.is_none() => {
                closed?;
                if stands || is_gone(&mut connection).await {
                    return Ok(());
                }
                probe_at = Some(Box::pin(sleep(PROBE_EVERY)));
                continue;
            }
            () = poll_fn(|cx| poll_probe(&mut probe_at, cx)) => {
                waiting.extend(chunk(PROBE));
                Ok(false)
            }
        };
        match write_all(&mut connection, &mut waiting).await {
            // It had closed both its halves.
            Err(_) if probe_at.is_some() => return Ok(()),
            written => written?,
        }
        if ended? {
            return connection.shutdown().await;
        }
        // An idle stream keeps no room for what it wrote.
        waiting = VecDeque::new();
    }
}

/// How the end of a body is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Framing {
    /// By a last chunk (RFC 9112, section 7.1).
    Chunks,
    /// By the end of the connection (RFC 9112, section 6.3).
    None,
}

fn head(mut parts: Parts, framing: Framing) -> Bytes {
    let now = httpdate::fmt_http_date(SystemTime::now());
    if let Ok(now) = HeaderValue::try_from(now) {
        parts.headers.insert(DATE, now);
    }
    parts
        .headers
        .insert(CONNECTION, HeaderValue::from_static("close"));
    if framing == Framing::Chunks {
        let chunked = HeaderValue::from_static("chunked");
        parts.headers.insert(TRANSFER_ENCODING, chunked);
    }
    let mut head = BytesMut::new();
    let reason = parts.status.canonical_reason().unwrap_or_default();
    head.put_slice(format!("HTTP/1.1 {} {reason}\r\n", parts.status.as_str()).as_bytes());
    for (name, value) in &parts.headers {
        for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
            head.put_slice(part);
        }
    }
    head.put_slice(b"\r\n");
    head.freeze()
}

/// Takes what the body has ready. Ready when there is something to write; true when it is the
/// last.
fn poll_frames(
    body: &mut Body,
    framing: Framing,
    waiting: &mut VecDeque<Bytes>,
    cx: &mut Context<'_>,
) -> Poll<io::Result<bool>> {
    for _ in 0..FRAMES_AT_ONCE {
        match Pin::new(&mut *body).poll_frame(cx) {
            Poll::Pending if waiting.is_empty() => return Poll::Pending,
            Poll::Pending => break,
            Poll::Ready(None) => {
                if framing == Framing::Chunks {
                    waiting.push_back(LAST_CHUNK);
                }
                return Poll::Ready(Ok(true));
            }
            Poll::Ready(Some(frame)) => {
                // Trailers are not sent, and an empty chunk would be the last.
                let data = frame.map_err(io::Error::other)?.into_data();
                match data.ok().filter(|data| !data.is_empty()) {
                    Some(data) if framing == Framing::Chunks => waiting.extend(chunk(data)),
                    data => waiting.extend(data),
                }
            }
        }
    }
    Poll::Ready(Ok(false))
}

/// A chunk of a body, which must not be empty.
fn chunk(data: Bytes) -> [Bytes; 3] {
    [format!("{:x}\r\n", data.len()).into(), data, LINE_END]
}

/// Whether a client that has closed one half of its connection has closed the other too: its system then
/// answers the first probe with a reset, and the second fails. Events wait meanwhile: they would be lost.
async fn is_gone(connection: &mut (impl AsyncWrite + Unpin)) -> bool {
    if write_all(connection, &mut chunk(PROBE).into()).await.is_err() {
        return true;
    }
    sleep(PROBE_AGAIN_AFTER).await;
    write_all(connection, &mut chunk(PROBE).into()).await.is_err()
}

/// Ready when a client that has closed its half is to be probed again.
fn poll_probe(probe_at: &mut Option<Pin<Box<Sleep>>>, cx: &mut Context<'_>) -> Poll<()> {
    let Some(at) = probe_at else { return Poll::Pending };
    ready!(at.as_mut().poll(cx));
    at.as_mut().reset(Instant::now() + PROBE_EVERY);
    Poll::Ready(())
}

/// Ready when the client sends no more.
fn poll_half_closed(connection: &mut (impl AsyncRead + Unpin), cx: &mut Context<'_>) -> Poll<io::Result<()>> {
    loop {
        let mut ignored = [0; IGNORED_BYTES];
        let mut ignored = ReadBuf::new(&mut ignored);
        ready!(Pin::new(&mut *connection).poll_read(cx, &mut ignored))?;
        if ignored.filled().is_empty() {
            return Poll::Ready(Ok(()));
        }
    }
}

/// Writes all that waits. Each written piece is dropped at once, because it counts against the stream's
/// bound.
async fn write_all(
    connection: &mut (impl AsyncWrite + Unpin),
    waiting: &mut VecDeque<Bytes>,
) -> io::Result<()> {
    while !waiting.is_empty() {
        let slices: Vec<_> = waiting.iter().map(|piece| IoSlice::new(piece)).collect();
        let mut written = connection.write_vectored(&slices).await?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        while let Some(piece) = waiting.front_mut() {
            if written < piece.len() {
                piece.advance(written);
                break;
            }
            written -= piece.len();
            waiting.pop_front();
        }
    }
    connection.flush().await
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::Arc;

    use futures::{StreamExt as _, stream};
    use http::header::CONTENT_TYPE;
    use tokio::io::{AsyncReadExt as _, DuplexStream, duplex};
    use tokio::task::JoinHandle;
    use tokio_util::task::TaskTracker;

    use super::*;
    use crate::http::response::as_raw_stream;

    /// Writes a response of that body, and gives the client's end of the connection.
    fn written(room: usize, body: Body) -> (DuplexStream, JoinHandle<io::Result<()>>) {
        written_as(RawStream::Reply, room, body)
    }

    fn written_as(raw: RawStream, room: usize, body: Body) -> (DuplexStream, JoinHandle<io::Result<()>>) {
        let (ours, theirs) = duplex(room);
        let mut response = as_raw_stream(Response::new(body), raw);
        let kind = HeaderValue::from_static("text/event-stream");
        response.headers_mut().insert(CONTENT_TYPE, kind);
        (theirs, TaskTracker::new().spawn(write(ours, response)))
    }

    async fn read(client: &mut DuplexStream) -> String {
        let mut text = String::new();
        client.read_to_string(&mut text).await.unwrap();
        text
    }

    fn events<T: Into<Bytes>>(events: impl IntoIterator<Item = T>) -> Vec<Result<Bytes, Infallible>> {
        events.into_iter().map(|event| Ok(event.into())).collect()
    }

    #[tokio::test]
    async fn a_body_is_written_in_chunks_and_its_end_is_said() {
        let long = "x".repeat(20);
        let body = Body::from_stream(stream::iter(events(["one\n", "", &long].map(str::to_owned))));
        // The client has room for little at a time.
        let (mut client, write) = written(7, body);
        let text = read(&mut client).await;
        let (head, chunks) = text.split_once("\r\n\r\n").unwrap();
        assert_eq!(chunks, format!("4\r\none\n\r\n14\r\n{long}\r\n0\r\n\r\n"));
        let (status, headers) = head.split_once("\r\n").unwrap();
        assert_eq!(status, "HTTP/1.1 200 OK");
        let mut headers: Vec<_> = headers.lines().collect();
        headers.sort_unstable();
        let date = headers.remove(2).strip_prefix("date: ").unwrap();
        assert!(httpdate::parse_http_date(date).is_ok(), "{date}");
        let expected = [
            "connection: close",
            "content-type: text/event-stream",
            "transfer-encoding: chunked",
        ];
        assert_eq!(headers, expected);
        write.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_body_without_chunks_ends_with_its_connection() {
        let body = Body::from_stream(stream::iter(events(["one\n", "", "two\n"])));
        let (mut client, write) = written_as(RawStream::StandingUnchunked, 7, body);
        let text = read(&mut client).await;
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert_eq!(body, "one\ntwo\n");
        assert!(
            head.contains("connection: close") && !head.contains("transfer-encoding"),
            "{head}"
        );
        write.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn what_breaks_off_has_no_last_chunk() {
        let broken = [Ok(Bytes::from("one")), Err(io::Error::other("broken"))];
        let (mut client, write) = written(1024, Body::from_stream(stream::iter(broken)));
        let text = read(&mut client).await;
        assert!(text.ends_with("3\r\none\r\n"), "{text}");
        write.await.unwrap().unwrap_err();
    }

    #[tokio::test]
    async fn a_client_that_hangs_up_ends_a_silent_stream_and_one_that_talks_does_not() {
        let (event, body) = tokio::sync::mpsc::channel(1);
        let body = stream::unfold(body, async |mut body| Some((body.recv().await?, body)));
        let (mut client, write) = written(1024, Body::from_stream(body));
        client.write_all(&[b'x'; 100 * IGNORED_BYTES]).await.unwrap();
        event.send(Ok::<_, Infallible>("told")).await.unwrap();
        let mut text = String::new();
        while !text.ends_with("4\r\ntold\r\n") {
            let mut some = [0; 64];
            let count = client.read(&mut some).await.unwrap();
            assert!(count > 0, "{text}");
            text.push_str(str::from_utf8(&some[..count]).unwrap());
        }
        assert!(!write.is_finished());
        drop(client);
        write.await.unwrap().unwrap();
    }

    /// An event that counts those like it.
    struct CountedEvent {
        _one: Arc<()>,
    }

    impl AsRef<[u8]> for CountedEvent {
        fn as_ref(&self) -> &[u8] {
            &[b'x'; 100]
        }
    }

    #[tokio::test]
    async fn an_event_is_let_go_of_when_it_is_written_and_not_before() {
        let count = Arc::new(());
        let counted = (0..3).map(|_| {
            Bytes::from_owner(CountedEvent {
                _one: Arc::clone(&count),
            })
        });
        let waiting = stream::iter(events(counted)).chain(stream::pending());
        let (mut client, _write) = written(64, Body::from_stream(waiting));
        let mut text = Vec::new();
        let (mut left, mut ends) = (vec![Arc::strong_count(&count) - 1], 0);
        while ends < 4 {
            let mut some = [0; 64];
            let read = client.read(&mut some).await.unwrap();
            text.extend_from_slice(&some[..read]);
            tokio::task::yield_now().await;
            left.push(Arc::strong_count(&count) - 1);
            // The head's, and each event's.
            ends = text.windows(4).filter(|end| end == b"\r\n\r\n").count()
                + text.windows(3).filter(|end| end == b"x\r\n").count();
        }
        assert_eq!((left.first(), left.last()), (Some(&3), Some(&0)), "{left:?}");
        assert!(left.is_sorted_by(|before, after| before >= after), "{left:?}");
        assert!(left.contains(&2) && left.contains(&1), "{left:?}");
    }
}
