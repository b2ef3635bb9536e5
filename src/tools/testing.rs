//! For the tests of the tools: a store in memory, and clients of both eras that answer what they are asked.

use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures::future::BoxFuture;
use rmcp::ErrorData;
use rmcp::model::{
    ClientJsonRpcMessage, ClientRequest, GetMeta, Implementation, InitializeRequestParams, NumberOrString,
    RequestStateCodec, ServerJsonRpcMessage,
};
use rmcp::service::{RequestContext, RoleServer, Service, serve_directly};
use rmcp::transport::Transport;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::Notebook;
use crate::protocol::era::{Era, Revision};
use crate::session::announce::{Announce, Topic};
use crate::session::secrets::{NewSecret, Secrets};
use crate::session::state::{Expected, StateRoom, StateScope, StateStore, Swapped};
use crate::session::tasks::{Busy, RunTasks, TaskPlace};
use crate::session::{
    Announcer, Asking, Caller, Clock, Connection, NodeId, Notebooks, Peer, Principal, RequestInfo,
    RequestState, Session, SessionId, SessionPeer, SessionPeers, State, StateError, Tasks,
};

/// Reaches nobody.
#[derive(Debug)]
struct Nobody;

impl SessionPeers for Nobody {
    fn peer(&self) -> SessionPeer {
        unreachable!("the notebook speaks in its calls only")
    }
}

/// State in memory, without bounds.
#[derive(Debug, Default)]
pub(super) struct Memory {
    scopes: Mutex<HashMap<StateScope, BTreeMap<String, String>>>,
    owners: Mutex<HashMap<StateScope, Principal>>,
    away: AtomicBool,
}

impl Memory {
    /// Stops answering.
    pub(super) fn go_away(&self) {
        self.away.store(true, Ordering::Relaxed);
    }

    fn in_scope<T>(
        &self,
        scope: &StateScope,
        run: impl FnOnce(&mut BTreeMap<String, String>) -> T,
    ) -> Result<T, StateError> {
        if self.away.load(Ordering::Relaxed) {
            return Err(StateError::Unreachable("secret address".into()));
        }
        let mut scopes = self.scopes.lock().unwrap();
        scopes.get_mut(scope).map(run).ok_or(StateError::Gone)
    }
}

#[async_trait]
impl StateStore for Memory {
    async fn state_get(&self, scope: &StateScope, key: &str) -> Result<Option<String>, StateError> {
        self.in_scope(scope, |entries| entries.get(key).cloned())
    }

    async fn state_entries(&self, scope: &StateScope) -> Result<Vec<(String, String)>, StateError> {
        self.in_scope(scope, |entries| entries.clone().into_iter().collect())
    }

    async fn state_swap(
        &self,
        scope: &StateScope,
        key: &str,
        expected: Expected<'_>,
        value: Option<&str>,
    ) -> Result<Swapped, StateError> {
        self.in_scope(scope, |entries| {
            let before = entries.get(key).cloned();
            let holds = match expected {
                Expected::Anything => true,
                Expected::Absent => before.is_none(),
                Expected::Text(text) => before.as_deref() == Some(text),
            };
            if !holds {
                return Swapped::Conflict(before);
            }
            match value {
                Some(value) => entries.insert(key.to_owned(), value.to_owned()),
                None => entries.remove(key),
            };
            Swapped::Done(before)
        })
    }

    async fn state_open(
        &self,
        scope: &StateScope,
        owner: &Principal,
        _: Duration,
        _: StateRoom<'_>,
    ) -> Result<(), StateError> {
        self.scopes.lock().unwrap().insert(scope.clone(), BTreeMap::new());
        self.owners.lock().unwrap().insert(scope.clone(), owner.clone());
        Ok(())
    }

    async fn state_owner(
        &self,
        scope: &StateScope,
        _: &Principal,
        _: Duration,
    ) -> Result<Option<Principal>, StateError> {
        Ok(self.owners.lock().unwrap().get(scope).cloned())
    }

    async fn secrets(&self, _: &NewSecret, _: Duration, _: Duration) -> Result<Secrets, StateError> {
        unreachable!("no tool asks for them")
    }
}

/// Runs no tasks: the tools begin none.
#[derive(Debug)]
struct NoTasks;

#[async_trait]
impl RunTasks for NoTasks {
    fn node(&self) -> &NodeId {
        unreachable!("no tool begins a task")
    }

    fn clock(&self) -> &Clock {
        unreachable!("no tool begins a task")
    }

    async fn open(&self, _: &str, _: &Principal, _: Duration, _: &Peer) -> Result<State, StateError> {
        Err(StateError::Gone)
    }

    fn state(&self, _: &str) -> State {
        unreachable!("no tool looks at a task")
    }

    fn enter(&self, _: &str, _: &Peer) -> Result<TaskPlace, Busy> {
        Err(Busy("no tasks here"))
    }

    fn run(&self, _: BoxFuture<'static, ()>) {}

    fn runs(&self, _: &str) -> bool {
        false
    }

    async fn notify(&self, _: &NodeId, _: &str) {}

    fn note_foreign(&self, _: &Principal) {}

    async fn lives(&self, _: &NodeId) -> Result<bool, StateError> {
        Ok(false)
    }
}

/// A client, and the server it talks to.
pub(super) struct Client {
    pub(super) caller: Caller,
    /// Whether requests name their caller, as the pipeline makes them do.
    pub(super) named: bool,
    /// Cancels its calls.
    pub(super) cancel: CancellationToken,
    /// What it answers to any request of the server.
    pub(super) answer: Value,
    /// The messages the server sent during calls.
    pub(super) heard: Arc<Mutex<Vec<Value>>>,
    notebook: Notebook,
}

impl Client {
    /// A client with a session, that declares `capabilities`.
    pub(super) fn legacy(store: &Arc<Memory>, capabilities: Value) -> Self {
        let id = SessionId::generate();
        let scope = StateScope::Session(id.clone());
        store
            .scopes
            .lock()
            .unwrap()
            .insert(scope.clone(), BTreeMap::new());
        let state = State::new(store.clone(), scope);
        let implementation = Arc::new(Implementation::new("test", "1"));
        let session = Session::new(id, implementation, state, Arc::new(Nobody));
        Self::new(store, Revision::V2025_11_25, Some(session), capabilities)
    }

    /// A client without one.
    pub(super) fn modern(store: &Arc<Memory>, capabilities: Value) -> Self {
        Self::new(store, Revision::V2026_07_28, None, capabilities)
    }

    fn new(store: &Arc<Memory>, revision: Revision, session: Option<Session>, capabilities: Value) -> Self {
        let principal = Principal::anonymous();
        let hour = Duration::from_secs(3600);
        let caller = Caller {
            revision,
            node: NodeId::parse("node-1").unwrap(),
            restored: false,
            principal: principal.clone(),
            identity: principal.clone().into(),
            peer: Peer::Unknown,
            client: Some(Arc::new(Implementation::new("test", "1"))),
            capabilities: Arc::new(serde_json::from_value(capabilities).unwrap()),
            session,
            notebooks: Notebooks::new(store.clone(), principal.clone(), hour),
            connection: Connection::default(),
            request: RequestInfo::default(),
            tasks: Tasks::new(Arc::new(NoTasks), principal, Peer::Unknown, hour),
            announcer: Announcer::new(Arc::new(AnnouncedToNobody)),
            request_state: RequestState::new(
                Arc::new(RequestStateCodec::try_new([7; 32]).unwrap()),
                Clock::of_this_machine(),
                Duration::from_secs(60),
            ),
            asking: None,
        };
        Self {
            caller,
            named: true,
            cancel: CancellationToken::new(),
            answer: Value::Null,
            heard: Arc::default(),
            notebook: Notebook::new(),
        }
    }

    /// Makes a request as the pipeline does, with a peer of its own.
    pub(super) async fn request(&self, method: &str, mut params: Value) -> Result<Value, ErrorData> {
        let (answers, inbox) = mpsc::channel(8);
        let wire = TestTransport {
            answer: self.answer.clone(),
            heard: self.heard.clone(),
            answers,
            inbox,
        };
        let implementation = Implementation::new("test", "1");
        let capabilities = self.caller.capabilities.as_ref().clone();
        let info = InitializeRequestParams::new(capabilities.clone(), implementation)
            .with_protocol_version(self.caller.revision.to_rmcp());
        let legacy = self.caller.era() == Era::Legacy;
        if !legacy {
            params["_meta"] = json!({
                "io.modelcontextprotocol/protocolVersion": self.caller.revision.as_str(),
                "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
                "io.modelcontextprotocol/clientCapabilities": capabilities,
            });
        }
        let running = serve_directly(Notebook::new(), wire, legacy.then_some(info));
        let mut context = RequestContext::new(NumberOrString::Number(1), running.peer().clone());
        context.ct = self.cancel.clone();
        let request = json!({"method": method, "params": params});
        let body = request.to_string().into();
        let asking = Asking::of(self.caller.era(), running.peer(), &self.cancel, body);
        if self.named {
            let mut caller = self.caller.clone();
            caller.asking = Some(Arc::clone(&asking));
            context.extensions.insert(caller);
        }
        let mut request: ClientRequest = serde_json::from_value(request).unwrap();
        context.meta = std::mem::take(request.get_meta_mut());
        let ended = Service::handle_request(&self.notebook, request, context).await;
        let result = asking.result(ended)?;
        Ok(serde_json::to_value(result).unwrap())
    }

    /// Calls a tool.
    pub(super) async fn call(&self, tool: &str, arguments: Value) -> Result<Value, ErrorData> {
        let params = json!({"name": tool, "arguments": arguments});
        self.request("tools/call", params).await
    }

    /// Calls a tool, and returns the structured content of its result.
    pub(super) async fn facts(&self, tool: &str, arguments: Value) -> Value {
        let result = self.call(tool, arguments).await.unwrap();
        assert_eq!(result["isError"], false, "{result}");
        result["structuredContent"].clone()
    }

    /// Calls a tool, and returns the text of its failure.
    pub(super) async fn failure(&self, tool: &str, arguments: Value) -> String {
        let result = self.call(tool, arguments).await.unwrap();
        assert_eq!(result["isError"], true, "{result}");
        result["content"][0]["text"].as_str().unwrap().to_owned()
    }

    /// The methods of the messages that the server sent.
    pub(super) fn heard_methods(&self) -> Vec<String> {
        let heard = self.heard.lock().unwrap();
        let methods = heard.iter().map(|message| message["method"].as_str().unwrap());
        methods.map(str::to_owned).collect()
    }
}

/// The client's end of a connection.
struct TestTransport {
    answer: Value,
    heard: Arc<Mutex<Vec<Value>>>,
    answers: mpsc::Sender<ClientJsonRpcMessage>,
    inbox: mpsc::Receiver<ClientJsonRpcMessage>,
}

impl Transport<RoleServer> for TestTransport {
    type Error = Infallible;

    fn send(
        &mut self,
        message: ServerJsonRpcMessage,
    ) -> impl Future<Output = Result<(), Infallible>> + Send + 'static {
        let message = serde_json::to_value(message).unwrap();
        let answer = json!({"jsonrpc": "2.0", "id": message["id"], "result": self.answer});
        let asked = message.get("id").is_some();
        self.heard.lock().unwrap().push(message);
        let answers = self.answers.clone();
        async move {
            if asked {
                let answer = serde_json::from_value(answer).unwrap();
                answers.send(answer).await.unwrap();
            }
            Ok(())
        }
    }

    async fn receive(&mut self) -> Option<ClientJsonRpcMessage> {
        self.inbox.recv().await
    }

    async fn close(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}

/// Nobody wants to know.
#[derive(Debug)]
struct AnnouncedToNobody;

#[async_trait]
impl Announce for AnnouncedToNobody {
    async fn announce(self: Arc<Self>, _topic: Topic) {}

    async fn announce_own(self: Arc<Self>, _session: &SessionId, _uri: &str) {}
}
