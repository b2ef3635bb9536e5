//! The limit on open files: each connection takes one.

use crate::config::Settings;
use crate::engine::shares::PROBES_MAX;

/// How many files a node has open besides its clients' connections: the store's connections, logs, the
/// listener.
const OTHER_FILES: u64 = 64;

/// Raises the soft limit to the hard one; systems keep it low only for old programs. Returns how many files
/// may be open then, if the system allows it.
pub(crate) fn raise_limit() -> Option<u64> {
    let raised = rlimit::increase_nofile_limit(u64::MAX);
    raised
        .inspect_err(|error| tracing::debug!(%error, "the limit on open files could not be raised"))
        .ok()
}

/// What is wrong with a limit on open files, for a node of these settings.
#[must_use]
pub(crate) fn too_low(settings: &Settings, limit: Option<u64>) -> Option<String> {
    let spare = match settings.http.probe_listen.is_empty() {
        true => PROBES_MAX,
        false => 2 * PROBES_MAX,
    };
    let connections = u64::try_from(settings.http.connections_max + spare).unwrap_or(u64::MAX);
    let stores = u64::try_from(settings.store.connections).unwrap_or(u64::MAX);
    let needed = connections.saturating_add(stores).saturating_add(OTHER_FILES);
    let limit = limit.filter(|limit| *limit < needed)?;
    Some(format!(
        "this process may have {limit} files open, and {needed} are needed for {} connections: raise the hard limit \
         (ulimit -Hn, LimitNOFILE) or lower http.connections_max",
        settings.http.connections_max
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// F10: a limit that connections would reach is told of.
    #[test]
    fn a_limit_that_is_too_low_for_the_connections_is_told_of() {
        let settings = Settings::default();
        assert_eq!(too_low(&settings, None), None);
        assert_eq!(too_low(&settings, Some(1 << 20)), None);
        let told = too_low(&settings, Some(1024)).unwrap();
        assert!(
            told.contains("1024") && told.contains("http.connections_max"),
            "{told}"
        );
    }
}
