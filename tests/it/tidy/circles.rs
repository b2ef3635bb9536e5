//! The rule that the parts of a module see each other in one direction, as the modules do.

use std::collections::{BTreeMap, BTreeSet};

use super::rust::{Code, test_files};
use super::{Files, accepts, problems};

/// What each part of a module sees of the others.
type Seen = BTreeMap<String, BTreeSet<String>>;

/// The simulation plays with every part, and is compiled for tests only.
pub(super) fn of_parts(files: &Files, problems: &mut Vec<String>) {
    let of_tests = test_files(files);
    let mut modules: BTreeMap<String, Seen> = BTreeMap::new();
    for (path, text) in files.iter().filter(|(path, _)| !of_tests.contains(*path)) {
        let Some(inner) = path.strip_prefix("src/").filter(|inner| inner.ends_with(".rs")) else {
            continue;
        };
        let code = Code::read(inner, text);
        let Some(part) = code.part() else { continue };
        let seen = modules.entry(code.module().to_owned()).or_default();
        let named = code.parts().into_iter().map(|(_, name)| name);
        let others = named.filter(|name| name != part);
        seen.entry(part.to_owned()).or_default().extend(others);
    }
    for (module, seen) in modules {
        let circle = circle(seen);
        if !circle.is_empty() {
            problems.push(format!(
                "src/{module}: parts of it see each other in a circle: {}",
                circle.into_iter().collect::<Vec<_>>().join(", ")
            ));
        }
    }
}

/// Those that are left when each part has been taken away that sees none of the others, or that none sees.
fn circle(mut seen: Seen) -> BTreeSet<String> {
    loop {
        let left: BTreeSet<String> = seen.keys().cloned().collect();
        seen.values_mut()
            .for_each(|others| others.retain(|other| left.contains(other)));
        let named: BTreeSet<String> = seen.values().flatten().cloned().collect();
        seen.retain(|part, others| !others.is_empty() && named.contains(part));
        if seen.len() == left.len() {
            return left;
        }
    }
}

fn found(files: [(&str, &str); 3]) -> Vec<String> {
    let files = files.map(|(path, text)| (format!("src/{path}"), format!("//! Test.\n{text}")));
    problems(&Files::from(files))
}

#[test]
fn parts_of_a_module_see_each_other_in_one_direction() {
    accepts("http/a.rs", "use super::b::B;");
    let one_way = [
        ("http/a.rs", "use super::b::B;"),
        ("http/b/inner.rs", "use super::super::c::C;"),
        (
            "http/c.rs",
            "/// As [`A`](super::a::A).\nuse crate::store::Store;",
        ),
    ];
    assert_eq!(found(one_way), Vec::<String>::new());
    for last in [
        "use super::a::A;",
        "use crate::http::a::A;",
        "use crate::http::{a::A, d};",
    ] {
        let circle = [one_way[0], one_way[1], ("http/c.rs", last)];
        let wanted = "src/http: parts of it see each other in a circle: a, b, c";
        assert_eq!(found(circle), [wanted], "{last}");
    }
}
