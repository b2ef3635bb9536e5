//! What is wrong with settings, said so that an operator can put it right without reading the source.

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

/// A URL without its passwords. Works on text, because a URL that does not parse may hold a password too.
pub(super) fn mask_url(url: &str) -> String {
    let (base, query) = url.split_once('?').unwrap_or((url, ""));
    // A password may itself hold `?` or `@`: then what follows the first `?` is not shown either.
    let hides_more = query.contains('@') || query.to_ascii_lowercase().contains("password");
    let query = match (query, hides_more) {
        ("", _) => String::new(),
        (_, true) => format!("?{MASK}"),
        (plain, false) => format!("?{plain}"),
    };
    let (scheme, rest) = base
        .split_once("://")
        .map_or((String::new(), base), |(scheme, rest)| {
            (format!("{scheme}://"), rest)
        });
    let Some((credentials, host)) = rest.rsplit_once('@') else {
        let shown = if query.contains(MASK) { MASK } else { rest };
        return format!("{scheme}{shown}{query}");
    };
    let user = credentials.split_once(':').map_or(MASK, |(user, _)| user);
    format!("{scheme}{user}:{MASK}@{host}{query}")
}

/// The candidate that `word` most likely means, if any is close.
pub(super) fn closest<'a>(word: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let most = (word.len() / 3).max(2);
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
        assert_eq!(closest("sesion.ttl", names.into_iter()), Some("session.ttl"));
        assert_eq!(closest("colour", names.into_iter()), None);
    }

    #[test]
    fn no_part_of_a_password_is_shown() {
        for (url, shown) in [
            ("", ""),
            ("redis://host:6379/1", "redis://host:6379/1"),
            ("redis://user:hunter2@host", "redis://user:***@host"),
            ("redis://:hunter2@host", "redis://:***@host"),
            ("redis://:hun@ter/2@host", "redis://:***@host"),
            ("hunter2@host", "***:***@host"),
            ("redis-cluster://a:1?node=b:2", "redis-cluster://a:1?node=b:2"),
            (
                "redis-sentinel://a?sentinelPassword=hunter2",
                "redis-sentinel://***?***",
            ),
            ("redis://:hun?ter2@host", "redis://***?***"),
        ] {
            assert_eq!(mask_url(url), shown, "{url}");
        }
    }
}
