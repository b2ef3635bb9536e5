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
const MASK: &str = "***";

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

/// The candidate that `word` most likely means, if any is close: a third of the letters may be wrong, and no
/// more than `most`.
pub(super) fn closest<'a>(
    word: &str,
    candidates: impl Iterator<Item = &'a str>,
    most: usize,
) -> Option<&'a str> {
    let most = (word.len() / 3).max(2).min(most);
    candidates
        .map(|candidate| (edit_distance(word, candidate), candidate))
        .min()
        .filter(|(distance, _)| *distance <= most)
        .map(|(_, candidate)| candidate)
}

/// How many letters to insert, remove or replace to turn `a` into `b` (Levenshtein).
fn edit_distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut left = i + 1;
        let mut next = vec![left];
        for (y, above) in b.iter().zip(row.windows(2)) {
            let &[diagonal, above] = above else { continue };
            left = (diagonal + usize::from(x != *y)).min(above + 1).min(left + 1);
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_those_of_the_textbook() {
        assert_eq!(edit_distance("kitten", "sitting"), 3);
        assert_eq!(edit_distance("", "abc"), 3);
        assert_eq!(edit_distance("abc", ""), 3);
        assert_eq!(edit_distance("ttl", "ttl"), 0);
    }

    #[test]
    fn only_close_names_are_suggested() {
        let names = ["session.ttl", "store.wait"];
        assert_eq!(
            closest("sesion.ttl", names.into_iter(), usize::MAX),
            Some("session.ttl")
        );
        assert_eq!(closest("colour", names.into_iter(), usize::MAX), None);
    }

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
