//! Where a request comes from: its connection's other end, or the client that a trusted proxy names.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue, Request};
use ipnet::IpNet;

use crate::config::{UNIX_PROXY, network};
use crate::engine::shares::PeerUse;
use crate::protocol::error::Refusal;
use crate::session::Peer;

/// The header in which proxies name their client. Each adds the address that it saw, on the right.
static FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The other end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// That address.
    Address(IpAddr),
    /// A process of this machine, through a Unix socket.
    Unix,
    /// The program that embeds the node does not tell.
    Untold,
}

impl Source {
    /// The peer it counts for, unless it speaks for others.
    #[must_use]
    pub(crate) fn peer(self) -> Peer {
        match self {
            Self::Address(address) => Peer::at(address),
            Self::Unix | Self::Untold => Peer::Local,
        }
    }
}

/// What is known of the connection that a request comes on.
#[derive(Debug, Clone)]
pub(crate) struct Connected {
    /// Its other end.
    pub source: Source,
    /// What the other end uses of the node.
    pub uses: Arc<PeerUse>,
    /// What it is for.
    pub purpose: Purpose,
    /// The name in its client's certificate, if it has shown one (`tls.client_principal`).
    pub certificate: Option<Arc<str>>,
}

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// All that clients ask.
    Clients,
    /// One answer to a health check or of metrics: there is no room for another client.
    Spare(ConnectionsFull),
    /// The same at an address of their own (`http.probe_listen`).
    Probes,
}

/// Whose bound on connections is reached, in words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ConnectionsFull {
    /// The node's.
    Node(&'static str),
    /// That of one peer.
    Peer(&'static str),
}

impl From<ConnectionsFull> for Refusal {
    fn from(full: ConnectionsFull) -> Self {
        match full {
            ConnectionsFull::Node(words) => Self::Full(words),
            ConnectionsFull::Peer(words) => Self::TooMany(words),
        }
    }
}

impl Connected {
    /// That of a request that carries it as an extension.
    ///
    /// # Errors
    /// [`Refusal::Internal`], when it carries none.
    pub(crate) fn of<B>(request: &Request<B>) -> Result<Self, Refusal> {
        request.extensions().get().cloned().ok_or(Refusal::Internal)
    }
}

/// The proxies that are trusted to name their clients.
#[derive(Debug, Default)]
pub(crate) struct Proxies {
    networks: Vec<IpNet>,
    unix: bool,
}

impl Proxies {
    /// The proxies that `http.trusted_proxies` lists.
    #[must_use]
    pub(crate) fn new(trusted: &[String]) -> Self {
        Self {
            networks: trusted.iter().filter_map(|entry| network(entry)).collect(),
            unix: trusted.iter().any(|entry| entry == UNIX_PROXY),
        }
    }

    /// Whether what comes from there is a trusted proxy's.
    #[must_use]
    pub(crate) fn trust(&self, source: Source) -> bool {
        match source {
            Source::Address(address) => self.trust_address(address),
            Source::Unix => self.unix,
            Source::Untold => false,
        }
    }

    fn trust_address(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.networks.iter().any(|network| network.contains(&address))
    }

    /// The peer a request counts for that comes from there.
    ///
    /// The rightmost address in `X-Forwarded-For` that is not trusted counts. Addresses to its left are only
    /// its claims. An entry that is no address ends the search at the one to its right.
    #[must_use]
    pub(crate) fn peer(&self, source: Source, headers: &HeaderMap) -> Peer {
        self.address(source, headers).map_or(Peer::Local, Peer::at)
    }

    /// The address of that client, if it has one.
    #[must_use]
    pub(crate) fn address(&self, source: Source, headers: &HeaderMap) -> Option<IpAddr> {
        let mut client = match source {
            Source::Address(address) => Some(address),
            Source::Unix | Source::Untold => None,
        };
        if self.trust(source) {
            let lines = headers.get_all(&FORWARDED_FOR).iter().rev();
            let entries = lines.flat_map(|line| line.to_str().unwrap_or("?").rsplit(','));
            for entry in entries.map(str::trim).filter(|entry| !entry.is_empty()) {
                let Some(address) = address(entry) else { break };
                client = Some(address);
                if !self.trust_address(address) {
                    break;
                }
            }
        }
        client
    }

    /// Gives each header that tells of the client, if a trusted proxy connects from there.
    pub(crate) fn each_forwarded(&self, source: Source, headers: &HeaderMap, give: impl FnMut(&HeaderValue)) {
        if self.trust(source) {
            headers.get_all(&FORWARDED_FOR).iter().for_each(give);
        }
    }
}

/// An address, as some proxies write it: with a port, or in brackets.
fn address(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
    let with_port = || text.parse::<SocketAddr>().map(|address| address.ip());
    bare.unwrap_or(text).parse().or_else(|_bad| with_port()).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PROXY: &str = "10.0.0.9";

    fn peer(trusted: &[&str], from: &str, forwarded: &[&'static str]) -> String {
        let trusted: Vec<_> = trusted.iter().map(|&entry| entry.to_owned()).collect();
        let source = from.parse().map_or(Source::Unix, Source::Address);
        let mut headers = HeaderMap::new();
        for line in forwarded {
            headers.append(&FORWARDED_FOR, HeaderValue::from_static(line));
        }
        let peer = Proxies::new(&trusted).peer(source, &headers).to_string();
        peer.trim_start_matches("address:").to_owned()
    }

    #[test]
    fn a_client_is_who_connects_unless_a_trusted_proxy_does() {
        let claimed = ["192.0.2.1"];
        assert_eq!(peer(&[], PROXY, &claimed), PROXY);
        assert_eq!(peer(&["10.1.0.0/16"], PROXY, &claimed), PROXY);
        for trusted in [PROXY, "10.0.0.0/8"] {
            assert_eq!(peer(&[trusted], PROXY, &claimed), "192.0.2.1");
            assert_eq!(peer(&[trusted], "::ffff:10.0.0.9", &claimed), "192.0.2.1");
            assert_eq!(peer(&[trusted], PROXY, &[]), PROXY);
        }
        assert_eq!(peer(&[PROXY], "a socket", &claimed), "local");
        assert_eq!(peer(&["unix"], "a socket", &claimed), "192.0.2.1");
        assert_eq!(peer(&["unix"], "a socket", &[]), "local");
    }

    #[test]
    fn the_rightmost_address_counts_that_is_not_trusted() {
        let of = |forwarded: &[&'static str]| peer(&["10.0.0.0/8", "fd00::/8"], PROXY, forwarded);
        assert_eq!(of(&["198.51.100.7, 192.0.2.1"]), "192.0.2.1");
        assert_eq!(of(&["198.51.100.7, 192.0.2.1, 10.2.0.1,fd00::1"]), "192.0.2.1");
        assert_eq!(of(&["198.51.100.7", "192.0.2.1", "10.2.0.1"]), "192.0.2.1");
        assert_eq!(of(&["10.2.0.1, 10.3.0.1"]), "10.2.0.1", "all are trusted");
    }

    #[test]
    fn what_is_no_address_ends_the_search_at_the_last_good_one() {
        let of = |forwarded| peer(&["10.0.0.0/8"], PROXY, &[forwarded]);
        assert_eq!(of("192.0.2.1, unknown, 10.2.0.1"), "10.2.0.1");
        assert_eq!(of("192.0.2.1, _hidden"), PROXY);
        assert_eq!(of("192.0.2.1:4711"), "192.0.2.1");
        assert_eq!(of("[2001:db8::1]"), "2001:db8::/64");
        assert_eq!(of("[2001:db8::1]:4711, 10.0.0.1"), "2001:db8::/64");
        assert_eq!(of(" , 192.0.2.1 ,"), "192.0.2.1");
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

        /// T26: what the trusted proxy has added counts, and no claim of a client.
        #[test]
        fn no_claim_counts_beside_what_a_trusted_proxy_adds(
            claims in prop::collection::vec(prop_oneof!["[0-9a-f:., \\[\\]]{0,60}", "\\PC{0,40}"], 0..4),
        ) {
            let (mut added, mut alone) = (HeaderMap::new(), HeaderMap::new());
            for claim in claims {
                let Ok(claim) = HeaderValue::from_bytes(claim.as_bytes()) else { continue };
                added.append(&FORWARDED_FOR, claim.clone());
                alone.append(&FORWARDED_FOR, claim);
            }
            added.append(&FORWARDED_FOR, HeaderValue::from_static("192.0.2.1, 10.0.0.8"));
            let proxies = Proxies::new(&["10.0.0.0/8".to_owned()]);
            let proxy = Source::Address(PROXY.parse().unwrap());
            prop_assert_eq!(proxies.address(proxy, &added), Some([192, 0, 2, 1].into()));
            prop_assert!(proxies.address(proxy, &alone).is_some());
            let stranger = Source::Address([203, 0, 113, 1].into());
            prop_assert_eq!(proxies.address(stranger, &added), Some([203, 0, 113, 1].into()));
        }
    }
}
