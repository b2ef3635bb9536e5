//! Reading requests: media types, and bodies within their bound.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use bytes::BytesMut;
use http::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, HeaderName};
use http_body_util::BodyExt as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::config::ReplyForm;
use crate::protocol::error::Refusal;
use crate::transport::reply::later;

/// How long a body may take to arrive.
const BODY_ARRIVES_WITHIN: Duration = Duration::from_secs(30);
/// How many bytes of bodies a node holds at once: 64 of the largest that `http.body_bytes_max` takes by default. Without
/// it, `http.connections_max` of them would be 20 000 x 4 MiB = 78 GiB.
pub const BODIES_BYTES_MAX: usize = 256 << 20;
/// How long the next bytes of a body may wait for room.
const ROOM_WITHIN: Duration = Duration::from_secs(2);
const KIB: usize = 1 << 10;

/// Checks that the body is said to be JSON.
///
/// # Errors
/// [`Refusal::UnsupportedMediaType`].
pub fn check_content_type(headers: &HeaderMap) -> Result<(), Refusal> {
    let essence = text(headers, &CONTENT_TYPE).and_then(|value| value.split(';').next());
    match essence {
        Some(essence) if essence.trim().eq_ignore_ascii_case("application/json") => Ok(()),
        _ => Err(Refusal::UnsupportedMediaType),
    }
}

/// Checks that a call's answer may be either of what it can be. No `Accept` at all accepts anything (RFC 9110,
/// section 12.5.1).
///
/// # Errors
/// [`Refusal::NotAcceptable`].
pub fn check_accept(headers: &HeaderMap, form: ReplyForm) -> Result<(), Refusal> {
    const SEND_BOTH: &str = "send Accept: application/json, text/event-stream";
    let accept = headers.get(ACCEPT);
    if accept.is_some_and(|value| value.as_bytes() == BOTH) {
        return Ok(());
    }
    let anything = accept.is_none();
    let json = anything || accepts(headers, "application", "json");
    let stream = anything || accepts(headers, "text", "event-stream");
    match (json, stream, form) {
        (true, true, _) | (true, _, ReplyForm::Json) => Ok(()),
        (_, _, ReplyForm::Json) => Err(Refusal::NotAcceptable("send Accept: application/json")),
        _ => Err(Refusal::NotAcceptable(SEND_BOTH)),
    }
}

/// What clients of MCP send.
const BOTH: &[u8] = b"application/json, text/event-stream";

/// Whether `Accept` names a media type, or a range that holds it.
#[must_use]
pub fn accepts(headers: &HeaderMap, main: &str, sub: &str) -> bool {
    let values = headers
        .get_all(ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok());
    let mut ranges = values.flat_map(|value| value.split(',')).filter_map(range);
    ranges
        .any(|(m, s)| (m == "*" || m.eq_ignore_ascii_case(main)) && (s == "*" || s.eq_ignore_ascii_case(sub)))
}

/// A media range's type and subtype; `None` when its weight is zero, which rules it out.
fn range(text: &str) -> Option<(&str, &str)> {
    let mut parts = text.split(';').map(str::trim);
    let (main, sub) = parts.next()?.split_once('/')?;
    let zero = |parameter: &str| {
        parameter
            .strip_prefix("q=")
            .is_some_and(|weight| weight.parse::<f32>().is_ok_and(|weight| weight <= 0.0))
    };
    (!parts.any(zero)).then_some((main, sub))
}

/// The room that a node has for the bodies of requests it has not answered yet.
///
/// Bytes are counted as they arrive, not as they are announced: who announces much and sends nothing takes nothing from
/// others. A body that is being read may have up to twice its bytes allocated, and what it is parsed into comes on top.
#[derive(Debug)]
pub struct Bodies {
    room_kib: Arc<Semaphore>,
}

/// A body, and the room that it takes until it is dropped.
#[derive(Debug)]
pub struct Held {
    bytes: BytesMut,
    room: OwnedSemaphorePermit,
}

impl Deref for Held {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Bodies {
    /// Room for [`BODIES_BYTES_MAX`], or for one body of the largest size if that is more.
    #[must_use]
    pub fn new(body_bytes_max: usize) -> Self {
        Self::with_room(body_bytes_max.max(BODIES_BYTES_MAX))
    }

    fn with_room(bytes: usize) -> Self {
        Self {
            room_kib: Arc::new(Semaphore::new(bytes.div_ceil(KIB))),
        }
    }

    /// Reads a body of at most `max` bytes.
    ///
    /// # Errors
    /// [`Refusal::BodyTooLarge`], [`Refusal::BodyIncomplete`], [`Refusal::TooMany`].
    pub async fn read(&self, headers: &HeaderMap, body: Body, max: usize) -> Result<Held, Refusal> {
        let declared = text(headers, &CONTENT_LENGTH).and_then(|length| length.parse::<u64>().ok());
        if declared.is_some_and(|length| usize::try_from(length).map_or(true, |length| length > max)) {
            return Err(Refusal::BodyTooLarge(max));
        }
        tokio::select! {
            biased;
            arrived = self.collect(body, max) => arrived,
            () = later(BODY_ARRIVES_WITHIN) => Err(Refusal::BodyIncomplete),
        }
    }

    async fn collect(&self, mut body: Body, max: usize) -> Result<Held, Refusal> {
        let mut held = Held {
            bytes: BytesMut::new(),
            room: self.more_room(0).await?,
        };
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame.map_err(|_broken| Refusal::BodyIncomplete)?.into_data() else {
                continue;
            };
            let size = held.bytes.len() + data.len();
            if size > max {
                return Err(Refusal::BodyTooLarge(max));
            }
            let more_kib = size.div_ceil(KIB) - held.bytes.len().div_ceil(KIB);
            if more_kib > 0 {
                held.room.merge(self.more_room(more_kib).await?);
            }
            held.bytes.extend_from_slice(&data);
        }
        Ok(held)
    }

    async fn more_room(&self, kib: usize) -> Result<OwnedSemaphorePermit, Refusal> {
        let full = || Refusal::TooMany("the requests on their way fill the room that this node has for them");
        let kib = u32::try_from(kib).map_err(|_beyond| full())?;
        if let Ok(room) = Arc::clone(&self.room_kib).try_acquire_many_owned(kib) {
            return Ok(room);
        }
        let room = Arc::clone(&self.room_kib).acquire_many_owned(kib);
        match timeout(ROOM_WITHIN, room).await {
            Ok(Ok(room)) => Ok(room),
            Ok(Err(_)) | Err(_) => Err(full()),
        }
    }
}

/// A header's text, if it is there and plain.
#[must_use]
pub fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers
        .get(name)
        .and_then(|value| value.to_str().ok())
        .map(str::trim)
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use bytes::Bytes;
    use futures::StreamExt as _;
    use http::HeaderValue;

    use super::*;

    const MAX: usize = 64 * KIB;

    async fn read(bodies: &Bodies, body: impl Into<Body>) -> Result<Held, Refusal> {
        bodies.read(&HeaderMap::new(), body.into(), MAX).await
    }

    #[tokio::test(start_paused = true)]
    async fn bodies_wait_for_room_a_while_and_are_refused() {
        let bodies = Bodies::with_room(4 * KIB);
        let large = || "x".repeat(3 * KIB);
        let held = read(&bodies, large()).await.unwrap();
        assert_eq!(held.len(), 3 * KIB);
        let small = read(&bodies, "x".repeat(KIB)).await.unwrap();
        assert!(matches!(read(&bodies, large()).await, Err(Refusal::TooMany(_))));
        drop(small);
        let waits = read(&bodies, large());
        let frees = async {
            tokio::time::sleep(ROOM_WITHIN / 2).await;
            drop(held);
        };
        let (waited, ()) = tokio::join!(waits, frees);
        assert!(waited.is_ok());
        drop(waited);
        assert_eq!(bodies.room_kib.available_permits(), 4, "all room is given back");
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_does_not_arrive_takes_no_room() {
        let bodies = Bodies::with_room(4 * KIB);
        let begun = futures::stream::iter([Ok::<_, Infallible>(Bytes::from_static(b"{"))]);
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_LENGTH, HeaderValue::from_static("4096"));
        let stalled = Body::from_stream(begun.chain(futures::stream::pending()));
        let stalled = bodies.read(&headers, stalled, MAX);
        let (refused, others) = tokio::join!(stalled, read(&bodies, "x".repeat(3 * KIB)));
        assert_eq!(refused.unwrap_err(), Refusal::BodyIncomplete);
        assert!(others.is_ok());
    }

    #[tokio::test]
    async fn a_body_is_read_whole_within_its_bound() {
        let bodies = Bodies::new(MAX);
        let chunks = |count| {
            let chunk = Ok::<_, Infallible>(Bytes::from(vec![b'x'; 700]));
            Body::from_stream(futures::stream::iter(vec![chunk; count]))
        };
        assert_eq!(read(&bodies, chunks(50)).await.unwrap().len(), 35_000);
        let refused = read(&bodies, chunks(100)).await;
        assert_eq!(refused.unwrap_err(), Refusal::BodyTooLarge(MAX));
        assert!(read(&bodies, Body::empty()).await.unwrap().is_empty());
    }

    fn accept(value: &'static str) -> Result<(), Refusal> {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static(value));
        check_accept(&headers, ReplyForm::Auto)
    }

    #[test]
    fn both_media_types_must_be_acceptable() {
        for good in [
            "application/json, text/event-stream",
            "text/event-stream,application/json",
            "*/*",
            "application/*, text/*;q=0.5",
            "Application/JSON, Text/Event-Stream; q=1",
        ] {
            assert_eq!(accept(good), Ok(()), "{good}");
        }
        for bad in [
            "application/json",
            "text/event-stream",
            "text/html",
            "",
            "*/*;q=0",
            "application/json, text/event-stream;q=0.0",
        ] {
            assert!(accept(bad).is_err(), "{bad}");
        }
        assert_eq!(check_accept(&HeaderMap::new(), ReplyForm::Auto), Ok(()));
    }

    #[test]
    fn who_gets_single_bodies_only_need_not_accept_streams() {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        assert_eq!(check_accept(&headers, ReplyForm::Json), Ok(()));
        assert!(check_accept(&headers, ReplyForm::Sse).is_err());
        headers.insert(ACCEPT, HeaderValue::from_static("text/event-stream"));
        assert!(check_accept(&headers, ReplyForm::Json).is_err());
    }

    #[test]
    fn only_json_bodies_are_taken() {
        let of = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(value));
            check_content_type(&headers)
        };
        assert_eq!(of("application/json; charset=utf-8"), Ok(()));
        assert_eq!(of("Application/JSON"), Ok(()));
        assert!(of("text/plain").is_err());
        assert!(of("application/jsonp").is_err());
        assert!(check_content_type(&HeaderMap::new()).is_err());
    }
}
