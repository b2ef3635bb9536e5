//! What deploy/README.md and the files beside it name exists: settings, metrics, refusals, log lines, tests,
//! targets.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::{METRIC_NAMES, REFUSALS, defaults, read};

const DEFAULTS_TOML: &str = include_str!("../../../settings.default.toml");

const GUIDE: &str = include_str!("../../../deploy/README.md");
const MAKEFILE: &str = include_str!("../../../Makefile");
/// Ends of names that look like settings and are files.
const FILES: [&str; 9] = [
    "cfg", "conf", "json", "md", "service", "socket", "toml", "yaml", "yml",
];

pub(super) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every file below `dir`, but what is installed there.
pub(super) fn files(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).expect("a directory") {
        let path = entry.expect("a directory can be listed").path();
        if path.is_dir() && !path.ends_with(".venv") {
            files(&path, found);
        } else if path.is_file() {
            found.push(path);
        }
    }
}

/// The configurations, and the compose file: each with its name.
fn deployed() -> Vec<(String, String)> {
    let mut paths = vec![
        root().join("docker-compose.autoscale.yml"),
        root().join("Dockerfile"),
    ];
    files(&root().join("deploy"), &mut paths);
    assert!(paths.len() > 10, "{paths:?}");
    let named = |path: &PathBuf| (path.display().to_string(), read(path));
    paths.iter().map(named).collect()
}

/// What stands between backticks.
pub(super) fn quoted(text: &str) -> BTreeSet<&str> {
    let outside_of_code = text.split("```").step_by(2);
    outside_of_code
        .flat_map(|text| text.split('`').skip(1).step_by(2))
        .collect()
}

/// Words made of these characters that begin so.
fn words<'a>(text: &'a str, begin: &str, of: impl Fn(char) -> bool) -> BTreeSet<&'a str> {
    text.split(|c: char| !of(c))
        .filter(|word| word.starts_with(begin) && word.len() > begin.len())
        .collect()
}

pub(super) fn settings() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let tree = DEFAULTS_TOML.parse().expect("settings.default.toml");
    defaults(&tree, "", &mut found);
    found.into_iter().map(|(name, _)| name).collect()
}

#[test]
fn settings_that_the_guide_names_exist() {
    let settings = settings();
    let name = |c: char| c.is_ascii_lowercase() || c == '_' || c == '.';
    let mut seen = 0;
    for text in quoted(GUIDE) {
        let word = text.split(" = ").next().unwrap_or_default();
        let end = word.rsplit('.').next().unwrap_or_default();
        if word.contains('.') && word.chars().all(name) && !FILES.contains(&end) {
            assert!(settings.contains(word), "there is no setting {word}");
            seen += 1;
        }
    }
    assert!(seen > 15, "the guide names {seen} settings only");
}

#[test]
fn variables_that_configurations_set_are_those_of_settings() {
    let mut seen = 0;
    for (file, text) in deployed() {
        let of = |c: char| c.is_ascii_uppercase() || c == '_';
        for word in words(&text, "MCP_", of) {
            // The name of a principal follows.
            let known = match word.strip_prefix("MCP_AUTH__TOKENS__") {
                Some(_) => true,
                None => DEFAULTS_TOML.contains(&format!("\n# {word}\n")),
            };
            assert!(known, "{file}: there is no setting {word}");
            seen += 1;
        }
    }
    assert!(seen > 4, "{seen} variables only");
}

#[test]
fn metrics_that_are_named_exist() {
    let mut seen = 0;
    for (file, text) in deployed() {
        for word in words(&text, "anynode_", |c| c.is_ascii_lowercase() || c == '_') {
            let known = METRIC_NAMES.contains(&format!("\"{word}\""));
            assert!(known, "{file}: there is no metric {word}");
            seen += 1;
        }
    }
    assert!(seen > 2, "{seen} metrics only");
}

#[test]
fn refusals_and_log_lines_that_tell_what_is_wrong_exist() {
    let (_, table) = GUIDE.split_once("## When something is wrong").expect("the table");
    let mut source = Vec::new();
    files(&root().join("src"), &mut source);
    let source: String = source.iter().map(|path| read(path)).collect();
    let mut seen = 0;
    for row in table.lines().filter(|line| line.starts_with("| ")) {
        let cell = row.split('|').nth(1).unwrap_or_default();
        for text in quoted(cell) {
            if !text.is_empty() && text.chars().all(|c| c.is_ascii_lowercase() || c == '_') {
                assert!(REFUSALS.contains(&format!("=> \"{text}\"")), "there is no {text}");
                seen += 1;
            }
        }
        for said in row.split("log: `").skip(1).chain(row.split("logs: `").skip(1)) {
            let line = said.split('`').next().unwrap_or_default();
            assert!(source.contains(line), "no node says {line}");
            seen += 1;
        }
    }
    assert!(seen >= 6, "{seen} only");
}

#[test]
fn tests_and_targets_that_prove_it_exist() {
    let mut seen = 0;
    for text in quoted(GUIDE) {
        if let Some((_, test)) = text.split_once("--test it ") {
            let module = test.split(' ').next().unwrap_or_default();
            let file = module.trim_end_matches("::").replace("::", "/");
            let path = root().join(format!("tests/it/{file}.rs"));
            assert!(path.exists(), "there is no test {module}");
            seen += 1;
        }
        if let Some(target) = text.strip_prefix("make ") {
            assert!(MAKEFILE.contains(&format!("\n{target}:")), "there is no {text}");
            seen += 1;
        }
    }
    assert!(seen >= 6, "{seen} only");
}
