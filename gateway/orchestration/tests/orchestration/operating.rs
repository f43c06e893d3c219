//! What operators do to instances.

use std::cell::RefCell;

use quayside_model::Text;
use quayside_orchestration::{Advance, Effect, Event, Need, Route, Seen, State, Status, codes};

use crate::{
    driver::{Driver, text},
    support::{Documents, compiled, name},
};

const WAITING: &str = "\
messages: { m: t0, n: t1, r: t3 }
correlations: { k: Key }
steps:
  - { receive: m, activate: true, initialise: k, name: first }
  - parallel:
      x: [{ call: m, to: ask, reply: r, name: c1 }]
      y: [{ call: m, to: ask, reply: r, name: c2 }]
  - { receive: n, follow: k, name: last }
";

fn waiting() -> Driver {
    Driver::started(compiled(WAITING), "t0", &[("Key", text("x"))])
}

fn reason() -> Text {
    Text::lossy("because")
}

#[test]
fn a_suspended_instance_collects_messages_and_goes_on_when_resumed() {
    let mut driver = waiting();
    driver.event(&Event::Suspend { reason: reason() });
    let calls: Vec<_> = driver
        .effects()
        .filter_map(|effect| match effect {
            Effect::Call { key, .. } => Some(*key),
            _ => None,
        })
        .collect();
    for key in &calls {
        driver.reply(*key, "t3");
    }
    assert_eq!(driver.inbox.len(), 2, "nothing is processed");
    assert_eq!(driver.state.timer(), None);
    driver.event(&Event::Resume);
    assert_eq!(driver.waits_at(), ["last"]);
    assert_eq!(
        driver.log()[1..],
        ["suspend:QS1344@parallel-5", "consume consume"]
    );
}

#[test]
fn a_waiting_step_is_retried_by_name() {
    let mut driver = waiting();
    let ambiguous = driver.look_error(&Event::RetryStep {
        step: None,
        seen: None,
    });
    assert_eq!(ambiguous, codes::NOT_RETRYABLE);
    assert_eq!(
        driver.look_error(&Event::RetryStep {
            step: Some(name("last")),
            seen: None,
        }),
        codes::NOT_RETRYABLE
    );
    driver.event(&Event::RetryStep {
        step: Some(name("c2")),
        seen: None,
    });
    assert_eq!(driver.log(), ["consume call:c1 call:c2", "call:c2"]);
    let calls: Vec<_> = driver
        .effects()
        .filter_map(|effect| match effect {
            Effect::Call { id, key, .. } => Some((*id, *key)),
            _ => None,
        })
        .collect();
    assert_eq!(calls[1].1, calls[2].1, "one key for the partner");
    assert_ne!(calls[1].0, calls[2].0, "and two messages for the store");
}

/// An order for what was seen does not hit what stands there since.
#[test]
fn only_the_step_that_was_seen_is_retried() {
    let text = "\
messages: { m: t0, r: t3 }
steps:
  - { receive: m, activate: true }
  - loop: 'true'
    steps: [{ call: m, to: ask, reply: r, name: again }]
";
    let mut driver = Driver::started(compiled(text), "t0", &[]);
    let seen = |driver: &Driver| {
        let all = driver.state.retryable(&driver.definition);
        let [one] = all.as_slice() else {
            panic!("{all:?}");
        };
        assert_eq!(one.step, name("again"));
        one.seen
    };
    let first = seen(&driver);
    let Seen::Call(key) = first else {
        panic!("{first:?}");
    };
    let retry = |seen| Event::RetryStep {
        step: Some(name("again")),
        seen: Some(seen),
    };
    driver.event(&retry(first));
    assert_eq!(driver.log(), ["consume call:again", "call:again"]);
    assert_eq!(seen(&driver), first, "another attempt of the same");
    driver.reply(key, "t3");
    let second = seen(&driver);
    assert_ne!(first, second);
    assert_eq!(driver.look_error(&retry(first)), codes::NOT_RETRYABLE);
    assert_eq!(
        driver.look_error(&retry(Seen::Failed)),
        codes::NOT_RETRYABLE
    );
    driver.event(&Event::Suspend { reason: reason() });
    let stands = driver.state.retryable(&driver.definition);
    let stands: Vec<_> = stands.iter().map(|one| one.seen).collect();
    assert_eq!(stands, [Seen::Failed, second]);
}

#[test]
fn terminating_ends_everything() {
    for suspended in [false, true] {
        let mut driver = waiting();
        driver.correlated(0, "t1", &[("Key", text("x"))]);
        if suspended {
            driver.event(&Event::Suspend { reason: reason() });
        }
        driver.event(&Event::Terminate { reason: reason() });
        assert_eq!(
            driver.log().last().map(String::as_str),
            Some("abandon abandon terminated-1")
        );
        assert!(
            driver
                .effects()
                .any(|effect| matches!(effect, Effect::Unsubscribe { .. }))
        );
        assert!(matches!(driver.state.status(), Status::Ended(_)));
        for event in [
            Event::Wake,
            Event::Resume,
            Event::Terminate { reason: reason() },
            Event::RetryStep {
                step: None,
                seen: None,
            },
        ] {
            assert!(driver.once(&event).is_none(), "{event:?} after the end");
        }
        assert!(driver.state.messages().is_empty());
    }
}

#[test]
fn events_that_change_nothing_say_so() {
    let mut driver = waiting();
    for event in [Event::Wake, Event::Resume] {
        assert!(driver.once(&event).is_none(), "{event:?}");
    }
    driver.event(&Event::Suspend { reason: reason() });
    for event in [Event::Wake, Event::Suspend { reason: reason() }] {
        assert!(driver.once(&event).is_none(), "{event:?}");
    }
}

#[test]
fn a_state_is_bound_to_its_definition_and_version() {
    let driver = waiting();
    let other = compiled(&WAITING.replace("c2", "c3"));
    let refused = State::decode(&driver.state.encode(), &other).expect_err("of another definition");
    assert_eq!(refused.code, codes::STATE);
    let newer = String::from_utf8(driver.state.encode())
        .expect("JSON")
        .replace("\"v\":1", "\"v\":2");
    let refused =
        State::decode(newer.as_bytes(), &driver.definition).expect_err("of a newer version");
    assert_eq!(refused.code, codes::STATE);
    let refused = State::decode(b"{}", &driver.definition).expect_err("no state");
    assert_eq!(refused.code, codes::STATE);
}

#[test]
fn what_is_not_at_hand_is_named_and_nothing_has_changed() {
    let definition = compiled(
        "messages: { m: t0, r: t3 }\nvariables: { a: '' }\nsteps:\n  - { receive: m, activate: true, name: first }\n  - assign: { a: \"text(m, '/a') + text(m, '/b')\" }\n  - { transform: any, from: m, to: r }\n",
    );
    assert_eq!(definition.documents().len(), 2);
    let mut driver = Driver::new(definition);
    let message = driver.arrive("t0", &[], Route::Activation(name("first")));
    let world = Documents {
        loaded: Some(RefCell::default()),
        ..Documents::default()
    };
    assert_eq!(
        driver.look(&Event::Wake, &world),
        Advance::Needs(vec![Need::Body(message)])
    );
    world
        .loaded
        .as_ref()
        .expect("some")
        .borrow_mut()
        .insert(message);
    let Advance::Needs(needs) = driver.look(&Event::Wake, &world) else {
        panic!("it needs the map")
    };
    let [Need::Map(call)] = needs.as_slice() else {
        panic!("{needs:?}")
    };
    assert_eq!(
        driver.look(&Event::Wake, &world),
        Advance::Needs(needs.clone()),
        "the same again"
    );
    world
        .loaded
        .as_ref()
        .expect("some")
        .borrow_mut()
        .insert(call.id);
    assert!(matches!(
        driver.look(&Event::Wake, &world),
        Advance::Commit(_)
    ));
}

#[test]
fn contents_are_named_as_long_as_they_are_needed() {
    let steps = "messages: { m: t0, r: t3 }\nsteps:\n  - { receive: m, activate: true, name: first }\n  - scope: all\n    steps:\n      - scope: s\n        steps: [{ transform: any, from: m, to: r }]\n        compensate: [{ send: r, to: p0, name: undo }]\n      - { transform: any, from: m, to: r }\n      - { delay: 1s }\n      - { raise: x }\n    on_error: [{ compensate: all }]\n";
    let mut driver = Driver::started(compiled(steps), "t0", &[]);
    // The message, what the scope has made, and what was made since.
    assert_eq!(driver.state.messages().len(), 3);
    let first = driver.effects().find_map(|effect| match effect {
        Effect::Keep(call) => Some(call.id),
        _ => None,
    });
    driver.pass(1);
    let sent = driver.effects().find_map(|effect| match effect {
        Effect::Publish { message, .. } => Some(message.content),
        _ => None,
    });
    assert_eq!(sent, first);
}

#[test]
fn answers_go_to_who_asked() {
    let definition = compiled(
        "messages: { m: t0, r: t3 }\nsteps:\n  - { receive: m, activate: true, name: first }\n  - { transform: any, from: m, to: r }\n  - assign: { r.Key: \"'k'\" }\n  - { send: r, answer: m, name: back }\n",
    );
    let mut driver = Driver::new(definition);
    let asked = driver.arrive("t0", &[], Route::Activation(name("first")));
    driver.wake();
    let found = driver.effects().any(|effect| match effect {
        Effect::Publish { to, message, .. } => {
            *to == quayside_orchestration::Destination::Answer(asked)
                && message.properties == [(name("Key"), text("k"))]
        }
        _ => false,
    });
    assert!(found, "{:?}", driver.commits);
}

#[test]
fn a_damaged_state_is_refused_and_never_a_panic() {
    let driver = waiting();
    let whole = driver.state.encode();
    let text = String::from_utf8(whole.clone()).expect("JSON");
    for (whole, other) in [
        ("\"w\":{\"r\":", "\"w\":{\"d\":"),
        ("{\"j\":1}", "{\"j\":0}"),
        ("{\"j\":1}", "{\"j\":99}"),
        ("\"p\":0", "\"p\":2"),
        ("\"b\":[2", "\"b\":[77"),
    ] {
        assert!(text.contains(whole), "{whole} in {text}");
        let damaged = text.replace(whole, other);
        assert!(
            State::decode(damaged.as_bytes(), &driver.definition).is_err(),
            "{damaged}"
        );
    }
    let (mut refused, mut taken) = (0, 0);
    for at in 0..whole.len() {
        for byte in [b'0', b'1', b'9', b'"', b'}', b'x'] {
            let mut damaged = whole.clone();
            damaged[at] = byte;
            match State::decode(&damaged, &driver.definition) {
                Ok(state) => {
                    taken += 1;
                    let input = quayside_orchestration::Input {
                        definition: &driver.definition,
                        state: &state,
                        inbox: &driver.inbox,
                        now: driver.now,
                        world: &driver.world,
                    };
                    for event in [
                        Event::Wake,
                        Event::Resume,
                        Event::Terminate { reason: reason() },
                    ] {
                        let _ = quayside_orchestration::advance(input, &event);
                    }
                }
                Err(error) => {
                    assert_eq!(error.code, codes::STATE);
                    refused += 1;
                }
            }
        }
    }
    assert!(
        refused > 100 && taken > 100,
        "{refused} refused, {taken} taken"
    );
}
