//! Orchestration instances: who works on them, what enters them, and how they end.

use std::time::Duration;

use bytes::Bytes;
use quayside_store::{
    GroupOutcome, Op, Outcome, Publish, PublishOutcome,
    browse::DeliveryFilter,
    commit::Birth,
    maintain::Retention,
    model::{Claim, DeliveryId, DeliveryState, InstanceId, MessageId, RunId, hash16},
    operate::OperateOutcome,
    runs::{
        ClaimedRun, Enter, EnterOutcome, NewRun, OrderOutcome, RunClaim, RunShown, RunState,
        RunStatus, RunWant, Step, StepOutcome,
    },
};

use crate::{
    Backend,
    scene::{Scene, body_of, name, text},
};

/// The orchestration of the cases, which is also the port of its messages.
pub const ORCHESTRATION: &str = "orders.approval";
/// The definition that its runs are bound to.
pub const DEFINITION: [u8; 16] = [7; 16];

/// A key under which messages find a run.
#[must_use]
pub fn run_key(of: &str) -> [u8; 16] {
    hash16(&[of.as_bytes()])
}

/// A step of the run in hand that changes nothing and gives the claim back.
#[must_use]
pub fn rest(claim: RunClaim, wakes: i64) -> Step {
    Step {
        claim,
        create: None,
        state: None,
        status: RunStatus::Active,
        due: None,
        wakes,
        hold: false,
        again: false,
        ordered: false,
        consumed: Vec::new(),
        kept: Vec::new(),
        subscribe: Vec::new(),
        unsubscribe: Vec::new(),
        closed: Vec::new(),
        answers: Vec::new(),
    }
}

/// The end of a run.
#[must_use]
pub fn completed() -> RunStatus {
    RunStatus::Ended {
        completed: true,
        reason: text(""),
    }
}

/// The first step of the new run `run` of the scene's orchestration.
#[must_use]
pub fn begin(instance: InstanceId, run: RunId) -> Step {
    let claim = RunClaim {
        run,
        instance,
        token: 1,
    };
    Step {
        create: Some(NewRun {
            orchestration: name(ORCHESTRATION),
            definition: DEFINITION,
        }),
        state: Some(Bytes::from_static(b"begun")),
        ..rest(claim, 0)
    }
}

/// The entrance of a claimed delivery by `keys`, or into `run`.
#[must_use]
pub fn enter(claim: Claim, run: Option<RunId>, keys: &[&str]) -> Op {
    let keys = keys.iter().map(|key| (run_key(key), text(key)));
    Op::Enter(Enter {
        claim,
        run,
        orchestration: name(ORCHESTRATION),
        keys: keys.collect(),
        route: text("start"),
    })
}

pub(crate) fn op(step: &Step) -> Op {
    Op::Step(Box::new(step.clone()))
}

fn published(publish: Publish) -> (MessageId, Op) {
    (publish.message.id, Op::Publish(Box::new(publish)))
}

impl Scene<'_> {
    /// A new id of a run.
    #[must_use]
    pub fn run_id(&self) -> RunId {
        RunId::new(self.backend.now(), &self.entropy)
    }

    /// Commits the group as `instance`.
    pub async fn group_by(&self, instance: InstanceId, ops: &[Op]) -> GroupOutcome {
        let outcome = self.store.commit_group(instance, ops).await;
        outcome.expect("the group is answered")
    }

    /// Commits the group as the scene's instance and expects it to be done.
    pub async fn group_done(&self, ops: &[Op]) -> Vec<Outcome> {
        match self.group_by(self.me, ops).await {
            GroupOutcome::Done(outcomes) => outcomes,
            undone => panic!("{undone:?}"),
        }
    }

    /// Commits the step alone and expects it to be done.
    pub async fn stepped(&self, step: &Step) {
        let done = self.group_done(&[op(step)]).await;
        assert_eq!(done, [Outcome::Stepped(StepOutcome::Done)]);
    }

    /// A new message for the orchestration, in hand.
    pub async fn arrived(&self, body: &str) -> Claim {
        self.stored(self.publish(body, &[ORCHESTRATION])).await;
        self.claim(ORCHESTRATION, 1).await.remove(0).claim
    }

    /// A run that has consumed its first message and waits under `keys`.
    pub async fn waiting(&self, keys: &[&str]) -> RunId {
        let claim = self.arrived("first").await;
        let run = self.run_id();
        let mut step = begin(self.me, run);
        step.consumed = vec![claim.delivery];
        step.subscribe = keys.iter().map(|key| run_key(key)).collect();
        self.group_done(&[enter(claim, Some(run), &[]), op(&step)])
            .await;
        run
    }

    /// A message that enters the run which has one of `keys`.
    pub async fn entered(&self, body: &str, keys: &[&str]) -> (RunId, DeliveryId) {
        let claim = self.arrived(body).await;
        let done = self.group_done(&[enter(claim, None, keys)]).await;
        match done[..] {
            [Outcome::Entered(EnterOutcome::Entered(run))] => (run, claim.delivery),
            ref other => panic!("{other:?}"),
        }
    }

    /// Claims up to `room` runs of the orchestration.
    pub async fn runs_by(&self, instance: InstanceId, room: u32) -> Vec<ClaimedRun> {
        let wants = [RunWant::any(name(ORCHESTRATION), room)];
        let claimed = self.store.claim_runs(instance, &wants).await;
        claimed.expect("claim runs")
    }

    /// Claims the one run that has something to do.
    pub async fn the_run(&self) -> ClaimedRun {
        let mut claimed = self.runs_by(self.me, 9).await;
        assert_eq!(claimed.len(), 1, "{claimed:?}");
        claimed.remove(0)
    }

    /// Expects no run to have anything to do.
    pub async fn no_run(&self) {
        assert_eq!(self.runs_by(self.me, 9).await, []);
    }

    /// The run as people see it.
    pub async fn shown(&self, run: RunId) -> RunShown {
        let shown = self.store.run(run).await.expect("run");
        shown.expect("there is such a run")
    }

    /// The events of a message.
    pub async fn events(&self, id: MessageId) -> Vec<String> {
        let way = self.store.message(id).await.expect("way").expect("stored");
        way.history.iter().map(|h| h.event.to_string()).collect()
    }
}

fn inbox(run: &ClaimedRun) -> Vec<(String, String)> {
    let one = |e: &quayside_store::runs::Entered| (body_of(&e.message), e.route.to_string());
    run.inbox.iter().map(one).collect()
}

/// A run is born with the entrance of its message, and rests until something happens to it.
pub async fn a_run_begins_with_its_message_and_rests(backend: &dyn Backend) {
    let scene = Scene::open(backend).await;
    let claim = scene.arrived("first").await;
    let run = scene.run_id();
    let mut step = begin(scene.me, run);
    step.subscribe = vec![run_key("b"), run_key("a")];
    let (sent, publish) = published(scene.publish("asks", &["out"]));
    let ops = [enter(claim, Some(run), &[]), op(&step), publish];
    let stored = PublishOutcome::Stored { claimed: vec![] };
    let wanted = [
        Outcome::Entered(EnterOutcome::Entered(run)),
        Outcome::Stepped(StepOutcome::Done),
        Outcome::Published(stored),
    ];
    assert_eq!(scene.group_done(&ops).await, wanted);
    assert!(scene.store.load(sent).await.expect("load").is_some());
    scene.no_run().await;
    let shown = scene.shown(run).await;
    assert_eq!(shown.row.state, RunState::Waiting);
    assert_eq!(shown.row.orchestration, name(ORCHESTRATION));
    assert_eq!(shown.row.definition, DEFINITION);
    assert_eq!(shown.data, Some(Bytes::from_static(b"begun")));
    assert_eq!(shown.inbox, [(claim.delivery, text("start"))]);
    let mut keys = vec![run_key("a"), run_key("b")];
    keys.sort_unstable();
    assert_eq!(shown.keys, keys);
    assert_eq!(scene.claim(ORCHESTRATION, 9).await.len(), 0, "it is taken");
}

/// Messages find a run by the first of their keys that one has, wake it and come with it in their order.
pub async fn messages_enter_by_key_and_wake(backend: &dyn Backend) {
    let scene = Scene::open(backend).await;
    let run = scene.waiting(&["k", "l"]).await;
    let other = scene.waiting(&["m"]).await;
    for (body, keys) in [("second", ["none", "k"]), ("third", ["l", "m"])] {
        assert_eq!(scene.entered(body, &keys).await.0, run);
    }
    let claimed = scene.the_run().await;
    assert_eq!((claimed.claim.run, claimed.claim.token), (run, 2));
    assert_eq!(claimed.state, Bytes::from_static(b"begun"));
    assert_eq!(claimed.definition, DEFINITION);
    let wanted = [("second", "k"), ("third", "l")].map(|(b, r)| (b.to_owned(), r.to_owned()));
    assert_eq!(inbox(&claimed), wanted);
    scene.no_run().await;
    assert_eq!(scene.shown(run).await.row.state, RunState::Running);
    assert_eq!(scene.shown(run).await.row.instance, Some(scene.me));
    assert_eq!(scene.shown(other).await.row.state, RunState::Waiting);
    let mut step = rest(claimed.claim, claimed.wakes);
    step.state = Some(Bytes::from_static(b"later"));
    step.consumed = claimed.inbox.iter().map(|e| e.delivery).collect();
    scene.stepped(&step).await;
    scene.no_run().await;
    let shown = scene.shown(run).await;
    assert_eq!(shown.data, Some(Bytes::from_static(b"later")));
    assert_eq!((shown.row.state, shown.inbox), (RunState::Waiting, vec![]));
}

/// What happens between claim and step is met by the next claim.
pub async fn no_wake_is_lost(backend: &dyn Backend) {
    let scene = Scene::open(backend).await;
    scene.waiting(&["k"]).await;
    let (_, second) = scene.entered("second", &["k"]).await;
    let claimed = scene.the_run().await;
    let (_, third) = scene.entered("third", &["k"]).await;
    let mut step = rest(claimed.claim, claimed.wakes);
    step.consumed = vec![second];
    // Held over a step, and then given back.
    step.hold = true;
    scene.stepped(&step).await;
    scene.no_run().await;
    step.hold = false;
    scene.stepped(&step).await;
    let claimed = scene.the_run().await;
    assert_eq!(inbox(&claimed).len(), 1);
    assert_eq!(claimed.inbox[0].delivery, third);
    // What it has seen keeps it awake no longer, even if it is left where it is.
    scene.stepped(&rest(claimed.claim, claimed.wakes)).await;
    scene.no_run().await;
}

/// A step without the claim changes nothing, and nothing that belongs to it happens.
pub async fn a_stale_step_writes_nothing(backend: &dyn Backend) {
    let scene = Scene::open(backend).await;
    let run = scene.waiting(&["k"]).await;
    let (_, second) = scene.entered("second", &["k"]).await;
    let stale = scene.the_run().await;
    let released = scene.store.release_runs(scene.me, &[run]).await;
    assert_eq!(released.expect("release"), 0, "it is known to be in hand");
    let released = scene.store.release_runs(scene.me, &[]).await;
    assert_eq!(released.expect("release"), 1);
    let claimed = scene.the_run().await;
    assert_eq!(claimed.claim.token, stale.claim.token + 1);
    assert_eq!(claimed.inbox, stale.inbox);
    let mut step = rest(stale.claim, stale.wakes);
    step.state = Some(Bytes::from_static(b"stale"));
    step.consumed = vec![second];
    step.subscribe = vec![run_key("l")];
    let (sent, publish) = published(scene.publish("sent", &["out"]));
    let undone = scene.group_by(scene.me, &[op(&step), publish]).await;
    let fenced = GroupOutcome::Undone {
        member: 0,
        outcome: Outcome::Stepped(StepOutcome::Fenced),
    };
    assert_eq!(undone, fenced);
    assert_eq!(scene.store.load(sent).await.expect("load"), None);
    let shown = scene.shown(run).await;
    assert_eq!(shown.data, Some(Bytes::from_static(b"begun")));
    assert_eq!((shown.inbox.len(), shown.keys.len()), (1, 1));
    // Nor does anybody else step, or begin it once more.
    step.claim = claimed.claim;
    let other = scene.instance().await;
    assert_eq!(scene.group_by(other, &[op(&step)]).await, fenced);
    let again = begin(scene.me, run);
    assert_eq!(scene.group_by(scene.me, &[op(&again)]).await, fenced);
    scene.stepped(&step).await;
}

/// What a dead instance held goes to another one, as its last step left it.
pub async fn the_runs_of_the_dead_go_to_others(backend: &dyn Backend) {
    let scene = Scene::open(backend).await;
    let run = scene.waiting(&["k"]).await;
    scene.entered("second", &["k"]).await;
    let dead = scene.instance().await;
    let held = scene.runs_by(dead, 9).await.remove(0);
    assert_eq!(scene.store.release_dead(9).await.expect("release"), 0);
    scene.store.end_instance(dead).await.expect("end");
    assert_eq!(scene.runs_by(dead, 9).await, [], "it is dead");
    scene.no_run().await;
    assert_eq!(scene.store.release_dead(9).await.expect("release"), 1);
    assert_eq!(scene.store.release_dead(9).await.expect("release"), 0);
    let claimed = scene.the_run().await;
    assert_eq!(claimed.claim.run, run);
    assert_eq!(
        (claimed.state, claimed.inbox, claimed.order),
        (held.state, held.inbox, None)
    );
    let undone = scene
        .group_by(dead, &[op(&rest(held.claim, held.wakes))])
        .await;
    assert!(
        matches!(undone, GroupOutcome::Undone { member: 0, .. }),
        "{undone:?}"
    );
}

/// Consumed and kept messages stay as long as the run wants them, and end once.
pub async fn what_a_run_has_ends_as_it_says(backend: &dyn Backend) {
    let scene = Scene::open(backend).await;
    let run = scene.waiting(&["k"]).await;
    let (_, second) = scene.entered("second", &["k"]).await;
    let (_, third) = scene.entered("third", &["k"]).await;
    let claimed = scene.the_run().await;
    let mut made = scene.publish("made", &["out", ORCHESTRATION]);
    made.deliveries[1].birth = Birth::Kept(run);
    let (made, publish) = published(made);
    let own = DeliveryId {
        message: made,
        no: 1,
    };
    let mut step = rest(claimed.claim, claimed.wakes);
    step.kept = vec![second];
    step.consumed = vec![third];
    step.hold = true;
    let ops = [op(&step), publish];
    scene.group_done(&ops).await;
    assert_eq!(scene.claim(ORCHESTRATION, 9).await.len(), 0);
    assert_eq!(scene.claim("out", 9).await.len(), 1);
    assert_eq!(scene.events(third.message).await, ["consumed"]);
    assert_eq!(scene.events(second.message).await, [""; 0]);
    assert_eq!(
        scene.store.release_runs(scene.me, &[]).await.expect("ok"),
        1
    );
    let claimed = scene.the_run().await;
    assert_eq!(claimed.inbox, []);
    let mut kept = claimed.kept.clone();
    kept.sort_unstable();
    let mut wanted = [second, own];
    wanted.sort_unstable();
    assert_eq!(kept, wanted);
    let mut step = rest(claimed.claim, claimed.wakes);
    step.consumed = vec![own, second, third];
    scene.stepped(&step).await;
    for delivery in [second, own, third] {
        assert_eq!(scene.events(delivery.message).await, ["consumed"]);
    }
    assert!(scene.shown(run).await.data.is_some());
}

/// An operator of queues sees what a run has and leaves it there.
pub async fn a_run_keeps_its_messages_from_operators(backend: &dyn Backend) {
    let scene = Scene::open(backend).await;
    let run = scene.waiting(&["k"]).await;
    let (_, second) = scene.entered("second", &["k"]).await;
    let note = text("by a test");
    let resumed = scene.store.resume(&[second], &note).await;
    assert_eq!(resumed.expect("resume"), [OperateOutcome::Busy]);
    let ended = scene.store.terminate(&[second], &note).await;
    assert_eq!(ended.expect("terminate"), [OperateOutcome::Busy]);
    let filter = DeliveryFilter {
        state: Some(DeliveryState::Taken),
        ..DeliveryFilter::default()
    };
    let rows = scene.store.deliveries(&filter, None, 9).await;
    let rows = rows.expect("deliveries");
    assert_eq!(rows.iter().map(|r| r.id).collect::<Vec<_>>(), [second]);
    assert_eq!(backend.restored().await, 0, "nothing of it was sent");
    assert_eq!(scene.shown(run).await.inbox.len(), 1);
}

/// Time wakes a run that waits for it, and not before.
pub async fn time_wakes_a_run(backend: &dyn Backend) {
    let scene = Scene::open(backend).await;
    let run = scene.waiting(&["k"]).await;
    scene.entered("second", &["k"]).await;
    let claimed = scene.the_run().await;
    let mut step = rest(claimed.claim, claimed.wakes);
    step.due = Some(claimed.now.plus(backend.moment() * 20));
    scene.stepped(&step).await;
    scene.no_run().await;
    assert_eq!(scene.shown(run).await.row.due, step.due);
    backend.pass(backend.moment() * 21).await;
    let again = scene.the_run().await;
    assert_eq!((again.claim.run, again.wakes), (run, claimed.wakes));
    assert!(again.now >= claimed.now.plus(backend.moment() * 20));
    // A step without a time takes it away.
    scene.stepped(&rest(again.claim, again.wakes)).await;
    backend.pass(backend.moment() * 21).await;
    scene.no_run().await;
}

/// Of two runs one has a key: the other one is told who, and what belongs to its step does not happen.
pub async fn a_key_has_one_run(backend: &dyn Backend) {
    let scene = Scene::open(backend).await;
    let run = scene.waiting(&["k"]).await;
    let claim = scene.arrived("other").await;
    let other = scene.run_id();
    let mut step = begin(scene.me, other);
    step.subscribe = vec![run_key("free"), run_key("k")];
    let ops = [enter(claim, Some(other), &[]), op(&step)];
    let taken = GroupOutcome::Undone {
        member: 1,
        outcome: Outcome::Stepped(StepOutcome::Taken { by: run }),
    };
    assert_eq!(scene.group_by(scene.me, &ops).await, taken);
    assert_eq!(scene.store.run(other).await.expect("run"), None);
    let held = scene.store.claims_of(scene.me).await.expect("claims");
    assert_eq!(held, [claim], "it has not entered");
    // Given up and wanted at once it goes over.
    scene.entered("second", &["k"]).await;
    let claimed = scene.the_run().await;
    let mut change = rest(claimed.claim, claimed.wakes);
    change.unsubscribe = vec![run_key("k")];
    change.subscribe = vec![run_key("m")];
    scene.stepped(&change).await;
    scene.group_done(&ops).await;
    assert_eq!(scene.shown(run).await.keys, [run_key("m")]);
    assert_eq!(scene.shown(other).await.keys.len(), 2);
}

/// A message that nobody waits for stays in hand.
pub async fn nobody_has_the_key(backend: &dyn Backend) {
    let scene = Scene::open(backend).await;
    scene.waiting(&["k"]).await;
    let claim = scene.arrived("second").await;
    let gone = Some(scene.run_id());
    let nobody = GroupOutcome::Undone {
        member: 0,
        outcome: Outcome::Entered(EnterOutcome::Nobody),
    };
    for (run, keys) in [(None, vec!["l", "m"]), (None, vec![]), (gone, vec!["k"])] {
        let ops = [enter(claim, run, &keys)];
        assert_eq!(scene.group_by(scene.me, &ops).await, nobody);
    }
    let held = scene.store.claims_of(scene.me).await.expect("claims");
    assert_eq!(held, [claim]);
    let stale = Claim {
        token: claim.token + 1,
        ..claim
    };
    let fenced = GroupOutcome::Undone {
        member: 0,
        outcome: Outcome::Entered(EnterOutcome::Fenced),
    };
    let ops = [enter(stale, None, &["k"])];
    assert_eq!(scene.group_by(scene.me, &ops).await, fenced);
    scene.no_run().await;
}

/// The end of a run ends what it has, tells what it has not consumed, and frees its keys.
pub async fn an_end_discards_what_is_left(backend: &dyn Backend) {
    let scene = Scene::open(backend).await;
    let run = scene.waiting(&["k", "l"]).await;
    let mut entered = Vec::new();
    for body in ["kept", "consumed", "left", "late"] {
        entered.push(scene.entered(body, &["k"]).await.1);
    }
    let claimed = scene.the_run().await;
    let mut step = rest(claimed.claim, claimed.wakes);
    step.kept = vec![entered[0]];
    step.hold = true;
    scene.stepped(&step).await;
    let mut step = rest(claimed.claim, claimed.wakes);
    step.status = completed();
    step.due = Some(claimed.now);
    step.consumed = vec![entered[1]];
    scene.stepped(&step).await;
    let ends = ["consumed", "consumed", "discarded", "discarded"];
    for (delivery, end) in entered.iter().zip(ends) {
        assert_eq!(scene.events(delivery.message).await, [end]);
        let way = scene.store.message(delivery.message).await.expect("way");
        assert_eq!(way.expect("stored").row.live, 0);
    }
    let shown = scene.shown(run).await;
    assert_eq!(shown.row.state, RunState::Completed);
    assert_eq!((shown.row.discarded, shown.row.due), (2, None));
    assert_eq!((shown.data, shown.keys), (None, vec![]));
    scene.no_run().await;
    assert_eq!(
        scene.store.order_run(run, "resume").await.expect("order"),
        OrderOutcome::Ended
    );
    let next = scene.waiting(&["k"]).await;
    assert_eq!(scene.entered("second", &["l", "k"]).await.0, next);
    // Retention takes the rows of what is over.
    let none = Retention {
        metadata: Duration::ZERO,
        bodies: Duration::ZERO,
    };
    scene.moment().await;
    crate::maintain::sweep_all(&scene, &none).await;
    assert_eq!(scene.store.run(run).await.expect("run"), None);
    assert_eq!(scene.shown(next).await.inbox.len(), 1);
}

/// The steps of many runs are one group. A repeat of it says the same, and one that is not fine undoes all.
pub async fn many_runs_share_a_group(backend: &dyn Backend) {
    let scene = Scene::open(backend).await;
    let (mut ops, mut runs) = (Vec::new(), Vec::new());
    for body in ["a", "b", "c"] {
        let claim = scene.arrived(body).await;
        let mut step = begin(scene.me, scene.run_id());
        step.subscribe = vec![run_key(body)];
        step.kept = vec![claim.delivery];
        step.hold = true;
        ops.extend([enter(claim, Some(step.claim.run), &[]), op(&step)]);
        runs.push(step.claim);
    }
    let done = scene.group_done(&ops).await;
    for (outcomes, claim) in done.chunks(2).zip(&runs) {
        let entered = Outcome::Entered(EnterOutcome::Entered(claim.run));
        assert_eq!(outcomes, [entered, Outcome::Stepped(StepOutcome::Done)]);
    }
    assert_eq!(scene.group_done(&ops).await, done, "once more");
    // One of them is somebody else's.
    let stale = RunClaim {
        token: 2,
        ..runs[1]
    };
    let next = [runs[0], stale, runs[2]].map(|claim| Step {
        state: Some(Bytes::from_static(b"never")),
        ..rest(claim, 0)
    });
    let undone = scene.group_by(scene.me, &next.each_ref().map(op)).await;
    let fenced = GroupOutcome::Undone {
        member: 1,
        outcome: Outcome::Stepped(StepOutcome::Fenced),
    };
    assert_eq!(undone, fenced);
    // Two of them want one key.
    let wish = [runs[0], runs[2]].map(|claim| Step {
        subscribe: vec![run_key("wanted")],
        hold: true,
        ..rest(claim, 0)
    });
    let undone = scene.group_by(scene.me, &wish.each_ref().map(op)).await;
    let taken = |outcome: &Outcome| matches!(outcome, Outcome::Stepped(StepOutcome::Taken { .. }));
    assert!(
        matches!(&undone, GroupOutcome::Undone { outcome, .. } if taken(outcome)),
        "{undone:?}"
    );
    for (claim, key) in runs.iter().zip(["a", "b", "c"]) {
        let shown = scene.shown(claim.run).await;
        assert_eq!(shown.data, Some(Bytes::from_static(b"begun")));
        assert_eq!(shown.keys, [run_key(key)]);
    }
    // Each becomes something else.
    let mut last = runs.clone().into_iter().map(|claim| rest(claim, 0));
    let mut last = [(); 3].map(|()| last.next().expect("three"));
    last[0].status = completed();
    last[1].unsubscribe = vec![run_key("b")];
    last[2].status = RunStatus::Suspended {
        code: text("QS0830"),
        detail: text("too many"),
        step: name("wait"),
    };
    scene.group_done(&last.each_ref().map(op)).await;
    let mut states = Vec::new();
    for claim in &runs {
        let shown = scene.shown(claim.run).await;
        states.push((shown.row.state, shown.keys.len()));
    }
    let wanted = [
        (RunState::Completed, 0),
        (RunState::Waiting, 0),
        (RunState::Suspended, 1),
    ];
    assert_eq!(states, wanted);
    scene.no_run().await;
}

/// The body of a message stays as long as a run has it.
pub async fn what_a_run_keeps_stays_readable(backend: &dyn Backend) {
    let scene = Scene::open(backend).await;
    scene.waiting(&["k"]).await;
    let (_, second) = scene.entered("second", &["k"]).await;
    let none = Retention {
        metadata: Duration::from_secs(86_400),
        bodies: Duration::ZERO,
    };
    let body = async || {
        scene.moment().await;
        crate::maintain::sweep_all(&scene, &none).await;
        let message = scene.store.load(second.message).await.expect("load");
        body_of(&message.expect("it is listed"))
    };
    assert_eq!(body().await, "second", "in the inbox");
    let claimed = scene.the_run().await;
    let mut step = rest(claimed.claim, claimed.wakes);
    step.kept = vec![second];
    step.hold = true;
    scene.stepped(&step).await;
    assert_eq!(body().await, "second", "kept");
    let mut step = rest(claimed.claim, claimed.wakes);
    step.consumed = vec![second];
    scene.stepped(&step).await;
    assert_eq!(body().await, "", "retention runs from its end");
}
