//! A server with everything: each feature of MCP in a short file of its own, for clients of every revision.
//!
//! It offers what the official conformance suite asks of a server, which is where the names come from. It takes the
//! settings, flags and commands of `mcp-server`, so run it as you run that, on one node or on many:
//!
//! ```sh
//! cargo run --release --example everything
//! ```
//!
//! Nothing here knows how many nodes there are. What belongs to a client is in its session, in a sealed
//! `requestState`, or nowhere; that is all it takes for any node to serve any request.
#![expect(
    deprecated,
    reason = "SEP-2577 deprecates sampling, roots and logging; clients of all revisions still use them"
)]

use std::process::ExitCode;

use anynode::session::Caller;
use rmcp::handler::server::prompt::PromptContext;
use rmcp::handler::server::router::prompt::PromptRouter;
use rmcp::handler::server::router::tool::ToolRouter;
use rmcp::handler::server::tool::ToolCallContext;
use rmcp::model::{
    CacheScope, CallToolRequestParams, CallToolResponse, CancelTaskParams, CompleteRequestParams,
    CompleteResult, GetPromptRequestParams, GetPromptResponse, GetSkillRequestParams, GetSkillResult,
    GetTaskParams, GetTaskResult, Implementation, ListPromptsResult, ListResourceTemplatesResult,
    ListResourcesResult, ListSkillsResult, ListToolsResult, PaginatedRequestParams,
    ReadResourceDirectoryRequestParams, ReadResourceDirectoryResult, ReadResourceRequestParams,
    ReadResourceResponse, ServerCapabilities, ServerConfig, SubscribeRequestParams, SubscriptionFilter, Tool,
    UnsubscribeRequestParams, UpdateTaskParams,
};
use rmcp::service::RequestContext;
use rmcp::{ErrorData, RoleServer, ServerHandler};

mod ask;
mod capabilities;
mod changes;
mod completion;
mod content;
mod elicitation;
mod forms;
mod input_required;
mod logging;
mod progress;
mod prompts;
mod reconnection;
mod resources;
mod sampling;
mod schemas;
mod skills;
mod tasks;

use skills::Skills;

/// How long a client may keep a list before it asks again. These lists never change while the server runs.
const LISTS_LAST_MS: u64 = 60_000;

/// The handler. One serves all clients of its node, so it holds what is the same for all of them, and nothing else.
struct Everything {
    tools: ToolRouter<Self>,
    prompts: PromptRouter<Self>,
    skills: Skills,
    /// The tools as `tools/list` gives them: in the same order each time, and on each node.
    listed: Vec<Tool>,
}

fn main() -> ExitCode {
    anynode::cli::main(anynode::program!(), Everything::new)
}

impl Everything {
    fn new() -> Self {
        let features = [
            Self::content_tools(),
            Self::progress_tools(),
            Self::logging_tools(),
            Self::sampling_tools(),
            Self::elicitation_tools(),
            Self::form_tools(),
            Self::input_required_tools(),
            Self::capability_tools(),
            Self::reconnection_tools(),
            Self::change_tools(),
            Self::task_tools(),
            Self::schema_tools(),
        ];
        let listed = features.iter().flat_map(ToolRouter::list_all).collect();
        let mut tools = ToolRouter::new();
        for feature in features {
            tools.merge(feature);
        }
        Self {
            tools,
            prompts: Self::prompt_router(),
            skills: Skills::new(),
            listed,
        }
    }
}

/// Who makes a request. Tools and prompts take their `Caller` as a parameter instead.
fn caller(context: &RequestContext<RoleServer>) -> Result<&Caller, ErrorData> {
    let caller = context.extensions.get::<Caller>();
    caller.ok_or_else(|| ErrorData::internal_error("served without anynode", None))
}

impl ServerHandler for Everything {
    fn get_info(&self) -> ServerConfig {
        // What is declared here is what clients will ask for, and what `subscriptions/listen` may be asked for.
        let capabilities = ServerCapabilities::builder()
            .enable_tools()
            .enable_tool_list_changed()
            .enable_prompts()
            .enable_prompts_list_changed()
            .enable_resources()
            .enable_resources_subscribe()
            .enable_resources_list_changed()
            .enable_completions()
            .enable_logging()
            .enable_tasks()
            .enable_skills_with_directory_read()
            .build();
        let server = Implementation::new("everything", env!("CARGO_PKG_VERSION"))
            .with_description("Every feature of MCP, on any node");
        ServerConfig::new(capabilities).with_server_info(server)
    }

    async fn list_tools(
        &self,
        _page: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        // Caching hints go to clients that know them (2026-07-28), and are left out for all others.
        Ok(ListToolsResult::with_all_items(self.listed.clone())
            .with_ttl_ms(LISTS_LAST_MS)
            .with_cache_scope(CacheScope::Public))
    }

    fn get_tool(&self, name: &str) -> Option<Tool> {
        self.tools.get(name).cloned()
    }

    async fn call_tool(
        &self,
        call: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        self.tools.call(ToolCallContext::new(self, call, context)).await
    }

    async fn list_prompts(
        &self,
        _page: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListPromptsResult, ErrorData> {
        Ok(ListPromptsResult::with_all_items(prompts::list(&self.prompts))
            .with_ttl_ms(LISTS_LAST_MS)
            .with_cache_scope(CacheScope::Public))
    }

    async fn get_prompt(
        &self,
        prompt: GetPromptRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<GetPromptResponse, ErrorData> {
        let prompt = PromptContext::new(self, prompt.name, prompt.arguments, context);
        self.prompts.get_prompt(prompt).await
    }

    async fn complete(
        &self,
        request: CompleteRequestParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<CompleteResult, ErrorData> {
        completion::complete(&request)
    }

    async fn list_resources(
        &self,
        _page: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListResourcesResult, ErrorData> {
        let resources = resources::list().into_iter().chain(self.skills.resources());
        Ok(ListResourcesResult::with_all_items(resources.collect())
            .with_ttl_ms(LISTS_LAST_MS)
            .with_cache_scope(CacheScope::Public))
    }

    async fn list_resource_templates(
        &self,
        _page: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListResourceTemplatesResult, ErrorData> {
        Ok(
            ListResourceTemplatesResult::with_all_items(resources::templates())
                .with_ttl_ms(LISTS_LAST_MS)
                .with_cache_scope(CacheScope::Public),
        )
    }

    async fn read_resource(
        &self,
        request: ReadResourceRequestParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<ReadResourceResponse, ErrorData> {
        let found = self.skills.read(&request.uri);
        Ok(found.map_or_else(|| resources::read(&request.uri), Ok)?.into())
    }

    async fn list_skills(
        &self,
        _page: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListSkillsResult, ErrorData> {
        Ok(self.skills.list())
    }

    async fn get_skill(
        &self,
        request: GetSkillRequestParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<GetSkillResult, ErrorData> {
        self.skills.get(&request.uri)
    }

    async fn read_resource_directory(
        &self,
        request: ReadResourceDirectoryRequestParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<ReadResourceDirectoryResult, ErrorData> {
        self.skills.directory(&request.uri)
    }

    // Tasks are the library's to keep, on every node: what clients ask of one is passed on.

    async fn get_task(
        &self,
        request: GetTaskParams,
        context: RequestContext<RoleServer>,
    ) -> Result<GetTaskResult, ErrorData> {
        caller(&context)?.tasks.get(&request.task_id).await
    }

    async fn update_task(
        &self,
        request: UpdateTaskParams,
        context: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        let tasks = &caller(&context)?.tasks;
        tasks.update(&request.task_id, request.input_responses).await
    }

    async fn cancel_task(
        &self,
        request: CancelTaskParams,
        context: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        caller(&context)?.tasks.cancel(&request.task_id).await
    }

    // The library keeps subscriptions, on all nodes and in either era. A handler only says what there is to subscribe to.

    async fn subscribe(
        &self,
        request: SubscribeRequestParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        resources::check(&request.uri)
    }

    async fn unsubscribe(
        &self,
        request: UnsubscribeRequestParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        resources::check(&request.uri)
    }

    fn accepted_subscription_filter(&self, wanted: &SubscriptionFilter) -> Option<SubscriptionFilter> {
        let mut accepted = wanted.clone();
        if let Some(uris) = &mut accepted.resource_subscriptions {
            uris.retain(|uri| resources::check(uri).is_ok());
        }
        Some(accepted)
    }
}
