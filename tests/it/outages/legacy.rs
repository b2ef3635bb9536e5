//! A client of 2024-11-05 that outlives an outage.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use serde_json::{Value, json};

use super::follow::{Follower, Reopen};
use super::watch::{Emptied, Told};
use crate::support::client::Answer;
use crate::support::http::http_client;
use crate::support::sse::EventStream;

/// One that posts each message to the next node, and follows its stream from node to node.
#[derive(Clone)]
pub(super) struct SseClient {
    http: reqwest::Client,
    urls: Vec<String>,
    endpoint: String,
    turn: Arc<AtomicUsize>,
    id: Arc<AtomicU64>,
    /// The requests that were taken with 202, and will be answered therefore.
    taken: Arc<std::sync::Mutex<Vec<Value>>>,
    pub(super) follower: Arc<Follower>,
}

/// `GET /sse`, with any answer.
pub(super) async fn get(http: &reqwest::Client, url: &str, last: Option<&str>) -> reqwest::Response {
    let mut request = http.get(url).header("accept", "text/event-stream");
    if let Some(id) = last {
        request = request.header("last-event-id", id);
    }
    request.send().await.expect("the node answers")
}

impl SseClient {
    /// Opens a stream on the first node, and introduces itself.
    pub(super) async fn start(urls: &[String], emptied: &Emptied) -> Self {
        let http = http_client().build().expect("a client");
        let mut stream = EventStream::new(get(&http, &format!("{}/sse", urls[0]), None).await);
        let endpoint = stream.next().await.and_then(|event| event.data);
        let endpoint = endpoint.expect("where to post");
        let reopen = again(&http, urls, &endpoint);
        let client = Self {
            http,
            urls: urls.to_vec(),
            endpoint,
            turn: Arc::default(),
            id: Arc::default(),
            taken: Arc::default(),
            follower: Arc::new(Follower::start(Some(stream), None, emptied, reopen)),
        };
        let info = json!({"name": "outage-tests", "version": "1"});
        let hello = json!({"protocolVersion": "2024-11-05", "capabilities": {}, "clientInfo": info});
        client.ask("initialize", hello).await;
        let ready = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
        assert_eq!(client.post(&ready).await.status, 202);
        client
    }

    /// The session's id.
    pub(super) fn session(&self) -> &str {
        let query = self.endpoint.strip_prefix("messages?sessionId=");
        query.expect("the session in the query")
    }

    /// Sends a request; the answer to it may be that it cannot be taken.
    pub(super) async fn send(&self, method: &str, params: Value) -> (Value, Answer) {
        let id = json!(self.id.fetch_add(1, Ordering::Relaxed) + 1);
        let request = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params});
        let answer = self.post(&request).await;
        if answer.status == 202 {
            self.taken.lock().unwrap().push(id.clone());
        }
        (id, answer)
    }

    /// Sends a request and waits for its response.
    pub(super) async fn ask(&self, method: &str, params: Value) {
        let (id, answer) = self.send(method, params).await;
        assert_eq!(answer.status, 202, "{}", answer.body);
        let what = format!("the answer to {method}");
        let answered = |heard: &super::follow::Heard| heard.answer(&id).is_some();
        self.follower.hears(&what, answered).await;
    }

    /// Sends a ping, and judges whether it is taken.
    pub(super) async fn ping(&self) -> Told {
        Told::of(&self.send("ping", json!({})).await.1)
    }

    /// Waits until every request that was taken is answered.
    pub(super) async fn is_answered(&self) {
        let taken = self.taken.lock().unwrap().clone();
        for id in taken {
            let what = format!("the answer to request {id}, which was taken with 202");
            let answered = |heard: &super::follow::Heard| heard.answer(&id).is_some();
            self.follower.hears(&what, answered).await;
        }
    }

    async fn post(&self, message: &Value) -> Answer {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let url = format!("{}/{}", self.urls[turn % self.urls.len()], self.endpoint);
        let sent = self.http.post(url).json(message).send().await;
        Answer::read(sent.expect("the node answers")).await
    }
}

/// Opens the stream again on the next node.
fn again(http: &reqwest::Client, urls: &[String], endpoint: &str) -> Reopen {
    let query = endpoint.trim_start_matches("messages").to_owned();
    let (http, urls, turn) = (http.clone(), urls.to_vec(), AtomicUsize::new(1));
    Box::new(move |last| {
        let at = turn.fetch_add(1, Ordering::Relaxed) % urls.len();
        let (http, url) = (http.clone(), format!("{}/sse{query}", urls[at]));
        Box::pin(async move { get(&http, &url, last.as_deref()).await })
    })
}
