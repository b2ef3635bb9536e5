//! Finds out which commit is built, for `mcp-server version`: `ANYNODE_COMMIT`, empty when that is not known.
//!
//! The crate may be built where there is no git: from a registry, which keeps the commit in a file, or in a
//! container, which is told by `ANYNODE_REVISION`. Git is asked for release builds only: else each commit
//! would build everything again.

#![expect(
    clippy::disallowed_methods,
    reason = "cargo tells build scripts what to build by the environment"
)]

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// How many characters of a commit are told.
const COMMIT_CHARS: usize = 12;
/// What the program is built from.
const SOURCES: [&str; 5] = [
    "Cargo.toml",
    "Cargo.lock",
    "build.rs",
    "settings.default.toml",
    "src",
];

fn main() {
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
    println!("cargo::rerun-if-env-changed=ANYNODE_REVISION");
    println!("cargo::rerun-if-changed=build.rs");
    let commit = told().or_else(|| packed(&root)).or_else(|| checked_out(&root));
    println!("cargo::rustc-env=ANYNODE_COMMIT={}", commit.unwrap_or_default());
}

/// The commit that the build is told.
fn told() -> Option<String> {
    env::var("ANYNODE_REVISION")
        .ok()
        .filter(|told| told != "unknown")
        .and_then(|told| short(&told))
}

/// What cargo noted when it packed the crate for a registry.
fn packed(root: &Path) -> Option<String> {
    let noted = fs::read_to_string(root.join(".cargo_vcs_info.json")).ok()?;
    let (_, after) = noted.split_once("\"sha1\"")?;
    short(after.split('"').nth(1)?)
}

/// The commit of a checkout of this repository, and of none around it; marked when what is built differs from
/// it.
fn checked_out(root: &Path) -> Option<String> {
    if env::var("PROFILE").is_ok_and(|profile| profile != "release") || !root.join(".git").exists() {
        return None;
    }
    let git = |arguments: &[&str]| {
        Command::new("git")
            .arg("-C")
            .arg(root)
            .args(arguments)
            .output()
            .ok()
    };
    let text = |arguments: &[&str]| {
        let done = git(arguments).filter(|done| done.status.success())?;
        Some(String::from_utf8_lossy(&done.stdout).trim().to_owned())
    };
    let commit = short(&text(&["rev-parse", "HEAD"])?)?;
    // Each commit, checkout and merge is noted there.
    let noted = text(&["rev-parse", "--git-path", "logs/HEAD"]).map(|path| root.join(path));
    let watched = SOURCES.map(|path| root.join(path)).into_iter().chain(noted);
    for path in watched.filter(|path| path.exists()) {
        println!("cargo::rerun-if-changed={}", path.display());
    }
    let mut differs = vec!["diff", "--quiet", "HEAD", "--"];
    differs.extend(SOURCES);
    let clean = git(&differs).is_some_and(|done| done.status.success());
    Some(if clean { commit } else { format!("{commit}-dirty") })
}

fn short(commit: &str) -> Option<String> {
    let is_commit = commit.len() >= COMMIT_CHARS && commit.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_commit.then(|| commit.chars().take(COMMIT_CHARS).collect())
}
