//! `initialize`: who the client is, what it speaks, and the session that comes of it.

use std::sync::Arc;

use axum::response::Response;
use http::{HeaderValue, StatusCode};
use rmcp::ErrorData;
use rmcp::model::{InitializeRequestParams, InitializeResult, ServerJsonRpcMessage, ServerResult};
use serde_json::value::RawValue;
use tokio::time::Instant;

use super::mcp::{Came, SESSION_HEADER, note, place, resource};
use super::{Shared, answer};
use crate::causes::causes;
use crate::config::ReplyForm;
use crate::protocol::classify::fit_client;
use crate::protocol::era::{Era, Revision};
use crate::protocol::error::{Refusal, error_body};
use crate::protocol::message::Request;
use crate::session::{Caller, Connection, Introduction, Peer, Principal, SessionRecord, TransportKind};
use crate::telemetry::metrics::Outcome;
use crate::telemetry::seldom;
use crate::transport::call;

/// `initialize`: negotiates the revision, makes the session, names it in a header.
pub(super) async fn initialize(
    shared: &Arc<Shared>,
    came: Came,
    request: Request<'_>,
) -> Result<Response, Refusal> {
    note(Era::Legacy, "initialize", None);
    let _place = place(&came.peer, resource(&request.method))?;
    let params: InitializeRequestParams = parse(request.params)?;
    let mut record = new_record(
        shared,
        introduction(&params),
        TransportKind::Streamable,
        came.principal,
    );
    let result = match negotiate(shared, params, (came.peer.peer(), came.began), &mut record).await {
        Ok(result) => result,
        Err(error) => {
            return Ok(answer::json(
                StatusCode::OK,
                error_body(Some(&request.id), &error),
            ));
        }
    };
    let id = shared.sessions.open(&record, came.peer.peer()).await?;
    note(Era::Legacy, "initialize", Some(&id.tag()));
    let message = ServerJsonRpcMessage::response(ServerResult::InitializeResult(result), request.id);
    let text = serde_json::to_vec(&message).map_err(|error| internal(&error))?;
    let mut response = match shared.settings.call.reply {
        // There is no session yet that could keep it: it cannot be taken up, and need not be.
        ReplyForm::Sse => answer::event(&text),
        ReplyForm::Auto | ReplyForm::Json => answer::json(StatusCode::OK, text),
    };
    let value = HeaderValue::from_str(id.as_str()).map_err(|error| internal(&error))?;
    response.headers_mut().insert(SESSION_HEADER.clone(), value);
    Ok(response)
}

/// What a client says of itself, with the revision that is offered to it.
pub(super) fn introduction(params: &InitializeRequestParams) -> Introduction {
    Introduction {
        revision: Revision::negotiate(params.protocol_version.as_str()),
        client_info: params.client_info.clone(),
        capabilities: params.capabilities.clone(),
    }
}

/// Lets the handler answer `initialize`, and puts the revision that it chose into the record.
pub(super) async fn negotiate(
    shared: &Shared,
    params: InitializeRequestParams,
    (peer, began): (&Peer, Instant),
    record: &mut SessionRecord,
) -> Result<InitializeResult, ErrorData> {
    let measured = shared.runner.measures.begin(Era::Legacy, "initialize", began);
    let caller = newcomer(shared, peer, record);
    let answered = call::initialize(params, &caller, &shared.runner).await;
    measured.end(match answered {
        Ok(_) => Outcome::Ok,
        Err(_) => Outcome::Error,
    });
    let mut result = answered?;
    // A handler may serve fewer revisions than this server: then what it chose counts.
    let chosen =
        Revision::parse(result.protocol_version.as_str()).filter(|chosen| chosen.era() == Era::Legacy);
    record.revision = chosen.unwrap_or(record.revision);
    result.protocol_version = record.revision.to_rmcp();
    Ok(result)
}

/// The caller of `initialize`, who has no session yet.
fn newcomer(shared: &Shared, peer: &Peer, record: &SessionRecord) -> Caller {
    let notebooks = shared.notebooks(&record.principal, peer);
    Caller {
        revision: record.revision,
        node: shared.node.clone(),
        restored: false,
        principal: record.principal.clone(),
        peer: peer.clone(),
        client: Some(Arc::new(record.client_info.clone())),
        capabilities: Arc::new(record.capabilities.clone()),
        session: None,
        notebooks,
        connection: Connection::default(),
        tasks: shared.tasks(&record.principal, peer),
        announcer: shared.announcer(),
        request_state: shared.request_state(),
    }
}

pub(super) fn new_record(
    shared: &Shared,
    introduction: Introduction,
    transport: TransportKind,
    principal: Principal,
) -> SessionRecord {
    let now_ms = shared.now_ms();
    SessionRecord {
        revision: introduction.revision,
        transport,
        client_info: introduction.client_info,
        capabilities: introduction.capabilities,
        initialized: false,
        created_at_ms: now_ms,
        last_activity_ms: now_ms,
        node_id: shared.node.clone(),
        principal,
        log_level: None,
        subscriptions: Default::default(),
    }
}

pub(super) fn internal(cause: &(dyn std::error::Error + 'static)) -> Refusal {
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
