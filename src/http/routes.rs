//! The route table: each path, who may ask it, and what answers.

use axum::Router;
use axum::routing::{MethodRouter, get, post};

use super::{
    HEALTH, ISSUER_METADATA, LIVEZ, MCP, MESSAGES, MESSAGES_BELOW, METRICS, READYZ, ROOT, SSE, Service,
    health, index, mcp, metadata, sse,
};
use crate::auth::METADATA;

/// Who may ask a path where the settings ask for credentials.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    /// Those whose credentials count.
    Callers,
    /// Everybody: operators and balancers, and clients that look for the issuer of their tokens.
    Everybody,
}

/// One path.
#[derive(Clone, Copy)]
struct Route {
    path: &'static str,
    #[cfg_attr(not(test), expect(dead_code, reason = "the test of the table reads it"))]
    access: Access,
    methods: fn() -> MethodRouter<Service>,
    /// Whether it is served with a slash after it too, and whether all below it is.
    more: More,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum More {
    Nothing,
    Slash,
    Below,
}

const fn callers(path: &'static str, methods: fn() -> MethodRouter<Service>) -> Route {
    Route {
        path,
        access: Access::Callers,
        methods,
        more: More::Slash,
    }
}

const fn everybody(path: &'static str, more: More, methods: fn() -> MethodRouter<Service>) -> Route {
    Route {
        path,
        access: Access::Everybody,
        methods,
        more,
    }
}

/// The paths for clients. `POST /mcp` does not come here, see `HttpService::route`.
const CLIENTS: [Route; 4] = [
    callers(MCP, || {
        // Without a handler of its own HEAD would be served as GET, and open a stream.
        let mcp = get(mcp::get).delete(mcp::delete);
        mcp.head(mcp::other_method).fallback(mcp::other_method)
    }),
    callers(SSE, || get(sse::get).head(sse::not_get).fallback(sse::not_get)),
    callers(MESSAGES, || post(sse::post).fallback(sse::not_post)),
    callers(MESSAGES_BELOW, || post(sse::post).fallback(sse::not_post)),
];

/// What this server is.
const INDEX: [Route; 1] = [Route {
    more: More::Nothing,
    ..callers(ROOT, || get(index::index).fallback(index::not_index))
}];

/// The paths by which clients find who issues tokens for this server.
const ISSUERS: [Route; 2] = [
    everybody(METADATA, More::Below, || {
        let metadata = get(metadata::resource).options(metadata::preflight);
        metadata.fallback(index::not_read)
    }),
    everybody(ISSUER_METADATA, More::Nothing, || {
        let metadata = get(metadata::issuer).options(metadata::preflight);
        metadata.fallback(index::not_read)
    }),
];

/// The paths for operators and balancers.
const PROBES: [Route; 4] = [
    everybody(HEALTH, More::Slash, || {
        get(health::health).fallback(index::not_read)
    }),
    everybody(LIVEZ, More::Slash, || {
        get(health::livez).fallback(index::not_read)
    }),
    everybody(READYZ, More::Slash, || {
        get(health::readyz).fallback(index::not_read)
    }),
    everybody(METRICS, More::Slash, || {
        get(health::metrics).fallback(index::not_read)
    }),
];

/// All paths of a node with a listener of its own.
pub(super) fn all(service: &Service) -> Router {
    let issuers = match service.guard.resource() {
        Some(_) => &ISSUERS[..],
        None => &[],
    };
    let routes = [&CLIENTS[..], &INDEX, issuers, &PROBES].concat();
    router(&routes)
        .fallback(index::not_found)
        .with_state(service.clone())
}

/// The paths for operators and balancers.
pub(super) fn probes(service: &Service) -> Router {
    router(&PROBES).with_state(service.clone())
}

fn router(routes: &[Route]) -> Router<Service> {
    routes.iter().fold(Router::new(), |all, route| {
        let all = all.route(route.path, (route.methods)());
        match route.more {
            More::Nothing => all,
            More::Slash => all.route(&format!("{}/", route.path), (route.methods)()),
            More::Below => all.route(&format!("{}/{{*below}}", route.path), (route.methods)()),
        }
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use axum::body::Body;
    use http::{Method, Request};

    use super::super::HttpService;
    use super::super::source::{Connected, Purpose, Source};
    use super::*;
    use crate::app::App;
    use crate::config::Settings;
    use crate::engine::shares::Shares;
    use crate::tools::Notebook;

    const METHODS: [&str; 9] = [
        "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND",
    ];

    fn routes() -> Vec<Route> {
        [&CLIENTS[..], &INDEX, &ISSUERS, &PROBES].concat()
    }

    async fn status(http: &HttpService, method: &str, path: &str) -> u16 {
        let source = Source::Address([127, 0, 0, 1].into());
        let connected = Connected {
            source,
            uses: Arc::new(Shares::new(&Settings::default())).of(source.peer()),
            purpose: Purpose::Clients,
            certificate: None,
        };
        let request = Request::builder()
            .method(Method::from_bytes(method.as_bytes()).unwrap())
            .uri(path)
            .header("host", "localhost")
            .body(Body::empty());
        let response = http.answer(request.unwrap(), &connected).await.unwrap();
        response.status().as_u16()
    }

    /// T1: a path that is not listed as everybody's answers nobody without credentials, by no method.
    #[tokio::test]
    async fn every_route_asks_for_credentials_unless_it_is_everybodys() {
        let mut settings = Settings::default();
        settings
            .auth
            .tokens
            .insert("alice".into(), "a-long-enough-token".into());
        let app = App::builder().settings(settings).handler(Notebook::new);
        let (_router, node) = app.build().await.unwrap();
        let http = HttpService::new(node.http_service());
        for route in routes() {
            for path in [
                route.path.to_owned(),
                format!("{}/", route.path),
                format!("{}/x", route.path),
            ] {
                for method in METHODS {
                    let status = status(&http, method, &path).await;
                    let what = format!("{method} {path}: {status}");
                    match route.access {
                        // What is below a path is another path.
                        Access::Callers if path == route.path => assert_eq!(status, 401, "{what}"),
                        Access::Callers => assert!([401, 404].contains(&status), "{what}"),
                        Access::Everybody => assert!([200, 204, 404, 405].contains(&status), "{what}"),
                    }
                }
            }
        }
        let public: Vec<_> = routes()
            .into_iter()
            .filter(|route| route.access == Access::Everybody)
            .collect();
        let paths: Vec<_> = public.iter().map(|route| route.path).collect();
        assert_eq!(
            paths,
            [METADATA, ISSUER_METADATA, HEALTH, LIVEZ, READYZ, METRICS],
            "one more path is everybody's: it must tell nothing that is not"
        );
        node.stop().await;
    }
}
