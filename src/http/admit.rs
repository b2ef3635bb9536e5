//! A request that was let in, with its body within its bound.

use std::sync::Arc;

use axum::body::Body as HttpBody;
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderName, Request};
use tokio::time::Instant;

use super::audited::AuditedRequest;
use super::source::{Connected, Source};
use super::{Service, audited, body, media};
use crate::config::ReplyForm;
use crate::engine::incoming::{Incoming, Requester};
use crate::engine::request::RequestMeta;
use crate::engine::shares::PeerUse;
use crate::protocol::error::Refusal;
use crate::protocol::headers::{VERSION_HEADER, name_member};
use crate::protocol::message::{Message, Request as Call};
use crate::protocol::revisions::Revisions;
use crate::session::request_info::Headers;
use crate::session::{Identity, Peer, RequestInfo, SessionId};

/// The session's header (2025-11-25, Transports, "Session Management").
pub(super) static SESSION_HEADER: HeaderName = HeaderName::from_static("mcp-session-id");
/// Where a client stopped reading (2025-11-25, Transports, "Resumability and Redelivery").
pub(super) static LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// A request that was let in.
#[derive(Debug)]
pub(super) struct AdmittedRequest {
    pub(super) parts: Parts,
    pub(super) identity: Identity,
    /// The other end of its connection.
    pub(super) source: Source,
    /// When it came.
    began: Instant,
    /// The peer it counts for.
    peer: Arc<PeerUse>,
    /// The address it came from, if that is limited.
    pub(super) address: Option<Peer>,
    /// How many messages of it were counted for its address and its principal.
    pub(super) counted: u32,
    /// What form its reply has: the one that is set, unless the client accepts only single bodies.
    pub(super) form: ReplyForm,
}

impl AdmittedRequest {
    /// Lets a request in that came on that connection at `began`, without its body.
    pub(super) async fn admit(
        service: &Service,
        mut parts: Parts,
        connected: &Connected,
        began: Instant,
    ) -> Result<Self, Refusal> {
        audited::note_spoofed(service, &parts.headers, connected);
        let limits = &service.engine.limits;
        let identity = match service.guard.admit(&parts, connected, limits).await {
            Ok(identity) => identity,
            Err(refusal) => {
                audited::note_refused(service, &parts.headers, connected, &refusal);
                return Err(refusal);
            }
        };
        if let Some(asker) = AuditedRequest::of(&parts.extensions) {
            asker.is(identity.principal());
        }
        service.guard.hide_credentials(&mut parts.headers);
        let peer = service.guard.peer(
            identity.principal(),
            &parts.headers,
            connected,
            &service.engine.shares,
        );
        Ok(Self {
            address: service.limited_address(&parts.headers, connected),
            counted: 0,
            parts,
            identity,
            source: connected.source,
            began,
            peer,
            form: service.engine.settings.call.reply,
        })
    }

    /// Lets a request in that the router has passed on, without its body.
    pub(super) async fn of(
        service: &Service,
        request: Request<HttpBody>,
        began: Instant,
    ) -> Result<Self, Refusal> {
        let connected = Connected::of(&request)?;
        Self::admit(service, request.into_parts().0, &connected, began).await
    }

    /// Lets a `POST` in and reads its body, which is JSON.
    pub(super) async fn with_body(
        service: &Service,
        request: Request<HttpBody>,
        connected: &Connected,
        began: Instant,
    ) -> Result<(Self, body::Held), Refusal> {
        let (parts, http_body) = request.into_parts();
        let mut admitted = Self::admit(service, parts, connected, began).await?;
        admitted.count_unread(service).await?;
        let headers = &admitted.parts.headers;
        media::check_content_type(headers)?;
        let max = service.engine.settings.http.body_bytes_max;
        let held = body::read(&admitted.peer, headers, http_body, max).await?;
        Ok((admitted, held))
    }

    /// Refuses the call of a tool whose scopes its caller lacks. What the body says is called counts.
    pub(super) fn check_scopes(
        &self,
        service: &Service,
        call: &Call<'_>,
        meta: &RequestMeta,
    ) -> Result<(), Refusal> {
        if !service.guard.bounds_tools() || call.method != "tools/call" {
            return Ok(());
        }
        let tool = meta.named(name_member(&call.method)).unwrap_or_default();
        let reads = || {
            let hints = service.engine.tool(tool).and_then(|tool| tool.annotations);
            hints.and_then(|hints| hints.read_only_hint) == Some(true)
        };
        let checked = service.guard.check_tool(&self.identity, &self.parts, tool, reads);
        checked.inspect_err(|_lacking| {
            let asker = AuditedRequest::of(&self.parts.extensions);
            // Another name may be anything.
            if let Some(asker) = asker.filter(|_| service.engine.tool(tool).is_some()) {
                asker.lacks(tool);
            }
        })
    }

    /// The same of a message that has not been read further.
    pub(super) fn check_message(&self, service: &Service, message: &Message<'_>) -> Result<(), Refusal> {
        match message {
            Message::Request(call) if service.guard.bounds_tools() && call.method == "tools/call" => {
                // What cannot be read is refused where it is read in earnest.
                let Ok(meta) = RequestMeta::read(call.params) else {
                    return Ok(());
                };
                self.check_scopes(service, call, &meta)
            }
            _ => Ok(()),
        }
    }

    /// The `MCP-Protocol-Version` header.
    pub(super) fn version(&self) -> Option<&str> {
        let version = self.parts.headers.get(&VERSION_HEADER);
        version.map(|value| value.to_str().unwrap_or_default().trim())
    }

    /// Refuses a request that names a revision that is not served.
    pub(super) fn check_version(&self, served: Revisions) -> Result<(), Refusal> {
        check_version(self.version(), served)
    }

    /// Notes for the audit log which session it asks for.
    pub(super) fn asks_for(&self, session: &SessionId) -> Option<Arc<AuditedRequest>> {
        let asker = AuditedRequest::of(&self.parts.extensions);
        if let Some(asker) = &asker {
            asker.asks_for(session);
        }
        asker
    }

    /// What its peer uses of the node.
    pub(super) const fn uses(&self) -> &Arc<PeerUse> {
        &self.peer
    }

    /// The peer it counts for.
    pub(super) fn peer(&self) -> &Peer {
        self.peer.peer()
    }

    /// Whether it names a session.
    pub(super) fn names_session(&self) -> bool {
        self.parts.headers.contains_key(&SESSION_HEADER)
    }

    /// The id of the session that it names in its header, if it names any.
    pub(super) fn named_session(&self) -> Option<Result<SessionId, Refusal>> {
        let value = self.parts.headers.get(&SESSION_HEADER)?;
        let id = value.to_str().ok().and_then(SessionId::parse);
        Some(id.ok_or(Refusal::SessionNotFound))
    }

    /// The id of the session that it names in its header.
    pub(super) fn session_id(&self) -> Result<SessionId, Refusal> {
        self.named_session().unwrap_or(Err(Refusal::NoSession))
    }

    /// The session that it names in its query.
    pub(super) fn session_in_query(&self) -> Option<&str> {
        let mut pairs = self.parts.uri.query()?.split('&');
        pairs.find_map(|pair| pair.strip_prefix("sessionId="))
    }

    /// The `Last-Event-ID` header.
    pub(super) fn last_event_id(&self) -> Option<&str> {
        let id = self.parts.headers.get(&LAST_EVENT_ID);
        id.map(|id| id.to_str().unwrap_or_default())
    }

    /// The message as the engine gets it; `body` is kept for another node.
    pub(super) fn into_incoming(self, body: Bytes) -> Incoming {
        let from = AuditedRequest::of(&self.parts.extensions).map(|asker| asker.from());
        Incoming {
            from,
            requester: Requester {
                identity: self.identity,
                peer: self.peer,
                info: RequestInfo::later(self.parts.headers),
            },
            address: self.address,
            began: self.began,
            form: self.form,
            body,
        }
    }
}

/// Refuses a `MCP-Protocol-Version` header of a revision that is not served.
pub(super) fn check_version(header: Option<&str>, served: Revisions) -> Result<(), Refusal> {
    match header.is_some_and(|version| served.parse(version).is_none()) {
        true => Err(Refusal::UnknownVersionHeader(served)),
        false => Ok(()),
    }
}

/// The headers, except secret ones and those that are not text.
impl Headers for HeaderMap {
    fn each(&self, give: &mut dyn FnMut(&str, &str)) {
        for (name, value) in self.iter().filter(|(_, value)| !value.is_sensitive()) {
            if let Ok(value) = value.to_str() {
                give(name.as_str(), value);
            }
        }
    }
}
