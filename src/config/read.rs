//! Reads one value of each kind: text, numbers, sizes, durations, lists. A refusal tells what is allowed.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use ::config::ValueKind;
use humantime_serde::re::humantime;
use ipnet::IpNet;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;
use url::Url;

use super::{ClientCerts, ClientPrincipal, LogFormat, ReplyForm, WhenFull};
use crate::protocol::era::Revision;
use crate::session::id::{NODE_ID_BYTES_MAX, NodeId};

pub(super) mod auth;

/// What the value should have been, in words that follow "expected".
pub(super) type ExpectedWords = String;

/// The longest list, in entries.
const LIST_ENTRIES_MAX: usize = 1000;
/// The longest key prefix, in bytes.
const PREFIX_BYTES_MAX: usize = 64;
/// The shortest bearer token, in characters. 16 of base64 hold 96 bits.
const TOKEN_CHARS_MIN: usize = 16;
/// The shortest sealing secret, in characters. 32 of hexadecimal hold 128 bits.
const SECRET_CHARS_MIN: usize = 32;

/// The schemes of `redis_url`.
const STORE_SCHEMES: [&str; 14] = [
    "redis",
    "rediss",
    "redis-cluster",
    "rediss-cluster",
    "redis-sentinel",
    "rediss-sentinel",
    "redis+unix",
    "valkey",
    "valkeys",
    "valkey-cluster",
    "valkeys-cluster",
    "valkey-sentinel",
    "valkeys-sentinel",
    "valkey+unix",
];

pub(super) fn text(
    value: &ValueKind,
    expected: &str,
    good: impl Fn(&str) -> bool,
) -> Result<String, ExpectedWords> {
    match value {
        ValueKind::String(text) if good(text) => Ok(text.clone()),
        _ => Err(expected.to_owned()),
    }
}

pub(super) fn count<T: TryFrom<u64>>(
    value: &ValueKind,
    range: RangeInclusive<u64>,
) -> Result<T, ExpectedWords> {
    let expected = || format!("a whole number from {} to {}", range.start(), range.end());
    let number = whole(value).filter(|number| range.contains(number));
    number
        .and_then(|number| T::try_from(number).ok())
        .ok_or_else(expected)
}

/// `true` or `false`.
pub(super) fn switch(value: &ValueKind) -> Result<bool, ExpectedWords> {
    match value {
        ValueKind::Boolean(on) => Ok(*on),
        ValueKind::String(text) => text.trim().to_ascii_lowercase().parse().map_err(|_error| ()),
        _ => Err(()),
    }
    .map_err(|()| "true or false".to_owned())
}

/// Bytes: `4194304`, or with a unit, `4MiB`.
pub(super) fn size(value: &ValueKind, range: RangeInclusive<u64>) -> Result<usize, ExpectedWords> {
    let expected = || {
        let (low, high) = (spell_size(*range.start()), spell_size(*range.end()));
        format!("a size from {low} to {high}, in bytes or with a unit (KiB, MiB, GiB)")
    };
    let with_unit = || match value {
        ValueKind::String(text) => parse_size(text),
        _ => None,
    };
    let bytes = whole(value)
        .or_else(with_unit)
        .filter(|bytes| range.contains(bytes));
    bytes
        .and_then(|bytes| usize::try_from(bytes).ok())
        .ok_or_else(expected)
}

/// A duration with its unit: `100ms`, `30m`, `1h 30m`, or plain `0`.
pub(super) fn duration(
    value: &ValueKind,
    range: RangeInclusive<Duration>,
) -> Result<Duration, ExpectedWords> {
    let parsed = match value {
        ValueKind::String(text) => humantime::parse_duration(text.trim()).ok(),
        ValueKind::I64(0) => Some(Duration::ZERO),
        _ => None,
    };
    parsed.filter(|duration| range.contains(duration)).ok_or_else(|| {
        let (low, high) = (spell(*range.start()), spell(*range.end()));
        format!("a duration with its unit, from {low} to {high}, such as 30m, 10s or 100ms")
    })
}

/// Zero, or a duration in the range.
pub(super) fn duration_or_zero(
    value: &ValueKind,
    range: RangeInclusive<Duration>,
) -> Result<Duration, ExpectedWords> {
    duration(value, Duration::ZERO..=Duration::ZERO)
        .or_else(|_none| duration(value, range).map_err(|expected| format!("0s for none, or {expected}")))
}

/// A TOML array, or text with commas.
pub(super) fn list(
    value: &ValueKind,
    expected: &str,
    good: impl Fn(&str) -> bool,
) -> Result<Vec<String>, ExpectedWords> {
    let entries: Option<Vec<String>> = match value {
        ValueKind::String(text) => Some(text.split(',').map(|entry| entry.trim().to_owned()).collect()),
        ValueKind::Array(array) => array
            .iter()
            .map(|entry| match &entry.kind {
                ValueKind::String(text) => Some(text.trim().to_owned()),
                _ => None,
            })
            .collect(),
        _ => None,
    };
    let mut entries = entries.ok_or_else(|| expected.to_owned())?;
    entries.retain(|entry| !entry.is_empty());
    if entries.len() > LIST_ENTRIES_MAX {
        return Err(format!("at most {LIST_ENTRIES_MAX} entries"));
    }
    match entries.iter().find(|entry| !good(entry)) {
        Some(bad) => Err(format!("{expected}; {bad:?} is not")),
        None => Ok(entries),
    }
}

/// A file that can be opened now; empty for none.
pub(super) fn file(value: &ValueKind) -> Result<Option<PathBuf>, ExpectedWords> {
    let path = text(value, "the path of a PEM file, or empty for none", |_| true)?;
    if path.is_empty() {
        return Ok(None);
    }
    match std::fs::read(&path) {
        Ok(_) => Ok(Some(path.into())),
        Err(error) => Err(format!(
            "a PEM file that can be read, or empty for none ({error})"
        )),
    }
}

pub(super) fn host(value: &ValueKind) -> Result<String, ExpectedWords> {
    text(
        value,
        "an IP address, a host name, or unix:/path/to/socket",
        |host| match host.strip_prefix("unix:") {
            Some(path) => path.starts_with('/') && path.len() > 1,
            None => host.parse::<IpAddr>().is_ok() || is_host_name(host),
        },
    )
}

/// Where to listen besides: a host and a port, or a Unix socket; empty for nowhere.
pub(super) fn listen(value: &ValueKind) -> Result<String, ExpectedWords> {
    let expected = "empty for none, or an address with its port, such as 0.0.0.0:9090 or [::]:9090, or unix:/path/to/socket";
    text(value, expected, |address| {
        address.is_empty() || ListenAddress::parse(address).is_some()
    })
}

/// An address to listen on that names its port itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ListenAddress<'a> {
    /// A host's name or address, and a port.
    Tcp(&'a str, u16),
    /// A socket's path.
    Unix(&'a str),
}

impl<'a> ListenAddress<'a> {
    pub(crate) fn parse(text: &'a str) -> Option<Self> {
        if let Some(path) = text.strip_prefix("unix:") {
            return (path.starts_with('/') && path.len() > 1).then_some(Self::Unix(path));
        }
        let (host, port) = text.rsplit_once(':')?;
        let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let good = match bracketed {
            Some(address) => address.parse::<Ipv6Addr>().is_ok(),
            None => host.parse::<Ipv4Addr>().is_ok() || is_host_name(host),
        };
        let port = port.parse().ok().filter(|_| good)?;
        Some(Self::Tcp(bracketed.unwrap_or(host), port))
    }
}

/// A path as it stands in URLs. Nothing in it needs to be escaped, and none of its parts is resolved away.
pub(super) fn public_path(value: &ValueKind) -> Result<String, ExpectedWords> {
    let expected = "empty, or a path such as /tools: it begins with /, and has letters, digits, '-', '_', '.', '~' and '/'";
    text(value, expected, |path| {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.~/".contains(&b);
        let parts = path
            .strip_prefix('/')
            .map(|path| path.strip_suffix('/').unwrap_or(path));
        let stays = |part: &str| !part.is_empty() && part != "." && part != "..";
        let whole = parts.is_some_and(|parts| parts.split('/').all(stays));
        path.is_empty() || path == "/" || (whole && path.bytes().all(plain))
    })
}

pub(super) fn redis_url(value: &ValueKind) -> Result<String, ExpectedWords> {
    let schemes = STORE_SCHEMES.join(", ");
    let expected = format!(
        "empty for the in-memory store, or a URL such as redis://user:password@host:6379/0, its scheme one of {schemes}"
    );
    text(value, &expected, |url| url.is_empty() || is_store_url(url))
}

pub(super) fn node_id(value: &ValueKind) -> Result<String, ExpectedWords> {
    let expected =
        format!("empty to make one, or 1 to {NODE_ID_BYTES_MAX} letters, digits, '-', '_' and '.'");
    text(value, &expected, |id| {
        id.is_empty() || NodeId::parse(id).is_some()
    })
}

/// The prefix goes before `{session:…}`: a lone brace in it would scatter a session over a cluster. A
/// complete tag puts all keys into one slot.
pub(super) fn prefix(value: &ValueKind) -> Result<String, ExpectedWords> {
    let expected = format!(
        "at most {PREFIX_BYTES_MAX} visible ASCII characters without * ? [ ] \\, its braces none or one complete {{tag}}"
    );
    text(value, &expected, |prefix| {
        let braces: String = prefix.chars().filter(|c| "{}".contains(*c)).collect();
        let whole = braces.is_empty() || (braces == "{}" && !prefix.contains("{}"));
        let plain = prefix
            .bytes()
            .all(|b| b.is_ascii_graphic() && !b"*?[]\\".contains(&b));
        prefix.len() <= PREFIX_BYTES_MAX && whole && plain
    })
}

pub(super) fn origins(value: &ValueKind) -> Result<Vec<String>, ExpectedWords> {
    let expected = "a list of origins such as https://app.example.com (no path), or * for all";
    list(value, expected, |entry| entry == "*" || is_origin(entry))
}

pub(super) fn hosts(value: &ValueKind) -> Result<Vec<String>, ExpectedWords> {
    let expected =
        "a list of host names or addresses, with or without a port, such as mcp.example.com, or * for all";
    list(value, expected, |entry| entry == "*" || is_authority(entry))
}

pub(super) fn revisions(value: &ValueKind) -> Result<Vec<Revision>, ExpectedWords> {
    let expected = format!("a list of {}", Revision::ALL.map(Revision::as_str).join(", "));
    let named = list(value, &expected, |entry| Revision::parse(entry).is_some())?;
    Ok(named.iter().filter_map(|name| Revision::parse(name)).collect())
}

/// What stands for the proxies that use the Unix socket.
pub(crate) const UNIX_PROXY: &str = "unix";

pub(super) fn proxies(value: &ValueKind) -> Result<Vec<String>, ExpectedWords> {
    let expected = "a list of addresses and networks of proxies, such as 10.0.0.5 or 10.0.0.0/8, or unix";
    list(value, expected, |entry| {
        entry == UNIX_PROXY || network(entry).is_some()
    })
}

/// A network, or an address as the network of itself alone.
pub(crate) fn network(text: &str) -> Option<IpNet> {
    let alone = || {
        text.parse::<IpAddr>()
            .map(|address| address.to_canonical().into())
    };
    text.parse().or_else(|_bad| alone()).ok()
}

pub(super) fn token(value: &ValueKind) -> Result<String, ExpectedWords> {
    let expected = format!("a token of {TOKEN_CHARS_MIN} or more visible ASCII characters");
    text(value, &expected, |token| {
        token.len() >= TOKEN_CHARS_MIN && token.bytes().all(|b| b.is_ascii_graphic())
    })
}

pub(super) fn secret(value: &ValueKind) -> Result<String, ExpectedWords> {
    let expected = format!("{SECRET_CHARS_MIN} or more characters, or empty to share one through the store");
    text(value, &expected, |secret| {
        secret.is_empty() || secret.chars().count() >= SECRET_CHARS_MIN
    })
}

pub(super) fn log_filter(value: &ValueKind) -> Result<String, ExpectedWords> {
    let expected = "a tracing filter: off, error, warn, info, debug or trace, also by target, such as info,anynode=debug";
    text(value, expected, |filter| {
        // tracing takes a lone word for a target, so that `verbose` would turn all logs off.
        let is_level = |part: &str| part.contains(['=', '[']) || part.trim().parse::<LevelFilter>().is_ok();
        !filter.is_empty() && filter.split(',').all(is_level) && EnvFilter::try_new(filter).is_ok()
    })
}

pub(super) fn log_format(value: &ValueKind) -> Result<LogFormat, ExpectedWords> {
    match value {
        ValueKind::String(text) if text == "auto" => Ok(LogFormat::Auto),
        ValueKind::String(text) if text == "text" => Ok(LogFormat::Text),
        ValueKind::String(text) if text == "json" => Ok(LogFormat::Json),
        _ => Err("auto, text or json".into()),
    }
}

pub(super) fn reply_form(value: &ValueKind) -> Result<ReplyForm, ExpectedWords> {
    match value {
        ValueKind::String(text) if text == "auto" => Ok(ReplyForm::Auto),
        ValueKind::String(text) if text == "json" => Ok(ReplyForm::Json),
        ValueKind::String(text) if text == "sse" => Ok(ReplyForm::Sse),
        _ => Err("auto, json or sse".into()),
    }
}

pub(super) fn client_certs(value: &ValueKind) -> Result<ClientCerts, ExpectedWords> {
    match value {
        ValueKind::String(text) if text == "off" => Ok(ClientCerts::Off),
        ValueKind::String(text) if text == "optional" => Ok(ClientCerts::Optional),
        ValueKind::String(text) if text == "required" => Ok(ClientCerts::Required),
        _ => Err("off, optional or required".into()),
    }
}

pub(super) fn client_principal(value: &ValueKind) -> Result<ClientPrincipal, ExpectedWords> {
    match value {
        ValueKind::String(text) if text == "uri" => Ok(ClientPrincipal::Uri),
        ValueKind::String(text) if text == "dns" => Ok(ClientPrincipal::Dns),
        ValueKind::String(text) if text == "cn" => Ok(ClientPrincipal::Cn),
        _ => Err("uri, dns or cn".into()),
    }
}

pub(super) fn when_full(value: &ValueKind) -> Result<WhenFull, ExpectedWords> {
    match value {
        ValueKind::String(text) if text == "refuse" => Ok(WhenFull::Refuse),
        ValueKind::String(text) if text == "end_oldest" => Ok(WhenFull::EndOldest),
        _ => Err("refuse or end_oldest".into()),
    }
}

/// An environment variable is always text, so numbers are read from text too.
fn whole(value: &ValueKind) -> Option<u64> {
    match value {
        ValueKind::I64(number) => u64::try_from(*number).ok(),
        ValueKind::U64(number) => Some(*number),
        ValueKind::String(text) => text.trim().parse().ok(),
        _ => None,
    }
}

const SIZE_UNITS: [(&str, u64); 3] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];

fn parse_size(text: &str) -> Option<u64> {
    SIZE_UNITS.into_iter().find_map(|(unit, bytes)| {
        let number = text.trim().strip_suffix(unit)?.trim_end();
        number.parse::<u64>().ok()?.checked_mul(bytes)
    })
}

fn spell_size(bytes: u64) -> String {
    SIZE_UNITS
        .into_iter()
        .find(|(_, unit)| bytes > 0 && bytes.is_multiple_of(*unit))
        .map_or_else(
            || format!("{bytes} bytes"),
            |(name, unit)| format!("{}{name}", bytes / unit),
        )
}

/// A duration in its largest whole unit. `humantime` would spell 365 days as "11months 30days …".
pub(super) fn spell(duration: Duration) -> String {
    const UNITS: [(&str, u128); 4] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000)];
    let millis = duration.as_millis();
    if millis == 0 {
        return "0s".into();
    }
    UNITS
        .into_iter()
        .find(|(_, unit)| millis.is_multiple_of(*unit))
        .map_or_else(
            || format!("{millis}ms"),
            |(name, unit)| format!("{}{name}", millis / unit),
        )
}

/// RFC 1123, section 2.1, with the underscores that container networks use.
fn is_host_name(name: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
    };
    // All digits and dots is a mistyped address, never a name.
    let numeric = name.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    name.len() <= 253 && !numeric && name.split('.').all(label)
}

fn is_store_url(url: &str) -> bool {
    let Some((scheme, rest)) = url.split_once("://") else {
        return false;
    };
    let known: BTreeSet<&str> = STORE_SCHEMES.into_iter().collect();
    let addressed = if scheme.ends_with("+unix") {
        rest.contains('/')
    } else {
        Url::parse(url).is_ok_and(|url| url.host_str().is_some_and(|host| !host.is_empty()))
    };
    known.contains(scheme) && addressed
}

fn is_origin(text: &str) -> bool {
    // `Url` adds the path `/` to http and https, so that the text itself tells whether a path was given.
    let path_given = text
        .split_once("://")
        .is_none_or(|(_, rest)| rest.contains(['/', '?', '#', '@']));
    !path_given && Url::parse(text).is_ok_and(|url| url.has_host())
}

fn is_authority(text: &str) -> bool {
    !text.contains(['/', '@', '?', '#', ' ']) && Url::parse(&format!("http://{text}")).is_ok()
}

#[cfg(test)]
#[path = "read_tests.rs"]
mod tests;
