//! Alarms: what looks like an attack is warned of, once a minute for each caller or session, and counted. It is
//! not blocked: limits do that.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use ipnet::IpNet;
use smallvec::SmallVec;
use tokio::time::Instant;
use tracing::warn;

use super::sketch::{Sketch, WINDOW};
use crate::random::HashMap;
use crate::session::{Peer, Principal, SessionId};
use crate::telemetry::metrics;

/// How many different unknown ids of one caller are a search for sessions.
const UNKNOWN_SESSIONS: u64 = 20;
/// How many credentials of one address that nobody has are a search for some.
const UNKNOWN_CREDENTIALS: u64 = 30;
/// How many sessions a caller makes, before it is looked whether they are used.
const NEW_SESSIONS: usize = 20;
/// How many callers' new sessions are remembered. Those of more are not looked at.
const NEWCOMERS_MAX: usize = 4096; // x 20 x 64 B = 5 MiB
/// For how long unknown sessions are none of their clients' doing when the store was away: it may have come back
/// empty.
const FORGIVEN_AFTER_OUTAGE: Duration = Duration::from_secs(5 * 60);
/// How much of an address is its network.
const IPV4_NETWORK_BITS: u8 = 24;
const IPV6_NETWORK_BITS: u8 = 48;

/// What looks like an attack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pattern {
    ForeignSession,
    ForeignHandle,
    SessionGuessing,
    CredentialGuessing,
    InitializeFlood,
    ClientChanged,
    AddressHopping,
    StreamContest,
    SpoofedHeader,
}

impl Pattern {
    const ALL: [Self; 9] = [
        Self::ForeignSession,
        Self::ForeignHandle,
        Self::SessionGuessing,
        Self::CredentialGuessing,
        Self::InitializeFlood,
        Self::ClientChanged,
        Self::AddressHopping,
        Self::StreamContest,
        Self::SpoofedHeader,
    ];

    /// Its name in the log and in metrics.
    const fn label(self) -> &'static str {
        match self {
            Self::ForeignSession => "foreign_session",
            Self::ForeignHandle => "foreign_handle",
            Self::SessionGuessing => "session_guessing",
            Self::CredentialGuessing => "credential_guessing",
            Self::InitializeFlood => "initialize_flood",
            Self::ClientChanged => "client_changed",
            Self::AddressHopping => "address_hopping",
            Self::StreamContest => "stream_contest",
            Self::SpoofedHeader => "spoofed_header",
        }
    }

    const fn words(self) -> &'static str {
        match self {
            Self::ForeignSession => "a session was asked for that is another principal's",
            Self::ForeignHandle => "a notebook or task was asked for that is another principal's",
            Self::SessionGuessing => "many sessions were asked for that are not there",
            Self::CredentialGuessing => "many credentials were tried that nobody has",
            Self::InitializeFlood => "many sessions were made, and most are not used",
            Self::ClientChanged => "a session is used by another program than made it",
            Self::AddressHopping => "a session is used from many networks",
            Self::StreamContest => "a session's stream is taken to and fro",
            Self::SpoofedHeader => "a header that only proxies may send came from elsewhere",
        }
    }
}

/// The suspect that a line names. It has no session id, no whole address, and of a principal a digest.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Suspect {
    principal: Option<String>,
    session: Option<String>,
    network: Option<IpNet>,
}

impl Suspect {
    fn named(principal: &Principal) -> Self {
        Self {
            principal: Some(Peer::Principal(principal.clone()).key()),
            ..Self::default()
        }
    }

    fn peer(peer: &Peer) -> Self {
        match peer {
            Peer::Principal(principal) => Self::named(principal),
            Peer::Address(address) => Self {
                network: Some(network_of(*address)),
                ..Self::default()
            },
            Peer::Local | Peer::Unknown => Self::default(),
        }
    }

    fn session(tag: &str, principal: &Principal) -> Self {
        let of = match principal.as_str() {
            "" => Self::default(),
            _ => Self::named(principal),
        };
        Self {
            session: Some(tag.to_owned()),
            ..of
        }
    }
}

/// The network of an address: /24, or /48 of IPv6.
#[must_use]
pub(crate) fn network_of(address: IpAddr) -> IpNet {
    const ANY: IpNet = IpNet::V4(ipnet::Ipv4Net::new_assert(Ipv4Addr::UNSPECIFIED, 0));
    let network = match address.to_canonical() {
        IpAddr::V4(address) => {
            let mask = u32::MAX << (u32::BITS - u32::from(IPV4_NETWORK_BITS));
            IpNet::new(
                Ipv4Addr::from_bits(address.to_bits() & mask).into(),
                IPV4_NETWORK_BITS,
            )
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX << (u128::BITS - u32::from(IPV6_NETWORK_BITS));
            IpNet::new(
                Ipv6Addr::from_bits(address.to_bits() & mask).into(),
                IPV6_NETWORK_BITS,
            )
        }
    };
    // Both lengths are shorter than an address.
    network.unwrap_or(ANY)
}

/// The alarms of a node.
#[derive(Debug)]
pub(crate) struct Alarms {
    counts: [Sketch<Suspect>; Pattern::ALL.len()],
    newcomers: Mutex<HashMap<Peer, Newcomers>>,
    /// When the store was away last.
    outage: Mutex<Option<Instant>>,
}

/// The sessions that a caller has made within a minute.
#[derive(Debug)]
struct Newcomers {
    began: Instant,
    sessions: SmallVec<[SessionId; 1]>,
}

impl Default for Alarms {
    fn default() -> Self {
        for pattern in Pattern::ALL {
            metrics::no_alarm(pattern.label());
        }
        Self {
            counts: Pattern::ALL.map(|_| Sketch::new()),
            newcomers: Mutex::default(),
            outage: Mutex::default(),
        }
    }
}

impl Alarms {
    /// Somebody has asked for another principal's session.
    pub(crate) fn foreign_session(&self, asker: &Principal, session: &str) {
        let suspect = || Suspect {
            session: Some(session.to_owned()),
            ..Suspect::named(asker)
        };
        self.raise(Pattern::ForeignSession, asker.as_str(), suspect, 1);
    }

    /// Somebody has asked for another principal's notebook or task.
    pub(crate) fn foreign_handle(&self, asker: &Principal) {
        let suspect = || Suspect::named(asker);
        self.raise(Pattern::ForeignHandle, asker.as_str(), suspect, 1);
    }

    /// Somebody has asked for a session that is not there.
    pub(crate) fn unknown_session(&self, asker: &Peer, session: &SessionId) {
        let outage = *self.outage.lock().unwrap_or_else(PoisonError::into_inner);
        if outage.is_some_and(|outage| outage.elapsed() < FORGIVEN_AFTER_OUTAGE) {
            return;
        }
        let (key, id) = (asker.to_string(), session.as_str().as_bytes());
        let counts = self.counts_of(Pattern::SessionGuessing);
        let told =
            counts.map(|counts| counts.count_different(&key, id, || Suspect::peer(asker), UNKNOWN_SESSIONS));
        if let Some((suspect, count)) = told.flatten() {
            tell(Pattern::SessionGuessing, &suspect, count);
        }
    }

    /// The store was away just now, and may come back empty.
    pub(crate) fn store_was_away(&self) {
        *self.outage.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// These credentials came from that address, and nobody has them. Not for those that have expired, nor when they could
    /// not be looked at. One that is sent again and again is no guess.
    pub(crate) fn credential_failed(&self, from: &Peer, credentials: &[u8]) {
        let suspect = || Suspect::peer(from);
        let counts = self.counts_of(Pattern::CredentialGuessing);
        let told = counts.map(|counts| {
            counts.count_different(&from.to_string(), credentials, suspect, UNKNOWN_CREDENTIALS)
        });
        if let Some((suspect, count)) = told.flatten() {
            tell(Pattern::CredentialGuessing, &suspect, count);
        }
    }

    /// A caller has made a session. Returns its last ones when there are so many that it should be looked
    /// whether they are [used](Self::unused_sessions).
    pub(crate) fn session_made(&self, by: &Peer, session: &SessionId) -> Option<Vec<SessionId>> {
        let (now, mut newcomers) = (Instant::now(), self.newcomers());
        if !newcomers.contains_key(by) && newcomers.len() >= NEWCOMERS_MAX {
            return None;
        }
        let made = newcomers.entry(by.clone()).or_insert_with(|| Newcomers {
            began: now,
            sessions: SmallVec::new(),
        });
        if now.duration_since(made.began) >= WINDOW {
            made.began = now;
            made.sessions.clear();
        }
        made.sessions.push(session.clone());
        if made.sessions.len() < NEW_SESSIONS {
            return None;
        }
        Some(std::mem::take(&mut made.sessions).into_vec())
    }

    /// Of the sessions that a caller has made last, most were not used.
    pub(crate) fn unused_sessions(&self, by: &Peer) {
        let suspect = || Suspect::peer(by);
        self.raise(Pattern::InitializeFlood, &by.to_string(), suspect, 1);
    }

    /// A session is used by another program than the one that made it.
    pub(crate) fn client_changed(&self, session: &str, principal: &Principal) {
        let suspect = || Suspect::session(session, principal);
        self.raise(Pattern::ClientChanged, session, suspect, 1);
    }

    /// A session is used from many networks.
    pub(crate) fn address_hopping(&self, session: &str, principal: &Principal) {
        let suspect = || Suspect::session(session, principal);
        self.raise(Pattern::AddressHopping, session, suspect, 1);
    }

    /// A session's stream is taken over again and again by different clients.
    pub(crate) fn stream_contest(&self, session: &str, principal: &Principal) {
        let suspect = || Suspect::session(session, principal);
        self.raise(Pattern::StreamContest, session, suspect, 1);
    }

    /// A header that only trusted proxies may send, or a PROXY line, came from somebody else.
    pub(crate) fn spoofed_header(&self, from: &Peer) {
        let suspect = || Suspect::peer(from);
        self.raise(Pattern::SpoofedHeader, &from.to_string(), suspect, 1);
    }

    /// Tells what was counted since it was told, of those that were counted for so long.
    pub(super) fn tell_counts(&self, rest: Duration) {
        for (pattern, counts) in Pattern::ALL.into_iter().zip(&self.counts) {
            for (suspect, count) in counts.at_rest(rest) {
                tell(pattern, &suspect, count);
            }
        }
        let now = Instant::now();
        let mut newcomers = self.newcomers();
        newcomers.retain(|_, made| now.duration_since(made.began) < WINDOW);
    }

    fn raise(&self, pattern: Pattern, key: &str, suspect: impl FnOnce() -> Suspect, threshold: u64) {
        let counts = self.counts_of(pattern);
        if let Some((suspect, count)) = counts.and_then(|counts| counts.count(key, suspect, threshold)) {
            tell(pattern, &suspect, count);
        }
    }

    fn counts_of(&self, pattern: Pattern) -> Option<&Sketch<Suspect>> {
        self.counts.get(pattern as usize)
    }

    fn newcomers(&self) -> std::sync::MutexGuard<'_, HashMap<Peer, Newcomers>> {
        self.newcomers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn tell(pattern: Pattern, suspect: &Suspect, count: u64) {
    metrics::alarm(pattern.label());
    warn!(
        target: "anynode::audit",
        pattern = pattern.label(),
        count,
        principal = suspect.principal,
        session = suspect.session,
        network = suspect.network.map(tracing::field::display),
        "{}",
        pattern.words()
    );
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    fn at(address: &str) -> Peer {
        Peer::at(address.parse().unwrap())
    }

    #[test]
    fn patterns_are_where_they_are_looked_for() {
        for (place, pattern) in Pattern::ALL.into_iter().enumerate() {
            assert_eq!(pattern as usize, place);
        }
    }

    #[test]
    fn no_whole_address_is_told() {
        let network = |address: &str| network_of(address.parse().unwrap()).to_string();
        assert_eq!(network("192.0.2.77"), "192.0.2.0/24");
        assert_eq!(network("::ffff:192.0.2.77"), "192.0.2.0/24");
        assert_eq!(network("2001:db8:1:2:3::4"), "2001:db8:1::/48");
        let suspect = Suspect::peer(&Peer::Principal(Principal("alice@example.com".into())));
        assert!(!format!("{suspect:?}").contains("alice"), "{suspect:?}");
    }

    fn counted(alarms: &Alarms, pattern: Pattern) -> u64 {
        alarms
            .counts_of(pattern)
            .unwrap()
            .at_rest(WINDOW)
            .iter()
            .map(|(_, count)| count)
            .sum()
    }

    #[tokio::test(start_paused = true)]
    async fn unknown_sessions_are_forgiven_after_an_outage() {
        let alarms = Alarms::default();
        let guess = |from: u64| {
            for number in from..from + UNKNOWN_SESSIONS + 1 {
                let id = SessionId::parse(&number.to_string()).unwrap();
                alarms.unknown_session(&at("192.0.2.1"), &id);
            }
        };
        alarms.store_was_away();
        guess(0);
        advance(WINDOW).await;
        assert_eq!(counted(&alarms, Pattern::SessionGuessing), 0);
        advance(FORGIVEN_AFTER_OUTAGE).await;
        guess(0);
        advance(WINDOW).await;
        assert_eq!(
            counted(&alarms, Pattern::SessionGuessing),
            1,
            "the one after the alarm"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn sessions_are_looked_at_when_a_caller_makes_many_within_a_minute() {
        let (alarms, caller) = (Alarms::default(), at("2001:db8::1"));
        let make = |many: usize| {
            let made = (0..many).map(|_| alarms.session_made(&caller, &SessionId::generate()));
            made.flatten().count()
        };
        assert_eq!(make(NEW_SESSIONS - 1), 0);
        advance(WINDOW).await;
        assert_eq!(make(NEW_SESSIONS - 1), 0);
        assert_eq!(make(1), 1);
        assert_eq!(make(NEW_SESSIONS), 1);
        advance(WINDOW).await;
        alarms.tell_counts(WINDOW);
        assert!(alarms.newcomers().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn spoofed_headers_are_told_of_at_once() {
        let alarms = Alarms::default();
        for _ in 0..3 {
            alarms.spoofed_header(&Peer::Local);
        }
        advance(WINDOW).await;
        assert_eq!(counted(&alarms, Pattern::SpoofedHeader), 2);
    }
}
