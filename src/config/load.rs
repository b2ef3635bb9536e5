//! Loads settings: goes through the table row by row, so that every wrong value is reported, then through
//! what no row has taken.

use ::config::{Map, Value, ValueKind};

use super::Settings;
use super::assigned::Assigned;
use super::checks;
use super::own::OwnArea;
use super::problem::{Problem, SettingsError, mask, redact_url};
use super::sources::{Merged, Sources};
use super::table::{SETTINGS, Secrecy, Setting, SettingSlot, find};
use crate::nearest::closest;

/// Settings, with where each came from.
#[derive(Debug, Clone)]
pub(crate) struct Loaded {
    /// The settings.
    pub(crate) settings: Settings,
    /// Each with its value and where that comes from, in the order of the table.
    pub(crate) in_force: Vec<Assigned>,
    /// Variables of the environment that were left alone: they are other programs'.
    pub(crate) foreign: Vec<String>,
    /// The area of the program's own, with its values.
    pub(crate) own: Option<(OwnArea, Value)>,
}

/// Reads settings, and remembers where each came from.
///
/// # Errors
/// Names everything that is wrong, not only the first.
pub(crate) fn load(sources: Sources) -> Result<Loaded, SettingsError> {
    load_with(sources, None)
}

/// The same, with an area of the program's own.
///
/// # Errors
/// As [`load`].
pub(crate) fn load_with(sources: Sources, own: Option<OwnArea>) -> Result<Loaded, SettingsError> {
    let Merged {
        mut tree,
        mut problems,
        foreign,
    } = sources.merge(own);
    let mut settings = Settings::default();
    let mut seen = Vec::new();
    for setting in SETTINGS {
        let Some(value) = look_up(&tree, setting.name) else {
            continue;
        };
        for (name, key, value) in entries(setting, value) {
            let shown = shown(setting, value, &name);
            let outcome = match setting.slot {
                SettingSlot::One(set) => set(&mut settings, &value.kind),
                SettingSlot::Each(set) => set(&mut settings, key, &value.kind),
            };
            if let Err(expected) = outcome {
                problems.push(shown.problem(format!("expected {expected}")));
            }
            seen.push(shown);
        }
    }
    checks::fit_defaults(&mut settings, &mut seen);
    problems.extend(checks::across(&settings, &seen, &problems));
    let own = own.map(|own| (own, own.take(&mut tree, &mut seen, &mut problems)));
    unknown(&tree, "", &mut problems);
    if !problems.is_empty() {
        return Err(SettingsError { problems });
    }
    Ok(Loaded {
        settings,
        in_force: seen,
        foreign,
        own,
    })
}

impl Loaded {
    /// The settings that are not left at their default.
    pub(crate) fn assigned(&self) -> impl Iterator<Item = &Assigned> {
        self.in_force.iter().filter(|setting| !setting.is_default())
    }

    /// What to know of variables that were left alone, if there are any.
    pub(crate) fn foreign_variables(&self) -> Option<String> {
        let names = self.foreign.join(", ");
        (!names.is_empty()).then(|| format!("not settings of this server, and left alone: {names}"))
    }
}

fn look_up<'a>(tree: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    let (first, rest) = name.split_once('.').unwrap_or((name, ""));
    let value = tree.get(first)?;
    match (&value.kind, rest) {
        (_, "") => Some(value),
        (ValueKind::Table(table), rest) => look_up(table, rest),
        _ => None,
    }
}

/// The values that one row takes: its own, or one for each key.
fn entries<'a>(setting: &Setting, value: &'a Value) -> Vec<(String, &'a str, &'a Value)> {
    match (&setting.slot, &value.kind) {
        (SettingSlot::Each(_), ValueKind::Table(table)) => {
            let mut entries: Vec<_> = table
                .iter()
                .map(|(key, value)| (format!("{}.{key}", setting.name), key.as_str(), value))
                .collect();
            entries.sort_by(|a, b| a.0.cmp(&b.0));
            entries
        }
        _ => vec![(setting.name.to_owned(), "", value)],
    }
}

fn shown(setting: &Setting, value: &Value, name: &str) -> Assigned {
    let text = text_of(&value.kind);
    Assigned {
        name: name.to_owned(),
        value: match setting.secrecy {
            Secrecy::Open => text,
            Secrecy::Url => redact_url(&text),
            Secrecy::Secret => mask(&text),
        },
        source: value.origin().unwrap_or("the settings").to_owned(),
    }
}

fn text_of(value: &ValueKind) -> String {
    match value {
        ValueKind::Array(array) => {
            let entries: Vec<String> = array.iter().map(|entry| text_of(&entry.kind)).collect();
            entries.join(",")
        }
        ValueKind::Table(_) => "a table".into(),
        plain => plain.to_string(),
    }
}

/// Reports settings that the table does not name.
fn unknown(tree: &Map<String, Value>, above: &str, problems: &mut Vec<Problem>) {
    let mut keys: Vec<_> = tree.iter().collect();
    keys.sort_by_key(|(key, _)| key.as_str());
    for (key, value) in keys {
        let name = if above.is_empty() {
            key.clone()
        } else {
            format!("{above}.{key}")
        };
        match &value.kind {
            _ if find(&name).is_some() => {}
            ValueKind::Table(below) if !below.is_empty() => unknown(below, &name, problems),
            ValueKind::Table(_) if is_area(&name) => {}
            _ => problems.push(unknown_setting(name, value)),
        }
    }
}

fn is_area(name: &str) -> bool {
    SETTINGS.iter().any(|setting| {
        setting
            .name
            .strip_prefix(name)
            .is_some_and(|rest| rest.starts_with('.'))
    })
}

fn unknown_setting(name: String, value: &Value) -> Problem {
    let expected = if is_area(&name) {
        format!("this is an area: in a file, its settings stand below [{name}]")
    } else {
        match closest(&name, SETTINGS.iter().map(|setting| setting.name), usize::MAX) {
            Some(meant) => format!("there is no such setting; did you mean {meant}?"),
            None => "there is no such setting; the command `config default` prints all".into(),
        }
    };
    Problem {
        setting: name,
        source: value.origin().unwrap_or("the settings").to_owned(),
        value: None,
        expected,
    }
}

#[cfg(test)]
#[path = "load_tests.rs"]
mod tests;
