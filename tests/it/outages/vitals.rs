//! Asks the nodes for their health over and over: it must tell the truth, at once, in every state of Redis.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use super::rest::{health, text};
use super::scene::Scene;

/// How often health is asked for.
const EVERY: Duration = Duration::from_millis(50);
/// How long an answer may take that needs no Redis, on a machine that is busy with other tests.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
/// "At once": a pulse is taken each second and may itself take as long. The rest is for a busy machine.
pub(super) const AT_ONCE: Duration = Duration::from_secs(4);

/// What a node has said of itself: each change of its status, and when.
type Said = Arc<Mutex<Vec<(Instant, String)>>>;

/// The health of all nodes.
pub(super) struct Vitals {
    scene: Arc<Scene>,
    nodes: Vec<(Said, JoinHandle<()>)>,
}

impl Vitals {
    /// Asks from now on.
    pub(super) fn of(scene: &Arc<Scene>) -> Self {
        let watched = (0..scene.nodes.len()).map(|node| {
            let said = Said::default();
            let task = tokio::spawn(keep_asking(Arc::clone(scene), node, Arc::clone(&said)));
            (said, task)
        });
        Self {
            scene: Arc::clone(scene),
            nodes: watched.collect(),
        }
    }

    /// Waits until the node tells that, and fails the test with its log if that takes too long.
    pub(super) async fn says(&self, node: usize, status: &str, patience: Duration) {
        let (said, task) = &self.nodes[node];
        let deadline = Instant::now() + patience;
        while said.lock().unwrap().last().is_none_or(|(_, last)| last != status) {
            assert!(!task.is_finished(), "node-{node} is not what it says");
            let late = Instant::now() >= deadline;
            let log = || self.scene.nodes[node].log();
            assert!(
                !late,
                "node-{node} is not {status} within {patience:?}:\n{}",
                log()
            );
            sleep(EVERY).await;
        }
    }

    /// Everything that a node has said, without repeats.
    pub(super) fn said(&self, node: usize) -> Vec<String> {
        let said = self.nodes[node].0.lock().unwrap();
        said.iter().map(|(_, status)| status.clone()).collect()
    }

    /// Ends the watch.
    pub(super) fn end(self) {
        for (said, task) in self.nodes {
            assert!(
                !task.is_finished(),
                "a node is not what it says: {:?}",
                said.lock()
            );
            task.abort();
        }
    }
}

async fn keep_asking(scene: Arc<Scene>, node: usize, said: Said) {
    let (node, mut uptime) = (&scene.nodes[node], 0);
    loop {
        let asked = Instant::now();
        let (code, health) = health(node).await;
        assert!(
            asked.elapsed() < ANSWER_WITHIN,
            "/health took {:?}",
            asked.elapsed()
        );
        let status = health["status"].as_str().expect("a status");
        let right = match status {
            "healthy" | "degraded" => 200,
            "unavailable" => 503,
            _ => panic!("{health}"),
        };
        assert_eq!(code, right, "{health}");
        assert_eq!(health["store"]["reachable"], status == "healthy", "{health}");
        assert_eq!(text(node, "/livez").await.0, 200, "a restart would not help");
        let up = health["uptimeSeconds"].as_u64().expect("seconds");
        assert!(up >= uptime, "{} was started again", node.id());
        uptime = up;
        let changed = said.lock().unwrap().last().is_none_or(|(_, last)| last != status);
        if changed {
            said.lock().unwrap().push((asked, status.into()));
        }
        sleep(EVERY).await;
    }
}
