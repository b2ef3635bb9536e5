//! Many nodes on one bucket, played from seeds: what they let in together, and how often they ask.

use std::time::Duration;

use super::*;
use crate::random;

fn rate(count: u32, burst: u32) -> Rate {
    Rate::new(count, Duration::from_secs(1), burst).unwrap()
}

fn between(least: u64, most: u64) -> u64 {
    least + random::number(most - least + 1)
}

/// Nodes that share a bucket, each of which hears of it by trips that take a while.
struct Played {
    rate: Rate,
    shared: TokenBucket,
    nodes: Vec<NodeBucket>,
    /// Trips under way: when they arrive, whose they are, and what is needed and wanted.
    trips: Vec<(u64, usize, u32, u32)>,
    now_us: u64,
    admitted: u64,
    trips_made: u64,
}

impl Played {
    fn new(rate: Rate, nodes: usize) -> Self {
        Self {
            rate,
            shared: TokenBucket::default(),
            nodes: vec![NodeBucket::default(); nodes],
            trips: vec![],
            now_us: 0,
            admitted: 0,
            trips_made: 0,
        }
    }

    fn is_asking(&self, node: usize) -> bool {
        self.trips.iter().any(|(_, whose, ..)| *whose == node)
    }

    fn ask(&mut self, node: usize, need: u32, wanted: u32, takes_us: u64) {
        self.trips.push((self.now_us + takes_us, node, need, wanted));
        self.trips_made += 1;
    }

    /// Time passes; trips arrive.
    fn pass(&mut self, time_us: u64) {
        self.now_us += time_us;
        let (done, under_way) = self.trips.iter().partition(|(at, ..)| *at <= self.now_us);
        self.trips = under_way;
        for (at, node, need, wanted) in Vec::<(u64, usize, u32, u32)>::from_iter(done) {
            let granted = self.shared.take(self.rate, at, need, wanted);
            self.nodes[node].answered(self.rate, at, need, granted);
        }
    }

    /// A request, which waits for one trip if it must. Whether it was let in.
    fn request(&mut self, node: usize, cost: u32, takes_us: u64) -> bool {
        self.nodes[node].note_demand(self.now_us, cost);
        for _ in 0..2 {
            match self.nodes[node].spend(self.rate, self.now_us, cost) {
                Spending::Spent => {
                    self.admitted += u64::from(cost);
                    if !self.is_asking(node)
                        && let Some(wanted) = self.nodes[node].refill(self.rate, self.now_us)
                    {
                        self.ask(node, 1, wanted, takes_us);
                    }
                    return true;
                }
                Spending::Refused(_) => return false,
                Spending::Ask(need) => {
                    if !self.is_asking(node) {
                        let wanted = self.nodes[node].wanted(self.rate, self.now_us, need);
                        self.ask(node, need, wanted, takes_us);
                    }
                    self.pass(takes_us);
                }
            }
        }
        false
    }

    /// As many as may have been let in until now.
    fn most(&self) -> u64 {
        u64::from(self.rate.burst()) + self.now_us * u64::from(self.rate.count()) / SECOND_US
    }
}

#[test]
fn nodes_together_never_let_in_more_than_one_bucket_allows() {
    for seed in 0..100 {
        random::seed(seed);
        let number = |least, most| u32::try_from(between(least, most)).unwrap();
        let nodes = usize::try_from(between(1, 5)).unwrap();
        let mut played = Played::new(rate(number(1, 1000), number(10, 300)), nodes);
        let pause_us = between(100, 50_000);
        for _ in 0..2000 {
            let node = usize::try_from(random::number(nodes as u64)).unwrap();
            let cost = if random::number(10) == 0 { number(1, 10) } else { 1 };
            let _let_in = played.request(node, cost, between(50, 5000));
            assert!(
                played.admitted <= played.most(),
                "seed {seed}: {} of {}",
                played.admitted,
                played.most()
            );
            if random::number(200) == 0 {
                // A node dies, and what it has taken with it.
                played.trips.retain(|(_, whose, ..)| *whose != node);
                played.nodes[node] = NodeBucket::default();
            }
            played.pass(between(0, 2 * pause_us));
        }
    }
}

/// Plays so many requests a second on each of these nodes. Returns how many were let in and how many trips were made, each second.
fn steady(played: &mut Played, nodes: &[usize], each_second: u64, seconds: u64) -> (f64, f64) {
    let (admitted, trips, began) = (played.admitted, played.trips_made, played.now_us);
    let pause_us = SECOND_US / each_second / nodes.len() as u64;
    while played.now_us < began + seconds * SECOND_US {
        for node in nodes {
            let before = played.now_us;
            let _let_in = played.request(*node, 1, 300);
            let waited = played.now_us - before;
            played.pass(pause_us.saturating_sub(waited));
        }
    }
    let each = |count: u64| count as f64 / seconds as f64;
    (each(played.admitted - admitted), each(played.trips_made - trips))
}

#[test]
fn below_the_limit_everybody_is_let_in_with_few_trips() {
    let mut played = Played::new(rate(200, 50), 3);
    let (admitted, trips) = steady(&mut played, &[0, 1, 2], 50, 20);
    assert!(admitted > 149.0, "{admitted} of 150 a second");
    assert!(trips <= 3.0 * 10.0, "{trips} trips a second");
}

#[test]
fn at_the_limit_the_rate_is_used_up_and_trips_are_few() {
    for (count, burst) in [(200, 50), (1000, 2000), (50, 10), (20, 10)] {
        let mut played = Played::new(rate(count, burst), 3);
        let (_burst, _trips) = steady(&mut played, &[0, 1, 2], 2000, 5);
        let (admitted, trips) = steady(&mut played, &[0, 1, 2], 2000, 20);
        assert!(
            admitted >= 0.9 * f64::from(count),
            "{admitted} of {count} a second"
        );
        assert!(
            trips <= 0.1 * 6000.0,
            "{trips} trips a second for 6000 requests at {count}/s burst {burst}"
        );
    }
}

#[test]
fn when_all_traffic_moves_to_one_node_it_has_the_rate() {
    let mut played = Played::new(rate(200, 50), 3);
    let _before = steady(&mut played, &[0, 1, 2], 800, 5);
    let (admitted, _trips) = steady(&mut played, &[2], 800, 5);
    assert!(admitted >= 0.9 * 200.0, "{admitted} of 200 a second");
}

#[test]
fn a_caller_that_asks_seldom_loses_no_tokens() {
    // 0.9 requests a second of a rate of one: a token taken in advance and lost would leave too few.
    let slow = rate(1, 10);
    let mut played = Played::new(slow, 1);
    for _ in 0..200 {
        assert!(played.request(0, 1, 300), "after {} us", played.now_us);
        played.pass(1_100_000);
    }
    assert_eq!(played.trips_made, 200);
}

#[test]
fn what_lies_unspent_for_a_second_is_gone() {
    let rate = rate(100, 100);
    let mut bucket = NodeBucket::default();
    bucket.answered(rate, 0, 1, Granted::Tokens(5));
    assert_eq!(bucket.spend(rate, LEASE_US - 1, 4), Spending::Spent);
    assert_eq!(bucket.spend(rate, LEASE_US, 1), Spending::Ask(1));
}

#[test]
fn that_a_bucket_is_empty_is_believed_for_a_while_by_those_who_need_as_much() {
    let rate = rate(100, 100);
    let mut bucket = NodeBucket::default();
    bucket.answered(rate, 0, 8, Granted::After(Duration::from_millis(3)));
    assert_eq!(bucket.spend(rate, 1000, 8), Spending::Refused(BELIEVED_US - 1000));
    assert_eq!(bucket.spend(rate, 1000, 1), Spending::Ask(1), "there may be one");
    assert_eq!(bucket.spend(rate, BELIEVED_US, 8), Spending::Ask(8));
    bucket.answered(rate, 0, 1, Granted::After(Duration::from_secs(5)));
    assert_eq!(bucket.spend(rate, SECOND_US, 1), Spending::Refused(4 * SECOND_US));
    bucket.give_back(rate, SECOND_US, 1, 0);
    assert_eq!(bucket.spend(rate, SECOND_US, 1), Spending::Spent);
    assert_eq!(bucket.spend(rate, SECOND_US, 1), Spending::Refused(4 * SECOND_US));
}

#[test]
fn those_that_wait_are_asked_for_together() {
    let rate = rate(100, 100);
    let mut bucket = NodeBucket::default();
    for _ in 0..40 {
        bucket.begin_waiting(1);
    }
    assert_eq!(bucket.wanted(rate, 0, 1), 40);
    for _ in 0..39 {
        bucket.end_waiting(1);
    }
    assert_eq!(bucket.wanted(rate, 0, 1), 1);
    for _ in 0..400 {
        bucket.note_demand(0, 1);
    }
    assert_eq!(bucket.wanted(rate, 0, 1), 25, "a quarter of the bucket at most");
}
