//! What a certificate says: until when it is good, for whom it is, and how a client is named by it.

use std::net::IpAddr;
use std::sync::Arc;

use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

use crate::config::ClientPrincipal;

/// The longest name that a client can have by its certificate.
const NAME_BYTES_MAX: usize = 500; // a principal has 512, with what is put before it

/// What of this node's certificate its operator asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CertificateFacts {
    /// The names and addresses that it is for.
    pub(crate) names: Vec<String>,
    /// When it expires, in unix seconds.
    pub(crate) expires: u64,
}

impl CertificateFacts {
    /// Those of a certificate in DER; `None` if it is none.
    pub(super) fn of(der: &[u8]) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        let names = alternative_names(&certificate).filter_map(|name| match name {
            GeneralName::DNSName(name) => Some((*name).to_owned()),
            GeneralName::IPAddress(bytes) => address(bytes).map(|address| address.to_string()),
            _ => None,
        });
        Some(Self {
            names: names.collect(),
            expires: u64::try_from(certificate.validity().not_after.timestamp()).unwrap_or(0),
        })
    }
}

/// The name of the client whose certificate this is, if it has a name of that kind.
pub(super) fn client_name(der: &[u8], kind: ClientPrincipal) -> Option<Arc<str>> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let name = match kind {
        ClientPrincipal::Uri => alternative_names(&certificate).find_map(|name| match name {
            GeneralName::URI(uri) => Some((*uri).to_owned()),
            _ => None,
        }),
        // The case of a DNS name means nothing.
        ClientPrincipal::Dns => alternative_names(&certificate).find_map(|name| match name {
            GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
            _ => None,
        }),
        ClientPrincipal::Cn => {
            let mut names = certificate.subject().iter_common_name();
            names
                .next()
                .and_then(|name| name.as_str().ok())
                .map(str::to_owned)
        }
    }?;
    let good = !name.is_empty() && name.len() <= NAME_BYTES_MAX && !name.contains(char::is_control);
    good.then(|| name.into())
}

fn alternative_names<'a>(certificate: &'a X509Certificate<'_>) -> impl Iterator<Item = &'a GeneralName<'a>> {
    let names = certificate.subject_alternative_name().ok().flatten();
    names.into_iter().flat_map(|names| &names.value.general_names)
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let of_ipv4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    of_ipv4
        .or_else(|_longer| <[u8; 16]>::try_from(bytes).map(IpAddr::from))
        .ok()
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair, SanType};

    use super::*;

    fn der(change: impl FnOnce(&mut CertificateParams)) -> Vec<u8> {
        let mut params = CertificateParams::default();
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        params.self_signed(&key).unwrap().der().to_vec()
    }

    fn dns(name: &str) -> SanType {
        SanType::DnsName(name.try_into().unwrap())
    }

    fn uri(name: &str) -> SanType {
        SanType::URI(name.try_into().unwrap())
    }

    #[test]
    fn a_client_is_named_by_the_first_name_of_the_kind_that_is_asked_for() {
        let all = der(|params| {
            params.distinguished_name.push(DnType::CommonName, "Ann's laptop");
            params.subject_alt_names = vec![
                dns("Laptop.example.COM"),
                uri("spiffe://example.com/ann"),
                dns("other.example.com"),
                uri("spiffe://example.com/other"),
            ];
        });
        let named = |der: &[u8], kind| client_name(der, kind).map(|name| name.to_string());
        let name = |kind| named(&all, kind).unwrap();
        assert_eq!(name(ClientPrincipal::Uri), "spiffe://example.com/ann");
        assert_eq!(name(ClientPrincipal::Dns), "laptop.example.com");
        assert_eq!(name(ClientPrincipal::Cn), "Ann's laptop");
        let kinds = [ClientPrincipal::Uri, ClientPrincipal::Dns, ClientPrincipal::Cn];
        let nameless = der(|params| params.distinguished_name = rcgen::DistinguishedName::new());
        assert_eq!(kinds.map(|kind| named(&nameless, kind)), [None, None, None]);
        assert_eq!(named(b"no certificate", ClientPrincipal::Cn), None);
    }

    #[test]
    fn a_name_that_could_break_a_log_or_a_key_is_none() {
        for bad in ["", "ann\nbob", "a\0b", &"x".repeat(NAME_BYTES_MAX + 1)] {
            let named = der(|params| {
                params.distinguished_name = rcgen::DistinguishedName::new();
                params.distinguished_name.push(DnType::CommonName, bad);
            });
            assert_eq!(client_name(&named, ClientPrincipal::Cn), None, "{bad:?}");
        }
    }

    #[test]
    fn an_operator_is_told_for_whom_and_until_when() {
        let facts = CertificateFacts::of(&der(|params| {
            params.not_after = rcgen::date_time_ymd(2031, 2, 3);
            let ip = SanType::IpAddress([192, 0, 2, 1].into());
            params.subject_alt_names = vec![dns("mcp.example.com"), ip, uri("spiffe://example.com/x")];
        }));
        let facts = facts.unwrap();
        assert_eq!(facts.names, ["mcp.example.com", "192.0.2.1"]);
        assert_eq!(facts.expires, 1_927_843_200);
    }
}
