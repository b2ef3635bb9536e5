//! The table of bounds in docs/limits.md names settings, constants and tests that exist, and a test for each
//! row.

use std::collections::BTreeSet;

use super::deploy::{files, quoted, root, settings};
use super::read;

/// The rows of all tables, cell by cell.
fn rows(text: &str) -> Vec<Vec<String>> {
    let rows = text.lines().filter(|line| line.starts_with("| "));
    let cells = rows.map(|row| {
        row.trim_matches('|')
            .split('|')
            .map(|cell| cell.trim().to_owned())
    });
    cells
        .map(Iterator::collect)
        .filter(|row: &Vec<String>| row[0] != "resource")
        .collect()
}

/// All Rust code of the server and its tests.
fn code() -> String {
    let mut paths = Vec::new();
    for dir in ["src", "tests/it"] {
        files(&root().join(dir), &mut paths);
    }
    let rust = paths
        .iter()
        .filter(|path| path.extension().is_some_and(|kind| kind == "rs"));
    rust.map(|path| read(path)).collect()
}

#[test]
fn every_bound_names_what_sets_it_and_what_proves_it() {
    let rows = rows(&read(&root().join("docs/limits.md")));
    assert!(rows.len() > 20, "{} rows", rows.len());
    let (code, settings): (String, BTreeSet<String>) = (code(), settings());
    for row in &rows {
        let [resource, bound, set_by, told, proof] = row.as_slice() else {
            panic!("a row has five cells: {row:?}")
        };
        assert!(
            !bound.is_empty() && !told.is_empty(),
            "{resource}: a cell is empty"
        );
        let names = quoted(set_by);
        assert!(!names.is_empty(), "{resource}: what sets the bound?");
        for name in names {
            let (of, constant) = name.rsplit_once("::").unwrap_or(("", name));
            let exists = code.contains(&format!("const {constant}:")) && code.contains(&format!("impl {of}"));
            assert!(
                settings.contains(name) || exists,
                "{resource}: neither a setting nor a constant is called {name}"
            );
        }
        let tests = quoted(proof);
        assert!(!tests.is_empty(), "{resource}: what proves it?");
        for test in tests {
            assert!(
                code.contains(&format!("fn {test}(")),
                "{resource}: no test is called {test}"
            );
        }
    }
}
