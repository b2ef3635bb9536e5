//! The versions that the documentation names are those that are tested.

use anynode::rmcp::ErrorData as ExportedError;
use anynode::schemars::Schema as ExportedSchema;
use rmcp::ErrorData;
use schemars::{Schema, schema_for};

const LOCK: &str = include_str!("../../../Cargo.lock");
const LIBRARY: &str = include_str!("../../../src/lib.rs");
const README: &str = include_str!("../../../README.md");

/// The version of a package that all tests are built with.
fn locked(name: &str) -> String {
    let lock: toml::Table = LOCK.parse().expect("Cargo.lock is TOML");
    let packages = lock["package"].as_array().expect("its packages");
    let versions: Vec<_> = packages
        .iter()
        .filter(|package| package["name"].as_str() == Some(name))
        .filter_map(|package| package["version"].as_str())
        .collect();
    let [version] = versions[..] else {
        panic!("{name} is there as {versions:?}: what handlers use must be the one that anynode uses")
    };
    version.to_owned()
}

#[test]
fn the_versions_that_are_said_to_be_tested_are() {
    let tested = format!(
        "tested with rmcp {} and schemars {}",
        locked("rmcp"),
        locked("schemars")
    );
    assert!(LIBRARY.contains(&tested), "src/lib.rs does not say: {tested}");
    assert!(README.contains(&tested), "README.md does not say: {tested}");
}

/// What is exported is what handlers are written with: the types are the same.
#[test]
fn rmcp_and_schemars_are_those_of_the_library() {
    fn same_error(error: ExportedError) -> ErrorData {
        error
    }
    fn same_schema(schema: ExportedSchema) -> Schema {
        schema
    }
    let error = same_error(ErrorData::internal_error("the same", None));
    assert_eq!(error.message, "the same");
    assert_eq!(same_schema(schema_for!(u8)), schema_for!(u8));
}
