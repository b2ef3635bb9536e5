//! The first line of a request, as logs may hold it.

use http::{Method, Uri};

use super::{CLIENTS, MCP, PROBES, ROOT, trimmed};

/// What stands for a name that a client chose. It may hold anything, and a log holds nothing of a client's.
pub(super) const OTHER: &str = "other";

/// The first line of a request, of which only what this server knows is told.
#[derive(Debug, Clone, Copy)]
pub(super) struct RequestLine {
    pub(super) method: &'static str,
    pub(super) path: &'static str,
}

impl RequestLine {
    /// `POST /mcp`
    pub(super) const POST_MCP: Self = Self {
        method: "POST",
        path: MCP,
    };

    /// In words, for the audit log.
    pub(super) fn text(self) -> String {
        format!("{} {}", self.method, self.path)
    }

    /// That of a request.
    pub(super) fn of(method: &Method, uri: &Uri) -> Self {
        let methods = [
            "GET", "POST", "DELETE", "HEAD", "OPTIONS", "PUT", "PATCH", "CONNECT", "TRACE",
        ];
        let paths = [CLIENTS, PROBES].concat();
        let path = match uri.path() {
            ROOT => ROOT,
            path => known(&paths, trimmed(path)),
        };
        Self {
            method: known(&methods, method.as_str()),
            path,
        }
    }
}

fn known(all: &[&'static str], name: &str) -> &'static str {
    let found = all.iter().find(|known| **known == name);
    found.copied().unwrap_or(OTHER)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(method: &str, uri: &str) -> (&'static str, &'static str) {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let RequestLine { method, path } = RequestLine::of(&method, &uri.parse().unwrap());
        (method, path)
    }

    #[test]
    fn only_what_is_known_of_a_request_is_told() {
        assert_eq!(line("POST", "/mcp/"), ("POST", "/mcp"));
        assert_eq!(line("GET", "/sse?sessionId=secret"), ("GET", "/sse"));
        assert_eq!(line("GET", "/"), ("GET", "/"));
        assert_eq!(line("GET", "/secret"), ("GET", OTHER));
        assert_eq!(line("SECRET", "/health"), (OTHER, "/health"));
    }
}
