//! Work under a lease: who has it, how long, and which answer counts.

use std::time::Duration;

use quayside_store::{
    Op, Publish,
    commit::NewExchange,
    model::{ExchangeId, RunId, Timestamp},
    runs::{AskedEnd, ClaimedRun},
    work::{Lease, NewLease, TOLD, Ticket, WorkAnswer, WorkOutcome},
};

use crate::{
    Backend,
    orchestrated::{answered, body, ends},
    runs::{begin, completed, op, rest},
    scene::{Scene, sent, suspend},
};

const TOKEN: [u8; 16] = [0xab; 16];

/// A lease that does not end while a case runs.
const LONG: Duration = Duration::from_secs(3600 * 100);

impl Scene<'_> {
    /// A message that asks a program for `run`.
    fn work(&self, run: RunId, of: ExchangeId, attempt: u32, length: Duration) -> Publish {
        let mut publish = self.publish("work", &["out"]);
        publish.exchange = Some(NewExchange {
            id: of,
            keep: Duration::from_secs(3600 * 1000),
            run: Some(run),
            lease: Some(NewLease {
                length,
                token: TOKEN,
                attempt,
            }),
        });
        publish
    }

    /// A run that has given work under a lease, and waits.
    async fn leased(&self, length: Duration) -> (RunId, Ticket) {
        let run = self.run_id();
        let exchange = ExchangeId::from_bytes(self.random());
        let publish = self.work(run, exchange, 1, length);
        self.group_done(&[op(&begin(self.me, run)), Op::Publish(Box::new(publish))])
            .await;
        self.no_run().await;
        let ticket = Ticket {
            exchange,
            token: TOKEN,
            attempt: 1,
        };
        (run, ticket)
    }

    /// Asks once more.
    async fn asked_again(&self, claimed: &ClaimedRun, ticket: &Ticket, length: Duration) -> Ticket {
        let attempt = ticket.attempt + 1;
        let publish = self.work(claimed.claim.run, ticket.exchange, attempt, length);
        let mut step = rest(claimed.claim, claimed.wakes);
        step.ordered = true;
        self.group_done(&[op(&step), Op::Publish(Box::new(publish))])
            .await;
        Ticket { attempt, ..*ticket }
    }

    async fn renewed(&self, ticket: &Ticket) -> Option<Timestamp> {
        let renewed = self.store.renew_work(ticket).await.expect("renew");
        let until = self.store.work_until(ticket).await.expect("until");
        assert_eq!(renewed, until, "what is renewed is held");
        renewed
    }

    async fn told(&self, ticket: &Ticket, status: u16, of: &str) -> WorkOutcome {
        let answer = WorkAnswer {
            status,
            body: body(of),
        };
        let outcome = self.store.answer_work(ticket, &answer).await;
        outcome.expect("answer")
    }

    /// The run, which an order has woken.
    async fn woken(&self, run: RunId) -> ClaimedRun {
        self.store.order_run(run, "look").await.expect("order");
        self.the_run().await
    }
}

/// The only answer that a claimed run finds.
fn the_answer(claimed: &ClaimedRun) -> (u16, String) {
    match &ends(claimed)[..] {
        [(_, AskedEnd::Answered { status, body, .. })] => {
            let quayside_store::model::Content::Inline(bytes) = &body.content else {
                panic!("{body:?}");
            };
            (*status, String::from_utf8_lossy(bytes).into_owned())
        }
        other => panic!("{other:?}"),
    }
}

/// A lease goes on from each renewal, without waking the run, which finds it at its next claim.
pub async fn a_lease_is_renewed(backend: &dyn Backend) {
    let scene = Scene::open(backend).await;
    let (run, ticket) = scene.leased(LONG).await;
    let claimed = scene.woken(run).await;
    let lease = |until| Lease {
        exchange: ticket.exchange,
        until,
        token: TOKEN,
    };
    let first = scene.store.work_until(&ticket).await.expect("until");
    assert!(first.is_some());
    assert_eq!(claimed.leases, [lease(first)]);
    assert_eq!(claimed.asked, [], "it is under way");
    let mut step = rest(claimed.claim, claimed.wakes);
    step.ordered = true;
    scene.stepped(&step).await;
    backend.pass(Duration::from_millis(5)).await;
    let second = scene.renewed(&ticket).await;
    assert!(second > first, "{second:?} after {first:?}");
    scene.no_run().await;
    assert_eq!(scene.woken(run).await.leases, [lease(second)]);
}

/// Neither another attempt nor another token renews a lease, nor does anybody one that is over.
pub async fn a_lease_belongs_to_its_ticket(backend: &dyn Backend) {
    let scene = Scene::open(backend).await;
    let (run, ticket) = scene.leased(LONG).await;
    let wrong = [
        Ticket {
            attempt: 2,
            ..ticket
        },
        Ticket {
            token: [1; 16],
            ..ticket
        },
        Ticket {
            exchange: ExchangeId::from_bytes(scene.random()),
            ..ticket
        },
    ];
    for ticket in &wrong {
        assert_eq!(scene.renewed(ticket).await, None);
    }
    for ticket in &wrong[1..] {
        assert_eq!(scene.told(ticket, 200, "mine").await, WorkOutcome::Over);
    }
    let claimed = scene.woken(run).await;
    let second = scene.asked_again(&claimed, &ticket, LONG).await;
    assert_eq!(scene.renewed(&ticket).await, None, "given to another one");
    assert!(scene.renewed(&second).await.is_some());
    let claimed = scene.woken(run).await;
    let third = scene
        .asked_again(&claimed, &second, Duration::from_millis(1))
        .await;
    backend.pass(Duration::from_millis(5)).await;
    assert_eq!(scene.renewed(&third).await, None, "it is over");
}

/// The first answer counts, of whichever attempt, and wakes the run; its repeat is known for a while after the run has
/// taken it, and every other one is late.
pub async fn the_first_answer_to_work_counts(backend: &dyn Backend) {
    let scene = Scene::open(backend).await;
    let (run, first) = scene.leased(Duration::from_millis(1)).await;
    let claimed = scene.woken(run).await;
    let second = scene.asked_again(&claimed, &first, LONG).await;
    scene.no_run().await;
    assert_eq!(scene.told(&first, 200, "done").await, WorkOutcome::Kept);
    let claimed = scene.the_run().await;
    assert_eq!(the_answer(&claimed), (200, "done".to_owned()));
    assert_eq!(claimed.leases[0].until, None);
    assert_eq!(scene.renewed(&second).await, None, "it is answered");
    for taken in [false, true] {
        for ticket in [&first, &second] {
            assert_eq!(scene.told(ticket, 200, "done").await, WorkOutcome::Kept);
            assert_eq!(scene.told(ticket, 200, "else").await, WorkOutcome::Over);
            assert_eq!(scene.told(ticket, 422, "done").await, WorkOutcome::Over);
        }
        if !taken {
            let mut step = rest(claimed.claim, claimed.wakes);
            step.closed = vec![first.exchange];
            scene.stepped(&step).await;
        }
    }
    scene.no_run().await;
    assert_eq!(scene.woken(run).await.leases, [], "it is closed");
    if !backend.virtual_time() {
        return;
    }
    backend.pass(TOLD * 2).await;
    crate::maintain::sweep_all(&scene, &quayside_store::maintain::Retention::default()).await;
    assert_eq!(scene.told(&first, 200, "done").await, WorkOutcome::Over);
}

/// An answer that comes while the run asks once more stays: unlike that of a call, it is not the answer to one message.
pub async fn an_answer_stays_when_work_is_given_again(backend: &dyn Backend) {
    let scene = Scene::open(backend).await;
    let (run, first) = scene.leased(LONG).await;
    let claimed = scene.woken(run).await;
    assert_eq!(scene.told(&first, 200, "done").await, WorkOutcome::Kept);
    let second = scene.asked_again(&claimed, &first, LONG).await;
    let claimed = scene.the_run().await;
    assert_eq!(the_answer(&claimed), (200, "done".to_owned()));
    assert_eq!(scene.told(&second, 200, "else").await, WorkOutcome::Over);
    // Closed and asked again, as after a failure, it is new work under the same key.
    let mut step = rest(claimed.claim, claimed.wakes);
    step.closed = vec![first.exchange];
    scene.stepped(&step).await;
    let claimed = scene.woken(run).await;
    let third = scene.asked_again(&claimed, &second, LONG).await;
    assert!(scene.renewed(&third).await.is_some());
    assert_eq!(scene.told(&third, 422, "no").await, WorkOutcome::Kept);
    assert_eq!(the_answer(&scene.the_run().await), (422, "no".to_owned()));
}

/// A program that has taken the message may answer later; one that cannot be asked is told.
pub async fn work_that_was_delivered_goes_on(backend: &dyn Backend) {
    let scene = Scene::open(backend).await;
    let (_, ticket) = scene.leased(LONG).await;
    let claim = scene.claim("out", 1).await.remove(0).claim;
    scene.done(claim, sent()).await;
    let claimed = scene.the_run().await;
    assert_eq!(claimed.asked, [], "it has the work");
    let second = scene.asked_again(&claimed, &ticket, LONG).await;
    let claim = scene.claim("out", 1).await.remove(0).claim;
    scene.done(claim, suspend()).await;
    let claimed = scene.the_run().await;
    assert!(
        matches!(&ends(&claimed)[..], [(_, AskedEnd::Failed { .. })]),
        "{:?}",
        claimed.asked
    );
    let third = scene.asked_again(&claimed, &second, LONG).await;
    let claim = scene.claim("out", 1).await.remove(0).claim;
    scene.done(claim, answered(third.exchange, "at once")).await;
    let claimed = scene.the_run().await;
    assert_eq!(the_answer(&claimed), (200, "at once".to_owned()));
    let mut step = rest(claimed.claim, claimed.wakes);
    step.closed = vec![third.exchange];
    scene.stepped(&step).await;
    assert_eq!(
        scene.told(&third, 200, "at once").await,
        WorkOutcome::Over,
        "it has its answer from there"
    );
}

/// Work whose run is over, or has given it up, is over: nobody renews it and no answer counts.
pub async fn work_ends_with_its_run(backend: &dyn Backend) {
    let scene = Scene::open(backend).await;
    for ended in [true, false] {
        let (run, ticket) = scene.leased(LONG).await;
        let claimed = scene.woken(run).await;
        let mut step = rest(claimed.claim, claimed.wakes);
        step.ordered = true;
        match ended {
            true => step.status = completed(),
            false => step.closed = vec![ticket.exchange],
        }
        scene.stepped(&step).await;
        assert_eq!(scene.renewed(&ticket).await, None);
        assert_eq!(scene.told(&ticket, 200, "late").await, WorkOutcome::Over);
        scene.no_run().await;
    }
}
