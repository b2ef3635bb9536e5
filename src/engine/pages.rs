//! Lists that come in pages: a cursor that nobody gave is refused, also for handlers that look at none.
//!
//! The lists of rmcp's `#[tool_router]` and `#[prompt_router]`, and of most handlers written by hand, have one page
//! and ignore cursors: a client that made one up, or kept one from another server, would get the whole list again,
//! and take it for the next page. Only the handler knows its cursors, so the engine looks at what it answers. A
//! handler that answers a cursor with the very items of its first page, and has no further page, looks at none. One
//! that pages by itself answers with the rest of its list, or refuses: it is left alone.
//!
//! It is not enough to remember whether a list ever had pages: another node may have given the cursor, and a list may
//! get its second page, or lose it, at any time. The handler is asked twice only for a last page that was asked for
//! by a cursor.

use futures::future::BoxFuture;
use rmcp::model::{ClientRequest, ServerResult};
use rmcp::service::RequestContext;
use rmcp::{ErrorData, RoleServer};
use serde_json::Value;

use super::handler::{Handler, ask};

const REFUSED: &str = "`cursor` is not from this list: begin again without it";

/// The request for the first page of the list of which this asks for another; `None` of all other requests.
pub(super) fn first_page(request: &ClientRequest) -> Option<ClientRequest> {
    macro_rules! without_cursor {
        ($($list:ident),*) => {
            match request {
                $(ClientRequest::$list(list) => {
                    list.params.as_ref()?.cursor.as_ref()?;
                    let mut first = list.clone();
                    first.params.as_mut()?.cursor = None;
                    Some(ClientRequest::$list(first))
                })*
                _ => None,
            }
        };
    }
    without_cursor!(
        ListToolsRequest,
        ListPromptsRequest,
        ListResourcesRequest,
        ListResourceTemplatesRequest
    )
}

/// Asks the handler for a page, and for the first one if it is not sure that it looks at cursors.
pub(super) fn ask_for_page(
    handler: &dyn Handler,
    request: ClientRequest,
    first: ClientRequest,
    context: RequestContext<RoleServer>,
) -> BoxFuture<'_, Result<ServerResult, ErrorData>> {
    Box::pin(async move {
        let answer = ask(handler, request, context.clone()).await?;
        let Some(items) = items_of_last_page(&answer) else {
            return Ok(answer);
        };
        // That the first page cannot be had says nothing of this one.
        let first = ask(handler, first, context).await.ok();
        match first.as_ref().and_then(items_of_last_page) {
            Some(all) if all == items => Err(ErrorData::invalid_params(REFUSED, None)),
            _ => Ok(answer),
        }
    })
}

/// The items of a page that no other follows.
fn items_of_last_page(page: &ServerResult) -> Option<Value> {
    let (items, next) = match page {
        ServerResult::ListToolsResult(page) => (serde_json::to_value(&page.tools), &page.next_cursor),
        ServerResult::ListPromptsResult(page) => (serde_json::to_value(&page.prompts), &page.next_cursor),
        ServerResult::ListResourcesResult(page) => (serde_json::to_value(&page.resources), &page.next_cursor),
        ServerResult::ListResourceTemplatesResult(page) => {
            (serde_json::to_value(&page.resource_templates), &page.next_cursor)
        }
        _ => return None,
    };
    items.ok().filter(|_| next.is_none())
}

#[cfg(test)]
mod tests {
    use rmcp::ServerHandler;
    use rmcp::model::{ListToolsResult, PaginatedRequestParams, RequestId, Tool};

    use super::*;
    use crate::engine::no_peer::SharedPeers;

    /// Tools `a`, `b`, ...: all in one page, or so many in each.
    struct Lists {
        names: &'static [&'static str],
        page: Option<usize>,
    }

    impl ServerHandler for Lists {
        async fn list_tools(
            &self,
            request: Option<PaginatedRequestParams>,
            _context: RequestContext<RoleServer>,
        ) -> Result<ListToolsResult, ErrorData> {
            let tools = self
                .names
                .iter()
                .map(|name| Tool::new(*name, "", serde_json::Map::new()));
            let Some(page) = self.page else {
                return Ok(ListToolsResult::with_all_items(tools.collect()));
            };
            let from = match request.and_then(|request| request.cursor) {
                None => 0,
                Some(cursor) => cursor
                    .parse()
                    .map_err(|_bad| ErrorData::invalid_params("the handler's own words", None))?,
            };
            let mut listed = ListToolsResult::with_all_items(tools.skip(from).take(page).collect());
            let next = from + page;
            listed.next_cursor = (next < self.names.len()).then(|| next.to_string());
            Ok(listed)
        }
    }

    /// The names on that page, or the refusal.
    async fn list(lists: Lists, cursor: Option<&str>) -> Result<String, String> {
        let request = serde_json::json!({"method": "tools/list", "params": {"cursor": cursor}});
        let request: ClientRequest = serde_json::from_value(request).unwrap();
        let peer = SharedPeers::open()
            .of(crate::protocol::era::Revision::NEWEST_LEGACY)
            .unwrap();
        let context = RequestContext::new(RequestId::Number(1), peer);
        let answer = match first_page(&request) {
            Some(first) => ask_for_page(&lists, request, first, context).await,
            None => ask(&lists, request, context).await,
        };
        match answer {
            Ok(ServerResult::ListToolsResult(page)) => {
                Ok(page.tools.iter().map(|tool| tool.name.as_ref()).collect())
            }
            Ok(other) => panic!("{other:?}"),
            Err(error) => Err(format!("{} {}", error.code.0, error.message)),
        }
    }

    #[tokio::test]
    async fn a_handler_that_looks_at_no_cursor_is_given_none() {
        for names in [&["a", "b"][..], &[]] {
            let lists = || Lists { names, page: None };
            assert_eq!(list(lists(), None).await, Ok(names.concat()));
            for cursor in ["", "2", "made up"] {
                let refused = list(lists(), Some(cursor)).await.unwrap_err();
                assert_eq!(refused, format!("-32602 {REFUSED}"));
            }
        }
    }

    #[tokio::test]
    async fn a_handler_that_pages_by_itself_is_left_alone() {
        let lists = || Lists {
            names: &["a", "b", "c"],
            page: Some(2),
        };
        assert_eq!(list(lists(), None).await, Ok("ab".into()));
        assert_eq!(list(lists(), Some("2")).await, Ok("c".into()));
        assert_eq!(
            list(lists(), Some("0")).await,
            Ok("ab".into()),
            "it has a next page"
        );
        assert_eq!(list(lists(), Some("7")).await, Ok(String::new()));
        let refused = list(lists(), Some("made up")).await;
        assert_eq!(refused, Err("-32602 the handler's own words".into()));
        // One whose list has become shorter since it gave the cursor.
        let shorter = Lists {
            names: &["a"],
            page: Some(2),
        };
        assert_eq!(list(shorter, Some("2")).await, Ok(String::new()));
    }
}
