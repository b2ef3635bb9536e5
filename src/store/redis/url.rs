//! Reading `REDIS_URL`.

use fred::types::config::{ClusterDiscoveryPolicy, Config, Server, ServerConfig};
use url::Url;

/// The schemes without TLS and with it; the rest of what fred takes follows from these.
const SCHEMES: &str = "redis://, rediss://, redis-cluster://, rediss-cluster://, redis-sentinel://, rediss-sentinel:// \
                       or redis+unix:// (or the same with valkey and valkeys)";

/// What a URL asks for.
#[derive(Debug)]
pub(super) struct RedisTarget {
    pub(super) config: Config,
    pub(super) tls: bool,
    pub(super) topology: &'static str,
}

/// Reads a URL. The error is a sentence part that does not repeat the URL.
pub(super) fn parse(text: &str) -> Result<RedisTarget, String> {
    let text = text.trim();
    let (scheme, rest) = text
        .split_once("://")
        .ok_or_else(|| format!("it must start with {SCHEMES}"))?;
    let (base, kind) = match scheme.find(['-', '+']) {
        Some(at) => scheme.split_at(at),
        None => (scheme, ""),
    };
    let tls = matches!(base, "rediss" | "valkeys");
    let known = tls || matches!(base, "redis" | "valkey");
    let topology = match kind {
        "" | "+unix" => "centralized",
        "-cluster" => "cluster",
        "-sentinel" => "sentinel",
        _ => "",
    };
    if !known || topology.is_empty() || (tls && kind == "+unix") {
        return Err(format!("it must start with {SCHEMES}"));
    }

    // fred would read the system's certificates for a TLS scheme, and fail on any odd one: the connector is
    // ours.
    let rest = match rest.split_once("@/") {
        // A path to a socket with credentials before it: the URL syntax wants a host between them.
        Some((credentials, path)) if kind == "+unix" => format!("{credentials}@localhost/{path}"),
        _ => rest.to_owned(),
    };
    let plain = format!("redis{kind}://{rest}");
    let url = Url::parse(&plain).map_err(|error| {
        format!(
            "it is not a URL ({error}): write special characters in the password as %XX, such as %40 for @"
        )
    })?;
    let mut config = Config::from_url(&plain).map_err(|error| match error.details() {
        // The port is a number already, or it would be no URL.
        "Invalid integer string." => "the database, behind the last /, must be a number such as 0".into(),
        other => other.to_owned(),
    })?;
    finish(&mut config, &url, kind)?;
    Ok(RedisTarget {
        config,
        tls,
        topology,
    })
}

/// What fred leaves out or gets wrong.
fn finish(config: &mut Config, url: &Url, kind: &str) -> Result<(), String> {
    match &mut config.server {
        ServerConfig::Centralized { server } => unbracket(server),
        ServerConfig::Clustered { hosts, policy } => {
            hosts.iter_mut().for_each(unbracket);
            // Else the way to the cluster is lost with the servers that the URL names, however many others
            // there are.
            *policy = ClusterDiscoveryPolicy::UseCache;
            if !matches!(url.path(), "" | "/" | "/0") {
                return Err("a cluster has no databases: remove the path".into());
            }
        }
        ServerConfig::Sentinel { hosts, .. } => hosts.iter_mut().for_each(unbracket),
        ServerConfig::Unix { .. } => {}
    }
    if kind == "+unix" {
        let database = url.query_pairs().find(|(key, _)| key == "db");
        config.database = database
            .map(|(_, number)| number.parse())
            .transpose()
            .map_err(|_not_a_number| "`db` must be a number from 0 to 255".to_owned())?;
    }
    if config.username.is_some() && config.password.is_none() {
        return Err("it names a user without a password: write `user:password@`, or `:password@`".into());
    }
    Ok(())
}

/// `[::1]` is how a URL writes the address `::1`.
fn unbracket(server: &mut Server) {
    let bare = server
        .host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    if let Some(bare) = bare.map(ToOwned::to_owned) {
        server.host = bare.into();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_documented_url_is_understood() {
        for (url, tls, topology) in [
            ("redis://h", false, "centralized"),
            ("rediss://app:pw@h:6380/3", true, "centralized"),
            ("redis://[::1]:6379", false, "centralized"),
            ("redis-cluster://a:1?node=b:2", false, "cluster"),
            ("rediss-cluster://a:1", true, "cluster"),
            ("redis-sentinel://a?sentinelServiceName=m", false, "sentinel"),
            ("rediss-sentinel://a?sentinelServiceName=m", true, "sentinel"),
            ("redis+unix:///run/redis.sock", false, "centralized"),
            ("redis+unix://app:pw@/run/redis.sock?db=2", false, "centralized"),
            ("valkey://h", false, "centralized"),
            ("valkeys-cluster://h", true, "cluster"),
        ] {
            let target = parse(url).unwrap();
            assert_eq!((target.tls, target.topology), (tls, topology), "{url}");
        }
    }

    #[test]
    fn credentials_database_and_socket_are_read() {
        let config = parse("redis+unix://app:p%40w@/run/redis.sock?db=2")
            .unwrap()
            .config;
        assert_eq!(config.username.as_deref(), Some("app"));
        assert_eq!(config.password.as_deref(), Some("p@w"));
        assert_eq!(config.database, Some(2));
        assert_eq!(config.server, ServerConfig::new_unix_socket("/run/redis.sock"));
        let config = parse("redis://[::1]:7000/3").unwrap().config;
        assert_eq!(config.server, ServerConfig::new_centralized("::1", 7000));
        assert_eq!(config.database, Some(3));
    }

    #[test]
    fn a_bad_url_is_refused_with_the_reason() {
        for (url, part) in [
            ("localhost:6379", "must start with"),
            ("http://h", "must start with"),
            ("redis-x://h", "must start with"),
            ("rediss+unix:///s", "must start with"),
            ("redis://:p#w@h", "not a URL"),
            ("redis://h/x", "must be a number"),
            ("redis-sentinel://h", "service name"),
            ("redis-cluster://h:1/4", "no databases"),
            ("redis://app@h", "without a password"),
        ] {
            let why = parse(url).unwrap_err();
            assert!(why.contains(part), "{url}: {why}");
        }
    }
}
