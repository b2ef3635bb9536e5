//! A client of HTTP/1.1 that does just what a load needs, so that it takes less time than the server: requests are sent as
//! they were prepared, answers are read into one buffer, and only what is looked at is parsed.

use anyhow::{Context as _, ensure};
use memchr::memmem;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// More headers than any of the servers sends.
const HEADERS_MAX: usize = 32;
/// The longest answer that is read as a whole; the servers here send a few hundred bytes.
const ANSWER_BYTES_MAX: usize = 4 << 20;
const BUFFER_BYTES: usize = 8 << 10;

/// What a connection runs over: TCP, or TLS on it.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> Stream for S {}

/// A connection that is used again for each request.
#[derive(Debug)]
pub struct Connection<S = TcpStream> {
    stream: S,
    /// What was read; up to `at` it was used.
    raw: Vec<u8>,
    at: usize,
    /// The body of an answer that came in chunks, put together.
    body: Vec<u8>,
}

/// The head of an answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Head {
    /// The HTTP status.
    pub status: u16,
    /// `Mcp-Session-Id`
    pub session: Option<String>,
    /// Whether the body is a stream of events.
    pub is_events: bool,
    length: Option<usize>,
    chunked: bool,
}

/// An answer that has arrived as a whole.
#[derive(Debug)]
pub struct Answer<'a> {
    /// Its head.
    pub head: Head,
    /// Its body.
    pub body: &'a [u8],
}

/// One event of a stream.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Event {
    /// Its id, or nothing.
    pub id: String,
    /// Its type, or nothing.
    pub kind: String,
    /// Its data, without line breaks.
    pub data: String,
}

impl Event {
    /// Reads the lines of one event.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut event = Self::default();
        for line in text.lines() {
            let (name, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match name {
                "id" => value.clone_into(&mut event.id),
                "event" => value.clone_into(&mut event.kind),
                "data" => event.data.push_str(value),
                _ => {}
            }
        }
        event
    }
}

impl Answer<'_> {
    /// The JSON-RPC messages in it: one, or one for each event that carries data.
    ///
    /// # Errors
    /// When it is a stream and not text.
    pub fn messages(&self) -> anyhow::Result<Vec<String>> {
        let text = std::str::from_utf8(self.body)?;
        if !self.head.is_events {
            return Ok(vec![text.to_owned()]);
        }
        let events = text.split("\n\n").map(Event::parse);
        Ok(events
            .map(|event| event.data)
            .filter(|data| !data.is_empty())
            .collect())
    }

    /// The data of the last event that has some, or the body: where the response to a call is.
    #[must_use]
    pub fn response(&self) -> &[u8] {
        if !self.head.is_events {
            return self.body;
        }
        let Some(begin) = memmem::rfind(self.body, b"data: {") else {
            return &[];
        };
        let data = &self.body[begin + b"data: ".len()..];
        let end = memchr::memchr(b'\n', data).unwrap_or(data.len());
        &data[..end]
    }
}

impl Connection {
    /// Connects to a server on this machine.
    ///
    /// # Errors
    /// When nobody listens.
    pub async fn open(port: u16) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port)).await?;
        stream.set_nodelay(true)?;
        Ok(Self::over(stream))
    }

    /// Gives back memory that is not needed while nothing happens: thousands of these wait at once.
    #[must_use]
    pub fn idle(self) -> TcpStream {
        self.stream
    }
}

impl<S: Stream> Connection<S> {
    /// A connection over a stream that is open.
    #[must_use]
    pub const fn over(stream: S) -> Self {
        Self {
            stream,
            raw: Vec::new(),
            at: 0,
            body: Vec::new(),
        }
    }

    /// Sends a request, and reads the whole answer.
    ///
    /// # Errors
    /// When the connection breaks, or the answer is not HTTP.
    pub async fn exchange(&mut self, request: &[u8]) -> anyhow::Result<Answer<'_>> {
        self.stream.write_all(request).await?;
        let head = self.head().await?;
        if head.chunked {
            self.body.clear();
            while self.chunk().await? {
                ensure!(self.body.len() <= ANSWER_BYTES_MAX, "an endless answer");
            }
            return Ok(Answer {
                head,
                body: &self.body,
            });
        }
        let length = head.length.unwrap_or(0);
        ensure!(length <= ANSWER_BYTES_MAX, "an answer of {length} bytes");
        while self.raw.len() < self.at + length {
            self.fill().await?;
        }
        let begin = self.at;
        self.at += length;
        Ok(Answer {
            head,
            body: &self.raw[begin..begin + length],
        })
    }

    /// Sends a request whose answer is a stream of events, which [`event`](Self::event) reads.
    ///
    /// # Errors
    /// When the connection breaks, or the answer is something else.
    pub async fn listen(&mut self, request: &[u8]) -> anyhow::Result<Head> {
        self.stream.write_all(request).await?;
        let head = self.head().await?;
        let is_stream = head.status == 200 && head.is_events && head.chunked;
        ensure!(is_stream, "no stream of events: {head:?}");
        self.body.clear();
        Ok(head)
    }

    /// The next event of the stream that is being listened to, comments and priming events left out.
    ///
    /// # Errors
    /// When the stream or the connection ends.
    pub async fn event(&mut self) -> anyhow::Result<Event> {
        loop {
            while let Some(end) = memmem::find(&self.body, b"\n\n") {
                let event = Event::parse(std::str::from_utf8(&self.body[..end])?);
                self.body.drain(..end + 2);
                if !event.data.is_empty() {
                    return Ok(event);
                }
            }
            ensure!(self.chunk().await?, "the stream has ended");
        }
    }

    /// Waits until the stream that is being listened to has sent something at all.
    ///
    /// # Errors
    /// When the stream or the connection ends.
    pub async fn first_bytes(&mut self) -> anyhow::Result<()> {
        ensure!(self.chunk().await?, "the stream has ended");
        Ok(())
    }

    async fn head(&mut self) -> anyhow::Result<Head> {
        // What was used makes room; nothing is copied as a rule, because answers are read whole.
        if self.at == self.raw.len() {
            self.raw.clear();
        } else {
            self.raw.drain(..self.at);
        }
        self.at = 0;
        loop {
            if let Some((head, length)) = parse(&self.raw)? {
                self.at = length;
                return Ok(head);
            }
            self.fill().await?;
        }
    }

    async fn fill(&mut self) -> anyhow::Result<()> {
        self.raw.reserve(BUFFER_BYTES);
        let read = self.stream.read_buf(&mut self.raw).await?;
        ensure!(read > 0, "the server closed the connection");
        Ok(())
    }

    /// Adds the next chunk to the body; false when it was the last, which is empty.
    async fn chunk(&mut self) -> anyhow::Result<bool> {
        if self.at > BUFFER_BYTES {
            self.raw.drain(..self.at);
            self.at = 0;
        }
        let (begin, length) = loop {
            let unread = &self.raw[self.at..];
            if let Some(end) = memmem::find(unread, b"\r\n") {
                let digits = std::str::from_utf8(&unread[..end])?;
                let length = usize::from_str_radix(digits.trim(), 16).context("not a chunk")?;
                break (self.at + end + 2, length);
            }
            self.fill().await?;
        };
        while self.raw.len() < begin + length + 2 {
            self.fill().await?;
        }
        self.body.extend_from_slice(&self.raw[begin..begin + length]);
        self.at = begin + length + 2;
        if self.at == self.raw.len() {
            self.raw.clear();
            self.at = 0;
        }
        Ok(length > 0)
    }
}

fn parse(raw: &[u8]) -> anyhow::Result<Option<(Head, usize)>> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut response = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(length) = response.parse(raw)? else {
        return Ok(None);
    };
    let mut head = Head {
        status: response.code.unwrap_or_default(),
        ..Head::default()
    };
    let mut closes = false;
    for header in &*response.headers {
        let value = header.value;
        if header.name.eq_ignore_ascii_case("content-length") {
            head.length = Some(std::str::from_utf8(value)?.parse()?);
        } else if header.name.eq_ignore_ascii_case("transfer-encoding") {
            head.chunked = value.eq_ignore_ascii_case(b"chunked");
        } else if header.name.eq_ignore_ascii_case("content-type") {
            head.is_events = value.starts_with(b"text/event-stream");
        } else if header.name.eq_ignore_ascii_case("mcp-session-id") {
            head.session = Some(String::from_utf8(value.to_vec())?);
        } else if header.name.eq_ignore_ascii_case("connection") && value.eq_ignore_ascii_case(b"close") {
            closes = true;
        }
    }
    // A stream may be the last thing on its connection, an answer may not: the next request would wait for a new one.
    ensure!(
        !closes || head.is_events,
        "the server will close the connection after status {}",
        head.status
    );
    Ok(Some((head, length)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_read_when_they_are_complete() {
        let text =
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n5";
        assert_eq!(parse(&text[..40]).unwrap(), None);
        let (head, length) = parse(text).unwrap().unwrap();
        assert_eq!(
            (head.status, head.is_events, head.chunked, length),
            (200, true, true, text.len() - 1)
        );
    }

    #[test]
    fn the_response_of_a_stream_is_its_last_message() {
        let head = Head {
            is_events: true,
            ..Head::default()
        };
        let body = b"id: 1\ndata:\n\ndata: {\"a\":1}\n\nevent: message\ndata: {\"b\":2}\n\n";
        let answer = Answer { head, body };
        assert_eq!(answer.response(), b"{\"b\":2}");
        assert_eq!(answer.messages().unwrap(), ["{\"a\":1}", "{\"b\":2}"]);
    }
}
