//! Lists and their cursors.

use serde_json::json;

use crate::support::client::Client;
use crate::support::node::{Node, NodeOptions, example};

const LISTS: [&str; 4] = [
    "tools/list",
    "prompts/list",
    "resources/list",
    "resources/templates/list",
];

async fn refuses_cursors_that_nobody_gave(node: &Node) {
    for client in [Client::legacy(&node.url()), Client::modern(&node.url())] {
        for list in LISTS {
            client.request(list, json!({})).await.ok();
            for cursor in ["made-up", "", "2", "bmV4dA=="] {
                let refused = client.request(list, json!({"cursor": cursor})).await;
                assert_eq!(refused.code(), -32602, "{list} {cursor:?}: {}", refused.body);
            }
        }
    }
}

#[tokio::test]
async fn a_cursor_that_nobody_gave_is_refused_by_the_notebook() {
    let node = Node::start(&NodeOptions::default()).await;
    refuses_cursors_that_nobody_gave(&node).await;
}

#[tokio::test]
async fn a_cursor_that_nobody_gave_is_refused_by_the_example_of_everything() {
    let node = Node::start_program(&example("everything"), &NodeOptions::default()).await;
    refuses_cursors_that_nobody_gave(&node).await;
}

/// Of lists that have pages each page is given once, also the last one.
#[tokio::test]
async fn cursors_that_were_given_lead_through_the_list() {
    const NOTES: usize = 120;
    let node = Node::start(&NodeOptions::default()).await;
    let client = Client::legacy(&node.url());
    for note in 0..NOTES {
        let note = json!({"key": format!("note-{note:03}"), "value": note});
        client.call("remember", note).await.ok();
    }
    let (mut uris, mut params) = (Vec::new(), json!({}));
    loop {
        let page = client.request("resources/list", params.clone()).await.ok();
        let resources = page.result()["resources"].as_array().expect("a list").clone();
        uris.extend(resources.into_iter().map(|resource| resource["uri"].to_string()));
        match page.result()["nextCursor"].as_str() {
            Some(cursor) => params = json!({"cursor": cursor}),
            None => break,
        }
    }
    assert!(params["cursor"].is_string(), "it has pages");
    assert_eq!(uris.len(), NOTES);
    assert!(uris.is_sorted_by(|before, after| before < after), "{uris:?}");
}
