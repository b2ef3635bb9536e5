//! Rates that settings leave open: how often an attacker may ask.

use crate::config::Settings;
use crate::http::is_loopback;

/// What these settings leave open, in words that say how to close it.
pub(super) fn left_open(settings: &Settings) -> Vec<String> {
    let limit = &settings.limit;
    let local = is_loopback(&settings.host) || settings.host.starts_with("unix:");
    let by_address = [
        ("limit.address", limit.address),
        ("limit.initialize_address", limit.initialize_address),
        ("limit.failures_address", limit.failures_address),
    ];
    let by_principal = [
        ("limit.principal", limit.principal),
        ("limit.initialize_principal", limit.initialize_principal),
    ];
    let set = |all: &[(&'static str, Option<_>)]| {
        all.iter().find(|(_, rate)| rate.is_some()).map(|(name, _)| *name)
    };
    let mut open = Vec::new();
    if !local && limit.address.or(limit.principal).is_none() {
        open.push(
            "open door: there is no limit of how often clients may ask; set limit.address, limit.principal or both, here or in the \
             balancer"
                .to_owned(),
        );
    }
    if !local && settings.auth.knows_credentials() && limit.failures_address.is_none() {
        open.push(
            "open door: tokens may be guessed as often as one likes; set limit.failures_address, here or in the balancer".to_owned(),
        );
    }
    if let Some(name) = set(&by_address)
        && settings.http.trusted_proxies.is_empty()
    {
        open.push(format!(
            "{name} is set and http.trusted_proxies is empty: behind a balancer all clients have its address, and share one limit; list \
             the balancer, if there is one"
        ));
    }
    if let Some(name) = set(&by_principal)
        && !settings.knows_credentials()
    {
        open.push(format!(
            "{name} is set, and no credentials are asked for: it limits nobody; ask for credentials (auth.*), or limit addresses"
        ));
    }
    open
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::Rate;

    fn open(change: impl FnOnce(&mut Settings)) -> Vec<String> {
        let mut settings = Settings::default();
        change(&mut settings);
        left_open(&settings)
    }

    fn some() -> Option<Rate> {
        Rate::new(10, Duration::from_secs(1), 100)
    }

    fn with_token(settings: &mut Settings) {
        let token = "0123456789abcdef".into();
        settings.auth.tokens.insert("alice".into(), token);
    }

    #[test]
    fn what_may_be_asked_without_end_is_told_with_how_to_end_it() {
        let everywhere = open(|settings| settings.host = "0.0.0.0".into());
        assert_eq!(everywhere.len(), 1, "{everywhere:?}");
        assert!(everywhere[0].contains("limit.address"), "{everywhere:?}");
        let guessed = open(|settings| {
            settings.host = "0.0.0.0".into();
            settings.limit.principal = some();
            with_token(settings);
        });
        assert_eq!(guessed.len(), 1, "{guessed:?}");
        assert!(guessed[0].contains("limit.failures_address"), "{guessed:?}");
        let shared = open(|settings| settings.limit.failures_address = some());
        assert!(shared[0].contains("http.trusted_proxies"), "{shared:?}");
        let nobody = open(|settings| settings.limit.principal = some());
        assert!(nobody[0].contains("limits nobody"), "{nobody:?}");
    }

    #[test]
    fn what_is_limited_or_local_is_not_told_of() {
        assert_eq!(open(|_| {}), [""; 0]);
        let limited = open(|settings| {
            settings.host = "0.0.0.0".into();
            settings.http.trusted_proxies = vec!["10.0.0.5".into()];
            settings.limit.principal = some();
            settings.limit.failures_address = some();
            with_token(settings);
        });
        assert_eq!(limited, [""; 0]);
    }
}
