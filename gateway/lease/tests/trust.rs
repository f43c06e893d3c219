//! No schedule of renewals, delays, lost answers, pauses and looks makes a holder trust itself at a
//! moment at which an observer may already have ended its session.

use std::time::Duration;

use proptest::prelude::*;
use quayside_lease::{Observer, SessionLease, Sighting, Timings};
use quayside_model::{Monotonic, SeededEntropy, SessionId, Timestamp};

/// What can happen next. Times are milliseconds.
#[derive(Debug, Clone)]
enum Op {
    /// The holder renews; the request takes this long to reach the store, the answer this long back.
    Renew { there: u64, back: u64 },
    /// The holder renews and the answer is lost.
    RenewUnanswered { there: u64 },
    /// Nothing of either happens for this long: a pause, or idleness.
    Pass(u64),
    /// The observer looks.
    Look,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (0..300u64, 0..300u64).prop_map(|(there, back)| Op::Renew { there, back }),
        1 => (0..300u64).prop_map(|there| Op::RenewUnanswered { there }),
        4 => (0..900u64).prop_map(Op::Pass),
        1 => (900..9000u64).prop_map(Op::Pass),
        6 => Just(Op::Look),
    ]
}

struct World {
    now: u64,
    seq: i64,
    lease_until: u64,
    ended: bool,
    holder: SessionLease,
    observer: Observer,
}

fn at(ms: u64) -> Monotonic {
    Monotonic::from_boot(Duration::from_millis(ms))
}

fn ttl_ms() -> u64 {
    u64::try_from(Timings::LAN.ttl.as_millis()).expect("small")
}

impl World {
    fn new() -> Self {
        Self {
            now: 0,
            seq: 0,
            lease_until: ttl_ms(),
            ended: false,
            holder: SessionLease::opened(Timings::LAN, at(0)),
            observer: Observer::new(),
        }
    }

    fn renew(&mut self, there: u64) -> bool {
        self.holder.renewal_sent(at(self.now));
        self.now += there;
        if !self.ended {
            self.seq += 1;
            self.lease_until = self.now + ttl_ms();
        }
        !self.ended
    }

    fn look(&mut self, session: SessionId) {
        if self.ended {
            return;
        }
        let overdue = self.lease_until < self.now;
        let sighting = Sighting {
            session,
            seq: self.seq,
            ttl: Timings::LAN.ttl,
            overdue,
        };
        let named = self
            .observer
            .observe(at(self.now), at(self.now), &[sighting]);
        // The store ends it only if both still hold, as the statement does.
        self.ended = named == [(session, self.seq)] && self.lease_until < self.now;
    }
}

proptest! {
    #[test]
    fn trust_ends_before_the_session_can(ops in proptest::collection::vec(op(), 1..80)) {
        let session = SessionId::new(Timestamp::from_micros(0), &SeededEntropy::new(1));
        let mut world = World::new();
        for op in ops {
            match op {
                Op::Renew { there, back } => {
                    let sent_at = world.now;
                    let renewed = world.renew(there);
                    world.now += back;
                    if renewed {
                        world.holder.renewed(at(sent_at));
                    }
                }
                Op::RenewUnanswered { there } => { world.renew(there); }
                Op::Pass(ms) => world.now += ms,
                Op::Look => world.look(session),
            }
            prop_assert!(!(world.ended && world.holder.may_act(at(world.now))),
                "the session has ended, and its holder still trusts itself at {} ms", world.now);
        }
    }

    #[test]
    fn a_session_that_renews_in_time_is_never_named(gaps in proptest::collection::vec(1..2900u64, 1..60)) {
        let session = SessionId::new(Timestamp::from_micros(0), &SeededEntropy::new(1));
        let mut world = World::new();
        for gap in gaps {
            for part in [gap / 3, gap / 3, gap - 2 * (gap / 3)] {
                world.now += part;
                world.look(session);
            }
            prop_assert!(!world.ended);
            world.renew(0);
        }
    }
}

#[test]
fn a_store_clock_that_steps_ends_nobody() {
    let session = SessionId::new(Timestamp::from_micros(0), &SeededEntropy::new(1));
    let mut observer = Observer::new();
    for look in 0..40u32 {
        // Renewed every half second; the store's clock has jumped ahead and calls everything overdue.
        let now = Duration::from_millis(u64::from(look) * 250);
        let seq = i64::from(look / 2);
        let sighting = Sighting {
            session,
            seq,
            ttl: Timings::LAN.ttl,
            overdue: true,
        };
        assert!(
            observer
                .observe(
                    Monotonic::from_boot(now),
                    Monotonic::from_boot(now),
                    &[sighting]
                )
                .is_empty(),
            "look {look}"
        );
    }
}
