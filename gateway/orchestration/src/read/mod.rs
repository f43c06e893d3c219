//! From text to a [`Definition`], or to all faults of the text at once.

mod declarations;
mod fields;
mod flow;
mod gather;
mod step;

use std::collections::{BTreeMap, BTreeSet};

use quayside_model::{Name, hash16};

use self::fields::Fields;
pub(crate) use self::gather::{first_receives, messages as messages_used};
use crate::{
    Defect, Definition, Environment, Fingerprint, check, codes,
    defect::{Defects, Place, nearest, shown},
    definition::{Action, CorrelationSet, Group, MessageVariable, Step, Variable},
    expression::Names,
    limits,
    yaml::{self, Node, Yaml},
};

/// The errors that the machine raises itself, by the names under which they are caught.
pub(crate) const ERRORS: &[&str] = &[
    "timeout",
    "delivery",
    "call",
    "worker",
    "map",
    "document",
    "expression",
    "correlation",
];

pub(crate) fn compile(
    name: &Name,
    text: &str,
    environment: &Environment,
) -> Result<Definition, Vec<Defect>> {
    let mut defects = Defects::default();
    let Some(root) = yaml::read(text, &mut defects) else {
        return Err(defects.finish());
    };
    let mut reader = Reader::new(environment, defects);
    let about = reader.document(&root);
    let mut definition = Definition {
        name: name.clone(),
        about,
        fingerprint: Fingerprint::from_bytes(hash16(&[
            b"orchestration",
            name.as_bytes(),
            text.as_bytes(),
        ])),
        messages: reader.messages,
        variables: reader.variables,
        sets: reader.sets,
        groups: reader.groups,
        steps: reader.steps,
        blocks: reader.blocks,
    };
    let mut defects = reader.defects;
    gather::convoy(&mut definition);
    check::check(&definition, &mut defects);
    gather::gather(&mut definition);
    if defects.errors() > 0 {
        return Err(defects.finish());
    }
    Ok(definition)
}

/// What was read so far.
struct Reader<'e> {
    environment: &'e Environment,
    defects: Defects,
    messages: Vec<MessageVariable>,
    variables: Vec<Variable>,
    sets: Vec<CorrelationSet>,
    groups: Vec<Group>,
    steps: Vec<Step>,
    blocks: Vec<Vec<u16>>,
    step_names: BTreeSet<Name>,
    /// Where each scope is, for steps that compensate it.
    scopes: BTreeMap<Name, u16>,
    /// The names of errors that are raised, and of those that are caught with their places.
    raised: BTreeSet<Name>,
    caught: Vec<(Name, Place)>,
    /// The scopes that steps compensate, by step: looked up when all scopes are known.
    compensated: Vec<(u16, Name, Place)>,
    depth: usize,
    /// Whether this is inside of `on_error`, where there is an error to look at.
    handling: bool,
    full: bool,
}

impl<'e> Reader<'e> {
    fn new(environment: &'e Environment, defects: Defects) -> Self {
        Self {
            environment,
            defects,
            messages: Vec::new(),
            variables: Vec::new(),
            sets: Vec::new(),
            groups: Vec::new(),
            steps: Vec::new(),
            blocks: Vec::new(),
            step_names: BTreeSet::new(),
            scopes: BTreeMap::new(),
            raised: BTreeSet::new(),
            caught: Vec::new(),
            compensated: Vec::new(),
            depth: 0,
            handling: false,
            full: false,
        }
    }

    /// Reads everything; what it says about itself comes back.
    fn document(&mut self, root: &Node) -> String {
        let Some(mut fields) =
            Fields::of(root, "a map with `messages` and `steps`", &mut self.defects)
        else {
            return String::new();
        };
        let about = fields
            .get("about")
            .and_then(Node::text)
            .unwrap_or_default()
            .to_owned();
        let messages = fields.need("messages", &mut self.defects);
        let (variables, correlations) = (fields.get("variables"), fields.get("correlations"));
        let steps = fields.need("steps", &mut self.defects);
        fields.finish(&mut self.defects);
        if let Some(messages) = messages {
            self.message_variables(messages);
        }
        if let Some(variables) = variables {
            self.plain_variables(variables);
        }
        if let Some(correlations) = correlations {
            self.correlation_sets(correlations);
        }
        if let Some(steps) = steps {
            self.block(steps);
        }
        self.late_names();
        about
    }

    /// What could only be looked up when everything was read.
    fn late_names(&mut self) {
        for (name, place) in std::mem::take(&mut self.caught) {
            let known = ERRORS.contains(&&*name) || self.raised.contains(&name);
            if !known {
                let all = ERRORS
                    .iter()
                    .copied()
                    .chain(self.raised.iter().map(|n| &**n));
                self.defects
                    .unknown(place, codes::UNKNOWN_NAME, "error", &name, all);
            }
        }
        for (step, name, place) in std::mem::take(&mut self.compensated) {
            match self.scopes.get(&name) {
                Some(scope) => {
                    self.steps[usize::from(step)].action = Action::Compensate(Some(*scope))
                }
                None => {
                    let all = self.scopes.keys().map(|n| &**n);
                    self.defects
                        .unknown(place, codes::UNKNOWN_NAME, "scope", &name, all);
                }
            }
        }
    }

    /// Reads a list of steps, and gives its number.
    fn block(&mut self, node: &Node) -> u16 {
        // Always a list of its own: one that is left out by a limit is empty.
        let number = self.empty_block();
        if self.full {
            return number;
        }
        let Yaml::List(items) = &node.value else {
            let message = format!(
                "{} stands here, where a list of steps belongs",
                node.in_words()
            );
            self.defects.add(node.place, codes::FORM, message);
            return number;
        };
        if items.is_empty() {
            self.defects
                .add(node.place, codes::FORM, "there is no step in this list");
        }
        self.depth += 1;
        if self.depth > limits::NESTING {
            let message = format!("steps nest deeper than {} levels", limits::NESTING);
            self.defects.add(node.place, codes::TOO_LARGE, message);
        } else {
            for item in items {
                if let Some(step) = self.step(item) {
                    self.blocks[usize::from(number)].push(step);
                }
            }
        }
        self.depth -= 1;
        number
    }

    fn empty_block(&mut self) -> u16 {
        self.blocks.push(Vec::new());
        u16::try_from(self.blocks.len() - 1).expect("no more lists than the YAML has values")
    }

    /// Keeps a place for a step, so that steps are numbered in the order in which they are written.
    fn reserve(&mut self, name: Name, place: Place) -> Option<u16> {
        if self.steps.len() >= limits::STEPS {
            if !self.full {
                self.full = true;
                let message = format!("there are more than {} steps", limits::STEPS);
                self.defects.add(place, codes::TOO_LARGE, message);
            }
            return None;
        }
        self.steps.push(Step {
            name,
            place,
            action: Action::Broken,
        });
        u16::try_from(self.steps.len() - 1).ok()
    }

    fn names(&self) -> Names<'_> {
        Names::Step {
            messages: &self.messages,
            variables: &self.variables,
            error: self.handling,
        }
    }

    /// The message variable that `node` names.
    fn message(&mut self, node: &Node) -> Option<u16> {
        let name = fields::name(node, &mut self.defects)?;
        let found = self.names().message(&name);
        if found.is_none() {
            let all: Vec<&str> = self.messages.iter().map(|m| &*m.name).collect();
            self.defects
                .unknown(node.place, codes::UNKNOWN_NAME, "message", &name, all);
        }
        found
    }

    /// The correlation sets that `node` names.
    fn set_names(&mut self, node: Option<&Node>) -> Vec<(u16, Place)> {
        let Some(node) = node else { return Vec::new() };
        let mut found = Vec::new();
        for (name, place) in fields::names(node, &mut self.defects) {
            match self.sets.iter().position(|set| set.name == name) {
                Some(at) => found.extend(u16::try_from(at).ok().map(|at| (at, place))),
                None => {
                    let all: Vec<&str> = self.sets.iter().map(|s| &*s.name).collect();
                    self.defects
                        .unknown(place, codes::UNKNOWN_NAME, "correlation", &name, all);
                }
            }
        }
        found
    }

    /// The number of the group of `sets`, which takes messages of the type that `message` has.
    fn group(&mut self, mut sets: Vec<u16>, message: u16) -> u16 {
        sets.sort_unstable();
        let at = self
            .groups
            .iter()
            .position(|group| group.sets == sets)
            .unwrap_or_else(|| {
                self.groups.push(Group {
                    sets,
                    types: BTreeSet::new(),
                });
                self.groups.len() - 1
            });
        let message_type = self.messages[usize::from(message)].message_type.clone();
        self.groups[at].types.insert(message_type);
        u16::try_from(at).expect("no more groups than receives")
    }

    /// The name of a new step: its own, or its kind and line.
    fn step_name(&mut self, own: Option<&Node>, kind: &str, place: Place) -> Name {
        let given =
            own.and_then(|node| fields::name(node, &mut self.defects).map(|n| (n, node.place)));
        if let Some((name, at)) = given {
            if !self.step_names.insert(name.clone()) {
                self.defects.add(
                    at,
                    codes::DUPLICATE,
                    format!("there is a step `{name}` already"),
                );
            }
            return name;
        }
        let mut text = format!("{kind}-{}", place.line);
        if self.step_names.iter().any(|known| **known == *text) {
            text = format!("{kind}-{}.{}", place.line, place.column);
        }
        let name = Name::new(text).expect("letters and digits");
        self.step_names.insert(name.clone());
        name
    }

    /// A fault of a name that the application does not have.
    fn missing<'k>(
        &mut self,
        place: Place,
        code: quayside_model::Code,
        what: &str,
        name: &str,
        known: impl Iterator<Item = &'k Name>,
    ) {
        let known: Vec<&str> = known.map(|n| &**n).collect();
        let message = format!("the application has no {what} `{}`", shown(name));
        match nearest(name, &known) {
            Some(near) => {
                self.defects
                    .help(place, code, message, &format!("Did you mean `{near}`?"))
            }
            None => self.defects.add(place, code, message),
        }
    }
}
