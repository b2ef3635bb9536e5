//! What a run came to: kept as JSON, summed up for tables and plots.

use std::process::Command;

use serde::Serialize;
use serde_json::Value;

use crate::load::Sample;
use crate::server::Server;
use crate::statistics::median;
use crate::work::across::Across;
use crate::work::auth::Auth;
use crate::work::calls::Work;
use crate::work::fan_out::FanOut;
use crate::work::idle::Idle;
use crate::work::instructions::Instructions;
use crate::work::restore::Restoration;
use crate::work::resume::Resume;

/// Everything that was measured. What was left out of a run is absent.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    /// When, where and how.
    pub setting: Value,
    /// Work that any server can do.
    pub rates: Vec<Rates>,
    /// Instructions for one call.
    pub instructions: Vec<Instructions>,
    /// Sessions on a node that has never seen them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restoration: Option<Restoration>,
    /// Events from node to node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub across: Option<Across>,
    /// One change, many streams.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fan_out: Option<FanOut>,
    /// Quick calls by callers with credentials.
    pub auth: Vec<Auth>,
    /// Memory of streams.
    pub idle: Vec<Idle>,
    /// A long stream taken up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resume: Option<Resume>,
}

/// One kind of work, done by several servers in turn.
#[derive(Debug, Serialize)]
pub struct Rates {
    /// What was done.
    pub work: Work,
    /// In words.
    pub name: String,
    /// By which server.
    pub servers: Vec<Rate>,
}

/// What one server came to, round by round.
#[derive(Debug, Serialize)]
pub struct Rate {
    /// The server.
    pub server: Server,
    /// One for each round.
    pub rounds: Rounds,
}

/// What came of doing something once in each round.
#[derive(Debug, Default, Serialize)]
#[serde(transparent)]
pub struct Rounds(pub Vec<Sample>);

impl Rounds {
    /// The median over the rounds of some figure.
    #[must_use]
    pub fn median(&self, figure: impl Fn(&Sample) -> f64) -> f64 {
        median(self.0.iter().map(figure))
    }

    /// How many times as often as the other this one did the work: the median of each round's ratio, because the servers of
    /// one round met the same machine.
    #[must_use]
    pub fn times(&self, other: &Self) -> f64 {
        median(self.ratios(other))
    }

    /// The least and the most of the rounds' ratios.
    #[must_use]
    pub fn spread(&self, other: &Self) -> (f64, f64) {
        let least = self.ratios(other).fold(f64::INFINITY, f64::min);
        (least, self.ratios(other).fold(0.0, f64::max))
    }

    fn ratios(&self, other: &Self) -> impl Iterator<Item = f64> {
        let rounds = self.0.iter().zip(&other.0);
        rounds.map(|(own, other)| own.per_second / other.per_second)
    }

    /// The same by the time that the servers' threads ran: what else the machine did counts less.
    #[must_use]
    pub fn times_by_cpu(&self, other: &Self) -> f64 {
        let rounds = self.0.iter().zip(&other.0);
        median(rounds.map(|(own, other)| other.server_us / own.server_us))
    }
}

impl Rates {
    /// What this server came to, if it took part.
    #[must_use]
    pub fn of(&self, server: Server) -> Option<&Rate> {
        self.servers.iter().find(|rate| rate.server == server)
    }
}

/// How often each server does each work in a run that is published.
pub const ROUNDS: usize = 9;
/// How many seconds it does so each time.
pub const SECONDS: f64 = 1.0;

/// What is known of the machine and the code.
#[must_use]
pub fn setting(rounds: usize, seconds: f64) -> Value {
    let said = |program: &str, arguments: &[&str]| {
        let output = Command::new(program).args(arguments).output().ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        output
            .status
            .success()
            .then(|| text.lines().next().unwrap_or_default().trim().to_owned())
    };
    let cpus = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpus
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    serde_json::json!({
        "date": said("date", &["-u", "+%F"]),
        "commit": said("git", &["describe", "--always", "--dirty", "--abbrev=10"]),
        "processor": model.map(|(_, model)| model),
        "cores": cpus.lines().filter(|line| line.starts_with("processor")).count(),
        "kernel": said("uname", &["-sr"]),
        "redis": said("redis-server", &["--version"]),
        "load_at_start": load.split(' ').next(),
        "command": match (rounds, seconds) {
            (ROUNDS, SECONDS) => "make bench".to_owned(),
            _ => format!("side-by-side --rounds {rounds} --seconds {seconds}"),
        },
        "rounds": rounds,
        "seconds_each": seconds,
    })
}
