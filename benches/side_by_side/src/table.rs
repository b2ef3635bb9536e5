//! A report as text: one table for each kind of work, and how the targets are met.

use std::fmt::Write as _;

use crate::report::{Rate, Rates, Report, Rounds};
use crate::server::Server;
use crate::statistics::Latency;
use crate::work::calls::Work;

mod auth;

/// How busy a server is at least that does all it can.
const BUSY_PERCENT_MIN: f64 = 85.0;

/// The whole report, as Markdown that also reads well on a terminal.
#[must_use]
pub fn text(report: &Report) -> String {
    let mut out = String::new();
    if let Some(least) = busy_least(report) {
        let _ok = writeln!(
            out,
            "\nSome servers ran only {least:.0} % of the time: other programs were in the way. Rates, and how long answers took, \
             say little then; `server CPU` and instructions still do."
        );
    }
    for rates in &report.rates {
        rate_table(&mut out, report, rates);
    }
    auth::tables(&mut out, report);
    latencies(&mut out, report);
    if !report.idle.is_empty() {
        out.push_str(
            "\n## Idle streams, memory for each\n\n| server | streams | session | stream | both |\n",
        );
        out.push_str("|---|---:|---:|---:|---:|\n");
        for idle in &report.idle {
            let kib = |bytes: f64| format!("{:.1} KiB", bytes / 1024.0);
            let both = idle.session_bytes + idle.stream_bytes;
            let cells = [kib(idle.session_bytes), kib(idle.stream_bytes), kib(both)];
            row(
                &mut out,
                idle.server.name(),
                &[idle.streams.to_string()]
                    .into_iter()
                    .chain(cells)
                    .collect::<Vec<_>>(),
            );
        }
    }
    let targets = target_table(report);
    if !targets.is_empty() {
        let _ok = write!(out, "\n## Targets\n\n{targets}");
    }
    out
}

/// How often each server does each work, and how the targets are met: what a reader wants to know first.
#[must_use]
pub fn summary(report: &Report) -> String {
    let setting = |name: &str| report.setting[name].as_str().unwrap_or("unknown").to_owned();
    let mut out = format!(
        "Measured on {} with `{}`: {}, one core for the server and one for the load and Redis, {}, commit {}, load of the machine \
         at the start {}. Rates are medians of {} rounds. A ratio is the median of each round's ratio, because a machine that \
         slows down slows all servers of a round: it is not the quotient of two rates.\n\n",
        setting("date"),
        setting("command"),
        setting("processor"),
        setting("kernel"),
        setting("commit"),
        setting("load_at_start"),
        report.setting["rounds"],
    );
    rate_summary(&mut out, report);
    auth::summary(&mut out, report);
    out + "\n" + &target_table(report)
}

/// How often each server does each work.
fn rate_summary(out: &mut String, report: &Report) {
    if report.rates.is_empty() {
        return;
    }
    let servers: Vec<Server> = Server::ALL
        .into_iter()
        .filter(|server| report.rates.iter().any(|rates| rates.of(*server).is_some()))
        .collect();
    let names: Vec<_> = servers.iter().map(|server| server.name().to_owned()).collect();
    row(out, "each second", &names);
    let _ok = writeln!(out, "|---|{}", "---:|".repeat(servers.len()));
    for rates in &report.rates {
        let rate = |server: &Server| match rates.of(*server) {
            Some(rate) => format!("{:.0}", rate.rounds.median(|sample| sample.per_second)),
            None => "-".to_owned(),
        };
        let cells: Vec<_> = servers.iter().map(rate).collect();
        row(out, &rates.name, &cells);
    }
}

/// What was promised and what came of it; nothing when nothing of it was measured.
fn target_table(report: &Report) -> String {
    let targets = targets(report);
    if targets.is_empty() {
        return String::new();
    }
    let mut out = "| target | measured | |\n|---|---:|---|\n".to_owned();
    for target in targets {
        let met = if target.met { "met" } else { "MISSED" };
        row(&mut out, &target.name, &[target.measured, met.into()]);
    }
    out
}

/// How busy the idlest server was at quick calls, in percent, if that is not busy enough: with 256 clients each of them always
/// has something to do.
fn busy_least(report: &Report) -> Option<f64> {
    let full = |rates: &&Rates| matches!(rates.work, Work::Echo { connections: 256, .. });
    let servers = report.rates.iter().filter(full).flat_map(|rates| &rates.servers);
    let busy = servers.map(|rate| rate.rounds.median(|sample| sample.server_busy) * 100.0);
    busy.min_by(f64::total_cmp)
        .filter(|least| *least < BUSY_PERCENT_MIN)
}

fn row(out: &mut String, first: &str, cells: &[String]) {
    let joined = cells.join(" | ");
    // Writing to a string cannot fail.
    let _ok = writeln!(out, "| {first} | {joined} |");
}

fn rate_table(out: &mut String, report: &Report, rates: &Rates) {
    let _ok = writeln!(out, "\n## {}\n", rates.name);
    out.push_str(
        "| server | per second | × axum | × tower-mcp | server CPU | server, load busy | p50 | p99 | instructions |\n",
    );
    out.push_str("|---|---:|---:|---:|---:|---:|---:|---:|---:|\n");
    for rate in &rates.servers {
        let ratio = |other: Server| {
            rates.of(other).map_or("".into(), |other| {
                format!("{:.2}", rate.rounds.times(&other.rounds))
            })
        };
        let instructions = match rates.work {
            Work::Echo { era, .. } => {
                let found = report
                    .instructions
                    .iter()
                    .find(|each| each.server == rate.server && each.era == era);
                found.map_or(String::new(), |found| format!("{:.0}", found.each))
            }
            _ => String::new(),
        };
        let cells = [
            format!("{:.0}", rate.rounds.median(|sample| sample.per_second)),
            ratio(Server::Axum),
            ratio(Server::TowerMcp),
            format!("{:.1} µs", rate.rounds.median(|sample| sample.server_us)),
            busy(rates.work, rate),
            format!("{:.0} µs", rate.rounds.median(|sample| sample.latency.p50_us)),
            format!("{:.0} µs", rate.rounds.median(|sample| sample.latency.p99_us)),
            instructions,
        ];
        row(out, rate.server.name(), &cells);
    }
}

/// Which part of the time the server and the load ran; the load's says nothing where it kept itself awake.
fn busy(work: Work, rate: &Rate) -> String {
    let server = rate.rounds.median(|sample| sample.server_busy) * 100.0;
    match work {
        Work::Echo { .. } => format!("{server:.0} %"),
        Work::Churn | Work::Progress => {
            let load = rate.rounds.median(|sample| sample.load_busy) * 100.0;
            format!("{server:.0}, {load:.0} %")
        }
    }
}

fn latencies(out: &mut String, report: &Report) {
    let mut rows: Vec<(String, Latency)> = Vec::new();
    if let Some(found) = &report.restoration {
        rows.push((
            "first call of a session on a node that never saw it".into(),
            found.first_call,
        ));
        rows.push(("second call there".into(), found.second_call));
        rows.push(("PING, from the node's core to Redis".into(), found.ping));
    }
    if let Some(found) = &report.across {
        rows.push((
            "answer on the stream of 2024-11-05, same node".into(),
            found.answer_same_node,
        ));
        rows.push((
            "answer on the stream of 2024-11-05, other node".into(),
            found.answer_other_node,
        ));
        rows.push((
            "note written on one node, told on another".into(),
            found.update_other_node,
        ));
    }
    if let Some(found) = &report.fan_out {
        rows.push((
            format!("one change told to {} streams on 3 nodes, each", found.streams),
            found.told,
        ));
        rows.push(("the same, the last of them".into(), found.all_told));
    }
    if let Some(found) = &report.resume {
        rows.push((
            format!("{} events taken up on another node, first event", found.events),
            found.first_event,
        ));
        rows.push(("the same, last event".into(), found.last_event));
    }
    if rows.is_empty() {
        return;
    }
    out.push_str("\n## How long it takes, anynode with Redis\n\n| what | times | p50 | p90 | p99 | max |\n");
    out.push_str("|---|---:|---:|---:|---:|---:|\n");
    for (name, latency) in rows {
        let figures = [latency.p50_us, latency.p90_us, latency.p99_us, latency.max_us];
        let figures = figures.map(|us| {
            if us < 10_000.0 {
                format!("{us:.0} µs")
            } else {
                format!("{:.1} ms", us / 1e3)
            }
        });
        row(
            out,
            &name,
            &[latency.count.to_string()]
                .into_iter()
                .chain(figures)
                .collect::<Vec<_>>(),
        );
    }
}

/// Something that was promised.
#[derive(Debug)]
struct Target {
    name: String,
    measured: String,
    met: bool,
}

impl Target {
    /// That something is done so many times as often as something else.
    fn at_least(name: String, own: &Rounds, other: &Rounds, wanted: f64) -> Self {
        let (times, by_cpu) = (own.times(other), own.times_by_cpu(other));
        let (least, most) = own.spread(other);
        Self {
            name,
            measured: format!("{times:.2} (rounds {least:.2} to {most:.2}; {by_cpu:.2} by CPU time)"),
            met: times >= wanted,
        }
    }
}

fn targets(report: &Report) -> Vec<Target> {
    let mut targets = Vec::new();
    for rates in &report.rates {
        let Work::Echo { era, connections } = rates.work else {
            continue;
        };
        let Some(redis) = rates.of(Server::AnynodeRedis) else {
            continue;
        };
        let era = era.revision();
        let mut at_least = |words: &str, other: Server, wanted: f64| {
            let Some(other) = rates.of(other) else { return };
            let name = format!("echo {era}, {connections} connections, Redis: at least {wanted} × {words}");
            targets.push(Target::at_least(name, &redis.rounds, &other.rounds, wanted));
        };
        at_least("tower-mcp in memory", Server::TowerMcp, 1.5);
        at_least("plain axum", Server::Axum, 0.65);
        at_least("anynode in memory", Server::AnynodeMemory, 0.97);
    }
    auth::targets(&mut targets, report);
    let mut add = |name: String, measured: String, met: bool| targets.push(Target { name, measured, met });
    if let Some(found) = &report.restoration {
        let trips = found.round_trips;
        add(
            "restoration: under 3 Redis round trips".into(),
            format!("{trips:.1}"),
            trips < 3.0,
        );
    }
    if let Some(found) = &report.across {
        let latency = found.answer_other_node;
        let (p50, p99) = (latency.p50_us / 1e3, latency.p99_us / 1e3);
        let name = "event to another node: under 2 ms at the median, 10 ms at p99".into();
        add(name, format!("{p50:.2} ms, {p99:.2} ms"), p50 < 2.0 && p99 < 10.0);
    }
    for idle in &report.idle {
        if Server::OURS.contains(&idle.server) {
            let kib = (idle.session_bytes + idle.stream_bytes) / 1024.0;
            let name = format!("idle stream, {}: at most 10 KiB", idle.server.name());
            add(name, format!("{kib:.1} KiB"), kib <= 10.0);
        }
    }
    targets
}
