//! Reading bodies within their bound.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, HttpBody as _};
use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http::header::CONTENT_LENGTH;
use http_body_util::BodyExt as _;
use tokio::time::{Instant, sleep, sleep_until};

use super::media::text;
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
            held.bytes = without_mark(parts.freeze());
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
            held.bytes = without_mark(data);
            return Ok(held);
        }
        if let Err(words) = held.make_room(peer, parts.len(), data.len()) {
            held.wait_for_room(peer, (parts.len(), data.len()), words, &mut pace)
                .await?;
        }
        if whole {
            held.bytes = without_mark(data);
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

/// JSON without the byte order mark that some clients put before it (RFC 8259, section 8.1).
fn without_mark(body: Bytes) -> Bytes {
    match body.starts_with("\u{feff}".as_bytes()) {
        true => body.slice('\u{feff}'.len_utf8()..),
        false => body,
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

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use bytes::Bytes;
    use futures::StreamExt as _;

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

    #[tokio::test]
    async fn a_byte_order_mark_is_passed_over() {
        let peer = peer(&shares(), 1);
        let marked = |text: &str| format!("\u{feff}{text}");
        assert_eq!(&*read(&peer, marked("{}")).await.unwrap(), b"{}");
        let long = "x".repeat(2 * UNCOUNTED_BYTES_MAX);
        assert_eq!(&*read(&peer, marked(&long)).await.unwrap(), long.as_bytes());
        // In parts, and cut within the mark.
        let mut parts = marked("{}").into_bytes();
        let end = parts.split_off(1);
        let parts = [parts, end].map(|part| Ok::<_, Infallible>(Bytes::from(part)));
        let parts = Body::from_stream(futures::stream::iter(parts));
        assert_eq!(&*read(&peer, parts).await.unwrap(), b"{}");
    }
}
