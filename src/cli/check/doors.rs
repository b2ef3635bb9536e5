//! Doors that settings leave open: anybody who finds one may use the server.

use crate::config::Settings;
use crate::http::is_loopback;

/// What these settings leave open, in words that say how to close it. Nothing where clients must bring
/// credentials.
pub(super) fn left_open(settings: &Settings) -> Vec<String> {
    let mut open = Vec::new();
    let auth = &settings.auth;
    let bounds_tools = !auth.tool_scopes.is_empty() || !auth.write_scope.is_empty();
    if auth.optional && bounds_tools {
        open.push(
            "open door: auth.optional serves requests without credentials, which have no scopes: all tools are theirs that need none"
                .to_owned(),
        );
    }
    if auth.resource.starts_with("http://") && !auth.issuers.is_empty() && !is_loopback_url(&auth.resource) {
        open.push(format!(
            "open door: auth.resource={} is not https: others on the way can read the tokens of clients, and use them",
            auth.resource
        ));
    }
    if settings.knows_credentials() {
        return open;
    }
    let (host, hosts) = (&settings.host, &settings.http.allowed_hosts);
    let local = is_loopback(host) || host.starts_with("unix:");
    if !local {
        open.push(format!(
            "open door: HOST={host} is not loopback, and no credentials are asked for: anybody who reaches the port may use the \
             server; set auth.token_hashes (`mcp-server token NAME`) or auth.issuers"
        ));
    }
    let all = hosts.iter().any(|host| host == "*");
    if all || (!local && hosts.is_empty()) {
        let why = if all {
            "http.allowed_hosts is *"
        } else {
            "http.allowed_hosts is empty"
        };
        open.push(format!(
            "open door: {why}, so that requests may name any host: web pages can reach the server by a name of their own (DNS \
             rebinding); set http.allowed_hosts to the names that clients use"
        ));
    }
    open
}

/// Whether a URL is of this machine.
fn is_loopback_url(url: &str) -> bool {
    let authority = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = authority.split('/').next().unwrap_or_default();
    let host = authority.rsplit_once(':').map_or(authority, |(host, _)| host);
    is_loopback(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(host: &str, hosts: &[&str], token: bool) -> Vec<String> {
        let mut settings = Settings {
            host: host.into(),
            ..Settings::default()
        };
        settings.http.allowed_hosts = hosts.iter().map(|&host| host.to_owned()).collect();
        if token {
            settings
                .auth
                .tokens
                .insert("alice".into(), "0123456789abcdef".into());
        }
        left_open(&settings)
    }

    #[test]
    fn each_open_door_is_told_with_how_to_close_it() {
        let everywhere = open("0.0.0.0", &[], false);
        assert_eq!(everywhere.len(), 2, "{everywhere:?}");
        assert!(everywhere[0].contains("auth.token_hashes"), "{everywhere:?}");
        assert!(everywhere[1].contains("http.allowed_hosts"), "{everywhere:?}");
        assert_eq!(open("10.0.0.5", &["mcp.example.com"], false).len(), 1);
        assert_eq!(open("127.0.0.1", &["*"], false).len(), 1);
        assert_eq!(open("::", &["*"], false).len(), 2);
    }

    #[test]
    fn doors_that_are_closed_are_not_told_of() {
        for local in ["127.0.0.1", "::1", "localhost", "unix:/run/mcp.sock"] {
            assert_eq!(open(local, &[], false), [""; 0], "{local}");
        }
        assert_eq!(open("0.0.0.0", &[], true), [""; 0]);
        assert_eq!(open("127.0.0.1", &["*"], true), [""; 0]);
    }
}
