//! `mcp-server check`: are the settings right, can the address be had, and does the store do what a node
//! needs?

use std::time::Duration;

use anyhow::{Context as _, ensure};
use rmcp::model::{ClientCapabilities, Implementation};
use tokio::time::Instant;

use super::failure::Several;
use super::program::Program;
use super::{Exit, print, unix_ms};
use crate::app::{AppError, files, open};
use crate::audit::Audit;
use crate::auth;
use crate::config::{ClientCerts, Loaded, Settings};
use crate::net::listener::BoundListener;
use crate::net::tls::{self, CertificateFacts};
use crate::protocol::era::Revision;
use crate::session::{NodeId, Principal, SessionId, SessionRecord, TransportKind};
use crate::store::{Created, Ended, SessionRoom, Store};

mod doors;
mod findings;
mod rates;

use findings::Findings;

/// How long the session of the round trip lives at most: long enough for a slow store, short enough to be no
/// litter.
const PROBE_TTL: Duration = Duration::from_secs(10);

/// What `check` takes.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct CheckArguments {
    /// Answer in JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Checks the store and the address, and prints what was found. The settings were checked when they were
/// loaded.
///
/// # Errors
/// When the store cannot be opened, does not answer, or does not keep what it is given; when the address
/// cannot be listened on; or both.
pub(crate) async fn run(arguments: &CheckArguments, loaded: &Loaded) -> anyhow::Result<Exit> {
    let settings = &loaded.settings;
    let store_and_address = Several::both(ask_store(settings).await, listen(settings).await);
    let ((mut findings, address), certificate) = Several::both(store_and_address, certificate(settings))?;
    Audit::check(&settings.audit).map_err(AppError::from)?;
    findings.address = address;
    findings.certificate = certificate;
    findings.others = doors::left_open(settings);
    let issuers = auth::examine_issuers(&settings.auth).await;
    findings
        .others
        .extend(issuers.context("issuers cannot be asked")?);
    findings.others.extend(unanswered_checks(settings));
    findings.others.extend(rates::left_open(settings));
    findings
        .others
        .extend(files::too_low(settings, files::raise_limit()));
    findings.others.extend(loaded.foreign_variables());
    let assigned: Vec<_> = loaded.assigned().collect();
    print::remark(if arguments.json {
        format!("{:#}", findings.to_json(&assigned))
    } else {
        findings.to_text(&assigned)
    });
    Ok(Exit::Ok)
}

/// Listens as a node would, and lets go of the address again. Returns where.
async fn listen(settings: &Settings) -> anyhow::Result<String> {
    // A node that runs has its address: `check` may still be wanted for the rest.
    let bound = BoundListener::bind(settings).await.map_err(AppError::from);
    let bound = bound.context(
        "the address cannot be had (beside a node that runs, add --port 0, or --host 127.0.0.1 --port 0)",
    )?;
    let probes = BoundListener::bind_probes(settings).await.map_err(AppError::from);
    let probes = probes.context(
        "the address of health and metrics cannot be had (beside a node that runs, add --set http.probe_listen=)",
    );
    let probes = match probes {
        Ok(probes) => probes,
        Err(error) => {
            bound.release();
            return Err(error);
        }
    };
    let address = match settings.port {
        0 if !settings.host.starts_with("unix:") => "a free port, as PORT=0 says".to_owned(),
        _ => bound.address().to_owned(),
    };
    bound.release();
    Ok(match probes {
        None => address,
        Some(probes) => {
            let with_probes = format!("{address}, and {} for health and metrics", probes.address());
            probes.release();
            with_probes
        }
    })
}

/// What the certificate says that a node would show, if it has one.
fn certificate(settings: &Settings) -> anyhow::Result<Option<CertificateFacts>> {
    let tls = tls::load(&settings.tls)?;
    Ok(tls.map(|tls| tls.facts()))
}

/// A warning of health checks that would get no answer.
fn unanswered_checks(settings: &Settings) -> Option<String> {
    let refused = settings.tls.client_certs == ClientCerts::Required && settings.http.probe_listen.is_empty();
    refused.then(|| {
        "tls.client_certs is required: health checks that show no certificate are refused; set http.probe_listen to give them \
         an address of their own"
            .to_owned()
    })
}

async fn ask_store(settings: &Settings) -> anyhow::Result<Findings> {
    let store = open::store(settings).await?;
    let findings = examine(&*store).await;
    store.close().await;
    findings
}

async fn examine(store: &dyn Store) -> anyhow::Result<Findings> {
    let round_trip = round_trip(store)
        .await
        .context("the store could not keep a session")?;
    let before_ms = unix_ms();
    let report = store.report().await?;
    let here_ms = u64::midpoint(before_ms, unix_ms());
    Ok(Findings {
        kind: store.profile().kind,
        round_trip,
        clock_ahead_ms: report.clock_ms.map(|there| difference(there, here_ms)),
        report,
        address: String::new(),
        certificate: None,
        others: vec![],
    })
}

fn difference(there: u64, here: u64) -> i64 {
    i64::try_from(i128::from(there) - i128::from(here)).unwrap_or(i64::MAX)
}

/// Makes a session, reads it back and ends it, under an id that nobody else has.
async fn round_trip(store: &dyn Store) -> anyhow::Result<Duration> {
    let (id, record) = (SessionId::generate(), probe());
    let room = SessionRoom::boundless("check");
    let started = Instant::now();
    let created = store.create(&id, &record, PROBE_TTL, &room).await?;
    ensure!(
        created != Created::Collision,
        "a fresh session id was taken already"
    );
    let loaded = store.load(&id, None).await?;
    let ended = store.end(&id, None).await?;
    let took = started.elapsed();
    ensure!(
        loaded.as_ref() == Some(&record),
        "a session was not read back as it was written"
    );
    ensure!(ended != Ended::Gone, "a session was gone before it was ended");
    Ok(took)
}

fn probe() -> SessionRecord {
    let now_ms = unix_ms();
    SessionRecord {
        revision: Revision::NEWEST_LEGACY,
        transport: TransportKind::Streamable,
        client_info: Implementation::new(
            format!("{} check", Program::this().name),
            env!("CARGO_PKG_VERSION"),
        ),
        capabilities: ClientCapabilities::default(),
        initialized: false,
        created_at_ms: now_ms,
        last_activity_ms: now_ms,
        node_id: NodeId::generate(now_ms),
        principal: Principal::anonymous(),
        log_level: None,
        subscriptions: [].into(),
        agent: String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_differ_either_way() {
        assert_eq!(difference(5, 8), -3);
        assert_eq!(difference(8, 5), 3);
        assert_eq!(difference(u64::MAX, 0), i64::MAX);
    }
}
