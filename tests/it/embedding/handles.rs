//! What a program asks of its node: sessions, and announcements.

use super::*;

#[tokio::test]
async fn a_program_lists_and_ends_sessions_and_announces_changes() {
    let (url, node, served) = served_alone().await;
    let clients = [Client::legacy(&url), Client::legacy(&url)];
    for client in &clients {
        client.call("count", json!({})).await.ok();
    }
    let mut stream = clients[1].listen(None).await;
    assert_eq!(node.active_sessions(), 2);
    assert_eq!(node.store_kind(), "memory");
    let listed = node.sessions(10).await.expect("the store answers");
    let first = clients[0].session().await;
    let (id, record) = listed
        .iter()
        .find(|(id, _)| id.as_str() == first)
        .expect("it is listed");
    assert_eq!(record.node_id, *node.node());
    assert!(node.end_session(id).await.expect("the store answers"));
    assert!(!node.end_session(id).await.expect("the store answers"));
    assert_eq!(clients[0].call("count", json!({})).await.status, 404);
    node.announcer().tools_changed().await;
    stream.method("notifications/tools/list_changed").await;
    node.stop().await;
    served.abort();
}
