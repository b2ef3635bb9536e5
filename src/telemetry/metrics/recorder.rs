//! Where metrics go: to Prometheus, unless the program that embeds the node has a recorder of its own.

use std::sync::OnceLock;

use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};

use super::{CALL_BUCKETS_SECONDS, REQUEST_SECONDS, STORE_BUCKETS_SECONDS};
use crate::causes::causes;

static RECORDER: OnceLock<Option<PrometheusHandle>> = OnceLock::new();

/// Begins to record. When the program that embeds the server has a recorder of its own, that one gets the
/// metrics, and [`render`] has none; it must keep series that are idle, because they are looked up once.
pub(super) fn install() {
    RECORDER.get_or_init(|| {
        let installed = builder().and_then(PrometheusBuilder::install_recorder);
        installed
            .inspect_err(
                |error| tracing::warn!(error = %causes(error), "metrics go to another recorder: /metrics stays empty"),
            )
            .ok()
    });
}

pub(super) fn builder() -> Result<PrometheusBuilder, BuildError> {
    PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Full(REQUEST_SECONDS.into()), &CALL_BUCKETS_SECONDS)?
        .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &STORE_BUCKETS_SECONDS)
}

/// What was recorded, in Prometheus' text format.
pub(super) fn render() -> String {
    handle().map(PrometheusHandle::render).unwrap_or_default()
}

/// Folds what was recorded into histograms.
pub(super) fn upkeep() {
    if let Some(handle) = handle() {
        handle.run_upkeep();
    }
}

fn handle() -> Option<&'static PrometheusHandle> {
    RECORDER.get()?.as_ref()
}
