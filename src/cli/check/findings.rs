//! What `check` has found, in words and in JSON.

use std::fmt::Write;
use std::time::Duration;

use serde_json::{Value, json};

use crate::cli::{times, unix_ms};
use crate::config::Assigned;
use crate::net::tls::{CertificateFacts, expires_soon};
use crate::store::StoreReport;

/// How far the store's clock may be from ours before it is worth a warning.
const CLOCK_DIFFERENCE_MS_MAX: u64 = 5000;

/// What was found.
#[derive(Debug)]
pub(super) struct Findings {
    pub(super) kind: &'static str,
    pub(super) report: StoreReport,
    pub(super) round_trip: Duration,
    /// How far the store's clock is ahead of ours.
    pub(super) clock_ahead_ms: Option<i64>,
    /// Where a node of these settings would listen.
    pub(super) address: String,
    /// What its certificate would say, if it has one.
    pub(super) certificate: Option<CertificateFacts>,
    /// What is to be warned of besides the store.
    pub(super) others: Vec<String>,
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
        if let Some(certificate) = &self.certificate {
            warnings.extend(of_certificate(certificate, unix_ms() / 1000));
        }
        warnings.extend(self.others.iter().cloned());
        warnings
    }

    pub(super) fn to_text(&self, assigned: &[&Assigned]) -> String {
        let mut lines = vec![("settings", format!("{} set, all others default", assigned.len()))];
        for Assigned { name, value, source } in assigned {
            lines.push(("", format!("{name} = {value:?} ({source})")));
        }
        lines.push(("address", self.address.clone()));
        if let Some(CertificateFacts { names, expires }) = &self.certificate {
            let date = times::date(expires.saturating_mul(1000));
            lines.push(("certificate", format!("for {}, until {date}", names.join(", "))));
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

    pub(super) fn to_json(&self, assigned: &[&Assigned]) -> Value {
        let setting = |a: &&Assigned| json!({ "name": a.name, "value": a.value, "source": a.source });
        json!({
            "status": "ok",
            "settings": assigned.iter().map(setting).collect::<Vec<_>>(),
            "address": self.address,
            "certificate": self.certificate.as_ref().map(|certificate| json!({
                "names": certificate.names,
                "expires": times::date(certificate.expires.saturating_mul(1000)),
            })),
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

/// What is to be warned of in a certificate, at that moment in unix seconds.
fn of_certificate(certificate: &CertificateFacts, now: u64) -> Vec<String> {
    let CertificateFacts { names, expires } = certificate;
    let mut warnings = Vec::new();
    if names.is_empty() {
        let words = "the certificate in tls.cert_file names no host (subjectAltName): clients refuse it";
        warnings.push(words.to_owned());
    }
    if *expires <= now {
        warnings.push("the certificate in tls.cert_file has expired: clients refuse it".to_owned());
    } else if expires_soon(*expires, now) {
        let left = times::span(expires.saturating_sub(now).saturating_mul(1000));
        warnings.push(format!(
            "the certificate in tls.cert_file expires in {left}: put another in its place"
        ));
    }
    warnings
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
            address: "http://127.0.0.1:3000".into(),
            certificate: None,
            others: vec![],
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
            findings("noeviction", -4).to_text(&[&port]),
            "settings    1 set, all others default\n            port = \"8080\" (PORT)\n\
             address     http://127.0.0.1:3000\n\
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
    fn a_certificate_is_told_of_and_one_that_ends_soon_is_warned_of() {
        const DAY: u64 = 24 * 60 * 60;
        let facts = |names: &[&str], expires| CertificateFacts {
            names: names.iter().map(|&name| name.to_owned()).collect(),
            expires,
        };
        let warnings =
            |names: &[&str], left| of_certificate(&facts(names, 100 * DAY + left), 100 * DAY).join("; ");
        assert_eq!(warnings(&["mcp.example.com"], 15 * DAY), "");
        assert!(warnings(&["mcp.example.com"], 3 * DAY).contains("expires in 3d"));
        assert!(warnings(&["mcp.example.com"], 0).contains("has expired"));
        assert!(warnings(&[], 15 * DAY).contains("subjectAltName"));
        let mut findings = findings("noeviction", 0);
        findings.certificate = Some(facts(&["mcp.example.com", "10.0.0.5"], 1_927_843_200));
        let line = "\ncertificate for mcp.example.com, 10.0.0.5, until 2031-02-03T00:00:00Z\n";
        assert!(findings.to_text(&[]).contains(line), "{}", findings.to_text(&[]));
        assert_eq!(
            findings.to_json(&[])["certificate"]["expires"],
            "2031-02-03T00:00:00Z"
        );
    }
}
