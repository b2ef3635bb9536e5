//! Engines on one store in memory, a paused clock, and everything that may go wrong, driven by a seed.
//!
//! Each seed is one run: two or three nodes, a handful of clients of each kind, and for a while a storm, in
//! which commands are late, fail, or take effect without an answer; messages between nodes are lost, doubled
//! and overtake each other; nodes are held up, cut off, killed at any point where they wait, stopped and
//! started; the store is away, or full, or its clock steps. Then it is calm, everything must come to its end,
//! and what must always hold is checked: `client.rs`, `world.rs` and [`check_empty`] say what.
//!
//! `make simulate` runs many seeds, `SEEDS=` says how many or which. A run that fails prints its steps, and
//! its seed plays it again: the runtime's choices are seeded too, for which tokio must be built with `--cfg
//! tokio_unstable`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use tokio::time::{Instant, sleep, timeout};

use self::client::{Nodes, SHARED, SimulatedClient};
use self::faults::{Faults, Sky, Weather};
use self::node::Node;
use self::random::Random;
use self::sse::WaitingRequests;
use self::store::spawn;
use self::world::World;
use crate::cluster::messenger::ACKNOWLEDGE_WITHIN;
use crate::config::Settings;
use crate::session::{SessionId, TransportKind};
use crate::store::Received;
use crate::store::memory::MemoryStore;

mod client;
mod ending;
mod faults;
mod handler;
mod modern;
mod node;
mod panics;
mod random;
mod sse;
mod store;
mod streamable;
mod telling;
mod world;

/// How long a storm lasts.
const STORM_MS: (u64, u64) = (8_000, 40_000);
/// How much may go wrong at once.
const STRIKES_MAX: usize = 2;
/// How long nodes wait for a store that is away: some outages last longer.
const GRACE_MS: (u64, u64) = (3000, 8000);
/// How long everything may take to come to its end after it.
const END_WITHIN: Duration = Duration::from_secs(300);
/// How often a client may open its stream meanwhile: it lets go of one each few seconds, and of two at most.
const OPENED_MAX: u64 = 100;
/// How long a run may take in all.
const OVER_WITHIN: Duration = Duration::from_secs(1500);
/// How long a change may take to be told when it is calm: one look, and what a look may wait for.
const TOLD_WITHIN: Duration = Duration::from_secs(75);

/// How long things live in a simulation: short, so that their ends are seen.
fn settings(grace: Duration) -> Settings {
    let mut settings = Settings::default();
    settings.store.outage_grace = grace;
    settings.session.ttl = Duration::from_secs(60);
    settings.session.uninitialized_ttl = Duration::from_secs(60);
    settings.stream.ttl = Duration::from_secs(30);
    settings.sse.client_keys = true;
    settings.call.timeout = Duration::from_secs(40);
    settings.call.answer_timeout = Duration::from_secs(20);
    settings
}

/// What one run is made of.
struct SimulationRun {
    random: Random,
    world: World,
    nodes: Nodes,
    memory: MemoryStore,
    weather: Arc<Weather>,
    calm: Arc<AtomicBool>,
    /// Whether messages between nodes are lost that nobody is told of.
    loses: bool,
    /// How many names were given to nodes.
    named: AtomicU64,
}

impl SimulationRun {
    fn settings(&self) -> Settings {
        settings(self.world.grace())
    }

    /// Starts a node, again and again until it is there. Once begun it is carried through.
    async fn start(self: &Arc<Self>, name: &str) {
        let (run, name) = (Arc::clone(self), name.to_owned());
        let (done, over) = tokio::sync::oneshot::channel();
        spawn(async move {
            loop {
                let faults = Faults::new(run.random.fork(), &run.weather, &run.calm, run.loses);
                let started = Node::start(&name, &run.world, &run.memory, faults, run.settings()).await;
                if let Some(node) = started {
                    run.nodes.add(node);
                    return done.send(()).unwrap_or_default();
                }
                sleep(Duration::from_millis(500)).await;
            }
        });
        over.await.ok();
    }

    /// A name that no node has had.
    fn new_name(&self) -> String {
        format!("node-{}", self.named.fetch_add(1, Ordering::Relaxed) + 1)
    }

    /// Something goes wrong, perhaps while something else does.
    async fn strike(self: &Arc<Self>) {
        let Some(node) = self.random.pick(&self.nodes.all()).cloned() else {
            return;
        };
        match self.random.below(10) {
            0 => node.pause(self.random.between(50, 900)).await,
            1 => node.pause(self.random.between(900, 7000)).await,
            2 => {
                self.world.step(format!("{} is cut off", node.name));
                node.faults.cut(true);
                sleep(self.random.between(100, 6000)).await;
                node.faults.cut(false);
                self.world.step(format!("{} has the store again", node.name));
            }
            3 => self.sky(Sky::Full, 6000).await,
            4 => {
                let most = if self.random.chance(300) { 12_000 } else { 5000 };
                self.sky(Sky::Away, most).await;
            }
            5..8 => self.replace(&node).await,
            8 => self.forget_carriers(),
            _ => {
                let step = i64::try_from(self.random.below(7_200_000)).unwrap_or(0) - 3_600_000;
                self.world.step(format!("the store's clock steps by {step} ms"));
                self.memory.step_clock(step);
            }
        }
    }

    /// A node is killed, or stops, and another is started, perhaps under its name.
    async fn replace(self: &Arc<Self>, node: &Arc<Node>) {
        if node.doomed.swap(true, Ordering::Relaxed) {
            return;
        }
        let name = match self.random.chance(400) {
            true => node.name.clone(),
            false => self.new_name(),
        };
        if self.random.chance(650) {
            node.kill();
            sleep(self.random.between(0, 4000)).await;
        } else {
            let within = self.random.between(100, 6000);
            let stopping = Arc::clone(node);
            spawn(async move { stopping.drain(within).await });
            node.gone.cancelled().await;
        }
        self.start(&name).await;
    }

    /// As one does that takes over and has not heard of the last writes. Connections notice when they look.
    fn forget_carriers(&self) {
        self.world.step("the store forgets who carries streams");
        self.memory.forget_holders();
    }

    async fn sky(&self, sky: Sky, most_ms: u64) {
        if !self.weather.is(Sky::Clear) {
            return;
        }
        self.world.step(format!("the store is {sky:?}"));
        self.weather.set(sky);
        let away = sky == Sky::Away;
        // One that is cut off hears nothing of it.
        let tell = |heard: &Received| {
            for node in self
                .nodes
                .all()
                .iter()
                .filter(|node| away && !node.faults.is_cut())
            {
                node.faults.receive(heard);
            }
        };
        tell(&Received::Disconnected);
        sleep(self.random.between(100, most_ms)).await;
        self.weather.set(Sky::Clear);
        tell(&Received::Gap);
        self.world.step("the store is Clear");
    }

    /// Things go wrong for a while.
    async fn storm(self: &Arc<Self>) {
        let storm = self.random.between(STORM_MS.0, STORM_MS.1);
        let strikes = async {
            let mut under_way = FuturesUnordered::new();
            loop {
                let pause = sleep(self.random.between(200, 6000));
                tokio::select! {
                    biased;
                    Some(()) = under_way.next() => {}
                    () = pause, if under_way.len() < STRIKES_MAX => under_way.push(self.strike()),
                }
            }
        };
        drop(timeout(storm, strikes).await);
        // What was under way ends.
        self.weather.set(Sky::Clear);
        self.calm.store(true, Ordering::Relaxed);
        for node in self.nodes.all() {
            node.faults.cut(false);
            node.faults.receive(&Received::Gap);
            node.wake();
        }
        while self.nodes.serving().len() < 2 {
            self.start(&self.new_name()).await;
        }
        self.world.step("it is calm");
    }

    fn client(&self, number: u64) -> Arc<SimulatedClient> {
        let (kind, transport) = match number % 4 {
            0 | 1 => ("streamable", Some(TransportKind::Streamable)),
            2 => ("sse", Some(TransportKind::Sse)),
            _ => ("modern", None),
        };
        let name = format!("{kind}-{number}");
        let random = self.random.fork();
        Arc::new(SimulatedClient::new(
            &name,
            transport,
            &self.world,
            &self.nodes,
            random,
        ))
    }
}

/// What a client does, until it is calm and all that it has asked is answered.
async fn cached(client: &Arc<SimulatedClient>, calm: &AtomicBool) {
    match client.transport {
        Some(TransportKind::Streamable) if client.random.chance(300) => visit(client, calm).await,
        Some(TransportKind::Streamable) => {
            begin(client).await;
            for _ in 0..=u8::from(client.random.chance(250)) {
                spawn(Arc::clone(client).listen(client.random.chance(500)));
            }
            let own = client.own();
            let wanted = [SHARED[0], SHARED[1], &own].into_iter();
            let wanted = wanted.filter(|_| client.random.chance(600)).collect::<Vec<_>>();
            // At once, behind a balancer: as clients do that start.
            let subscribing = wanted.iter().map(|uri| client.subscribe(uri));
            futures::future::join_all(subscribing).await;
            call(client, calm, None).await;
        }
        Some(TransportKind::Sse) if client.random.chance(500) => restart(client, calm).await,
        Some(TransportKind::Sse) => stream(client, calm).await,
        None => {
            spawn(Arc::clone(client).subscription());
            call(client, calm, None).await;
        }
    }
}

/// Opens a session of any revision.
async fn begin(client: &SimulatedClient) {
    let revision = client.random.pick(&["2025-03-26", "2025-06-18", "2025-11-25"]);
    client.initialize(revision.unwrap_or(&"2025-11-25")).await;
}

/// Opens sessions and ends them, one after the other.
async fn visit(client: &Arc<SimulatedClient>, calm: &AtomicBool) {
    while !calm.load(Ordering::Relaxed) {
        let visitor = client.visitor();
        begin(&visitor).await;
        if client.random.chance(500) {
            visitor.end_amid_calls().await;
        } else {
            for _ in 0..client.random.below(3) {
                Arc::clone(&visitor).call(visitor.next_id()).await;
            }
            visitor.end().await;
        }
        sleep(client.random.between(50, 2000)).await;
    }
}

/// A session of HTTP+SSE.
async fn stream(client: &Arc<SimulatedClient>, calm: &AtomicBool) {
    let waiting = Arc::new(WaitingRequests::default());
    spawn(Arc::clone(client).stream(Arc::clone(&waiting)));
    client.introduce(&waiting).await;
    // What a former life has subscribed to is told to the next.
    for uri in SHARED.iter().filter(|_| client.key.is_none()) {
        if client.random.chance(600) {
            client.sse_subscribe(&waiting, uri).await;
        }
    }
    call(client, calm, Some(&waiting)).await;
}

/// A client that names its session by a key of its own, and is killed and started again, several times.
async fn restart(client: &Arc<SimulatedClient>, calm: &AtomicBool) {
    let key = SessionId::generate();
    while !calm.load(Ordering::Relaxed) {
        let life = client.again(key.clone());
        client.world.step(format!("{} is started", client.name));
        let lives = stream(&life, calm);
        let most = client.random.between(1000, 15_000);
        drop(timeout(most, lives).await);
        life.leaves.cancel();
        sleep(client.random.between(20, 1500)).await;
    }
}

/// Makes calls until it is calm, and waits for their answers.
async fn call(client: &Arc<SimulatedClient>, calm: &AtomicBool, waiting: Option<&Arc<WaitingRequests>>) {
    let mut calls = Vec::new();
    while !calm.load(Ordering::Relaxed) {
        let call: futures::future::BoxFuture<'static, ()> = match (client.transport, waiting) {
            (Some(_), Some(waiting)) => Box::pin(Arc::clone(client).sse_call(Arc::clone(waiting))),
            (Some(_), None) => Box::pin(Arc::clone(client).call(client.next_id())),
            (None, _) => Box::pin(Arc::clone(client).modern_call()),
        };
        let (done, over) = tokio::sync::oneshot::channel();
        spawn(async move {
            call.await;
            done.send(()).ok();
        });
        calls.push(over);
        sleep(client.random.between(50, 4000)).await;
    }
    for call in calls {
        drop(call.await);
    }
}

/// Plays the run of a seed. Its digest, or what was wrong with the steps before it.
async fn play(seed: u64) -> Result<u64, String> {
    let random = Random::new(seed);
    let loses = random.chance(500);
    let grace = random.between(GRACE_MS.0, GRACE_MS.1);
    let memory = MemoryStore::new();
    let run = Arc::new(SimulationRun {
        world: World::new(loses, grace, &memory),
        nodes: Nodes::default(),
        memory,
        weather: Arc::default(),
        calm: Arc::default(),
        loses,
        named: AtomicU64::new(0),
        random,
    });
    let played = timeout(OVER_WITHIN, act(&run)).await;
    if played.is_err() {
        run.world.wrong("the run does not come to its end");
    }
    run.world.verdict()
}

async fn act(run: &Arc<SimulationRun>) {
    for _ in 0..2 + run.random.below(2) {
        run.start(&run.new_name()).await;
    }
    let clients: Vec<_> = (0..4 + run.random.below(3))
        .map(|number| run.client(number))
        .collect();
    let lives = clients.iter().map(|client| {
        let (client, calm) = (Arc::clone(client), Arc::clone(&run.calm));
        let (done, over) = tokio::sync::oneshot::channel();
        spawn(async move {
            cached(&client, &calm).await;
            done.send(()).ok();
        });
        over
    });
    let lives: Vec<_> = lives.collect();
    run.storm().await;
    for (client, over) in clients.iter().zip(lives) {
        if timeout(END_WITHIN, over).await.is_err() {
            run.world.wrong(format!("{} waits for ever", client.name));
        }
    }
    let opened = |client: &Arc<SimulatedClient>| client.opened.load(Ordering::Relaxed);
    let before: Vec<_> = clients.iter().map(opened).collect();
    // Before clients open their streams again.
    if run.random.chance(300) {
        run.forget_carriers();
        for client in &clients {
            client.check_reachable().await;
        }
    }
    sleep(TOLD_WITHIN).await;
    for (client, before) in clients.iter().zip(before) {
        client.check_told();
        client.check_seen();
        client.check_reachable().await;
        let often = opened(client) - before;
        if often > OPENED_MAX {
            run.world.wrong(format!(
                "{} has opened its stream {often} times while it was calm",
                client.name
            ));
        }
        client.leaves.cancel();
        if client.random.chance(600) {
            let began = Instant::now();
            client.end().await;
            if began.elapsed() >= ACKNOWLEDGE_WITHIN {
                run.world.wrong(format!(
                    "{} waits {:?} to end its session",
                    client.name,
                    began.elapsed()
                ));
            }
        }
    }
    check_empty(run).await;
    for client in &clients {
        client.check_expired().await;
    }
}

/// When all clients are gone and time has passed, nothing is kept of them.
async fn check_empty(run: &SimulationRun) {
    sleep(4 * run.settings().session.ttl + Duration::from_secs(120)).await;
    for node in run.nodes.all() {
        node.check_lives();
        for left in node.left() {
            run.world.wrong(format!("{} keeps {left}", node.name));
        }
    }
    for left in run.memory.left() {
        run.world.wrong(format!("the store keeps {left}"));
    }
}

/// Plays a seed on a thread of its own, so that nothing of one run is left to the next.
fn run(seed: u64) -> Result<u64, String> {
    let played = std::thread::spawn(move || {
        panics::watch();
        crate::random::seed(seed);
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        runtime.enable_time().start_paused(true);
        #[cfg(tokio_unstable)]
        runtime.rng_seed(tokio::runtime::RngSeed::from_bytes(&seed.to_le_bytes()));
        let runtime = runtime.build().map_err(|error| error.to_string())?;
        let played = runtime.block_on(play(seed));
        drop(runtime);
        match panics::seen() {
            Some(panic) => Err(format!("a task has panicked: {panic}")),
            None => played,
        }
    });
    played.join().unwrap_or_else(|_panic| Err("a panic".into()))
}

/// A few seeds, with every test run.
#[test]

fn what_must_always_hold_holds() {
    for seed in 0..4 {
        if let Err(wrong) = run(seed) {
            panic!("seed {seed}:\n{wrong}");
        }
    }
}

/// The seeds that `SEEDS` names, for `make simulate`: a number of them, or `FROM..TO`, or one as `N..`.
#[test]
#[ignore = "make simulate runs it"]
fn simulate() {
    let seeds = many::seeds();
    many::simulate(seeds);
}

mod many;
