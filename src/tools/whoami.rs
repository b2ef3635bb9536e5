//! `whoami`: how the server sees the caller, and which node answered.

use rmcp::handler::server::wrapper::Json;
use rmcp::{tool, tool_router};
use schemars::JsonSchema;
use serde::Serialize;

use super::Tools;
use crate::session::Caller;

/// What the server knows of a caller. Never the session's id: it is a credential.
#[derive(Debug, Serialize, JsonSchema)]
struct Seen {
    /// The node that answered.
    node: String,
    /// How you keep your context: `legacy` (in a session) or `modern` (in each request).
    era: &'static str,
    /// The protocol revision this request is served in.
    revision: &'static str,
    /// Your client, as it describes itself; absent when it does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "SeenClient")]
    client: Option<SeenClient>,
    /// Who you are by your credentials; absent when the server asks for none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    principal: Option<String>,
    /// What your token allows, with all that it stands for; absent when scopes do not bound you.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Vec<String>")]
    scopes: Option<Vec<String>>,
    /// Whether this node had to restore your session from the store to answer.
    restored: bool,
    /// Whether you have a session, and with it a notebook of your own.
    session: bool,
}

#[derive(Debug, Serialize, JsonSchema)]
struct SeenClient {
    /// The client's name.
    name: String,
    /// The client's version.
    version: String,
}

#[tool_router(router = whoami_router, vis = "pub(super)")]
impl Tools {
    #[tool(
        title = "Who am I",
        description = "Tells how the server sees you: which node answered, your protocol revision, your client's \
                       name and version, your principal and its scopes, whether you have a session, and whether this node had to restore it.",
        annotations(
            read_only_hint = true,
            destructive_hint = false,
            idempotent_hint = true,
            open_world_hint = false
        )
    )]
    fn whoami(&self, caller: Caller) -> Json<Seen> {
        Json(Seen {
            node: caller.node.to_string(),
            era: caller.era().as_str(),
            revision: caller.revision.as_str(),
            client: caller.client.as_deref().map(|client| SeenClient {
                name: client.name.clone(),
                version: client.version.clone(),
            }),
            principal: Some(caller.principal.as_str())
                .filter(|name| !name.is_empty())
                .map(ToOwned::to_owned),
            scopes: caller
                .identity
                .scopes()
                .map(|scopes| scopes.map(ToOwned::to_owned).collect())
                .filter(|_| !caller.principal.as_str().is_empty()),
            restored: caller.restored,
            session: caller.session.is_some(),
        })
    }
}
