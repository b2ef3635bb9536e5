//! What a store must keep of rates: no token too many, and none too late.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use tokio::time::{Instant, sleep};

use super::WRITERS;
use crate::config::Rate;
use crate::store::{Granted, Store};

fn rate(count: u32, burst: u32) -> Rate {
    Rate::new(count, Duration::from_secs(1), burst).expect("the suite's own rates are well-formed")
}

async fn take(store: &Arc<dyn Store>, bucket: &str, rate: Rate, least: u32, wanted: u32) -> Granted {
    let granted = store.take(bucket, rate, least, wanted).await;
    granted.expect("take must work")
}

/// A bucket gives what it holds and no more, says when there is more, and is full again after a while.
///
/// # Panics
/// When the store breaks the contract.
pub(super) async fn gives_bursts_and_rates(store: Arc<dyn Store>) {
    // Two a second: slower than anything that the suite does in between.
    let slow = rate(2, 10);
    assert_eq!(
        take(&store, "a", slow, 1, 4).await,
        Granted::Tokens(4),
        "take: it is full at first"
    );
    let wait = match take(&store, "a", slow, 10, 10).await {
        Granted::After(wait) => wait,
        Granted::Tokens(_) => Duration::ZERO, // too many: fewer are there than are needed
    };
    assert!(
        (Duration::from_millis(500)..=Duration::from_secs(2)).contains(&wait),
        "take: four are there again after two seconds, it said {wait:?}"
    );
    assert_eq!(
        take(&store, "b", slow, 10, 10).await,
        Granted::Tokens(10),
        "take: another bucket"
    );
    let rest = match take(&store, "a", slow, 1, 100).await {
        Granted::Tokens(rest) => rest,
        Granted::After(_) => 0,
    };
    assert!(
        (6..=8).contains(&rest),
        "take: as many as there are, it gave {rest}"
    );
    let mut took = take(&store, "b", slow, 1, 1).await;
    if let Granted::After(wait) = took {
        assert!(
            wait <= Duration::from_millis(500),
            "take: the next one comes within half a second"
        );
        sleep(wait).await;
        took = take(&store, "b", slow, 1, 1).await;
    }
    assert_eq!(took, Granted::Tokens(1), "take: it is there when that was told");
    // A hundred a second: full within 100 ms, which nobody needs to keep.
    let quick = rate(100, 10);
    assert_eq!(
        take(&store, "c", quick, 1, 10).await,
        Granted::Tokens(10),
        "take: a full bucket"
    );
    sleep(Duration::from_millis(300)).await;
    assert_eq!(
        take(&store, "c", quick, 1, 100).await,
        Granted::Tokens(10),
        "take: full again, and no fuller"
    );
}

/// However many take at once, no more is taken than burst and rate allow.
///
/// # Panics
/// When the store breaks the contract.
pub(super) async fn gives_no_token_twice(store: Arc<dyn Store>) {
    let (rate, began) = (rate(50, 40), Instant::now());
    let takers = (0..WRITERS).map(|_| async {
        let mut taken = 0;
        while began.elapsed() < Duration::from_millis(500) {
            match take(&store, "one", rate, 1, 3).await {
                Granted::Tokens(tokens) => taken += tokens,
                Granted::After(wait) => sleep(wait.min(Duration::from_millis(20))).await,
            }
        }
        taken
    });
    let taken: u32 = join_all(takers).await.iter().sum();
    let most = 40.0 + 50.0 * began.elapsed().as_secs_f64();
    assert!(
        f64::from(taken) <= most,
        "take: {taken} were taken, of at most {most}"
    );
    assert!(
        taken >= 40 + 15,
        "take: only {taken} were taken, where 40 were there and 25 came"
    );
}

/// Another rate of the same bucket is no worse than an empty bucket of that rate.
///
/// # Panics
/// When the store breaks the contract.
pub(super) async fn outlives_a_change_of_rate(store: Arc<dyn Store>) {
    let hourly = Rate::new(10, Duration::from_secs(60 * 60), 10).expect("the suite's own rate");
    assert_eq!(
        take(&store, "one", hourly, 1, 10).await,
        Granted::Tokens(10),
        "take: a full bucket"
    );
    if let Granted::After(wait) = take(&store, "one", rate(10, 10), 1, 1).await {
        assert!(
            wait <= Duration::from_millis(100),
            "take: at this rate one comes in 100 ms, not in {wait:?}"
        );
    }
}
