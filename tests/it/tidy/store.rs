//! The rules that the store keeps, so that somebody can write another in a day.

use std::path::Path;

/// Where the traits of a store are.
const TRAITS: [(&str, &str); 6] = [
    ("SessionStore", "src/store/sessions.rs"),
    ("StreamStore", "src/store/streams.rs"),
    ("CallStore", "src/store/calls.rs"),
    ("NodeStore", "src/store/nodes.rs"),
    ("StateStore", "src/session/state.rs"),
    ("RateStore", "src/store/rates.rs"),
];
const METHODS_MAX: usize = 9;
/// Files that stand in front of scripts, and are none.
const SHARED: [&str; 2] = ["log", "record"];

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The lines of a trait, from its head to the brace that ends it.
fn lines_of<'a>(text: &'a str, name: &str) -> Vec<&'a str> {
    let head = format!("pub trait {name}");
    let lines = text.lines().skip_while(|line| !line.starts_with(&head));
    lines.take_while(|line| *line != "}").collect()
}

fn is_method(line: &str) -> bool {
    line.starts_with("    async fn ") || line.starts_with("    fn ")
}

#[test]
fn a_store_is_six_traits_of_nine_documented_methods_at_most() {
    for (name, path) in TRAITS {
        let text = read(path);
        let lines = lines_of(&text, name);
        let methods = lines.iter().filter(|line| is_method(line)).count();
        assert!(
            (1..=METHODS_MAX).contains(&methods),
            "{name} has {methods} methods"
        );
        for pair in lines.windows(2).filter(|pair| is_method(pair[1])) {
            assert!(
                pair[0].starts_with("    ///"),
                "{name}: say what it does: {}",
                pair[1]
            );
        }
    }
    let sum = TRAITS.map(|(name, _)| name);
    let head = format!("pub trait Store: {} {{}}", sum.join(" + "));
    assert!(
        read("src/store.rs").contains(&head),
        "Store is the sum of the six: {head}"
    );
}

#[test]
fn each_script_is_listed() {
    let list = read("src/store/redis/scripts.rs");
    let listed: Vec<_> = list
        .lines()
        .skip_while(|line| *line != "scripts! {")
        .take_while(|line| *line != "}")
        .filter_map(|line| line.trim().split([':', ',']).next())
        .collect();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/store/redis");
    let files = std::fs::read_dir(folder).expect("the folder is there");
    for path in files.map(|entry| entry.expect("it can be listed").path()) {
        let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
        if path.extension().is_some_and(|kind| kind == "lua") && !SHARED.contains(&&*name) {
            assert!(
                listed.contains(&&*name),
                "{name}.lua is no script in scripts.rs: {listed:?}"
            );
        }
    }
}

#[test]
fn no_script_assembles_a_message() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/store/redis");
    for entry in std::fs::read_dir(folder).expect("the folder is there") {
        let path = entry.expect("it can be listed").path();
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        let lua = path.extension().is_some_and(|kind| kind == "lua");
        assert!(
            !lua || !text.contains("\"}") && !text.contains("{\"") && !text.contains("cjson.encode({"),
            "{}: messages come whole, from NodeMessage::encode",
            path.display()
        );
    }
}
