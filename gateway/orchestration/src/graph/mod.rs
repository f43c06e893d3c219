//! A definition as a picture: in text, and as SVG.

mod svg;
mod text;

use crate::{
    Definition,
    definition::{Action, Assignment, Pause, Receive, SendTo, Trigger},
    span,
};

impl Definition {
    /// The definition as a tree of lines, for a terminal.
    #[must_use]
    pub fn graph(&self) -> String {
        text::draw(self)
    }

    /// The definition as an SVG image: steps from top to bottom, branches beside each other. It needs nothing
    /// from elsewhere and holds no script.
    #[must_use]
    pub fn graph_svg(&self) -> String {
        svg::draw(self)
    }
}

/// A list of steps inside of a step, with what leads to it.
struct Branch {
    label: String,
    block: u16,
    /// Whether it is one of several ways, side by side, and not the body of its step.
    beside: bool,
}

fn branch(label: impl Into<String>, block: u16, beside: bool) -> Branch {
    Branch {
        label: label.into(),
        block,
        beside,
    }
}

/// What a step does, in a line.
fn label(definition: &Definition, step: u16) -> String {
    let message = |slot: u16| &*definition.message(slot).name;
    match &definition.step(step).action {
        Action::Receive(receive) => receive_label(definition, receive),
        Action::Transform(transform) => {
            let from: Vec<&str> = transform.from.iter().map(|slot| message(*slot)).collect();
            format!(
                "transform {} by {} to {}",
                from.join(", "),
                transform.map,
                message(transform.to)
            )
        }
        Action::Assign(assignments) => {
            let all = assignments.iter().map(|assignment| match assignment {
                Assignment::Variable(slot, e) => {
                    format!("{} = {}", definition.variable(*slot).name, e.source)
                }
                Assignment::Property(slot, name, _, e) => {
                    format!("{}.{name} = {}", message(*slot), e.source)
                }
                Assignment::Copy { to, from } => format!("{} = {}", message(*to), message(*from)),
            });
            format!("assign {}", all.collect::<Vec<_>>().join("; "))
        }
        Action::Send(send) => {
            let to = match &send.to {
                SendTo::Port(port) => format!("to {port}"),
                SendTo::Subscribers => "to whoever subscribes".to_owned(),
                SendTo::Answer(request) => format!("as answer to {}", message(*request)),
            };
            let notify = if send.notify {
                ", wait for the delivery"
            } else {
                ""
            };
            format!(
                "send {} {to}{notify}{}",
                message(send.message),
                initialises(definition, &send.initialise)
            )
        }
        Action::Call(call) => format!(
            "call {} with {}, reply {}",
            call.port,
            message(call.message),
            message(call.reply)
        ),
        Action::Worker(worker) => {
            format!("worker {} with {}", worker.worker, message(worker.message))
        }
        Action::Start {
            orchestration,
            message: slot,
        } => format!("start {orchestration} with {}", message(*slot)),
        Action::Decide(_) => "decide".to_owned(),
        Action::Parallel(_) => "parallel".to_owned(),
        Action::Each {
            variable, items, ..
        } => format!(
            "each {} in {}",
            definition.variable(*variable).name,
            items.source
        ),
        Action::Loop { condition, .. } => format!("loop while {}", condition.source),
        Action::Delay(pause) => pause_label(pause),
        Action::Listen(_) => "listen".to_owned(),
        Action::Scope(scope) => {
            let atomic = if scope.atomic {
                "atomic scope"
            } else {
                "scope"
            };
            let timeout = scope
                .timeout
                .map(|timeout| format!(", at most {}", span::text(timeout)));
            format!("{atomic}{}", timeout.unwrap_or_default())
        }
        Action::Compensate(None) => "compensate all".to_owned(),
        Action::Compensate(Some(scope)) => format!("compensate {}", definition.step(*scope).name),
        Action::Raise { code, .. } => format!("raise {code}"),
        Action::Suspend(reason) => format!("suspend: {}", reason.source),
        Action::Terminate(_) => "terminate".to_owned(),
        Action::Broken => String::new(),
    }
}

/// The lists of steps in a step.
fn branches(definition: &Definition, step: u16) -> Vec<Branch> {
    match &definition.step(step).action {
        Action::Decide(branches) => branches
            .iter()
            .map(|(condition, block)| {
                let label = condition
                    .as_ref()
                    .map_or("otherwise".to_owned(), |c| format!("when {}", c.source));
                branch(label, *block, true)
            })
            .collect(),
        Action::Parallel(branches) => branches
            .iter()
            .map(|(name, block)| branch(&**name, *block, true))
            .collect(),
        Action::Each { body, .. } | Action::Loop { body, .. } => vec![branch("", *body, false)],
        Action::Listen(branches) => branches
            .iter()
            .map(|way| {
                let label = match &way.trigger {
                    Trigger::Receive(receive) => receive_label(definition, receive),
                    Trigger::Delay(pause) => pause_label(pause),
                };
                branch(label, way.body, true)
            })
            .collect(),
        Action::Scope(scope) => {
            let mut all = vec![branch("", scope.body, false)];
            all.extend(scope.handlers.iter().map(|handler| {
                let names: Vec<&str> = handler.catch.iter().map(|name| &**name).collect();
                let names = if names.is_empty() {
                    "any".to_owned()
                } else {
                    names.join(", ")
                };
                branch(format!("on error {names}"), handler.body, true)
            }));
            all.extend(
                scope
                    .compensate
                    .map(|block| branch("compensate", block, true)),
            );
            all
        }
        _ => Vec::new(),
    }
}

fn receive_label(definition: &Definition, receive: &Receive) -> String {
    let message = &definition.message(receive.message).name;
    let mut label = format!("receive {message}");
    if receive.activate {
        label.push_str(", starts an instance");
    }
    if let Some(filter) = &receive.filter {
        label.push_str(&format!(" if {filter}"));
    }
    if let Some(group) = receive.group {
        let sets = &definition.groups[usize::from(group)].sets;
        label.push_str(&format!(" by {}", set_names(definition, sets)));
    }
    label + &initialises(definition, &receive.initialise)
}

fn initialises(definition: &Definition, sets: &[u16]) -> String {
    if sets.is_empty() {
        String::new()
    } else {
        format!(", initialises {}", set_names(definition, sets))
    }
}

fn set_names(definition: &Definition, sets: &[u16]) -> String {
    let names: Vec<&str> = sets
        .iter()
        .map(|set| &*definition.sets[usize::from(*set)].name)
        .collect();
    names.join(", ")
}

fn pause_label(pause: &Pause) -> String {
    match pause {
        Pause::For(duration) => format!("delay {}", span::text(*duration)),
        Pause::Until(until) => format!("delay until {}", until.source),
    }
}

/// `text` in one line of at most `length` characters.
fn short(text: &str, length: usize) -> String {
    let line: Vec<char> = text
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
        .chars()
        .collect();
    if line.len() <= length {
        return line.into_iter().collect();
    }
    line.into_iter()
        .take(length.saturating_sub(1))
        .chain(['…'])
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use quayside_model::{Name, Text};

    use crate::{Definition, Environment, MessageSpec, PortSpec};

    fn definition() -> Definition {
        let name = |text: &str| Name::new(text).expect("a name");
        let mut environment = Environment::default();
        let spec = MessageSpec {
            message_type: Text::lossy("urn:a#A"),
            properties: [(name("Id"), Default::default())].into(),
        };
        environment.messages.insert(name("a"), spec);
        environment.ports.insert(name("p"), PortSpec::default());
        environment.orchestrations = BTreeSet::from([name("o")]);
        let text = "messages: { m: a }\ncorrelations: { k: Id }\nsteps:\n  - { receive: m, activate: true, filter: Id != '<&>', initialise: k, name: first }\n  - scope: s\n    timeout: 90s\n    steps:\n      - parallel:\n          left: [{ send: m, to: p, name: l }]\n          right: [{ delay: 1h, name: r }]\n        name: both\n    on_error: [{ suspend: error.message, name: stop }]\n";
        Definition::compile(&name("example"), text, &environment).expect("it is right")
    }

    #[test]
    fn text_shows_every_step_in_its_place() {
        let expected = "\
example
├─ first  receive m, starts an instance if Id != '<&>', initialises k
└─ s  scope, at most 1m30s
   ├─ both  parallel
   │  ├─ [left]
   │  │  └─ l  send m to p
   │  └─ [right]
   │     └─ r  delay 1h
   └─ [on error any]
      └─ stop  suspend: error.message
";
        assert_eq!(definition().graph(), expected);
    }

    #[test]
    fn svg_is_well_formed_and_escapes_what_it_shows() {
        let svg = definition().graph_svg();
        assert!(svg.starts_with("<svg xmlns=") && svg.ends_with("</svg>\n"));
        assert!(svg.contains("&lt;&amp;&gt;") && !svg.contains("<&>"));
        assert_eq!(svg.matches("<g>").count(), svg.matches("</g>").count());
        let number = |rect: &str, key: &str| -> u32 {
            let rest = rect
                .split_once(&format!("{key}=\""))
                .map_or("0", |(_, rest)| rest);
            rest.split('"')
                .next()
                .and_then(|n| n.parse().ok())
                .unwrap_or(0)
        };
        let rects: Vec<[u32; 4]> = svg
            .split("<rect ")
            .skip(1)
            .filter_map(|rect| rect.split("/>").next())
            .map(|rect| [" x", " y", "width", "height"].map(|key| number(&format!(" {rect}"), key)))
            .collect();
        let [_, _, width, height] = rects[0];
        for [x, y, w, h] in &rects {
            assert!(
                x + w <= width && y + h <= height,
                "inside of the picture: {svg}"
            );
        }
        for step in ["first", "both", "stop"] {
            assert!(svg.contains(&format!(">{step}<")), "{step} in {svg}");
        }
    }
}
