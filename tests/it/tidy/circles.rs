//! The rule that the parts of a module name each other in one direction, as the modules do.
//!
//! A part is what stands right below an outermost module, with all below it: `engine/call.rs` and
//! `engine/call/`. What a part reaches through a method of a type, or through a name that its module brings
//! in, is not seen here.

use std::collections::BTreeMap;

use super::rust::{Code, test_files};
use super::{Files, accepts, problems};

/// Which other parts each part of a module names, and where first.
type Names = BTreeMap<String, BTreeMap<String, String>>;

/// Finds a circle in each module that has one. Files for tests do not count: a simulation plays with every
/// part.
pub(super) fn of_parts(files: &Files, problems: &mut Vec<String>) {
    let of_tests = test_files(files);
    let mut modules: BTreeMap<String, Names> = BTreeMap::new();
    for (path, text) in files.iter().filter(|(path, _)| !of_tests.contains(*path)) {
        let Some(inner) = path.strip_prefix("src/").filter(|inner| inner.ends_with(".rs")) else {
            continue;
        };
        let code = Code::read(inner, text);
        let Some(part) = code.part() else { continue };
        let names = modules.entry(code.module().to_owned()).or_default();
        let others = names.entry(part.to_owned()).or_default();
        for (line, other) in code.parts().into_iter().filter(|(_, other)| other != part) {
            others.entry(other).or_insert_with(|| format!("{path}:{line}"));
        }
    }
    for (module, names) in modules {
        if let Some(circle) = circle(names) {
            problems.push(format!(
                "src/{module}: its parts name each other in a circle: {circle}"
            ));
        }
    }
}

/// One circle, with the place of each step.
fn circle(mut names: Names) -> Option<String> {
    // A part that names none of those that are left is in no circle.
    loop {
        let left: Vec<String> = names.keys().cloned().collect();
        for others in names.values_mut() {
            others.retain(|other, _| left.contains(other));
        }
        names.retain(|_, others| !others.is_empty());
        if names.len() == left.len() {
            break;
        }
    }
    // Each of the rest names another of them, so that any walk comes back to where it was.
    let mut walk: Vec<&str> = vec![names.keys().next()?];
    let start = loop {
        let next = names[*walk.last()?].keys().next()?;
        if let Some(start) = walk.iter().position(|part| part == next) {
            break start;
        }
        walk.push(next);
    };
    let circle = &walk[start..];
    let steps = circle.iter().enumerate().map(|(index, part)| {
        let next = circle[(index + 1) % circle.len()];
        format!("{part} names {next} ({})", names[*part][next])
    });
    Some(steps.collect::<Vec<_>>().join(", "))
}

fn found(files: &[(&str, &str)]) -> Vec<String> {
    let files = files
        .iter()
        .map(|(path, text)| (format!("src/{path}"), format!("//! Test.\n{text}")));
    problems(&files.collect())
}

#[test]
fn parts_of_a_module_name_each_other_in_one_direction() {
    let one_way = [
        ("http/a.rs", "use super::b::B;"),
        ("http/b/inner.rs", "use super::super::c::C;"),
        (
            "http/c.rs",
            "/// As [`A`](super::a::A).\nuse crate::store::Store;",
        ),
        ("http.rs", "#[cfg(test)]\nmod played;"),
        ("http/played.rs", "use super::a::A;"),
        ("http/d.rs", "use super::played::Played;"),
    ];
    assert_eq!(found(&one_way), Vec::<String>::new());
    for last in [
        "use super::a::A;",
        "use crate::http::a::A;",
        "use crate::http::{a::A, d};",
    ] {
        let [a, b, ..] = one_way;
        let wanted = "src/http: its parts name each other in a circle: a names b (src/http/a.rs:2), \
                      b names c (src/http/b/inner.rs:2), c names a (src/http/c.rs:2)";
        assert_eq!(found(&[a, b, ("http/c.rs", last)]), [wanted], "{last}");
    }
    // What only leads to a circle is not part of it.
    let two = [
        ("http/a.rs", "use super::b::B;"),
        ("http/b.rs", "use super::c::C;"),
        ("http/c.rs", "use super::b::B;"),
    ];
    let wanted = "src/http: its parts name each other in a circle: b names c (src/http/b.rs:2), \
                  c names b (src/http/c.rs:2)";
    assert_eq!(found(&two), [wanted]);
    accepts("http/a.rs", "use super::a::inner::A;");
}
