//! The names of all metrics, with what each tells. Units are last in names, as Prometheus asks.

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};

/// Always 1; its labels tell what is running.
pub(super) const BUILD_INFO: &str = "anynode_build_info";
/// Sessions that this node keeps restored.
pub(super) const SESSIONS_ACTIVE: &str = "anynode_sessions_active";
/// Sessions made by this node.
pub(super) const SESSIONS_MADE: &str = "anynode_sessions_made_total";
/// Sessions ended on purpose through this node.
pub(super) const SESSIONS_ENDED: &str = "anynode_sessions_ended_total";
/// Sessions that this node kept and found expired.
pub(super) const SESSIONS_EXPIRED: &str = "anynode_sessions_expired_total";
/// Sessions restored from the store.
pub(super) const RESTORATIONS: &str = "anynode_session_restorations_total";
/// How long restoring took.
pub(super) const RESTORATION_SECONDS: &str = "anynode_session_restoration_duration_seconds";
/// Streams open to clients.
pub(super) const STREAMS_OPEN: &str = "anynode_streams_open";
/// Calls that handlers are working on.
pub(super) const CALLS_IN_FLIGHT: &str = "anynode_calls_in_flight";
/// Calls of lost nodes that this one took over.
pub(super) const CALL_TAKEOVERS: &str = "anynode_call_takeovers_total";
/// Requests answered.
pub(super) const REQUESTS: &str = "anynode_requests_total";
/// How long answering took.
pub(super) const REQUEST_SECONDS: &str = "anynode_request_duration_seconds";
/// Requests turned away before any handler saw them.
pub(super) const REFUSALS: &str = "anynode_refusals_total";
/// Requests beyond a rate.
pub(super) const LIMITED: &str = "anynode_limited_total";
/// How often the store was asked for tokens of a rate.
pub(super) const LIMIT_TRIPS: &str = "anynode_limit_trips_total";
/// Whether this node counts rates for itself alone.
pub(super) const LIMITS_LOCAL: &str = "anynode_limits_local";
/// How long the store took.
pub(super) const STORE_SECONDS: &str = "anynode_store_operation_duration_seconds";
/// Store operations that failed.
pub(super) const STORE_ERRORS: &str = "anynode_store_errors_total";
/// Credentials that were checked.
pub(super) const CREDENTIALS: &str = "anynode_credentials_checked_total";
/// Fetches of issuers' keys.
pub(super) const KEY_FETCHES: &str = "anynode_key_fetches_total";
/// Lines of logs that were not written.
pub(super) const LOG_LINES_DROPPED: &str = "anynode_log_lines_dropped_total";
/// Lines of the audit log that were not written.
pub(super) const AUDIT_LINES_DROPPED: &str = "anynode_audit_lines_dropped_total";
/// Alarms that were raised.
pub(super) const ALARMS: &str = "anynode_alarms_total";

/// When the TLS certificate expires.
pub(super) const CERTIFICATE_EXPIRES_SECONDS: &str = "anynode_certificate_expires_seconds";
/// TLS handshakes with clients.
pub(super) const TLS_HANDSHAKES: &str = "anynode_tls_handshakes_total";
/// Headers of the PROXY protocol.
pub(super) const PROXY_HEADERS: &str = "anynode_proxy_headers_total";

/// Gives every metric its `# HELP` line.
pub(super) fn describe() {
    describe_counter!(CALL_TAKEOVERS, Unit::Count, "Calls of lost nodes taken over");
    describe_gauge!(BUILD_INFO, "Always 1; the labels tell what is running");
    describe_gauge!(
        SESSIONS_ACTIVE,
        Unit::Count,
        "Sessions that this node keeps restored"
    );
    describe_counter!(
        SESSIONS_MADE,
        Unit::Count,
        "Sessions made by this node, by transport"
    );
    describe_counter!(
        SESSIONS_ENDED,
        Unit::Count,
        "Sessions ended on purpose through this node"
    );
    describe_counter!(
        SESSIONS_EXPIRED,
        Unit::Count,
        "Sessions that this node kept and found expired"
    );
    describe_counter!(
        RESTORATIONS,
        Unit::Count,
        "Sessions looked up in the store, by outcome"
    );
    describe_histogram!(
        RESTORATION_SECONDS,
        Unit::Seconds,
        "Time to look a session up in the store"
    );
    describe_gauge!(
        STREAMS_OPEN,
        Unit::Count,
        "Event streams open to clients, by kind"
    );
    describe_gauge!(CALLS_IN_FLIGHT, Unit::Count, "Calls that handlers are working on");
    describe_counter!(
        REQUESTS,
        Unit::Count,
        "Requests answered, by era, method and outcome"
    );
    describe_histogram!(
        REQUEST_SECONDS,
        Unit::Seconds,
        "Time from a request to its answer, by era and method"
    );
    describe_refusals();
    describe_connections();
}

/// Those of requests that are turned away, and of the store.
fn describe_refusals() {
    describe_counter!(
        REFUSALS,
        Unit::Count,
        "Requests turned away before any handler saw them, by reason"
    );
    describe_counter!(
        LIMITED,
        Unit::Count,
        "Requests turned away because of a rate, by limit"
    );
    describe_counter!(
        LIMIT_TRIPS,
        Unit::Count,
        "Trips to the store for tokens of a rate"
    );
    describe_gauge!(
        LIMITS_LOCAL,
        "1 while the store does not count requests, and the node holds the rates for itself alone"
    );
    describe_histogram!(
        STORE_SECONDS,
        Unit::Seconds,
        "Time that the store took, by operation"
    );
    describe_counter!(
        STORE_ERRORS,
        Unit::Count,
        "Store operations that failed, by operation and error"
    );
    describe_logs();
}

fn describe_logs() {
    describe_counter!(
        CREDENTIALS,
        Unit::Count,
        "Tokens checked that were not known yet, by outcome"
    );
    describe_counter!(
        KEY_FETCHES,
        Unit::Count,
        "Fetches of the keys of issuers, by issuer and outcome"
    );
    describe_counter!(
        LOG_LINES_DROPPED,
        Unit::Count,
        "Log lines that were dropped: they could not be written, or not fast enough"
    );
    describe_counter!(
        AUDIT_LINES_DROPPED,
        Unit::Count,
        "Lines of the audit log that were dropped: they could not be written, or not fast enough"
    );
    describe_counter!(
        ALARMS,
        Unit::Count,
        "Alarms that were raised, by pattern: what looks like an attack"
    );
}

/// The same of what comes before requests.
fn describe_connections() {
    describe_gauge!(
        CERTIFICATE_EXPIRES_SECONDS,
        Unit::Seconds,
        "When the TLS certificate in use expires, in unix time"
    );
    describe_counter!(
        TLS_HANDSHAKES,
        Unit::Count,
        "TLS handshakes with clients, by outcome"
    );
    describe_counter!(
        PROXY_HEADERS,
        Unit::Count,
        "Connections that were to begin with a header of the PROXY protocol or did, by outcome"
    );
}

/// The methods that get a label of their own. Clients choose methods freely, so any other is `other`: a label
/// set that clients can grow would fill the memory of every scraper.
const METHODS: [&str; 26] = [
    // First, because it is looked for most.
    "tools/call",
    "completion/complete",
    "initialize",
    "logging/setLevel",
    "notifications/cancelled",
    "notifications/initialized",
    "notifications/progress",
    "notifications/roots/list_changed",
    "ping",
    "prompts/get",
    "prompts/list",
    "resources/directory/read",
    "resources/list",
    "resources/read",
    "resources/subscribe",
    "resources/templates/list",
    "resources/unsubscribe",
    "server/discover",
    "skills/get",
    "skills/list",
    "subscriptions/listen",
    "tasks/cancel",
    "tasks/get",
    "tasks/list",
    "tasks/update",
    "tools/list",
];

/// Every method that this server knows.
pub(crate) fn methods() -> impl Iterator<Item = &'static str> {
    METHODS.into_iter()
}

/// How many labels there are.
pub(super) const METHOD_LABELS: usize = METHODS.len() + 1;

/// The label of a method.
#[must_use]
pub(crate) fn method_label(method: &str) -> &'static str {
    label_at(method_index(method))
}

/// Where the label of a method is.
pub(super) fn method_index(method: &str) -> usize {
    let known = METHODS.iter().position(|known| *known == method);
    known.unwrap_or(METHODS.len())
}

/// The label that is there.
pub(super) fn label_at(index: usize) -> &'static str {
    METHODS.get(index).copied().unwrap_or("other")
}
