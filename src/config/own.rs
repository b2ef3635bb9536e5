//! Settings of a program that mounts a handler of its own: one more area, in the same sources.

use ::config::{FileFormat, Format as _, Map, Value, ValueKind};
use serde::de::DeserializeOwned;

use super::assigned::Assigned;
use super::problem::{Problem, mask, redact_url};
use crate::nearest::closest;

/// What the names of secrets have in them.
const SECRET: [&str; 4] = ["password", "secret", "token", "key"];

/// An area of settings that a program adds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OwnArea {
    /// Its name.
    pub(crate) name: &'static str,
    /// Its settings with their defaults, as a settings file has them.
    pub(crate) defaults: &'static str,
}

impl OwnArea {
    /// The names of its settings, without its own.
    fn keys(self) -> Vec<String> {
        let parsed = FileFormat::Toml.parse(None, self.defaults).unwrap_or_default();
        match parsed.get(self.name).map(|area| &area.kind) {
            Some(ValueKind::Table(area)) => area.keys().cloned().collect(),
            _ => Vec::new(),
        }
    }

    /// The variable of a setting.
    fn variable(self, key: &str) -> String {
        format!("MCP_{}__{key}", self.name).to_ascii_uppercase()
    }

    /// The setting that a variable sets.
    pub(super) fn setting_of(self, variable: &str) -> Option<String> {
        let key = self
            .keys()
            .into_iter()
            .find(|key| self.variable(key) == variable)?;
        Some(format!("{}.{key}", self.name))
    }

    /// Takes its values out of those of all settings. Names what is not one of them.
    pub(super) fn take(
        self,
        tree: &mut Map<String, Value>,
        seen: &mut Vec<Assigned>,
        problems: &mut Vec<Problem>,
    ) -> Value {
        let area = tree.remove(self.name).unwrap_or_default();
        let ValueKind::Table(table) = &area.kind else {
            problems.push(Problem {
                setting: self.name.to_owned(),
                source: area.origin().unwrap_or("the settings").to_owned(),
                value: None,
                expected: format!(
                    "this is an area: in a file, its settings stand below [{}]",
                    self.name
                ),
            });
            return area;
        };
        let keys = self.keys();
        let mut values: Vec<_> = table.iter().collect();
        values.sort_by_key(|(key, _)| key.as_str());
        for (key, value) in values {
            let name = format!("{}.{key}", self.name);
            let source = value.origin().unwrap_or("the settings").to_owned();
            if keys.contains(key) {
                let value = shown(key, &value.to_string());
                seen.push(Assigned { name, value, source });
                continue;
            }
            let meant = closest(key, keys.iter().map(String::as_str), usize::MAX);
            problems.push(Problem {
                setting: name,
                source,
                value: None,
                expected: match meant {
                    Some(meant) => format!("there is no such setting; did you mean {}.{meant}?", self.name),
                    None => "there is no such setting; the command `config default` prints all".into(),
                },
            });
        }
        area
    }
}

/// A value without what is secret in it.
fn shown(key: &str, value: &str) -> String {
    let key = key.to_ascii_lowercase();
    if SECRET.iter().any(|secret| key.contains(secret)) {
        mask(value)
    } else if value.contains("://") {
        redact_url(value)
    } else {
        value.to_owned()
    }
}

/// The values of a program's area as its own type; those of a program without one are `()`.
///
/// # Errors
/// What is wrong with them.
pub(crate) fn read<S: DeserializeOwned>(area: Option<(OwnArea, Value)>) -> Result<S, Problem> {
    let Some((own, values)) = area else {
        let nothing = Value::new(None, ValueKind::Nil);
        return nothing.try_deserialize().map_err(|_no_unit| Problem {
            setting: "the program's own settings".into(),
            source: "the program".into(),
            value: None,
            expected: "it reads some, and names no area for them (Program::settings)".into(),
        });
    };
    values.try_deserialize().map_err(|error| Problem {
        setting: own.name.to_owned(),
        source: "the settings".into(),
        value: None,
        expected: error.to_string(),
    })
}
