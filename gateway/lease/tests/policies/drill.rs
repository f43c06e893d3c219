//! What an agent does when an operator rehearses the death of a process.

use quayside_lease::{Action, Cause, MoveOrder, NodeSeen, OnDeath, Refusal, State};

use super::rig::{Rig, name};

fn drill(rig: &mut Rig, no: u64) {
    let (to, at) = (None, None);
    rig.group().control.order = Some(MoveOrder { no, to, at });
    rig.group().control.drill = Some(no);
}

#[test]
fn a_drill_kills_the_process_and_costs_no_restart() {
    let mut rig = Rig::new(|policy| policy.on_death = OnDeath::InPlace);
    rig.peer("b");
    rig.pass(1000);
    for no in 1..=5 {
        let processes: Vec<_> = rig.processes.iter().map(|(id, _)| *id).collect();
        drill(&mut rig, no);
        rig.pass(2000);
        assert_eq!(rig.state(), State::Online, "drill {no}");
        let left = rig.processes.iter();
        assert_eq!(left.filter(|(id, _)| processes.contains(id)).count(), 0);
    }
    assert_eq!(rig.cause_of(State::Restarting), Some(Cause::Drill));
}

#[test]
fn a_drill_has_another_node_take_over_or_is_refused() {
    let mut rig = Rig::new(|_| {});
    rig.pass(1000);
    drill(&mut rig, 1);
    rig.pass(500);
    assert_eq!(rig.state(), State::Online);
    let refused = rig.did.iter().any(|action| {
        matches!(
            action,
            Action::Answer {
                order: 1,
                refused: Some(Refusal::NoCandidate),
                ..
            }
        )
    });
    assert!(refused, "{:?}", rig.did);
    rig.peer("b");
    drill(&mut rig, 2);
    rig.pass(500);
    assert_eq!(rig.offered_to(), Some(name("b")));
    let told = rig.did.iter().any(|action| {
        matches!(action, Action::Record(t) if t.from == State::Online && t.cause == Cause::Drill)
    });
    assert!(told, "{:?}", rig.did);
}

#[test]
fn what_a_drill_has_killed_is_not_asked_to_drain() {
    let mut rig = Rig::new(|_| {});
    rig.peer("b");
    rig.pass(1000);
    rig.view.nodes.push(NodeSeen {
        node: name("a"),
        drained: true,
        lost: vec![],
    });
    drill(&mut rig, 1);
    rig.pass(500);
    let of = |wanted: fn(&Action) -> bool| rig.did.iter().filter(|action| wanted(action)).count();
    assert_eq!(of(|action| matches!(action, Action::Drain { .. })), 0);
    assert_eq!(rig.offered_to(), Some(name("b")));
}
