//! Logs go to standard error, from a thread of their own; metrics are in [`metrics`].

use std::io::{self, IsTerminal};
use std::panic;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use ::metrics::Counter;
use tracing::Level;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::{LevelFilter, ParseError, filter_fn};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

use crate::config::{LogFormat, LogSettings};

mod lines;
pub(crate) mod metrics;
mod seldom;
mod span_fields;

use lines::LOG_WAITING;
pub(crate) use lines::{Lines, LinesKind, WaitingLines};
pub(crate) use seldom::{seldom, tell_left_out};
use span_fields::SpanFields;

/// How long a process that ends waits until its logs are written: their reader may be stuck.
const FLUSH_WITHIN: Duration = Duration::from_secs(1);

/// The lines that wait to be written, once logs are set up.
static WAITING: OnceLock<Arc<WaitingLines>> = OnceLock::new();

/// Why logs could not be set up.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TelemetryError {
    /// `log.level` is not a filter.
    #[error("log.level is not a tracing filter")]
    Filter(#[from] ParseError),
    /// The thread that writes them could not be started.
    #[error("the thread that writes logs could not be started")]
    Thread(#[source] io::Error),
    /// Somebody else writes this process's logs already.
    #[error("logs are set up already in this process")]
    Taken(#[from] TryInitError),
}

/// Sends this process's logs to standard error, as text on a terminal and as JSON otherwise, or as set. A
/// thread of its own writes them: lines that cannot be written, or that come faster than they are, are
/// dropped and counted. A process that ends calls [`flush`], or holds [`AtEnd`] until then.
///
/// # Errors
/// As [`TelemetryError`] says.
pub(crate) fn init(settings: &LogSettings) -> Result<(), TelemetryError> {
    let filter = EnvFilter::try_new(&settings.level)?;
    let held = filter_fn(|metadata| may_be_logged(metadata.target(), metadata.level()));
    let terminal = io::stderr().is_terminal();
    // Metrics are installed later than logs: they ask for this number (`lines_dropped`).
    let lines = Lines::start(io::stderr(), LOG_WAITING, Counter::noop(), |_waiting, dropped| {
        tracing::warn!(
            dropped,
            "lines of this log were dropped: they could not be written, or not fast enough"
        );
    });
    let lines = lines.map_err(TelemetryError::Thread)?;
    let waiting = Arc::clone(lines.waiting());
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        // It would say so on standard error, and panic when that is gone.
        .log_internal_errors(false)
        .with_writer(lines);
    let text = match settings.format {
        LogFormat::Auto => terminal,
        LogFormat::Text => true,
        LogFormat::Json => false,
    };
    if text {
        builder.with_ansi(terminal).finish().with(held).try_init()?;
    } else {
        // The request's span holds all there is to know: a list of spans would only repeat it.
        builder
            .json()
            .flatten_event(true)
            .with_span_list(false)
            .fmt_fields(SpanFields)
            .finish()
            .with(held)
            .try_init()?;
    }
    drop(WAITING.set(waiting));
    panic::set_hook(Box::new(|panic| {
        // Where, not what: the words of a panic may hold what a client sent.
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        seldom(&place, |left_out| {
            tracing::error!(place, left_out, "a task panicked")
        });
    }));
    Ok(())
}

/// Waits until what was logged has been written, a second at most.
pub(crate) fn flush() {
    seldom::tell_all_left_out();
    if let Some(waiting) = WAITING.get() {
        waiting.flush(FLUSH_WITHIN);
    }
}

/// How many lines were dropped since the process started.
fn lines_dropped() -> u64 {
    WAITING.get().map_or(0, |waiting| waiting.dropped())
}

/// Waits for the logs, as [`flush`] does, when it is dropped.
#[derive(Debug)]
pub(crate) struct AtEnd;

impl Drop for AtEnd {
    fn drop(&mut self) {
        flush();
    }
}

/// Crates that are held at a level under every filter. Above it rmcp logs what clients send and what
/// they are answered, with session ids and tokens in it: a log must hold none of these. fred warns of what
/// the store tells better, once and with the cure.
const HELD: [(&str, LevelFilter); 2] = [("rmcp", LevelFilter::WARN), ("fred", LevelFilter::ERROR)];

/// Whether lines of that target and level may be logged at all.
fn may_be_logged(target: &str, level: &Level) -> bool {
    let is_of = |name: &str| {
        let rest = target.strip_prefix(name);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
    };
    let held = HELD.iter().find(|(name, _)| is_of(name));
    held.is_none_or(|(_, most)| level <= most)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Else each request would ask whether its line is wanted.
    #[test]
    fn what_is_off_stays_off_at_no_cost() {
        let filtered = tracing_subscriber::fmt().with_env_filter("info").finish();
        let held = filter_fn(|metadata| may_be_logged(metadata.target(), metadata.level()));
        let most = tracing::Subscriber::max_level_hint(&filtered.with(held));
        assert_eq!(most, Some(LevelFilter::INFO));
    }

    #[test]
    fn crates_that_log_what_clients_send_are_held_at_what_does_not() {
        assert!(may_be_logged("anynode::http", &Level::TRACE));
        assert!(may_be_logged("rmcp::service", &Level::WARN));
        assert!(!may_be_logged("rmcp::service", &Level::INFO));
        assert!(!may_be_logged("rmcp", &Level::DEBUG));
        assert!(may_be_logged("rmcp_of_mine", &Level::DEBUG));
        assert!(!may_be_logged("fred", &Level::WARN));
    }
}
