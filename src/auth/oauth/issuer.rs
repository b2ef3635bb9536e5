//! One issuer, and its keys. One task fetches them; requests look, ask the task when a key is missing, and wait for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures::FutureExt as _;
use tokio::sync::{Notify, Semaphore, watch};
use tokio::time::{Instant, sleep_until, timeout};
use tracing::{info, warn};
use url::Url;

use super::super::cache::KeysSeen;
use super::super::denied::Denied;
use super::fetch::{FetchError, Fetcher, FetcherError};
use super::key_set::{IssuerKeys, KeySetError};
use super::metadata::{self, Metadata, MetadataError};
use crate::audit::{Act, Actor, Audit};
use crate::causes::causes;
use crate::config::AuthSettings;
use crate::telemetry::metrics;

/// A key that nobody knows has the keys fetched again at once, and then once in so long: tokens that are made up must not flood an
/// issuer.
const FORCED_EVERY: Duration = Duration::from_secs(30);
/// How soon keys are fetched again that could not be: twice as late after each failure.
const RETRY_FIRST: Duration = Duration::from_secs(1);
const RETRY_LAST: Duration = Duration::from_secs(60);
/// How many requests wait for keys at once.
const WAITING_MAX: usize = 64;
/// How long one waits: for two documents.
const WAIT_AT_MOST: Duration = Duration::from_secs(8);

/// When clocks differ by more than that, it is told.
const CLOCKS_DIFFER: Duration = Duration::from_secs(30);

/// Why keys could not be fetched.
#[derive(Debug, thiserror::Error)]
enum KeysError {
    #[error(transparent)]
    Metadata(#[from] MetadataError),
    #[error("its keys cannot be read: {0}")]
    Fetch(#[from] FetchError),
    #[error("its keys: {0}")]
    IssuerKeys(#[from] KeySetError),
}

/// An issuer.
#[derive(Debug)]
pub(super) struct Issuer {
    pub(super) url: Arc<str>,
    stale: Duration,
    known: watch::Receiver<Known>,
    shared: Arc<Shared>,
    waiting: Semaphore,
}

/// What requests and the task share.
#[derive(Debug)]
struct Shared {
    asked: Notify,
    /// Counts the changes of the keys.
    changes: Arc<AtomicU64>,
}

/// What is known of an issuer's keys.
#[derive(Debug, Clone, Default)]
pub(super) struct Known {
    pub(super) keys: Arc<IssuerKeys>,
    /// When they were fetched.
    fetched_at: Option<Instant>,
    /// How often it was tried, and how that ended last.
    attempts: u64,
    failed: bool,
    /// When they were fetched last because a request asked for it.
    forced_at: Option<Instant>,
    changes: u64,
    /// The issuer's metadata.
    pub(super) document: Option<Bytes>,
}

impl Issuer {
    /// An issuer of which nothing is known yet, and the task that finds out.
    pub(super) fn new(url: &str, auth: &AuthSettings) -> Result<(Self, KeyTask), FetcherError> {
        let url: Arc<str> = url.into();
        let (tell, known) = watch::channel(Known::default());
        let shared = Arc::new(Shared {
            asked: Notify::new(),
            changes: Arc::default(),
        });
        let source = KeySource::new(&url, auth)?;
        let issuer = Self {
            url: Arc::clone(&url),
            stale: auth.keys_stale,
            known,
            shared: Arc::clone(&shared),
            waiting: Semaphore::new(WAITING_MAX),
        };
        let task = KeyTask {
            url,
            source,
            fresh: auth.keys_fresh,
            tell,
            shared,
            retry: RETRY_FIRST,
        };
        Ok((issuer, task))
    }

    /// What is known now.
    pub(super) fn known(&self) -> Known {
        self.known.borrow().clone()
    }

    /// Its keys, if they can be trusted.
    pub(super) async fn keys(&self) -> Result<Known, Denied> {
        let known = self.known();
        if self.trusts(&known) {
            return Ok(known);
        }
        // The first attempt is under way when the node starts.
        let known = match known.failed {
            true => return Err(Denied::Unavailable),
            false => self.next(&known).await?,
        };
        self.trusts(&known).then_some(known).ok_or(Denied::Unavailable)
    }

    /// Its keys as they are now, for a token that none of the keys `seen` has signed. `None` if they are the
    /// same, or were fetched so lately that nothing will have changed.
    pub(super) async fn newer(&self, seen: &Known) -> Result<Option<Known>, Denied> {
        let known = self.known();
        if known.changes != seen.changes {
            return Ok(Some(known));
        }
        let lately = known.forced_at.is_some_and(|at| at.elapsed() < FORCED_EVERY);
        let known = match (lately, known.failed) {
            // It may be signed with a key that cannot be fetched now.
            (true, true) => return Err(Denied::Unavailable),
            (true, false) => return Ok(None),
            (false, _) => self.next(&known).await?,
        };
        match known.failed {
            true => Err(Denied::Unavailable),
            false => Ok(Some(known).filter(|known| known.changes != seen.changes)),
        }
    }

    /// What is known after the next attempt.
    async fn next(&self, seen: &Known) -> Result<Known, Denied> {
        let _place = self.waiting.try_acquire().map_err(|_full| Denied::Unavailable)?;
        let mut news = self.known.clone();
        self.shared.asked.notify_one();
        let attempted = news.wait_for(|known| known.attempts != seen.attempts);
        match timeout(WAIT_AT_MOST, attempted).await {
            Ok(Ok(known)) => Ok(known.clone()),
            Ok(Err(_stopping)) => Err(Denied::Unavailable),
            Err(_late) => Err(Denied::Unavailable),
        }
    }

    fn trusts(&self, known: &Known) -> bool {
        known.fetched_at.is_some_and(|at| at.elapsed() < self.stale)
    }

    /// That state of its keys, for a token that is verified with them.
    pub(super) fn seen(&self, known: &Known) -> KeysSeen {
        KeysSeen {
            changes: Arc::clone(&self.shared.changes),
            seen: known.changes,
        }
    }
}

impl Known {
    /// How long ago the keys were fetched.
    pub(super) fn age(&self) -> Option<Duration> {
        self.fetched_at.map(|at| at.elapsed())
    }

    /// Whether it was tried in vain to fetch them, the last time.
    pub(super) const fn failed(&self) -> bool {
        self.failed
    }
}

/// Where keys come from.
#[derive(Debug)]
struct KeySource {
    issuer: Arc<str>,
    fetcher: Fetcher,
    places: Vec<Url>,
    /// Where the settings say that the keys are.
    fixed: Option<(Fetcher, Url)>,
}

impl KeySource {
    fn new(issuer: &Arc<str>, auth: &AuthSettings) -> Result<Self, FetcherError> {
        let ca_file = auth.ca_file.as_deref();
        let url: Url = issuer.parse().map_err(|_error| FetcherError::Url)?;
        let fixed = match auth.keys_url.is_empty() {
            true => None,
            false => {
                let keys_url: Url = auth.keys_url.parse().map_err(|_error| FetcherError::Url)?;
                Some((Fetcher::new(&keys_url, ca_file)?, keys_url))
            }
        };
        Ok(Self {
            issuer: Arc::clone(issuer),
            fetcher: Fetcher::new(&url, ca_file)?,
            places: metadata::places(&url),
            fixed,
        })
    }

    async fn fetch(&self) -> Result<FetchedKeys, KeysError> {
        let found = metadata::find(&self.fetcher, &self.issuer, &self.places).await;
        let (fetcher, url, document) = match (&self.fixed, found) {
            (Some((fetcher, url)), found) => (fetcher, url.clone(), found.ok().map(|found| found.document)),
            (None, Ok(Metadata { keys_url, document })) => (&self.fetcher, keys_url, Some(document)),
            (None, Err(error)) => return Err(error.into()),
        };
        let keys = fetcher.get(&url).await?;
        Ok(FetchedKeys {
            keys: IssuerKeys::parse(&keys.body)?,
            document,
            clock_ahead: keys.date.and_then(clock_ahead),
        })
    }
}

/// What was fetched.
#[derive(Debug)]
struct FetchedKeys {
    keys: IssuerKeys,
    document: Option<Bytes>,
    /// That the clocks differ, in words.
    clock_ahead: Option<String>,
}

/// A warning, in words, if the clocks of an issuer and of this machine differ by more than [`CLOCKS_DIFFER`].
fn clock_ahead(there: SystemTime) -> Option<String> {
    let here = SystemTime::now();
    let (by, which) = match there.duration_since(here) {
        Ok(by) => (by, "ahead"),
        Err(behind) => (behind.duration(), "behind"),
    };
    (by > CLOCKS_DIFFER).then(|| {
        let seconds = by.as_secs();
        format!(
            "the issuer's clock is {seconds} s {which}: tokens may be refused as expired or not yet valid"
        )
    })
}

/// Asks an issuer once, and says in words what is wrong with it or its clock, if anything is.
pub(super) async fn examine(url: &str, auth: &AuthSettings) -> Result<Option<String>, FetcherError> {
    let fetched = KeySource::new(&url.into(), auth)?.fetch().await;
    Ok(match fetched {
        Ok(fetched) if fetched.keys.len() == 0 => Some("it has no key that can verify tokens".to_owned()),
        Ok(fetched) => fetched.clock_ahead,
        Err(error) => Some(causes(&error).to_string()),
    })
}

/// Keeps the keys of one issuer.
#[derive(Debug)]
pub(crate) struct KeyTask {
    url: Arc<str>,
    source: KeySource,
    fresh: Duration,
    tell: watch::Sender<Known>,
    shared: Arc<Shared>,
    retry: Duration,
}

impl KeyTask {
    /// Fetches keys before they are old, and when a request asks for newer ones. Never ends.
    pub(crate) async fn run(mut self, audit: Audit) {
        let mut forced = None;
        loop {
            let next = self.attempt(forced, &audit).await;
            // Those that have asked meanwhile have got what they wait for.
            let _asked = self.shared.asked.notified().now_or_never();
            let last = self.tell.borrow().forced_at;
            let soonest = last.map_or_else(Instant::now, |at| at + FORCED_EVERY);
            let asked = async {
                sleep_until(soonest).await;
                self.shared.asked.notified().await;
            };
            forced = tokio::select! {
                () = sleep_until(next) => None,
                () = asked => Some(Instant::now()),
            };
        }
    }

    /// Tries once, and says when to try again.
    async fn attempt(&mut self, forced: Option<Instant>, audit: &Audit) -> Instant {
        let began = Instant::now();
        let fetched = self.source.fetch().await;
        metrics::keys_fetched(&self.url, fetched.is_ok());
        let next = match fetched {
            Ok(fetched) => {
                self.retry = RETRY_FIRST;
                if let Some(differs) = fetched.clock_ahead {
                    warn!(issuer = &*self.url, "{differs}");
                }
                self.publish(began, fetched.keys, fetched.document, audit);
                began + self.fresh
            }
            Err(error) => {
                let (issuer, age_s) = (&*self.url, self.tell.borrow().age().map(|age| age.as_secs()));
                warn!(issuer, age_s, error = %causes(&error), "the keys of an issuer could not be fetched");
                let next = Instant::now() + self.retry;
                self.retry = (self.retry * 2).min(RETRY_LAST);
                next
            }
        };
        let failed = self.retry != RETRY_FIRST;
        self.tell.send_modify(|known| {
            known.attempts += 1;
            known.failed = failed;
            known.forced_at = forced.or(known.forced_at);
        });
        next
    }

    fn publish(&self, now: Instant, keys: IssuerKeys, document: Option<Bytes>, audit: &Audit) {
        self.tell.send_modify(|known| {
            if *known.keys != keys || known.fetched_at.is_none() {
                known.changes += 1;
                info!(
                    issuer = &*self.url,
                    keys = keys.len(),
                    "the keys of an issuer are new"
                );
                // Those that a node begins with are no change.
                if known.fetched_at.is_some() {
                    let issuer = &*self.url;
                    audit.note(&Actor::default(), &Act::KeysChanged { issuer });
                }
                known.keys = Arc::new(keys);
                // Tokens that were verified with the former ones are verified again.
                self.shared.changes.store(known.changes, Ordering::Release);
            }
            known.fetched_at = Some(now);
            known.document = document;
        });
    }
}
