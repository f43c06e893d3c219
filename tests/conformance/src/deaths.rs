//! What kills those who work on it, and what is left to others.

use std::time::Duration;

use quayside_store::{
    Change, Deaths, Want,
    model::{DeliveryId, DeliveryState, RunId},
    operate::OperateOutcome,
    runs::{Entered, INBOX_BYTES, RunWant},
};

use crate::{
    Backend,
    runs::{DEFINITION, ORCHESTRATION, op, rest},
    scene::{Scene, bodies_of, name, retry, suspend, text},
};

impl Scene<'_> {
    /// An instance claims what there is of the orchestration and dies: so many deliveries and runs are given back.
    async fn dies(&self) -> usize {
        let dead = self.instance().await;
        let messages = self.claim_unsent_by(dead, ORCHESTRATION, 9).await;
        let runs = self.runs_by(dead, 9).await;
        self.store.end_instance(dead).await.expect("end");
        let mut released = 0;
        while let 1.. = self.store.release_dead(9).await.expect("release") {
            released += 1;
        }
        assert!(released > 0, "nothing was released");
        messages.len() + runs.len()
    }
}

/// Each death of an owner is counted at the delivery, until an attempt is made or it is resumed.
pub async fn deaths_over_a_delivery_are_counted(backend: &dyn Backend) {
    let scene = Scene::open(backend).await;
    scene
        .stored(scene.publish("deadly", &[ORCHESTRATION]))
        .await;
    for _ in 0..3 {
        assert_eq!(scene.dies().await, 1);
    }
    let claimed = scene.claim(ORCHESTRATION, 9).await;
    assert_eq!(
        (bodies_of(&claimed), claimed[0].deaths),
        (vec!["deadly".to_owned()], 3)
    );
    assert!(!claimed[0].in_doubt, "it was not sent: {claimed:?}");
    // Whoever lives and gives it back proves nothing: it may not have got far enough. An attempt is one.
    scene.done(claimed[0].claim, Change::Release).await;
    let claimed = scene.claim(ORCHESTRATION, 9).await;
    assert_eq!(claimed[0].deaths, 3);
    scene.done(claimed[0].claim, retry(Duration::ZERO, 1)).await;
    assert_eq!(scene.dies().await, 1);
    let claimed = scene.claim(ORCHESTRATION, 9).await;
    assert_eq!(claimed[0].deaths, 1);
    scene.done(claimed[0].claim, suspend()).await;
    let id = claimed[0].id();
    let resumed = scene.store.resume(&[id], &text("by a test")).await;
    assert_eq!(resumed.expect("resume"), [OperateOutcome::Done]);
    let claimed = scene.claim(ORCHESTRATION, 9).await;
    assert_eq!(claimed[0].deaths, 0);
    let way = scene.store.message(id.message).await.expect("way");
    let way = way.expect("stored");
    assert_eq!(way.live_deliveries[0].state, DeliveryState::Claimed);
}

/// Each death of an owner is counted at the run, until somebody makes a step of it.
pub async fn deaths_over_a_run_are_counted(backend: &dyn Backend) {
    let scene = Scene::open(backend).await;
    let run = scene.waiting(&["k"]).await;
    scene.entered("second", &["k"]).await;
    for _ in 0..3 {
        assert_eq!(scene.dies().await, 1);
    }
    let claimed = scene.the_run().await;
    assert_eq!((claimed.claim.run, claimed.deaths), (run, 3));
    // Who only gives it back proves nothing.
    let mut step = rest(claimed.claim, claimed.wakes);
    step.again = true;
    scene.stepped(&step).await;
    let claimed = scene.the_run().await;
    assert_eq!(claimed.deaths, 3);
    let mut step = rest(claimed.claim, claimed.wakes);
    step.again = true;
    step.state = Some(claimed.state.clone());
    scene.stepped(&step).await;
    assert_eq!(scene.the_run().await.deaths, 0);
}

/// What several owners have died over is claimed by who asks for it, and by nobody else.
pub async fn what_kills_is_claimed_apart(backend: &dyn Backend) {
    let scene = Scene::open(backend).await;
    scene.waiting(&["k"]).await;
    scene.entered("second", &["k"]).await;
    scene.dies().await;
    scene.dies().await;
    scene
        .stored(scene.publish("deadly", &[ORCHESTRATION]))
        .await;
    scene.dies().await;
    // Three died over the run, one over the message.
    let claim = async |deaths: Deaths| {
        let wants = [RunWant {
            deaths,
            ..RunWant::any(name(ORCHESTRATION), 9)
        }];
        let runs = scene.store.claim_runs(scene.me, &wants).await;
        let runs = runs.expect("claim runs");
        for run in &runs {
            let mut step = rest(run.claim, run.wakes);
            step.again = true;
            scene.stepped(&step).await;
        }
        let wants = [Want {
            port: name(ORCHESTRATION),
            room: 9,
            ordered: false,
            marks: true,
            deaths,
        }];
        let messages = scene.store.claim(scene.me, &wants).await.expect("claim");
        for message in &messages {
            scene.done(message.claim, Change::Release).await;
        }
        (runs.len(), messages.len())
    };
    assert_eq!(claim(Deaths::Below(1)).await, (0, 0));
    assert_eq!(claim(Deaths::Below(2)).await, (0, 1));
    assert_eq!(claim(Deaths::From(2)).await, (1, 0));
    assert_eq!(claim(Deaths::From(4)).await, (0, 0));
    assert_eq!(claim(Deaths::Any).await, (1, 1));
}

/// Whether something untried was accepted before a delivery is told, whoever has that, but not of other ports.
pub async fn what_came_before_is_told(backend: &dyn Backend) {
    let scene = Scene::open(backend).await;
    let preceded = async |id: DeliveryId| scene.store.is_preceded(id).await.expect("a look");
    scene.stored(scene.publish("other", &["other"])).await;
    scene.stored(scene.publish("first", &[ORCHESTRATION])).await;
    let first = scene.claim(ORCHESTRATION, 9).await;
    let first = first[0].claim;
    assert!(!preceded(first.delivery).await, "it is the first");
    scene
        .stored(scene.publish("second", &[ORCHESTRATION]))
        .await;
    let second = scene.claim(ORCHESTRATION, 9).await;
    let second = second[0].claim;
    assert!(preceded(second.delivery).await, "the first is in hand");
    scene.done(first, Change::Release).await;
    assert!(preceded(second.delivery).await, "the first waits");
    assert!(!preceded(first.delivery).await);
    let first = scene.claim(ORCHESTRATION, 9).await;
    let first = first[0].claim;
    scene.done(first, retry(Duration::ZERO, 1)).await;
    assert!(!preceded(second.delivery).await, "the first was tried");
    let first = scene.claim(ORCHESTRATION, 9).await;
    assert!(!preceded(second.delivery).await, "the first was tried");
    scene.done(first[0].claim, suspend()).await;
    scene.done(second, suspend()).await;
    let gone = scene.publish("never stored", &[ORCHESTRATION]).message.id;
    let gone = DeliveryId {
        message: gone,
        no: 0,
    };
    assert!(!preceded(gone).await, "there is none");
}

/// Runs of a definition that an instance does not want are claimed by others, whether they are ready or their time has come.
pub async fn runs_of_a_definition_are_left_to_others(backend: &dyn Backend) {
    let scene = Scene::open(backend).await;
    let run = scene.waiting(&["k"]).await;
    scene.entered("second", &["k"]).await;
    let (theirs, mine) = ([9; 16], DEFINITION);
    let claim = async |except: &[[u8; 16]]| -> Vec<RunId> {
        let wants = [RunWant {
            except: except.to_vec(),
            ..RunWant::any(name(ORCHESTRATION), 9)
        }];
        let claimed = scene.store.claim_runs(scene.me, &wants).await;
        let claimed = claimed.expect("claim runs");
        for one in &claimed {
            let mut step = rest(one.claim, one.wakes);
            step.due = Some(one.now);
            scene.group_done(&[op(&step)]).await;
        }
        claimed.iter().map(|one| one.claim.run).collect()
    };
    assert_eq!(claim(&[theirs, mine]).await, [], "it is ready");
    assert_eq!(claim(&[theirs]).await, [run]);
    assert_eq!(claim(&[mine, theirs]).await, [], "its time has come");
    assert_eq!(claim(&[]).await, [run]);
}

/// Of an inbox comes a page, from the first message on, and the next one on demand or once these are taken.
pub async fn an_inbox_comes_in_pages(backend: &dyn Backend) {
    const MESSAGES: usize = 20;
    let scene = Scene::open(backend).await;
    let run = scene.waiting(&["k"]).await;
    // So that some fit into a page.
    let body = |no: usize| format!("{no:05}{}", "x".repeat(INBOX_BYTES / 4 - 100));
    for no in 0..MESSAGES {
        scene.entered(&body(no), &["k"]).await;
    }
    let mut seen = 0;
    while seen < MESSAGES {
        let claimed = scene.the_run().await;
        let first = numbers(&claimed.inbox);
        let last = seen + first.len();
        assert_eq!(first, (seen..last).collect::<Vec<_>>());
        assert!((2..=5).contains(&first.len()), "{first:?}");
        assert_eq!(claimed.partial, last < MESSAGES, "{last} seen");
        // All pages in their order, one behind the other.
        let mut all = first;
        let (mut after, mut more) = (claimed.inbox.last().map(|one| one.delivery), true);
        while more {
            let after_it = after.expect("a page has messages");
            let page = scene.store.inbox(run, after_it).await.expect("a page");
            all.extend(numbers(&page.messages));
            after = page.messages.last().map(|one| one.delivery).or(after);
            more = page.partial;
        }
        assert_eq!(all, (seen..MESSAGES).collect::<Vec<_>>());
        let mut step = rest(claimed.claim, claimed.wakes);
        step.consumed = claimed.inbox.iter().map(|one| one.delivery).collect();
        step.again = claimed.partial;
        scene.stepped(&step).await;
        seen = last;
        let gone = scene.store.inbox(run, step.consumed[0]).await;
        assert_eq!(gone.expect("a page").messages, []);
    }
}

fn numbers(inbox: &[Entered]) -> Vec<usize> {
    let number = |one: &Entered| crate::scene::body_of(&one.message)[..5].parse();
    let all: Result<_, _> = inbox.iter().map(number).collect();
    all.expect("numbers")
}
