//! `initialize`: who the client is, what it speaks, and the session that comes of it.

use std::sync::Arc;

use bytes::Bytes;
use rmcp::ErrorData;
use rmcp::model::{InitializeRequestParams, InitializeResult, ServerJsonRpcMessage, ServerResult};
use serde_json::value::RawValue;
use tokio::time::Instant;

use super::dispatch::{permit, resource};
use super::incoming::{Incoming, Requester};
use super::watch::kept_agent;
use super::{Engine, call};
use crate::causes::causes;
use crate::cluster::{LimitKind, LimitedBy};
use crate::protocol::classify::fit_client;
use crate::protocol::era::Era;
use crate::protocol::error::{Refusal, error_body};
use crate::protocol::message::Request;
use crate::session::{
    Caller, Connection, Introduction, Peer, Principal, SessionId, SessionRecord, TransportKind,
};
use crate::telemetry::metrics::Outcome;
use crate::telemetry::seldom;

/// The outcome of `initialize` on `/mcp`.
#[derive(Debug)]
pub(crate) struct Initialized {
    /// The JSON-RPC response.
    pub body: Bytes,
    /// The session, unless the handler refused to open one.
    pub session: Option<SessionId>,
}

impl Engine {
    /// Negotiates the revision, and makes the session.
    ///
    /// # Errors
    /// [`Refusal`].
    pub(crate) async fn initialize(
        self: &Arc<Self>,
        incoming: Incoming,
        request: Request<'_>,
    ) -> Result<Initialized, Refusal> {
        self.count_opening(&incoming).await?;
        let _permit = permit(&incoming.requester.peer, resource(&request.method))?;
        let params: InitializeRequestParams = parse(request.params)?;
        let introduction = self.introduction(&params, &incoming)?;
        let mut record = self.new_record(
            introduction,
            TransportKind::Streamable,
            incoming.requester.identity.principal().clone(),
        );
        let result = match self.negotiate(params, &incoming, &mut record).await {
            Ok(result) => result,
            Err(error) => {
                return Ok(Initialized {
                    body: error_body(Some(&request.id), &error).into(),
                    session: None,
                });
            }
        };
        let peer = incoming.requester.peer.peer();
        let id = self.sessions.open(&record, peer).await?;
        self.note_made(&id, &record, peer, incoming.from.as_deref());
        let message = ServerJsonRpcMessage::response(ServerResult::InitializeResult(result), request.id);
        let body = serde_json::to_vec(&message).map_err(|error| internal(&error))?;
        Ok(Initialized {
            body: body.into(),
            session: Some(id),
        })
    }

    /// Counts a session that a client opens.
    ///
    /// # Errors
    /// [`Refusal::Limited`].
    pub(super) async fn count_opening(&self, incoming: &Incoming) -> Result<(), Refusal> {
        if !self.limits.are_on() {
            return Ok(());
        }
        let from = incoming.address.clone().map(LimitedBy::Peer);
        if let Some(from) = &from {
            let kind = LimitKind::InitializeAddress;
            self.limits.admit(kind, from.clone(), 1).await?;
        }
        let principal = incoming.requester.identity.principal();
        if principal.as_str().is_empty() {
            return Ok(());
        }
        let whose = LimitedBy::Peer(Peer::Principal(principal.clone()));
        let admitted = self.limits.admit(LimitKind::InitializePrincipal, whose, 1).await;
        if let (Err(_), Some(from)) = (&admitted, from) {
            self.limits.give_back(LimitKind::InitializeAddress, from, 1);
        }
        Ok(admitted?)
    }

    /// Lets the handler answer `initialize`, and puts the revision that it chose into the record.
    pub(super) async fn negotiate(
        self: &Arc<Self>,
        params: InitializeRequestParams,
        incoming: &Incoming,
        record: &mut SessionRecord,
    ) -> Result<InitializeResult, ErrorData> {
        let began: Instant = incoming.began;
        let measured = self.measures.begin(Era::Legacy, "initialize", began);
        let caller = self.newcomer(&incoming.requester, record);
        let answered = call::initialize(params, &caller, self).await;
        measured.end(match answered {
            Ok(_) => Outcome::Ok,
            Err(_) => Outcome::Error,
        });
        let mut result = answered?;
        // A handler may serve fewer revisions than this server: then what it chose counts.
        let chosen = self.revisions.parse(result.protocol_version.as_str());
        let chosen = chosen.filter(|chosen| chosen.era() == Era::Legacy);
        record.revision = chosen.unwrap_or(record.revision);
        result.protocol_version = record.revision.to_rmcp();
        Ok(result)
    }

    /// What a client says of itself, with the revision that is offered to it.
    ///
    /// # Errors
    /// [`Refusal::UnsupportedVersion`], when no revision with sessions is served.
    pub(super) fn introduction(
        &self,
        params: &InitializeRequestParams,
        incoming: &Incoming,
    ) -> Result<Introduction, Refusal> {
        let requested = params.protocol_version.as_str();
        let served = self.revisions;
        let offered = served.negotiate(requested);
        Ok(Introduction {
            revision: offered.ok_or_else(|| Refusal::UnsupportedVersion {
                requested: requested.to_owned(),
                served,
            })?,
            client_info: params.client_info.clone(),
            capabilities: params.capabilities.clone(),
            agent: kept_agent(incoming.requester.info.header("user-agent")).to_owned(),
        })
    }

    /// The caller of `initialize`, who has no session yet.
    fn newcomer(self: &Arc<Self>, requester: &Requester, record: &SessionRecord) -> Caller {
        let peer = requester.peer.peer();
        Caller {
            revision: record.revision,
            node: self.node.clone(),
            restored: false,
            principal: record.principal.clone(),
            identity: requester.identity.clone(),
            peer: peer.clone(),
            client: Some(Arc::new(record.client_info.clone())),
            capabilities: Arc::new(record.capabilities.clone()),
            session: None,
            notebooks: self.notebooks(&record.principal, peer),
            connection: Connection::default(),
            request: requester.info.clone(),
            tasks: self.tasks_of(&record.principal, peer),
            announcer: self.announcer(),
            request_state: self.request_state(),
            asking: None,
        }
    }

    /// The record of a session that begins now.
    pub(super) fn new_record(
        &self,
        introduction: Introduction,
        transport: TransportKind,
        principal: Principal,
    ) -> SessionRecord {
        let now_ms = self.now_ms();
        SessionRecord {
            revision: introduction.revision,
            transport,
            client_info: introduction.client_info,
            capabilities: introduction.capabilities,
            initialized: false,
            created_at_ms: now_ms,
            last_activity_ms: now_ms,
            node_id: self.node.clone(),
            principal,
            log_level: None,
            subscriptions: Default::default(),
            agent: introduction.agent,
        }
    }
}

/// An answer could not be written.
pub(crate) fn internal(cause: &(dyn std::error::Error + 'static)) -> Refusal {
    let words = "an answer could not be written";
    seldom(
        words,
        |left_out| tracing::error!(error = %causes(cause), left_out, "{words}"),
    );
    Refusal::Internal
}

pub(super) fn parse(params: Option<&RawValue>) -> Result<InitializeRequestParams, Refusal> {
    let params = params.ok_or_else(|| Refusal::InvalidParams("`params` is missing".into()))?;
    let mut params: InitializeRequestParams =
        serde_json::from_str(params.get()).map_err(|error| Refusal::InvalidParams(error.to_string()))?;
    fit_client(&mut params.client_info, &params.capabilities)?;
    Ok(params)
}
