//! Every interleaving of two nodes, one group and one message, up to a bound of time. The first node owns the
//! group and may crash, pause and be slow; the second one takes over.
//!
//! A breadth-first search over all states. Delay is that a message may arrive at any later moment, loss that it
//! never does; a pause is that a node does nothing while time goes on; a crash forgets what a node knew, and
//! what it had sent still arrives. The trust of a holder is computed by the real [`SessionLease`], epochs by the
//! real [`Epoch`]; what an observer does is what `tests/observer.rs` shows of the real one.
//!
//! The same search with one rule taken away must find the violation that rests on it, and with the gates off
//! (a machine paused between the look at the deadline and the effect) finds late effects, but no more than one,
//! which the store lists, and never a stale write.

use std::{
    collections::{HashSet, VecDeque},
    time::Duration,
};

use quayside_lease::{Epoch, SessionLease, Timings};
use quayside_model::Monotonic;

const TTL: u8 = 2;
const ENDS_AT: u8 = 5;
const CRASHES_MAX: u8 = 1;
/// The deadline of the node whose session never ends.
const NEVER: u8 = u8::MAX;
/// How many states the search must at least meet, or it would prove nothing.
const FLOOR: usize = 500_000;
const CEILING: usize = 4_000_000;

const TIMINGS: Timings = Timings {
    ttl: Duration::from_secs(2),
    renew_every: Duration::from_secs(1),
    margin: Duration::from_secs(1),
    client_timeout: Duration::from_secs(1),
};

/// A rule that is taken away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Without {
    Nothing,
    /// The deadline is counted from the answer.
    EarlyDeadline,
    /// A session is ended as soon as the store calls it overdue, and whether it was renewed since or not.
    Sequence,
    /// The fence is looked at before the write, without a lock.
    Lock,
    /// Work is not fenced.
    Fence,
    /// The intent is not recorded before the effect.
    Intent,
    /// Processes do not look at their deadline.
    Gate,
}

/// What a node has done with the message under its grant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Stage {
    Idle,
    Announced,
    Sent,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Row {
    Ready,
    Sending(u8),
    Sent,
}

/// A statement of work under an epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Work {
    Intent(u8),
    Mark(u8),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Node {
    /// Its session; 0 if it has none.
    session: u8,
    deadline: u8,
    grant: u8,
    stage: Stage,
    /// What it last saw of the other's session: which, its sequence, and since when.
    seen: Option<(u8, u8, u8)>,
    crashes: u8,
    /// When it last sent a renewal, or opened: once in a unit of time.
    last_sent: u8,
    // On their way to the store, each with the session that sent it.
    renewing: Option<(u8, u8)>,
    expiring: Option<(u8, u8)>,
    working: Option<Work>,
    // On their way back.
    renewed: Option<(u8, u8)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct State {
    now: u8,
    nodes: [Node; 2],
    // The store. Sessions are numbered from 1 in the order in which they were opened.
    opened: u8,
    live: u8,
    seq: [u8; 2],
    until: [u8; 2],
    /// The sessions of the nodes as the store knows them.
    current: [u8; 2],
    epoch: u8,
    /// The session that owns the group.
    owner: u8,
    row: Row,
    in_doubt: bool,
    /// A transaction that has passed the fence and waits for its client: whose it is, and what it does.
    open: Option<(u8, Work)>,
    // What the partner saw.
    effects: u8,
    last_effect: u8,
    late: u8,
}

fn deadline(current: u8, sent_at: u8) -> u8 {
    let at = |secs: u8| Monotonic::from_boot(Duration::from_secs(u64::from(secs)));
    let trusted = u8::try_from(TIMINGS.trusted().as_secs()).expect("small");
    let mut lease = SessionLease::opened(TIMINGS, at(current.saturating_sub(trusted)));
    lease.renewed(at(sent_at));
    u8::try_from(lease.deadline().since_boot().as_secs()).expect("small")
}

impl State {
    fn start() -> Self {
        let node = Node {
            session: 0,
            deadline: 0,
            grant: 0,
            stage: Stage::Idle,
            seen: None,
            crashes: 0,
            last_sent: 0,
            renewing: None,
            expiring: None,
            working: None,
            renewed: None,
        };
        let first = Node {
            session: 1,
            deadline: deadline(0, 0),
            grant: 1,
            ..node
        };
        let second = Node {
            session: 2,
            deadline: NEVER,
            ..node
        };
        Self {
            now: 0,
            nodes: [first, second],
            opened: 2,
            live: 0b110,
            seq: [0; 2],
            until: [TTL, NEVER],
            current: [1, 2],
            epoch: 1,
            owner: 1,
            row: Row::Ready,
            in_doubt: false,
            open: None,
            effects: 0,
            last_effect: 0,
            late: 0,
        }
    }

    fn is_live(&self, session: u8) -> bool {
        session > 0 && self.live & (1 << session) != 0
    }

    fn may_act(&self, n: usize) -> bool {
        self.now < self.nodes[n].deadline
    }

    /// Every state that can follow.
    fn next(&self, without: Without, out: &mut Vec<State>) {
        if self.now < ENDS_AT {
            out.push(State {
                now: self.now + 1,
                ..*self
            });
        }
        for n in 0..2 {
            self.node_moves(n, without, out);
            self.node_works(n, without, out);
            self.messages_arrive(n, without, out);
            self.answers_arrive(n, without, out);
        }
        // The client of the open transaction goes on, or the server ends it.
        if let Some((_, work)) = self.open {
            let mut done = *self;
            done.open = None;
            out.push(done);
            done.commit(work);
            out.push(done);
        }
    }

    fn with(&self, n: usize, out: &mut Vec<State>, change: impl FnOnce(&mut Node)) {
        let mut state = *self;
        change(&mut state.nodes[n]);
        out.push(state);
    }

    /// Crashes, opens, renews, looks, takes.
    fn node_moves(&self, n: usize, without: Without, out: &mut Vec<State>) {
        let (now, node) = (self.now, self.nodes[n]);
        if node.session == 0 {
            if self.opened < 3 {
                let mut state = *self;
                state.opened += 1;
                state.live |= 1 << state.opened;
                state.current[n] = state.opened;
                (state.seq[n], state.until[n]) = (0, now + TTL);
                state.nodes[n].session = state.opened;
                state.nodes[n].deadline = deadline(0, now);
                state.nodes[n].last_sent = now;
                out.push(state);
            }
            return;
        }
        // The second node lives on; the first one may crash, pause and be slow.
        if n == 0 && node.crashes < CRASHES_MAX {
            self.with(n, out, |node| {
                node.crashes += 1;
                (node.session, node.deadline, node.grant) = (0, 0, 0);
                (node.stage, node.seen) = (Stage::Idle, None);
                node.renewed = None;
            });
        }
        if n == 0 && node.renewing.is_none() && node.last_sent < now {
            self.with(n, out, |node| {
                node.renewing = Some((node.session, now));
                node.last_sent = now;
            });
        }
        let other = self.current[1 - n];
        if n == 1 && self.is_live(other) {
            let seq = self.seq[1 - n];
            let since = match node.seen {
                Some((session, seen, since)) if (session, seen) == (other, seq) => since,
                _ => now,
            };
            let silent = now - since >= TTL && self.until[1 - n] < now;
            self.with(n, out, |node| {
                node.seen = Some((other, seq, since));
                if silent {
                    node.expiring = Some((other, seq));
                }
            });
        }
        if node.grant == 0 {
            self.takes(n, without, out);
        }
    }

    /// A take: done at once, because one that is late is one that was asked for later. Its answer may be lost.
    fn takes(&self, n: usize, without: Without, out: &mut Vec<State>) {
        let session = self.nodes[n].session;
        let locked = self.open.is_some() && without != Without::Lock;
        if !self.is_live(session) || self.is_live(self.owner) || locked {
            return;
        }
        let mut state = *self;
        let epoch = Epoch::new(i64::from(self.epoch)).next(0);
        state.epoch = u8::try_from(epoch.raw()).expect("small");
        state.owner = session;
        out.push(state);
        state.nodes[n].grant = state.epoch;
        state.nodes[n].stage = Stage::Idle;
        out.push(state);
    }

    /// Announces, sends, marks.
    fn node_works(&self, n: usize, without: Without, out: &mut Vec<State>) {
        let node = self.nodes[n];
        if node.grant == 0 {
            return;
        }
        let open = self.may_act(n) || without == Without::Gate;
        let idle = node.working.is_none();
        if node.stage == Stage::Idle && open && idle && self.row != Row::Sent {
            if without == Without::Intent {
                self.with(n, out, |node| node.stage = Stage::Announced);
            } else {
                self.with(n, out, |node| node.working = Some(Work::Intent(node.grant)));
            }
        }
        if node.stage == Stage::Announced && open {
            let mut state = *self;
            state.nodes[n].stage = Stage::Sent;
            state.effects += 1;
            if node.grant < state.last_effect {
                state.late += 1;
            }
            state.last_effect = state.last_effect.max(node.grant);
            out.push(state);
        }
        if node.stage == Stage::Sent && idle {
            self.with(n, out, |node| node.working = Some(Work::Mark(node.grant)));
        }
    }

    /// What node `n` has sent reaches the store.
    fn messages_arrive(&self, n: usize, without: Without, out: &mut Vec<State>) {
        let (now, node) = (self.now, self.nodes[n]);
        if let Some((session, sent_at)) = node.renewing {
            let mut state = *self;
            state.nodes[n].renewing = None;
            if self.is_live(session) && self.current[n] == session {
                state.seq[n] += 1;
                state.until[n] = now + TTL;
                state.nodes[n].renewed = Some((session, sent_at));
            }
            out.push(state);
        }
        if let Some((session, seq)) = node.expiring {
            let mut state = *self;
            state.nodes[n].expiring = None;
            let hasty = without == Without::Sequence;
            let fits = self.current[1 - n] == session
                && (hasty || (self.seq[1 - n] == seq && self.until[1 - n] < now));
            if fits {
                state.live &= !(1 << session);
            }
            out.push(state);
        }
        if let Some(work) = node.working {
            self.work_arrives(n, work, without, out);
        }
    }

    fn work_arrives(&self, n: usize, work: Work, without: Without, out: &mut Vec<State>) {
        let (Work::Intent(epoch) | Work::Mark(epoch)) = work;
        let mut state = *self;
        state.nodes[n].working = None;
        let passes = self.epoch == epoch && self.is_live(self.owner);
        if !passes && without != Without::Fence {
            out.push(state);
            return;
        }
        if self.open.is_none() {
            let mut paused = state;
            let whose = u8::try_from(n).expect("two nodes");
            paused.open = Some((whose, work));
            out.push(paused);
        }
        state.commit(work);
        out.push(state);
        // The answer comes: that it comes late is that the node goes on late.
        let node = &mut state.nodes[n];
        if work == Work::Intent(node.grant) && node.stage == Stage::Idle {
            node.stage = Stage::Announced;
            out.push(state);
        }
    }

    fn commit(&mut self, work: Work) {
        match work {
            Work::Intent(epoch) => {
                if self.row == Row::Sent {
                    return;
                }
                self.in_doubt |= self.row != Row::Ready;
                self.row = Row::Sending(epoch);
            }
            Work::Mark(_) => self.row = Row::Sent,
        }
    }

    /// What the store has answered reaches node `n`.
    fn answers_arrive(&self, n: usize, without: Without, out: &mut Vec<State>) {
        let (now, node) = (self.now, self.nodes[n]);
        if let Some((session, sent_at)) = node.renewed {
            self.with(n, out, |node| {
                node.renewed = None;
                if node.session == session {
                    let counted = if without == Without::EarlyDeadline {
                        now
                    } else {
                        sent_at
                    };
                    node.deadline = deadline(node.deadline, counted);
                }
            });
        }
    }

    /// The name of an invariant that does not hold here, `before` having led here.
    fn violation(&self, before: &Self, without: Without) -> Option<&'static str> {
        for node in self.nodes {
            let acts = node.grant > 0 && self.now < node.deadline && without != Without::Gate;
            if acts && (node.grant != self.epoch || self.owner != node.session) {
                return Some("never two owners");
            }
        }
        if self.epoch < before.epoch {
            return Some("epochs never fall");
        }
        let late_allowed = u8::from(without == Without::Gate);
        if self.late > late_allowed {
            return Some("no effect after a later epoch's first");
        }
        if self.effects > 1 && !self.in_doubt {
            return Some("every repeat is listed in doubt");
        }
        if self.row != before.row && (self.row == Row::Sent || self.row != Row::Ready) {
            let by = self.writer(before);
            if by != self.epoch {
                return Some("no stale write");
            }
            if self.row == Row::Sent && self.effects == 0 {
                return Some("nothing is marked that was not sent");
            }
        }
        None
    }

    /// The epoch of the work that was committed between `before` and here.
    fn writer(&self, before: &Self) -> u8 {
        let arrived = (0..2).find_map(|n| {
            before.nodes[n]
                .working
                .filter(|_| self.nodes[n].working.is_none())
        });
        let went_on = before
            .open
            .map(|(_, work)| work)
            .filter(|_| self.open.is_none());
        match went_on.or(arrived) {
            Some(Work::Intent(epoch) | Work::Mark(epoch)) => epoch,
            None => 0,
        }
    }
}

struct Found {
    states: usize,
    moved: bool,
    doubted: bool,
    late: bool,
    violation: Option<(&'static str, State)>,
}

fn search(without: Without) -> Found {
    let start = State::start();
    let mut met = HashSet::from([start]);
    let mut queue = VecDeque::from([start]);
    let mut found = Found {
        states: 0,
        moved: false,
        doubted: false,
        late: false,
        violation: None,
    };
    let mut next = Vec::new();
    while let Some(state) = queue.pop_front() {
        state.next(without, &mut next);
        for after in next.drain(..) {
            if let Some(name) = after.violation(&state, without) {
                found.violation = Some((name, after));
                found.states = met.len();
                return found;
            }
            if met.insert(after) {
                found.moved |= after.epoch > 1;
                found.doubted |= after.in_doubt && after.effects > 1;
                found.late |= after.late > 0;
                queue.push_back(after);
            }
        }
        assert!(met.len() < CEILING, "the bound is too wide to be searched");
    }
    found.states = met.len();
    found
}

#[test]
fn no_interleaving_breaks_an_invariant() {
    let found = search(Without::Nothing);
    println!("{} states", found.states);
    assert_eq!(found.violation, None);
    assert!(found.states > FLOOR, "only {} states", found.states);
    // The search is worth something only if the group moves and a message is repeated in it.
    assert!(found.moved && found.doubted && !found.late);
}

#[test]
fn each_rule_is_needed() {
    let cases = [
        (Without::EarlyDeadline, "never two owners"),
        (Without::Sequence, "never two owners"),
        (Without::Lock, "no stale write"),
        (Without::Fence, "no stale write"),
        (Without::Intent, "every repeat is listed in doubt"),
    ];
    for (without, broken) in cases {
        let found = search(without);
        let name = found.violation.map(|(name, _)| name);
        println!("{without:?}: {name:?} after {} states", found.states);
        assert_eq!(name, Some(broken), "{without:?}");
    }
}

#[test]
fn without_gates_only_what_is_listed_is_late() {
    let found = search(Without::Gate);
    println!("{} states", found.states);
    assert_eq!(found.violation, None);
    assert!(found.late, "no schedule shows a late effect");
}
