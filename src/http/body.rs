//! Reading requests: media types, and bodies within their bound.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, HttpBody as _};
use bytes::{Bytes, BytesMut};
use http::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, HeaderName};
use http_body_util::BodyExt as _;
use tokio::time::{Instant, sleep, sleep_until};

use crate::config::ReplyForm;
use crate::engine::shares::{PeerUse, Resource, Share};
use crate::protocol::error::Refusal;
use crate::store::calls::REPLAY_BYTES_MAX;

/// How long a body may take to arrive.
const BODY_ARRIVES_WITHIN: Duration = Duration::from_secs(30);
/// How long a body may come at any speed, and how fast it must come after that, on average: 16 KiB a second.
const BODY_BEGINS_WITHIN: Duration = Duration::from_secs(5);
const BODY_BYTES_PER_MS_MIN: usize = 16;
/// Bodies up to this find room even when large ones take up the rest.
const SMALL_BODY_BYTES_MAX: usize = 64 << 10;
/// Bodies up to this are not counted if they come whole at once: they are a part of what hyper has read of
/// their connection, as the head is, and stay with that (`http.connections_max` bounds it).
const UNCOUNTED_BYTES_MAX: usize = 8 << 10;
/// How long the next bytes of a body may wait for room.
const ROOM_WITHIN: Duration = Duration::from_secs(2);
const LOOK_FOR_ROOM_EVERY: Duration = Duration::from_millis(50);

/// Checks that the body is said to be JSON.
///
/// # Errors
/// [`Refusal::UnsupportedMediaType`].
pub(super) fn check_content_type(headers: &HeaderMap) -> Result<(), Refusal> {
    let essence = text(headers, &CONTENT_TYPE).and_then(|value| value.split(';').next());
    match essence {
        Some(essence) if essence.trim().eq_ignore_ascii_case("application/json") => Ok(()),
        _ => Err(Refusal::UnsupportedMediaType),
    }
}

/// The form that a client's answer has: the one that is set if it accepts both, and single bodies if it
/// accepts only these. No `Accept` at all accepts anything (RFC 9110, section 12.5.1).
///
/// # Errors
/// [`Refusal::NotAcceptable`].
pub(super) fn check_accept(headers: &HeaderMap, form: ReplyForm) -> Result<ReplyForm, Refusal> {
    let accept = headers.get(ACCEPT);
    if accept.is_some_and(|value| value.as_bytes() == BOTH) {
        return Ok(form);
    }
    let anything = accept.is_none();
    let json = anything || accepts(headers, "application", "json");
    let stream = anything || accepts(headers, "text", "event-stream");
    match (json, stream, form) {
        (true, true, _) => Ok(form),
        (true, false, _) => Ok(ReplyForm::Json),
        (_, _, ReplyForm::Json) => Err(Refusal::NotAcceptable("send Accept: application/json")),
        _ => Err(Refusal::NotAcceptable(SEND_BOTH)),
    }
}

/// Checks that the answer may be a stream of events.
///
/// # Errors
/// [`Refusal::NotAcceptable`].
pub(super) fn check_accept_stream(headers: &HeaderMap) -> Result<(), Refusal> {
    if !headers.contains_key(ACCEPT) || accepts(headers, "text", "event-stream") {
        Ok(())
    } else {
        Err(Refusal::NotAcceptable("send Accept: text/event-stream"))
    }
}

/// What a client is told to send that may get either.
pub(super) const SEND_BOTH: &str = "send Accept: application/json, text/event-stream";
/// What nearly all clients send: it is not taken apart.
const BOTH: &[u8] = b"application/json, text/event-stream";

/// Whether `Accept` takes a media type. The most specific range that holds the type decides: a weight of zero
/// rules it out (RFC 9110, section 12.5.1).
#[must_use]
pub(super) fn accepts(headers: &HeaderMap, main: &str, sub: &str) -> bool {
    let values = headers
        .get_all(ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok());
    let ranges = values.flat_map(|value| value.split(',')).filter_map(Range::read);
    let holding = ranges.filter_map(|range| Some((range.specificity(main, sub)?, range.accepted)));
    holding.max().is_some_and(|(_, accepted)| accepted)
}

/// One range of media types in `Accept`.
struct Range<'a> {
    main: &'a str,
    sub: &'a str,
    /// Whether its weight is more than zero.
    accepted: bool,
}

impl<'a> Range<'a> {
    fn read(text: &'a str) -> Option<Self> {
        let mut parts = text.split(';').map(str::trim);
        let (main, sub) = parts.next()?.split_once('/')?;
        let zero = |parameter: &str| {
            let (name, weight) = parameter.split_once('=').unwrap_or_default();
            let is_weight = name.trim().eq_ignore_ascii_case("q");
            is_weight && weight.trim().parse::<f32>().is_ok_and(|weight| weight <= 0.0)
        };
        let accepted = !parts.any(zero);
        Some(Self { main, sub, accepted })
    }

    /// How closely it names a media type; `None` when it does not hold it.
    fn specificity(&self, main: &str, sub: &str) -> Option<u8> {
        match (self.main, self.sub) {
            ("*", "*") => Some(0),
            (its, "*") if its.eq_ignore_ascii_case(main) => Some(1),
            (its, sub_of) if its.eq_ignore_ascii_case(main) && sub_of.eq_ignore_ascii_case(sub) => Some(2),
            _ => None,
        }
    }
}

/// A body, and the room that it takes until it is dropped.
///
/// Bytes are counted as they arrive, not as they are announced: a client that announces much and sends
/// nothing takes no room from others. A body that is being read may have up to twice its bytes allocated, and
/// what it is parsed into comes on top.
#[derive(Debug, Default)]
pub(super) struct Held {
    bytes: Bytes,
    room: Option<Share>,
    kept_back: Option<Share>,
}

impl Held {
    /// The body, if it is small enough to be kept for another node; else nothing.
    pub(super) fn replayable(&self) -> Bytes {
        match self.bytes.len() <= REPLAY_BYTES_MAX {
            true => self.bytes.clone(),
            false => Bytes::new(),
        }
    }
}

impl Deref for Held {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

/// Reads a body of at most `max` bytes, which counts for that peer.
///
/// # Errors
/// [`Refusal::BodyTooLarge`], [`Refusal::BodyIncomplete`], [`Refusal::TooMany`].
pub(super) async fn read(
    peer: &Arc<PeerUse>,
    headers: &HeaderMap,
    mut body: Body,
    max: usize,
) -> Result<Held, Refusal> {
    let declared = text(headers, &CONTENT_LENGTH).and_then(|length| length.parse::<u64>().ok());
    if declared.is_some_and(|length| usize::try_from(length).map_or(true, |length| length > max)) {
        return Err(Refusal::BodyTooLarge(max));
    }
    let (mut held, mut parts) = (Held::default(), BytesMut::new());
    let mut pace = Pace::default();
    loop {
        let frame = tokio::select! {
            biased;
            frame = body.frame() => frame,
            () = pace.too_slow(parts.len()) => return Err(Refusal::BodyIncomplete),
        };
        let Some(frame) = frame else {
            held.bytes = parts.freeze();
            return Ok(held);
        };
        let Ok(data) = frame.map_err(|_broken| Refusal::BodyIncomplete)?.into_data() else {
            continue;
        };
        let size = parts.len() + data.len();
        if size > max {
            return Err(Refusal::BodyTooLarge(max));
        }
        let whole = parts.is_empty() && body.is_end_stream();
        if whole && size <= UNCOUNTED_BYTES_MAX {
            held.bytes = data;
            return Ok(held);
        }
        if let Err(words) = held.make_room(peer, parts.len(), data.len()) {
            held.wait_for_room(peer, (parts.len(), data.len()), words, &mut pace)
                .await?;
        }
        if whole {
            held.bytes = data;
            return Ok(held);
        }
        parts.extend_from_slice(&data);
    }
}

impl Held {
    /// Takes room for `more` beside what it has. Room that is kept back for small bodies is used only when no
    /// other is left, and only for the beginning of a body.
    fn make_room(&mut self, peer: &Arc<PeerUse>, has: usize, more: usize) -> Result<(), &'static str> {
        let taken = take(&mut self.room, peer, Resource::Bodies, more);
        if taken.is_ok() || has + more > SMALL_BODY_BYTES_MAX {
            return taken;
        }
        take(&mut self.kept_back, peer, Resource::SmallBodies, more)
    }

    async fn wait_for_room(
        &mut self,
        peer: &Arc<PeerUse>,
        (has, more): (usize, usize),
        mut words: &'static str,
        pace: &mut Pace,
    ) -> Result<(), Refusal> {
        let began = Instant::now();
        while began.elapsed() < ROOM_WITHIN {
            sleep(LOOK_FOR_ROOM_EVERY).await;
            match self.make_room(peer, has, more) {
                Ok(()) => {
                    pace.pause(began.elapsed());
                    return Ok(());
                }
                Err(now) => words = now,
            }
        }
        Err(Refusal::TooMany(words))
    }
}

/// Takes more of what is held already, if anything is.
fn take(
    held: &mut Option<Share>,
    peer: &Arc<PeerUse>,
    resource: Resource,
    bytes: usize,
) -> Result<(), &'static str> {
    match held {
        Some(share) => share.grow(bytes),
        None => peer.take(resource, bytes).map(|share| *held = Some(share)),
    }
}

/// How fast a body comes. The clock is not read for a body that is there at once.
#[derive(Debug, Default)]
struct Pace {
    began: Option<Instant>,
}

impl Pace {
    /// Waits until a body of which `arrived` bytes have come is too slow.
    async fn too_slow(&mut self, arrived: usize) {
        let began = *self.began.get_or_insert_with(Instant::now);
        let worth = Duration::from_millis(u64::try_from(arrived / BODY_BYTES_PER_MS_MIN).unwrap_or(u64::MAX));
        let patience = worth.clamp(BODY_BEGINS_WITHIN, BODY_ARRIVES_WITHIN);
        sleep_until(began + patience).await;
    }

    /// Takes the time off that this node, and not the client, has held the body up.
    fn pause(&mut self, waited: Duration) {
        self.began = self.began.map(|began| began + waited);
    }
}

/// A header's text, if it is there and plain.
#[must_use]
pub(super) fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
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
    use crate::config::Settings;
    use crate::engine::shares::{BODIES_BYTES_MAX, Shares};
    use crate::session::Peer;

    const KIB: usize = 1 << 10;
    const MIB: usize = 1 << 20;
    const MAX: usize = 4 * MIB;

    fn shares() -> Arc<Shares> {
        Arc::new(Shares::new(&Settings::default()))
    }

    fn peer(shares: &Arc<Shares>, last: u8) -> Arc<PeerUse> {
        shares.of(Peer::at([192, 0, 2, last].into()))
    }

    async fn read(peer: &Arc<PeerUse>, body: impl Into<Body>) -> Result<Held, Refusal> {
        super::read(peer, &HeaderMap::new(), body.into(), MAX).await
    }

    fn large() -> String {
        "x".repeat(MAX)
    }

    async fn fill(peer: &Arc<PeerUse>) -> (Vec<Held>, Refusal) {
        let mut held = Vec::new();
        loop {
            match read(peer, large()).await {
                Ok(body) => held.push(body),
                Err(refusal) => return (held, refusal),
            }
        }
    }

    /// F15: one client's bodies take up its share, those of several all but what is kept back for small ones.
    #[tokio::test(start_paused = true)]
    async fn small_bodies_find_room_and_large_ones_wait_a_while_and_are_refused() {
        let shares = shares();
        let (greedy, another, third) = (peer(&shares, 1), peer(&shares, 2), peer(&shares, 3));
        let (first, refusal) = fill(&greedy).await;
        assert_eq!(first.len(), 204 / 4);
        assert!(
            refusal.to_string().contains("http.bodies_peer_bytes_max"),
            "{refusal}"
        );
        let (second, refusal) = fill(&another).await;
        assert_eq!(second.len(), (256 - 204) / 4);
        assert!(refusal.to_string().contains("the node's limit"), "{refusal}");
        for peer in [&greedy, &another, &third] {
            assert!(
                read(peer, "x".repeat(64 * KIB)).await.is_ok(),
                "a small one finds room"
            );
        }
        let waits = read(&third, large());
        let frees = async {
            sleep(ROOM_WITHIN / 2).await;
            drop(first);
        };
        let (waited, ()) = tokio::join!(waits, frees);
        assert!(waited.is_ok());
        drop((waited, second));
        assert_eq!(fill(&third).await.0.len(), 204 / 4, "all room is given back");
    }

    /// More of them than there would be room for: each is where its connection has read it.
    #[tokio::test]
    async fn a_short_body_that_comes_whole_takes_no_room_of_its_own() {
        static SHORT: [u8; UNCOUNTED_BYTES_MAX] = [b'x'; UNCOUNTED_BYTES_MAX];
        let shares = shares();
        let peer = peer(&shares, 1);
        let mut held = Vec::new();
        for _ in 0..=BODIES_BYTES_MAX / UNCOUNTED_BYTES_MAX {
            held.push(read(&peer, Bytes::from_static(&SHORT)).await.unwrap());
        }
        assert!(held.iter().all(|body| body.replayable().len() == SHORT.len()));
        let (large, _refusal) = fill(&peer).await;
        assert_eq!(large.len(), 204 / 4, "they have taken none");
    }

    /// A body of which so much comes each second.
    fn dripping(bytes: usize) -> Body {
        let drops = futures::stream::unfold((), move |()| async move {
            sleep(Duration::from_secs(1)).await;
            Some((Ok::<_, Infallible>(Bytes::from(vec![b'x'; bytes])), ()))
        });
        Body::from_stream(drops)
    }

    /// F15: what comes too slowly is given up.
    #[tokio::test(start_paused = true)]
    async fn a_body_must_come_at_a_least_rate_and_within_its_time() {
        let shares = shares();
        let peer = peer(&shares, 1);
        let gave_up = async |body: Body| {
            let began = Instant::now();
            assert_eq!(read(&peer, body).await.unwrap_err(), Refusal::BodyIncomplete);
            began.elapsed().as_secs()
        };
        let begun = futures::stream::iter([Ok::<_, Infallible>(Bytes::from_static(b"{"))]);
        assert_eq!(
            gave_up(Body::from_stream(begun.chain(futures::stream::pending()))).await,
            5
        );
        assert_eq!(gave_up(dripping(10 * KIB)).await, 5);
        // As fast as it must be, and for too long.
        assert_eq!(gave_up(dripping(20 * KIB)).await, 30);
        assert_eq!(
            read(&peer, dripping(MIB)).await.unwrap_err(),
            Refusal::BodyTooLarge(MAX)
        );
        let drops = Body::from_stream(dripping(20 * KIB).into_data_stream().take(20));
        assert_eq!(read(&peer, drops).await.unwrap().len(), 400 * KIB);
    }

    #[tokio::test]
    async fn a_body_is_read_whole_within_its_bound() {
        let shares = shares();
        let peer = peer(&shares, 1);
        let chunks = |count| {
            let chunk = Ok::<_, Infallible>(Bytes::from(vec![b'x'; 70_000]));
            Body::from_stream(futures::stream::iter(vec![chunk; count]))
        };
        assert_eq!(read(&peer, chunks(50)).await.unwrap().len(), 3_500_000);
        let refused = read(&peer, chunks(100)).await;
        assert_eq!(refused.unwrap_err(), Refusal::BodyTooLarge(MAX));
        assert!(read(&peer, Body::empty()).await.unwrap().is_empty());
    }

    fn accept(value: &'static str) -> Result<ReplyForm, Refusal> {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static(value));
        check_accept(&headers, ReplyForm::Auto)
    }

    #[test]
    fn the_answer_has_a_form_that_is_accepted() {
        for good in [
            "application/json, text/event-stream",
            "text/event-stream,application/json",
            "*/*",
            "application/*, text/*;q=0.5",
            "Application/JSON, Text/Event-Stream; q=1",
            "text/*;q=0, text/event-stream, application/json",
            "*/*;q=0, application/json; Q = 0.5, text/event-stream",
        ] {
            assert_eq!(accept(good), Ok(ReplyForm::Auto), "{good}");
        }
        for single in [
            "application/json",
            "application/*",
            "application/json, text/event-stream;q=0.0",
            "*/*, text/event-stream;q=0",
            "application/json, text/*;q=0",
        ] {
            assert_eq!(accept(single), Ok(ReplyForm::Json), "{single}");
        }
        for bad in [
            "text/event-stream",
            "*/*, application/json;q=0",
            "text/html",
            "",
            "*/*;q=0",
        ] {
            assert!(accept(bad).is_err(), "{bad}");
        }
        assert_eq!(
            check_accept(&HeaderMap::new(), ReplyForm::Sse),
            Ok(ReplyForm::Sse)
        );
    }

    #[test]
    fn who_gets_single_bodies_only_need_not_accept_streams() {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        for form in [ReplyForm::Json, ReplyForm::Sse, ReplyForm::Auto] {
            assert_eq!(check_accept(&headers, form), Ok(ReplyForm::Json));
        }
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
