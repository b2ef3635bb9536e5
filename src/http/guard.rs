//! Who may call, and from where: the `Host` and `Origin` checks against DNS rebinding, and the principal.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, ORIGIN};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri};
use tokio::time::timeout;

use super::authenticate::{Authenticate, Challenge};
use super::media::text;
use super::source::{Connected, Proxies, Source};
use super::{MESSAGES, SSE};
use crate::auth::{
    AuthTasks, Challenges, Credentials, Denied, Flaw, Lacking, Looked, OAuthError, ProtectedResource,
    ScopePolicy, ServerEndpoint, Via,
};
use crate::cluster::{LimitKind, LimitedBy, RateLimits};
use crate::config::{ClientCerts, Settings};
use crate::engine::shares::{PeerUse, Shares};
use crate::protocol::error::Refusal;
use crate::session::{Identity, Peer, Principal};

/// Names that only ever mean this machine.
const LOOPBACK: [&str; 3] = ["localhost", "127.0.0.1", "[::1]"];
/// How long it may take to find out who makes a request.
const AUTHENTICATE_WITHIN: Duration = Duration::from_secs(10);
/// Stands for every host or origin.
const ANY: &str = "*";

/// The checks that come before anything else.
pub(super) struct Guard {
    hosts: Vec<String>,
    origins: Vec<String>,
    check_hosts: bool,
    who: Who,
    scopes: ScopePolicy,
    challenges: Challenges,
    proxies: Proxies,
}

/// Who says who makes a request.
enum Who {
    /// Nobody: everybody may, as nobody in particular.
    Anybody(Identity),
    /// The settings.
    Settings(Box<Credentials>),
    /// The program.
    Program(Arc<dyn Authenticate>),
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let who: &dyn fmt::Debug = match &self.who {
            Who::Anybody(_) => &"anybody",
            Who::Settings(credentials) => credentials,
            Who::Program(authenticate) => authenticate,
        };
        f.debug_struct("Guard")
            .field("hosts", &self.hosts)
            .field("origins", &self.origins)
            .field("who", who)
            .finish_non_exhaustive()
    }
}

impl Guard {
    /// The checks that the settings ask for, and the tasks that they need. Without `authenticate`, the settings say who makes
    /// a request. `name` is this server's, for people.
    ///
    /// `Host` is checked when the server listens on loopback, where a web page could reach it by a name of
    /// its own (2025-11-25, Transports, "Security Warning"), and wherever `http.allowed_hosts` says. A server
    /// on any other address is called by names that only its operator knows.
    pub(super) fn new(
        settings: &Settings,
        authenticate: Option<Arc<dyn Authenticate>>,
        name: &str,
    ) -> Result<(Self, AuthTasks), OAuthError> {
        let lower = |list: &[String]| list.iter().map(|entry| entry.to_ascii_lowercase()).collect();
        let local = is_loopback(&settings.host) || settings.host.starts_with("unix:");
        let resource = ProtectedResource::new(&settings.auth, name);
        let certificates = settings.tls.client_certs != ClientCerts::Off;
        let (who, tasks) = match authenticate {
            Some(program) => (Who::Program(program), AuthTasks::default()),
            None => match Credentials::new(&settings.auth, certificates, resource.as_ref())? {
                Some((credentials, tasks)) => (Who::Settings(Box::new(credentials)), tasks),
                // Scopes bound nobody where no credentials are asked for.
                None => (Who::Anybody(Principal::anonymous().into()), AuthTasks::default()),
            },
        };
        let scopes = ScopePolicy::new(&settings.auth);
        let guard = Self {
            hosts: settings.http.allowed_hosts.clone(),
            origins: lower(&settings.http.allowed_origins),
            check_hosts: local || !settings.http.allowed_hosts.is_empty(),
            who,
            challenges: Challenges::new(scopes.base(), resource),
            scopes,
            proxies: Proxies::new(&settings.http.trusted_proxies),
        };
        Ok((guard, tasks))
    }

    /// Lets a request in that came on that connection, and says who makes it. Credentials that do not count are counted by
    /// `limits`.
    ///
    /// # Errors
    /// [`Refusal::HostNotAllowed`], [`Refusal::OriginNotAllowed`], [`Refusal::Challenged`],
    /// [`Refusal::Limited`].
    pub(super) async fn admit(
        &self,
        head: &Parts,
        connected: &Connected,
        limits: &RateLimits,
    ) -> Result<Identity, Refusal> {
        check_single(&head.headers)?;
        self.check_host(&head.headers, &head.uri)?;
        self.check_origin(&head.headers)?;
        let identity = match &self.who {
            Who::Anybody(anybody) => return Ok(anybody.clone()),
            Who::Program(program) => {
                let from = || LimitedBy::Peer(self.address(&head.headers, connected));
                self.scopes
                    .expand(ask(program.as_ref(), head, limits, from).await?)
            }
            Who::Settings(credentials) => self.look(credentials, head, connected, limits).await?,
        };
        match self.scopes.check(&identity) {
            Ok(()) => Ok(identity),
            Err(lacking) => Err(self.lacking(&lacking, head)),
        }
    }

    async fn look(
        &self,
        credentials: &Credentials,
        head: &Parts,
        connected: &Connected,
        limits: &RateLimits,
    ) -> Result<Identity, Refusal> {
        let via = self.via(connected);
        if let Some(header) = credentials.proxy_header()
            && head.headers.get_all(header).iter().nth(1).is_some()
        {
            return Err(Refusal::DoubledHeader("credentials'"));
        }
        let looked = match credentials.look(head, via) {
            Looked::Known(identity) => return Ok(identity),
            Looked::Denied(denied) => Err(denied),
            // In a box: its room would be kept with each request.
            Looked::Unverified(token) => {
                let from = LimitedBy::Peer(self.address(&head.headers, connected));
                Box::pin(self.verify(credentials, token, limits, from)).await?
            }
        };
        looked.map_err(|denied| Refusal::Challenged(self.challenges.denied(denied, endpoint(head)).into()))
    }

    /// Verifies a token. It counts as wrong until it proves right: so many wrong ones at once are not more than the
    /// limit lets in, and cost no more.
    async fn verify(
        &self,
        credentials: &Credentials,
        token: &str,
        limits: &RateLimits,
        from: LimitedBy,
    ) -> Result<Result<Identity, Denied>, Refusal> {
        limits.failure(from.clone()).await?;
        let verified = timeout(AUTHENTICATE_WITHIN, credentials.verify(token, &self.scopes)).await;
        let verified = verified.unwrap_or(Err(Denied::Unavailable));
        let wrong = matches!(verified, Err(Denied::Invalid(flaw)) if flaw != Flaw::Expired);
        if !wrong {
            limits.give_back(LimitKind::FailuresAddress, from, 1);
        }
        Ok(verified)
    }

    fn via<'a>(&self, connected: &'a Connected) -> Via<'a> {
        Via {
            trusted: self.trusts(connected.source),
            certificate: connected.certificate.as_ref(),
        }
    }

    /// The refusal of a request that lacks scopes.
    fn lacking(&self, lacking: &Lacking, head: &Parts) -> Refusal {
        Refusal::Challenged(self.challenges.lacking(lacking, endpoint(head)).into())
    }

    /// Checks that a request may call a tool; `reads` tells whether the tool says that it only reads.
    ///
    /// # Errors
    /// [`Refusal::Challenged`].
    pub(super) fn check_tool(
        &self,
        identity: &Identity,
        head: &Parts,
        tool: &str,
        reads: impl FnOnce() -> bool,
    ) -> Result<(), Refusal> {
        let checked = self.scopes.check_tool(identity, tool, reads);
        checked.map_err(|lacking| self.lacking(&lacking, head))
    }

    /// Whether some tools need scopes of their own, and scopes are asked for at all.
    #[must_use]
    pub(super) fn bounds_tools(&self) -> bool {
        self.scopes.bounds_tools() && !matches!(self.who, Who::Anybody(_))
    }

    /// This server as issuers know it.
    #[must_use]
    pub(super) const fn resource(&self) -> Option<&ProtectedResource> {
        self.challenges.resource()
    }

    /// The credentials that the settings know.
    #[must_use]
    pub(super) fn credentials(&self) -> Option<&Credentials> {
        match &self.who {
            Who::Settings(credentials) => Some(credentials),
            Who::Anybody(_) | Who::Program(_) => None,
        }
    }

    /// Marks the headers that credentials were read from, so that nobody else sees them.
    pub(super) fn hide_credentials(&self, headers: &mut HeaderMap) {
        let names = match &self.who {
            Who::Anybody(_) => return,
            Who::Settings(credentials) => credentials.proxy_header().map(std::slice::from_ref),
            Who::Program(program) => Some(program.credentials()),
        };
        for name in names.unwrap_or_default() {
            if let Some(value) = headers.get_mut(name) {
                value.set_sensitive(true);
            }
        }
    }

    /// The peer of an admitted request on that connection: its principal, if it has one.
    #[must_use]
    pub(super) fn peer(
        &self,
        principal: &Principal,
        headers: &HeaderMap,
        connected: &Connected,
        shares: &Arc<Shares>,
    ) -> Arc<PeerUse> {
        if !principal.as_str().is_empty() {
            return shares.of(Peer::Principal(principal.clone()));
        }
        // Most requests count for the other end of their connection, which has been looked up once.
        if self.trusts(connected.source) {
            return shares.of(self.proxies.peer(connected.source, headers));
        }
        Arc::clone(&connected.uses)
    }

    /// The address that a request on that connection comes from.
    #[must_use]
    pub(super) fn address(&self, headers: &HeaderMap, connected: &Connected) -> Peer {
        match self.trusts(connected.source) {
            true => self.proxies.peer(connected.source, headers),
            false => connected.uses.peer().clone(),
        }
    }

    /// The whole address of the client of a request that comes from there, if it has one.
    #[must_use]
    pub(super) fn whole_address(&self, source: Source, headers: &HeaderMap) -> Option<IpAddr> {
        self.proxies.address(source, headers)
    }

    /// Gives each header of such a request that tells of its client's address.
    pub(super) fn each_forwarded(&self, source: Source, headers: &HeaderMap, give: impl FnMut(&HeaderValue)) {
        self.proxies.each_forwarded(source, headers, give);
    }

    /// Whether the connections from there are many clients'.
    #[must_use]
    pub(super) fn trusts(&self, source: Source) -> bool {
        self.proxies.trust(source)
    }

    fn check_host(&self, headers: &HeaderMap, uri: &Uri) -> Result<(), Refusal> {
        if !self.check_hosts || self.hosts.iter().any(|host| host == ANY) {
            return Ok(());
        }
        let named = uri
            .authority()
            .map(http::uri::Authority::as_str)
            .or_else(|| text(headers, &HOST));
        let Some(authority) = named else {
            return Err(Refusal::HostNotAllowed);
        };
        let host = without_port(authority);
        let listed = self
            .hosts
            .iter()
            .any(|entry| entry.eq_ignore_ascii_case(authority) || entry.eq_ignore_ascii_case(host));
        if listed || is_loopback(host) {
            Ok(())
        } else {
            Err(Refusal::HostNotAllowed)
        }
    }

    /// Browsers send `Origin`, other clients do not. Pages on this machine may call; others only if listed.
    fn check_origin(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        match headers.get(ORIGIN) {
            Some(origin) if !self.allows(origin) => Err(Refusal::OriginNotAllowed),
            _ => Ok(()),
        }
    }

    /// The headers in which credentials come.
    pub(super) fn credential_headers(&self) -> impl Iterator<Item = &HeaderName> {
        credential_headers(match &self.who {
            Who::Program(program) => program.credentials(),
            Who::Anybody(_) | Who::Settings(_) => &[],
        })
    }

    /// Whether a page of that origin may call.
    #[must_use]
    pub(super) fn allows(&self, origin: &HeaderValue) -> bool {
        let origin = origin.to_str().unwrap_or_default().to_ascii_lowercase();
        let listed = self.origins.iter().any(|entry| *entry == origin || entry == ANY);
        // What has more than a host and a port is no origin (RFC 6454, section 7), and not for this machine
        // to read.
        let host = origin
            .split_once("://")
            .map(|(_, authority)| without_port(authority));
        listed || host.is_some_and(is_loopback)
    }
}

/// Asks the program who makes a request. Wrong credentials count after that: this node does not know which ones the program has verified
/// before, so counting first would refuse good ones under load.
async fn ask(
    program: &dyn Authenticate,
    head: &Parts,
    limits: &RateLimits,
    from: impl FnOnce() -> LimitedBy,
) -> Result<Identity, Refusal> {
    for name in program.credentials() {
        if head.headers.get_all(name).iter().nth(1).is_some() {
            return Err(Refusal::DoubledHeader("credentials'"));
        }
    }
    // In a box: its room would be kept with each request.
    let named = Box::pin(timeout(AUTHENTICATE_WITHIN, program.authenticate(head)));
    let named = named.await.unwrap_or_else(|_late| Err(Challenge::unavailable()));
    let challenge = match named {
        Ok(identity) => return Ok(identity),
        Err(challenge) => challenge,
    };
    let brings_any = credential_headers(program.credentials()).any(|name| head.headers.contains_key(name));
    if brings_any && challenge.status() == StatusCode::UNAUTHORIZED {
        limits.failure(from()).await?;
    }
    Err(Refusal::Challenged(challenge.into()))
}

fn credential_headers(own: &[HeaderName]) -> impl Iterator<Item = &HeaderName> {
    own.iter().chain([&AUTHORIZATION])
}

/// The endpoint that a request asks.
fn endpoint(head: &Parts) -> ServerEndpoint {
    let path = head.uri.path();
    match path.starts_with(SSE) || path.starts_with(MESSAGES) {
        true => ServerEndpoint::Sse,
        false => ServerEndpoint::Mcp,
    }
}

/// Whether a host is this machine by its name or address alone.
pub(crate) fn is_loopback(host: &str) -> bool {
    LOOPBACK.iter().any(|name| name.eq_ignore_ascii_case(host)) || host == "::1" || is_under_localhost(host)
}

/// Every name under `localhost` is this machine's too (RFC 6761, section 6.3).
fn is_under_localhost(host: &str) -> bool {
    const UNDER: &str = ".localhost";
    let of_a_name = |byte: u8| byte.is_ascii_alphanumeric() || b".-".contains(&byte);
    let split = host
        .len()
        .checked_sub(UNDER.len())
        .and_then(|at| host.split_at_checked(at));
    split.is_some_and(|(name, ends)| {
        ends.eq_ignore_ascii_case(UNDER) && !name.is_empty() && name.bytes().all(of_a_name)
    })
}

fn without_port(authority: &str) -> &str {
    match authority.rfind(':') {
        // The last colon of an IPv6 address without a port is inside its brackets. And what is no number is
        // no port: `localhost:3000@evil.example` is evil.example.
        Some(at) if is_port(authority.get(at + 1..)) => authority.get(..at).unwrap_or(authority),
        _ => authority,
    }
}

fn is_port(text: Option<&str>) -> bool {
    text.is_some_and(|text| text.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Headers that must not come twice: this server would read the first, and a proxy maybe the last.
static SINGLE: [(HeaderName, &str); 6] = [
    (HeaderName::from_static("mcp-session-id"), "Mcp-Session-Id"),
    (AUTHORIZATION, "Authorization"),
    (HOST, "Host"),
    (ORIGIN, "Origin"),
    (CONTENT_TYPE, "Content-Type"),
    (
        HeaderName::from_static("mcp-protocol-version"),
        "MCP-Protocol-Version",
    ),
];

fn check_single(headers: &HeaderMap) -> Result<(), Refusal> {
    // Few requests have any header twice.
    if headers.len() == headers.keys_len() {
        return Ok(());
    }
    let doubled = SINGLE
        .iter()
        .find(|(header, _)| headers.get_all(header).iter().nth(1).is_some());
    doubled.map_or(Ok(()), |(_, name)| Err(Refusal::DoubledHeader(name)))
}

#[cfg(test)]
#[path = "guard_tests.rs"]
mod tests;
