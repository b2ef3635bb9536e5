//! A handler that asks its client what it is told to ask, in a call and outside.
#![expect(
    deprecated,
    reason = "SEP-2577 deprecates sampling and roots; legacy clients still use them"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anynode::session::Session;
use rmcp::handler::server::wrapper::Parameters;
use rmcp::model::{
    CreateMessageRequestParams, ElicitRequestParams, PingRequest, SamplingMessage, ServerCapabilities,
    ServerConfig, ServerRequest,
};
use rmcp::service::{NotificationContext, Peer, RequestContext, ServiceError};
use rmcp::{ErrorData, RoleServer, ServerHandler, tool, tool_handler, tool_router};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Asks, and keeps what came of it in the session, as `outcome`.
#[derive(Debug, Default, Clone)]
pub(crate) struct Asker {
    /// Whether it asks for roots as soon as a client is ready.
    pub(crate) greets: bool,
    /// How many handlers were told to stop.
    pub(crate) stopped: Arc<AtomicUsize>,
}

/// What to ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    Sampling,
    Elicitation,
    Roots,
    Ping,
}

impl Kind {
    pub(crate) const ALL: [Self; 4] = [Self::Sampling, Self::Elicitation, Self::Roots, Self::Ping];

    /// The method of the server's request.
    pub(crate) const fn method(self) -> &'static str {
        match self {
            Self::Sampling => "sampling/createMessage",
            Self::Elicitation => "elicitation/create",
            Self::Roots => "roots/list",
            Self::Ping => "ping",
        }
    }

    /// A client's answer that says this, and where the handler finds it. A ping says nothing.
    pub(crate) fn answer(self, says: &str) -> Value {
        match self {
            Self::Sampling => {
                json!({"model": "m", "role": "assistant", "content": {"type": "text", "text": says}})
            }
            Self::Elicitation => json!({"action": "accept", "content": {"says": says}}),
            Self::Roots => json!({"roots": [{"uri": format!("file:///{says}")}]}),
            Self::Ping => json!({}),
        }
    }
}

#[derive(Debug, Deserialize, JsonSchema)]
struct Ask {
    kind: Kind,
}

/// What came of a question, as text.
async fn ask(peer: &Peer<RoleServer>, kind: Kind) -> Result<String, ServiceError> {
    Ok(match kind {
        Kind::Sampling => {
            let params = CreateMessageRequestParams::new(vec![SamplingMessage::user_text("Well?")], 10);
            let answer = peer.create_message(params).await?;
            serde_json::to_string(&answer).expect("JSON")
        }
        Kind::Elicitation => {
            let form = json!({"type": "object", "properties": {"says": {"type": "string"}}});
            let params = ElicitRequestParams::FormElicitationParams {
                meta: None,
                message: "Well?".into(),
                requested_schema: serde_json::from_value(form).expect("a schema"),
            };
            serde_json::to_string(&peer.create_elicitation(params).await?).expect("JSON")
        }
        Kind::Roots => serde_json::to_string(&peer.list_roots().await?).expect("JSON"),
        Kind::Ping => {
            peer.send_request(ServerRequest::PingRequest(PingRequest::default()))
                .await?;
            "pong".into()
        }
    })
}

/// Keeps what came of a question where any node finds it.
async fn note(session: &Session, outcome: Result<String, ServiceError>) {
    let text = outcome.unwrap_or_else(|error| format!("error: {error}"));
    // The session may have ended by now.
    drop(session.set("outcome", &text).await);
}

#[tool_router]
impl Asker {
    #[tool(description = "Asks, and returns what came of it")]
    async fn ask(
        &self,
        Parameters(Ask { kind }): Parameters<Ask>,
        context: RequestContext<RoleServer>,
    ) -> Result<String, ErrorData> {
        tokio::select! {
            answer = ask(&context.peer, kind) => {
                answer.map_err(|error| ErrorData::internal_error(error.to_string(), None))
            }
            () = context.ct.cancelled() => {
                self.stopped.fetch_add(1, Ordering::SeqCst);
                Ok("stopped".into())
            }
        }
    }

    #[tool(description = "Returns at once, and asks after that")]
    async fn ask_later(&self, Parameters(Ask { kind }): Parameters<Ask>, session: Session) -> String {
        let peer = session.peer();
        tokio::spawn(async move { note(&session, ask(&peer, kind).await).await });
        "later".into()
    }

    #[tool(description = "Returns at once, and asks with the call's own peer when the call is over")]
    async fn ask_too_late(
        &self,
        Parameters(Ask { kind }): Parameters<Ask>,
        session: Session,
        context: RequestContext<RoleServer>,
    ) -> String {
        tokio::spawn(async move {
            while !context.peer.is_transport_closed() {
                tokio::task::yield_now().await;
            }
            note(&session, ask(&context.peer, kind).await).await;
        });
        "too late".into()
    }

    #[tool(description = "Says what came of the last question that was asked outside a call")]
    async fn outcome(&self, session: Session) -> Result<String, ErrorData> {
        let outcome: Option<String> = session
            .get("outcome")
            .await
            .map_err(|error| ErrorData::internal_error(error.to_string(), None))?;
        Ok(outcome.unwrap_or_default())
    }
}

#[tool_handler]
impl ServerHandler for Asker {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
    }

    async fn on_initialized(&self, context: NotificationContext<RoleServer>) {
        if let Some(session) = context.extensions.get::<Session>().filter(|_| self.greets) {
            note(session, ask(&context.peer, Kind::Roots).await).await;
        }
    }
}
