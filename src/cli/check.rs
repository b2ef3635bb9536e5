//! `mcp-server check`: are the settings right, and does the store do what a node needs?

use anyhow::{Context as _, ensure};
use std::fmt::Write;
use std::time::Duration;

use rmcp::model::{ClientCapabilities, Implementation};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{Exit, print, unix_ms};
use crate::app::{AppError, files, open};
use crate::config::{Assigned, Loaded};
use crate::net::listener::BoundListener;
use crate::protocol::era::Revision;
use crate::session::{NodeId, Principal, SessionId, SessionRecord, TransportKind};
use crate::store::{Created, Ended, SessionRoom, Store, StoreReport};

/// How long the session of the round trip lives at most: long enough for a slow store, short enough to be no
/// litter.
const PROBE_TTL: Duration = Duration::from_secs(10);
/// How far the store's clock may be from ours before it is worth a warning.
const CLOCK_DIFFERENCE_MS_MAX: u64 = 5000;

/// What `check` takes.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct CheckArguments {
    /// Answer in JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Checks the store, and prints what was found. The settings were checked when they were loaded.
///
/// # Errors
/// When the store cannot be opened, does not answer, or does not keep what it is given.
pub(crate) async fn run(arguments: &CheckArguments, loaded: &Loaded) -> anyhow::Result<Exit> {
    BoundListener::try_probes(&loaded.settings)
        .await
        .map_err(AppError::from)?;
    let store = open::store(&loaded.settings).await?;
    let findings = examine(&*store).await;
    store.close().await;
    let mut findings = findings?;
    findings.files = files::too_low(&loaded.settings, files::raise_limit());
    findings.foreign = loaded.foreign_variables();
    print::remark(if arguments.json {
        format!("{:#}", findings.to_json(&loaded.assigned))
    } else {
        findings.to_text(&loaded.assigned)
    });
    Ok(Exit::Ok)
}

/// What was found.
#[derive(Debug)]
struct Findings {
    kind: &'static str,
    report: StoreReport,
    round_trip: Duration,
    /// How far the store's clock is ahead of ours.
    clock_ahead_ms: Option<i64>,
    /// What is wrong with the limit on open files.
    files: Option<String>,
    /// Which variables set nothing.
    foreign: Option<String>,
}

async fn examine(store: &dyn Store) -> anyhow::Result<Findings> {
    let round_trip = round_trip(store)
        .await
        .context("the store could not keep a session")?;
    let before_ms = unix_ms();
    let report = store.report().await?;
    let here_ms = u64::midpoint(before_ms, unix_ms());
    Ok(Findings {
        kind: store.profile().kind,
        round_trip,
        clock_ahead_ms: report.clock_ms.map(|there| difference(there, here_ms)),
        report,
        files: None,
        foreign: None,
    })
}

fn difference(there: u64, here: u64) -> i64 {
    i64::try_from(i128::from(there) - i128::from(here)).unwrap_or(i64::MAX)
}

/// Makes a session, reads it back and ends it, under an id that nobody else has.
async fn round_trip(store: &dyn Store) -> anyhow::Result<Duration> {
    let (id, record) = (SessionId::generate(), probe());
    let room = SessionRoom::boundless("check");
    let started = Instant::now();
    let created = store.create(&id, &record, PROBE_TTL, &room).await?;
    ensure!(
        created != Created::Collision,
        "a fresh session id was taken already"
    );
    let loaded = store.load(&id, None).await?;
    let ended = store.end(&id, None).await?;
    let took = started.elapsed();
    ensure!(
        loaded.as_ref() == Some(&record),
        "a session was not read back as it was written"
    );
    ensure!(ended != Ended::Gone, "a session was gone before it was ended");
    Ok(took)
}

fn probe() -> SessionRecord {
    let now_ms = unix_ms();
    SessionRecord {
        revision: Revision::NEWEST_LEGACY,
        transport: TransportKind::Streamable,
        client_info: Implementation::new("mcp-server check", env!("CARGO_PKG_VERSION")),
        capabilities: ClientCapabilities::default(),
        initialized: false,
        created_at_ms: now_ms,
        last_activity_ms: now_ms,
        node_id: NodeId::generate(now_ms),
        principal: Principal::anonymous(),
        log_level: None,
        subscriptions: [].into(),
    }
}

impl Findings {
    fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if self.kind == "memory" {
            warnings.push(
                "redis_url is empty: sessions are in the memory of one node, and end with it".to_owned(),
            );
        }
        let policy = self.report.eviction_policy.as_deref().unwrap_or_default();
        if policy.starts_with("allkeys-") {
            warnings.push(format!(
                "maxmemory-policy is {policy}: a full store may drop live sessions; use noeviction or volatile-ttl"
            ));
        }
        if self
            .clock_ahead_ms
            .is_some_and(|ms| ms.unsigned_abs() > CLOCK_DIFFERENCE_MS_MAX)
        {
            warnings
                .push("the clocks of this machine and of the store differ: is NTP running on both?".into());
        }
        let prefixes = &self.report.other_prefixes;
        if !prefixes.is_empty() {
            let all: Vec<_> = prefixes.iter().map(|prefix| format!("{prefix:?}")).collect();
            warnings.push(format!(
                "other nodes use this store with store.prefix {}: they and this one answer 404 for each other's sessions; give \
                 all nodes of one service the same",
                all.join(", ")
            ));
        }
        warnings.extend(self.files.clone());
        warnings.extend(self.foreign.clone());
        warnings
    }

    fn to_text(&self, assigned: &[Assigned]) -> String {
        let mut lines = vec![("settings", format!("{} set, all others default", assigned.len()))];
        for Assigned { name, value, source } in assigned {
            lines.push(("", format!("{name} = {value:?} ({source})")));
        }
        let version = self.report.version.as_deref().unwrap_or("unknown");
        let topology = self.report.topology;
        let store = match self.kind {
            "memory" => "memory".into(),
            kind => format!("{kind}, {topology}, version {version}"),
        };
        lines.push(("store", store));
        let took = self.round_trip.as_secs_f64() * 1000.0;
        lines.push((
            "round trip",
            format!("{took:.1} ms to make, read and end a session"),
        ));
        let policy = self.report.eviction_policy.as_deref();
        lines.push(("eviction", policy.unwrap_or("unknown").into()));
        let clock = match self.clock_ahead_ms {
            None => "unknown".into(),
            Some(ms) if ms < 0 => format!("the store's is {} ms behind", ms.unsigned_abs()),
            Some(ms) => format!("the store's is {ms} ms ahead"),
        };
        lines.push(("clock", clock));
        lines.extend(self.warnings().into_iter().map(|warning| ("warning", warning)));
        lines.push(("ok", "this node can serve".into()));

        let mut text = String::new();
        for (name, value) in lines {
            // Writing to a String cannot fail.
            let _written = writeln!(text, "{name:<12}{value}");
        }
        text
    }

    fn to_json(&self, assigned: &[Assigned]) -> Value {
        let setting = |a: &Assigned| json!({ "name": a.name, "value": a.value, "source": a.source });
        json!({
            "status": "ok",
            "settings": assigned.iter().map(setting).collect::<Vec<_>>(),
            "store": {
                "kind": self.kind,
                "topology": self.report.topology,
                "version": self.report.version,
                "evictionPolicy": self.report.eviction_policy,
                "roundTripMs": self.round_trip.as_secs_f64() * 1000.0,
                "clockAheadMs": self.clock_ahead_ms,
            },
            "warnings": self.warnings(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(policy: &str, clock_ahead_ms: i64) -> Findings {
        Findings {
            kind: "redis",
            report: StoreReport {
                version: Some("7.4.0".into()),
                eviction_policy: Some(policy.into()),
                clock_ms: Some(0),
                other_prefixes: vec![],
                topology: "cluster",
            },
            files: None,
            foreign: None,
            round_trip: Duration::from_micros(1234),
            clock_ahead_ms: Some(clock_ahead_ms),
        }
    }

    #[test]
    fn the_text_tells_what_an_operator_asks() {
        let port = Assigned {
            name: "port".into(),
            value: "8080".into(),
            source: "PORT".into(),
        };
        assert_eq!(
            findings("noeviction", -4).to_text(&[port]),
            "settings    1 set, all others default\n            port = \"8080\" (PORT)\n\
             store       redis, cluster, version 7.4.0\n\
             round trip  1.2 ms to make, read and end a session\n\
             eviction    noeviction\n\
             clock       the store's is 4 ms behind\n\
             ok          this node can serve\n"
        );
    }

    #[test]
    fn a_store_that_may_drop_sessions_or_lives_in_another_time_is_warned_of() {
        assert!(findings("noeviction", 10).warnings().is_empty());
        assert!(findings("volatile-lru", 10).warnings().is_empty());
        assert!(
            findings("allkeys-lru", 10)
                .warnings()
                .concat()
                .contains("allkeys-lru")
        );
        assert_eq!(findings("allkeys-lru", -60_000).warnings().len(), 2);
        let json = findings("allkeys-lru", 0).to_json(&[]);
        assert_eq!(json["store"]["evictionPolicy"], "allkeys-lru");
        assert_eq!(json["warnings"].as_array().map(Vec::len), Some(1));
    }

    /// M14: Nodes with another `store.prefix` on the same Redis are warned of.
    #[test]
    fn nodes_of_another_prefix_are_warned_of() {
        let mut findings = findings("noeviction", 0);
        findings.report.other_prefixes = vec![String::new(), "b:".into()];
        let warnings = findings.warnings().concat();
        assert!(warnings.contains(r#"store.prefix "", "b:""#), "{warnings}");
    }

    #[test]
    fn clocks_differ_either_way() {
        assert_eq!(difference(5, 8), -3);
        assert_eq!(difference(8, 5), 3);
        assert_eq!(difference(u64::MAX, 0), i64::MAX);
    }
}
