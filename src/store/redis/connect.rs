//! The first connection: what can be wrong with the settings, and waiting for a Redis that starts late.

use std::path::Path;
use std::time::Duration;

use fred::clients::{Client, SubscriberClient};
use fred::error::{Error as FredError, ErrorKind};
use fred::interfaces::ClientLike;
use fred::types::config::{
    Config, ConnectionConfig, PerformanceConfig, ReconnectPolicy, TcpConfig, UnresponsiveConfig,
};
use fred::types::{Builder, RespVersion};
use tokio::time::{Instant, sleep};
use tokio_util::task::AbortOnDropHandle;
use tracing::warn;

use crate::causes::causes;
use crate::config::{StoreSettings, redact_url};
use crate::store::Limits;

/// The oldest Redis that will do: `HELLO`, several fields in one `HSET`, ACL categories as documented.
pub(super) const VERSION_MIN: (u32, u32) = (6, 2);
/// How many commands may wait in one connection before more are refused.
const COMMANDS_WAITING_MAX: usize = 10_000; // 10_000 x 1 KiB = 10 MiB a connection
/// The first and the longest pause between attempts to reconnect.
const RECONNECT_DELAY_MS: (u32, u32) = (50, 2_000);
/// The pauses between attempts at start, while `store.wait` lasts.
const WAIT_DELAY_FIRST: Duration = Duration::from_millis(100);
const WAIT_DELAY_MAX: Duration = Duration::from_secs(2);

/// Why there is no connection to Redis. Each message is one line that names the setting and the cure.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The URL cannot be read.
    #[error("REDIS_URL {url}: {why}")]
    BadUrl {
        /// The URL without its password.
        url: String,
        /// What is wrong with it.
        why: String,
    },
    /// Another setting cannot be used.
    #[error("{setting}: {why}")]
    BadSetting {
        /// Which one.
        setting: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// Redis does not know the user, or the password is wrong, or the user may not do what is needed.
    #[error(
        "REDIS_URL {url}: Redis refuses the user ({why}): correct the user and password, or the user's ACL"
    )]
    Refused {
        /// The URL without its password.
        url: String,
        /// What Redis says.
        why: String,
    },
    /// The two sides do not agree on TLS.
    #[error(
        "REDIS_URL {url}: TLS failed ({why}): check the scheme (rediss with TLS, redis without), \
         store.ca_file, store.cert_file and store.key_file"
    )]
    Tls {
        /// The URL without its password.
        url: String,
        /// What failed.
        why: String,
    },
    /// Redis is older than 6.2.
    #[error("REDIS_URL {url}: Redis {version} is too old: upgrade it to 6.2 or newer")]
    TooOld {
        /// The URL without its password.
        url: String,
        /// The version it says it is.
        version: String,
    },
    /// Nobody answers there.
    #[error(
        "REDIS_URL {url}: Redis is out of reach ({why}): start it, or correct the address or the scheme \
         (rediss with TLS, redis without)"
    )]
    Unreachable {
        /// The URL without its password.
        url: String,
        /// What failed last.
        why: String,
    },
}

impl ConnectError {
    /// Whether the settings are wrong, so that trying again is of no use.
    #[must_use]
    pub const fn is_settings(&self) -> bool {
        !matches!(self, Self::Unreachable { .. })
    }

    pub(super) fn setting(setting: &'static str, why: String) -> Self {
        Self::BadSetting { setting, why }
    }

    pub(super) fn file(setting: &'static str, path: &Path, why: String) -> Self {
        let why = format!("{}: {why}", path.display());
        Self::BadSetting { setting, why }
    }

    /// What an error of the first connection means.
    pub(super) fn of(url: &str, error: FredError) -> Self {
        let url = redact_url(url);
        let why = plain(error.details());
        let bad_url = |url, why: &str| Self::BadUrl { url, why: why.into() };
        let has = |words: &[&str]| words.iter().any(|word| why.contains(word));
        if *error.kind() == ErrorKind::Auth
            || has(&[
                "NOAUTH",
                "WRONGPASS",
                "NOPERM",
                "invalid password",
                "without any password",
            ])
        {
            // Of NOAUTH, Redis makes a lecture on HELLO.
            let why = if why.starts_with("NOAUTH") {
                "it wants a password, and the URL has none".into()
            } else {
                why
            };
            Self::Refused { url, why }
        } else if has(&["unknown command"]) {
            // HELLO came with 6.0.
            let version = "before 6".into();
            Self::TooOld { url, version }
        } else if *error.kind() == ErrorKind::Tls
            || has(&[
                "InvalidCertificate",
                "AlertReceived",
                "InvalidMessage",
                "fatal alert",
            ])
        {
            Self::Tls { url, why }
        } else if has(&["DB index"]) {
            bad_url(url, "this Redis has no database of that number: use a lower one")
        } else if has(&["cluster support disabled"]) {
            bad_url(
                url,
                "this Redis is no cluster: write redis:// for redis-cluster://",
            )
        } else {
            Self::Unreachable { url, why }
        }
    }
}

/// What went wrong, without the debug notation in which fred keeps errors of the system. One line.
fn plain(details: &str) -> String {
    let within = |start: &str, end: &str| Some(details.split_once(start)?.1.rsplit_once(end)?.0);
    within("message: \"", "\"")
        .or_else(|| within("error: ", " }"))
        .unwrap_or(details)
        .trim_matches('"')
        .replace(['\n', '\r'], " ")
}

/// A connection that works, and fred's task that drives it.
pub(super) type Driven<C> = (C, AbortOnDropHandle<Result<(), FredError>>);

/// Everything that is connected.
pub(super) struct Connections {
    pub(super) commands: Vec<Driven<Client>>,
    pub(super) messages: Driven<SubscriberClient>,
}

/// Makes connections of one kind.
pub(super) fn builder(config: Config, settings: &StoreSettings) -> Builder {
    let timeout = settings.timeout;
    let mut builder = Builder::from_config(config);
    builder
        .with_config(|config| {
            config.fail_fast = true;
            // Commands can share a connection with subscriptions.
            config.version = RespVersion::RESP3;
        })
        .set_policy(ReconnectPolicy::new_exponential(
            0,
            RECONNECT_DELAY_MS.0,
            RECONNECT_DELAY_MS.1,
            2,
        ))
        .set_performance_config(PerformanceConfig {
            default_command_timeout: timeout,
            broadcast_channel_capacity: Limits::MESSAGES_WAITING_MAX,
            ..PerformanceConfig::default()
        })
        .set_connection_config(ConnectionConfig {
            connection_timeout: timeout,
            internal_command_timeout: timeout,
            max_command_buffer_len: COMMANDS_WAITING_MAX,
            // fred takes this for a command that is to be redirected 0 times.
            max_redirections: 0,
            unresponsive: UnresponsiveConfig {
                max_timeout: Some(timeout),
                interval: (timeout / 4).max(Duration::from_millis(10)),
            },
            tcp: TcpConfig {
                nodelay: Some(true),
                ..TcpConfig::default()
            },
            ..ConnectionConfig::default()
        });
    builder
}

/// Connects, trying again for all of `settings.wait` as long as Redis is out of reach.
pub(super) async fn connect(
    builder: &Builder,
    url: &str,
    settings: &StoreSettings,
) -> Result<Connections, ConnectError> {
    let give_up = Instant::now().checked_add(settings.wait);
    let mut delay = WAIT_DELAY_FIRST;
    loop {
        let error = match connect_once(builder, settings.connections.max(1)).await {
            Ok(connected) => return Ok(connected),
            Err(error) => ConnectError::of(url, error),
        };
        let left = give_up.map_or(delay, |give_up| give_up.saturating_duration_since(Instant::now()));
        if error.is_settings() || left.is_zero() {
            return Err(error);
        }
        warn!(error = %causes(&error), "waiting for the store");
        // The last attempt is made when the time is over, and not before.
        sleep(delay.min(left)).await;
        delay = (delay * 2).min(WAIT_DELAY_MAX);
    }
}

async fn connect_once(builder: &Builder, connections: usize) -> Result<Connections, FredError> {
    let mut commands = Vec::with_capacity(connections);
    for _ in 0..connections {
        let client = builder.build()?;
        let handle = AbortOnDropHandle::new(client.init().await?);
        commands.push((client, handle));
    }
    let client = builder.build_subscriber_client()?;
    let handle = AbortOnDropHandle::new(client.init().await?);
    Ok(Connections {
        commands,
        messages: (client, handle),
    })
}

/// Major and minor number of a version such as `7.0.15`.
pub(super) fn parse_version(version: &str) -> Option<(u32, u32)> {
    let mut parts = version.trim().split('.');
    let major = parts.next()?.parse().ok()?;
    let minor = parts.next().unwrap_or("0").parse().ok()?;
    Some((major, minor))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_by_number() {
        assert_eq!(parse_version("7.0.15"), Some((7, 0)));
        assert_eq!(parse_version("6.2"), Some((6, 2)));
        assert_eq!(parse_version("255.255.255"), Some((255, 255)));
        assert_eq!(parse_version("8"), Some((8, 0)));
        assert_eq!(parse_version("unstable"), None);
        assert!(parse_version("6.10.0") >= Some(VERSION_MIN));
        assert!(parse_version("6.0.16") < Some(VERSION_MIN));
        assert!(parse_version("5.0.7") < Some(VERSION_MIN));
    }

    #[test]
    fn errors_are_shown_in_plain_words() {
        let os = r#"Os { code: 111, kind: ConnectionRefused, message: "Connection refused" }"#;
        assert_eq!(plain(os), "Connection refused");
        let tls = "Custom { kind: InvalidData, error: AlertReceived(UnknownCA) }";
        assert_eq!(plain(tls), "AlertReceived(UnknownCA)");
        let dns = r#"Custom { kind: Uncategorized, error: "failed to lookup address" }"#;
        assert_eq!(plain(dns), "failed to lookup address");
        assert_eq!(plain("LOADING Redis\n"), "LOADING Redis ");
    }

    #[test]
    fn errors_are_told_apart_by_what_cures_them() {
        let of =
            |kind, text: &'static str| ConnectError::of("redis://:hunter2@h", FredError::new(kind, text));
        let refused = of(ErrorKind::Auth, "WRONGPASS invalid username-password pair");
        assert!(refused.is_settings());
        assert!(!refused.to_string().contains("hunter2"));
        assert!(matches!(
            of(ErrorKind::Sentinel, "NOPERM no"),
            ConnectError::Refused { .. }
        ));
        assert!(matches!(
            of(ErrorKind::Unknown, "ERR unknown command `HELLO`"),
            ConnectError::TooOld { .. }
        ));
        assert!(matches!(
            of(ErrorKind::IO, "InvalidCertificate(UnknownIssuer)"),
            ConnectError::Tls { .. }
        ));
        assert!(!of(ErrorKind::IO, "Connection refused").is_settings());
        assert!(!of(ErrorKind::Unknown, "LOADING Redis is loading").is_settings());
    }
}
