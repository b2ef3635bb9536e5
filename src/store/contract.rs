//! The suite that every store must pass.
//!
//! [`run`] runs all of it. A case panics with a sentence that says what the store did wrong. Lives are real
//! and short, because a store may have a clock of its own: the suite takes up to half a minute.
//!
//! ```no_run
//! use anynode::store::{contract, memory::MemoryStore};
//!
//! # async fn a_store_of_your_own_keeps_the_contract() {
//! // Each call must give a store that holds nothing yet: a fresh schema, a fresh prefix.
//! contract::run(async || MemoryStore::new()).await;
//! # }
//! ```

#![expect(
    clippy::expect_used,
    reason = "it is a test: a store that fails must stop it, with words that say how"
)]

mod bounds;
mod calls;
mod cancels;
mod changes;
mod claims;
mod leftovers;
mod lives;
mod messages;
mod nodes;
mod notebooks;
mod rates;
mod retries;
mod secrets;
mod sessions;
mod sightings;
mod standby;
mod state;
mod streams;
mod tasks;
mod versions;

pub use leftovers::leaves_nothing_behind;

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::{self, StreamExt};
use tokio::time::{Instant, sleep};

use super::streams::{Holder, StreamId, holder_of};
use super::{SessionRoom, Store};
use crate::protocol::era::Revision;
use crate::session::state::StateRoom;
use crate::session::{NodeId, Principal, SessionId, SessionRecord, TransportKind};

/// A life that does not end during the suite.
const LONG: Duration = Duration::from_secs(120);
/// A life that ends during the suite, long enough for a busy machine to do a few things within it.
const SHORT: Duration = Duration::from_secs(3);
/// The age of a call that begins just now.
const NEW: Duration = Duration::ZERO;
/// How long to wait for what must happen.
const PATIENCE: Duration = Duration::from_secs(20);
/// How many cases run at once. What a case does within [`SHORT`] must not wait for all the others.
const CASES: usize = 8;
/// More than any case wants.
const ROOM: SessionRoom<'static> = SessionRoom::boundless("peer");
/// More notebooks, or tasks, than any case wants.
const STATE_ROOM: StateRoom<'static> = StateRoom {
    peer: "peer",
    peer_max: 1000,
};
/// How many write at once where atomicity is tested.
const WRITERS: usize = 64;

/// Runs every case on a store of its own.
///
/// # Panics
/// When the store breaks the contract. The message says how.
#[expect(clippy::too_many_lines, reason = "it is a list")]
pub async fn run<S: Store>(make: impl AsyncFn() -> S) {
    type Case = fn(Arc<dyn Store>) -> Pin<Box<dyn Future<Output = ()>>>;
    let cases: [Case; 70] = [
        |store| Box::pin(sessions::reads_back_what_was_written(store)),
        |store| Box::pin(sessions::refuses_an_id_that_is_taken(store)),
        |store| Box::pin(sessions::lets_one_of_many_creators_win(store)),
        |store| Box::pin(sessions::forgets_what_has_expired(store)),
        |store| Box::pin(sessions::renews_lives(store)),
        |store| Box::pin(sessions::says_what_is_absent(store)),
        |store| Box::pin(sessions::ends_those_of_an_owner(store)),
        |store| Box::pin(sessions::brings_nothing_back(store)),
        |store| Box::pin(changes::keeps_changes(store)),
        |store| Box::pin(changes::bounds_subscriptions(store)),
        |store| Box::pin(changes::knows_who_keeps_copies(store)),
        |store| Box::pin(sessions::lists(store)),
        |store| Box::pin(sightings::notes_what_was_seen(store)),
        |store| Box::pin(state::keeps_values(store)),
        |store| Box::pin(state::swaps_only_what_is_expected(store)),
        |store| Box::pin(state::loses_no_update(store)),
        |store| Box::pin(state::bounds_keys(store)),
        |store| Box::pin(state::bounds_bytes(store)),
        |store| Box::pin(state::ends_with_its_session(store)),
        |store| Box::pin(notebooks::knows_owners(store)),
        |store| Box::pin(notebooks::forgets_what_is_not_used(store)),
        |store| Box::pin(tasks::keeps_what_is_known(store)),
        |store| Box::pin(tasks::ends_when_its_life_does(store)),
        |store| Box::pin(tasks::bounds_those_of_a_peer(store)),
        |store| Box::pin(nodes::knows_who_lives(store)),
        |store| Box::pin(nodes::sends_to_those_meant(store)),
        |store| Box::pin(secrets::shares_secrets(store)),
        |store| Box::pin(streams::numbers_events(store)),
        |store| Box::pin(streams::reads_in_pages(store)),
        |store| Box::pin(streams::bounds_logs(store)),
        |store| Box::pin(streams::lets_the_newest_carry(store)),
        |store| Box::pin(streams::keeps_standing_streams(store)),
        |store| Box::pin(streams::lets_uncarried_events_end(store)),
        |store| Box::pin(calls::registers_calls(store)),
        |store| Box::pin(calls::ends_calls(store)),
        |store| Box::pin(calls::lets_calls_share_a_standing_stream(store)),
        |store| Box::pin(bounds::bounds_streams(store)),
        |store| Box::pin(bounds::bounds_bytes(store)),
        |store| Box::pin(bounds::bounds_sessions(store)),
        |store| Box::pin(bounds::bounds_notebooks(store)),
        |store| Box::pin(cancels::notes_cancellations(store)),
        |store| Box::pin(cancels::keeps_the_latest_cancellation(store)),
        |store| Box::pin(cancels::cancels_all_calls_of_an_id(store)),
        |store| Box::pin(cancels::silences_calls_that_were_cancelled(store)),
        |store| Box::pin(cancels::begins_a_new_life(store)),
        |store| Box::pin(standby::lets_those_that_wait_take_over(store)),
        |store| Box::pin(standby::tells_those_that_may_wait(store)),
        |store| Box::pin(calls::keeps_first_answers(store)),
        |store| Box::pin(calls::keeps_early_answers(store)),
        |store| Box::pin(calls::bounds_bytes_of_answers(store)),
        |store| Box::pin(claims::lets_one_claim(store)),
        |store| Box::pin(claims::silences_the_former_node(store)),
        |store| Box::pin(lives::keeps_a_lease_to_one_life(store)),
        |store| Box::pin(lives::knows_a_call_of_a_former_life(store)),
        |store| Box::pin(lives::releases_copies_of_one_life(store)),
        |store| Box::pin(retries::appends_each_step_once(store)),
        |store| Box::pin(retries::begins_no_call_that_was_claimed(store)),
        |store| Box::pin(retries::keeps_mail_until_it_is_taken(store)),
        |store| Box::pin(claims::silences_the_former_node_on_a_standing_stream(store)),
        |store| Box::pin(messages::tells_of_streams(store)),
        |store| Box::pin(messages::tells_of_sessions(store)),
        |store| Box::pin(nodes::knows_who_died(store)),
        |store| Box::pin(versions::gives_each_change_a_version(store)),
        |store| Box::pin(versions::tells_what_is_new_once(store)),
        |store| Box::pin(versions::gives_own_changes_versions(store)),
        |store| Box::pin(rates::gives_bursts_and_rates(store)),
        |store| Box::pin(rates::gives_no_token_twice(store)),
        |store| Box::pin(rates::outlives_a_change_of_rate(store)),
        |store| Box::pin(leaves_nothing_behind(store)),
        |store| Box::pin(leftovers::begins_empty(store)),
    ];
    stream::iter(cases)
        // One store is made after the other, however many cases run.
        .then(async |case| (case, make().await))
        .for_each_concurrent(CASES, async |(case, store)| case(Arc::new(store)).await)
        .await;
}

fn record() -> SessionRecord {
    let parse = "the suite's own record is well-formed";
    SessionRecord {
        revision: Revision::V2025_06_18,
        transport: TransportKind::Streamable,
        client_info: serde_json::from_str(r#"{"name":"suite \"ünï\"","version":"1"}"#).expect(parse),
        capabilities: serde_json::from_str(r#"{"sampling":{},"roots":{"listChanged":true}}"#).expect(parse),
        initialized: false,
        created_at_ms: 1_700_000_000_000,
        last_activity_ms: 1_700_000_000_001,
        node_id: node("maker"),
        principal: Principal("someone@example.com".into()),
        log_level: None,
        subscriptions: ["note://first".to_owned()].into(),
        agent: "suite/1 (\"ü\")".into(),
    }
}

fn node(name: &str) -> NodeId {
    NodeId::parse(name).expect("the suite's own node ids are well-formed")
}

fn stream(name: &str) -> StreamId {
    StreamId::parse(name).expect("the suite's own stream names are well-formed")
}

fn holder(name: &str, connection: u64) -> Holder {
    Holder {
        node: node(name),
        connection,
    }
}

/// A session of [`record`] that lives long.
async fn session(store: &Arc<dyn Store>) -> SessionId {
    let id = SessionId::generate();
    let created = store.create(&id, &record(), LONG, &ROOM).await;
    assert!(
        matches!(created, Ok(super::Created::Created)),
        "create: a new id must do, but it gave {created:?}"
    );
    id
}

/// Who carries a stream.
async fn carrier(store: &Arc<dyn Store>, session: &SessionId, stream: &StreamId) -> Option<Holder> {
    holder_of(&**store, session, stream)
        .await
        .expect("read must work")
}

/// Waits until `done` is true; panics with `otherwise` when it does not in time.
async fn eventually(otherwise: &str, mut done: impl AsyncFnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !done().await {
        assert!(Instant::now() < end, "{otherwise}");
        sleep(Duration::from_millis(20)).await;
    }
}
