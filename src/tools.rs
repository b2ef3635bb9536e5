//! The built-in server: a notebook, in which agents keep notes across calls, nodes and hand-overs.
//!
//! A session (revisions to 2025-11-25) has a notebook of its own. Any client can also open one that is named
//! by a handle, and pass the handle on. Each tool is in its own file; what they share is in:
//!
//! - `notes`: the notes of one notebook, and the one way to change them.
//! - `uri` and `resources`: notes as resources, `note://{notebook}/{key}`.
//! - `handoff` and `completion`: the prompt, and what a client may offer while a person types.
//! - `failure` and `spoken`: results.
//! - `any_json`: the schema of a member that may be anything.

use rmcp::handler::server::prompt::PromptContext;
use rmcp::handler::server::router::prompt::PromptRouter;
use rmcp::handler::server::router::tool::ToolRouter;
use rmcp::handler::server::tool::ToolCallContext;
#[expect(
    deprecated,
    reason = "SEP-2577 deprecates logging; legacy clients still set its level"
)]
use rmcp::model::SetLevelRequestParams;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CompleteRequestParams, CompleteResult, GetPromptRequestParams,
    GetPromptResponse, Implementation, ListPromptsResult, ListResourceTemplatesResult, ListResourcesResult,
    ListToolsResult, PaginatedRequestParams, ReadResourceRequestParams, ReadResourceResponse,
    ServerCapabilities, ServerConfig, SubscribeRequestParams, SubscriptionFilter, Tool,
    UnsubscribeRequestParams,
};
use rmcp::service::RequestContext;
use rmcp::{ErrorData, RoleServer, ServerHandler};

use crate::session::Caller;

mod any_json;
mod ask;
#[cfg(test)]
mod behaviour;
mod completion;
mod countdown;
mod echo;
mod failure;
mod forget;
mod handoff;
mod increment;
mod list_notes;
mod note_key;
mod notes;
mod open_notebook;
mod recall;
mod remember;
mod resources;
mod spoken;
mod summarize;
#[cfg(test)]
mod testing;
mod uri;
mod whoami;

/// What a model is told about the server as a whole.
const INSTRUCTIONS: &str = "\
A notebook for agents: notes that outlast this call and can be handed to another agent. `remember`, `recall`, \
`list_notes`, `increment` and `forget` work on your session's own notebook, or on a shared one when you pass its \
handle as `notebook`. `open_notebook` makes a shared notebook: keep its handle, and pass it on to share the notes. \
Without a session you need one. Look with `list_notes` before you ask for what may already be known.";

/// The built-in MCP server, a notebook. Serve it with [`App`](crate::App).
///
/// It expects a [`Caller`] in the extensions of each request, and answers -32603 without one.
#[derive(Debug)]
pub struct Notebook {
    router: ToolRouter<Tools>,
    /// The tools in the order of `tools/list`, the same on every call and node.
    tools: Vec<Tool>,
    prompts: PromptRouter<Tools>,
}

/// What the tools and the prompt are methods of. They keep nothing here: all they need comes with the
/// request.
///
/// Not [`Notebook`], because rmcp's macros add a public function for each.
#[derive(Debug)]
struct Tools;

impl Default for Notebook {
    fn default() -> Self {
        Self::new()
    }
}

impl Notebook {
    /// The tools that say nothing before their result. The others tell progress, or ask.
    pub const SILENT: &[&str] = &[
        "echo",
        "whoami",
        "open_notebook",
        "remember",
        "recall",
        "list_notes",
        "increment",
        "forget",
    ];

    /// The server with all its tools.
    #[must_use]
    pub fn new() -> Self {
        let in_order = [
            // First, because clients and benchmarks that know no tool call the first one.
            Tools::echo_router(),
            Tools::whoami_router(),
            Tools::open_notebook_router(),
            Tools::remember_router(),
            Tools::recall_router(),
            Tools::list_notes_router(),
            Tools::increment_router(),
            Tools::forget_router(),
            Tools::countdown_router(),
            Tools::ask_router(),
            Tools::summarize_router(),
        ];
        let tools = in_order.iter().flat_map(ToolRouter::list_all).collect();
        let mut router = ToolRouter::new();
        for part in in_order {
            router.merge(part);
        }
        Self {
            router,
            tools,
            prompts: Tools::prompt_router(),
        }
    }
}

/// Who made the request.
fn caller(context: &RequestContext<RoleServer>) -> Result<&Caller, ErrorData> {
    context.extensions.get::<Caller>().ok_or_else(|| {
        ErrorData::internal_error(
            "the request names no caller: serve this handler with anynode",
            None,
        )
    })
}

impl ServerHandler for Notebook {
    #[expect(
        deprecated,
        reason = "SEP-2577 deprecates logging; legacy clients and modern `_meta` still use it"
    )]
    fn get_info(&self) -> ServerConfig {
        let capabilities = ServerCapabilities::builder()
            .enable_logging()
            .enable_completions()
            .enable_prompts()
            .enable_resources()
            .enable_resources_subscribe()
            .enable_tools()
            .build();
        let server = Implementation::new("anynode", env!("CARGO_PKG_VERSION"))
            .with_title("anynode notebook")
            .with_description("Notes that agents keep across calls, nodes and hand-overs");
        ServerConfig::new(capabilities)
            .with_server_info(server)
            .with_instructions(INSTRUCTIONS)
    }

    async fn list_tools(
        &self,
        _request: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        Ok(ListToolsResult::with_all_items(self.tools.clone()))
    }

    fn get_tool(&self, name: &str) -> Option<Tool> {
        self.router.get(name).cloned()
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let Some(route) = self.router.map.get(&request.name) else {
            let text = format!("unknown tool {:?}: tools/list names them all", request.name);
            return Err(ErrorData::invalid_params(text, None));
        };
        // Not `ToolRouter::call`, which turns arguments that do not fit the schema into a result: here they
        // are -32602.
        (route.call)(ToolCallContext::new(&Tools, request, context)).await
    }

    async fn list_prompts(
        &self,
        _request: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListPromptsResult, ErrorData> {
        Ok(ListPromptsResult::with_all_items(self.prompts.list_all()))
    }

    async fn get_prompt(
        &self,
        request: GetPromptRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<GetPromptResponse, ErrorData> {
        let prompt = PromptContext::new(&Tools, request.name, request.arguments, context);
        self.prompts.get_prompt(prompt).await
    }

    async fn complete(
        &self,
        request: CompleteRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CompleteResult, ErrorData> {
        completion::complete(caller(&context)?, request).await
    }

    async fn list_resources(
        &self,
        request: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListResourcesResult, ErrorData> {
        let cursor = request.and_then(|request| request.cursor);
        resources::list(caller(&context)?, cursor.as_deref()).await
    }

    async fn list_resource_templates(
        &self,
        _request: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListResourceTemplatesResult, ErrorData> {
        Ok(resources::templates())
    }

    async fn read_resource(
        &self,
        request: ReadResourceRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<ReadResourceResponse, ErrorData> {
        let read = resources::read(caller(&context)?, &request.uri).await?;
        Ok(read.into())
    }

    // The pipeline outside keeps subscriptions and the log level: here they are only checked, those of
    // listeners too.

    async fn subscribe(
        &self,
        request: SubscribeRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        resources::check_subscriber(caller(&context)?, &request.uri).await
    }

    async fn unsubscribe(
        &self,
        request: UnsubscribeRequestParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        resources::check_subscription(&request.uri)
    }

    fn accepted_subscription_filter(&self, requested: &SubscriptionFilter) -> Option<SubscriptionFilter> {
        let mut accepted = SubscriptionFilter::new();
        let uris = requested.resource_subscriptions.iter().flatten();
        // Whose notebook it is was asked before, see `subscribe`.
        let notes = uris.filter(|uri| resources::check_subscription(uri).is_ok());
        accepted.resource_subscriptions = Some(notes.cloned().collect());
        Some(accepted)
    }

    #[expect(
        deprecated,
        reason = "SEP-2577 deprecates logging; legacy clients still set its level"
    )]
    async fn set_level(
        &self,
        _request: SetLevelRequestParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn tools_are_listed_in_one_order_and_echo_comes_first() {
        let names = |notebook: &Notebook| {
            let tools = notebook.tools.iter();
            tools.map(|tool| tool.name.to_string()).collect::<Vec<_>>()
        };
        let notebook = Notebook::new();
        assert_eq!(names(&notebook).first().map(String::as_str), Some("echo"));
        assert_eq!(names(&notebook), names(&Notebook::new()));
        assert_eq!(notebook.tools.len(), 11);
        assert_eq!(notebook.router.map.len(), 11);
    }

    #[test]
    fn every_tool_says_all_that_a_model_needs() {
        for tool in Notebook::new().tools {
            let name = &tool.name;
            assert!(tool.title.is_some(), "{name} has no title");
            assert!(
                tool.description.is_some_and(|text| text.len() > 40),
                "{name} is not described"
            );
            assert_eq!(tool.input_schema["type"], "object", "{name}");
            let output = tool.output_schema.expect("an output schema");
            assert_eq!(output["type"], "object", "{name}");
            // ajv, in the TypeScript SDK, knows no unsigned formats and warns of each.
            let text = json!([tool.input_schema, output]).to_string();
            assert!(
                !text.contains("\"uint"),
                "{name} has a number of an unsigned format"
            );
            for (schema, side) in [(&tool.input_schema, "input"), (&output, "output")] {
                let properties = schema["properties"].as_object().unwrap();
                for (property, described) in properties {
                    assert!(described["description"].is_string(), "{name}: {side} {property}");
                }
            }
            let hints = tool.annotations.expect("annotations");
            assert!(hints.read_only_hint.is_some(), "{name}");
            assert!(hints.destructive_hint.is_some(), "{name}");
            assert!(hints.idempotent_hint.is_some(), "{name}");
            assert!(hints.open_world_hint.is_some(), "{name}");
        }
    }

    /// What keeps a strict client from taking a schema: several types in one place, and none in one. What is
    /// optional is absent, and not null.
    fn unportable(schema: &Value, place: &str, found: &mut Vec<String>) {
        let kinds = ["type", "anyOf", "$ref", "const", "enum"];
        if !kinds.iter().any(|kind| schema.get(kind).is_some()) {
            found.push(format!("{place}: no type"));
        }
        if schema["type"].is_array() || schema.get("nullable").is_some() {
            found.push(format!("{place}: several types"));
        }
        for part in ["properties", "$defs"] {
            for (name, below) in schema[part].as_object().into_iter().flatten() {
                unportable(below, &format!("{place}.{name}"), found);
            }
        }
        if let Some(items) = schema.get("items") {
            unportable(items, &format!("{place}[]"), found);
        }
        for below in schema["anyOf"].as_array().into_iter().flatten() {
            unportable(below, place, found);
        }
    }

    fn all_unportable(schema: &serde_json::Map<String, Value>, place: &str) -> Vec<String> {
        let mut found = Vec::new();
        unportable(&Value::Object(schema.clone()), place, &mut found);
        found
    }

    #[test]
    fn the_schemas_are_such_as_strict_clients_take() {
        for tool in Notebook::new().tools {
            let output = tool.output_schema.expect("an output schema");
            for (schema, side) in [(&tool.input_schema, "input"), (&output, "output")] {
                let found = all_unportable(schema, &format!("{} {side}", tool.name));
                assert_eq!(found, [""; 0]);
            }
            // A model is given the arguments only: of these, some dialects know no null at all, and no array
            // without `items`.
            let input = Value::Object((*tool.input_schema).clone()).to_string();
            assert!(!input.contains("\"null\""), "{}: {input}", tool.name);
            assert_eq!(
                input.matches("\"array\"").count(),
                input.matches("\"items\"").count(),
                "{}: {input}",
                tool.name
            );
        }
    }

    #[test]
    fn what_strict_clients_refuse_is_found() {
        for (schema, words) in [
            (json!({"type": ["string", "null"]}), "several types"),
            (json!({}), "no type"),
            (json!({"type": "string", "nullable": true}), "several types"),
            (json!({"type": "array", "items": {}}), "no type"),
            (json!({"anyOf": [{"type": ["string"]}]}), "several types"),
        ] {
            let whole = json!({"type": "object", "properties": {"member": schema}});
            let found = all_unportable(whole.as_object().unwrap(), "tool");
            assert!(
                found.iter().any(|found| found.contains(words)),
                "{whole}: {found:?}"
            );
        }
    }

    #[test]
    fn what_is_optional_may_be_absent() {
        let notebook = Notebook::new();
        let required = |schema: &serde_json::Map<String, Value>| schema["required"].clone();
        let of = |name: &str| notebook.get_tool(name).unwrap();
        assert_eq!(required(&of("remember").input_schema), json!(["key", "value"]));
        assert_eq!(required(&of("ask").output_schema.unwrap()), json!(["action"]));
        let seen = required(&of("whoami").output_schema.unwrap());
        for optional in ["client", "principal"] {
            assert!(!seen.as_array().unwrap().contains(&json!(optional)), "{seen}");
        }
    }

    #[test]
    fn the_schemas_state_the_bounds_that_the_code_keeps() {
        let notebook = Notebook::new();
        let input = |name: &str| notebook.get_tool(name).unwrap().input_schema;
        assert_eq!(
            input("remember")["properties"]["key"]["maxLength"],
            json!(note_key::NOTE_KEY_BYTES_MAX)
        );
        assert_eq!(input("countdown")["properties"]["from"]["maximum"], json!(100));
        assert_eq!(input("echo")["required"], json!(["text"]));
        assert_eq!(input("increment")["required"], json!(["key"]));
    }

    #[test]
    fn the_server_declares_just_what_it_does() {
        let info = serde_json::to_value(Notebook::new().get_info()).unwrap();
        assert_eq!(info["serverInfo"]["name"], "anynode");
        assert_eq!(
            info["capabilities"],
            json!({
                "logging": {}, "completions": {}, "prompts": {}, "resources": {"subscribe": true}, "tools": {}
            })
        );
    }
}
