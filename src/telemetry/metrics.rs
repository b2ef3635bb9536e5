//! Every metric of the server: recorded through what is here, read at `/metrics`.
//!
//! Several nodes in one process share the metrics, so gauges count up and down and are never set.

use std::sync::{Arc, Once, OnceLock};
use std::time::Duration;

use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};
use tokio::time::Instant;

use crate::protocol::era::Era;
use crate::session::TransportKind;

mod names;
#[cfg_attr(not(feature = "prometheus"), path = "metrics/no_recorder.rs")]
mod recorder;

pub(crate) use names::{method_label, methods};

use names::{
    ALARMS, AUDIT_LINES_DROPPED, BUILD_INFO, CALL_TAKEOVERS, CALLS_IN_FLIGHT, CREDENTIALS, KEY_FETCHES,
    LIMIT_TRIPS, LIMITED, LIMITS_LOCAL, LOG_LINES_DROPPED, METHOD_LABELS, PROXY_HEADERS, REFUSALS,
    REQUEST_SECONDS, REQUESTS, RESTORATION_SECONDS, RESTORATIONS, SESSIONS_ACTIVE, SESSIONS_ENDED,
    SESSIONS_EXPIRED, SESSIONS_MADE, STORE_ERRORS, STORE_SECONDS, STREAMS_OPEN, label_at, method_index,
};
#[cfg(feature = "tls")]
use names::{CERTIFICATE_EXPIRES_SECONDS, TLS_HANDSHAKES};

/// How often [`upkeep`] should run: histograms keep every value until it does.
pub(crate) const UPKEEP_EVERY: Duration = Duration::from_secs(5); // 5 s x 50k/s x 16 B = 4 MB between two runs

/// Calls: from a quick answer to one that people are asked for.
const CALL_BUCKETS_SECONDS: [f64; 14] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0, 120.0, 600.0,
];
/// The store: from a local socket to the longest timeout that makes sense.
const STORE_BUCKETS_SECONDS: [f64; 13] = [
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 2.0, 10.0,
];

static BEGUN: Once = Once::new();

/// Begins to record, once per process; later calls do nothing.
pub(crate) fn install() {
    BEGUN.call_once(|| {
        recorder::install();
        begin();
    });
}

/// Describes all metrics, and shows at once those without labels: a metric that is absent until it first
/// moves cannot be told from one that is broken.
fn begin() {
    names::describe();
    let (version, os, arch) = (
        env!("CARGO_PKG_VERSION"),
        std::env::consts::OS,
        std::env::consts::ARCH,
    );
    gauge!(BUILD_INFO, "version" => version, "os" => os, "arch" => arch).set(1.0);
    gauge!(SESSIONS_ACTIVE).increment(0.0);
    gauge!(CALLS_IN_FLIGHT).increment(0.0);
    counter!(SESSIONS_ENDED).increment(0);
    counter!(SESSIONS_EXPIRED).increment(0);
    counter!(LIMIT_TRIPS).increment(0);
    gauge!(LIMITS_LOCAL).increment(0.0);
    counter!(LOG_LINES_DROPPED).absolute(super::lines_dropped());
    counter!(AUDIT_LINES_DROPPED).increment(0);
}

/// All metrics in Prometheus' text format, `text/plain; version=0.0.4`.
#[must_use]
pub(crate) fn render() -> String {
    upkeep();
    recorder::render()
}

/// Folds what was recorded into histograms, and counts the lines of logs that were dropped. Call it each
/// [`UPKEEP_EVERY`], whether or not anyone scrapes.
pub(crate) fn upkeep() {
    counter!(LOG_LINES_DROPPED).absolute(super::lines_dropped());
    recorder::upkeep();
}

/// Counts one thing for as long as it is held.
#[derive(Debug)]
#[must_use = "it counts until it is dropped"]
pub(crate) struct GaugeGuard(Gauge);

impl GaugeGuard {
    fn new(gauge: Gauge) -> Self {
        gauge.increment(1.0);
        Self(gauge)
    }
}

impl Drop for GaugeGuard {
    fn drop(&mut self) {
        self.0.decrement(1.0);
    }
}

/// Counts a session that this node keeps restored.
pub(crate) fn session_kept() -> GaugeGuard {
    GaugeGuard::new(gauge!(SESSIONS_ACTIVE))
}

/// Counts a stream that is open to a client.
pub(crate) fn stream_open(kind: StreamKind) -> GaugeGuard {
    GaugeGuard::new(gauge!(STREAMS_OPEN, "kind" => kind.label()))
}

/// What a stream to a client is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StreamKind {
    /// The reply to a `POST /mcp`.
    Reply,
    /// A session's standalone stream, `GET /mcp`, also when it resumes another.
    Standalone,
    /// HTTP+SSE, `GET /sse`.
    Sse,
    /// `subscriptions/listen`.
    Listen,
}

impl StreamKind {
    const fn label(self) -> &'static str {
        match self {
            Self::Reply => "reply",
            Self::Standalone => "standalone",
            Self::Sse => "sse",
            Self::Listen => "listen",
        }
    }
}

/// Notes that this node made a session.
pub(crate) fn session_made(transport: TransportKind) {
    counter!(SESSIONS_MADE, "transport" => transport.as_str()).increment(1);
}

/// Notes that a client or an operator ended a session through this node.
pub(crate) fn session_ended() {
    counter!(SESSIONS_ENDED).increment(1);
}

/// Notes that a session which this node kept has expired.
pub(crate) fn session_expired() {
    counter!(SESSIONS_EXPIRED).increment(1);
}

/// How looking a session up in the store ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Restoration {
    /// It was there.
    Restored,
    /// There is no such session.
    Missing,
    /// The store did not answer.
    Failed,
}

/// Notes that a session was looked up in the store.
pub(crate) fn restoration(outcome: Restoration, took: Duration) {
    let label = match outcome {
        Restoration::Restored => "restored",
        Restoration::Missing => "missing",
        Restoration::Failed => "failed",
    };
    counter!(RESTORATIONS, "outcome" => label).increment(1);
    histogram!(RESTORATION_SECONDS).record(took);
}

/// What became of a call that was taken over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Takeover {
    /// It was run again.
    RunAgain,
    /// It was answered by an error: node lost, outcome unknown.
    Lost,
    /// Nobody waited for its answer: it was cancelled, only asked its client, or its session is gone.
    Unawaited,
    /// It could not be read, or the store did not take its answer.
    Failed,
}

/// Notes that a call was taken over.
pub(crate) fn call_taken_over(outcome: Takeover) {
    let label = match outcome {
        Takeover::RunAgain => "run_again",
        Takeover::Lost => "lost",
        Takeover::Unawaited => "unawaited",
        Takeover::Failed => "failed",
    };
    counter!(CALL_TAKEOVERS, "outcome" => label).increment(1);
}

/// Notes that the store was asked, and with `error` ([`StoreError::label`](crate::store::StoreError::label))
/// that it failed.
pub(crate) fn store_operation(operation: &'static str, took: Duration, error: Option<&'static str>) {
    histogram!(STORE_SECONDS, "operation" => operation).record(took);
    if let Some(error) = error {
        counter!(STORE_ERRORS, "operation" => operation, "error" => error).increment(1);
    }
}

/// Notes that a request was turned away before any handler saw it, and why
/// ([`Refusal::label`](crate::protocol::error::Refusal::label)).
pub(crate) fn refused(reason: &'static str) {
    counter!(REFUSALS, "reason" => reason).increment(1);
}

/// Notes that a token was checked that was not known yet, and how that ended.
pub(crate) fn credentials_checked(outcome: &'static str) {
    counter!(CREDENTIALS, "outcome" => outcome).increment(1);
}

/// Notes that the keys of an issuer were fetched, or could not be.
pub(crate) fn keys_fetched(issuer: &str, fetched: bool) {
    let outcome = if fetched { "fetched" } else { "failed" };
    counter!(KEY_FETCHES, "issuer" => issuer.to_owned(), "outcome" => outcome).increment(1);
}

/// Notes what came of a header of the PROXY protocol.
pub(crate) fn proxy_header(outcome: &'static str) {
    counter!(PROXY_HEADERS, "outcome" => outcome).increment(1);
}

/// Notes how a TLS handshake ended.
#[cfg(feature = "tls")]
pub(crate) fn tls_handshake(outcome: &'static str) {
    counter!(TLS_HANDSHAKES, "outcome" => outcome).increment(1);
}

/// Notes when the certificate in use expires, in unix seconds. It is one of the few gauges that are set: of
/// several nodes in one process the last counts.
#[cfg(feature = "tls")]
#[expect(clippy::cast_precision_loss, reason = "exact for 200 million years")]
pub(crate) fn certificate_expires(at: u64) {
    gauge!(CERTIFICATE_EXPIRES_SECONDS).set(at as f64);
}

/// Notes that a request was turned away because of that rate (the last part of its setting's name).
pub(crate) fn limited(limit: &'static str) {
    counter!(LIMITED, "limit" => limit).increment(1);
}

/// Notes that the store was asked for tokens of a rate.
pub(crate) fn limit_trip() {
    counter!(LIMIT_TRIPS).increment(1);
}

/// Counts this node among those that hold the rates for themselves alone.
pub(crate) fn limits_local() -> GaugeGuard {
    GaugeGuard::new(gauge!(LIMITS_LOCAL))
}

/// Counts the lines of audit logs that were not written.
pub(crate) fn audit_lines_dropped() -> Counter {
    counter!(AUDIT_LINES_DROPPED)
}

/// Shows that no alarm of that pattern was raised so far.
pub(crate) fn no_alarm(pattern: &'static str) {
    counter!(ALARMS, "pattern" => pattern).increment(0);
}

/// Notes that an alarm was raised.
pub(crate) fn alarm(pattern: &'static str) {
    counter!(ALARMS, "pattern" => pattern).increment(1);
}

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// With a result.
    Ok,
    /// With a JSON-RPC error from the handler.
    Error,
    /// Cancelled by the client.
    Cancelled,
    /// It took longer than it may.
    Timeout,
}

impl Outcome {
    /// The label of each, and last that of a request of which nobody said how it ended.
    const LABELS: [&'static str; 5] = ["ok", "error", "cancelled", "timeout", "abandoned"];
    const ABANDONED: usize = Self::LABELS.len() - 1;

    /// Its name.
    #[must_use]
    pub(crate) const fn label(self) -> &'static str {
        let [ok, error, cancelled, timeout, _abandoned] = Self::LABELS;
        match self {
            Self::Ok => ok,
            Self::Error => error,
            Self::Cancelled => cancelled,
            Self::Timeout => timeout,
        }
    }
}

/// Measures the requests of a node. What is recorded is looked up by its labels once, which takes longer than
/// recording.
#[derive(Debug)]
pub(crate) struct Requests {
    in_flight: Gauge,
    /// For each era, for each method.
    series: [[Series; METHOD_LABELS]; 2],
}

/// What is recorded of one method's requests. Nothing is shown of what never came.
#[derive(Debug, Default)]
struct Series {
    seconds: OnceLock<Histogram>,
    ended: [OnceLock<Counter>; Outcome::LABELS.len()],
}

impl Default for Requests {
    fn default() -> Self {
        Self {
            in_flight: gauge!(CALLS_IN_FLIGHT),
            series: std::array::from_fn(|_| std::array::from_fn(|_| Series::default())),
        }
    }
}

impl Requests {
    /// Counts a call that a handler works on.
    pub(crate) fn call_in_flight(&self) -> GaugeGuard {
        GaugeGuard::new(self.in_flight.clone())
    }

    /// Measures a request that began at `started`.
    pub(crate) fn begin(self: &Arc<Self>, era: Era, method: &str, started: Instant) -> RequestTimer {
        RequestTimer {
            requests: Arc::clone(self),
            era,
            method: method_index(method),
            outcome: None,
            started,
        }
    }

    fn record(&self, era: Era, method: usize, outcome: usize, took: Duration) {
        let row = match era {
            Era::Legacy => &self.series[0],
            Era::Modern => &self.series[1],
        };
        let (Some(series), Some(outcome_label)) = (row.get(method), Outcome::LABELS.get(outcome)) else {
            return;
        };
        let (era, method) = (era.as_str(), label_at(method));
        if let Some(ended) = series.ended.get(outcome) {
            let counter =
                || counter!(REQUESTS, "era" => era, "method" => method, "outcome" => *outcome_label);
            ended.get_or_init(counter).increment(1);
        }
        let histogram = || histogram!(REQUEST_SECONDS, "era" => era, "method" => method);
        series.seconds.get_or_init(histogram).record(took);
    }
}

/// Measures one request, from when it is made to when it is dropped.
#[derive(Debug)]
#[must_use = "it measures until it is dropped"]
pub(crate) struct RequestTimer {
    requests: Arc<Requests>,
    era: Era,
    method: usize,
    outcome: Option<Outcome>,
    started: Instant,
}

impl RequestTimer {
    /// Ends it so.
    pub(crate) fn end(mut self, outcome: Outcome) {
        self.outcome = Some(outcome);
    }
}

impl Drop for RequestTimer {
    fn drop(&mut self) {
        // Nobody said how it ended: the client left, or the node did.
        let outcome = self
            .outcome
            .map_or(Outcome::ABANDONED, |outcome| outcome as usize);
        self.requests
            .record(self.era, self.method, outcome, self.started.elapsed());
    }
}

#[cfg(test)]
#[path = "metrics/metrics_tests.rs"]
mod tests;
