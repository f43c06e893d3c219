//! One real agent beside a store that answers at once and peers that are only rows: what each policy decides.

mod death;
mod drill;
mod rig;

use std::time::Duration;

use quayside_lease::{
    Action, Cause, Event, Exclusion, Failback, MoveOrder, NodeSeen, Refusal, State,
};

use rig::{Rig, name};

#[test]
fn a_free_group_is_taken_in_order() {
    let mut rig = Rig::new(|_| {});
    rig.pass(1000);
    assert_eq!(rig.state(), State::Online, "{:#?}", rig.did);
    let mut second = Rig::new(|p| p.preferred = vec![name("b")]);
    second.peer("b");
    second.pass(100);
    assert_ne!(second.state(), State::Online, "b comes first");
    second.pass(900);
    assert_eq!(second.state(), State::Online, "b did not take it");
}

#[test]
fn what_somebody_else_has_is_asked_for_once_a_look() {
    let mut rig = Rig::new(|_| {});
    rig.held_elsewhere = true;
    rig.pass(3000);
    let count = |wanted: fn(&Action) -> bool| rig.did.iter().filter(|a| wanted(a)).count();
    let takes = count(|a| matches!(a, Action::Take { .. }));
    let looks = count(|a| matches!(a, Action::Look { .. }));
    assert!(takes > 1 && takes <= looks, "{takes} takes, {looks} looks");
    rig.held_elsewhere = false;
    rig.pass(500);
    assert_eq!(rig.state(), State::Online);
}

#[test]
fn an_order_to_move_is_followed_once_or_refused_with_the_reason() {
    let mut rig = Rig::new(|_| {});
    rig.peer("b");
    rig.pass(1000);
    let order = |no, to| {
        let to = Some(name(to));
        Some(MoveOrder { no, to, at: None })
    };
    rig.group().control.order = order(1, "c");
    rig.pass(500);
    let refused = Some(Refusal::Excluded(name("c"), Exclusion::NoSession));
    let answers = |rig: &Rig| {
        let answers = rig.did.iter().filter_map(|action| match action {
            Action::Answer { order, refused, .. } => Some((*order, refused.clone())),
            _ => None,
        });
        answers.collect::<Vec<_>>()
    };
    assert_eq!(answers(&rig), [(1, refused)]);
    assert_eq!(rig.state(), State::Online);
    rig.group().control.order = order(2, "b");
    rig.pass(500);
    assert_eq!(answers(&rig).last(), Some(&(2, None)));
    assert_eq!(rig.offered_to(), Some(name("b")));
    assert_eq!(rig.cause_of(State::Draining), Some(Cause::Ordered));
    assert_eq!(rig.state(), State::Standby);
}

#[test]
fn an_order_whose_owner_is_lost_is_answered_by_the_next_one() {
    for (to, refused) in [("c", Some(Refusal::OwnerLost)), ("a", None)] {
        let mut rig = Rig::new(|_| {});
        rig.owned_by("b", false);
        let to = Some(name(to));
        rig.group().control.order = Some(MoveOrder {
            no: 4,
            to,
            at: None,
        });
        rig.pass(2000);
        assert_eq!(rig.state(), State::Online);
        let answers: Vec<_> = rig
            .did
            .iter()
            .filter_map(|action| match action {
                Action::Answer { order, refused, .. } => Some((*order, refused.clone())),
                _ => None,
            })
            .collect();
        assert_eq!(answers, [(4, refused)]);
    }
}

#[test]
fn a_drained_node_gives_its_groups_away_if_somebody_can_have_them() {
    let mut rig = Rig::new(|_| {});
    rig.pass(1000);
    let drained = NodeSeen {
        node: name("a"),
        drained: true,
        lost: vec![],
    };
    rig.view.nodes.push(drained);
    rig.pass(500);
    assert_eq!(rig.state(), State::Online, "nobody else can run it");
    rig.peer("b");
    rig.pass(500);
    assert_eq!(rig.cause_of(State::Draining), Some(Cause::NodeDrained));
}

#[test]
fn a_broker_that_is_down_for_all_moves_nothing_and_one_that_is_down_here_does() {
    let mut rig = Rig::new(|_| {});
    rig.peer("b");
    rig.group().standbys[0].adapters_up.clear();
    rig.pass(1000);
    rig.broker_up = false;
    rig.pass(30_000);
    assert_eq!(rig.state(), State::Degraded);
    rig.group().standbys[0].adapters_up.push(name("broker"));
    rig.pass(500);
    assert_eq!(rig.cause_of(State::Draining), Some(Cause::AdapterDown));
    assert_eq!(rig.offered_to(), Some(name("b")));
}

#[test]
fn failback_waits_until_the_preferred_node_is_stable_and_happens_only_if_asked_for() {
    for (failback, leaves) in [(Failback::Manual, false), (Failback::Always, true)] {
        let mut rig = Rig::new(|p| {
            p.preferred = vec![name("b")];
            p.failback = failback;
        });
        rig.pass(1000);
        assert_eq!(rig.state(), State::Online);
        rig.peer("b");
        rig.pass(4 * 60_000);
        assert_eq!(rig.state(), State::Online, "b is not stable yet");
        rig.pass(2 * 60_000);
        let cause = rig.cause_of(State::Draining);
        assert_eq!(cause, leaves.then_some(Cause::Failback), "{failback:?}");
    }
}

#[test]
fn a_paused_group_is_left_as_it_is() {
    let mut rig = Rig::new(|_| {});
    rig.peer("b");
    rig.pass(1000);
    rig.group().control.paused = true;
    rig.pass(500);
    rig.crash(70);
    assert_eq!(rig.offered_to(), None);
    rig.pass(5000);
    assert_eq!(rig.state(), State::Standby);
    rig.group().control.paused = false;
    rig.pass(1000);
    assert_eq!(rig.state(), State::Online);
}

#[test]
fn a_pinned_group_goes_where_it_is_pinned() {
    let mut rig = Rig::new(|_| {});
    rig.pass(1000);
    rig.group().control.pinned = Some(name("b"));
    rig.pass(500);
    assert_eq!(rig.state(), State::Online, "b cannot run it");
    rig.peer("b");
    rig.pass(500);
    assert_eq!(rig.cause_of(State::Draining), Some(Cause::Pinned));
}

#[test]
fn a_node_that_loses_its_sessions_is_left_out() {
    let mut rig = Rig::new(|_| {});
    let ages = [10, 20, 30].map(Duration::from_secs).to_vec();
    rig.view.nodes.push(NodeSeen {
        node: name("a"),
        drained: false,
        lost: ages,
    });
    rig.pass(2000);
    assert_eq!(rig.state(), State::Standby);
    let status = rig.status();
    let why = status
        .placement
        .why_not(&name("a"))
        .map(ToString::to_string);
    let told = "the node lost too many sessions, 1790 s left";
    assert_eq!(why.as_deref(), Some(told));
}

#[test]
fn a_stop_drains_and_ends_the_session() {
    let mut rig = Rig::new(|_| {});
    rig.peer("b");
    rig.pass(1000);
    rig.did.clear();
    rig.step(Event::Shutdown);
    rig.pass(200);
    let place = |wanted: fn(&Action) -> bool| rig.did.iter().position(wanted);
    let drain = place(|a| matches!(a, Action::Drain { .. }));
    let release = place(|a| matches!(a, Action::Release { .. }));
    let close = place(|a| matches!(a, Action::Close { .. }));
    let stopped = place(|a| matches!(a, Action::Stopped));
    assert!(drain.is_some() && drain < release && release < close && close < stopped);
}
