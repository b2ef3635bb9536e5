//! `mcp-server config`: the default settings, and those in force.

use std::fmt::Write;

use serde_json::{Value, json};

use super::Program;
use crate::config::{Assigned, DEFAULTS_TOML, Loaded, Sources, load_with};

/// Which settings to print.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum ConfigCommand {
    /// Print every setting with its default, its range and its meaning, as a settings file
    Default,
    /// Print every setting in force and where it comes from, as a settings file without its secrets
    Show {
        /// Answer in JSON
        #[arg(long)]
        json: bool,
    },
}

/// The settings that are asked for.
///
/// # Errors
/// [`SettingsError`](crate::config::SettingsError) when those to be in force are wrong.
pub(super) fn answer(command: &ConfigCommand, sources: Sources) -> anyhow::Result<String> {
    Ok(match command {
        ConfigCommand::Default => match Program::this().own {
            None => DEFAULTS_TOML.to_owned(),
            Some(own) => format!("{DEFAULTS_TOML}\n{}", own.defaults),
        },
        ConfigCommand::Show { json } => {
            let loaded = load_with(sources, Program::this().own)?;
            match json {
                true => format!("{:#}", to_json(&loaded)),
                false => to_toml(&loaded),
            }
        }
    })
}

/// One line for each setting, as a settings file may have it; its source is a comment.
fn to_toml(loaded: &Loaded) -> String {
    let mut text = String::new();
    for setting in &loaded.in_force {
        let shown = format!("{} = {}", key(&setting.name), Value::from(&*setting.value));
        // Writing to a String cannot fail.
        let _written = writeln!(text, "{shown:<44} # {}", one_line(&setting.source));
    }
    if let Some(foreign) = loaded.foreign_variables() {
        let _written = writeln!(text, "# {}", one_line(&foreign));
    }
    text
}

/// A setting's name as TOML takes it. A principal may need quotes.
fn key(name: &str) -> String {
    let families = [
        "auth.tokens.",
        "auth.token_hashes.",
        "auth.tool_scopes.",
        "auth.scope_implies.",
    ];
    let split = families
        .iter()
        .find_map(|family| Some((family, name.strip_prefix(family)?)));
    match split {
        Some((family, own)) => format!("{family}{}", Value::from(own)),
        None => name.to_owned(),
    }
}

fn one_line(text: &str) -> String {
    text.replace(char::is_control, "?")
}

fn to_json(loaded: &Loaded) -> Value {
    let setting = |assigned: &Assigned| {
        json!({
            "name": assigned.name,
            "value": assigned.value,
            "source": assigned.source,
            "isDefault": assigned.is_default(),
        })
    };
    let settings: Vec<_> = loaded.in_force.iter().map(setting).collect();
    json!({ "settings": settings, "foreignVariables": loaded.foreign })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::load;

    fn shown(flags: &[(&str, &str)]) -> String {
        let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let sources = Sources {
            flags: flags.iter().map(own).collect(),
            ..Sources::default()
        };
        answer(&ConfigCommand::Show { json: false }, sources).unwrap()
    }

    fn line(text: &str, name: &str) -> String {
        let found = text.lines().find(|line| line.starts_with(name));
        let words = found.unwrap_or_else(|| panic!("no {name} in\n{text}"));
        words.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn what_is_in_force_is_shown_with_its_source_and_without_secrets() {
        let text = shown(&[
            ("session.ttl", "2m"),
            ("redis_url", "redis://app:hunter2@h"),
            ("auth.tokens.a.b", "hunter2hunter2hunter2"),
        ]);
        assert_eq!(
            line(&text, "session.ttl"),
            "session.ttl = \"2m\" # --set session.ttl"
        );
        assert_eq!(line(&text, "port"), "port = \"3000\" # default");
        assert_eq!(
            line(&text, "stream.ttl"),
            "stream.ttl = \"2m\" # default, fitted to other settings"
        );
        assert!(line(&text, "redis_url").contains("redis://app:***@h"), "{text}");
        assert!(
            text.contains("auth.tokens.\"a.b\" = \"***\"") && !text.contains("hunter2"),
            "{text}"
        );
    }

    /// But for what is secret, it is a file that gives the same settings again.
    #[test]
    fn what_is_shown_is_a_settings_file() {
        let flags = [
            ("session.ttl", "1h 30m"),
            ("http.allowed_hosts", "a.example,b.example"),
            ("sse.continue", "true"),
        ];
        let text = shown(&flags);
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("settings.toml");
        std::fs::write(&file, &text).unwrap();
        let again = load(Sources {
            file: Some(file),
            ..Sources::default()
        });
        let again = again.unwrap_or_else(|error| panic!("{error}\n{text}")).settings;
        let own = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        let before = Sources {
            flags: flags.map(own).into(),
            ..Sources::default()
        };
        assert_eq!(again, load(before).unwrap().settings);
    }
}
