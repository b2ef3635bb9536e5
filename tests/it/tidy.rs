//! The rules that the source keeps: which way modules look, who may name what, and how long files are.
//!
//! `tidy/rust.rs` reads just enough Rust for that. The rules here are pure, so that the tests below can show
//! each of them fail.

use std::collections::BTreeMap;
use std::path::Path;

use anynode::tools::Notebook;

mod circles;
mod names;
mod rust;
mod store;

use rust::{Code, test_files};

/// From the outside in: a module may see those to the right of it.
const LAYERS: [&str; 11] = [
    "testing", "cli", "app", "net", "http", "auth", "engine", "cluster", "store", "session", "protocol",
];
/// They stand beside the layers: all may see them but those named in [`PURE`], and `tools`.
const BESIDE: [&str; 4] = ["audit", "config", "telemetry", "supervisor"];
/// What neither settings, logs nor tasks reach.
const PURE: [&str; 2] = ["session", "protocol"];
/// What all may see, because it sees nothing and keeps nothing.
const EVERYWHERE: [&str; 4] = ["causes", "nearest", "random", "trust"];
/// The built-in server, written as a user of the library would.
const TOOLS_SEE: [&str; 2] = ["session", "protocol"];
const TOOLS_SEEN_BY: [&str; 2] = ["cli", "app"];

/// Where there is no Rust, but much that npm has installed.
const SCRIPTS: [&str; 4] = [
    "tests/auth",
    "tests/browser",
    "tests/clients",
    "tests/conformance",
];

const LINES_MAX: usize = 500;
const LINES_USUAL: usize = 400;
/// How many of a hundred source files are of usual length or shorter.
const USUAL_PERCENT: usize = 90;

/// A name that only some files may use, by how their path under `src/` begins.
struct Fence {
    crates: &'static [&'static str],
    within: &'static [&'static str],
    why: &'static str,
}

const FENCES: [Fence; 2] = [
    Fence {
        crates: &["fred"],
        within: &["store/redis"],
        why: "only the Redis store knows Redis",
    },
    Fence {
        crates: &["axum"],
        within: &["http", "net", "app"],
        why: "only http and net know axum, and app, which hands out a router",
    },
];
/// What is below HTTP, and names none of its types.
const NO_HTTP: [&str; 4] = ["engine", "cluster", "store", "session"];
const HTTP_CRATES: [&str; 6] = [
    "http",
    "http_body_util",
    "hyper",
    "hyper_util",
    "tower",
    "tower_http",
];
/// Files that know no runtime, by how their path under `src/` begins.
const NO_RUNTIME: [&str; 2] = ["protocol", "session/record"];

/// Files by path, relative to the repository, with their text.
type Files = BTreeMap<String, String>;

#[test]
fn the_source_is_tidy() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Files::new();
    for dir in ["src", "tests", "examples", "benches"] {
        collect(root, &root.join(dir), &mut files);
    }
    assert!(files.contains_key("src/lib.rs"), "no source found in {root:?}");
    let problems = problems(&files);
    assert!(problems.is_empty(), "\n{}\n", problems.join("\n"));
}

fn collect(root: &Path, dir: &Path, files: &mut Files) {
    for entry in std::fs::read_dir(dir).into_iter().flatten() {
        let path = entry.expect("a directory can be listed").path();
        let kind = path.extension().unwrap_or_default();
        if path.is_dir() && !SCRIPTS.iter().any(|scripts| path.ends_with(scripts)) {
            collect(root, &path, files);
        } else if kind == "rs" || kind == "lua" {
            let name = path
                .strip_prefix(root)
                .expect("it is inside")
                .display()
                .to_string();
            files.insert(name, std::fs::read_to_string(&path).expect("text"));
        }
    }
}

/// Everything that is wrong with these files.
fn problems(files: &Files) -> Vec<String> {
    let mut problems = Vec::new();
    for (path, text) in files {
        openings(path, text, &mut problems);
        lengths(path, text, &mut problems);
    }
    usual_length(files, &mut problems);
    names::twice(files, &mut problems);
    circles::of_parts(files, &mut problems);

    let of_tests = test_files(files);
    for (path, text) in files {
        let Some(inner) = path.strip_prefix("src/").filter(|_| path.ends_with(".rs")) else {
            continue;
        };
        if inner == "main.rs" || inner == "lib.rs" || of_tests.contains(path) {
            continue;
        }
        let code = Code::read(inner, text);
        arrows(path, &code, &mut problems);
        fences(path, inner, &code, &mut problems);
    }
    problems
}

/// Each file says what it is for, and `x.rs` stands beside `x/`.
fn openings(path: &str, text: &str, problems: &mut Vec<String>) {
    let begin = if path.ends_with(".lua") { "--" } else { "//!" };
    if !text.starts_with(begin) {
        problems.push(format!(
            "{path}:1: open the file with a `{begin}` line that says what it is for"
        ));
    }
    if path.ends_with("/mod.rs") {
        problems.push(format!("{path}:1: use `x.rs` beside `x/`, not `x/mod.rs`"));
    }
}

fn lengths(path: &str, text: &str, problems: &mut Vec<String>) {
    let lines = text.lines().count();
    if lines > LINES_MAX {
        problems.push(format!(
            "{path}: {lines} lines; no file has more than {LINES_MAX}: split it"
        ));
    }
}

fn usual_length(files: &Files, problems: &mut Vec<String>) {
    let lines: Vec<_> = files
        .iter()
        .filter(|(path, _)| path.starts_with("src/"))
        .map(|(path, text)| (text.lines().count(), path.as_str()))
        .collect();
    let mut long: Vec<_> = lines.iter().filter(|(count, _)| *count > LINES_USUAL).collect();
    if (lines.len() - long.len()) * 100 < lines.len() * USUAL_PERCENT {
        long.sort();
        problems.push(format!(
            "src: {} of {} files have more than {LINES_USUAL} lines; {USUAL_PERCENT} % have fewer: {long:?}",
            long.len(),
            lines.len(),
        ));
    }
}

/// Whether code in `from` may see `to`; otherwise the rule that forbids it.
fn may_see(from: &str, to: &str) -> Result<(), String> {
    let layer = |name: &str| LAYERS.iter().position(|layer| *layer == name);
    if from == to || EVERYWHERE.contains(&to) {
        return Ok(());
    }
    if from == "tools" {
        let allowed = TOOLS_SEE.contains(&to);
        return allowed
            .then_some(())
            .ok_or_else(|| format!("tools sees only {}", TOOLS_SEE.join(" and ")));
    }
    if to == "tools" {
        let allowed = TOOLS_SEEN_BY.contains(&from);
        return allowed
            .then_some(())
            .ok_or_else(|| "only cli and app put the tools in place".into());
    }
    if BESIDE.contains(&to) {
        let allowed = !PURE.contains(&from);
        return allowed
            .then_some(())
            .ok_or_else(|| format!("{} see no settings, logs or tasks", PURE.join(" and ")));
    }
    let Some(inner) = layer(to) else {
        return Err("this is no module of the map: name the module that has it".into());
    };
    match layer(from) {
        Some(outer) if outer > inner => Err(format!("arrows point down only: {}", LAYERS.join(" → "))),
        None if !BESIDE.contains(&from) => Err("this module is not on the map of tests/it/tidy.rs".into()),
        _ => Ok(()),
    }
}

fn arrows(path: &str, code: &Code, problems: &mut Vec<String>) {
    for (line, to) in code.crate_paths() {
        if let Err(rule) = may_see(code.module(), &to) {
            problems.push(format!("{path}:{line}: `{}` names `{to}`: {rule}", code.module()));
        }
    }
}

fn fences(path: &str, inner: &str, code: &Code, problems: &mut Vec<String>) {
    let begins = |places: &[&str]| places.iter().any(|place| inner.starts_with(place));
    for fence in FENCES.iter().filter(|fence| !begins(fence.within)) {
        for (line, name) in code.words(fence.crates) {
            problems.push(format!("{path}:{line}: names `{name}`: {}", fence.why));
        }
    }
    if begins(&NO_HTTP) {
        for http in HTTP_CRATES {
            for (line, name) in code.paths_under(http) {
                problems.push(format!(
                    "{path}:{line}: names `{http}::{name}`: what is below HTTP names none of its types"
                ));
            }
        }
    }
    if begins(&NO_RUNTIME) {
        for (line, name) in code.words(&["tokio", "tokio_util"]) {
            problems.push(format!(
                "{path}:{line}: names `{name}`: this part knows no runtime"
            ));
        }
    }
    if !begins(&["config"]) {
        for (line, name) in code.paths_under("std") {
            // What the binary was built for is no environment.
            if name == "env" && !code.line(line).contains("env::consts") {
                problems.push(format!(
                    "{path}:{line}: names `std::env`: only config reads the environment"
                ));
            }
        }
    }
}

/// The problems of one file under `src/`, which gets the opening line that it needs.
fn found(path: &str, text: &str) -> Vec<String> {
    let text = format!("//! Test.\n{text}");
    problems(&Files::from([(format!("src/{path}"), text)]))
}

#[track_caller]
fn finds(path: &str, text: &str, wanted: &str) {
    let found = found(path, text);
    assert!(
        found.iter().any(|problem| problem.contains(wanted)),
        "{text}: {found:?}"
    );
}

#[track_caller]
fn accepts(path: &str, text: &str) {
    let found = found(path, text);
    assert!(found.is_empty(), "{text}: {found:?}");
}

#[test]
fn arrows_point_down() {
    accepts(
        "http/mcp.rs",
        "use crate::store::Store;\nuse crate::protocol::era::Era;",
    );
    accepts("store.rs", "use crate::store::redis::Redis;");
    finds(
        "store/redis.rs",
        "\nuse crate::http::Guard;",
        "src/store/redis.rs:3: `store` names `http`: arrows",
    );
    finds(
        "protocol.rs",
        "fn f() { crate::session::id() }",
        "`protocol` names `session`",
    );
    finds(
        "session.rs",
        "use crate::{\n    protocol::Era,\n    store::{Store, http},\n};",
        "rs:4: `session` names `store`",
    );
    finds(
        "session/id.rs",
        "use super::super::store::Store;",
        "`session` names `store`",
    );
    finds(
        "session.rs",
        "use super::store::Store;",
        "`session` names `store`",
    );
    accepts("session/id.rs", "use super::store::Store;"); // that is session::store
    finds(
        "http.rs",
        "use crate::App;",
        "names `App`: this is no module of the map",
    );
    finds("extra.rs", "use crate::store::Store;", "not on the map");
}

#[test]
fn tools_settings_and_logs_stand_beside() {
    accepts(
        "tools/echo.rs",
        "use crate::session::Caller;\nuse crate::tools::Failure;",
    );
    finds(
        "tools/echo.rs",
        "use crate::store::Store;",
        "tools sees only session and protocol",
    );
    finds(
        "tools/echo.rs",
        "use crate::config::Settings;",
        "tools sees only session and protocol",
    );
    accepts("cli/serve.rs", "use crate::tools::Tools;");
    finds(
        "http.rs",
        "use crate::tools::Tools;",
        "only cli and app put the tools in place",
    );
    accepts(
        "store.rs",
        "use crate::{config::Settings, telemetry};\nuse crate::supervisor::Supervisor;",
    );
    finds(
        "protocol.rs",
        "use crate::telemetry;",
        "session and protocol see no settings",
    );
    finds(
        "session/record.rs",
        "use crate::config::Settings;",
        "session and protocol see no settings",
    );
    accepts("config.rs", "use crate::session::Principal;");
    accepts("protocol.rs", "use crate::causes::causes;");
    finds("causes.rs", "use crate::session::Caller;", "not on the map");
}

/// A tool's file has its name.
#[test]
fn tools_that_are_said_to_be_silent_have_no_peer() {
    let mut files = Files::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    collect(root, &root.join("src"), &mut files);
    let of_tests = test_files(&files);
    let talk: Vec<_> = files
        .iter()
        .filter(|(path, _)| path.starts_with("src/tools/") && !of_tests.contains(*path))
        .filter(|(path, text)| {
            !Code::read(path, text)
                .words(&["peer", "ask", "sample"])
                .is_empty()
        })
        .filter_map(|(path, _)| path.strip_prefix("src/tools/")?.strip_suffix(".rs"))
        .collect();
    assert_eq!(talk, ["ask", "countdown", "summarize"]);
    for silent in Notebook::SILENT {
        assert!(
            files.contains_key(&format!("src/tools/{silent}.rs")),
            "{silent} is no tool"
        );
        assert!(!talk.contains(silent), "{silent} talks");
    }
}

#[test]
fn names_stay_behind_their_fences() {
    accepts("store/redis/scripts.rs", "use fred::prelude::*;");
    finds("store/memory.rs", "use fred::prelude::*;", "names `fred`");
    accepts("http/mcp.rs", "use axum::Router;");
    accepts("net.rs", "use axum::Router;");
    accepts("app.rs", "use axum::Router;");
    finds("cli.rs", "use axum::Router;", "only http and net know axum");
    finds(
        "engine.rs",
        "fn f() -> axum::Response {}",
        "src/engine.rs:2: names `axum`",
    );
    finds("engine/reply.rs", "use http::StatusCode;", "below HTTP");
    finds("engine/reply.rs", "fn f() -> hyper::Error {}", "below HTTP");
    accepts("engine/shares.rs", "fn f() { settings.http.body_bytes_max }");
    finds("protocol/era.rs", "use tokio::time;", "no runtime");
    finds("session/record.rs", "use tokio_util::sync;", "no runtime");
    accepts("session/state.rs", "use tokio::time;");
    accepts("config/read.rs", "fn f() { std::env::var(NAME) }");
    accepts("cli.rs", "const OS: &str = std::env::consts::OS;");
    finds("cli.rs", "fn f() { std::env::var(NAME) }", "only config reads");
    finds(
        "cli.rs",
        "use std::{\n    env,\n    fmt,\n};",
        "src/cli.rs:3: names `std::env`",
    );
}

#[test]
fn comments_strings_and_tests_are_not_code() {
    accepts(
        "store.rs",
        "/// See [`x`](crate::http::x) and axum.\n// crate::http::Guard\n/* crate::http */",
    );
    accepts(
        "telemetry.rs",
        "const FILTER: &str = \"info,\\\"fred=warn,axum=warn\";\nconst R: &str = r#\"\"axum\"\"#;",
    );
    finds(
        "telemetry.rs",
        "const C: char = '\"';\nuse fred::x;\nconst D: char = '\"';",
        "rs:3: names `fred`",
    );
    finds(
        "telemetry.rs",
        "fn f<'a>(x: &'a str) {}\nuse fred::x;",
        "rs:3: names `fred`",
    );
    accepts(
        "protocol.rs",
        "#[cfg(test)]\nmod tests {\n    use crate::http::Guard;\n}",
    );
    finds(
        "protocol.rs",
        "#[cfg(test)]\nmod tests {\n}\nuse crate::http::Guard;",
        "rs:5: `protocol` names `http`",
    );

    let file = |path: &str, text: &str| (path.to_owned(), format!("//! Test.\n{text}"));
    let upward = "use crate::http::Guard;";
    for declaration in [
        "#[cfg(test)]\nmod checks;",
        "#[cfg(test)]\n#[path = \"era/checks.rs\"]\nmod tests;",
    ] {
        let mut files = Files::from([file("src/protocol/era.rs", declaration)]);
        files.extend([file("src/protocol/era/checks.rs", upward)]);
        assert_eq!(problems(&files), Vec::<String>::new());
    }
    let files = Files::from([
        file("src/protocol/era.rs", "mod checks;"),
        file("src/protocol/era/checks.rs", upward),
    ]);
    assert_eq!(problems(&files).len(), 1);
}

#[test]
fn files_say_what_they_are_for_and_are_short() {
    let one = |path: &str, text: &str| problems(&Files::from([(path.into(), text.into())])).join("\n");
    assert!(one("src/cli.rs", "use std::fmt;").contains("src/cli.rs:1: open the file with a `//!`"));
    assert!(one("src/store/redis/touch.lua", "return 1").contains("with a `--` line"));
    assert_eq!(one("src/store/redis/touch.lua", "-- Touches.\nreturn 1"), "");
    assert!(one("src/http/mod.rs", "//! Test.").contains("not `x/mod.rs`"));

    let lines = |count: usize| format!("//! Test.{}", "\n".repeat(count));
    assert_eq!(one("tests/it/a.rs", &lines(LINES_MAX)), "");
    assert!(one("tests/it/a.rs", &lines(LINES_MAX + 1)).contains("split it"));
    let sources = |long: usize| -> Files {
        let length = |index| if index < long { LINES_USUAL + 1 } else { 10 };
        (0..20)
            .map(|index| (format!("src/cli/{index}.rs"), lines(length(index))))
            .collect()
    };
    assert_eq!(problems(&sources(2)), Vec::<String>::new());
    assert!(problems(&sources(3)).join("\n").contains("3 of 20 files"));
}
