//! A cluster's replica takes over while the master has not answered.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anynode::config::StoreSettings;
use anynode::session::state::{Expected, StateRoom, StateScope, StateStore};
use anynode::session::{Principal, SessionId};
use anynode::store::SessionStore;
use anynode::store::redis::RedisStore;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::settings;
use crate::support::process::until;
use crate::support::redis::Redis;
use crate::support::redis::topology::RedisCluster;

/// What a client sends after which it gets no answer any longer.
const LAST_WORD: &str = "the last word";
const KEY: &str = "k";
/// How far a server's port for the other servers is from its own.
const BUS_OFFSET: u16 = 10_000;
const LIFE: Duration = Duration::from_secs(60);

/// Stands before a server, and passes on all but what it answers to a client that has said its last word.
struct Relay {
    port: u16,
    _tasks: JoinSet<()>,
}

impl Relay {
    async fn before(server: &Redis) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("it is bound").port();
        let behind = server.port();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(("127.0.0.1", behind)).await;
                let (from_server, to_server) = server.expect("the server is there").into_split();
                let (from_client, to_client) = client.into_split();
                let silent = Arc::new(AtomicBool::new(false));
                connections.spawn(pass_on(from_client, to_server, Arc::clone(&silent), true));
                connections.spawn(pass_on(from_server, to_client, silent, false));
            }
        });
        Self { port, _tasks: tasks }
    }
}

async fn pass_on(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, silent: Arc<AtomicBool>, client: bool) {
    let mut bytes = vec![0; 64 * 1024];
    while let Ok(length @ 1..) = from.read(&mut bytes).await {
        if client && String::from_utf8_lossy(&bytes[..length]).contains(LAST_WORD) {
            silent.store(true, Ordering::SeqCst);
        }
        let passes = client || !silent.load(Ordering::SeqCst);
        if passes && to.write_all(&bytes[..length]).await.is_err() {
            return;
        }
    }
}

/// Finding 32: a master carries a command out, and its answer is lost. Its replica, which has the outcome,
/// takes over, and the client learns that from another server. The command must not be sent to the new master
/// as well: the caller is told that the outcome is not known, and looks.
#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_a_master_did_not_answer_is_not_sent_to_its_successor() {
    let cluster = RedisCluster::start(1).await;
    let masters = cluster.masters(&cluster.servers()[0]);
    let [master, other, third] = masters[..] else {
        unreachable!("there are three masters");
    };
    let slots = cluster.slots_of(master);
    let relay = Relay::before(master).await;
    let replica = replica_of(&cluster, master);
    announce(&cluster, master, &relay).await;

    let settings = StoreSettings {
        connections: 1,
        ..settings()
    };
    let url = cluster.url_by(other);
    let store = RedisStore::connect(&url, &settings).await.expect("it is there");
    let store = Arc::new(store);
    let handle = (0..)
        .map(|n| format!("n{n}"))
        .find(|handle| has(&slots, slot_of(other, &notebook(&settings, handle))))
        .expect("some slot is the master's");
    let scope = StateScope::Notebook(handle.as_str().into());
    let room = StateRoom {
        peer: "peer",
        peer_max: 1000,
    };
    let alice = Principal("alice".into());
    let opened = store.state_open(&scope, &alice, LIFE, room).await;
    opened.expect("the cluster answers");

    let swap = tokio::spawn({
        let (store, scope) = (Arc::clone(&store), scope.clone());
        async move {
            store
                .state_swap(&scope, KEY, Expected::Absent, Some(LAST_WORD))
                .await
        }
    });
    until("the command is carried out", async || {
        let values = master.cli(&["hvals", &notebook(&settings, &handle)]);
        values.contains(LAST_WORD)
    })
    .await;
    let written = offset(master);
    until("the replica has it too", async || offset(replica) >= written).await;
    assert!(!swap.is_finished(), "the answer was not kept back");
    replica.cli(&["cluster", "failover", "takeover"]);
    until("the replica is the master", async || {
        let masters = cluster.masters(other);
        master.cli(&["role"]).starts_with("slave") && masters.iter().any(|it| it.port() == replica.port())
    })
    .await;

    // The client asks where all slots are when it is told that one has moved.
    let slots = cluster.slots_of(other);
    let (session, slot) = std::iter::repeat_with(SessionId::generate)
        .map(|id| {
            let slot = slot_of(other, &format!("{}session:{}", settings.prefix, id.as_str()));
            (id, slot)
        })
        .find(|(_, slot)| has(&slots, *slot))
        .expect("some slot is the other's");
    give(slot, third, &[other, replica]);
    let touched = store.touch(&session, 1, LIFE).await;
    assert!(touched.is_ok(), "MOVED is followed: {touched:?}");

    let swapped = swap.await.expect("it does not panic");
    assert!(swapped.is_err(), "it was sent a second time: {swapped:?}");
    until("the new master is found", async || {
        let read = store.state_get(&scope, KEY).await;
        matches!(read, Ok(Some(text)) if text == LAST_WORD)
    })
    .await;
}

fn replica_of<'a>(cluster: &'a RedisCluster, master: &Redis) -> &'a Redis {
    let master = master.port().to_string();
    let replica = cluster.servers().iter().find(|server| {
        let role = server.cli(&["role"]);
        role.starts_with("slave") && role.lines().any(|line| line == master)
    });
    replica.expect("the master has a replica")
}

/// Makes a master, and so all servers, name the relay to those that ask where its slots are.
async fn announce(cluster: &RedisCluster, master: &Redis, relay: &Relay) {
    let bus = (master.port() + BUS_OFFSET).to_string();
    let port = relay.port.to_string();
    assert_eq!(
        master.cli(&["config", "set", "cluster-announce-bus-port", &bus]),
        "OK"
    );
    assert_eq!(
        master.cli(&["config", "set", "cluster-announce-port", &port]),
        "OK"
    );
    for server in cluster.servers() {
        until("all servers name the relay", async || {
            server.cli(&["cluster", "slots"]).lines().any(|line| line == port)
        })
        .await;
    }
}

/// The key under which the store keeps a notebook.
fn notebook(settings: &StoreSettings, handle: &str) -> String {
    format!("{}notebook:{handle}", settings.prefix)
}

fn slot_of(server: &Redis, key: &str) -> u16 {
    let slot = server.cli(&["cluster", "keyslot", key]);
    slot.parse().expect("a number")
}

/// Makes a slot that has no keys `new`'s, and lets these other masters know.
fn give(slot: u16, new: &Redis, others: &[&Redis]) {
    let id = new.cli(&["cluster", "myid"]);
    new.cli(&["cluster", "bumpepoch"]);
    for server in [&[new], others].concat() {
        let moved = server.cli(&["cluster", "setslot", &slot.to_string(), "node", &id]);
        assert_eq!(moved, "OK");
    }
}

fn has(slots: &[RangeInclusive<u16>], slot: u16) -> bool {
    slots.iter().any(|range| range.contains(&slot))
}

/// How much of its master's writes a server has, its own included, in bytes.
fn offset(server: &Redis) -> u64 {
    let info = server.cli(&["info", "replication"]);
    let offset = info
        .lines()
        .find_map(|line| line.strip_prefix("master_repl_offset:"));
    offset.expect("an offset").trim().parse().expect("a number")
}
