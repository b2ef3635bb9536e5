//! What is wrong with settings, in words that let an operator put it right without reading the source.

use std::fmt;

/// One wrong setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The setting, such as `session.ttl`.
    pub setting: String,
    /// Where its value comes from: `default`, a file's path, an environment variable, or a flag.
    pub source: String,
    /// The value, masked when it is secret; `None` when the setting is unknown, because a misspelt name may
    /// well carry a secret.
    pub value: Option<String>,
    /// What would be right.
    pub expected: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.setting)?;
        if let Some(value) = &self.value {
            write!(f, " = {value:?}")?;
        }
        write!(f, " (from {}): {}", self.source, self.expected)
    }
}

/// Everything that is wrong with the settings, one line each; several stand below a line that counts them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettingsError {
    /// The problems: with files and variables first, then in the order of the settings table, then unknown
    /// names.
    pub problems: Vec<Problem>,
}

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<String> = self.problems.iter().map(Problem::to_string).collect();
        if lines.len() > 1 {
            writeln!(f, "{} settings are wrong:", lines.len())?;
        }
        f.write_str(&lines.join("\n"))
    }
}

impl std::error::Error for SettingsError {}

/// What stands in for a secret.
pub(super) const MASK: &str = "***";

/// A secret as it may be shown: only whether there is one.
pub(super) fn mask(secret: &str) -> String {
    if secret.is_empty() { "" } else { MASK }.to_owned()
}

/// A URL as it may be shown: without passwords. Works on text, because a URL that does not parse may hold a
/// password too, and a password that should have been escaped may hold `?`, `@` and `/`.
pub(crate) fn redact_url(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        // Not a URL at all; it may be a password that got here by mistake.
        return mask(url);
    };
    let (base, query) = rest.split_once('?').unwrap_or((rest, ""));
    let query = if query.contains('@') || query.to_ascii_lowercase().contains("password") {
        format!("?{MASK}")
    } else if query.is_empty() {
        String::new()
    } else {
        format!("?{query}")
    };
    let is_name = |user: &str| {
        user.bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
    };
    let shown = match (base.rsplit_once('@'), rest.contains('@')) {
        (Some((credentials, host)), _) => match credentials.split_once(':') {
            Some((user, _)) if is_name(user) => format!("{user}:{MASK}@{host}"),
            _ => format!("{MASK}@{host}"),
        },
        // What stands before the first `?` may be the beginning of a password.
        (None, true) => MASK.to_owned(),
        (None, false) => base.to_owned(),
    };
    format!("{scheme}://{shown}{query}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_part_of_a_password_is_shown() {
        for (url, shown) in [
            ("", ""),
            ("redis://host:6379/1", "redis://host:6379/1"),
            ("redis://user:hunter2@host", "redis://user:***@host"),
            ("rediss://app:hunter2@h:1/2", "rediss://app:***@h:1/2"),
            ("redis://:hunter2@host", "redis://:***@host"),
            ("redis://hunter2@host", "redis://***@host"),
            ("redis://:hun@ter/2@host", "redis://:***@host"),
            ("redis://hun/ter:2@host", "redis://***@host"),
            ("hunter2@host", "***"),
            ("hunter2", "***"),
            ("redis-cluster://a:1?node=b:2", "redis-cluster://a:1?node=b:2"),
            (
                "redis-sentinel://a?sentinelPassword=hunter2",
                "redis-sentinel://a?***",
            ),
            (
                "redis-sentinel://a?sentinelPassword=hun@ter2",
                "redis-sentinel://***?***",
            ),
            (
                "redis-sentinel://:p@h?sentinelServiceName=m&sentinelPassword=hun&ter2",
                "redis-sentinel://:***@h?***",
            ),
            ("redis://:hun?ter2@host", "redis://***?***"),
        ] {
            assert_eq!(redact_url(url), shown, "{url}");
        }
    }
}
