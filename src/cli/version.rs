//! `mcp-server version`: what was built into this program.

use std::env::consts::{ARCH, OS};

use rmcp::model::Implementation;
use serde_json::json;

use super::Program;
use crate::protocol::era::Revision;

/// The commit that was built, as `build.rs` found it; empty when that is not known.
const COMMIT: &str = env!("ANYNODE_COMMIT");

/// What `version` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct VersionArguments {
    /// Answer in JSON
    #[arg(long)]
    pub(crate) json: bool,
}

pub(super) fn answer(arguments: &VersionArguments) -> String {
    let Program { name, version, .. } = Program::this();
    let library = env!("CARGO_PKG_VERSION");
    let revisions = Revision::ALL.map(Revision::as_str);
    // What it says of itself: a program that mounts a handler of its own may be built with another one.
    let rmcp = Implementation::from_build_env().version;
    let features = features();
    if arguments.json {
        let about = json!({
            "name": name,
            "version": version,
            "anynode": library,
            "commit": (!COMMIT.is_empty()).then_some(COMMIT),
            "protocolVersions": revisions,
            "rmcp": rmcp,
            "features": features,
            "os": OS,
            "arch": ARCH,
        });
        return format!("{about:#}");
    }
    let commit = match COMMIT {
        "" => "unknown: not a release build of a checkout",
        commit => commit,
    };
    let features = match &*features {
        [] => "none".to_owned(),
        some => some.join(", "),
    };
    format!(
        "{name} {version}\nanynode     {library}\ncommit      {commit}\nrevisions   {}\nrmcp        {rmcp}\nfeatures    {features}\nplatform    {OS}, {ARCH}",
        revisions.join(", ")
    )
}

/// The features that it was built with.
fn features() -> Vec<&'static str> {
    let all = [
        ("cli", cfg!(feature = "cli")),
        ("jemalloc", cfg!(feature = "jemalloc")),
        ("oauth", cfg!(feature = "oauth")),
        ("prometheus", cfg!(feature = "prometheus")),
        ("redis", cfg!(feature = "redis")),
        ("store-contract", cfg!(feature = "store-contract")),
        ("testing", cfg!(feature = "testing")),
        ("tls", cfg!(feature = "tls")),
    ];
    all.into_iter()
        .filter_map(|(name, built)| built.then_some(name))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `Cargo.toml` is the list of features: `default` is none of its own, optional dependencies are behind
    /// others.
    #[test]
    fn every_feature_is_known() {
        let manifest: toml::Table = include_str!("../../Cargo.toml").parse().unwrap();
        let declared = manifest["features"].as_table().unwrap().keys();
        let declared: Vec<_> = declared.filter(|name| *name != "default").collect();
        assert_eq!(
            declared,
            [
                "cli",
                "jemalloc",
                "oauth",
                "prometheus",
                "redis",
                "store-contract",
                "testing",
                "tls"
            ]
        );
    }

    #[test]
    fn the_version_of_rmcp_is_the_one_that_is_built_in() {
        let lock: toml::Table = include_str!("../../Cargo.lock").parse().unwrap();
        let packages = lock["package"].as_array().unwrap();
        let rmcp = packages
            .iter()
            .find(|package| package["name"].as_str() == Some("rmcp"));
        let told: serde_json::Value =
            serde_json::from_str(&answer(&VersionArguments { json: true })).unwrap();
        assert_eq!(told["rmcp"].as_str(), rmcp.unwrap()["version"].as_str());
    }
}
