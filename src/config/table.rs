//! The table of settings: one row each, with what it may be. Loading, checking and documentation all go by
//! it.

use std::time::Duration;

use ::config::ValueKind;

use super::read::{self, ExpectedWords, auth};
use super::{Settings, audit, rates};

/// One setting, or a family of settings that share a beginning (`auth.tokens.<principal>`).
pub(super) struct Setting {
    /// Its name, such as `session.ttl`.
    pub(super) name: &'static str,
    pub(super) secrecy: Secrecy,
    pub(super) slot: SettingSlot,
}

/// How much of a value may be shown.
#[derive(Clone, Copy)]
pub(super) enum Secrecy {
    Open,
    /// All but passwords.
    Url,
    /// Nothing.
    Secret,
}

/// Where the value goes.
pub(super) enum SettingSlot {
    One(fn(&mut Settings, &ValueKind) -> Result<(), ExpectedWords>),
    /// One value by key.
    Each(fn(&mut Settings, &str, &ValueKind) -> Result<(), ExpectedWords>),
}

impl Setting {
    /// The environment variable that sets it, or begins its variables.
    pub(super) fn variable(&self) -> String {
        match self.name.split_once('.') {
            Some(_) => format!("MCP_{}", self.name.replace('.', "__").to_ascii_uppercase()),
            None => self.name.to_ascii_uppercase(),
        }
    }

    /// The flag that sets it.
    pub(super) fn flag(name: &str) -> String {
        if name.contains('.') || find(name).is_none() {
            format!("--set {name}")
        } else {
            format!("--{}", name.replace('_', "-"))
        }
    }
}

/// The row of that name.
pub(super) fn find(name: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|setting| setting.name == name)
}

// The name is made from the field, so that the two cannot differ.
macro_rules! setting {
    ($field:ident, $read:expr) => {
        setting!(Open, $field, $read)
    };
    ($area:ident . $field:ident, $read:expr) => {
        setting!(Open, $area.$field, $read)
    };
    ($secrecy:ident, $field:ident, $read:expr) => {
        row!(stringify!($field), $secrecy, |settings, value| settings.$field =
            $read(value)?)
    };
    ($secrecy:ident, $area:ident . $field:ident, $read:expr) => {
        row!(
            concat!(stringify!($area), ".", stringify!($field)),
            $secrecy,
            |settings, value| { settings.$area.$field = $read(value)? }
        )
    };
}

macro_rules! row {
    ($name:expr, $secrecy:ident, |$settings:ident, $value:ident| $body:expr) => {
        Setting {
            name: $name,
            secrecy: Secrecy::$secrecy,
            slot: SettingSlot::One(|$settings, $value| {
                $body;
                Ok(())
            }),
        }
    };
}

/// A family: one value for each key.
macro_rules! each {
    ($secrecy:ident, $area:ident . $field:ident, $read:expr) => {
        Setting {
            name: concat!(stringify!($area), ".", stringify!($field)),
            secrecy: Secrecy::$secrecy,
            slot: SettingSlot::Each(|settings, key, value| {
                let value = $read(value)?;
                settings.$area.$field.insert(key.to_owned(), value);
                Ok(())
            }),
        }
    };
}

const ZERO: Duration = Duration::ZERO;
// The shortest time that makes sense for what people wait for; tests use it too.
const MOMENT: Duration = Duration::from_millis(10);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const MONTH: Duration = Duration::from_secs(30 * 24 * 60 * 60);
const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// Every setting, in the order of `settings.default.toml`.
pub(super) static SETTINGS: &[Setting] = &[
    setting!(port, |v| read::count(v, 0..=65_535)),
    setting!(host, read::host),
    setting!(Url, redis_url, read::redis_url),
    setting!(node_id, read::node_id),
    setting!(store.prefix, read::prefix),
    setting!(store.wait, |v| read::duration(v, ZERO..=HOUR)),
    setting!(store.timeout, |v| read::duration(v, MOMENT..=MINUTE)),
    setting!(store.outage_grace, |v| read::duration(v, ZERO..=HOUR)),
    setting!(store.connections, |v| read::count(v, 1..=256)),
    setting!(store.ca_file, read::file),
    setting!(store.cert_file, read::file),
    setting!(store.key_file, read::file),
    setting!(session.ttl, |v| read::duration(v, MOMENT..=YEAR)),
    setting!(session.uninitialized_ttl, |v| read::duration(v, MOMENT..=DAY)),
    setting!(session.lifetime, |v| read::duration_or_zero(v, MOMENT..=YEAR)),
    setting!(session.kept_max, |v| read::count(v, 1..=10_000_000)),
    setting!(session.max, |v| read::count(v, 1..=100_000_000)),
    setting!(session.peer_max, |v| read::count(v, 1..=100_000_000)),
    setting!(session.peer_uninitialized_max, |v| read::count(
        v,
        1..=100_000_000
    )),
    setting!(session.when_full, read::when_full),
    setting!(http.body_bytes_max, |v| read::size(v, 1 << 10..=1 << 30)),
    setting!(http.allowed_origins, read::origins),
    setting!(http.allowed_hosts, read::hosts),
    setting!(http.trusted_proxies, read::proxies),
    setting!(http.proxy_protocol, read::switch),
    setting!(http.connections_max, |v| read::count(v, 1..=1_000_000)),
    setting!(http.connections_peer_max, |v| read::count(v, 1..=1_000_000)),
    setting!(http.bodies_peer_bytes_max, |v| read::size(v, 1 << 10..=1 << 30)),
    setting!(http.keep_alive, |v| read::duration(v, MOMENT..=DAY)),
    setting!(http.probe_listen, read::listen),
    setting!(http.public_path, read::public_path),
    setting!(tls.cert_file, read::file),
    setting!(tls.key_file, read::file),
    setting!(tls.client_ca_file, read::file),
    setting!(tls.client_certs, read::client_certs),
    setting!(tls.client_principal, read::client_principal),
    setting!(protocol.revisions, read::revisions),
    setting!(sse.client_keys, read::switch),
    row!("sse.continue", Open, |settings, value| {
        settings.sse.skip_initialize = read::switch(value)?;
    }),
    each!(Secret, auth.tokens, read::token),
    each!(Secret, auth.token_hashes, auth::token_hashes),
    setting!(auth.resource, auth::resource),
    setting!(auth.issuers, auth::issuers),
    setting!(auth.audiences, auth::audiences),
    setting!(auth.keys_url, auth::endpoint),
    setting!(auth.ca_file, read::file),
    setting!(auth.algorithms, auth::algorithms),
    setting!(auth.scopes, auth::scopes),
    each!(Open, auth.tool_scopes, auth::scopes),
    setting!(auth.write_scope, auth::scope),
    each!(Open, auth.scope_implies, auth::scopes),
    setting!(auth.clock_skew, |v| read::duration(v, ZERO..=5 * MINUTE)),
    setting!(auth.keys_fresh, |v| read::duration(v, MOMENT..=DAY)),
    setting!(auth.keys_stale, |v| read::duration(v, MOMENT..=MONTH)),
    setting!(auth.cache_max, |v| read::count(v, 1..=10_000_000)),
    setting!(auth.introspection_url, auth::endpoint),
    setting!(auth.introspection_client, auth::client),
    setting!(Secret, auth.introspection_secret, auth::client),
    setting!(auth.introspection_fresh, |v| read::duration(v, ZERO..=HOUR)),
    setting!(auth.stream_grace, |v| read::duration(v, ZERO..=MONTH)),
    setting!(auth.mirror, read::switch),
    setting!(auth.proxy_header, auth::header),
    setting!(auth.optional, read::switch),
    setting!(limit.principal, rates::rate),
    setting!(limit.address, rates::rate),
    setting!(limit.session, rates::rate),
    setting!(limit.initialize_principal, rates::rate),
    setting!(limit.initialize_address, rates::rate),
    setting!(limit.failures_address, rates::rate),
    setting!(call.reply, read::reply_form),
    setting!(call.reply_grace, |v| read::duration(v, ZERO..=MINUTE)),
    setting!(call.timeout, |v| read::duration(v, MOMENT..=DAY)),
    setting!(call.answer_timeout, |v| read::duration(v, MOMENT..=DAY)),
    setting!(call.node_max, |v| read::count(v, 1..=1_000_000)),
    setting!(call.peer_max, |v| read::count(v, 1..=1_000_000)),
    setting!(call.session_max, |v| read::count(v, 1..=1_000_000)),
    setting!(call.keep_alive, |v| read::duration(v, MOMENT..=HOUR)),
    setting!(listen.node_max, |v| read::count(v, 1..=1_000_000)),
    setting!(listen.peer_max, |v| read::count(v, 1..=1_000_000)),
    setting!(stream.ttl, |v| read::duration(v, MOMENT..=DAY)),
    setting!(stream.node_max, |v| read::count(v, 1..=1_000_000)),
    setting!(stream.peer_max, |v| read::count(v, 1..=1_000_000)),
    setting!(Secret, request_state.secret, read::secret),
    setting!(request_state.ttl, |v| read::duration(v, MOMENT..=MONTH)),
    setting!(notebook.ttl, |v| read::duration(v, MOMENT..=YEAR)),
    setting!(notebook.peer_max, |v| read::count(v, 1..=100_000_000)),
    setting!(task.ttl, |v| read::duration(v, MOMENT..=YEAR)),
    setting!(task.node_max, |v| read::count(v, 1..=1_000_000)),
    setting!(task.peer_max, |v| read::count(v, 1..=1_000_000)),
    setting!(task.peer_kept_max, |v| read::count(v, 1..=100_000_000)),
    setting!(log.level, read::log_filter),
    setting!(log.format, read::log_format),
    setting!(audit.to, audit::read_to),
    setting!(audit.arguments, read::switch),
    setting!(drain.delay, |v| read::duration(v, ZERO..=HOUR)),
    setting!(drain.deadline, |v| read::duration(v, ZERO..=HOUR)),
];
