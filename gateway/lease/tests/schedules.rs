//! A holder, an observer and a store under thousands of seeded schedules.
//!
//! Messages are slow or lost, processes pause anywhere, the clocks of the two machines run at different
//! rates and the store's clock steps to and fro. Named invariant: **nobody acts after the end** – from the moment
//! at which the store has ended a session on, its holder never trusts itself again. A failure prints its
//! seed. The same schedules run with a holder or an observer that takes a short cut, and then they must
//! find a violation: otherwise they would prove nothing.

use std::{cmp::Reverse, collections::BinaryHeap, time::Duration};

use quayside_lease::{Observer, SessionLease, Sighting, Timings};
use quayside_model::{Entropy, Monotonic, SeededEntropy, SessionId, Timestamp};

const SEEDS: u64 = 3000;
/// Microseconds of true time that one schedule covers.
const LENGTH: i64 = 40_000_000;

/// How the two halves are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// As documented.
    Documented,
    /// The holder counts its deadline from the answer instead of from the question.
    HolderCountsFromAnswer,
    /// The observer believes the store's clock and does not wait itself.
    ObserverBelievesTheClock,
    /// The observer ends whatever session it named, whether it was renewed since or not.
    EndIgnoresSequence,
}

/// What happens at a moment of true time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    HolderAsks,
    StoreRenews {
        sent_at: i64,
        back: i64,
    },
    HolderHears {
        sent_at: i64,
    },
    ObserverAsks,
    StoreIsRead {
        asked: i64,
        back: i64,
    },
    ObserverHears {
        asked: i64,
        seq: i64,
        overdue: bool,
        live: bool,
    },
    StoreEnds {
        seq: i64,
    },
    StoreClockSteps {
        by: i64,
    },
}

struct World {
    way: Way,
    timings: Timings,
    entropy: SeededEntropy,
    queue: BinaryHeap<Reverse<(i64, Event)>>,
    session: SessionId,
    /// Parts per thousand by which each machine's clock is fast.
    holder_fast: i64,
    observer_fast: i64,
    lease: SessionLease,
    observer: Observer,
    seq: i64,
    /// By the store's clock.
    lease_until: i64,
    store_step: i64,
    ended_at: Option<i64>,
}

/// What a schedule came to.
#[derive(Debug, Default)]
struct Outcome {
    ended: bool,
    renewals: i64,
    violated: bool,
}

impl World {
    fn new(seed: u64, way: Way) -> Self {
        let entropy = SeededEntropy::new(seed);
        let profiles = [Timings::LAN, Timings::FAST];
        let timings = profiles[usize::from(seed.is_multiple_of(2))];
        // Together at most half of what the margin covers: margin / ttl is a sixth or more.
        let drift = |entropy: &SeededEntropy| below(entropy, 80) - 40;
        let (holder_fast, observer_fast) = (drift(&entropy), drift(&entropy));
        let start = Monotonic::from_boot(Duration::ZERO);
        let mut world = Self {
            way,
            timings,
            session: SessionId::new(Timestamp::from_micros(0), &entropy),
            entropy,
            queue: BinaryHeap::new(),
            holder_fast,
            observer_fast,
            lease: SessionLease::opened(timings, start),
            observer: Observer::new(),
            seq: 0,
            lease_until: micros(timings.ttl),
            store_step: 0,
            ended_at: None,
        };
        world.at(0, Event::HolderAsks);
        world.at(0, Event::ObserverAsks);
        world.at(0, Event::StoreClockSteps { by: 0 });
        world
    }

    fn at(&mut self, time: i64, event: Event) {
        if time < LENGTH {
            self.queue.push(Reverse((time, event)));
        }
    }

    /// How long a message or a step takes: mostly short, now and then a pause beyond the lease.
    fn delay(&self) -> i64 {
        match below(&self.entropy, 40) {
            0 => below(&self.entropy, 2 * micros(self.timings.ttl)),
            1..4 => below(&self.entropy, 500_000),
            _ => 100 + below(&self.entropy, 20_000),
        }
    }

    fn run(mut self) -> Outcome {
        let mut outcome = Outcome::default();
        while let Some(Reverse((now, event))) = self.queue.pop() {
            self.step(now, event);
            if let Some(ended_at) = self.ended_at {
                outcome.ended = true;
                // Whatever the holder still hears, from the end on it must not act.
                outcome.violated |= self.lease.may_act(clock(ended_at, self.holder_fast));
            }
        }
        outcome.renewals = self.seq;
        outcome
    }

    fn step(&mut self, now: i64, event: Event) {
        match event {
            Event::HolderAsks => self.holder_asks(now),
            Event::StoreRenews { sent_at, back } => {
                if self.ended_at.is_none() {
                    self.seq += 1;
                    self.lease_until = now + self.store_step + micros(self.timings.ttl);
                    self.at(now + back, Event::HolderHears { sent_at });
                }
            }
            Event::HolderHears { sent_at } => {
                let counted = if self.way == Way::HolderCountsFromAnswer {
                    now
                } else {
                    sent_at
                };
                self.lease.renewed(clock(counted, self.holder_fast));
            }
            Event::ObserverAsks => {
                let (there, back) = (self.delay(), self.delay());
                self.at(now + there, Event::StoreIsRead { asked: now, back });
                self.at(now + 100_000 + self.delay(), Event::ObserverAsks);
            }
            Event::StoreIsRead { asked, back } => {
                let overdue = now + self.store_step >= self.lease_until;
                let live = self.ended_at.is_none();
                let heard = Event::ObserverHears {
                    asked,
                    seq: self.seq,
                    overdue,
                    live,
                };
                self.at(now + back, heard);
            }
            Event::ObserverHears {
                asked,
                seq,
                overdue,
                live,
            } => {
                self.observer_hears(now, asked, (seq, overdue, live));
            }
            Event::StoreEnds { seq } => {
                let fits = seq == self.seq || self.way == Way::EndIgnoresSequence;
                let overdue = now + self.store_step >= self.lease_until;
                if fits && (overdue || self.way == Way::EndIgnoresSequence) {
                    self.ended_at.get_or_insert(now);
                }
            }
            Event::StoreClockSteps { by } => {
                self.store_step += by;
                let by = below(&self.entropy, 20_000_000) - 10_000_000;
                let next = now + 2_000_000 + below(&self.entropy, 20_000_000);
                self.at(next, Event::StoreClockSteps { by });
            }
        }
    }

    fn holder_asks(&mut self, now: i64) {
        // The clock is read, then anything may happen before the message is on its way.
        let sent_at = now;
        self.lease.renewal_sent(clock(sent_at, self.holder_fast));
        let (there, back) = (self.delay() + self.delay(), self.delay());
        if below(&self.entropy, 10) > 0 {
            self.at(now + there, Event::StoreRenews { sent_at, back });
        }
        let every = micros(self.timings.renew_every);
        self.at(now + every + self.delay(), Event::HolderAsks);
    }

    fn observer_hears(&mut self, now: i64, asked: i64, (seq, overdue, live): (i64, bool, bool)) {
        let sighting = Sighting {
            session: self.session,
            seq,
            ttl: self.timings.ttl,
            overdue,
        };
        let sightings = if live { vec![sighting] } else { Vec::new() };
        let (asked, answered) = (
            clock(asked, self.observer_fast),
            clock(now, self.observer_fast),
        );
        let mut silent = self.observer.observe(asked, answered, &sightings);
        if self.way == Way::ObserverBelievesTheClock && live && overdue {
            silent = vec![(self.session, seq)];
        }
        for (_, seq) in silent {
            self.at(now + self.delay(), Event::StoreEnds { seq });
        }
    }
}

fn below(entropy: &SeededEntropy, bound: i64) -> i64 {
    let mut bytes = [0; 8];
    entropy.fill(&mut bytes);
    i64::from_le_bytes(bytes).rem_euclid(bound)
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).expect("timings are short")
}

/// The monotonic clock of a machine that is fast by so many parts per thousand.
fn clock(time: i64, fast: i64) -> Monotonic {
    let shown = time + time * fast / 1000;
    Monotonic::from_boot(Duration::from_micros(
        u64::try_from(shown).expect("time goes on"),
    ))
}

#[test]
fn nobody_acts_after_the_end() {
    let (mut ended, mut renewals) = (0, 0);
    for seed in 0..SEEDS {
        let outcome = World::new(seed, Way::Documented).run();
        assert!(
            !outcome.violated,
            "seed {seed}: the holder trusted itself after its session ended"
        );
        ended += u64::from(outcome.ended);
        renewals += outcome.renewals;
    }
    // The schedules are worth something only if sessions live and also die in them.
    assert!(ended > SEEDS / 20, "only {ended} sessions ended");
    assert!(
        renewals > i64::try_from(SEEDS).expect("fits") * 5,
        "only {renewals} renewals"
    );
}

#[test]
fn short_cuts_are_found() {
    for way in [
        Way::HolderCountsFromAnswer,
        Way::ObserverBelievesTheClock,
        Way::EndIgnoresSequence,
    ] {
        let found = (0..SEEDS).any(|seed| World::new(seed, way).run().violated);
        assert!(found, "no schedule shows what is wrong with {way:?}");
    }
}
