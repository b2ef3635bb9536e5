//! Settings of a program that mounts a handler of its own: one more area, in the same sources.

use ::config::{FileFormat, Format as _, Map, Value, ValueKind};
use serde::de::DeserializeOwned;

use super::assigned::Assigned;
use super::problem::{MASK, Problem, mask, redact_url};
use crate::nearest::closest;

/// What the names of secrets have in them.
const SECRET: [&str; 7] = ["pass", "secret", "token", "key", "credential", "auth", "dsn"];

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
                let value = shown(key, value);
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

/// A value without what is secret in it. What is in a table or list goes by its own key, or else by that of the
/// whole.
fn shown(key: &str, value: &Value) -> String {
    let key = key.to_ascii_lowercase();
    let text = value.to_string();
    match &value.kind {
        _ if SECRET.iter().any(|secret| key.contains(secret)) => mask(&text),
        ValueKind::Table(table) => {
            let mut members: Vec<_> = table.iter().collect();
            members.sort_by_key(|(name, _)| name.as_str());
            let members = members
                .iter()
                .map(|(name, value)| format!("{name} = {}", shown(name, value)));
            format!("{{ {} }}", members.collect::<Vec<_>>().join(", "))
        }
        ValueKind::Array(all) => {
            let all = all.iter().map(|value| shown(&key, value));
            all.collect::<Vec<_>>().join(",")
        }
        _ if text.contains("://") => redact_url(&text),
        _ => text,
    }
}

/// What is wrong, without the values: one of them may be a secret that is not as it should be.
fn without_values(error: &str, values: &Value) -> String {
    match &values.kind {
        ValueKind::Table(table) => table
            .values()
            .fold(error.to_owned(), |error, value| without_values(&error, value)),
        ValueKind::Array(all) => all
            .iter()
            .fold(error.to_owned(), |error, value| without_values(&error, value)),
        ValueKind::String(text) if !text.is_empty() => error.replace(text.as_str(), MASK),
        _ => error.to_owned(),
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
    values.clone().try_deserialize().map_err(|error| Problem {
        setting: own.name.to_owned(),
        source: "the settings".into(),
        value: None,
        expected: without_values(&error.to_string(), &values),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn area(toml: &str) -> Value {
        let parsed = FileFormat::Toml.parse(None, toml).unwrap();
        Value::new(None, parsed)
    }

    #[test]
    fn secrets_are_hidden_wherever_they_stand() {
        let value = area("user = \"app\"\npassword = \"hunter2\"\nurl = \"db://app:hunter2@host\"");
        let text = shown("db", &value);
        assert!(!text.contains("hunter2") && text.contains("user = app"), "{text}");
        assert_eq!(shown("api_keys", &area("a = \"hunter2\"")), "***");
    }

    #[test]
    fn what_is_wrong_is_said_without_the_value() {
        #[derive(Debug, serde::Deserialize)]
        struct Own {
            #[expect(dead_code, reason = "it is read, and that fails")]
            port: u16,
        }
        let own = OwnArea {
            name: "own",
            defaults: "",
        };
        let wrong = read::<Own>(Some((own, area("port = \"hunter2\"")))).unwrap_err();
        assert!(!wrong.expected.contains("hunter2"), "{}", wrong.expected);
        assert!(wrong.expected.contains("port"), "{}", wrong.expected);
    }
}
