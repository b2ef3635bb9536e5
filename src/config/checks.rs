//! Checks that look at more than one setting.

use std::net::IpAddr;
use std::time::Duration;

use super::assigned::Assigned;
use super::problem::Problem;
use super::read::ListenAddress;
use super::{ClientCerts, Settings, read};

mod auth;

/// Fits defaults to what was set, and notes what they became. An operator who shortens `session.ttl` need not
/// know which other settings may not be longer.
pub(super) fn fit_defaults(settings: &mut Settings, seen: &mut [Assigned]) {
    let default = |name: &str| seen.iter().position(|a| a.name == name && a.is_default());
    let mut fitted = Vec::new();
    let ttl = settings.session.ttl;
    if let Some(place) = default("session.uninitialized_ttl") {
        let life = &mut settings.session.uninitialized_ttl;
        shorten(life, ttl, place, &mut fitted);
    }
    if let Some(place) = default("stream.ttl") {
        shorten(&mut settings.stream.ttl, ttl, place, &mut fitted);
    }
    for Divided { node_max, peer, .. } in divided(settings) {
        let (name, peer_max) = peer;
        if let Some(place) = default(name) {
            *peer_max = most_of(node_max);
            fitted.push((place, peer_max.to_string()));
        }
    }
    for (place, value) in fitted {
        if let Some(assigned) = seen.get_mut(place) {
            assigned.fit(value);
        }
    }
}

fn shorten(life: &mut Duration, most: Duration, place: usize, fitted: &mut Vec<(usize, String)>) {
    if *life > most {
        *life = most;
        fitted.push((place, read::spell(most)));
    }
}

/// Fits shares to their wholes, in settings made in code. A program that makes a whole smaller need not know
/// which shares may not be larger. (Settings from a file or the environment are refused instead.)
pub(crate) fn fit_shares(mut settings: Settings) -> Settings {
    for Divided { node_max, peer, .. } in divided(&mut settings) {
        let (_, peer_max) = peer;
        if *peer_max > node_max {
            *peer_max = most_of(node_max);
        }
    }
    settings
}

/// A limit of a node or a store, and the part of it that one peer may take.
struct Divided<'a> {
    node: &'static str,
    node_max: usize,
    peer: (&'static str, &'a mut usize),
}

/// The share of one peer, where it is not set: four fifths, so that the last fifth is left for others.
pub(crate) const fn most_of(node_max: usize) -> usize {
    node_max.saturating_mul(4).div_ceil(5)
}

/// `divided!(settings, call.node_max / peer_max)`: what there is of something, and a peer's part of it.
macro_rules! divided {
    ($settings:ident, $($part:ident . $node:ident / $peer:ident),* $(,)?) => {
        [$(Divided {
            node: concat!(stringify!($part), ".", stringify!($node)),
            node_max: $settings.$part.$node,
            peer: (
                concat!(stringify!($part), ".", stringify!($peer)),
                &mut $settings.$part.$peer,
            ),
        }),*]
    };
}

fn divided(settings: &mut Settings) -> [Divided<'_>; 6] {
    divided!(
        settings,
        session.max / peer_max,
        http.connections_max / connections_peer_max,
        call.node_max / peer_max,
        listen.node_max / peer_max,
        stream.node_max / peer_max,
        task.node_max / peer_max,
    )
}

/// The problems between settings. Settings that are wrong by themselves are skipped: they hold their default,
/// which nobody asked for.
pub(super) fn across(settings: &Settings, seen: &[Assigned], problems: &[Problem]) -> Vec<Problem> {
    let right = |name: &str| problems.iter().all(|problem| problem.setting != name);
    let mut found = Vec::new();
    let mut report = |name: &str, other: &str, expected: String| {
        if let Some(assigned) = seen.iter().find(|assigned| assigned.name == name)
            && right(name)
            && right(other)
        {
            found.push(assigned.problem(expected));
        }
    };

    let session = &settings.session;
    if session.uninitialized_ttl > session.ttl {
        let expected = format!("expected at most session.ttl, which is {:?}", session.ttl);
        report("session.uninitialized_ttl", "session.ttl", expected);
    }
    if settings.stream.ttl > session.ttl {
        let expected = format!("expected at most session.ttl, which is {:?}", session.ttl);
        report("stream.ttl", "session.ttl", expected);
    }
    for Divided { node, node_max, peer } in divided(&mut settings.clone()) {
        let (name, peer_max) = peer;
        if *peer_max > node_max {
            let expected = format!("expected at most {node}, which is {node_max}");
            report(name, node, expected);
        }
    }
    if is_taken(settings) {
        let expected = "expected another address: port and host listen there".to_owned();
        report("http.probe_listen", "port", expected);
    }
    match (&settings.store.cert_file, &settings.store.key_file) {
        (Some(_), None) => report("store.key_file", "store.cert_file", needs("store.cert_file")),
        (None, Some(_)) => report("store.cert_file", "store.key_file", needs("store.key_file")),
        _ => {}
    }
    for (name, other, expected) in auth::problems(settings) {
        report(&name, &other, expected);
    }
    for (name, other, expected) in of_tls(settings) {
        report(name, other, expected.to_owned());
    }
    if settings.http.proxy_protocol && settings.http.trusted_proxies.is_empty() {
        let expected = "expected false, or http.trusted_proxies to list the proxies that send the header";
        report("http.proxy_protocol", "http.trusted_proxies", expected.to_owned());
    }
    found
}

/// What is wrong among the settings of TLS: the setting, the other one, and what would be right.
fn of_tls(settings: &Settings) -> Vec<(&'static str, &'static str, &'static str)> {
    const CERT: &str = "tls.cert_file";
    const KEY: &str = "tls.key_file";
    const CA: &str = "tls.client_ca_file";
    const CERTS: &str = "tls.client_certs";
    let tls = &settings.tls;
    let mut wrong = Vec::new();
    match (&tls.cert_file, &tls.key_file) {
        (Some(_), None) => wrong.push((
            KEY,
            CERT,
            "expected a file, because tls.cert_file is set: TLS needs both",
        )),
        (None, Some(_)) => wrong.push((
            CERT,
            KEY,
            "expected a file, because tls.key_file is set: TLS needs both",
        )),
        _ => {}
    }
    if tls.is_on() && settings.host.starts_with("unix:") {
        wrong.push((
            CERT,
            "host",
            "expected empty, because HOST is a Unix socket, which has no TLS",
        ));
    }
    match (tls.client_certs, &tls.client_ca_file) {
        // Who names authorities means to have certificates checked, and nobody would be asked for one.
        (ClientCerts::Off, Some(_)) => {
            wrong.push((
                CERTS,
                CA,
                "expected optional or required, because tls.client_ca_file is set",
            ));
        }
        (ClientCerts::Off, None) => {}
        (_, None) => wrong.push((
            CA,
            CERTS,
            "expected a file, because tls.client_certs asks clients for certificates",
        )),
        (_, Some(_)) if !tls.is_on() => {
            wrong.push((
                CERTS,
                CERT,
                "expected off, or tls.cert_file to be set: without TLS there are no certificates",
            ));
        }
        _ => {}
    }
    wrong
}

/// Whether `http.probe_listen` is where the node listens anyway.
fn is_taken(settings: &Settings) -> bool {
    match ListenAddress::parse(&settings.http.probe_listen) {
        None => false,
        Some(ListenAddress::Unix(path)) => settings.host.strip_prefix("unix:") == Some(path),
        Some(ListenAddress::Tcp(host, port)) => {
            port != 0 && port == settings.port && overlap(host, &settings.host)
        }
    }
}

/// Whether what listens at one host takes the port of the other. The address of all of IPv6 is that of IPv4 too.
fn overlap(one: &str, other: &str) -> bool {
    let address = |host: &str| host.parse::<IpAddr>().ok();
    match (address(one), address(other)) {
        (Some(one), Some(other)) => {
            let covers =
                |all: IpAddr, other: IpAddr| all.is_unspecified() && (all.is_ipv6() || other.is_ipv4());
            one == other || covers(one, other) || covers(other, one)
        }
        _ => one == other,
    }
}

fn needs(other: &str) -> String {
    format!("expected a file, because {other} is set: a client certificate needs both")
}
