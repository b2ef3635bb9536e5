//! Which era a request belongs to, and what 2026-07-28 demands of one before its method is looked at.

use std::io;

use http::HeaderMap;
use rmcp::model::{ClientCapabilities, Implementation, RequestMetaObject};
use serde::Serialize;

use super::era::{Era, Revision};
use super::error::Refusal;
use super::headers::{check_method_and_name, name_member};
use super::revisions::Revisions;

const META_VERSION: &str = "io.modelcontextprotocol/protocolVersion";
const META_CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";

const META_CLIENT: &str = "io.modelcontextprotocol/clientInfo";

/// How many bytes of JSON a client's description of itself and its capabilities may have together in a
/// request.
pub(crate) const CLIENT_BYTES_MAX: usize = 64 << 10;
/// How many of them a session keeps, in the store and on each node that restored it. What clients really send
/// is about 1 KiB, but for icons, which may be whole pictures: they go first, then the description. 100 000
/// sessions (`session.kept_max`) x 4 KiB = 400 MiB of text at worst. It takes more room when it is read: 10
/// times as much where it is nothing but short names, 4 GiB in all.
pub(crate) const CLIENT_KEPT_BYTES_MAX: usize = 4 << 10;

/// How a request finds its context.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Context {
    /// `initialize`: it opens a session.
    Initialize,
    /// From the session that a header names.
    Session,
    /// From the request's own `_meta`.
    Meta,
}

/// What tells the eras apart.
#[derive(Debug, Clone, Copy)]
pub(crate) struct EraHints<'a> {
    /// The `MCP-Protocol-Version` header.
    pub header: Option<&'a str>,
    /// The version in the request's `_meta`.
    pub meta: Option<&'a str>,
    /// Whether there is an `Mcp-Session-Id` header.
    pub session: bool,
}

/// Says how a request finds its context. `initialize` opens a session with any other fields in the request
/// too, except with a modern header and modern `_meta`: there it is a method like any other, and unknown.
///
/// # Errors
/// [`Refusal::UnknownVersionHeader`].
pub(crate) fn classify(method: &str, hints: EraHints<'_>, served: Revisions) -> Result<Context, Refusal> {
    let era = |name: &str| Revision::parse(name).map(Revision::era);
    let modern = |name: Option<&str>| name.and_then(era) == Some(Era::Modern);
    if method == "initialize" && !(modern(hints.header) && modern(hints.meta)) {
        return Ok(Context::Initialize);
    }
    match (hints.meta, hints.header) {
        // A legacy client may repeat its version in `_meta`; its session says how it is served.
        (Some(meta), _) if hints.session && era(meta) == Some(Era::Legacy) => Ok(Context::Session),
        (Some(_), _) => Ok(Context::Meta),
        (None, None) => Ok(Context::Session),
        (None, Some(header)) => match era(header) {
            Some(Era::Legacy) => Ok(Context::Session),
            Some(Era::Modern) => Ok(Context::Meta),
            None if !hints.session && is_newer(header) => Ok(Context::Meta),
            None => Err(Refusal::UnknownVersionHeader(served)),
        },
    }
}

/// Whether a version that this server does not know is newer than those it knows: they are dates.
fn is_newer(version: &str) -> bool {
    let newest = Revision::ALL.last().map_or("", |revision| revision.as_str());
    version > newest
}

/// Checks a request that brings its own context, in the order that 2026-07-28 gives: is there a version, do
/// headers and body agree, is the version supported, is `_meta` complete.
///
/// # Errors
/// [`Refusal::HeaderMismatch`], [`Refusal::MetaIncomplete`], [`Refusal::UnsupportedVersion`], and
/// [`Refusal::InvalidParams`] for a client that says too much of itself.
pub(crate) fn check_modern(
    headers: &HeaderMap,
    version_header: Option<&str>,
    method: &str,
    name: Option<&str>,
    meta: &RequestMetaObject,
    served: Revisions,
) -> Result<(Revision, ClientCapabilities), Refusal> {
    let Some(header) = version_header else {
        return Err(Refusal::HeaderMismatch(
            "the MCP-Protocol-Version header is missing".into(),
        ));
    };
    let Some(version) = meta.get(META_VERSION).and_then(|version| version.as_str()) else {
        return Err(Refusal::MetaIncomplete(missing(meta)));
    };
    if header != version {
        return Err(Refusal::HeaderMismatch(
            "MCP-Protocol-Version is not the version that _meta names".into(),
        ));
    }
    let named = name_member(method).is_some();
    check_method_and_name(headers, method, if named { name } else { None })?;
    let revision = served
        .parse(version)
        .filter(|revision| revision.era() == Era::Modern)
        .ok_or_else(|| Refusal::UnsupportedVersion {
            requested: version.to_owned(),
            served,
        })?;
    let capabilities = meta
        .client_capabilities()
        .ok_or_else(|| Refusal::MetaIncomplete(missing(meta)))?;
    check_client_size(&meta.get(META_CLIENT), &meta.get(META_CAPABILITIES))?;
    Ok((revision, capabilities))
}

/// Checks that what a client says of itself is within [`CLIENT_BYTES_MAX`], in either era.
///
/// # Errors
/// [`Refusal::InvalidParams`].
pub(crate) fn check_client_size(
    client: &impl Serialize,
    capabilities: &impl Serialize,
) -> Result<(), Refusal> {
    check_size(client, capabilities, CLIENT_BYTES_MAX, "")
}

/// Makes what a client says of itself fit what a session keeps, [`CLIENT_KEPT_BYTES_MAX`]: without its icons
/// if need be, or its description, which nothing goes by.
///
/// # Errors
/// [`Refusal::InvalidParams`], when it does not fit without them.
pub(crate) fn fit_client(
    client: &mut Implementation,
    capabilities: &ClientCapabilities,
) -> Result<(), Refusal> {
    let check = |client: &Implementation, most, left_out| check_size(client, capabilities, most, left_out);
    check(client, CLIENT_BYTES_MAX, "")?;
    if check(client, CLIENT_KEPT_BYTES_MAX, "").is_err() {
        client.icons = None;
    }
    if check(client, CLIENT_KEPT_BYTES_MAX, "").is_err() {
        client.description = None;
    }
    check(client, CLIENT_KEPT_BYTES_MAX, ", without icons and description")
}

fn check_size(
    client: &impl Serialize,
    capabilities: &impl Serialize,
    most: usize,
    left_out: &str,
) -> Result<(), Refusal> {
    let mut size = Size(0);
    let counted = serde_json::to_writer(&mut size, &(client, capabilities));
    if counted.is_ok() && size.0 <= most {
        return Ok(());
    }
    Err(Refusal::InvalidParams(format!(
        "the client's info and capabilities may have {most} bytes together{left_out}"
    )))
}

/// Counts what is written to it.
struct Size(usize);

impl io::Write for Size {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn missing(meta: &RequestMetaObject) -> String {
    let version = meta.protocol_version().is_none().then_some(META_VERSION);
    let capabilities = meta.client_capabilities().is_none().then_some(META_CAPABILITIES);
    [version, capabilities]
        .into_iter()
        .flatten()
        .collect::<Vec<_>>()
        .join(", ")
}

/// Whether a method of the legacy era does not exist in 2026-07-28 (changelog, "Removed").
#[must_use]
pub(crate) fn is_legacy_only(method: &str) -> bool {
    matches!(
        method,
        "initialize" | "ping" | "logging/setLevel" | "resources/subscribe" | "resources/unsubscribe"
    )
}

/// Whether a method of 2026-07-28 does not exist in the legacy era.
#[must_use]
pub(crate) fn is_modern_only(method: &str) -> bool {
    matches!(method, "server/discover" | "subscriptions/listen")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hints<'a>(header: Option<&'a str>, meta: Option<&'a str>, session: bool) -> EraHints<'a> {
        EraHints {
            header,
            meta,
            session,
        }
    }

    #[test]
    fn initialize_opens_a_session_unless_everything_says_modern() {
        let modern = Some("2026-07-28");
        for s in [
            hints(None, None, false),
            hints(Some("2025-06-18"), None, false),
            hints(modern, None, false),
            hints(None, modern, true),
        ] {
            assert_eq!(classify("initialize", s, Revisions::ALL), Ok(Context::Initialize));
        }
        assert_eq!(
            classify("initialize", hints(modern, modern, false), Revisions::ALL),
            Ok(Context::Meta)
        );
    }

    /// M12: what a session keeps of its client is bounded, and what clients send beyond that is cut where it
    /// does no harm.
    #[test]
    fn icons_and_description_go_before_a_client_is_refused() {
        let capabilities = ClientCapabilities::default();
        let client = |title: usize, description: usize, icon: usize| -> Implementation {
            serde_json::from_value(serde_json::json!({
                "name": "c", "version": "1", "title": "t".repeat(title), "description": "d".repeat(description),
                "icons": [{"src": format!("data:image/png;base64,{}", "A".repeat(icon))}],
            }))
            .unwrap()
        };
        let fitted = |mut client: Implementation| {
            fit_client(&mut client, &capabilities)
                .map(|()| (client.description.is_some(), client.icons.is_some()))
        };
        assert_eq!(fitted(client(100, 100, 100)), Ok((true, true)));
        assert_eq!(fitted(client(100, 100, 20_000)), Ok((true, false)));
        assert_eq!(fitted(client(100, 5000, 20_000)), Ok((false, false)));
        let refused = fitted(client(5000, 0, 0)).unwrap_err();
        assert!(refused.to_string().contains("4096 bytes"), "{refused}");
        assert!(fitted(client(0, 0, 70_000)).is_err());
    }

    #[test]
    fn other_requests_go_by_meta_then_header_then_session() {
        let of = |s| classify("tools/list", s, Revisions::ALL);
        assert_eq!(of(hints(None, None, true)), Ok(Context::Session));
        assert_eq!(of(hints(Some("2025-03-26"), None, true)), Ok(Context::Session));
        assert_eq!(of(hints(Some("2026-07-28"), None, false)), Ok(Context::Meta));
        assert_eq!(
            of(hints(Some("v999.0.0"), Some("v999.0.0"), false)),
            Ok(Context::Meta)
        );
        assert_eq!(of(hints(Some("2031-01-01"), None, false)), Ok(Context::Meta));
        assert_eq!(
            of(hints(Some("1999-01-01"), None, true)),
            Err(Refusal::UnknownVersionHeader(Revisions::ALL))
        );
        assert_eq!(
            of(hints(Some("2031-01-01"), None, true)),
            Err(Refusal::UnknownVersionHeader(Revisions::ALL))
        );
        assert_eq!(of(hints(None, Some("2025-11-25"), true)), Ok(Context::Session));
    }
}
