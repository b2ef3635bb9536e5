//! In the place of TLS, in a program that is built without the feature `tls`.

pub(crate) use std::convert::Infallible as Tls;
use std::future::{Ready, ready};
use std::sync::Arc;
use std::time::Duration;

use super::tls_error::TlsError;
use crate::audit::Audit;
use crate::config::TlsSettings;

/// None, unless the settings ask for it.
///
/// # Errors
/// [`TlsError`], when they do.
pub(crate) fn load(settings: &TlsSettings) -> Result<Option<Tls>, TlsError> {
    match settings.is_on() {
        true => Err(TlsError::setting(
            "tls.cert_file",
            "it is set, and this program was built without the feature `tls`".to_owned(),
        )),
        false => Ok(None),
    }
}

/// Never called.
pub(super) fn accept<S>(tls: &Tls, _stream: S, _within: Duration) -> Ready<Option<(S, Option<Arc<str>>)>> {
    match *tls {}
}

/// Never called.
pub(crate) fn keep_fresh(tls: Tls, _audit: Audit) -> Ready<()> {
    match tls {}
}
