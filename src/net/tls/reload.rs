//! Takes the files up when they change, and warns before the certificate expires.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use humantime_serde::re::humantime::format_rfc3339_seconds;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::spawn_blocking;
use tokio::time::interval;
use tracing::{info, warn};

use super::config::TlsFiles;
use super::current::Tls;
use crate::audit::{Act, Actor, Audit};
use crate::causes::causes;
use crate::net::tls_error::TlsError;

/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// From when on before its end, and then how often, a certificate is warned of.
const EXPIRY_TOLD_BEFORE: Duration = Duration::from_secs(14 * 24 * 60 * 60);
const EXPIRY_TOLD_EVERY: Duration = Duration::from_secs(24 * 60 * 60);

/// Takes the files up again when they change, and warns before the certificate expires. Never ends.
pub(crate) async fn keep_fresh(tls: Tls, audit: Audit) {
    let mut hangups = signal(SignalKind::hangup())
        .inspect_err(|error| warn!(error = %causes(error), "SIGHUP is not listened for"))
        .ok();
    let mut looks = interval(LOOK_EVERY);
    let (mut seen, mut told) = (SeenFiles::Digest(tls.first_digest()), None);
    loop {
        let hangup = async {
            match &mut hangups {
                Some(hangups) => drop(hangups.recv().await),
                None => std::future::pending().await,
            }
        };
        let asked = tokio::select! {
            _at = looks.tick() => false,
            () = hangup => true,
        };
        look(&tls, &mut seen, asked, &audit).await;
        let expires = tls.facts().expires;
        if is_to_be_told(expires, told, now_seconds()) {
            told = Some(now_seconds());
            warn!(expires = %date(expires), "{}", words_on_expiry(expires, now_seconds()));
        }
    }
}

/// What was found when the files were looked at last. It is told of once.
#[derive(Debug, PartialEq, Eq)]
enum SeenFiles {
    Digest([u8; 32]),
    Unreadable(TlsError),
}

/// Takes up what the files hold if that has changed, or if an operator has asked.
async fn look(tls: &Tls, seen: &mut SeenFiles, asked: bool, audit: &Audit) {
    let settings = tls.settings().clone();
    let read = spawn_blocking(move || {
        let files = TlsFiles::read(&settings);
        let found = match &files {
            Ok(files) => SeenFiles::Digest(files.digest()),
            Err(error) => SeenFiles::Unreadable(error.clone()),
        };
        (found, files.and_then(|files| files.to_config(&settings)))
    });
    let Ok((found, fresh)) = read.await else { return };
    if *seen == found && !asked {
        return;
    }
    // When it is asked for, the files are taken up as they are; only others are news for the audit log.
    let changed = *seen != found;
    *seen = found;
    match fresh {
        Ok(fresh) => {
            info!(expires = %date(fresh.facts.expires), "new connections have the certificate in tls.cert_file");
            tls.take_up(fresh);
            if changed {
                note(audit, "in use");
            }
        }
        Err(error) => {
            warn!(%error, "the files of TLS cannot be used: what was in use before stays");
            if changed {
                note(audit, "unusable");
            }
        }
    }
}

/// Notes in the audit log what became of other files.
fn note(audit: &Audit, outcome: &'static str) {
    audit.note(&Actor::default(), &Act::CertificateChanged { outcome });
}

/// Whether a certificate that expires then is to be warned of. Both in unix seconds.
pub(crate) const fn expires_soon(expires: u64, now: u64) -> bool {
    expires < now.saturating_add(EXPIRY_TOLD_BEFORE.as_secs())
}

/// Whether the log is to tell of that now, when it was last told so.
const fn is_to_be_told(expires: u64, told: Option<u64>, now: u64) -> bool {
    let is_due = match told {
        Some(told) => now.saturating_sub(told) >= EXPIRY_TOLD_EVERY.as_secs(),
        None => true,
    };
    is_due && expires_soon(expires, now)
}

/// What an operator is told of a certificate that expires soon or has expired.
fn words_on_expiry(expires: u64, now: u64) -> &'static str {
    match expires <= now {
        true => "the certificate in tls.cert_file has expired: clients that check it refuse to connect",
        false => "the certificate in tls.cert_file expires soon: put another in its place",
    }
}

fn now_seconds() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

/// A moment in unix seconds, as a date.
fn date(seconds: u64) -> String {
    const DATED_MAX: u64 = 253_402_300_799; // the last year of four digits
    format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(seconds.min(DATED_MAX))).to_string()
}

#[cfg(test)]
#[path = "reload_tests.rs"]
mod tests;
