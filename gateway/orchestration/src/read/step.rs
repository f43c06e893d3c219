//! Steps that do one thing.

use std::time::Duration;

use quayside_model::Name;

use super::{
    Reader,
    fields::{self, Fields, described},
};
use crate::{
    codes,
    datum::Holds,
    defect::{Place, nearest},
    definition::{Action, Assignment, Call, Pause, Receive, Send, SendTo, Transform, Worker},
    expression::{Expect, Expression, Kind, Names, compile},
    span,
    yaml::{Node, Yaml},
};

/// Every kind of step.
const KINDS: &[&str] = &[
    "receive",
    "transform",
    "assign",
    "send",
    "call",
    "worker",
    "start",
    "decide",
    "parallel",
    "each",
    "loop",
    "delay",
    "listen",
    "scope",
    "compensate",
    "raise",
    "suspend",
    "terminate",
];

impl Reader<'_> {
    /// Reads a step and gives its number.
    pub(super) fn step(&mut self, node: &Node) -> Option<u16> {
        let mut fields = Fields::of(node, "a step", &mut self.defects)?;
        let Yaml::Map(entries) = &node.value else {
            return None;
        };
        // The first key tells the kind: `compensate` is a step, and a part of a scope.
        let kind = entries
            .iter()
            .find_map(|(key, _)| KINDS.iter().find(|kind| **kind == key.text));
        let Some(kind) = kind else {
            let (key, place) = entries
                .first()
                .map_or(("", node.place), |(k, _)| (k.text.as_str(), k.place));
            match nearest(key, KINDS) {
                Some(near) => {
                    let message = format!("there is no step `{key}`");
                    self.defects.help(
                        place,
                        codes::UNKNOWN_STEP,
                        message,
                        &format!("Did you mean `{near}`?"),
                    );
                }
                None => self.defects.add(
                    place,
                    codes::UNKNOWN_STEP,
                    format!("there is no step `{}`", crate::defect::shown(key)),
                ),
            }
            return None;
        };
        let own = fields.get("name");
        let value = fields.get(kind).expect("it was just found");
        let name = match *kind {
            // The name of a scope stands behind its kind.
            "scope" => self.step_name(own.or(Some(value)), kind, node.place),
            _ => self.step_name(own, kind, node.place),
        };
        let step = self.reserve(name.clone(), node.place)?;
        let action = match *kind {
            "receive" => self.receive(value, &mut fields).map(Action::Receive),
            "transform" => self.transform(value, &mut fields),
            "assign" => Some(self.assign(value)),
            "send" => self.send(value, &mut fields),
            "call" => self.call(value, &mut fields),
            "worker" => self.worker(value, &mut fields),
            "start" => self.start(value, &mut fields),
            "decide" => Some(self.decide(value)),
            "parallel" => Some(self.parallel(value)),
            "each" => self.each(value, &mut fields),
            "loop" => self.repeat(value, &mut fields),
            "delay" => self.pause(value).map(Action::Delay),
            "listen" => Some(self.listen(value)),
            "scope" => self.scope(&name, step, &mut fields),
            "compensate" => self.compensate(value, step),
            "raise" => self.raise(value, &mut fields),
            "suspend" => self
                .expression(value, Expect::Value(Kind::Text))
                .map(Action::Suspend),
            _ => self.terminate(value),
        };
        fields.finish(&mut self.defects);
        self.steps[usize::from(step)].action = action.unwrap_or(Action::Broken);
        Some(step)
    }

    pub(super) fn expression(&mut self, node: &Node, expect: Expect) -> Option<Expression> {
        let names = Names::Step {
            messages: &self.messages,
            variables: &self.variables,
            error: self.handling,
        };
        compile(node, names, expect, &mut self.defects)
    }

    /// `receive: order`, also as a branch of a `listen`.
    pub(super) fn receive(&mut self, value: &Node, fields: &mut Fields<'_>) -> Option<Receive> {
        let activate = fields::truth(fields.get("activate"), &mut self.defects);
        let filter = fields.get("filter");
        let initialise = self.set_names(fields.get("initialise"));
        let follow_node = fields.get("follow");
        let follow = self.set_names(follow_node);
        let place = value.place;
        let message = self.message(value)?;
        for (set, at) in initialise.iter().chain(&follow) {
            self.gives(message, *set, *at);
        }
        if let Some(filter) = filter {
            if activate {
                let names = Names::Filter(&self.messages[usize::from(message)].properties);
                compile(filter, names, Expect::Value(Kind::Truth), &mut self.defects);
            } else {
                self.defects.add(
                    filter.place,
                    codes::FORM,
                    "only a receive that activates has a filter",
                );
            }
        }
        if activate && !follow.is_empty() {
            self.defects.add(place, codes::FORM, "a receive that activates has nothing to follow yet: let it initialise the correlation");
        }
        if !activate && follow_node.is_none() {
            let help = "Add `follow: CORRELATION`, or `activate: true` if it is the first step.";
            self.defects.help(
                place,
                codes::MISSING_KEY,
                "nothing says which messages this receive takes",
                help,
            );
        }
        let sets: Vec<u16> = follow.iter().map(|(set, _)| *set).collect();
        let group = (!activate && !sets.is_empty()).then(|| self.group(sets, message));
        Some(Receive {
            message,
            activate,
            filter: filter.and_then(Node::text).map(str::to_owned),
            initialise: initialise.into_iter().map(|(set, _)| set).collect(),
            group,
        })
    }

    /// `transform: order-to-request`
    fn transform(&mut self, value: &Node, fields: &mut Fields<'_>) -> Option<Action> {
        let map = fields::name(value, &mut self.defects);
        let from = fields.need("from", &mut self.defects);
        let to = fields.need("to", &mut self.defects);
        let with = fields.get("with");
        let from: Option<Vec<u16>> = from.and_then(|node| match &node.value {
            Yaml::List(nodes) => nodes.iter().map(|n| self.message(n)).collect(),
            _ => self.message(node).map(|slot| vec![slot]),
        });
        let to_slot = to.and_then(|node| self.message(node));
        let mut parameters = Vec::new();
        let mut given = Vec::new();
        for (key, node) in with.map_or(&[][..], |n| {
            fields::entries(n, "a map of parameters", &mut self.defects)
        }) {
            let expression = self.expression(node, Expect::Anything);
            let name = Name::new(key.text.as_str()).ok();
            if name.is_none() {
                self.defects
                    .add(key.place, codes::FORM, "this is no name of a parameter");
            }
            given.extend(name.clone().map(|name| (name, key.place)));
            parameters.extend(name.zip(expression));
        }
        let (map, from, to) = (map?, from?, to_slot?);
        self.fits(value.place, &map, &from, to);
        self.takes(value.place, &map, &given);
        Some(Action::Transform(Transform {
            map,
            from,
            to,
            with: parameters,
        }))
    }

    /// Whether the application has the map, for these messages.
    fn fits(&mut self, place: Place, map: &Name, from: &[u16], to: u16) {
        let Some(spec) = self.environment.maps.get(map) else {
            self.missing(
                place,
                codes::NO_MAP,
                "map",
                map,
                self.environment.maps.keys(),
            );
            return;
        };
        let message = |slot: u16| &self.messages[usize::from(slot)].message;
        let given: Vec<&Name> = from.iter().map(|slot| message(*slot)).collect();
        let mut faults = Vec::new();
        if let Some(wanted) = &spec.from
            && wanted.iter().collect::<Vec<_>>() != given
        {
            let list = |names: Vec<&Name>| {
                names
                    .iter()
                    .map(|n| n.to_string())
                    .collect::<Vec<_>>()
                    .join(", ")
            };
            faults.push(format!(
                "the map `{map}` is made from {}, not from {}",
                list(wanted.iter().collect()),
                list(given)
            ));
        }
        if let Some(made) = &spec.to
            && made != message(to)
        {
            faults.push(format!("the map `{map}` makes {made}, not {}", message(to)));
        }
        for fault in faults {
            self.defects.add(place, codes::NO_MAP, fault);
        }
    }

    /// Whether the map has the parameters that are `given`, and no others that it needs.
    fn takes(&mut self, place: Place, map: &Name, given: &[(Name, Place)]) {
        let spec = self.environment.maps.get(map);
        let Some(params) = spec.and_then(|spec| spec.params.as_ref()) else {
            return;
        };
        for (name, place) in given {
            if !params.contains_key(name) {
                let known: Vec<&str> = params.keys().map(|name| &**name).collect();
                let help = match (nearest(name, &known), known.as_slice()) {
                    (Some(near), _) => format!("Did you mean `{near}`?"),
                    (None, []) => "It has none: leave `with` out.".to_owned(),
                    (None, known) => format!("It has {}.", known.join(", ")),
                };
                let message = format!(
                    "the map `{map}` has no parameter `{}`",
                    crate::defect::shown(name)
                );
                self.defects.help(*place, codes::NO_MAP, message, &help);
            }
        }
        let is_given = |name: &Name| given.iter().any(|(given, _)| given == name);
        for (name, _) in params.iter().filter(|(_, required)| **required) {
            if !is_given(name) {
                let message = format!("the map `{map}` needs the parameter `{name}`");
                let help = format!("Give it: `with: {{ {name}: ... }}`.");
                self.defects.help(place, codes::NO_MAP, message, &help);
            }
        }
    }

    /// `assign: { attempts: attempts + 1, request.Priority: "'high'" }`
    fn assign(&mut self, value: &Node) -> Action {
        let mut assignments = Vec::new();
        for (key, node) in fields::entries(value, "a map of assignments", &mut self.defects) {
            let (first, property) = match key.text.split_once('.') {
                Some((first, property)) => (first, Some(property)),
                None => (key.text.as_str(), None),
            };
            let message = self.names().message(first);
            let variable = self.variables.iter().position(|v| &*v.name == first);
            let assignment = match (message, variable, property) {
                (Some(to), _, None) => self
                    .message(node)
                    .and_then(|from| self.copy(node.place, to, from)),
                (Some(slot), _, Some(property)) => self.property(slot, property, key.place, node),
                (None, Some(at), None) => self.variable(at, node),
                _ => {
                    let known: Vec<String> = self
                        .variables
                        .iter()
                        .map(|v| v.name.to_string())
                        .chain(self.messages.iter().map(|m| m.name.to_string()))
                        .collect();
                    self.defects.unknown(
                        key.place,
                        codes::UNKNOWN_NAME,
                        "variable or message",
                        first,
                        known.iter().map(String::as_str),
                    );
                    None
                }
            };
            assignments.extend(assignment);
        }
        Action::Assign(assignments)
    }

    fn copy(&mut self, place: Place, to: u16, from: u16) -> Option<Assignment> {
        let message = |slot: u16| &self.messages[usize::from(slot)].message;
        if message(to) != message(from) {
            let text = format!(
                "a message {} cannot become one of {}: use `transform`",
                message(from),
                message(to)
            );
            self.defects.add(place, codes::TYPE, text);
            return None;
        }
        Some(Assignment::Copy { to, from })
    }

    fn property(
        &mut self,
        slot: u16,
        property: &str,
        place: Place,
        node: &Node,
    ) -> Option<Assignment> {
        let properties = &self.messages[usize::from(slot)].properties;
        let value_type = properties.get(property).copied();
        let found = Names::Filter(properties).find(property, place, &mut self.defects);
        let named = Name::new(property).ok();
        if found.is_some() && named.is_none() {
            let message = format!(
                "`{}` is no name of a property",
                crate::defect::shown(property)
            );
            self.defects.add(place, codes::UNKNOWN_NAME, message);
        }
        let kind = found.map(|(_, kind)| kind);
        let expression = self.expression(node, kind.map_or(Expect::Anything, Expect::Value))?;
        kind?;
        Some(Assignment::Property(slot, named?, value_type, expression))
    }

    fn variable(&mut self, at: usize, node: &Node) -> Option<Assignment> {
        if self.variables[at].holds == Holds::Element {
            let message = format!(
                "`{}` is the element of a loop and cannot be assigned",
                self.variables[at].name
            );
            self.defects.add(node.place, codes::FORM, message);
            return None;
        }
        let kind = crate::expression::kind_of(self.variables[at].holds);
        let expression = self.expression(node, Expect::Value(kind))?;
        Some(Assignment::Variable(u16::try_from(at).ok()?, expression))
    }

    /// `send: request` with `to`, `publish` or `answer`.
    fn send(&mut self, value: &Node, fields: &mut Fields<'_>) -> Option<Action> {
        let message = self.message(value);
        let (to, publish, answer) = (
            fields.get("to"),
            fields.get("publish"),
            fields.get("answer"),
        );
        let notify = fields::truth(fields.get("notify"), &mut self.defects);
        let initialise = self.set_names(fields.get("initialise"));
        let publish = fields::truth(publish, &mut self.defects);
        let to = match (to, publish, answer) {
            (Some(port), false, None) => self.port(port, false).map(SendTo::Port),
            (None, true, None) => Some(SendTo::Subscribers),
            (None, false, Some(request)) => self.message(request).map(SendTo::Answer),
            _ => {
                let help = "Write `to: PORT`, or `publish: true` for whoever subscribes, or `answer: MESSAGE` for who waits for an answer to it.";
                self.defects.help(
                    value.place,
                    codes::MISSING_KEY,
                    "a send goes to exactly one of `to`, `publish` and `answer`",
                    help,
                );
                None
            }
        };
        let message = message?;
        for (set, at) in &initialise {
            self.gives(message, *set, *at);
        }
        let initialise = initialise.into_iter().map(|(set, _)| set).collect();
        Some(Action::Send(Send {
            message,
            to: to?,
            initialise,
            notify,
        }))
    }

    fn port(&mut self, node: &Node, two_way: bool) -> Option<Name> {
        let name = fields::name(node, &mut self.defects)?;
        match self.environment.ports.get(&name) {
            Some(spec) if two_way && !spec.two_way => {
                self.defects.add(
                    node.place,
                    codes::NO_PORT,
                    format!("the send port `{name}` gives no answers"),
                );
            }
            Some(_) => {}
            None => self.missing(
                node.place,
                codes::NO_PORT,
                "send port",
                &name,
                self.environment.ports.keys(),
            ),
        }
        Some(name)
    }

    /// `call: request` to a port that answers.
    fn call(&mut self, value: &Node, fields: &mut Fields<'_>) -> Option<Action> {
        let message = self.message(value);
        let (to, reply) = (
            fields.need("to", &mut self.defects),
            fields.need("reply", &mut self.defects),
        );
        let port = to.and_then(|node| self.port(node, true));
        let reply = reply.and_then(|node| self.message(node));
        Some(Action::Call(Call {
            message: message?,
            port: port?,
            reply: reply?,
        }))
    }

    /// `worker: pricing`, a program of ours behind HTTP.
    fn worker(&mut self, value: &Node, fields: &mut Fields<'_>) -> Option<Action> {
        let worker = fields::name(value, &mut self.defects);
        let (send, reply) = (fields.need("send", &mut self.defects), fields.get("reply"));
        let lease = fields
            .get("lease")
            .map_or(Some(Duration::from_secs(30)), |node| self.duration(node));
        let attempts = fields
            .get("attempts")
            .map_or(Some(3), |node| self.count(node));
        let message = send.and_then(|node| self.message(node));
        let reply_slot = reply.map(|node| self.message(node));
        let worker = worker?;
        if !self.environment.workers.contains(&worker) {
            self.missing(
                value.place,
                codes::NO_WORKER,
                "worker",
                &worker,
                self.environment.workers.iter(),
            );
        }
        let reply = match reply_slot {
            Some(slot) => Some(slot?),
            None => None,
        };
        Some(Action::Worker(Worker {
            worker,
            message: message?,
            reply,
            lease: lease?,
            attempts: attempts?,
        }))
    }

    fn count(&mut self, node: &Node) -> Option<u32> {
        let number = node
            .text()
            .and_then(|t| t.parse().ok())
            .filter(|n| (1..=100).contains(n));
        if number.is_none() {
            let message = format!(
                "{} stands here, where a number from 1 to 100 belongs",
                described(node)
            );
            self.defects.add(node.place, codes::FORM, message);
        }
        number
    }

    /// `start: shipment` with a message.
    fn start(&mut self, value: &Node, fields: &mut Fields<'_>) -> Option<Action> {
        let orchestration = fields::name(value, &mut self.defects);
        let message = fields
            .need("with", &mut self.defects)
            .and_then(|node| self.message(node));
        let orchestration = orchestration?;
        if !self.environment.orchestrations.contains(&orchestration) {
            let known = self.environment.orchestrations.iter();
            self.missing(
                value.place,
                codes::NO_ORCHESTRATION,
                "orchestration",
                &orchestration,
                known,
            );
        }
        Some(Action::Start {
            orchestration,
            message: message?,
        })
    }

    /// `delay: 24h` or `delay: { until: order.DueAt }`
    pub(super) fn pause(&mut self, node: &Node) -> Option<Pause> {
        if matches!(node.value, Yaml::Map(_)) {
            let mut fields = Fields::of(node, "a time", &mut self.defects)?;
            let until = fields.need("until", &mut self.defects);
            fields.finish(&mut self.defects);
            return self
                .expression(until?, Expect::Value(Kind::Text))
                .map(Pause::Until);
        }
        self.duration(node).map(Pause::For)
    }

    pub(super) fn duration(&mut self, node: &Node) -> Option<Duration> {
        let duration = node.text().and_then(span::parse);
        if duration.is_none() {
            let message = format!("{} stands here, where a duration belongs", described(node));
            let help =
                "Write whole numbers with ms, s, m, h or d, such as `10s`, `24h` or `1h30m`.";
            self.defects.help(node.place, codes::FORM, message, help);
        }
        duration
    }

    /// `raise: refused`
    fn raise(&mut self, value: &Node, fields: &mut Fields<'_>) -> Option<Action> {
        let message = fields.get("message");
        let code = fields::name(value, &mut self.defects)?;
        self.raised.insert(code.clone());
        let message = match message {
            Some(node) => Some(self.expression(node, Expect::Value(Kind::Text))?),
            None => None,
        };
        Some(Action::Raise { code, message })
    }

    /// `terminate:`, or with a reason.
    fn terminate(&mut self, value: &Node) -> Option<Action> {
        if value.is_null() {
            return Some(Action::Terminate(None));
        }
        self.expression(value, Expect::Value(Kind::Text))
            .map(|reason| Action::Terminate(Some(reason)))
    }

    /// `compensate: all` or of one scope.
    fn compensate(&mut self, value: &Node, step: u16) -> Option<Action> {
        let name = fields::name(value, &mut self.defects)?;
        if &*name != "all" {
            self.compensated.push((step, name, value.place));
        }
        Some(Action::Compensate(None))
    }
}
