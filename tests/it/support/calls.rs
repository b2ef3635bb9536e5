//! What nodes and their Redis know of calls.

use super::process::eventually;
use super::redis::Redis;
use crate::support::http::http_get;

/// A gauge of the node at `url`, summed over its labels; 0 when it has none yet.
pub(crate) async fn gauge(url: &str, name: &str) -> f64 {
    let answer = http_get(format!("{url}/metrics")).await;
    let text = answer.expect("metrics").text().await.expect("text");
    let lines = text
        .lines()
        .filter(|line| line.starts_with(name) && !line.starts_with('#'));
    let values = lines.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok());
    values.sum()
}

/// Waits until none of these nodes runs a call, and their Redis knows of none.
pub(crate) async fn no_call_is_left(urls: &[String], redis: Option<&Redis>) {
    for url in urls {
        eventually("no call runs", || async {
            (gauge(url, "anynode_calls_in_flight").await == 0.0).then_some(())
        })
        .await;
    }
    let Some(redis) = redis else { return };
    eventually("Redis knows of no call", || async {
        redis.keys("node-calls:*").await.is_empty().then_some(())
    })
    .await;
}
