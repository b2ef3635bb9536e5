//! Redis as it is run where one server is not enough: a master and a replica behind sentinels, and a cluster.

use std::ops::RangeInclusive;

use super::{Redis, login, redis_cli, text};
use crate::support::process::{free_port, until};

/// A master, its replica, and three sentinels that let the replica take over when the master is gone.
#[derive(Debug)]
pub(crate) struct Sentinels {
    master: Redis,
    replica: Redis,
    sentinels: Vec<Redis>,
}

impl Sentinels {
    /// Starts all five, and waits until they know each other.
    pub(crate) async fn start() -> Self {
        let master = Redis::start().await;
        let port = master.port().to_string();
        let replica = Redis::start_with(&[
            "--replicaof",
            "127.0.0.1",
            &port,
            "--repl-diskless-sync-delay",
            "0",
        ])
        .await;
        in_sync(&replica).await;
        let mut sentinels = Vec::new();
        for _ in 0..3 {
            sentinels.push(sentinel(&master).await);
        }
        for sentinel in &sentinels {
            until("the sentinels know each other", async || {
                let known = sentinel.cli(&["sentinel", "master", "it"]);
                let mut lines = known.lines();
                let mut after = |name: &str| {
                    lines
                        .find(|line| *line == name)
                        .and_then(|_| lines.next().map(str::to_owned))
                };
                after("num-slaves").as_deref() == Some("1")
                    && after("num-other-sentinels").as_deref() == Some("2")
            })
            .await;
        }
        Self {
            master,
            replica,
            sentinels,
        }
    }

    /// `redis-sentinel://…`, which names two of the sentinels.
    pub(crate) fn url(&self) -> String {
        format!(
            "redis-sentinel://{}127.0.0.1:{}?node=127.0.0.1:{}&sentinelServiceName=it",
            login(),
            self.sentinels[0].port(),
            self.sentinels[1].port()
        )
    }

    /// The ports of all five.
    pub(crate) fn ports(&self) -> Vec<u16> {
        let servers = self.sentinels.iter().chain([&self.master, &self.replica]);
        servers.map(Redis::port).collect()
    }

    /// The server that was the master at the start.
    pub(crate) const fn master(&self) -> &Redis {
        &self.master
    }

    /// The server that was the replica at the start.
    pub(crate) const fn replica(&self) -> &Redis {
        &self.replica
    }
}

/// A sentinel that watches `master` under the name `it`.
async fn sentinel(master: &Redis) -> Redis {
    let mut redis = Redis::bare(free_port());
    let (port, master, dir) = (redis.port(), master.port(), redis.dir().display());
    let settings = format!(
        "port {port}\nbind 127.0.0.1\ndir {dir}\nsentinel monitor it 127.0.0.1 {master} 2\n\
         sentinel down-after-milliseconds it 1000\nsentinel failover-timeout it 5000\n"
    );
    std::fs::write(redis.path("sentinel.conf"), settings).expect("a sentinel's settings");
    redis.add_arguments(&["{dir}/sentinel.conf", "--sentinel"]);
    redis.run().await;
    redis
}

/// A cluster of three masters, each with as many replicas as asked for.
#[derive(Debug)]
pub(crate) struct RedisCluster {
    servers: Vec<Redis>,
}

impl RedisCluster {
    /// Starts it, and waits until all slots are served and all replicas are in sync.
    pub(crate) async fn start(replicas: usize) -> Self {
        let mut servers = Vec::new();
        for _ in 0..3 * (1 + replicas) {
            let arguments = [
                "--cluster-enabled",
                "yes",
                "--cluster-node-timeout",
                "2000",
                "--cluster-config-file",
                "nodes.conf",
                "--repl-diskless-sync-delay",
                "0",
            ];
            servers.push(Redis::start_with(&arguments).await);
        }
        let cluster = Self { servers };
        cluster.join(replicas).await;
        cluster
    }

    async fn join(&self, replicas: usize) {
        let addresses: Vec<String> = self
            .servers
            .iter()
            .map(|server| format!("127.0.0.1:{}", server.port()))
            .collect();
        let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
        let replicas = replicas.to_string();
        let options = ["--cluster-replicas", &replicas, "--cluster-yes"];
        let done = redis_cli(&[&["--cluster", "create"], &addresses[..], &options[..]].concat());
        assert!(done.status.success(), "{}", text(&done));
        for server in &self.servers {
            until("the cluster is up", async || {
                server.cli(&["cluster", "info"]).contains("cluster_state:ok")
            })
            .await;
            if server.cli(&["role"]).starts_with("slave") {
                in_sync(server).await;
            }
        }
    }

    /// `redis-cluster://…`, which names the first server.
    pub(crate) fn url(&self) -> String {
        self.url_by(&self.servers[0])
    }

    /// The same, which names one of the servers.
    pub(crate) fn url_by(&self, server: &Redis) -> String {
        assert!(
            self.ports().contains(&server.port()),
            "it is none of the cluster's"
        );
        format!("redis-cluster://{}127.0.0.1:{}", login(), server.port())
    }

    /// All servers, masters and replicas.
    pub(crate) fn servers(&self) -> &[Redis] {
        &self.servers
    }

    /// The ports of all servers.
    pub(crate) fn ports(&self) -> Vec<u16> {
        self.servers.iter().map(Redis::port).collect()
    }

    /// The masters that have slots now, as `by` sees it.
    pub(crate) fn masters(&self, by: &Redis) -> Vec<&Redis> {
        let nodes = by.cli(&["cluster", "nodes"]);
        let masters: Vec<u16> = nodes.lines().filter_map(owner).map(|(port, _)| port).collect();
        let servers = self.servers.iter();
        servers
            .filter(|server| masters.contains(&server.port()))
            .collect()
    }

    /// The slots of a master.
    pub(crate) fn slots_of(&self, master: &Redis) -> Vec<RangeInclusive<u16>> {
        let nodes = master.cli(&["cluster", "nodes"]);
        let mut owners = nodes.lines().filter_map(owner);
        let found = owners.find(|(port, _)| *port == master.port());
        found.unwrap_or_else(|| panic!("it has no slot:\n{nodes}")).1
    }
}

/// The port in a line of `CLUSTER NODES` and the slots that it has, if it is a master with slots.
fn owner(line: &str) -> Option<(u16, Vec<RangeInclusive<u16>>)> {
    let mut words = line.split(' ');
    let port = words
        .nth(1)?
        .split('@')
        .next()?
        .rsplit_once(':')?
        .1
        .parse()
        .ok()?;
    let master = words.next()?.contains("master");
    let slots = words.skip(5).filter_map(|range| {
        let (from, to) = range.split_once('-').unwrap_or((range, range));
        Some(from.parse().ok()?..=to.parse().ok()?)
    });
    let slots: Vec<_> = slots.collect();
    (master && !slots.is_empty()).then_some((port, slots))
}

async fn in_sync(replica: &Redis) {
    until("the replica is in sync", async || {
        replica
            .cli(&["info", "replication"])
            .contains("master_link_status:up")
    })
    .await;
}
