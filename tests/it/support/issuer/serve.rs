//! The HTTP of the issuer: its documents, its keys, and introspection (RFC 7662).

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State as Given};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::{Conduct, Discovery, INTROSPECTION_CLIENT, INTROSPECTION_SECRET, Part, State};

/// A form has one token.
const FORM_BYTES_MAX: usize = 64 * 1024;

/// What answers.
#[derive(Debug, Clone)]
pub(super) struct Answers {
    pub(super) url: String,
    pub(super) path: String,
    pub(super) state: Arc<Mutex<State>>,
}

/// A port that is served.
#[derive(Debug)]
pub(super) struct Served {
    tasks: JoinSet<()>,
}

impl Served {
    /// Serves until it is dropped, each connection in a task of its own that ends with it.
    pub(super) fn start(listener: TcpListener, answers: Answers) -> Self {
        let router = Router::new().fallback(answer).with_state(answers);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((socket, _)) = listener.accept().await {
                let service = hyper_util::service::TowerToHyperService::new(router.clone());
                connections.spawn(async move {
                    let io = hyper_util::rt::TokioIo::new(socket);
                    let served = hyper::server::conn::http1::Builder::new().serve_connection(io, service);
                    drop(served.await); // a client that has gone is no fault
                });
            }
        });
        Self { tasks }
    }

    /// Ends with all its connections.
    pub(super) async fn end(mut self) {
        self.tasks.shutdown().await;
    }
}

async fn answer(Given(answers): Given<Answers>, request: Request) -> Response {
    let path = request.uri().path().to_owned();
    let asked = answers.part(&path);
    let conduct = {
        let mut state = answers.state.lock().expect("no panic so far");
        *state.fetches.entry(path.clone()).or_default() += 1;
        asked.and_then(|part| state.conduct.get(&part).cloned())
    };
    let Some(part) = asked else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let mut filler = 0;
    match conduct.unwrap_or(Conduct::Well) {
        Conduct::Well => {}
        Conduct::Frozen => std::future::pending().await,
        Conduct::Slow(wait) => sleep(wait).await,
        Conduct::Status(status) => return StatusCode::from_u16(status).expect("a status").into_response(),
        Conduct::Redirect(to) => return (StatusCode::FOUND, [(header::LOCATION, to)]).into_response(),
        Conduct::Huge(bytes) => filler = bytes,
        Conduct::Text(text) => return ([(header::CONTENT_TYPE, "application/json")], text).into_response(),
    }
    let (head, body) = request.into_parts();
    let form = axum::body::to_bytes(body, FORM_BYTES_MAX)
        .await
        .expect("a body that is small");
    let (status, said) = answers.say(part, &head.headers, &form);
    let body = format!("{}{said}", " ".repeat(filler));
    let mut response = (status, Body::from(body)).into_response();
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, "application/json".parse().expect("a type"));
    response
}

impl Answers {
    /// What is at `path`, if there is something.
    fn part(&self, path: &str) -> Option<Part> {
        let base = &self.path;
        if path == format!("{base}/jwks") {
            return Some(Part::Keys);
        }
        if path == format!("{base}/introspect") {
            return Some(Part::Introspection);
        }
        let documents = self.state.lock().expect("no panic so far").documents.clone();
        let here = |document: &Discovery| {
            path == match document {
                Discovery::OAuth => format!("/.well-known/oauth-authorization-server{base}"),
                Discovery::OpenIdInserted => format!("/.well-known/openid-configuration{base}"),
                Discovery::OpenIdAppended => format!("{base}/.well-known/openid-configuration"),
            }
        };
        documents.iter().any(here).then_some(Part::Discovery)
    }

    fn say(&self, part: Part, headers: &HeaderMap, form: &[u8]) -> (StatusCode, Value) {
        let state = self.state.lock().expect("no panic so far");
        match part {
            Part::Discovery => (StatusCode::OK, state.document(&self.url)),
            Part::Keys => (StatusCode::OK, json!({"keys": state.published})),
            Part::Introspection if !is_client(headers) => {
                (StatusCode::UNAUTHORIZED, json!({"error": "invalid_client"}))
            }
            Part::Introspection => {
                let token = url::form_urlencoded::parse(form).find(|(name, _)| name == "token");
                let Some((_, token)) = token else {
                    return (StatusCode::BAD_REQUEST, json!({"error": "invalid_request"}));
                };
                let Some(claims) = state.opaque.get(&*token) else {
                    return (StatusCode::OK, json!({"active": false}));
                };
                let mut told = claims.clone();
                told.insert("active".into(), true.into());
                told.insert("token_type".into(), "Bearer".into());
                (StatusCode::OK, Value::Object(told))
            }
        }
    }
}

/// Whether the caller is who may ask, by HTTP's basic authentication of encoded words (RFC 6749, 2.3.1).
fn is_client(headers: &HeaderMap) -> bool {
    let encoded = |text: &str| url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    let pair = format!(
        "{}:{}",
        encoded(INTROSPECTION_CLIENT),
        encoded(INTROSPECTION_SECRET)
    );
    let wanted = format!("Basic {}", STANDARD.encode(pair));
    headers
        .get(header::AUTHORIZATION)
        .is_some_and(|given| given.as_bytes() == wanted.as_bytes())
}
