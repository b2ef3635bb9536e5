//! Redis goes away and comes back, in every way that it can, under nodes and clients that are at work.
//!
//! What each test asserts of every single answer is in `watch`; who asks, and what must go on, in `cast`;
//! that health tells the truth in `vitals`; that nothing stays behind in `rest`.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use crate::support::redis::topology::{RedisCluster, Sentinels};
use crate::support::redis::{Redis, cli};

mod cast;
mod deaf;
mod follow;
mod full;
mod legacy;
mod logs;
mod rest;
mod scene;
mod vitals;
mod watch;

use cast::Cast;
use scene::{SHORT_GRACE, Scene, Wanted};
use vitals::{AT_ONCE, Vitals};

/// How long an outage lasts that ends when the test ends it: longer than the short grace, and than a lease.
const OUTAGE: Duration = Duration::from_secs(5);
/// The same for one that takes longer to be noticed: no connection breaks.
const SILENCE: Duration = Duration::from_secs(8);
/// Connections are tried again at least every 2 s; then comes the next pulse. The rest is for a busy machine.
const BACK_WITHIN: Duration = Duration::from_secs(8);

/// Sentinels and clusters take 2 to 5 s to agree that a replica takes over, and longer on a busy machine.
const FAILED_OVER_WITHIN: Duration = Duration::from_secs(20);

/// What Redis holds when it is back.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Holds {
    All,
    Nothing,
}

/// An outage under way: everybody is there, and Redis is not.
struct Outage {
    scene: Arc<Scene>,
    cast: Cast,
    vitals: Vitals,
    began: Instant,
}

/// Nodes and clients at work.
struct Work {
    scene: Arc<Scene>,
    cast: Cast,
    vitals: Vitals,
}

impl Work {
    async fn on(url: &str, redis: &[u16]) -> Self {
        Self::on_those(url, redis, Box::new(|_| true)).await
    }

    /// The same with sessions that the test wants.
    async fn on_those(url: &str, redis: &[u16], wanted: Wanted) -> Self {
        let scene = Arc::new(Scene::on(url, redis, wanted).await);
        let vitals = Vitals::of(&scene);
        for node in 0..3 {
            vitals.says(node, "healthy", AT_ONCE).await;
        }
        let cast = Cast::of(&scene).await;
        cast.watch.all_well(&[200, 202]).await;
        Self { scene, cast, vitals }
    }

    fn redis_went_away(self) -> Outage {
        let Self {
            scene,
            mut cast,
            vitals,
        } = self;
        let began = Instant::now();
        cast.redis_is_away();
        Outage {
            scene,
            cast,
            vitals,
            began,
        }
    }
}

impl Outage {
    /// Waits until the outage was as long as it should be. What each node says, and each answer, is as
    /// promised.
    async fn lasts(&self, time: Duration) {
        for node in 0..2 {
            self.vitals.says(node, "degraded", AT_ONCE).await;
        }
        self.vitals.says(2, "unavailable", SHORT_GRACE + AT_ONCE).await;
        sleep_until(self.began + time).await;
        let ended = Instant::now();
        let course = |name| self.cast.watch.course(name, Some(self.began), Some(ended));
        for name in NEED_REDIS {
            assert_eq!(course(name), [503], "{name}, while Redis is away");
        }
        assert_eq!(course(SHORT), [200, 503], "{SHORT}");
        assert_eq!(self.vitals.said(0), ["healthy", "degraded"]);
        assert_eq!(self.vitals.said(1), ["healthy", "degraded"]);
        assert_eq!(self.vitals.said(2), ["healthy", "degraded", "unavailable"]);
    }

    /// Waits until the outage has been noticed, which others are about to end: without them, all the nodes
    /// say, and answer, is as promised.
    async fn ends_by_itself(&self) {
        self.vitals.says(0, "degraded", AT_ONCE).await;
        self.vitals.says(0, "healthy", FAILED_OVER_WITHIN).await;
        let course = self
            .cast
            .watch
            .course("quick calls, other node", Some(self.began), None);
        assert_eq!(course.first(), Some(&503), "it is out of reach at first");
    }

    /// Redis is back. All goes on, or all is forgotten; in any case nothing of the outage stays behind.
    async fn ends(self, holds: Holds, servers: &[&Redis]) {
        let Self {
            scene,
            mut cast,
            vitals,
            ..
        } = self;
        for node in 0..3 {
            vitals.says(node, "healthy", BACK_WITHIN).await;
        }
        match holds {
            Holds::All => {
                cast.watch.all_well(&[200, 202]).await;
                cast.goes_on().await;
            }
            Holds::Nothing => {
                cast.watch.all_well(&[200, 404]).await;
                cast.is_forgotten().await;
            }
        }
        cast.is_joined_by_others().await;
        for name in QUICK {
            let course = cast.watch.course(name, None, None);
            match holds {
                Holds::All => assert_eq!(course, [200], "{name}"),
                // One node learns of it before the other. That nothing was unknown too early, the watch has
                // seen to.
                Holds::Nothing => assert!(!course.contains(&503), "{name}: {course:?}"),
            }
        }
        assert_eq!(cast.watch.course("2026-07-28", None, None), [200]);
        vitals.end();
        let sessions = cast.leaves(servers[0]).await;
        scene.is_as_before(servers, &sessions).await;
    }
}

/// What is answered throughout, by nodes that know the session.
const QUICK: [&str; 4] = ["quick calls 1", "quick calls 2", "quick calls 3", "quick calls 4"];
/// The same by a node that does so for a short time only.
const SHORT: &str = "quick calls, short grace";
/// What cannot be answered without Redis.
const NEED_REDIS: [&str; 7] = [
    "quick calls, other node",
    "GET /mcp",
    "logging/setLevel",
    "initialize",
    "GET /sse",
    "POST /messages",
    "GET /sse?sessionId=",
];

#[tokio::test(flavor = "multi_thread")]
async fn redis_is_stopped_for_five_seconds() {
    let redis = Redis::lasting().await;
    let work = Work::on(&redis.url(), &[redis.port()]).await;
    redis.stop().await;
    let outage = work.redis_went_away();
    outage.lasts(OUTAGE).await;
    redis.run().await;
    outage.ends(Holds::All, &[&redis]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_is_killed_and_started_again_with_what_it_held() {
    let redis = Redis::lasting().await;
    let work = Work::on(&redis.url(), &[redis.port()]).await;
    redis.kill().await;
    let outage = work.redis_went_away();
    outage.lasts(OUTAGE).await;
    redis.run().await;
    outage.ends(Holds::All, &[&redis]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_is_started_again_empty() {
    let redis = Redis::start().await;
    let work = Work::on(&redis.url(), &[redis.port()]).await;
    redis.kill().await;
    let outage = work.redis_went_away();
    outage.lasts(OUTAGE).await;
    outage.scene.emptied.set(Instant::now()).expect("once");
    redis.run().await;
    outage.ends(Holds::Nothing, &[&redis]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_is_frozen_and_thaws() {
    let redis = Redis::start().await;
    let work = Work::on(&redis.url(), &[redis.port()]).await;
    redis.pause();
    let outage = work.redis_went_away();
    outage.lasts(SILENCE).await;
    redis.resume();
    outage.ends(Holds::All, &[&redis]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_takes_over_from_a_master_behind_sentinels() {
    let sentinels = Sentinels::start().await;
    let work = Work::on(&sentinels.url(), &sentinels.ports()).await;
    sentinels.master().kill().await;
    let outage = work.redis_went_away();
    outage.ends_by_itself().await;
    assert!(sentinels.replica().cli(&["role"]).starts_with("master"));
    outage.ends(Holds::All, &[sentinels.replica()]).await;
}

/// A master of a cluster is killed, on which all sessions are.
async fn a_master_dies(victim: usize) {
    let cluster = RedisCluster::start(1).await;
    let servers = cluster.servers();
    let (dies, other) = (servers[victim].port(), &servers[(victim + 1) % 3]);
    let slots = cluster.slots_of(&servers[victim]);
    let asked = other.port();
    let wanted = move |id: &str| {
        let key = format!("session:{id}");
        let slot = cli(asked, &["cluster", "keyslot", &key]).parse().expect("a slot");
        slots.iter().any(|range| range.contains(&slot))
    };
    let work = Work::on_those(&cluster.url(), &cluster.ports(), Box::new(wanted)).await;
    servers[victim].kill().await;
    let outage = work.redis_went_away();
    outage.ends_by_itself().await;
    let masters = cluster.masters(other);
    assert!(masters.len() == 3 && masters.iter().all(|master| master.port() != dies));
    outage.ends(Holds::All, &masters).await;
}

/// It is the one that the nodes' URL names.
#[tokio::test(flavor = "multi_thread")]
async fn a_replica_takes_over_from_the_first_master_of_a_cluster() {
    a_master_dies(0).await;
}

/// It is one that most commands have nothing to do with: health still tells of it.
#[tokio::test(flavor = "multi_thread")]
async fn a_replica_takes_over_from_another_master_of_a_cluster() {
    a_master_dies(1).await;
}
