//! An issuer of tokens as tests need one: it may be down, frozen, slow, huge or wrong, and it counts who asks.
//!
//! `Issuer::start().await.token(|token| token.sub("alice").scope("mcp:tools"))`

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard};

use serde_json::{Map, Value, json};
use tokio::net::TcpListener;
use tokio::time::Duration;

use super::process::free_port;
use keys::{Algorithm, SigningKey};
use serve::Served;
use token::TokenDraft;

pub(crate) mod keys;
mod selftest;
mod serve;
pub(crate) mod token;

/// Who the tokens are for, unless a test says otherwise. A node takes it from its settings, so it need not be there.
pub(crate) const RESOURCE: &str = "https://mcp.example.com/mcp";
/// Who may ask for introspection. Both have letters that HTTP's basic authentication has to encode (RFC 6749, 2.3.1).
pub(crate) const INTROSPECTION_CLIENT: &str = "node:1";
/// Its secret.
pub(crate) const INTROSPECTION_SECRET: &str = "a secret/of+some%length";

/// Where a discovery document is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Discovery {
    /// `/.well-known/oauth-authorization-server` and the issuer's path (RFC 8414).
    OAuth,
    /// `/.well-known/openid-configuration` and the issuer's path.
    OpenIdInserted,
    /// The issuer's path and `/.well-known/openid-configuration`.
    OpenIdAppended,
}

/// What is asked of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Part {
    Discovery,
    Keys,
    Introspection,
}

/// How it answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Conduct {
    /// As it should.
    Well,
    /// It takes the request, and never answers.
    Frozen,
    /// It answers after so long.
    Slow(Duration),
    /// With this status and no body to speak of.
    Status(u16),
    /// With 302 to this URL.
    Redirect(String),
    /// As it should, with so many bytes of white space before.
    Huge(usize),
    /// With 200 and this.
    Text(String),
}

/// A running issuer. It ends when dropped.
#[derive(Debug)]
pub(crate) struct Issuer {
    port: u16,
    path: String,
    state: Arc<Mutex<State>>,
    /// None while it is down.
    served: Mutex<Option<Served>>,
}

#[derive(Debug)]
struct State {
    /// Signs what the test does not have signed by another.
    key: Arc<SigningKey>,
    published: Vec<Value>,
    documents: Vec<Discovery>,
    /// What the documents say instead.
    lies: Map<String, Value>,
    conduct: BTreeMap<Part, Conduct>,
    fetches: BTreeMap<String, usize>,
    opaque: BTreeMap<String, Map<String, Value>>,
}

impl Issuer {
    /// One at `http://127.0.0.1:<port>`, with a key for ES256 and all three documents.
    pub(crate) async fn start() -> Self {
        Self::start_at("").await
    }

    /// One whose URL has a path, such as `/realms/main`.
    pub(crate) async fn start_at(path: &str) -> Self {
        let key = Arc::new(SigningKey::new("key-1", Algorithm::Es256));
        let issuer = Self {
            port: free_port(),
            path: path.into(),
            state: Arc::new(Mutex::new(State {
                published: vec![key.jwk()],
                key,
                documents: vec![
                    Discovery::OAuth,
                    Discovery::OpenIdInserted,
                    Discovery::OpenIdAppended,
                ],
                lies: Map::new(),
                conduct: BTreeMap::new(),
                fetches: BTreeMap::new(),
                opaque: BTreeMap::new(),
            })),
            served: Mutex::default(),
        };
        issuer.up().await;
        issuer
    }

    /// As it names itself.
    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}{}", self.port, self.path)
    }

    /// Where its keys are.
    pub(crate) fn keys_url(&self) -> String {
        format!("{}/jwks", self.url())
    }

    /// Where opaque tokens are looked up.
    pub(crate) fn introspection_url(&self) -> String {
        format!("{}/introspect", self.url())
    }

    /// Settings of a node that trusts it.
    pub(crate) fn env(&self) -> Vec<(&'static str, String)> {
        vec![
            ("MCP_AUTH__RESOURCE", RESOURCE.into()),
            ("MCP_AUTH__ISSUERS", self.url()),
        ]
    }

    /// The same for opaque tokens too.
    pub(crate) fn env_with_introspection(&self) -> Vec<(&'static str, String)> {
        let mut env = self.env();
        env.push(("MCP_AUTH__INTROSPECTION_URL", self.introspection_url()));
        env.push(("MCP_AUTH__INTROSPECTION_CLIENT", INTROSPECTION_CLIENT.into()));
        env.push(("MCP_AUTH__INTROSPECTION_SECRET", INTROSPECTION_SECRET.into()));
        env
    }

    /// A token of alice's for [`RESOURCE`], with what `change` makes of it.
    pub(crate) fn token(&self, change: impl FnOnce(TokenDraft) -> TokenDraft) -> String {
        change(self.draft()).text()
    }

    /// A token that says nothing by itself: introspection tells the claims.
    pub(crate) fn opaque(&self, change: impl FnOnce(TokenDraft) -> TokenDraft) -> String {
        let claims = change(self.draft()).claims();
        let token = keys::encode(&rand::random::<[u8; 32]>());
        self.lock().opaque.insert(token.clone(), claims);
        token
    }

    /// An opaque token is good no longer.
    pub(crate) fn revoke(&self, token: &str) {
        let revoked = self.lock().opaque.remove(token);
        assert!(revoked.is_some(), "no such token");
    }

    /// The key that signs now.
    pub(crate) fn key(&self) -> Arc<SigningKey> {
        Arc::clone(&self.lock().key)
    }

    /// Signs by a new key from now on, and publishes no other. With the `kid` of the last one it is the same name for
    /// another key.
    pub(crate) fn rotate(&self, kid: &str, algorithm: Algorithm) {
        let key = Arc::new(SigningKey::new(kid, algorithm));
        let mut state = self.lock();
        state.published = vec![key.jwk()];
        state.key = key;
    }

    /// Publishes these in place of what it published.
    pub(crate) fn publish(&self, keys: Vec<Value>) {
        self.lock().published = keys;
    }

    /// Has only these documents.
    pub(crate) fn documents(&self, documents: &[Discovery]) {
        self.lock().documents = documents.to_vec();
    }

    /// Says in its documents that `name` is `value`; null leaves it out.
    pub(crate) fn lie(&self, name: &str, value: impl Into<Value>) {
        self.lock().lies.insert(name.into(), value.into());
    }

    /// Answers so from now on, when it is asked for this.
    pub(crate) fn conduct(&self, part: Part, conduct: Conduct) {
        self.lock().conduct.insert(part, conduct);
    }

    /// Answers so from now on, to every request.
    pub(crate) fn conduct_everywhere(&self, conduct: &Conduct) {
        for part in [Part::Discovery, Part::Keys, Part::Introspection] {
            self.conduct(part, conduct.clone());
        }
    }

    /// How often anything was asked for at `path`, answered or not.
    pub(crate) fn fetches(&self, path: &str) -> usize {
        self.lock().fetches.get(path).copied().unwrap_or_default()
    }

    /// How often its keys were asked for.
    pub(crate) fn key_fetches(&self) -> usize {
        self.fetches(&format!("{}/jwks", self.path))
    }

    /// How often it was asked for anything.
    pub(crate) fn all_fetches(&self) -> usize {
        self.lock().fetches.values().sum()
    }

    /// Closes its port and all connections.
    pub(crate) async fn down(&self) {
        let served = self.served.lock().expect("no panic so far").take();
        served.expect("it is up").end().await;
    }

    /// Opens its port again.
    pub(crate) async fn up(&self) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, self.port))
            .await
            .expect("the port is this test's");
        let answer = serve::Answers {
            url: self.url(),
            path: self.path.clone(),
            state: Arc::clone(&self.state),
        };
        let before = self
            .served
            .lock()
            .expect("no panic so far")
            .replace(Served::start(listener, answer));
        assert!(before.is_none(), "it is up already");
    }

    fn draft(&self) -> TokenDraft {
        TokenDraft::new(&self.url(), RESOURCE, self.key())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic so far")
    }
}

impl State {
    /// What a discovery document says.
    fn document(&self, url: &str) -> Value {
        let mut document = json!({
            "issuer": url,
            "authorization_endpoint": format!("{url}/authorize"),
            "token_endpoint": format!("{url}/token"),
            "jwks_uri": format!("{url}/jwks"),
            "introspection_endpoint": format!("{url}/introspect"),
            "response_types_supported": ["code"],
            "code_challenge_methods_supported": ["S256"],
        });
        for (name, value) in &self.lies {
            document[name] = value.clone();
        }
        document
    }
}
