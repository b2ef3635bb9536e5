//! Tests that `/metrics` is what Prometheus reads, and that every metric says what happened.

use std::collections::BTreeMap;

use metrics_exporter_prometheus::PrometheusHandle;

use super::recorder::builder;
use super::*;

/// The samples of the text format, by name with labels; panics where the text breaks the format.
fn samples(text: &str) -> BTreeMap<String, f64> {
    let mut samples = BTreeMap::new();
    let mut types: BTreeMap<String, String> = BTreeMap::new();
    for line in text.lines().filter(|line| !line.is_empty()) {
        if let Some(comment) = line.strip_prefix("# ") {
            let mut words = comment.splitn(3, ' ');
            let (kind, name, rest) = (
                words.next().unwrap(),
                words.next().unwrap(),
                words.next().unwrap(),
            );
            assert!(["HELP", "TYPE"].contains(&kind) && !rest.is_empty(), "{line}");
            if kind == "TYPE" {
                assert!(
                    types.insert(name.into(), rest.into()).is_none(),
                    "two types for {name}"
                );
            }
            continue;
        }
        let (series, value) = line.rsplit_once(' ').unwrap();
        let name = series.split('{').next().unwrap();
        let family = ["_bucket", "_sum", "_count"]
            .iter()
            .find_map(|suffix| name.strip_suffix(suffix).filter(|base| types.contains_key(*base)))
            .unwrap_or(name);
        assert!(types.contains_key(family), "no TYPE for {name}");
        assert!(
            text.contains(&format!("# HELP {family} ")),
            "no HELP for {family}"
        );
        assert_eq!(types[family] == "counter", family.ends_with("_total"), "{family}");
        assert_eq!(
            types[family] == "histogram",
            family.ends_with("_seconds"),
            "{family}"
        );
        assert!(
            samples
                .insert(series.to_owned(), value.parse().unwrap())
                .is_none(),
            "{series} twice"
        );
    }
    samples
}

#[test]
fn the_text_is_well_formed_and_tells_what_happened() {
    // A recorder of its own: other tests of this process record to the global one.
    let recorder = builder().unwrap().build_recorder();
    metrics::with_local_recorder(&recorder, || record_and_check(&recorder.handle()));
}

#[test]
fn installing_twice_is_harmless() {
    install();
    install();
    assert!(render().contains("\nanynode_build_info{"));
}

fn record_and_check(handle: &PrometheusHandle) {
    begin();
    let samples = || samples(&handle.render());
    assert_eq!(samples()["anynode_calls_in_flight"], 0.0);

    let requests = Arc::new(Requests::default());
    let call = requests.call_in_flight();
    let stream = stream_open(StreamKind::Reply);
    requests
        .begin(Era::Legacy, "tools/call", Instant::now())
        .end(Outcome::Ok);
    drop(requests.begin(Era::Modern, "x\"}\nmade_up 1", Instant::now()));
    session_made(TransportKind::Sse);
    session_ended();
    restoration(Restoration::Restored, Duration::from_millis(2));
    store_operation("load", Duration::from_micros(300), None);
    store_operation("load", Duration::from_secs(2), Some("unreachable"));

    let during = samples();
    let label = |version: &str| format!("anynode_build_info{{version=\"{version}\"");
    assert!(
        during
            .keys()
            .any(|series| series.starts_with(&label(env!("CARGO_PKG_VERSION"))))
    );
    for (series, value) in [
        ("anynode_calls_in_flight", 1.0),
        ("anynode_streams_open{kind=\"reply\"}", 1.0),
        ("anynode_sessions_made_total{transport=\"sse\"}", 1.0),
        ("anynode_sessions_ended_total", 1.0),
        ("anynode_session_restorations_total{outcome=\"restored\"}", 1.0),
        (
            "anynode_requests_total{era=\"legacy\",method=\"tools/call\",outcome=\"ok\"}",
            1.0,
        ),
        (
            "anynode_requests_total{era=\"modern\",method=\"other\",outcome=\"abandoned\"}",
            1.0,
        ),
        (
            "anynode_request_duration_seconds_count{era=\"legacy\",method=\"tools/call\"}",
            1.0,
        ),
        (
            "anynode_store_errors_total{operation=\"load\",error=\"unreachable\"}",
            1.0,
        ),
        (
            "anynode_store_operation_duration_seconds_count{operation=\"load\"}",
            2.0,
        ),
        (
            "anynode_store_operation_duration_seconds_bucket{operation=\"load\",le=\"0.0005\"}",
            1.0,
        ),
        (
            "anynode_store_operation_duration_seconds_bucket{operation=\"load\",le=\"+Inf\"}",
            2.0,
        ),
    ] {
        assert_eq!(during.get(series), Some(&value), "{series} in {during:#?}");
    }

    drop((call, stream));
    let after = samples();
    assert_eq!(after["anynode_calls_in_flight"], 0.0);
    assert_eq!(after["anynode_streams_open{kind=\"reply\"}"], 0.0);
}
