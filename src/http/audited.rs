//! What HTTP shows of who asks, for the audit log while that is on, and what alarms are told of a request before it is let in.

use std::sync::{Arc, OnceLock};

use axum::response::Response;
use http::header::{USER_AGENT, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderName, Request, StatusCode};

use super::Service;
use super::media::text;
use super::request_line::RequestLine;
use super::response::RefusedFor;
use super::source::Connected;
use crate::audit::{Actor, CameFrom};
use crate::auth::Credentials;
use crate::cluster::LimitKind;
use crate::protocol::error::Refusal;
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
    let wrong = match refusal {
        Refusal::Challenged(challenge) => challenge.may_be_guess(),
        // So many were wrong that this one is not looked at.
        Refusal::Limited(limited) => limited.limit == LimitKind::FailuresAddress.label(),
        _ => false,
    };
    if !wrong {
        return;
    }
    // Without any, nobody has guessed.
    if let Some(credentials) = service
        .guard
        .credential_headers()
        .find_map(|name| headers.get(name))
    {
        let from = service.guard.address(headers, connected);
        let alarms = service.engine.audit.alarms();
        alarms.credential_failed(&from, credentials.as_bytes());
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
