//! Orchestration instances as partners and people see them: questions and answers, orders, lists, repeats.

use std::time::Duration;

use bytes::Bytes;
use quayside_store::{
    Change, GroupOutcome, Op, Outcome, Publish, PublishOutcome, codes,
    commit::{Answer, Birth, NewExchange},
    model::{Content, EndResult, ExchangeId, MessageId, Part, RunId},
    runs::{
        AskedEnd, ClaimedRun, EnterOutcome, NewRun, OrderOutcome, RunAnswer, RunFilter, RunState,
        RunStatus, StepOutcome,
    },
};

use crate::{
    Backend,
    runs::{DEFINITION, ORCHESTRATION, begin, completed, enter, op, rest, run_key},
    scene::{Scene, failure, name, sent, suspend, text},
};

pub(crate) fn body(of: &str) -> Part {
    Part {
        name: name("body"),
        content_type: Some(text("text/plain")),
        content: Content::Inline(Bytes::copy_from_slice(of.as_bytes())),
    }
}

impl Scene<'_> {
    /// A message for `ports` with which `run` opens an exchange.
    fn question(&self, run: Option<RunId>, ports: &[&str]) -> (ExchangeId, Publish) {
        let id = ExchangeId::from_bytes(self.random());
        let mut publish = self.publish("question", ports);
        publish.exchange = Some(NewExchange {
            id,
            keep: Duration::from_secs(600),
            run,
            lease: None,
        });
        (id, publish)
    }

    /// A run that has asked the port `out` and waits.
    async fn asked(&self) -> (RunId, ExchangeId, MessageId) {
        let run = self.run_id();
        let (exchange, publish) = self.question(Some(run), &["out"]);
        let message = publish.message.id;
        let step = begin(self.me, run);
        self.group_done(&[op(&step), Op::Publish(Box::new(publish))])
            .await;
        self.no_run().await;
        (run, exchange, message)
    }
}

pub(crate) fn ends(run: &ClaimedRun) -> Vec<(ExchangeId, AskedEnd)> {
    let one = |asked: &quayside_store::runs::Asked| (asked.exchange, asked.end.clone());
    run.asked.iter().map(one).collect()
}

/// The end of the delivery with an answer.
pub(crate) fn answered(exchange: ExchangeId, of: &str) -> Change {
    Change::End {
        result: EndResult::Sent,
        attempts: 1,
        detail: text("200"),
        answer: Some(Box::new(Answer {
            exchange,
            status: 200,
            body: body(of),
        })),
    }
}

/// An answer wakes the run that waits for it, and is told until the run closes the exchange.
pub async fn an_answer_wakes_who_asked(backend: &dyn Backend) {
    let scene = Scene::open(backend).await;
    let (run, exchange, message) = scene.asked().await;
    let claim = scene.claim("out", 1).await.remove(0).claim;
    scene.done(claim, answered(exchange, "yes")).await;
    let mut claimed = scene.the_run().await;
    for _ in 0..2 {
        assert_eq!(claimed.claim.run, run);
        match &claimed.asked[..] {
            [asked] => {
                assert_eq!((asked.exchange, asked.message), (exchange, message));
                let AskedEnd::Answered {
                    status, body: of, ..
                } = &asked.end
                else {
                    panic!("{asked:?}");
                };
                assert_eq!((*status, of), (200, &body("yes")));
            }
            other => panic!("{other:?}"),
        }
        scene.store.release_runs(scene.me, &[]).await.expect("ok");
        claimed = scene.the_run().await;
    }
    let mut step = rest(claimed.claim, claimed.wakes);
    step.closed = vec![exchange];
    scene.stepped(&step).await;
    assert_eq!(scene.store.answers(&[exchange]).await.expect("ok"), []);
    scene.no_run().await;
}

/// A delivery that ended without an answer, is suspended or was ended by an operator wakes who waits for it.
pub async fn what_becomes_of_a_question_is_told(backend: &dyn Backend) {
    let scene = Scene::open(backend).await;
    let failed = |code: &str, detail: &str| AskedEnd::Failed {
        code: text(code),
        detail: text(detail),
    };
    let (_, exchange, _) = scene.asked().await;
    let claim = scene.claim("out", 1).await.remove(0).claim;
    scene.done(claim, sent()).await;
    let told = scene.the_run().await;
    assert_eq!(ends(&told), [(exchange, AskedEnd::Delivered)]);

    let (_, exchange, message) = scene.asked().await;
    let claim = scene.claim("out", 1).await.remove(0).claim;
    scene.done(claim, suspend()).await;
    let suspended = scene.the_run().await;
    let of = failure("gave up");
    let end = failed(&of.code, &of.detail);
    assert_eq!(ends(&suspended), [(exchange, end)]);
    let rests = rest(suspended.claim, suspended.wakes);
    scene.stepped(&rests).await;
    scene.no_run().await;
    let note = text("by a test");
    scene
        .store
        .terminate(&[claim.delivery], &note)
        .await
        .expect("terminate");
    let terminated = scene.the_run().await;
    assert_eq!(terminated.asked[0].message, message);
    let end = failed(codes::UNANSWERED.code, "terminated");
    assert_eq!(ends(&terminated), [(exchange, end)]);
}

/// A question that never began its way is told too: one for nobody, and one suspended from birth.
pub async fn a_question_for_nobody_is_told(backend: &dyn Backend) {
    let scene = Scene::open(backend).await;
    for born in ["unrouted", "suspended"] {
        let run = scene.run_id();
        let (exchange, mut publish) = scene.question(Some(run), &["out"]);
        match born {
            "unrouted" => publish.deliveries.clear(),
            _ => publish.deliveries[0].birth = Birth::Suspended(failure("no such port")),
        }
        let step = begin(scene.me, run);
        scene
            .group_done(&[op(&step), Op::Publish(Box::new(publish))])
            .await;
        let claimed = scene.the_run().await;
        assert_eq!(claimed.claim.run, run);
        let (code, detail) = match born {
            "unrouted" => (codes::UNANSWERED.code, born),
            _ => ("QS9999", "no such port"),
        };
        let (code, detail) = (text(code), text(detail));
        let end = AskedEnd::Failed { code, detail };
        assert_eq!(ends(&claimed), [(exchange, end)]);
    }
}

/// A run that asks once more in the same exchange gets the answer to the new message.
pub async fn a_question_asked_again_forgets_the_answer(backend: &dyn Backend) {
    let scene = Scene::open(backend).await;
    let (_, exchange, _) = scene.asked().await;
    let claim = scene.claim("out", 1).await.remove(0).claim;
    scene.done(claim, answered(exchange, "first")).await;
    let claimed = scene.the_run().await;
    let (_, mut again) = scene.question(Some(claimed.claim.run), &["out"]);
    again.exchange = again.exchange.map(|asked| NewExchange {
        id: exchange,
        ..asked
    });
    let message = again.message.id;
    let step = rest(claimed.claim, claimed.wakes);
    let publish = Op::Publish(Box::new(again));
    scene.group_done(&[op(&step), publish]).await;
    let answers = scene.store.answers(&[exchange]).await;
    assert_eq!(answers.expect("answers"), []);
    let claim = scene.claim("out", 1).await.remove(0).claim;
    scene.done(claim, answered(exchange, "second")).await;
    let claimed = scene.the_run().await;
    assert_eq!(claimed.asked.len(), 1);
    assert_eq!(claimed.asked[0].message, message);
    assert!(
        matches!(&claimed.asked[0].end, AskedEnd::Answered { body: of, .. } if *of == body("second"))
    );
}

/// A question on its way is not told; closed, what becomes of it wakes nobody.
pub async fn a_closed_exchange_is_over(backend: &dyn Backend) {
    let scene = Scene::open(backend).await;
    let (run, exchange, _) = scene.asked().await;
    let left = scene.store.order_run(run, "look").await.expect("order");
    assert_eq!(left, OrderOutcome::Left);
    let claimed = scene.the_run().await;
    assert_eq!(claimed.asked, [], "it is on its way");
    let (other, publish) = scene.question(None, &["out"]);
    scene.stored(publish).await;
    let mut step = rest(claimed.claim, claimed.wakes);
    (step.ordered, step.closed) = (true, vec![exchange, other]);
    scene.stepped(&step).await;
    for claimed in scene.claim("out", 9).await {
        let of = claimed.exchange.expect("each is a question");
        scene.done(claimed.claim, answered(of, "late")).await;
    }
    scene.no_run().await;
    let kept = scene.store.answers(&[exchange, other]).await.expect("ok");
    let kept: Vec<_> = kept.iter().map(|answer| answer.exchange).collect();
    assert_eq!(kept, [other], "it was not the run's to close");
}

/// A step answers who sent the message; the first answer stays, and a message that asked nothing has none.
pub async fn a_step_answers_a_request(backend: &dyn Backend) {
    let scene = Scene::open(backend).await;
    let (asker, _, _) = scene.asked().await;
    let (exchange, publish) = scene.question(Some(asker), &[ORCHESTRATION]);
    let request = publish.message.id;
    scene.stored(publish).await;
    let claim = scene.claim(ORCHESTRATION, 1).await.remove(0).claim;
    let run = scene.run_id();
    let mut step = begin(scene.me, run);
    (step.hold, step.kept) = (true, vec![claim.delivery]);
    scene
        .group_done(&[enter(claim, Some(run), &[]), op(&step)])
        .await;
    scene.no_run().await;
    let silent = scene.stored(scene.publish("one way", &["nobody"])).await;
    let mut step = rest(step.claim, 0);
    step.status = completed();
    step.consumed = vec![claim.delivery];
    let answer = |message, of: &str| RunAnswer {
        message,
        status: 202,
        body: body(of),
    };
    step.answers = vec![answer(request, "done"), answer(silent, "nothing")];
    scene.stepped(&step).await;
    let claimed = scene.the_run().await;
    assert_eq!(claimed.claim.run, asker);
    match &ends(&claimed)[..] {
        [
            (
                of,
                AskedEnd::Answered {
                    status, body: with, ..
                },
            ),
        ] => {
            assert_eq!((of, status, with), (&exchange, &202, &body("done")));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(scene.events(request).await, ["consumed"]);
}

/// A group that is run again, because its commit was lost in the dark, does no harm.
pub async fn a_repeat_does_no_harm(backend: &dyn Backend) {
    let scene = Scene::open(backend).await;
    let claim = scene.arrived("first").await;
    let run = scene.run_id();
    let mut step = begin(scene.me, run);
    (step.hold, step.consumed) = (true, vec![claim.delivery]);
    step.subscribe = vec![run_key("k")];
    let publish = scene.publish("once", &["out"]);
    let first = [
        enter(claim, Some(run), &[]),
        op(&step),
        Op::Publish(Box::new(publish)),
    ];
    let done = scene.group_done(&first).await;
    assert_eq!(scene.group_done(&first).await, done);
    assert_eq!(scene.events(claim.delivery.message).await, ["consumed"]);
    assert_eq!(scene.claim("out", 9).await.len(), 1);

    let second = scene.arrived("second").await;
    let entrance = [enter(second, None, &["k"])];
    let entered = [Outcome::Entered(EnterOutcome::Entered(run))];
    for _ in 0..2 {
        assert_eq!(scene.group_done(&entrance).await, entered);
    }
    let mut step = rest(step.claim, 0);
    step.consumed = vec![second.delivery];
    scene.stepped(&step).await;
    let undone = scene.group_by(scene.me, &[op(&step)]).await;
    let fenced = GroupOutcome::Undone {
        member: 0,
        outcome: Outcome::Stepped(StepOutcome::Fenced),
    };
    assert_eq!(undone, fenced, "it was given back");
    assert_eq!(scene.group_done(&entrance).await, entered, "it has ended");
    assert_eq!(scene.events(second.delivery.message).await, ["consumed"]);
    assert_eq!(scene.the_run().await.inbox, []);
}

/// A value that the store refuses is found among the members, and nothing of them has happened.
pub async fn a_refused_publication_undoes_the_step(backend: &dyn Backend) {
    let scene = Scene::open(backend).await;
    let claim = scene.arrived("first").await;
    let run = scene.run_id();
    let mut publish = scene.publish("bad", &["out"]);
    let mut parts = publish.message.parts.clone();
    parts.push(parts[0].clone());
    parts[1].content = Content::Stored(quayside_store::model::StoredBody {
        id: quayside_store::model::BodyId::from_bytes(scene.random()),
        len: 5,
        chunks: 1,
        sha256: [0; 32],
    });
    std::sync::Arc::make_mut(&mut publish.message).parts = parts;
    let ops = [
        enter(claim, Some(run), &[]),
        op(&begin(scene.me, run)),
        Op::Publish(Box::new(publish)),
    ];
    let undone = scene.group_by(scene.me, &ops).await;
    assert!(
        matches!(
            undone,
            GroupOutcome::Undone {
                member: 2,
                outcome: Outcome::Published(PublishOutcome::Refused(_))
            }
        ),
        "{undone:?}"
    );
    assert_eq!(scene.store.run(run).await.expect("run"), None);
    let held = scene.store.claims_of(scene.me).await.expect("claims");
    assert_eq!(held, [claim]);
}

/// A suspended run waits for an order, whatever else happens to it; what is left later stays for the next.
pub async fn an_order_wakes_a_suspended_run(backend: &dyn Backend) {
    let scene = Scene::open(backend).await;
    let run = scene.waiting(&["k"]).await;
    scene.entered("second", &["k"]).await;
    let claimed = scene.the_run().await;
    let mut step = rest(claimed.claim, claimed.wakes);
    step.status = RunStatus::Suspended {
        code: text("QS9999"),
        detail: text("no luck"),
        step: name("ask"),
    };
    step.due = Some(claimed.now);
    scene.stepped(&step).await;
    scene.entered("third", &["k"]).await;
    scene.no_run().await;
    let row = scene.shown(run).await.row;
    assert_eq!(row.state, RunState::Suspended);
    assert_eq!(row.reason, Some(text("QS9999 at ask: no luck")));
    for order in ["wrong", "resume"] {
        let left = scene.store.order_run(run, order).await.expect("order");
        assert_eq!(left, OrderOutcome::Left);
    }
    let claimed = scene.the_run().await;
    assert_eq!(claimed.order, Some(text("resume")));
    assert_eq!(claimed.inbox.len(), 2);
    // One that comes meanwhile was not read, so that it is not done.
    let left = scene.store.order_run(run, "terminate").await;
    assert_eq!(left.expect("order"), OrderOutcome::Left);
    step.claim = claimed.claim;
    (step.wakes, step.ordered, step.due) = (claimed.wakes, true, None);
    scene.stepped(&step).await;
    let claimed = scene.the_run().await;
    assert_eq!(claimed.order, Some(text("terminate")));
    let mut step = rest(claimed.claim, claimed.wakes);
    step.ordered = true;
    step.status = RunStatus::Ended {
        completed: false,
        reason: text("by a test"),
    };
    scene.stepped(&step).await;
    let row = scene.shown(run).await.row;
    assert_eq!(row.state, RunState::Terminated);
    assert_eq!((row.reason, row.discarded), (Some(text("by a test")), 2));
    let missing = scene.store.order_run(scene.run_id(), "resume").await;
    assert_eq!(missing.expect("order"), OrderOutcome::Missing);
}

/// A run that is to stay in hand is given back with the first step after an order, so that the order is read. One that
/// came with the claim and was done ends no hold.
pub async fn an_order_ends_the_hold(backend: &dyn Backend) {
    let scene = Scene::open(backend).await;
    let run = scene.waiting(&["k"]).await;
    let order = async |order: &str| {
        let left = scene.store.order_run(run, order).await;
        assert_eq!(left.expect("order"), OrderOutcome::Left);
    };
    order("retry").await;
    let claimed = scene.the_run().await;
    let mut step = rest(claimed.claim, claimed.wakes);
    (step.hold, step.ordered) = (true, true);
    scene.stepped(&step).await;
    step.ordered = false;
    scene.stepped(&step).await;
    assert_eq!(scene.shown(run).await.order, None);
    order("terminate").await;
    assert_eq!(scene.shown(run).await.order, Some(text("terminate")));
    step.state = Some(Bytes::from_static(b"further"));
    let done = scene.group_done(&[op(&step)]).await;
    assert_eq!(done, [Outcome::Stepped(StepOutcome::GivenBack)]);
    let shown = scene.shown(run).await;
    assert_eq!(shown.data, Some(Bytes::from_static(b"further")));
    assert_eq!(
        (shown.row.state, shown.row.instance),
        (RunState::Ready, None)
    );
    let undone = scene.group_by(scene.me, &[op(&step)]).await;
    assert!(matches!(undone, GroupOutcome::Undone { .. }), "{undone:?}");
    let claimed = scene.the_run().await;
    assert_eq!(claimed.order, Some(text("terminate")));
    assert_eq!(claimed.claim.token, step.claim.token + 1);
}

/// Runs are listed newest first, by pages and filters, and counted.
pub async fn runs_are_listed_and_counted(backend: &dyn Backend) {
    let scene = Scene::open(backend).await;
    let mut runs = Vec::new();
    for (no, of) in ["orders.a", "orders.a", "orders.b", "other.a"]
        .into_iter()
        .enumerate()
    {
        let mut step = begin(scene.me, scene.run_id());
        step.create = Some(NewRun {
            orchestration: name(of),
            definition: [u8::try_from(no).expect("few"); 16],
        });
        if no == 1 {
            step.status = completed();
        }
        step.hold = no == 2;
        scene.stepped(&step).await;
        runs.push(step.claim.run);
    }
    runs.sort_unstable();
    runs.reverse();
    let list = async |of: Option<&str>, state, before, limit| -> Vec<RunId> {
        let filter = RunFilter {
            orchestration: of.map(text),
            state,
        };
        let rows = scene.store.runs(&filter, before, limit).await;
        rows.expect("runs").iter().map(|row| row.id).collect()
    };
    assert_eq!(list(None, None, None, 9).await, runs);
    assert_eq!(list(None, None, None, 3).await, runs[..3]);
    assert_eq!(list(None, None, Some(runs[2]), 9).await, runs[3..]);
    assert_eq!(list(Some("orders"), None, None, 9).await.len(), 3);
    assert_eq!(list(Some("orders."), None, None, 9).await.len(), 3);
    assert_eq!(list(Some("orders.a"), None, None, 9).await.len(), 2);
    assert_eq!(list(Some("order"), None, None, 9).await, []);
    let waiting = list(Some("orders"), Some(RunState::Waiting), None, 9).await;
    assert_eq!(waiting.len(), 1);
    for (state, count) in [
        (RunState::Waiting, 2),
        (RunState::Running, 1),
        (RunState::Completed, 1),
        (RunState::Terminated, 0),
    ] {
        assert_eq!(list(None, Some(state), None, 9).await.len(), count);
    }
    let live = scene.store.live_runs(9).await.expect("live");
    let counted = [
        ("orders.a", RunState::Waiting),
        ("orders.b", RunState::Running),
        ("other.a", RunState::Waiting),
    ];
    assert_eq!(live, counted.map(|(of, state)| (name(of), state, 1)));
    for _ in 0..3 {
        let mut step = begin(scene.me, scene.run_id());
        step.create = Some(NewRun {
            orchestration: name("orders.b"),
            definition: DEFINITION,
        });
        scene.stepped(&step).await;
    }
    let live = scene.store.live_runs(2).await.expect("live");
    let counted = (name("orders.b"), RunState::Waiting, 2);
    assert_eq!(live[2], counted, "it counts no further");
}

/// Definitions stay while a run is bound to them, and as long as no other one has replaced them.
pub async fn definitions_stay_while_they_are_needed(backend: &dyn Backend) {
    let scene = Scene::open(backend).await;
    let of = name(ORCHESTRATION);
    let kept = async |fingerprint| {
        let kept = scene.store.definition(&of, fingerprint).await;
        kept.expect("definition")
    };
    let keep = async |fingerprint, text| {
        let kept = scene.store.keep_definition(&of, fingerprint, text).await;
        kept.expect("it is kept");
    };
    assert_eq!(kept([1; 16]).await, None);
    for _ in 0..2 {
        keep([1; 16], "one").await;
    }
    scene.moment().await;
    keep(DEFINITION, "bound").await;
    assert_eq!(kept([1; 16]).await.as_deref(), Some("one"));
    let other = scene.store.definition(&name("other.one"), [1; 16]).await;
    assert_eq!(other.expect("definition"), None);
    let bound = async || {
        let bound = scene.store.bound_definitions().await;
        bound.expect("definitions")
    };
    assert_eq!(bound().await, []);
    let mut step = begin(scene.me, scene.run_id());
    step.hold = true;
    scene.stepped(&step).await;
    let told = (of.clone(), DEFINITION, "bound".to_owned());
    assert_eq!(bound().await, [told]);
    let mut over = rest(step.claim, 0);
    over.status = completed();
    scene.stepped(&over).await;
    assert_eq!(bound().await, [], "its run is over");
    scene.stepped(&begin(scene.me, scene.run_id())).await;
    if !backend.virtual_time() {
        return;
    }
    let retention = quayside_store::maintain::Retention::default();
    let day = Duration::from_secs(86_400);
    backend.pass(day * 2).await;
    keep([2; 16], "two").await;
    crate::maintain::sweep_all(&scene, &retention).await;
    let left = [
        kept([1; 16]).await,
        kept(DEFINITION).await,
        kept([2; 16]).await,
    ];
    assert!(left[0].is_none(), "the bound one came after it");
    backend.pass(day * 2).await;
    crate::maintain::sweep_all(&scene, &retention).await;
    assert_eq!(kept(DEFINITION).await.as_deref(), Some("bound"));
    assert_eq!(kept([2; 16]).await.as_deref(), Some("two"), "the last one");
    assert!(left[1].is_some() && left[2].is_some());
}
