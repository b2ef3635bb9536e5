//! This server as clients and issuers know it: its URL, its metadata (RFC 9728), and the audiences of tokens for it.

use bytes::Bytes;
use serde_json::json;
use url::Url;

use crate::config::AuthSettings;

/// Where the metadata of a resource is (RFC 9728, section 3).
pub(crate) const METADATA: &str = "/.well-known/oauth-protected-resource";
/// The last part of the paths at which the two transports are.
const MCP: &str = "/mcp";
const SSE: &str = "/sse";

/// Which transport a request is for. Clients demand that a resource is the beginning of the URL that they call, so
/// each has a URL of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ServerEndpoint {
    /// `/mcp`
    Mcp,
    /// `/sse`, with `/messages`
    Sse,
}

/// This server as a protected resource.
#[derive(Debug)]
pub(crate) struct ProtectedResource {
    mcp: Named,
    sse: Named,
}

/// A URL of it.
#[derive(Debug)]
struct Named {
    /// As the settings write it: what `resource` and `aud` are.
    url: String,
    /// What follows the origin.
    path: String,
    /// Where its metadata is.
    metadata_url: String,
    metadata: Bytes,
}

impl ProtectedResource {
    /// The one that the settings name, if they do, under the name of its server.
    pub(crate) fn new(auth: &AuthSettings, name: &str) -> Option<Self> {
        let mcp = auth.resource.clone();
        let sse = match mcp.strip_suffix(MCP) {
            Some(above) => format!("{above}{SSE}"),
            None => mcp.clone(),
        };
        Some(Self {
            mcp: Named::new(mcp, auth, name)?,
            sse: Named::new(sse, auth, name)?,
        })
    }

    /// What `aud` may be in tokens for it.
    pub(crate) fn audiences(&self) -> Vec<String> {
        let mut audiences = vec![self.mcp.url.clone()];
        if self.sse.url != self.mcp.url {
            audiences.push(self.sse.url.clone());
        }
        // Of an origin both are the same URL (RFC 3986, section 6.2.3).
        match self.mcp.path.as_str() {
            "" => audiences.push(format!("{}/", self.mcp.url)),
            "/" => audiences.extend(self.mcp.url.strip_suffix('/').map(str::to_owned)),
            _ => {}
        }
        audiences
    }

    /// Where the metadata of an endpoint is.
    pub(crate) fn metadata_url(&self, endpoint: ServerEndpoint) -> &str {
        match endpoint {
            ServerEndpoint::Mcp => &self.mcp.metadata_url,
            ServerEndpoint::Sse => &self.sse.metadata_url,
        }
    }

    /// The metadata at a path, if there is any: of its URL's path, of the path that this node itself serves, which a proxy may
    /// have mapped that to, or of the whole origin.
    pub(crate) fn metadata_at(&self, path: &str) -> Option<Bytes> {
        let below = path.strip_prefix(METADATA)?;
        let below = below.strip_suffix('/').unwrap_or(below);
        let is = |named: &Named, own: &str| below == named.path.trim_end_matches('/') || below == own;
        let named = match () {
            () if below.is_empty() || is(&self.mcp, MCP) => &self.mcp,
            () if is(&self.sse, SSE) => &self.sse,
            () => return None,
        };
        Some(named.metadata.clone())
    }
}

impl Named {
    fn new(url: String, auth: &AuthSettings, name: &str) -> Option<Self> {
        let parsed: Url = url.parse().ok()?;
        let origin = parsed.origin().ascii_serialization();
        let path = url.get(after_authority(&url)..)?.to_owned();
        let mut metadata = json!({
            "resource": url,
            "authorization_servers": auth.issuers,
            "bearer_methods_supported": ["header"],
            "resource_name": name,
        });
        if let Some(members) = metadata.as_object_mut().filter(|_| !auth.scopes.is_empty()) {
            members.insert("scopes_supported".to_owned(), json!(auth.scopes));
        }
        Some(Self {
            metadata_url: format!("{origin}{METADATA}{}", path.trim_end_matches('/')),
            path,
            metadata: metadata.to_string().into(),
            url,
        })
    }
}

/// Where a URL's path begins.
fn after_authority(url: &str) -> usize {
    let authority = url.find("://").map_or(0, |at| at + 3);
    let path = url.get(authority..).and_then(|rest| rest.find('/'));
    path.map_or(url.len(), |at| authority + at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resource(url: &str) -> ProtectedResource {
        let auth = AuthSettings {
            resource: url.to_owned(),
            issuers: vec!["https://idp.example".into()],
            scopes: vec!["mcp:tools".into()],
            ..AuthSettings::default()
        };
        ProtectedResource::new(&auth, "notes").unwrap()
    }

    fn of(resource: &ProtectedResource, path: &str) -> Option<String> {
        let metadata: serde_json::Value = serde_json::from_slice(&resource.metadata_at(path)?).unwrap();
        Some(metadata["resource"].as_str().unwrap().to_owned())
    }

    /// T36: the URL is the one that clients use, at path and root.
    #[test]
    fn each_endpoint_has_metadata_of_its_own() {
        let at = resource("https://mcp.example/tools/mcp");
        let (mcp, sse) = ("https://mcp.example/tools/mcp", "https://mcp.example/tools/sse");
        for (below, url) in [
            ("", mcp),
            ("/", mcp),
            ("/tools/mcp", mcp),
            ("/mcp", mcp),
            ("/tools/sse", sse),
            ("/sse", sse),
        ] {
            assert_eq!(
                of(&at, &format!("{METADATA}{below}")).as_deref(),
                Some(url),
                "{below}"
            );
        }
        for other in ["/tools", "/other", "/mcp/x", "x"] {
            assert_eq!(of(&at, &format!("{METADATA}{other}")), None, "{other}");
        }
        assert_eq!(
            at.metadata_url(ServerEndpoint::Sse),
            "https://mcp.example/.well-known/oauth-protected-resource/tools/sse"
        );
        assert_eq!(at.audiences(), [mcp, sse]);
    }

    #[test]
    fn an_origin_is_the_resource_of_both_endpoints() {
        let at = resource("https://mcp.example");
        assert_eq!(
            of(&at, &format!("{METADATA}/sse")).as_deref(),
            Some("https://mcp.example")
        );
        let metadata_url = "https://mcp.example/.well-known/oauth-protected-resource";
        assert_eq!(
            (
                at.metadata_url(ServerEndpoint::Mcp),
                at.metadata_url(ServerEndpoint::Sse)
            ),
            (metadata_url, metadata_url)
        );
        assert_eq!(at.audiences(), ["https://mcp.example", "https://mcp.example/"]);
        assert_eq!(
            resource("https://mcp.example/").audiences(),
            ["https://mcp.example/", "https://mcp.example"]
        );
    }

    #[test]
    fn metadata_names_issuers_and_scopes() {
        let at = resource("http://127.0.0.1:3000/mcp");
        let metadata: serde_json::Value = serde_json::from_slice(&at.metadata_at(METADATA).unwrap()).unwrap();
        assert_eq!(
            metadata,
            json!({
                "resource": "http://127.0.0.1:3000/mcp",
                "authorization_servers": ["https://idp.example"],
                "bearer_methods_supported": ["header"],
                "resource_name": "notes",
                "scopes_supported": ["mcp:tools"],
            })
        );
        assert!(ProtectedResource::new(&AuthSettings::default(), "notes").is_none());
    }
}
