//! What simulated clients are told outside their requests.

use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::{Value, json};

use super::client::{REACHABLE, SimulatedClient};
use super::world::PlayedChange;

/// How much later than it was announced a change may get its version, while the store is away, or be found by
/// a node that got no message of it.
const LATE_BY_MOST: Duration = Duration::from_secs(35);

impl SimulatedClient {
    /// Checks that it was told of each change since it has subscribed, and no more often than that.
    pub(super) fn check_told(&self) {
        for (uri, known) in &*self.subscribed() {
            let Some(since) = known.since else { continue };
            let changes = self.world.changes(uri);
            // One that could not be announced at once may get its version later.
            let may = |change: &&PlayedChange| {
                let announced = change.announced;
                announced.is_none_or(|announced| announced + LATE_BY_MOST >= known.asked)
            };
            // Each time there was another change to tell of.
            for (before, told) in known.told.iter().enumerate() {
                let until = changes.iter().filter(may).filter(|change| change.began <= *told);
                let until = until.count();
                if until <= before {
                    let (name, told) = (&self.name, told.as_millis());
                    let often = format!("{before} times before, and it changed {until} times");
                    self.world
                        .wrong(format!("{name} was told of {uri} at {told} ms, {often}"));
                }
            }
            let grace = self.world.grace();
            let must = changes
                .iter()
                .rfind(|change| change.must_be_told(grace) && change.began > since);
            if let Some(change) = must
                && known.told.last().is_none_or(|told| *told < change.began)
            {
                let (name, began) = (&self.name, change.began.as_millis());
                self.world.wrong(format!(
                    "{name} was not told of {uri}, which changed at {began} ms"
                ));
            }
        }
    }

    /// Checks that it was given each event of its session's own stream up to the last one.
    pub(super) fn check_seen(&self) {
        let seen = self.seen();
        let missing = |(before, after): (&u64, &u64)| *after != before + 1;
        if let Some((before, after)) = seen.iter().zip(seen.iter().skip(1)).find(|pair| missing(*pair)) {
            let name = &self.name;
            self.world.wrong(format!(
                "{name} was given event {after} of its own stream, and {before} before it"
            ));
        }
    }

    /// Takes a message that belongs to no request.
    pub(super) fn take_notice(&self, message: &Value) -> Option<Value> {
        match message["method"].as_str() {
            Some("notifications/resources/updated") => {
                let uri = message["params"]["uri"].as_str().unwrap_or_default();
                self.world.step(format!("{} is told of {uri}", self.name));
                let (now, mut known) = (self.world.now(), self.subscribed());
                let own = self.session().map(|id| format!("{}|{uri}", id.as_str()));
                let own = own.filter(|_| uri == self.own());
                match known.get_mut(&own.unwrap_or_else(|| uri.to_owned())) {
                    Some(known) => known.told.push(now),
                    None => self.world.wrong(format!(
                        "{} is told of {uri}, to which it is not subscribed",
                        self.name
                    )),
                }
                None
            }
            Some("ping") => Some(json!({"jsonrpc": "2.0", "id": message["id"], "result": {}})),
            Some("notifications/cancelled") => None,
            _ if message["id"] == REACHABLE => None,
            // What a former life of the client has asked.
            _ if self.key.is_some() || !self.introduced.load(Ordering::Relaxed) => None,
            _ => {
                self.world.wrong(format!("{} is told {message}", self.name));
                None
            }
        }
    }
}
