//! An instance in virtual time, as the tests of an application run it.

use std::cell::RefCell;

use quayside_model::{Context, MessageId, RunId, Text, Timestamp};
use quayside_orchestration::{
    Advance, Arrived, Datum, Definition, Effect, Event, Need, Rehearsal, Route, Status, Tried,
    codes,
};

use crate::{
    driver::word,
    support::{Documents, at, compiled, name},
};

fn definition() -> Definition {
    compiled(
        "messages: { m: t0, r: t3 }\nsteps:\n  - { receive: m, activate: true, name: first }\n  - { transform: any, from: m, to: r }\n  - delay: 1h\n  - { send: r, to: p0, name: s }\n  - delay: 1h\n  - { send: r, to: p0, name: t }\n",
    )
}

fn activation() -> Arrived {
    Arrived {
        message: MessageId::from_bytes([1; 16]),
        message_type: Some(Text::lossy("urn:test#t0")),
        context: Context::new(),
        route: Route::Activation(name("first")),
    }
}

fn log(rehearsal: &Rehearsal<'_>) -> Vec<(Timestamp, String)> {
    let effects = rehearsal.effects().iter();
    effects
        .filter_map(|(time, effect)| Some((*time, word(effect)?)))
        .collect()
}

#[test]
fn everything_happens_at_its_time() {
    let definition = definition();
    let mut rehearsal = Rehearsal::new(&definition, RunId::from_bytes([2; 16]), at(0));
    let world = Documents {
        loaded: Some(RefCell::default()),
        ..Documents::default()
    };
    rehearsal.deliver(activation());
    let Ok(Tried::Needs(needs)) = rehearsal.pass(at(10_000), &world) else {
        panic!("it needs the map")
    };
    let [Need::Map(call)] = needs.as_slice() else {
        panic!("{needs:?}")
    };
    world
        .loaded
        .as_ref()
        .expect("some")
        .borrow_mut()
        .insert(call.id);
    assert_eq!(rehearsal.pass(at(10_000), &world), Ok(Tried::Quiet));
    let expected = [
        (0, "consume"),
        (0, "map:any"),
        (3_600, "send:s"),
        (7_200, "send:t"),
        (7_200, "completed"),
    ];
    assert_eq!(
        log(&rehearsal),
        expected.map(|(time, word)| (at(time), word.to_owned()))
    );
    assert!(rehearsal.has_ended() && rehearsal.inbox().is_empty());
    assert_eq!(rehearsal.now(), at(10_000));
}

#[test]
fn what_never_rests_is_told() {
    let definition = compiled(
        "messages: { m: t0 }\nsteps:\n  - { receive: m, activate: true, name: first }\n  - loop: \"true\"\n    steps: [{ send: m, to: p0 }]\n",
    );
    let mut rehearsal = Rehearsal::new(&definition, RunId::from_bytes([2; 16]), at(0));
    rehearsal.deliver(activation());
    let refused = rehearsal
        .tell(&Event::Wake, &Documents::default())
        .expect_err("it goes on and on");
    assert_eq!(refused.code, codes::RUNAWAY);
    let terminate = Event::Terminate {
        reason: Text::lossy("enough"),
    };
    assert_eq!(
        rehearsal.tell(&terminate, &Documents::default()),
        Ok(Tried::Quiet)
    );
    assert!(rehearsal.has_ended());
    let published = rehearsal
        .effects()
        .iter()
        .filter(|(_, effect)| matches!(effect, Effect::Publish { .. }));
    assert!(published.count() > 1_000);
}

#[test]
fn what_is_proposed_changes_nothing_until_it_is_accepted() {
    let definition = compiled(
        "messages: { m: t0 }\nvariables: { sent: 0, kept: 'x' }\nsteps:\n  - { receive: m, activate: true, name: first }\n  - assign: { sent: sent + 1 }\n  - { send: m, to: p0, name: s }\n  - delay: 1h\n",
    );
    let mut rehearsal = Rehearsal::new(&definition, RunId::from_bytes([2; 16]), at(0));
    rehearsal.deliver(activation());
    let world = Documents::default();
    let before = rehearsal.state().clone();
    let Ok(Advance::Commit(commit)) = rehearsal.propose(&Event::Wake, &world) else {
        panic!("it sends")
    };
    assert_eq!((rehearsal.state(), rehearsal.inbox().len()), (&before, 1));
    // A step that cannot be made: the instance is suspended instead, and nothing was sent.
    let mut other = Rehearsal::new(&definition, RunId::from_bytes([2; 16]), at(0));
    other.deliver(activation());
    let reason = Text::lossy("nobody subscribes");
    let suspend = Event::Suspend { reason };
    let Ok(Advance::Commit(suspended)) = other.propose(&suspend, &world) else {
        panic!("it can be suspended")
    };
    other.accept(*suspended);
    assert!(matches!(other.state().status(), Status::Suspended(_)));
    assert!(
        log(&other)
            .iter()
            .all(|(_, word)| !word.starts_with("send"))
    );
    rehearsal.accept(*commit);
    assert!(rehearsal.inbox().is_empty());
    let variables = rehearsal.state().variables(&definition);
    let sent = quayside_model::Value::Integer(1);
    assert_eq!(variables[&name("sent")], Datum::One(sent));
    let kept = quayside_model::Value::Text(Text::lossy("x"));
    assert_eq!(variables[&name("kept")], Datum::One(kept));
    rehearsal.set_clock(at(10));
    rehearsal.set_clock(at(5));
    assert_eq!(rehearsal.now(), at(10));
}
