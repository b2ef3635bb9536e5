//! Watches how sessions are made and used, for alarms. What looks at the store is done beside the request, which
//! never waits for it.

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use tokio::time::sleep;
use tracing::debug;

use super::Engine;
use crate::audit::{Act, Actor, CameFrom, EndedBy, network_of};
use crate::causes::causes;
use crate::cluster::CachedSession;
use crate::session::{Peer, Principal, SessionId, SessionRecord};
use crate::store::streams::StreamId;

/// How many networks within [`NETWORKS_WITHIN`] use a session that hops between them.
const NETWORKS: usize = 8;
/// For how long a network counts.
const NETWORKS_WITHIN: Duration = Duration::from_secs(10 * 60);
/// How often at most the networks of a session are written to the store.
const NETWORKS_TOLD_EACH: Duration = Duration::from_secs(10);
/// How often within [`TAKEN_WITHIN`] a stream changes hands that is contested.
const TAKEN: usize = 3;
const TAKEN_WITHIN: Duration = Duration::from_secs(60);
/// How long clients have to use their new sessions, before it is looked whether they do.
const USED_WITHIN: Duration = Duration::from_secs(2);

/// What a request shows of its client.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Glimpse<'a> {
    /// Its address, if that is known.
    pub address: Option<IpAddr>,
    /// Its `User-Agent`; empty if it sends none.
    pub agent: &'a str,
}

impl Glimpse<'_> {
    /// A short text that is the same on all nodes.
    fn digest(&self) -> String {
        let address = self.address.map(|address| address.to_canonical().to_string());
        let text = format!("{} {}", address.unwrap_or_default(), self.agent);
        short(&text)
    }
}

/// The beginning of a `User-Agent`, as long as a session keeps it.
#[must_use]
pub(crate) fn kept_agent(agent: Option<&str>) -> &str {
    let agent = agent.unwrap_or_default();
    let end = agent.floor_char_boundary(SessionRecord::AGENT_BYTES_MAX);
    agent.get(..end).unwrap_or_default()
}

/// Eight hex digits that stand for a text.
fn short(text: &str) -> String {
    let digest = Sha256::digest(text.as_bytes());
    digest.iter().take(4).map(|byte| format!("{byte:02x}")).collect()
}

impl Engine {
    /// Notes that a session was made.
    pub(super) fn note_made(
        self: &Arc<Self>,
        id: &SessionId,
        record: &SessionRecord,
        peer: &Peer,
        from: Option<&CameFrom>,
    ) {
        if self.audit.is_on() {
            let tag = id.tag();
            let actor = Actor {
                principal: Some(&record.principal),
                client: Some(&record.client_info.name),
                session: Some(&tag),
                from,
                method: None,
            };
            self.audit.note(&actor, &Act::SessionMade);
        }
        if let Some(made) = self.audit.alarms().session_made(peer, id) {
            let (engine, peer) = (Arc::clone(self), peer.clone());
            let look = async move { engine.look_at_new(&peer, &made).await };
            self.supervisor.spawn("look-at-new-sessions", look);
        }
    }

    /// Notes that a client has ended its session.
    pub(super) fn note_ended(&self, id: &SessionId, principal: &Principal, from: Option<&CameFrom>) {
        let actor = Actor {
            principal: Some(principal),
            from,
            ..Actor::default()
        };
        self.audit.session_ended(id, EndedBy::Client, &actor);
    }

    /// Looks whether the sessions that a caller has just made are used. One that is gone was ended by its
    /// client: it would live for longer by itself.
    async fn look_at_new(&self, peer: &Peer, made: &[SessionId]) {
        let life = self.sessions.uninitialized_ttl();
        sleep(USED_WITHIN.min(life / 2)).await;
        let mut unused = 0;
        for id in made {
            match self.store.load(id, None).await {
                Ok(Some(record)) if !record.initialized => unused += 1,
                Ok(_) => {}
                Err(error) => {
                    debug!(error = %causes(&error), "could not look whether new sessions are used");
                    return;
                }
            }
        }
        if unused * 2 > made.len() {
            self.audit.alarms().unused_sessions(peer);
        }
    }

    /// Looks at what has changed with a session's client since its last request here. Returns whether it is
    /// what it was.
    pub(crate) fn watch(
        self: &Arc<Self>,
        cached: &Arc<CachedSession>,
        glimpse: &Glimpse<'_>,
        version: Option<&str>,
    ) -> bool {
        let who = cached.who();
        let other_agent = !who.agent.is_empty() && *who.agent != *kept_agent(Some(glimpse.agent));
        // Before it has introduced itself nothing was negotiated.
        let other_version =
            cached.is_introduced() && version.is_some_and(|version| version != who.revision.as_str());
        let changed = other_agent || other_version;
        if changed {
            let alarms = self.audit.alarms();
            alarms.client_changed(&cached.tag, &cached.record.principal);
        }
        if let Some(address) = glimpse.address {
            self.note_network(cached, address);
        }
        !changed
    }

    /// Notes from where a session is used, for all nodes.
    fn note_network(self: &Arc<Self>, cached: &Arc<CachedSession>, address: IpAddr) {
        let network = short(&network_of(address).to_string());
        let Some(hop) = cached
            .seen
            .note_network(&network, NETWORKS_WITHIN, NETWORKS_TOLD_EACH)
        else {
            return;
        };
        let hops = |engine: &Self, cached: &CachedSession| {
            let alarms = engine.audit.alarms();
            alarms.address_hopping(&cached.tag, &cached.record.principal);
        };
        if hop.networks >= NETWORKS {
            hops(self, cached);
        }
        let Some(tell_in) = hop.tell_in else { return };
        let (engine, cached) = (Arc::clone(self), Arc::clone(cached));
        self.supervisor.spawn("note-networks", async move {
            sleep(tell_in).await;
            let new = cached.seen.take_untold();
            let new: Vec<_> = new.iter().map(String::as_str).collect();
            let seen = engine.store.sight(&cached.id, "network", &new, NETWORKS_WITHIN).await;
            match seen {
                Ok(networks) if networks.len() >= NETWORKS => hops(&engine, &cached),
                Ok(_few) => {}
                Err(error) => {
                    // They are told with the next.
                    cached.seen.put_untold(&new);
                    debug!(session = cached.tag, error = %causes(&error), "could not note from where a session is used");
                }
            }
        });
    }

    /// Notes that a connection has taken a standing stream from another.
    pub(super) fn note_taken(
        self: &Arc<Self>,
        cached: &Arc<CachedSession>,
        stream: &StreamId,
        taker: &Glimpse<'_>,
    ) {
        let kind = match stream.as_str() {
            StreamId::STANDALONE => "taker-get",
            StreamId::SSE => "taker-sse",
            _ => return,
        };
        // What is noted twice would count once.
        let noted = format!("{}.{}", taker.digest(), crate::random::number(1 << 32));
        let (engine, cached) = (Arc::clone(self), Arc::clone(cached));
        self.supervisor.spawn("note-taker", async move {
            match engine
                .store
                .sight(&cached.id, kind, &[&noted], TAKEN_WITHIN)
                .await
            {
                Ok(takers) if is_contested(&takers) => {
                    let alarms = engine.audit.alarms();
                    alarms.stream_contest(&cached.tag, &cached.record.principal);
                }
                Ok(_peaceful) => {}
                Err(error) => {
                    debug!(session = cached.tag, error = %causes(&error), "could not note who took a stream");
                }
            }
        });
    }
}

/// Whether a stream goes to and fro between different clients. One that comes back again and again alone has a
/// bad connection.
fn is_contested(takers: &[String]) -> bool {
    let mut clients: Vec<_> = takers
        .iter()
        .map(|taker| taker.split('.').next().unwrap_or_default())
        .collect();
    clients.dedup();
    clients.len() >= TAKEN && clients.iter().collect::<HashSet<_>>().len() > 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_contested_when_it_goes_to_and_fro() {
        let contested =
            |takers: &[&str]| is_contested(&takers.iter().map(|t| (*t).to_owned()).collect::<Vec<_>>());
        assert!(contested(&["a.1", "b.2", "a.3"]));
        assert!(
            !contested(&["a.1", "a.2", "a.3", "a.4"]),
            "one client with a bad connection"
        );
        assert!(!contested(&["a.1", "a.2", "b.3", "b.4"]), "it has moved once");
        assert!(!contested(&["a.1", "b.2"]));
    }

    #[test]
    fn an_agent_is_kept_as_long_as_it_is_compared() {
        let long = "ü".repeat(SessionRecord::AGENT_BYTES_MAX);
        assert_eq!(kept_agent(Some(&long)).len(), SessionRecord::AGENT_BYTES_MAX);
        assert_eq!(kept_agent(None), "");
    }
}
