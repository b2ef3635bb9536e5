//! `mcp-server token`: makes a bearer token, and the line by which a node knows it.

use serde_json::json;

use crate::auth::{TokenDigest, fresh_token};
use crate::config::{SettingsError, Sources, load};

/// What `token` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct TokenArguments {
    /// The principal that the token stands for: its sessions, tasks and notebooks are those of all its tokens
    name: String,
    /// Answer in JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// A new token, its digest, and where that goes.
///
/// # Errors
/// When the name is none for a principal.
pub(super) fn answer(arguments: &TokenArguments) -> Result<String, SettingsError> {
    let name = &arguments.name;
    let token = fresh_token();
    let digest = TokenDigest::of(&token).to_string();
    // Names are as the settings take them.
    load(Sources {
        flags: vec![(format!("auth.token_hashes.{name}"), digest.clone())],
        ..Sources::default()
    })?;
    if arguments.json {
        let answer = json!({ "principal": name, "token": token, "hash": digest });
        return Ok(format!("{answer:#}"));
    }
    let key = toml_key(name);
    Ok(format!(
        "{token}\n\n\
         Give this token to {name}. It is shown only now: clients send it as Authorization: Bearer <token>.\n\
         Nodes know it by its digest. In their settings file:\n\n\
         [auth.token_hashes]\n\
         {key} = \"{digest}\"\n\n\
         To replace a token, name both digests, separated by a comma, until the old one is out of use."
    ))
}

/// A name as TOML takes it before an equals sign.
fn toml_key(name: &str) -> String {
    let bare = |b: u8| b.is_ascii_alphanumeric() || b"-_".contains(&b);
    match name.bytes().all(bare) {
        true => name.to_owned(),
        false => format!("{name:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(name: &str, json: bool) -> Result<String, SettingsError> {
        answer(&TokenArguments {
            name: name.to_owned(),
            json,
        })
    }

    #[test]
    fn the_digest_is_that_of_the_token() {
        let made = made("alice", true).unwrap();
        let answer: serde_json::Value = serde_json::from_str(&made).unwrap();
        let token = answer["token"].as_str().unwrap();
        assert_eq!(answer["hash"], TokenDigest::of(token).to_string());
    }

    #[test]
    fn the_line_is_one_that_the_settings_take() {
        for name in ["alice", "a.b", "bob@example.com"] {
            let text = made(name, false).unwrap();
            let lines = text.lines().skip_while(|line| !line.starts_with('['));
            let file: String = lines
                .take_while(|line| !line.is_empty())
                .map(|line| format!("{line}\n"))
                .collect();
            let read: toml::Table = file.parse().unwrap();
            assert!(read["auth"]["token_hashes"][name].is_str(), "{file}");
        }
    }

    #[test]
    fn a_name_that_issuers_give_is_refused() {
        for name in ["", "https://idp.example#alice", "cert:alice", "a#b"] {
            assert!(made(name, false).is_err(), "{name}");
        }
    }
}
