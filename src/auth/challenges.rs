//! What a client is told whose credentials are not enough (RFC 6750, section 3; RFC 9728, section 5.1).
//!
//! There is one challenge, `Bearer`. Some clients look for a parameter's name anywhere in the header, so no value but that of `scope`
//! holds `scope=`.

use super::denied::{Denied, Flaw, UNAVAILABLE_FOR};
use super::resource::{ProtectedResource, ServerEndpoint};
use super::scopes::Lacking;
use crate::protocol::challenge::Challenge;

/// The challenges of a node.
#[derive(Debug)]
pub(crate) struct Challenges {
    /// `scope="…"`, if every request needs scopes.
    base: String,
    resource: Option<ProtectedResource>,
}

impl Challenges {
    /// Those of a server where each request needs these scopes.
    pub(crate) fn new(base: &[String], resource: Option<ProtectedResource>) -> Self {
        Self {
            base: scope(base),
            resource,
        }
    }

    /// This server, as issuers know it.
    pub(crate) const fn resource(&self) -> Option<&ProtectedResource> {
        self.resource.as_ref()
    }

    /// That of a request whose credentials do not count.
    pub(crate) fn denied(&self, denied: Denied, endpoint: ServerEndpoint) -> Challenge {
        match denied {
            Denied::Missing => Challenge::unauthorized(&self.bearer("", &self.base, endpoint)),
            Denied::Invalid(flaw) => {
                let error = format!("error=\"invalid_token\", error_description=\"{}\"", flaw.words());
                let challenge = Challenge::invalid_token(&self.bearer(&error, &self.base, endpoint));
                let challenge = challenge.in_words(words(flaw));
                match flaw {
                    Flaw::Expired => challenge.of_expired(),
                    _ => challenge,
                }
            }
            Denied::InQuery => Challenge::in_query(),
            Denied::Unavailable => Challenge::issuer_unreachable(UNAVAILABLE_FOR),
        }
    }

    /// That of a request that lacks scopes. It names all that the operation needs.
    pub(crate) fn lacking(&self, lacking: &Lacking, endpoint: ServerEndpoint) -> Challenge {
        let scopes = scope(&lacking.needed);
        if lacking.anonymous {
            return Challenge::unauthorized(&self.bearer("", &scopes, endpoint));
        }
        let error = "error=\"insufficient_scope\", error_description=\"more scopes are needed\"";
        Challenge::insufficient_scope(&self.bearer(error, &scopes, endpoint), &lacking.needed)
    }

    fn bearer(&self, error: &str, scope: &str, endpoint: ServerEndpoint) -> String {
        let resource = self.resource.as_ref();
        let metadata =
            resource.map(|resource| format!("resource_metadata=\"{}\"", resource.metadata_url(endpoint)));
        let parameters = [
            "realm=\"anynode\"",
            error,
            scope,
            metadata.as_deref().unwrap_or_default(),
        ];
        let given: Vec<&str> = parameters
            .into_iter()
            .filter(|parameter| !parameter.is_empty())
            .collect();
        format!("Bearer {}", given.join(", "))
    }
}

fn scope(scopes: &[String]) -> String {
    match scopes.is_empty() {
        true => String::new(),
        false => format!("scope=\"{}\"", scopes.join(" ")),
    }
}

/// What is wrong with a token, and what to do.
const fn words(flaw: Flaw) -> &'static str {
    match flaw {
        Flaw::Expired => "the token has expired: refresh it and send the request again",
        Flaw::Audience => {
            "the token is for another server: ask its issuer for one with this server as `resource`"
        }
        Flaw::Issuer => {
            "the token is of an issuer that this server does not trust: the resource metadata names those that it does"
        }
        Flaw::Early => "the token is not valid yet: the clocks of its issuer and this server may differ",
        Flaw::Revoked => "the token was revoked: sign in again",
        Flaw::Signature => "the token's signature is of no key of its issuer: sign in again",
        Flaw::Malformed => "the token is no access token that this server can read: sign in again",
        Flaw::Unknown => {
            "the token is none that this server knows: send Authorization: Bearer with a token of this server"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::AuthSettings;

    fn challenges(resource: &str, scopes: &[&str]) -> Challenges {
        let scopes: Vec<String> = scopes.iter().map(|&scope| scope.to_owned()).collect();
        let auth = AuthSettings {
            resource: resource.to_owned(),
            scopes: scopes.clone(),
            ..AuthSettings::default()
        };
        Challenges::new(&scopes, ProtectedResource::new(&auth, "notes"))
    }

    fn header(challenge: &Challenge) -> &str {
        challenge.www_authenticate().unwrap().to_str().unwrap()
    }

    #[test]
    fn a_client_without_credentials_is_told_where_to_get_them() {
        let at = challenges("https://mcp.example/mcp", &["mcp:tools", "mcp:read"]);
        assert_eq!(
            header(&at.denied(Denied::Missing, ServerEndpoint::Mcp)),
            "Bearer realm=\"anynode\", scope=\"mcp:tools mcp:read\", \
             resource_metadata=\"https://mcp.example/.well-known/oauth-protected-resource/mcp\""
        );
        let sse = at.denied(Denied::Missing, ServerEndpoint::Sse);
        assert!(header(&sse).ends_with("/.well-known/oauth-protected-resource/sse\""));
        let bare = challenges("", &[]).denied(Denied::Missing, ServerEndpoint::Mcp);
        assert_eq!(header(&bare), "Bearer realm=\"anynode\"");
    }

    #[test]
    fn what_is_wrong_with_a_token_is_told_in_fixed_words() {
        let at = challenges("https://mcp.example/mcp", &["mcp:tools"]);
        for flaw in Flaw::ALL {
            let challenge = at.denied(Denied::Invalid(flaw), ServerEndpoint::Mcp);
            let told = header(&challenge);
            assert!(
                told.starts_with("Bearer realm=\"anynode\", error=\"invalid_token\", "),
                "{told}"
            );
            assert_eq!(told.matches("scope=").count(), 1, "{told}");
            assert_eq!(challenge.status().as_u16(), 401);
        }
    }

    #[test]
    fn a_missing_scope_is_told_with_all_that_the_operation_needs() {
        let at = challenges("https://mcp.example/mcp", &["mcp:tools"]);
        let mut lacking = Lacking {
            needed: vec!["mcp:tools".into(), "mcp:write".into()],
            anonymous: false,
        };
        let challenge = at.lacking(&lacking, ServerEndpoint::Mcp);
        assert_eq!(challenge.status().as_u16(), 403);
        assert!(header(&challenge).contains("error=\"insufficient_scope\""));
        assert!(header(&challenge).contains(", scope=\"mcp:tools mcp:write\", resource_metadata="));
        lacking.anonymous = true;
        let asked = at.lacking(&lacking, ServerEndpoint::Mcp);
        assert_eq!(asked.status().as_u16(), 401);
        assert!(header(&asked).contains("scope=\"mcp:tools mcp:write\""));
    }
}
