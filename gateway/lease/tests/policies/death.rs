//! When the active process dies, or its successor does.

use std::time::Duration;

use quayside_lease::{
    Action, Beat, Cause, Event, Exclusion, Exit, HostState, MoveOrder, OnDeath, State,
};
use quayside_model::InstanceId;

use crate::rig::{Rig, name};

#[test]
fn a_dead_process_is_replaced_by_the_warm_one_elsewhere() {
    let mut rig = Rig::new(|_| {});
    rig.peer("b");
    rig.pass(1000);
    rig.crash(70);
    assert_eq!(rig.offered_to(), Some(name("b")));
    rig.pass(100);
    assert_eq!(rig.state(), State::Standby);
    let status = rig.status();
    assert_eq!(
        status.placement.why_not(&name("a")),
        Some(&Exclusion::JustLeft)
    );
    let told = rig.did.iter().find_map(|action| match action {
        Action::Record(t) if t.cause == Cause::ProcessEnded => Some(&t.evidence),
        _ => None,
    });
    let told = told.expect("it was told");
    let exit = told
        .iter()
        .find(|fact| fact.to_string() == "exit 70, a part failed");
    assert!(exit.is_some(), "{told:?}");
}

#[test]
fn a_drain_that_takes_too_long_is_no_fault() {
    let mut rig = Rig::new(|p| p.limits.drain_within = Duration::from_secs(1));
    rig.hangs = true;
    rig.peer("b");
    rig.pass(1000);
    let order = MoveOrder {
        no: 1,
        to: Some(name("b")),
        at: None,
    };
    rig.group().control.order = Some(order);
    rig.pass(500);
    assert_eq!(rig.state(), State::Draining);
    rig.did.clear();
    rig.pass(1000);
    let place = |wanted: fn(&Action) -> bool| rig.did.iter().position(wanted);
    let offer = place(|a| matches!(a, Action::Offer { planned: true, .. }));
    let kill = place(|a| matches!(a, Action::Kill { .. }));
    assert!(offer.is_some() && offer < kill, "{:?}", rig.did);
    assert_eq!(rig.offered_to(), Some(name("b")));
}

#[test]
fn a_spent_budget_fails_nothing_whose_node_may_replace_the_process() {
    let mut rig = Rig::new(|p| p.limits.moves.times = 0);
    let session = rig.peer("b");
    rig.owned_by("b", false);
    rig.group().owner.as_mut().expect("just set").session = session;
    rig.pass(700);
    assert_eq!(rig.state(), State::Standby, "{:?}", rig.did);
    rig.pass(2000);
    assert_eq!(rig.state(), State::Failed, "it was not replaced");
    assert_eq!(rig.cause_of(State::Failed), Some(Cause::BudgetSpent));

    // Its node has replaced it after all.
    rig.group().failed = None;
    rig.group().owner.as_mut().expect("still set").live = true;
    rig.pass(500);
    assert_eq!(rig.cause_of(State::Standby), Some(Cause::HeldElsewhere));
}

#[test]
fn what_was_offered_is_taken_whatever_is_left_of_the_moves() {
    let mut rig = Rig::new(|p| p.limits.moves.times = 0);
    let session = rig.peer("b");
    rig.owned_by("b", false);
    rig.group().owner.as_mut().expect("just set").session = session;
    rig.group().offered = Some((name("a"), Duration::ZERO));
    rig.pass(500);
    assert_eq!(rig.state(), State::Online, "{:?}", rig.did);
    assert_eq!(rig.cause_of(State::Taking), Some(Cause::Offered));
}

#[test]
fn a_stop_does_not_wait_for_a_store_that_is_silent() {
    for hangs in [false, true] {
        let mut rig = Rig::new(|_| {});
        rig.peer("b");
        rig.pass(1000);
        assert_eq!(rig.state(), State::Online);
        (rig.silent, rig.hangs) = (true, hangs);
        rig.step(Event::Shutdown);
        rig.pass(60_000);
        let stopped = rig.did.iter().any(|a| matches!(a, Action::Stopped));
        assert!(stopped, "{hangs}: {:?}", rig.did);
    }
}

/// The agent is restarting, and not before its back-off is over.
fn restarting_slowly(on_death: OnDeath) -> Rig {
    let mut rig = Rig::new(|p| {
        p.on_death = on_death;
        p.limits.restarts.times = 10;
    });
    rig.pass(1000);
    for _ in 0..2 {
        rig.crash(70);
        rig.pass(3000);
        assert_eq!(rig.state(), State::Online);
    }
    rig.crash(70);
    rig.pass(1000);
    assert_eq!(rig.state(), State::Restarting, "the back-off is 5 s");
    assert_eq!(rig.status().restarts.0, 3);
    rig
}

#[test]
fn a_restart_gives_way_to_a_standby_elsewhere_that_is_ready_first() {
    let mut rig = restarting_slowly(OnDeath::Warm);
    rig.did.clear();
    rig.peer("b");
    rig.step(Event::Hint);
    assert_eq!(rig.offered_to(), Some(name("b")));
    let freed = |a: &Action| matches!(a, Action::End { .. });
    assert!(rig.did.iter().any(freed), "in the same step: {:?}", rig.did);
    assert_eq!(rig.cause_of(State::Offline), Some(Cause::ProcessEnded));
    assert_eq!(rig.status().restarts.0, 2, "nothing was restarted");
    rig.pass(500);
    assert!(!rig.did.iter().any(|a| matches!(a, Action::Take { .. })));
}

#[test]
fn a_restart_gives_way_only_where_it_may() {
    let mut in_place = restarting_slowly(OnDeath::InPlace);
    in_place.peer("b");
    in_place.pass(1000);
    assert_eq!(in_place.state(), State::Restarting, "it was asked for");
    let mut spent = restarting_slowly(OnDeath::Warm);
    spent.group().moves = vec![Duration::from_secs(60); 3];
    spent.peer("b");
    spent.pass(1000);
    assert_eq!(spent.state(), State::Restarting, "no move is left");
    spent.pass(5000);
    assert_eq!(spent.state(), State::Online);
}

#[test]
fn a_spare_that_is_ready_during_the_back_off_is_not_kept_waiting() {
    let mut rig = Rig::new(|p| {
        p.spare = true;
        p.limits.restarts.times = 10;
    });
    rig.pass(1000);
    for _ in 0..2 {
        rig.crash(70);
        rig.pass(500);
        assert_eq!(rig.state(), State::Online, "the spare takes over");
    }
    // The next spare is on its way when the active process dies.
    let spare = |rig: &Rig| {
        let warm = |(_, state): &(InstanceId, HostState)| *state == HostState::Standby;
        rig.processes.iter().position(warm).expect("a spare")
    };
    let at = spare(&rig);
    let (instance, _) = rig.processes.remove(at);
    rig.born = HostState::Starting;
    let exit = Exit::Code(0);
    rig.step(Event::Exited { instance, exit });
    rig.pass(100);
    rig.crash(70);
    rig.pass(200);
    assert_eq!(rig.state(), State::Restarting);
    rig.processes[0].1 = HostState::Standby;
    rig.pass(200);
    assert_eq!(rig.state(), State::Online);
}

#[test]
fn nothing_is_kept_for_a_restart_that_nobody_wants_any_more() {
    type Unwant = fn(&mut Rig);
    let whys: [Unwant; 3] = [
        |rig| rig.group().control.online = false,
        |rig| rig.group().control.paused = true,
        |rig| rig.step(Event::Shutdown),
    ];
    for unwant in whys {
        let mut rig = restarting_slowly(OnDeath::Warm);
        rig.did.clear();
        unwant(&mut rig);
        rig.pass(500);
        let freed = |a: &Action| matches!(a, Action::End { .. });
        assert!(rig.did.iter().any(freed), "{:?}", rig.did);
        assert_ne!(rig.state(), State::Restarting);
    }
}

#[test]
fn an_offer_to_a_node_that_cannot_take_it_any_more_delays_nobody() {
    let mut rig = Rig::new(|_| {});
    rig.peer("b");
    rig.pass(1000);
    rig.crash(70);
    assert_eq!(rig.offered_to(), Some(name("b")));
    rig.group().offered = Some((name("b"), Duration::ZERO));
    rig.pass(100);
    assert_eq!(rig.state(), State::Standby, "it is left to b");
    rig.group().standbys.retain(|s| s.node != name("b"));
    rig.pass(300);
    assert_eq!(rig.state(), State::Online, "nobody else can take it");
}

#[test]
fn the_others_are_told_at_once_that_a_standby_is_ready_or_gone() {
    let mut rig = Rig::new(|_| {});
    rig.owned_by("b", true);
    rig.born = HostState::Starting;
    rig.pass(1000);
    let reports = |rig: &mut Rig| -> Vec<bool> {
        let looks = rig.did.drain(..).filter_map(|action| match action {
            Action::Look { report, .. } => Some(report[0].1.warm),
            _ => None,
        });
        looks.collect()
    };
    assert!(!reports(&mut rig).contains(&true));
    // Between two looks of the usual rhythm.
    rig.step(Event::Hint);
    rig.did.clear();
    let instance = rig.processes[0].0;
    let beat = Beat {
        state: HostState::Standby,
        in_flight: 0,
        adapters: vec![],
    };
    rig.step(Event::Beat { instance, beat });
    rig.step(Event::Tick);
    assert_eq!(reports(&mut rig), [true]);
    rig.processes.clear();
    let exit = Exit::Code(0);
    rig.step(Event::Exited { instance, exit });
    rig.step(Event::Tick);
    assert_eq!(reports(&mut rig), [false]);
}

#[test]
fn restarts_in_place_come_first_if_asked_for_and_end() {
    let mut rig = Rig::new(|p| p.on_death = OnDeath::InPlace);
    rig.peer("b");
    rig.pass(1000);
    for restarts in 1..=2 {
        rig.crash(70);
        assert_eq!(rig.state(), State::Restarting);
        rig.pass(3000);
        assert_eq!(rig.state(), State::Online);
        assert_eq!(rig.status().restarts, (restarts, 2));
    }
    rig.crash(70);
    assert_eq!(rig.offered_to(), Some(name("b")));
}

#[test]
fn a_group_that_nobody_keeps_up_fails_and_is_tried_again() {
    let mut rig = Rig::new(|_| {});
    rig.pass(1000);
    for _ in 0..2 {
        rig.crash(70);
        rig.pass(3000);
        assert_eq!(rig.state(), State::Online);
    }
    rig.crash(70);
    assert_eq!(rig.state(), State::Failed);
    assert_eq!(rig.cause_of(State::Failed), Some(Cause::BudgetSpent));
    rig.pass(60_000);
    assert_eq!(rig.state(), State::Failed);
    rig.pass(15 * 60_000);
    assert_eq!(rig.state(), State::Online, "one start was tried");
    assert_eq!(rig.status().failed, None);
}

#[test]
fn an_operator_clears_a_failure_at_once() {
    let mut rig = Rig::new(|_| {});
    rig.pass(1000);
    rig.crash(10);
    assert_eq!(rig.cause_of(State::Failed), Some(Cause::Fatal));
    rig.pass(2000);
    assert_eq!(rig.state(), State::Failed);
    rig.group().failed = None;
    rig.group().control.clears += 1;
    rig.pass(2000);
    assert_eq!(rig.state(), State::Online);
}

#[test]
fn too_many_moves_fail_instead_of_moving() {
    let mut rig = Rig::new(|_| {});
    rig.owned_by("b", false);
    rig.group().moves = vec![Duration::from_secs(60); 3];
    rig.pass(2000);
    assert_eq!(rig.state(), State::Failed);
    assert_eq!(rig.cause_of(State::Failed), Some(Cause::BudgetSpent));
}

#[test]
fn what_was_given_away_is_taken_back_at_once_when_its_new_owner_is_lost() {
    let mut rig = Rig::new(|_| {});
    rig.peer("b");
    rig.pass(1000);
    let to = Some(name("b"));
    rig.group().control.order = Some(MoveOrder {
        no: 1,
        to,
        at: None,
    });
    rig.pass(500);
    assert_eq!(rig.state(), State::Standby);
    rig.group().control.order = None;
    rig.group().offered = None;
    rig.owned_by("b", true);
    rig.pass(500);
    assert_eq!(rig.state(), State::Standby, "it is b's");
    rig.owned_by("b", false);
    rig.group().standbys.retain(|s| s.node != name("b"));
    rig.pass(300);
    assert_eq!(rig.state(), State::Online);
}

#[test]
fn a_process_without_beats_is_killed_and_an_agent_that_slept_kills_nobody() {
    let mut rig = Rig::new(|_| {});
    rig.pass(1000);
    // The agent itself was away: its renewals were late as well, but nothing was killed.
    rig.millis += 2000;
    rig.did.clear();
    rig.step(Event::Tick);
    let kills = |rig: &Rig| {
        rig.did
            .iter()
            .filter(|a| matches!(a, Action::Kill { .. }))
            .count()
    };
    assert_eq!(kills(&rig), 0);
    rig.pass(500);
    let beating = std::mem::take(&mut rig.processes);
    rig.pass(1500);
    assert_eq!(kills(&rig), 1, "{beating:?}");
}
