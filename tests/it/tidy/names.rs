//! A type's name stands for one type, so that a search finds it.

use std::collections::BTreeMap;

use super::Files;

/// The names of types that stand in more than one file.
pub(super) fn twice(files: &Files, problems: &mut Vec<String>) {
    let mut names: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let source = files
        .iter()
        .filter(|(path, _)| path.starts_with("src/") && path.ends_with(".rs"));
    for (path, text) in source {
        for name in text.lines().filter_map(declared) {
            let paths = names.entry(name).or_default();
            if !paths.contains(&path.as_str()) {
                paths.push(path);
            }
        }
    }
    for (name, paths) in names.iter().filter(|(_, paths)| paths.len() > 1) {
        problems.push(format!("{}: the type name {name} exists twice", paths.join(", ")));
    }
}

/// The name of the type that a line declares, but for those that a trait has.
fn declared(line: &str) -> Option<&str> {
    let words = line.trim_start();
    let words = match words.strip_prefix("pub") {
        Some(rest) if rest.starts_with('(') => rest.split_once(") ")?.1,
        Some(rest) => rest.trim_start(),
        None => words,
    };
    let (kind, rest) = words.split_once(' ')?;
    let is_type =
        matches!(kind, "struct" | "enum" | "trait" | "union") || (kind == "type" && !line.starts_with(' '));
    let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_');
    let name = rest.get(..end.unwrap_or(rest.len()))?;
    (is_type && name.starts_with(char::is_uppercase)).then_some(name)
}

#[test]
fn a_type_name_stands_for_one_type() {
    let problems = |second: &str| {
        let files = [("src/a.rs", "pub(crate) struct Kept(u8);"), ("src/b.rs", second)];
        let files = files.map(|(path, text)| (path.to_owned(), text.to_owned()));
        let mut problems = Vec::new();
        twice(&files.into(), &mut problems);
        problems
    };
    assert_eq!(
        problems("    enum Kept<T> {"),
        ["src/a.rs, src/b.rs: the type name Kept exists twice"]
    );
    assert_eq!(
        problems("struct KeptCopy;\nimpl Kept {}\n    type Kept = u8;"),
        [""; 0]
    );
}
