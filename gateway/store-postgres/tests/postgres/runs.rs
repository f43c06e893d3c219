//! Runs of orchestrations under the hands of many: nothing is lost, nothing ends twice, nobody waits in a circle.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use quayside_conformance::{
    Scene,
    runs::{ORCHESTRATION, begin, completed, enter, rest, run_key},
    scene::{body_of, name, text},
};
use quayside_harness::{Session, wait_for};
use quayside_store::{
    Change, Claims as _, Commit as _, GroupOutcome, Maintain as _, Op, Outcome, Runs as _, Want,
    commit::{Answer, NewExchange},
    maintain::Retention,
    model::{
        Claim, Clock as _, Content, EndResult, Entropy as _, ExchangeId, InstanceId, Message,
        MessageId, Part, RunId, SystemClock, SystemEntropy,
    },
    runs::{AskedEnd, ClaimedRun, EnterOutcome, RunFilter, RunStatus, RunWant, StepOutcome},
};
use quayside_store_postgres::PostgresStore;
use tokio::task::JoinSet;

use super::PATIENCE;
use crate::server::{DATABASE, Fresh, open};

const MESSAGES: usize = 200;
const RUNS: usize = 20;
/// The port that is asked.
const OUT: &str = "out";

/// One of the processes at work.
#[derive(Clone)]
struct Worker {
    store: Arc<PostgresStore>,
    me: InstanceId,
    entered: Arc<AtomicUsize>,
    steps: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
}

impl Worker {
    fn is_over(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }

    async fn group(&self, ops: &[Op]) -> GroupOutcome {
        let done = self.store.commit_group(self.me, ops).await;
        done.expect("nobody stands in the way for long")
    }

    async fn claim(&self, port: &str, room: u32) -> Vec<quayside_store::Claimed> {
        let want = Want {
            port: name(port),
            room,
            ordered: false,
            marks: true,
            deaths: quayside_store::Deaths::Any,
        };
        let claimed = self.store.claim(self.me, &[want]).await;
        claimed.expect("claim")
    }

    /// Brings messages to the runs that wait for them, or begins such runs.
    async fn enters(self) {
        while self.entered.load(Ordering::SeqCst) < MESSAGES {
            for claimed in self.claim(ORCHESTRATION, 3).await {
                let of = body_of(&claimed.message);
                while !self.enter(claimed.claim, &of).await {}
                self.entered.fetch_add(1, Ordering::SeqCst);
            }
            tokio::task::yield_now().await;
        }
    }

    /// Whether it has entered: a run may begin or end at any time.
    async fn enter(&self, claim: Claim, of: &str) -> bool {
        match self.group(&[enter(claim, None, &[of])]).await {
            GroupOutcome::Done(_) => return true,
            GroupOutcome::Undone {
                outcome: Outcome::Entered(EnterOutcome::Nobody),
                ..
            } => {}
            undone => panic!("{undone:?}"),
        }
        let run = RunId::new(SystemClock.now(), &SystemEntropy);
        let mut step = begin(self.me, run);
        step.subscribe = vec![run_key(of), run_key(&format!("{of} too"))];
        let mut ops = vec![
            enter(claim, Some(run), &[]),
            Op::Step(Box::new(step.clone())),
        ];
        // Two questions each, so that one batch of answers wakes several runs twice.
        ops.extend([question(run), question(run)]);
        match self.group(&ops).await {
            GroupOutcome::Done(_) => true,
            GroupOutcome::Undone {
                outcome: Outcome::Stepped(StepOutcome::Taken { .. }),
                ..
            } => false,
            undone => panic!("{undone:?}"),
        }
    }

    /// Works on runs: consumes, keeps, asks, closes, exchanges keys and ends.
    async fn works(self) {
        while !self.is_over() {
            let wants = [RunWant::any(name(ORCHESTRATION), 5)];
            let claimed = self.store.claim_runs(self.me, &wants).await;
            for run in claimed.expect("claim runs") {
                self.work(run).await;
            }
            tokio::task::yield_now().await;
        }
    }

    async fn work(&self, run: ClaimedRun) {
        let turn = self.steps.fetch_add(1, Ordering::SeqCst);
        let mut step = rest(run.claim, run.wakes);
        let (kept, consumed) = run.inbox.iter().partition(|_| turn.is_multiple_of(5));
        let ids = |of: Vec<&quayside_store::runs::Entered>| of.iter().map(|e| e.delivery).collect();
        (step.kept, step.consumed) = (ids(kept), ids(consumed));
        step.consumed.extend(run.kept);
        for asked in &run.asked {
            let answered = matches!(asked.end, AskedEnd::Answered { .. });
            assert!(answered, "{asked:?}");
            step.closed.push(asked.exchange);
        }
        step.ordered = run.order.is_some();
        let mut more = Vec::new();
        if run.order.is_some() || turn % 7 == 3 {
            // Without a look at what has come meanwhile.
            step.consumed.truncate(1);
            step.status = match turn % 2 {
                0 => completed(),
                _ => RunStatus::Ended {
                    completed: false,
                    reason: text("by a test"),
                },
            };
        } else if turn % 3 == 1 {
            more.push(question(run.claim.run));
            // Of its own in one of many turns: then the next message begins another run. Both, or that one would be
            // refused for the other key by a run that nothing wakes any more.
            let of = format!("key {}", turn % RUNS);
            step.unsubscribe = vec![run_key(&of), run_key(&format!("{of} too"))];
            step.hold = true;
        }
        let mut ops = vec![Op::Step(Box::new(step.clone()))];
        ops.extend(more);
        let done = self.done(&ops).await;
        // Given back for an order that came meanwhile, it is nobody's.
        if done[0] == Outcome::Stepped(StepOutcome::GivenBack) {
            return;
        }
        if step.hold {
            step.hold = false;
            step.unsubscribe.clear();
            self.done(&[Op::Step(Box::new(step))]).await;
        }
    }

    async fn done(&self, ops: &[Op]) -> Vec<Outcome> {
        match self.group(ops).await {
            GroupOutcome::Done(outcomes) => outcomes,
            undone => panic!("{undone:?}"),
        }
    }

    /// Answers questions, many in a batch.
    async fn answers(self) {
        while !self.is_over() {
            let claimed = self.claim(OUT, 20).await;
            let mut ops: Vec<Op> = claimed
                .iter()
                .map(|c| Op::Settle(c.claim, answer(c.exchange.expect("it asks"))))
                .collect();
            if self.steps.load(Ordering::SeqCst).is_multiple_of(2) {
                ops.reverse();
            }
            if !ops.is_empty() {
                let settled = self.store.commit(self.me, &ops).await;
                settled.expect("nobody stands in the way for long");
            }
            tokio::task::yield_now().await;
        }
    }

    /// Orders each run that lives to end.
    async fn orders(&self) {
        let filter = RunFilter::default();
        let rows = self.store.runs(&filter, None, 1000).await.expect("runs");
        for row in rows.iter().filter(|row| row.discarded == 0) {
            self.store.order_run(row.id, "end").await.expect("order");
        }
    }
}

fn part(of: &'static str) -> Part {
    Part {
        name: name("body"),
        content_type: None,
        content: Content::Inline(Bytes::from_static(of.as_bytes())),
    }
}

fn answer(exchange: ExchangeId) -> Change {
    let answer = Answer {
        exchange,
        status: 200,
        body: part("yes"),
    };
    Change::End {
        result: EndResult::Sent,
        attempts: 1,
        detail: text("200"),
        answer: Some(Box::new(answer)),
    }
}

/// A message of `run` for the port that is asked.
fn question(run: RunId) -> Op {
    let mut id = [0; 16];
    SystemEntropy.fill(&mut id);
    let now = SystemClock.now();
    Op::Publish(Box::new(quayside_store::Publish {
        message: Arc::new(Message {
            id: MessageId::new(now, &SystemEntropy),
            received_at: now,
            origin: text(ORCHESTRATION),
            message_type: None,
            context: quayside_store::model::Context::new(),
            parts: vec![part("may I?")],
        }),
        config_version: 1,
        slot: 0,
        dedupe: None,
        deliveries: vec![quayside_store::commit::NewDelivery {
            port: name(OUT),
            priority: quayside_store::model::Priority::default(),
            birth: quayside_store::commit::Birth::Ready,
            order: None,
            rendered: None,
        }],
        exchange: Some(NewExchange {
            id: ExchangeId::from_bytes(id),
            keep: Duration::from_secs(600),
            run: Some(run),
            lease: None,
        }),
        source: None,
    }))
}

async fn number(admin: &Session, query: &str) -> i64 {
    let row = admin.query_one(query, &[]).await;
    row.expect("a number").get(0)
}

/// Each message ends once, consumed or discarded, whatever runs begin, step, ask and end meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn whatever_races_each_message_ends_once_and_no_run_is_forgotten() {
    let fresh = Fresh::start().await;
    let scene = Scene::open(&fresh).await;
    let other = scene.instance().await;
    let second = Arc::new(open(&fresh.url).await);
    let mut messages = Vec::new();
    for n in 0..MESSAGES {
        let publish = scene.publish(&format!("key {}", n % RUNS), &[ORCHESTRATION]);
        messages.push(scene.stored(publish).await);
    }
    let first = Worker {
        store: Arc::clone(&fresh.store),
        me: scene.me,
        entered: Arc::default(),
        steps: Arc::default(),
        stop: Arc::default(),
    };
    let mut workers = vec![first.clone()];
    workers.push(Worker {
        store: second,
        me: other,
        ..first.clone()
    });
    let (mut entering, mut working) = (JoinSet::new(), JoinSet::new());
    for worker in &workers {
        for _ in 0..3 {
            entering.spawn(worker.clone().enters());
            working.spawn(worker.clone().works());
        }
        working.spawn(worker.clone().answers());
    }
    entering.join_all().await;
    let admin = fresh.server.connect(DATABASE).await;
    wait_for("everything to end", PATIENCE * 4, async || {
        first.orders().await;
        let left =
            "SELECT (SELECT count(*) FROM run WHERE state < 4) + (SELECT count(*) FROM delivery)";
        match number(&admin, left).await {
            0 => Ok(()),
            left => Err(format!("{left} are left")),
        }
    })
    .await;
    first.stop.store(true, Ordering::SeqCst);
    working.join_all().await;
    for id in messages {
        let events = scene.events(id).await;
        let ends = |e: &&String| ["consumed", "discarded"].contains(&e.as_str());
        assert_eq!(events.iter().filter(ends).count(), 1, "{events:?}");
    }
    let discarded = "SELECT sum(discarded)::bigint FROM run";
    let told = "SELECT count(*) FROM history WHERE event = 'discarded'";
    let both = (number(&admin, discarded).await, number(&admin, told).await);
    assert_eq!(both.0, both.1, "it is counted as it is told");
    // The next look takes away what has come for those that are over.
    scene.no_run().await;
    for left in ["run_wake", "subscription", "exchange"] {
        let query = format!("SELECT count(*) FROM {left}");
        assert_eq!(number(&admin, &query).await, 0, "{left}");
    }
    let deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()";
    assert_eq!(number(&admin, deadlocks).await, 0);
}

/// Runs that wait cost nothing: no statement that works meets one of them.
#[tokio::test]
async fn a_hundred_thousand_runs_that_wait_are_met_by_nobody() {
    let fresh = Fresh::start().await;
    let scene = Scene::open(&fresh).await;
    let run = scene.waiting(&["k"]).await;
    let admin = fresh.server.connect(DATABASE).await;
    let many = format!(
        "INSERT INTO run (id, started_at, changed_at, since, token, state, orchestration, definition)
         SELECT gen_random_uuid(), 0, 0, 0, 1, 2, '{ORCHESTRATION}', decode(repeat('07', 16), 'hex')
         FROM generate_series(1, 100000)"
    );
    admin.batch_execute(&many).await.expect("runs");
    admin
        .batch_execute("VACUUM ANALYZE run")
        .await
        .expect("vacuum");
    let read = async || {
        let flushed = "SELECT pg_stat_clear_snapshot()";
        admin.batch_execute(flushed).await.expect("no old numbers");
        // Of indexes too, which may be read without a look at the table.
        let read = "SELECT (SELECT seq_tup_read FROM pg_stat_user_tables WHERE relname = 'run')
                    + (SELECT sum(idx_tup_read) FROM pg_stat_user_indexes
                       WHERE relname = 'run')::bigint";
        number(&admin, read).await
    };
    let before = read().await;
    scene.entered("second", &["k"]).await;
    let claimed = scene.the_run().await;
    assert_eq!(claimed.claim.run, run);
    scene.stepped(&rest(claimed.claim, claimed.wakes)).await;
    scene.no_run().await;
    scene.store.release_dead(9).await.expect("release");
    let keep = Retention::default();
    fresh.store.sweep(&keep).await.expect("sweep");
    assert_eq!(scene.store.live_runs(10).await.expect("live")[0].2, 10);
    let filter = RunFilter {
        state: Some(quayside_store::runs::RunState::Suspended),
        ..RunFilter::default()
    };
    assert_eq!(scene.store.runs(&filter, None, 9).await.expect("runs"), []);
    // What a connection has read is told when it has been idle for a while, or closes.
    drop(scene);
    fresh.store.close().await;
    wait_for("the numbers to be told", PATIENCE, async || {
        match read().await - before {
            0 => Err("nothing yet".to_owned()),
            some if some < 200 => Ok(()),
            many => panic!("{many} rows were read"),
        }
    })
    .await;
}
