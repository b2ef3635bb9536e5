//! What is told of who did what: the audit log, a line for each act, and alarms, which warn of what looks like an
//! attack. Nothing is blocked here.
//!
//! `log` writes the lines, `alarms` counts what is suspicious. Others call [`Audit`]: all that it does is bounded,
//! and none of it waits.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use crate::config::AuditSettings;
#[cfg(feature = "cli")]
use crate::config::AuditTo;
use crate::session::{NodeId, Peer, Principal, SessionId};

mod act;
mod alarms;
mod line;
mod log;
mod sketch;

pub(crate) use act::{Act, Actor, CameFrom, EndedBy};
pub(crate) use alarms::{Alarms, network_of};
pub use log::AuditError;

use line::AuditLine;
use log::AuditLog;
use sketch::{Sketch, WINDOW};

/// The reason of refusals for want of scopes.
const SCOPE: &str = "insufficient_scope";
/// What is said for a reason of callers who are too many to be told apart.
const VARIOUS: &str = "various";
/// How often it is looked for counts that are to be told.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// The most bytes of a client's text in a line: its agent's name, its own name, a tool's name.
pub(crate) const TEXT_BYTES_MAX: usize = 256;

/// The audit log and the alarms of a node. Clones are the same.
#[derive(Debug, Clone)]
pub(crate) struct Audit(Arc<AuditInner>);

#[derive(Debug)]
struct AuditInner {
    node: Box<str>,
    /// Where lines go; `None` while the log is off.
    log: Option<AuditLog>,
    /// Whether lines have the arguments of tools.
    arguments: bool,
    denials: Sketch<Denial>,
    alarms: Alarms,
}

/// A refusal that is counted: what its line says beside the number.
#[derive(Debug, Clone, Default)]
struct Denial {
    reason: &'static str,
    principal: Option<Principal>,
    from: Option<CameFrom>,
    method: Option<Box<str>>,
}

impl Denial {
    /// Whether it stands for callers who are too many to be told apart.
    const fn is_anybodys(&self) -> bool {
        self.reason.is_empty()
    }

    fn actor(&self) -> Actor<'_> {
        Actor {
            principal: self.principal.as_ref(),
            from: self.from.as_ref(),
            method: self.method.as_deref(),
            ..Actor::default()
        }
    }
}

impl Audit {
    /// That of a node, which writes where the settings say.
    ///
    /// # Errors
    /// [`AuditError`], when the file cannot be opened.
    pub(crate) fn open(settings: &AuditSettings, node: &NodeId) -> Result<Self, AuditError> {
        Ok(Self::new(node, AuditLog::open(&settings.to)?, settings.arguments))
    }

    /// Opens what the settings name, and writes nothing.
    ///
    /// # Errors
    /// [`AuditError`].
    #[cfg(feature = "cli")]
    pub(crate) fn check(settings: &AuditSettings) -> Result<(), AuditError> {
        AuditLog::open(&settings.to).map(drop)
    }

    /// That of a command, whose own words go to standard output: it writes to a file, or nothing.
    ///
    /// # Errors
    /// [`AuditError`].
    #[cfg(feature = "cli")]
    pub(crate) fn of_command(settings: &AuditSettings, node: &NodeId) -> Result<Self, AuditError> {
        match settings.to {
            AuditTo::File(_) => Self::open(settings, node),
            AuditTo::Off | AuditTo::Stdout => Ok(Self::silent(node)),
        }
    }

    /// One that writes nothing. Alarms are raised with and without it.
    #[must_use]
    pub(crate) fn silent(node: &NodeId) -> Self {
        Self::new(node, None, false)
    }

    fn new(node: &NodeId, log: Option<AuditLog>, arguments: bool) -> Self {
        Self(Arc::new(AuditInner {
            node: node.as_str().into(),
            log,
            arguments,
            denials: Sketch::new(),
            alarms: Alarms::default(),
        }))
    }

    /// Whether lines are written. While they are not, nothing need be made ready for them.
    #[must_use]
    pub(crate) fn is_on(&self) -> bool {
        self.0.log.is_some()
    }

    /// Whether a line for a tool's call has its arguments.
    #[must_use]
    pub(crate) fn wants_arguments(&self) -> bool {
        self.0.arguments && self.is_on()
    }

    /// The alarms.
    #[must_use]
    pub(crate) fn alarms(&self) -> &Alarms {
        &self.0.alarms
    }

    /// Writes a line for an act, if lines are written.
    pub(crate) fn note(&self, actor: &Actor<'_>, act: &Act<'_>) {
        if let Some(log) = &self.0.log {
            log.write(&AuditLine::of(&self.0.node, actor, act));
        }
    }

    /// Notes that a session has ended.
    pub(crate) fn session_ended(&self, id: &SessionId, by: EndedBy, actor: &Actor<'_>) {
        if self.is_on() {
            let tag = id.tag();
            let actor = Actor {
                session: Some(&tag),
                ..*actor
            };
            self.note(&actor, &Act::SessionEnded(by));
        }
    }

    /// Notes that a request was refused. Of one reason and caller, the first is written at once, and those that
    /// follow are counted, and written together each minute.
    pub(crate) fn denied(&self, actor: &Actor<'_>, reason: &'static str) {
        match self.count_denial(actor, reason) {
            Some((denial, count)) if denial.is_anybodys() => self.note_denial(&denial, count),
            Some((_, count)) => self.note(actor, &Act::denied(reason, count)),
            None => {}
        }
    }

    /// Notes that a request lacked scopes, likewise.
    pub(crate) fn scope_denied(&self, actor: &Actor<'_>, scopes: &str, tool: Option<&str>) {
        match self.count_denial(actor, SCOPE) {
            Some((denial, count)) if denial.is_anybodys() => self.note_denial(&denial, count),
            Some(_) => self.note(actor, &Act::ScopeDenied { scopes, tool }),
            None => {}
        }
    }

    fn note_denial(&self, denial: &Denial, count: u64) {
        let reason = match denial.is_anybodys() {
            true => VARIOUS,
            false => denial.reason,
        };
        self.note(&denial.actor(), &Act::denied(reason, count));
    }

    /// Counts a refusal. Returns whose it is and how many there were, if that is to be told now.
    fn count_denial(&self, actor: &Actor<'_>, reason: &'static str) -> Option<(Denial, u64)> {
        if !self.is_on() {
            return None;
        }
        let caller = match (actor.principal, actor.from.and_then(|from| from.address)) {
            (Some(principal), _) if !principal.as_str().is_empty() => {
                format!("{reason} {}", principal.as_str())
            }
            // As limits count: a host has a whole /64.
            (_, Some(address)) => format!("{reason} {}", Peer::at(address)),
            _ => reason.to_owned(),
        };
        let denial = || Denial {
            reason,
            principal: actor.principal.cloned(),
            from: actor.from.cloned(),
            method: actor.method.map(Into::into),
        };
        self.0.denials.count(&caller, denial, 1)
    }

    /// Tells what was counted and not told yet, for as long as the node runs.
    pub(crate) async fn keep(self) {
        let mut ticks = interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.tell_counts(WINDOW);
        }
    }

    fn tell_counts(&self, rest: Duration) {
        for (denial, count) in self.0.denials.at_rest(rest) {
            self.note_denial(&denial, count);
        }
        self.0.alarms.tell_counts(rest);
    }

    /// Whether lines go to a file, which may be moved away.
    #[must_use]
    pub(crate) fn has_file(&self) -> bool {
        self.0.log.as_ref().is_some_and(AuditLog::has_file)
    }

    /// The file was moved away: the next line goes to a new one.
    pub(crate) fn reopen(&self) {
        if let Some(log) = &self.0.log {
            log.reopen();
        }
    }

    /// The node stops: tells what was counted and not told yet, and waits until the lines are written.
    pub(crate) fn close(&self) {
        self.tell_counts(Duration::ZERO);
        self.flush();
    }

    /// Waits until the lines are written, a second at most.
    pub(crate) fn flush(&self) {
        if let Some(log) = &self.0.log {
            log.flush();
        }
    }
}
