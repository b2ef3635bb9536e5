//! Where settings come from: the defaults, a file, the environment, flags. Each becomes a tree whose values
//! know where they came from.

use std::path::PathBuf;

use ::config::{Config, ConfigError, FileFormat, Format, Map, Source, Value, ValueKind};

use super::assigned::DEFAULT;
use super::own::OwnArea;
use super::problem::Problem;
use super::table::{SETTINGS, Setting, SettingSlot};
use super::{DEFAULTS_TOML, read};
use crate::nearest::closest;

/// The variable that names the settings file, and so sets nothing itself.
const CONFIG_VARIABLE: &str = "MCP_CONFIG";
/// The variable that many programs in Rust take their log filter from. It sets `log.level`, unless
/// `MCP_LOG__LEVEL` or a flag does.
const RUST_LOG: &str = "RUST_LOG";
/// What begins the variables of this server.
const PREFIX: &str = "MCP_";
/// How many letters may be wrong in a variable of this server's that does not divide its name.
const LETTERS_WRONG_MAX: usize = 2;

/// Everything that settings are read from.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// A TOML file.
    pub file: Option<PathBuf>,
    /// Environment variables, by name.
    pub environment: Vec<(String, String)>,
    /// Settings from flags, by the setting's name.
    pub flags: Vec<(String, String)>,
}

impl Sources {
    /// This process's environment, and the settings file that it names. The only reader of the environment.
    #[must_use]
    pub fn from_process() -> Self {
        let environment: Vec<(String, String)> = std::env::vars_os()
            .map(|(name, value)| {
                (
                    name.to_string_lossy().into_owned(),
                    value.to_string_lossy().into_owned(),
                )
            })
            .filter(|(name, _)| {
                name.starts_with(PREFIX)
                    || name == RUST_LOG
                    || SETTINGS.iter().any(|setting| setting.variable() == *name)
            })
            .collect();
        let file = environment
            .iter()
            .find(|(name, value)| name == CONFIG_VARIABLE && !value.is_empty())
            .map(|(_, path)| path.into());
        Self {
            file,
            environment,
            flags: Vec::new(),
        }
    }

    /// One tree of all values, the last source winning, and what was met on the way.
    pub(super) fn merge(self, own: Option<OwnArea>) -> Merged {
        let (mut problems, mut foreign) = (Vec::new(), Vec::new());
        let defaults = Layer::from_toml(DEFAULT, DEFAULTS_TOML).unwrap_or_default();
        let own_defaults = own.map_or_else(Layer::default, |own| {
            Layer::from_toml(DEFAULT, own.defaults).unwrap_or_else(|error| {
                problems.push(Problem {
                    setting: own.name.to_owned(),
                    source: "the program".into(),
                    value: None,
                    expected: format!("its defaults are no settings file: {error}"),
                });
                Layer::default()
            })
        });
        let file = self.file.map_or_else(Layer::default, |path| {
            Layer::from_file(&path).unwrap_or_else(|problem| {
                problems.push(problem);
                Layer::default()
            })
        });
        let environment = environment(&self.environment, own, &mut problems, &mut foreign);
        let flag = |(name, value): &(String, String)| Layer::of(name, value, &Setting::flag(name));
        let flags: Vec<Layer> = self.flags.iter().map(flag).collect();
        let merged = Config::builder()
            .add_source(defaults)
            .add_source(own_defaults)
            .add_source(file)
            .add_source(environment)
            .add_source(flags)
            .build();
        let tree = match merged.map(|config| config.cache.kind) {
            Ok(ValueKind::Table(tree)) => tree,
            _ => Map::new(),
        };
        Merged {
            tree,
            problems,
            foreign,
        }
    }
}

/// What all sources say together.
pub(super) struct Merged {
    pub(super) tree: Map<String, Value>,
    pub(super) problems: Vec<Problem>,
    /// Variables that begin as this server's do, and are no setting nor like one.
    pub(super) foreign: Vec<String>,
}

fn environment(
    variables: &[(String, String)],
    own: Option<OwnArea>,
    problems: &mut Vec<Problem>,
    foreign: &mut Vec<String>,
) -> Vec<Layer> {
    let mut layers = Vec::new();
    if let Some((_, filter)) = variables.iter().find(|(name, _)| name == RUST_LOG) {
        layers.extend(rust_log(filter, foreign));
    }
    for (name, value) in variables {
        match setting_of(name).or_else(|| own?.setting_of(name)) {
            // PORT, HOST and their like are often passed on empty, by compose files for example.
            Some(setting) if !setting.contains('.') && value.is_empty() => {}
            Some(setting) => layers.push(Layer::of(&setting, value, name)),
            None if is_ours(name, value) => match unknown_variable(name) {
                Some(problem) => problems.push(problem),
                None => foreign.push(name.clone()),
            },
            None => {}
        }
    }
    layers
}

/// What `RUST_LOG` sets. It is there for other programs too, so that what this server does not read is left
/// alone.
fn rust_log(filter: &str, foreign: &mut Vec<String>) -> Option<Layer> {
    if filter.is_empty() {
        return None;
    }
    if read::log_filter(&ValueKind::String(filter.to_owned())).is_err() {
        foreign.push(format!("{RUST_LOG} (not a filter such as info,anynode=debug)"));
        return None;
    }
    Some(Layer::of("log.level", filter, RUST_LOG))
}

/// The setting that a variable sets.
fn setting_of(variable: &str) -> Option<String> {
    SETTINGS.iter().find_map(|setting| match setting.slot {
        SettingSlot::One(_) => (setting.variable() == variable).then(|| setting.name.to_owned()),
        SettingSlot::Each(_) => variable
            .strip_prefix(&setting.variable())?
            .strip_prefix("__")
            .filter(|key| !key.is_empty())
            .map(|key| format!("{}.{}", setting.name, key.to_ascii_lowercase())),
    })
}

fn is_ours(variable: &str, value: &str) -> bool {
    variable.starts_with(PREFIX) && variable != CONFIG_VARIABLE && !is_service_link(variable, value)
}

/// Whether Kubernetes made this variable for a Service called `mcp` or `mcp-…` (`MCP_SERVICE_HOST`,
/// `MCP_PORT_80_TCP_ADDR`, …), which it does in every pod of the namespace.
fn is_service_link(variable: &str, value: &str) -> bool {
    let port = |protocol: &str| value.starts_with(protocol) && variable.ends_with("_PORT");
    let numbered = || {
        variable.split_once("_PORT_").is_some_and(|(_, rest)| {
            rest.starts_with(|first: char| first.is_ascii_digit())
                && ["_TCP", "_UDP", "_SCTP"].iter().any(|p| rest.contains(p))
        })
    };
    let service = variable.ends_with("_SERVICE_HOST") || variable.contains("_SERVICE_PORT");
    service || ["tcp://", "udp://", "sctp://"].into_iter().any(port) || numbered()
}

/// What is wrong with a variable that sets nothing. Other programs have variables that begin so too, because
/// the protocol is called so: those are left alone that are not like a setting.
fn unknown_variable(name: &str) -> Option<Problem> {
    let variables: Vec<String> = SETTINGS.iter().map(Setting::variable).collect();
    // `MCP_PORT` means `PORT`: the prefix does not count.
    let bare = |name: &str| name.trim_start_matches(PREFIX).to_owned();
    let names: Vec<String> = variables.iter().map(|variable| bare(variable)).collect();
    let like = |most| closest(&bare(name), names.iter().map(String::as_str), most);
    // Two underscores are how this server divides an area from a setting.
    let meant = match bare(name).contains("__") {
        true => like(usize::MAX),
        false => Some(like(LETTERS_WRONG_MAX)?),
    };
    let meant = meant.and_then(|meant| variables.iter().find(|variable| bare(variable) == meant));
    Some(Problem {
        setting: name.to_owned(),
        source: "the environment".into(),
        value: None,
        expected: match meant {
            Some(meant) => format!("there is no such variable; did you mean {meant}?"),
            None => "there is no such variable; the command `config default` prints all".into(),
        },
    })
}

/// The values of one source, each marked with it.
#[derive(Debug, Clone, Default)]
struct Layer(Map<String, Value>);

impl Layer {
    fn from_toml(origin: &str, text: &str) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        Ok(Self(FileFormat::Toml.parse(Some(&origin.to_owned()), text)?))
    }

    fn from_file(path: &std::path::Path) -> Result<Self, Problem> {
        let origin = path.display().to_string();
        let problem = |expected: String| Problem {
            setting: "the settings file".into(),
            source: origin.clone(),
            value: None,
            expected,
        };
        let text =
            std::fs::read_to_string(path).map_err(|error| problem(format!("cannot be read: {error}")))?;
        Self::from_toml(&origin, &text).map_err(|error| problem(without_excerpt(&error.to_string())))
    }

    /// One value, below the tables that its name tells.
    fn of(name: &str, value: &str, origin: &str) -> Self {
        let origin = origin.to_owned();
        // Below a family, the rest of the name is one key: a principal may have dots.
        let family = SETTINGS.iter().find(|setting| is_family_of(setting, name));
        let most = family.map_or(usize::MAX, |family| family.name.split('.').count() + 1);
        let mut value = Value::new(Some(&origin), value);
        let mut keys: Vec<&str> = name.splitn(most, '.').collect();
        let root = keys.remove(0);
        for key in keys.into_iter().rev() {
            value = Value::new(Some(&origin), Map::from([(key.to_owned(), value)]));
        }
        Self(Map::from([(root.to_owned(), value)]))
    }
}

fn is_family_of(setting: &Setting, name: &str) -> bool {
    matches!(setting.slot, SettingSlot::Each(_))
        && name
            .strip_prefix(setting.name)
            .is_some_and(|rest| rest.len() > 1 && rest.starts_with('.'))
}

/// A TOML error without the line that it quotes, which may hold a secret.
fn without_excerpt(error: &str) -> String {
    let quoted = |line: &str| {
        line.trim_start_matches(|c: char| c == ' ' || c.is_ascii_digit())
            .starts_with('|')
    };
    let lines: Vec<&str> = error.lines().filter(|line| !quoted(line)).collect();
    lines.join(": ")
}

impl Source for Layer {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, ConfigError> {
        Ok(self.0.clone())
    }
}
