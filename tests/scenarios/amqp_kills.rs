//! The gateway is killed with SIGKILL between two effects of a move from queue to queue: between the commit and
//! the acknowledgment, between a publish and its confirmation, between the confirmation and the completion.
//!
//! At each place work is held until the kill, so that every kill is known to have hit there. A producer and a
//! consumer that are not ours judge by the ids in the bodies. With dedupe switched off the same run fails,
//! which shows that it would notice.

use std::time::Duration;

use quayside_harness::{
    RabbitMq,
    rabbitmq::{Consumer, Producer},
    wait_for,
};
use quayside_tests::{
    Moved, Site, Store, judge_move, judge_one, note,
    queues::{MOVES, all_moves, declare_moves, in_order, three_moves},
};

/// The places, and what the gateway says when it holds work there.
const PLACES: [(&str, &str); 3] = [
    ("hold-before-ack", "held before the ack"),
    ("hold-before-confirm", "held before the confirmation"),
    ("hold-before-completion", "held before the completion"),
];

/// How often the gateway is killed at each place.
const TIMES: usize = 3;

/// How often work comes by a place before it is held there.
const PASSES: usize = 30;

/// How many messages a second the producer offers, to all moves together.
const OFFERED: u32 = 600;

/// How many messages of each move go well between two kills, and how many of all wait when it is killed.
const GOOD: usize = 30;
const WAITING: usize = 300;

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Moves in order and without; the fields end in this order.
struct Move {
    site: Site,
    producer: Producer,
    consumer: Consumer,
    server: RabbitMq,
}

/// What came of it.
struct Outcome {
    /// Of each of the [`MOVES`].
    moved: [Moved; 3],
    /// Messages in the store, and those of them that it has twice.
    stored: usize,
    stored_twice: usize,
}

impl Move {
    async fn start(store: Store, always: &str) -> Self {
        let server = RabbitMq::start().await;
        let out = declare_moves(&server).await;
        let url = server.url();
        let env = [("QUAYSIDE_FAIL_POINTS", always)];
        let site = Site::new(store, 1, &|_| three_moves(&url), &env).await;
        Self {
            producer: server.producer(&all_moves(OFFERED)),
            consumer: server.consumer(&out),
            site,
            server,
        }
    }

    /// Lets the gateway work and stops it, starts it so that it holds the work of all moves at `place`, and kills
    /// it there.
    async fn kill_at(&mut self, place: &str, said: &str, always: &str) {
        self.works().await;
        // In order, so that no lane waits for the end of a lease and all moves come by.
        let code = self.site.gateways[0].stop(PATIENCE).await;
        assert_eq!(code, Some(0), "a stop is clean");
        self.more_waits().await;
        let before = self.site.gateway().process.stderr().len();
        self.start_with(&format!("{place}@{PASSES},{always}")).await;
        wait_for(said, PATIENCE, async || {
            let log = self.site.gateway().process.stderr();
            let held: Vec<_> = log[before..].lines().filter(|l| l.contains(said)).collect();
            let of = |name: &str| held.iter().any(|line| line.contains(name));
            if MOVES.iter().all(|(name, _)| of(name)) {
                Ok(())
            } else {
                Err(log[before..].to_owned())
            }
        })
        .await;
        self.site.gateways[0].kill9();
        self.start_with(always).await;
    }

    /// Returns when messages of every move have come out from now on.
    async fn works(&mut self) {
        let seen = self.consumer.arrivals().len();
        wait_for("every move to go on", PATIENCE, async || {
            let new = &self.consumer.arrivals()[seen..];
            let of = |name: &str| new.iter().filter(|a| a.key.starts_with(name)).count();
            let counts = MOVES.map(|(name, _)| of(name));
            if counts.iter().all(|count| *count >= GOOD) {
                Ok(())
            } else {
                Err(format!("{counts:?}"))
            }
        })
        .await;
    }

    /// Returns when messages wait in the queues, several of each key.
    async fn more_waits(&mut self) {
        let put = self.producer.confirmed().len();
        wait_for("messages to wait", PATIENCE, async || {
            let more = self.producer.confirmed().len() - put;
            if more >= WAITING {
                Ok(())
            } else {
                Err(format!("{more} of {WAITING}"))
            }
        })
        .await;
    }

    async fn start_with(&mut self, fail_points: &str) {
        let node = self.site.nodes.remove(0);
        let node = node.with_env("QUAYSIDE_FAIL_POINTS", fail_points);
        self.site.nodes.insert(0, node);
        self.site.restart(0).await;
    }

    async fn outcome(mut self) -> Outcome {
        let confirmed = self.producer.finish().await;
        wait_for("every message to come out", PATIENCE, async || {
            let moved = judge_move(&confirmed, self.consumer.arrivals());
            if moved.lost.is_empty() {
                Ok(())
            } else {
                Err(moved.to_string())
            }
        })
        .await;
        self.site.gateway().drained(PATIENCE).await;
        let arrivals = self.consumer.finish().await;
        let moved = MOVES.map(|(name, _)| judge_one(name, &confirmed, &arrivals));
        for repeated in moved.iter().flat_map(|moved| &moved.repeated) {
            is_listed(&self.site, repeated).await;
        }
        let (stored, stored_twice) = self.site.stored_bodies().await;
        for (name, _) in MOVES {
            let waiting = self.server.waiting(&format!("{name}-in")).await;
            assert_eq!(waiting, 0, "{name}: taken and not acknowledged");
        }
        Outcome {
            moved,
            stored,
            stored_twice,
        }
    }
}

/// Whoever asks the gateway for a message that came out twice learns that it was sent twice: `message_id` is
/// the id of the delivery.
async fn is_listed(site: &Site, message_id: &str) {
    let (message, no) = message_id.split_once('.').expect("the id of a delivery");
    let way = site.gateway().way(message).await.expect("it is stored");
    let no: usize = no.parse().expect("the number of a delivery");
    let attempts = way["legs"][no]["attempts"].as_u64();
    assert!(attempts > Some(1), "{message_id} was sent again: {way:#}");
}

async fn nothing_is_lost_or_stored_twice(store: Store) {
    let mut all = Move::start(store, "").await;
    for (place, said) in PLACES {
        for _ in 0..TIMES {
            all.kill_at(place, said, "").await;
        }
    }
    let Outcome {
        moved,
        stored,
        stored_twice,
    } = all.outcome().await;
    let kills = PLACES.len() * TIMES;
    note(&format!("{store:?}, {kills} kills, {stored} stored"));
    for ((name, _), moved) in MOVES.iter().zip(&moved) {
        note(&format!("{name}: {moved}"));
        note(&format!("{name}, repeated: {}", moved.repeats.join(" ")));
        assert!(moved.exactly_once(), "{name}: {moved}");
        let kept = !in_order(name) || moved.out_of_order.is_empty();
        assert!(kept, "{name}: {moved}");
        // Whoever is killed behind a publish sends again: had nobody, no kill had hit there.
        assert!(!moved.repeats.is_empty(), "{name}: {moved}");
    }
    assert_eq!(stored_twice, 0, "stored twice, of {stored}");
    let confirmed: usize = moved.iter().map(|moved| moved.confirmed).sum();
    assert!(stored >= confirmed, "{stored} of {confirmed} are stored");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_or_stored_twice_on_sqlite() {
    nothing_is_lost_or_stored_twice(Store::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_or_stored_twice_on_postgres() {
    nothing_is_lost_or_stored_twice(Store::Postgres).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_dedupe_what_was_not_acknowledged_is_stored_twice() {
    let always = "no-dedupe";
    let mut all = Move::start(Store::Sqlite, always).await;
    let (place, said) = PLACES[0];
    all.kill_at(place, said, always).await;
    let Outcome {
        moved,
        stored,
        stored_twice,
    } = all.outcome().await;
    assert!(stored_twice > 0, "{stored} are stored");
    let doubled: usize = moved.iter().map(|moved| moved.doubled.len()).sum();
    assert!(doubled > 0, "{moved:?}");
}
