//! What HTTP shows alarms of who uses a session. A request that looks like the last one of its session is told from others by one
//! comparison.

use std::hash::{BuildHasher as _, Hasher as _};
use std::net::IpAddr;
use std::sync::Arc;

use http::HeaderMap;
use http::header::USER_AGENT;

use super::Service;
use super::admit::AdmittedRequest;
use super::media::text;
use super::source::Source;
use crate::cluster::CachedSession;
use crate::engine::watch::Glimpse;
use crate::protocol::headers::VERSION_HEADER;

/// Looks whether a request of a session comes from who used it before.
pub(super) fn look(service: &Service, admitted: &AdmittedRequest, cached: &Arc<CachedSession>) {
    let (source, headers) = (admitted.source, &admitted.parts.headers);
    let hash = hash(service, source, headers);
    if !cached.seen.is_same(hash) {
        look_closely(service, admitted, cached, hash);
    }
}

#[cold]
fn look_closely(service: &Service, admitted: &AdmittedRequest, cached: &Arc<CachedSession>, hash: u64) {
    let glimpse = admitted.glimpse(service);
    if service.engine.watch(cached, &glimpse, admitted.version()) {
        cached.seen.set_last(hash);
    }
}

/// What a request shows of its client, in a number that is not 0.
fn hash(service: &Service, source: Source, headers: &HeaderMap) -> u64 {
    let mut hasher = service.hashes.build_hasher();
    let mut add = |value: Option<&http::HeaderValue>| {
        hasher.write(value.map(http::HeaderValue::as_bytes).unwrap_or_default());
        hasher.write_u8(0);
    };
    add(headers.get(USER_AGENT));
    add(headers.get(&VERSION_HEADER));
    service
        .guard
        .each_forwarded(source, headers, |value| add(Some(value)));
    match source {
        Source::Address(IpAddr::V4(address)) => hasher.write_u32(address.to_bits()),
        Source::Address(IpAddr::V6(address)) => hasher.write_u128(address.to_bits()),
        Source::Unix | Source::Untold => {}
    }
    hasher.finish().max(1)
}

impl AdmittedRequest {
    /// Its address and `User-Agent`, which outlast it.
    pub(super) fn owned_glimpse(&self, service: &Service) -> (Option<IpAddr>, String) {
        let Glimpse { address, agent } = self.glimpse(service);
        (address, agent.to_owned())
    }

    /// What it shows of its client.
    pub(super) fn glimpse(&self, service: &Service) -> Glimpse<'_> {
        let headers = &self.parts.headers;
        Glimpse {
            address: service.guard.whole_address(self.source, headers),
            agent: text(headers, &USER_AGENT).unwrap_or_default(),
        }
    }
}
