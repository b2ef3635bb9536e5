//! The peer a request counts for: one peer may take a share of what a node has, and no more.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use sha2::{Digest as _, Sha256};

use super::record::Principal;

/// How much of an IPv6 address tells one peer from another: a single host chooses the rest as it likes (RFC
/// 4291, section 2.5.4).
const IPV6_PREFIX_BITS: u32 = 64;

/// The peer a request counts for: the principal that its credentials name, or else where it comes from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Peer {
    /// The principal, if the server asks for credentials.
    Principal(Principal),
    /// The client's address; of an IPv6 address the /64 network. Made by [`Peer::at`].
    Address(IpAddr),
    /// A client of a Unix socket that nobody tells apart from the others.
    Local,
    /// It is not known: what a handler does outside requests, or a call that a node of a former version kept.
    Unknown,
}

impl Peer {
    /// A short text that stands for this peer where a store counts what it has: 16 hex digits of a hash,
    /// because the name of a principal may be long.
    #[must_use]
    pub fn key(&self) -> String {
        let digest = Sha256::digest(self.to_string().as_bytes());
        digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
    }

    /// Reads what [`Display`](fmt::Display) writes; what it never writes is [`Peer::Unknown`].
    pub(crate) fn parse(text: &str) -> Self {
        let address = |text: &str| {
            let address = text.strip_suffix("/64").unwrap_or(text).parse();
            address.map_or(Self::Unknown, Self::at)
        };
        match text.split_once(':') {
            Some(("principal", name)) => Self::Principal(Principal(name.into())),
            Some(("address", text)) => address(text),
            _ if text == "local" => Self::Local,
            _ => Self::Unknown,
        }
    }

    /// The peer at this address.
    #[must_use]
    pub fn at(address: IpAddr) -> Self {
        Self::Address(match address.to_canonical() {
            IpAddr::V6(address) => {
                let network = u128::MAX << (u128::BITS - IPV6_PREFIX_BITS);
                IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & network))
            }
            address => address,
        })
    }
}

/// One text for each peer, and no other has the same: it can be part of a key.
impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Principal(principal) => write!(f, "principal:{}", principal.as_str()),
            Self::Address(IpAddr::V4(address)) => write!(f, "address:{address}"),
            Self::Address(IpAddr::V6(address)) => write!(f, "address:{address}/{IPV6_PREFIX_BITS}"),
            Self::Local => f.write_str("local"),
            Self::Unknown => f.write_str("unknown"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(address: &str) -> String {
        Peer::at(address.parse().unwrap()).to_string()
    }

    #[test]
    fn a_peer_is_read_as_it_was_written() {
        let principal = Peer::Principal(Principal("a:b/64 ü".into()));
        let addresses = ["192.0.2.1", "2001:db8:1:2:3::4", "::1"].map(|text| Peer::at(text.parse().unwrap()));
        for peer in addresses
            .into_iter()
            .chain([principal, Peer::Local, Peer::Unknown])
        {
            assert_eq!(Peer::parse(&peer.to_string()), peer);
        }
        for text in ["", "address:", "address:x", "principal", "remote"] {
            assert_eq!(Peer::parse(text), Peer::Unknown, "{text}");
        }
    }

    #[test]
    fn an_address_counts_as_one_peer_and_a_network_of_ipv6_too() {
        assert_eq!(at("192.0.2.1"), "address:192.0.2.1");
        assert_eq!(at("::ffff:192.0.2.1"), "address:192.0.2.1");
        assert_ne!(at("192.0.2.1"), at("192.0.2.2"));
        assert_eq!(at("2001:db8:1:2:3:4:5:6"), "address:2001:db8:1:2::/64");
        assert_eq!(at("2001:db8:1:2:ffff::"), at("2001:db8:1:2::1"));
        assert_ne!(at("2001:db8:1:2::1"), at("2001:db8:1:3::1"));
    }
}
