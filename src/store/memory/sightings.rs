//! What was seen of a session, in memory.

use std::time::Duration;

use tokio::time::Instant;

use crate::store::Limits;

/// What was seen of a session, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Sightings(Vec<Sighting>);

#[derive(Debug)]
struct Sighting {
    kind: &'static str,
    what: Box<str>,
    at: Instant,
}

impl Sightings {
    /// Notes some, and returns those of their kind that are not older than `within`.
    pub(super) fn note(&mut self, kind: &'static str, what: &[&str], within: Duration) -> Vec<String> {
        let (Self(all), now) = (self, Instant::now());
        let of_kind = |seen: &Sighting| seen.kind == kind;
        all.retain(|seen| {
            !of_kind(seen) || !what.contains(&&*seen.what) && now.duration_since(seen.at) < within
        });
        all.extend(what.iter().map(|what| Sighting {
            kind,
            what: (*what).into(),
            at: now,
        }));
        let count = all.iter().filter(|seen| of_kind(seen)).count();
        let mut surplus = count.saturating_sub(Limits::SIGHTINGS_MAX);
        all.retain(|seen| {
            let goes = surplus > 0 && of_kind(seen);
            surplus -= usize::from(goes);
            !goes
        });
        let seen = all.iter().filter(|seen| of_kind(seen));
        seen.map(|seen| seen.what.clone().into()).collect()
    }
}
