//! Clients who do all that a session can do, before Redis goes away, meanwhile, and afterwards.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::follow::{Follower, Heard, listening};
use super::legacy::{self, SseClient};
use super::scene::Scene;
use super::watch::{Told, Watch, may_be_gone};
use crate::support::client::Client;
use crate::support::http::http_client;
use crate::support::process::within;
use crate::support::program::Program;
use crate::support::redis::Redis;

/// How long a node may take to ask Redis again after it could not.
const NOTICED_WITHIN: Duration = Duration::from_secs(3);
/// How often most things are asked for, and how often those that make a session each time.
const OFTEN: Duration = Duration::from_millis(50);
const SELDOM: Duration = Duration::from_millis(200);
/// The steps of the calls that go on through an outage, 250 ms each: 10 s, twice as long as it takes.
const STEPS: u32 = 40;
/// What is written by one who subscribed to it.
const NOTE: &str = "note://session/colour";

fn countdown(from: u32, interval_ms: u32) -> Value {
    json!({"name": "countdown", "arguments": {"from": from, "interval_ms": interval_ms}, "_meta": {"progressToken": "p"}})
}

/// A call in flight whose client has gone away, and will come back.
struct Away {
    client: Client,
    id: Value,
    last: String,
}

/// Everybody.
pub(super) struct Cast {
    scene: Arc<Scene>,
    pub(super) watch: Watch,
    /// Known to the first node only, until it is asked for elsewhere.
    stranger: Client,
    /// All clients with a session, to end it.
    clients: Vec<Client>,
    listener: (Client, Follower),
    calls: Vec<(Value, Follower)>,
    away: Option<Away>,
    meanwhile: Option<JoinHandle<()>>,
    sse: SseClient,
    sse_sessions: Vec<String>,
}

impl Cast {
    /// Opens sessions, streams and calls of every kind, and begins to watch.
    pub(super) async fn of(scene: &Arc<Scene>) -> Self {
        let stranger = scene.session(&[0]).await;
        stranger.list().await.ok();
        let mut sse_sessions = Vec::new();
        let sse = sse_client(scene, &mut sse_sessions).await;
        let mut cast = Self {
            scene: Arc::clone(scene),
            watch: Watch::new(&scene.emptied),
            clients: vec![stranger.clone()],
            stranger,
            listener: listener(scene).await,
            calls: Vec::new(),
            away: None,
            meanwhile: None,
            sse,
            sse_sessions,
        };
        cast.clients.push(cast.listener.0.clone());
        cast.sse.ask("resources/subscribe", json!({"uri": NOTE})).await;
        cast.watch_sessions().await;
        cast.watch_newcomers();
        cast.watch_sse().await;
        cast.begin_calls().await;
        cast
    }

    /// A client that has used its session on these nodes.
    async fn known_to(&mut self, nodes: &[usize]) -> Client {
        let client = self.scene.session(nodes).await;
        for _ in nodes {
            client.list().await.ok();
        }
        self.clients.push(client.clone());
        client
    }

    /// What is asked in sessions that the nodes know.
    async fn watch_sessions(&mut self) {
        for name in ["quick calls 1", "quick calls 2", "quick calls 3", "quick calls 4"] {
            let client = self.known_to(&[0, 1]).await;
            self.watch.ask(name, OFTEN, move || echo(client.clone()).boxed());
        }
        let client = self.known_to(&[2]).await;
        self.watch.ask("quick calls, short grace", OFTEN, move || {
            echo(client.clone()).boxed()
        });
        let client = self.known_to(&[0]).await;
        self.watch.ask("GET /mcp", OFTEN, move || {
            let client = client.clone();
            async move { Told::of_stream(client.get(None).await).await }.boxed()
        });
        let client = self.known_to(&[0, 1, 2]).await;
        self.watch.ask("logging/setLevel", OFTEN, move || {
            let client = client.clone();
            let level = json!({"level": "error"});
            async move { Told::of(&client.request("logging/setLevel", level).await) }.boxed()
        });
    }

    /// What is asked by those who have no session.
    fn watch_newcomers(&mut self) {
        let client = self.scene.client(&[0, 1, 2]);
        self.watch.ask("initialize", SELDOM, move || {
            let client = client.clone();
            async move { Told::of(&client.initialize().await) }.boxed()
        });
        let client = self.scene.client(&[0, 1, 2]).into_modern();
        self.watch
            .ask("2026-07-28", OFTEN, move || echo(client.clone()).boxed());
        let (http, urls) = (http(), self.scene.urls());
        self.watch.ask("GET /sse", SELDOM, move || {
            let (http, url) = (http.clone(), format!("{}/sse", urls[1]));
            async move { Told::of_stream(legacy::get(&http, &url, None).await).await }.boxed()
        });
    }

    /// What is asked in sessions of 2024-11-05.
    async fn watch_sse(&mut self) {
        let client = self.sse.clone();
        self.watch.ask("POST /messages", OFTEN, move || {
            let client = client.clone();
            async move { client.ping().await }.boxed()
        });
        let other = sse_client(&self.scene, &mut self.sse_sessions).await;
        let session = other.session().to_owned();
        // Its own stream ends here: those that are asked for would take it over each time.
        drop(other);
        let url = format!("{}/sse?sessionId={session}", self.scene.urls()[1]);
        let http = http();
        self.watch.ask("GET /sse?sessionId=", SELDOM, move || {
            let (http, url) = (http.clone(), url.clone());
            async move { Told::of_stream(legacy::get(&http, &url, None).await).await }.boxed()
        });
    }

    /// Calls on the first node that take longer than the outage: of one the client stays, of the other it
    /// goes away.
    async fn begin_calls(&mut self) {
        let client = self.known_to(&[1, 2, 0]).await;
        let first = client.at(&self.scene.nodes[0].url());
        let (id, stream) = first.stream("tools/call", countdown(STEPS, 250)).await;
        let follower = Follower::call(&id, stream, &client, &self.scene.emptied);
        self.calls.push((id, follower));

        let (id, mut stream) = first.stream("tools/call", countdown(STEPS, 250)).await;
        // The priming event: everything is still to come after it.
        stream.next().await.expect("an event");
        let last = stream.last_id().expect("an id").to_owned();
        self.away = Some(Away { client, id, last });
    }

    /// Redis is away: those come who need it, and one who does not know that his call will.
    pub(super) fn redis_is_away(&mut self) {
        let stranger = self.stranger.at(&self.scene.nodes[1].url());
        self.watch.ask("quick calls, other node", OFTEN, move || {
            echo(stranger.clone()).boxed()
        });
        let Away { client, id, last } = self.away.take().expect("a client that went away");
        let reopen = listening(&client);
        let reopen = Box::new(move |seen: Option<String>| reopen(seen.or_else(|| Some(last.clone()))));
        let follower = Follower::start(None, Some(id.clone()), &self.scene.emptied, reopen);
        self.calls.push((id, follower));

        let client = self.clients[0].at(&self.scene.nodes[0].url());
        self.meanwhile = Some(tokio::spawn(async move {
            let (id, mut stream) = client.stream("tools/call", countdown(3, 200)).await;
            let answer = stream.answer_to(&id).await;
            assert_eq!(answer["result"]["structuredContent"]["counted"], 3, "{answer}");
        }));
    }

    /// Redis is back with all it held: every call is answered, and every stream hears what is new.
    pub(super) async fn goes_on(&mut self) {
        self.call_made_meanwhile().await;
        for (id, follower) in &self.calls {
            follower
                .hears("the answer to a call", |heard| heard.answer(id).is_some())
                .await;
            let (steps, answer) = follower.heard(|heard| (heard.steps(), heard.answer(id).cloned()));
            let counted = &answer.expect("an answer")["result"]["structuredContent"]["counted"];
            assert_eq!(*counted, STEPS);
            let expected: Vec<f64> = (1..=STEPS).map(f64::from).collect();
            assert_eq!(steps, expected, "progress has a gap or a duplicate");
        }
        self.sse.is_answered().await;
        let (client, follower) = &self.listener;
        let told = |heard: &Heard| heard.updates(NOTE);
        let (before, before_sse) = (follower.heard(told), self.sse.follower.heard(told));
        let note = json!({"key": "colour", "value": "teal"});
        client.call("remember", note.clone()).await.ok();
        let write = json!({"name": "remember", "arguments": note});
        self.sse.ask("tools/call", write).await;
        let what = "the standalone stream tells what is new";
        follower.hears(what, |heard| told(heard) > before).await;
        let what = "the stream of /sse tells what is new";
        self.sse
            .follower
            .hears(what, |heard| told(heard) > before_sse)
            .await;
    }

    /// Redis is back without anything: every session has ended, and with it its streams and calls.
    pub(super) async fn is_forgotten(&mut self) {
        self.call_made_meanwhile().await;
        let calls = self.calls.iter().map(|(_, follower)| follower);
        for follower in calls.chain([&self.listener.1, &*self.sse.follower]) {
            follower.hears_that_it_is_gone().await;
        }
        let http = http();
        for session in &self.sse_sessions {
            for url in self.scene.urls() {
                let url = format!("{url}/sse?sessionId={session}");
                assert_eq!(legacy::get(&http, &url, None).await.status(), 404);
            }
        }
        for client in &self.clients {
            // A node that could not ask just now serves what it knows for a second more.
            within(NOTICED_WITHIN, "a session is gone on all nodes", || async {
                let mut gone = true;
                for _ in &self.scene.nodes {
                    let answered = client.list().await.status;
                    assert!([200, 404].contains(&answered), "{answered}");
                    gone &= answered == 404;
                }
                gone.then_some(())
            })
            .await;
        }
    }

    async fn call_made_meanwhile(&mut self) {
        let meanwhile = self.meanwhile.take().expect("a call made meanwhile");
        meanwhile
            .await
            .expect("a call made while Redis was away is answered");
    }

    /// Clients that come now are served as ever: on all nodes, with a stream that tells what is new.
    pub(super) async fn is_joined_by_others(&mut self) {
        let (client, follower) = listener(&self.scene).await;
        for value in 0..3 {
            client
                .call("remember", json!({"key": "colour", "value": value}))
                .await
                .ok();
        }
        follower
            .hears("a new stream tells what is new", |heard| heard.updates(NOTE) > 0)
            .await;
        self.clients.push(client);
    }

    /// Ends all sessions, on all nodes. Returns their ids. The server is one that is left.
    pub(super) async fn leaves(self, server: &Redis) -> Vec<String> {
        self.watch.end().await;
        // Nobody comes back for what is ended on purpose.
        drop((self.listener, self.calls, self.sse));
        let clustered = self.scene.url.starts_with("redis-cluster");
        let scheme = if clustered { "redis-cluster" } else { "redis" };
        let url = format!("{scheme}://127.0.0.1:{}", server.port());
        let mut ids = self.sse_sessions;
        for id in &ids {
            // No client of 2024-11-05 can end its session: an operator does.
            let ended = Program::run(&["sessions", "end", id], &[("REDIS_URL", &url)]).await;
            assert!(
                ended.code == Some(0) || may_be_gone(&self.scene.emptied),
                "{ended:?}"
            );
        }
        for client in self.clients {
            let status = client.delete().await.status;
            let gone = status == 404 && may_be_gone(&self.scene.emptied);
            assert!(status == 204 || gone, "DELETE was answered by {status}");
            ids.push(client.session().await.to_owned());
        }
        ids
    }
}

/// One who listens on the first node, and comes back to any.
async fn listener(scene: &Scene) -> (Client, Follower) {
    let client = scene.session(&[1, 2, 0]).await;
    let subscribe = json!({"uri": NOTE});
    client.request("resources/subscribe", subscribe).await.ok();
    let stream = client.at(&scene.nodes[0].url()).listen(None).await;
    let follower = Follower::start(Some(stream), None, &scene.emptied, listening(&client));
    (client, follower)
}

/// A client of 2024-11-05 whose session is one that the test wants. Notes all that were made: they must be
/// ended.
async fn sse_client(scene: &Scene, made: &mut Vec<String>) -> SseClient {
    loop {
        let client = SseClient::start(&scene.urls(), &scene.emptied).await;
        made.push(client.session().to_owned());
        if scene.wants(client.session()) {
            return client;
        }
    }
}

/// A quick call that needs nothing of Redis.
async fn echo(client: Client) -> Told {
    let answer = client.call("echo", json!({"text": "as ever"})).await;
    if answer.status == 200 {
        assert_eq!(answer.text(), "as ever");
    }
    Told::of(&answer)
}

fn http() -> reqwest::Client {
    http_client().build().expect("a client")
}
