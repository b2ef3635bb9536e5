//! `mcp-server version`, and how the commit that was built comes into it.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::support::program::Program;

#[tokio::test]
async fn the_version_says_what_was_built_in() {
    let text = Program::run(&["version"], &[]).await.ok();
    let first = format!("mcp-server {}", env!("CARGO_PKG_VERSION"));
    assert_eq!(text.lines().next(), Some(&*first));
    for part in [
        "commit ",
        "2024-11-05, 2025-03-26",
        "rmcp ",
        "store-contract",
        "linux",
    ] {
        assert!(text.contains(part), "no `{part}` in\n{text}");
    }
    let json = Program::run(&["version", "--json"], &[]).await.ok();
    let told: Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(told["name"], "mcp-server");
    assert_eq!(told["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(told["protocolVersions"].as_array().map(Vec::len), Some(5));
    assert_eq!(told["protocolVersions"][4], "2026-07-28");
    let commit = &told["commit"];
    assert!(
        commit.is_null() || commit.as_str().is_some_and(|c| c.len() >= 12),
        "{told}"
    );
    // Wrong settings do not matter.
    Program::run(&["version"], &[("PORT", "http")]).await.ok();
}

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// Compiles build.rs, as cargo does before it compiles the rest.
fn build_script(dir: &Path) -> impl Fn(&Path, &[(&str, &str)]) -> String {
    let script = dir.join("build-script");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("build.rs");
    let rustc = Command::new("rustc")
        .args(["--edition", "2024", "-o"])
        .args([&script, &source])
        .status();
    assert!(rustc.expect("rustc runs").success());
    move |root: &Path, env: &[(&str, &str)]| {
        let ran = Command::new(&script)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("CARGO_MANIFEST_DIR", root)
            .envs(env.iter().copied())
            .output()
            .expect("it runs");
        assert!(ran.status.success(), "{ran:?}");
        let told = String::from_utf8(ran.stdout).expect("text");
        let commit = told
            .lines()
            .find_map(|line| line.strip_prefix("cargo::rustc-env=ANYNODE_COMMIT="));
        commit.expect("a commit, or none").to_owned()
    }
}

fn git(root: &Path, arguments: &[&str]) -> String {
    let done = Command::new("git")
        .arg("-C")
        .arg(root)
        .args(["-c", "user.name=Test", "-c", "user.email=test@example.com"])
        .args(arguments)
        .output();
    let done = done.expect("git runs: apt-get install git");
    assert!(done.status.success(), "{done:?}");
    String::from_utf8_lossy(&done.stdout).trim().to_owned()
}

/// The commit is the one that the build is told, that the package notes, or that the checkout has. Without any
/// the crate is built, too.
#[test]
fn the_commit_is_found_wherever_the_crate_is_built() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let build = build_script(dir.path());
    let root = dir.path().join("crate");
    std::fs::create_dir(&root).expect("a directory");
    let release = ("PROFILE", "release");
    let short = &COMMIT[..12];
    assert_eq!(build(&root, &[release]), "", "no git, and nobody says");
    assert_eq!(build(&root, &[release, ("ANYNODE_REVISION", COMMIT)]), short);
    for nothing in ["unknown", "", "$(whoami)\nx"] {
        assert_eq!(build(&root, &[("ANYNODE_REVISION", nothing)]), "");
    }

    std::fs::write(root.join("Cargo.toml"), "[package]\n").expect("a file");
    git(&root, &["init", "--quiet"]);
    git(&root, &["add", "."]);
    git(&root, &["commit", "--quiet", "--no-gpg-sign", "-m", "first"]);
    let head = git(&root, &["rev-parse", "HEAD"]);
    assert_eq!(build(&root, &[release]), head[..12]);
    assert_eq!(
        build(&root, &[("PROFILE", "debug")]),
        "",
        "each commit would build everything again"
    );
    std::fs::write(root.join("Cargo.toml"), "[package]\nname = 1\n").expect("a file");
    assert_eq!(build(&root, &[release]), format!("{}-dirty", &head[..12]));
    // Another repository around the crate is not the crate's.
    let inner = root.join("vendored");
    std::fs::create_dir(&inner).expect("a directory");
    assert_eq!(build(&inner, &[release]), "");

    let noted = format!("{{\n  \"git\": {{\n    \"sha1\": \"{COMMIT}\"\n  }}\n}}");
    std::fs::write(inner.join(".cargo_vcs_info.json"), noted).expect("a file");
    assert_eq!(build(&inner, &[("PROFILE", "debug")]), short);
}
