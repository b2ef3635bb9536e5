//! What credentials cost, as text: a table for each era, a short one for the README, and the targets.

use std::fmt::Write as _;

use super::{Target, row};
use crate::report::{Report, Rounds};
use crate::statistics::median;
use crate::work::auth::{Auth, CALLERS, Credentials};

/// What was promised: that these are served at least so many times as often as those.
const TARGETS: [(Credentials, Credentials, f64, &str); 3] = [
    (
        Credentials::Jwt,
        Credentials::Long,
        0.95,
        "a JWT: at least 0.95 × a static token of its length",
    ),
    (
        Credentials::Limits,
        Credentials::Jwt,
        0.93,
        "a JWT and limits: at least 0.93 × a JWT",
    ),
    (
        Credentials::Flood,
        Credentials::Jwt,
        0.8,
        "a JWT, others bring bad tokens: at least 0.8 × a JWT",
    ),
];

/// A table for each era.
pub(super) fn tables(out: &mut String, report: &Report) {
    for auth in &report.auth {
        let _ok = writeln!(
            out,
            "\n## Credentials: tools/call echo, {}, {CALLERS} connections, {}\n",
            auth.era.revision(),
            auth.server.name()
        );
        out.push_str("| credentials | per second | × none | × static, as long | × JWT | server CPU | server busy | p50 | p99 | refused per second |\n");
        out.push_str("|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|\n");
        for each in &auth.rows {
            let rounds = &each.rounds;
            let refused = match &each.refused_per_second[..] {
                [] => String::new(),
                refused => format!("{:.0}", median(refused.iter().copied())),
            };
            let cells = [
                format!("{:.0}", rounds.median(|sample| sample.per_second)),
                ratio(auth, rounds, Credentials::None),
                ratio(auth, rounds, Credentials::Long),
                ratio(auth, rounds, Credentials::Jwt),
                format!("{:.1} µs", rounds.median(|sample| sample.server_us)),
                format!("{:.0} %", rounds.median(|sample| sample.server_busy) * 100.0),
                format!("{:.0} µs", rounds.median(|sample| sample.latency.p50_us)),
                format!("{:.0} µs", rounds.median(|sample| sample.latency.p99_us)),
                refused,
            ];
            row(out, &each.name, &cells);
        }
    }
}

/// How many times as often each kind is served as callers of whom nothing is asked.
pub(super) fn summary(out: &mut String, report: &Report) {
    let Some(first) = report.auth.first() else {
        return;
    };
    let eras: Vec<_> = report
        .auth
        .iter()
        .map(|auth| auth.era.revision().to_owned())
        .collect();
    out.push('\n');
    let title = format!(
        "echo by callers with credentials, {CALLERS} connections, {}: × none asked for",
        first.server.name()
    );
    row(out, &title, &eras);
    let _ok = writeln!(out, "|---|{}", "---:|".repeat(eras.len()));
    let asked = Credentials::ALL
        .into_iter()
        .filter(|each| *each != Credentials::None);
    for credentials in asked {
        let found = |auth| Some((auth, Auth::of(auth, credentials)?));
        let cells: Vec<_> = report
            .auth
            .iter()
            .filter_map(found)
            .map(|(auth, each)| ratio(auth, &each.rounds, Credentials::None))
            .collect();
        row(out, &credentials.name(), &cells);
    }
}

fn ratio(auth: &Auth, own: &Rounds, other: Credentials) -> String {
    let times = auth.of(other).map(|other| own.times(&other.rounds));
    times.map_or(String::new(), |times| format!("{times:.2}"))
}

/// Adds what was promised.
pub(super) fn targets(targets: &mut Vec<Target>, report: &Report) {
    for auth in &report.auth {
        for (own, other, wanted, words) in TARGETS {
            let (Some(own), Some(other)) = (auth.of(own), auth.of(other)) else {
                continue;
            };
            let name = format!("echo {}, {CALLERS} connections, {words}", auth.era.revision());
            targets.push(Target::at_least(name, &own.rounds, &other.rounds, wanted));
        }
    }
}
