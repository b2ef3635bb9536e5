//! What HTTP shows of who asks: for the audit log while that is on, and for alarms.
//!
//! A request that looks like the last one of its session is told from others by one comparison.

use std::hash::{BuildHasher as _, Hasher as _};
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};

use axum::response::Response;
use http::header::{AUTHORIZATION, USER_AGENT, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderName, Request, StatusCode};

use super::Service;
use super::admit::AdmittedRequest;
use super::log::RequestLine;
use super::media::text;
use super::response::RefusedFor;
use super::source::{Connected, Source};
use crate::audit::{Actor, CameFrom};
use crate::auth::Credentials;
use crate::cluster::CachedSession;
use crate::engine::watch::Glimpse;
use crate::protocol::error::Refusal;
use crate::protocol::headers::VERSION_HEADER;
use crate::session::{Peer, Principal, SessionId};

/// The trace that a request belongs to (W3C Trace Context).
static TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// Why a request is refused that lacks scopes.
const INSUFFICIENT_SCOPE: &str = "insufficient_scope";

/// Who makes a request, for the audit log: it goes with the request, which says who that is when it is let in.
#[derive(Debug)]
pub(super) struct AuditedRequest {
    from: Arc<CameFrom>,
    principal: OnceLock<Principal>,
    session: OnceLock<String>,
    tool: OnceLock<String>,
}

impl AuditedRequest {
    /// Puts it into a request, if the audit log is on.
    pub(super) fn put<B>(service: &Service, request: &mut Request<B>, connected: &Connected) {
        if service.engine.audit.is_on() {
            let headers = request.headers();
            let from = CameFrom::new(
                service.guard.whole_address(connected.source, headers),
                text(headers, &USER_AGENT),
                text(headers, &TRACEPARENT),
            );
            request.extensions_mut().insert(Arc::new(Self {
                from: Arc::new(from),
                principal: OnceLock::new(),
                session: OnceLock::new(),
                tool: OnceLock::new(),
            }));
        }
    }

    /// That of a request, if it has one.
    pub(super) fn of(extensions: &http::Extensions) -> Option<Arc<Self>> {
        extensions.get::<Arc<Self>>().cloned()
    }

    /// Notes who it is.
    pub(super) fn is(&self, principal: &Principal) {
        // A request is let in once.
        drop(self.principal.set(principal.clone()));
    }

    /// Notes which session it asks for.
    pub(super) fn asks_for(&self, session: &SessionId) {
        // The first that it names.
        drop(self.session.set(session.tag()));
    }

    /// Notes which tool it may not call.
    pub(super) fn lacks(&self, tool: &str) {
        // The first that it lacks.
        drop(self.tool.set(tool.to_owned()));
    }

    /// Where the request came from.
    pub(super) fn from(&self) -> Arc<CameFrom> {
        Arc::clone(&self.from)
    }
}

/// Notes in the audit log that a request was refused for want of rights or of room.
pub(super) fn note_denied(service: &Service, asker: &AuditedRequest, line: RequestLine, response: &Response) {
    let refused = response.extensions().get::<RefusedFor>();
    let reason = refused.map_or("too_many", |refused| refused.0);
    let denied = match response.status() {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::TOO_MANY_REQUESTS => true,
        StatusCode::NOT_FOUND => reason == Refusal::SessionForeign.label(),
        _ => false,
    };
    if denied {
        let method = line.text();
        let actor = Actor {
            principal: asker.principal.get(),
            session: asker.session.get().map(String::as_str),
            from: Some(&asker.from),
            method: Some(&method),
            client: None,
        };
        match scopes(response).filter(|_| reason == INSUFFICIENT_SCOPE) {
            Some(scopes) => {
                let tool = asker.tool.get().map(String::as_str);
                service.engine.audit.scope_denied(&actor, scopes, tool);
            }
            None => service.engine.audit.denied(&actor, reason),
        }
    }
}

/// The scopes that a challenge asks for.
fn scopes(response: &Response) -> Option<&str> {
    let challenge = response.headers().get(WWW_AUTHENTICATE)?.to_str().ok()?;
    challenge.split_once("scope=\"")?.1.split('"').next()
}

/// Notes for alarms that a request was not let in: its credentials were wrong.
pub(super) fn note_refused(service: &Service, headers: &HeaderMap, connected: &Connected, refusal: &Refusal) {
    // Without any, nobody has guessed.
    let wrong = matches!(refusal, Refusal::Challenged(challenge) if challenge.may_be_guess());
    if wrong && headers.contains_key(AUTHORIZATION) {
        let from = service.guard.address(headers, connected);
        service.engine.audit.alarms().credential_failed(&from);
    }
}

/// Notes for alarms that a request names its principal as only a trusted proxy may.
pub(super) fn note_spoofed(service: &Service, headers: &HeaderMap, connected: &Connected) {
    let credentials = service.guard.credentials();
    let header = credentials.and_then(Credentials::proxy_header);
    if header.is_some_and(|header| headers.contains_key(header)) && !service.trusts(connected.source) {
        let from = service.guard.address(headers, connected);
        service.engine.audit.alarms().spoofed_header(&from);
    }
}

/// Notes for alarms that a request asked for a session that is not there.
pub(super) fn note_unknown(service: &Service, peer: &Peer, id: &SessionId, refusal: &Refusal) {
    if *refusal == Refusal::SessionNotFound {
        service.engine.audit.alarms().unknown_session(peer, id);
    }
}

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
