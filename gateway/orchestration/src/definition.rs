//! A definition as the machine runs it: steps in a table, lists of steps in another.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use quayside_model::{Name, Text, ValueType};

use crate::{
    Datum, Defect, Environment, Fingerprint, Place, Want, datum::Holds, expression::Expression,
    read,
};

/// A checked definition. An instance is bound to the one that it was started with, by its
/// [`fingerprint`](Definition::fingerprint).
#[derive(Debug, Clone)]
pub struct Definition {
    pub(crate) name: Name,
    pub(crate) about: String,
    pub(crate) fingerprint: Fingerprint,
    pub(crate) messages: Vec<MessageVariable>,
    pub(crate) variables: Vec<Variable>,
    pub(crate) sets: Vec<CorrelationSet>,
    pub(crate) groups: Vec<Group>,
    pub(crate) steps: Vec<Step>,
    /// Lists of steps; the first is the orchestration itself.
    pub(crate) blocks: Vec<Vec<u16>>,
}

/// A message that the orchestration holds under a name.
#[derive(Debug, Clone)]
pub(crate) struct MessageVariable {
    pub(crate) name: Name,
    /// Its name in the application.
    pub(crate) message: Name,
    pub(crate) message_type: Text,
    pub(crate) properties: BTreeMap<Name, ValueType>,
    /// The properties that the definition looks at: those that an instance keeps.
    pub(crate) kept: BTreeSet<Name>,
}

/// A variable.
#[derive(Debug, Clone)]
pub(crate) struct Variable {
    pub(crate) name: Name,
    pub(crate) holds: Holds,
    /// What it holds at first; an element of a list has nothing before its loop.
    pub(crate) initial: Option<Datum>,
}

/// A correlation set: the properties that its values come from.
#[derive(Debug, Clone)]
pub(crate) struct CorrelationSet {
    pub(crate) name: Name,
    pub(crate) properties: Vec<Name>,
}

/// The sets that a receive follows together, and the types of messages that such receives take.
#[derive(Debug, Clone)]
pub(crate) struct Group {
    pub(crate) sets: Vec<u16>,
    pub(crate) types: BTreeSet<Text>,
}

/// A step.
#[derive(Debug, Clone)]
pub(crate) struct Step {
    pub(crate) name: Name,
    pub(crate) place: Place,
    pub(crate) action: Action,
}

/// What a step does. Numbers are slots of messages and variables, steps and lists of steps.
#[derive(Debug, Clone)]
pub(crate) enum Action {
    Receive(Receive),
    Transform(Transform),
    Assign(Vec<Assignment>),
    Send(Send),
    Call(Call),
    Worker(Worker),
    Start {
        orchestration: Name,
        message: u16,
    },
    Decide(Vec<(Option<Expression>, u16)>),
    Parallel(Vec<(Name, u16)>),
    Each {
        variable: u16,
        items: Expression,
        body: u16,
    },
    Loop {
        condition: Expression,
        body: u16,
    },
    Delay(Pause),
    Listen(Vec<ListenBranch>),
    Scope(Scope),
    /// Of one scope, or of all that are nested.
    Compensate(Option<u16>),
    Raise {
        code: Name,
        message: Option<Expression>,
    },
    Suspend(Expression),
    Terminate(Option<Expression>),
    /// Could not be read: only while a definition is checked.
    Broken,
}

#[derive(Debug, Clone)]
pub(crate) struct Receive {
    pub(crate) message: u16,
    pub(crate) activate: bool,
    /// The filter of a receive that activates, as it is written.
    pub(crate) filter: Option<String>,
    pub(crate) initialise: Vec<u16>,
    /// The group of sets that it follows.
    pub(crate) group: Option<u16>,
}

#[derive(Debug, Clone)]
pub(crate) struct Transform {
    pub(crate) map: Name,
    pub(crate) from: Vec<u16>,
    pub(crate) to: u16,
    pub(crate) with: Vec<(Name, Expression)>,
}

/// One assignment.
#[derive(Debug, Clone)]
pub(crate) enum Assignment {
    Variable(u16, Expression),
    /// A property of a message, promoted.
    Property(u16, Name, Option<ValueType>, Expression),
    /// The message `from` under the name `to` too.
    Copy {
        to: u16,
        from: u16,
    },
}

#[derive(Debug, Clone)]
pub(crate) struct Send {
    pub(crate) message: u16,
    pub(crate) to: SendTo,
    pub(crate) initialise: Vec<u16>,
    /// Whether it waits for what becomes of the delivery.
    pub(crate) notify: bool,
}

#[derive(Debug, Clone)]
pub(crate) enum SendTo {
    Port(Name),
    /// To whoever subscribes.
    Subscribers,
    /// To who waits for an answer to this message.
    Answer(u16),
}

#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) message: u16,
    pub(crate) port: Name,
    pub(crate) reply: u16,
}

#[derive(Debug, Clone)]
pub(crate) struct Worker {
    pub(crate) worker: Name,
    pub(crate) message: u16,
    pub(crate) reply: Option<u16>,
    pub(crate) lease: Duration,
    pub(crate) attempts: u32,
}

#[derive(Debug, Clone)]
pub(crate) enum Pause {
    For(Duration),
    Until(Expression),
}

#[derive(Debug, Clone)]
pub(crate) struct ListenBranch {
    pub(crate) trigger: Trigger,
    pub(crate) body: u16,
}

#[derive(Debug, Clone)]
pub(crate) enum Trigger {
    Receive(Receive),
    Delay(Pause),
}

#[derive(Debug, Clone)]
pub(crate) struct Scope {
    pub(crate) atomic: bool,
    pub(crate) timeout: Option<Duration>,
    pub(crate) body: u16,
    pub(crate) handlers: Vec<Handler>,
    pub(crate) compensate: Option<u16>,
    /// What the compensation looks at, kept as it is when the scope ends.
    pub(crate) captured: Captured,
}

impl Scope {
    /// Whether its end is a point at which the instance is kept, and its effects can be compensated.
    pub(crate) fn is_transaction(&self) -> bool {
        self.atomic || self.timeout.is_some() || self.compensate.is_some()
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Captured {
    pub(crate) messages: BTreeSet<u16>,
    pub(crate) variables: BTreeSet<u16>,
}

#[derive(Debug, Clone)]
pub(crate) struct Handler {
    /// The errors that it takes; empty: all.
    pub(crate) catch: Vec<Name>,
    pub(crate) body: u16,
}

/// A kind of message that starts an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Activation {
    /// The step that takes it.
    pub step: Name,
    /// The type of the message.
    pub message_type: Text,
    /// What else has to hold, as the filter of a send port: CEL over the properties of the message.
    pub filter: Option<String>,
    /// The [`Correlation`] that makes one instance of several messages, if the definition says so: when a
    /// message has the key of an instance that is there, it belongs to that one and starts none.
    pub convoy: Option<u16>,
}

/// A step that starts another orchestration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Starts {
    /// The step.
    pub step: Name,
    /// Where it stands.
    pub place: Place,
    /// What it starts.
    pub orchestration: Name,
    /// The type of the message that it gives.
    pub message_type: Text,
}

/// A way in which messages find an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Correlation {
    /// Its number in the definition.
    pub group: u16,
    /// The types of messages that come this way.
    pub types: Vec<Text>,
    /// The properties that the key is made of; see [`Definition::correlation_key`].
    pub properties: Vec<Name>,
}

/// A place of a document that a definition reads, so that a caller can check the path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DocumentPath {
    /// The message, by its name in the application.
    pub message: Name,
    /// The path.
    pub path: String,
    /// What it is read for.
    pub want: Want,
    /// The step.
    pub step: Name,
    /// Where the step stands.
    pub place: Place,
}

impl Definition {
    /// Reads and checks the definition `name` in `text`, which may name what `environment` has.
    ///
    /// # Errors
    /// All faults at once, in the order of their places.
    pub fn compile(
        name: &Name,
        text: &str,
        environment: &Environment,
    ) -> Result<Self, Vec<Defect>> {
        read::compile(name, text, environment)
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// What it says about itself.
    #[must_use]
    pub fn about(&self) -> &str {
        &self.about
    }

    /// What is equal for the same text and the same version of this program's state only.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// What starts an instance.
    #[must_use]
    pub fn activations(&self) -> Vec<Activation> {
        let mut all = Vec::new();
        for (step, receive) in self.receives() {
            if receive.activate {
                all.push(Activation {
                    step: self.steps[usize::from(step)].name.clone(),
                    message_type: self.message(receive.message).message_type.clone(),
                    filter: receive.filter.clone(),
                    convoy: self.convoy(receive),
                });
            }
        }
        all
    }

    /// What it starts of other orchestrations.
    #[must_use]
    pub fn starts(&self) -> Vec<Starts> {
        let starts = self.steps.iter().filter_map(|step| match &step.action {
            Action::Start {
                orchestration,
                message,
            } => Some(Starts {
                step: step.name.clone(),
                place: step.place,
                orchestration: orchestration.clone(),
                message_type: self.message(*message).message_type.clone(),
            }),
            _ => None,
        });
        starts.collect()
    }

    /// How messages find an instance that is there.
    #[must_use]
    pub fn correlations(&self) -> Vec<Correlation> {
        let groups = self.groups.iter().enumerate();
        groups
            .map(|(number, group)| Correlation {
                group: u16::try_from(number).expect("groups are bounded"),
                types: group.types.iter().cloned().collect(),
                properties: self.group_properties(group).cloned().collect(),
            })
            .collect()
    }

    /// The send ports that it sends to or asks.
    #[must_use]
    pub fn ports(&self) -> BTreeSet<Name> {
        let ports = self.steps.iter().filter_map(|step| match &step.action {
            Action::Send(Send {
                to: SendTo::Port(port),
                ..
            }) => Some(port.clone()),
            Action::Call(call) => Some(call.port.clone()),
            _ => None,
        });
        ports.collect()
    }

    /// Whether it answers requests.
    #[must_use]
    pub fn answers(&self) -> bool {
        self.steps.iter().any(|step| {
            matches!(&step.action, Action::Send(send) if matches!(send.to, SendTo::Answer(_)))
        })
    }

    /// Every place of a document that it reads.
    #[must_use]
    pub fn documents(&self) -> Vec<DocumentPath> {
        let mut all = Vec::new();
        for step in &self.steps {
            for expression in step.action.expressions() {
                all.extend(expression.reads.iter().map(|read| DocumentPath {
                    message: self.message(read.message).message.clone(),
                    path: read.path.to_string(),
                    want: read.want,
                    step: step.name.clone(),
                    place: step.place,
                }));
            }
        }
        all
    }

    /// Every path at which it reads messages of `message_type`, each once.
    #[must_use]
    pub fn paths_of(&self, message_type: &str) -> Vec<(Arc<str>, Want)> {
        let expressions = self.steps.iter().flat_map(|step| step.action.expressions());
        let reads = expressions.flat_map(|expression| &expression.reads);
        let reads = reads.filter(|read| *self.message(read.message).message_type == *message_type);
        let paths: BTreeSet<_> = reads
            .map(|read| (Arc::clone(&read.path), read.want))
            .collect();
        paths.into_iter().collect()
    }

    pub(crate) fn step(&self, step: u16) -> &Step {
        &self.steps[usize::from(step)]
    }

    pub(crate) fn block(&self, block: u16) -> &[u16] {
        &self.blocks[usize::from(block)]
    }

    pub(crate) fn message(&self, slot: u16) -> &MessageVariable {
        &self.messages[usize::from(slot)]
    }

    pub(crate) fn variable(&self, slot: u16) -> &Variable {
        &self.variables[usize::from(slot)]
    }

    pub(crate) fn group_properties<'d>(
        &'d self,
        group: &'d Group,
    ) -> impl Iterator<Item = &'d Name> {
        let sets = group.sets.iter().map(|set| &self.sets[usize::from(*set)]);
        sets.flat_map(|set| &set.properties)
    }

    /// The group of exactly these sets.
    pub(crate) fn group_of(&self, sets: &[u16]) -> Option<u16> {
        let number = self.groups.iter().position(|group| group.sets == sets)?;
        u16::try_from(number).ok()
    }

    /// The group by which a receive that activates is found again, if it initialises one that is followed.
    pub(crate) fn convoy(&self, receive: &Receive) -> Option<u16> {
        let mut sets = receive.initialise.clone();
        sets.sort_unstable();
        let group = self.group_of(&sets)?;
        let taken = &self.message(receive.message).message_type;
        self.groups[usize::from(group)]
            .types
            .contains(taken)
            .then_some(group)
    }

    fn receives(&self) -> Vec<(u16, &Receive)> {
        let mut all = Vec::new();
        for (number, step) in self.steps.iter().enumerate() {
            let number = u16::try_from(number).expect("steps are bounded");
            match &step.action {
                Action::Receive(receive) => all.push((number, receive)),
                Action::Listen(branches) => {
                    all.extend(branches.iter().filter_map(|b| match &b.trigger {
                        Trigger::Receive(receive) => Some((number, receive)),
                        Trigger::Delay(_) => None,
                    }))
                }
                _ => {}
            }
        }
        all
    }
}

impl Action {
    /// What kind of step it is, as a definition writes it.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Receive(_) => "receive",
            Self::Transform(_) => "transform",
            Self::Assign(_) => "assign",
            Self::Send(_) => "send",
            Self::Call(_) => "call",
            Self::Worker(_) => "worker",
            Self::Start { .. } => "start",
            Self::Decide(_) => "decide",
            Self::Parallel(_) => "parallel",
            Self::Each { .. } => "each",
            Self::Loop { .. } => "loop",
            Self::Delay(_) => "delay",
            Self::Listen(_) => "listen",
            Self::Scope(_) => "scope",
            Self::Compensate(_) => "compensate",
            Self::Raise { .. } => "raise",
            Self::Suspend(_) => "suspend",
            Self::Terminate(_) => "terminate",
            Self::Broken => "step",
        }
    }

    /// Every expression that stands in it, without those of steps inside.
    pub(crate) fn expressions(&self) -> Vec<&Expression> {
        match self {
            Self::Transform(transform) => transform.with.iter().map(|(_, e)| e).collect(),
            Self::Assign(assignments) => assignments
                .iter()
                .filter_map(|assignment| match assignment {
                    Assignment::Variable(_, e) | Assignment::Property(.., e) => Some(e),
                    Assignment::Copy { .. } => None,
                })
                .collect(),
            Self::Decide(branches) => branches.iter().filter_map(|(e, _)| e.as_ref()).collect(),
            Self::Each { items, .. } => vec![items],
            Self::Loop { condition, .. } => vec![condition],
            Self::Delay(Pause::Until(until)) => vec![until],
            Self::Listen(branches) => branches
                .iter()
                .filter_map(|b| match &b.trigger {
                    Trigger::Delay(Pause::Until(until)) => Some(until),
                    _ => None,
                })
                .collect(),
            Self::Raise { message, .. } => message.iter().collect(),
            Self::Suspend(reason) => vec![reason],
            Self::Terminate(reason) => reason.iter().collect(),
            _ => Vec::new(),
        }
    }

    /// The lists of steps inside of it.
    pub(crate) fn blocks(&self) -> Vec<u16> {
        match self {
            Self::Decide(branches) => branches.iter().map(|(_, block)| *block).collect(),
            Self::Parallel(branches) => branches.iter().map(|(_, block)| *block).collect(),
            Self::Each { body, .. } | Self::Loop { body, .. } => vec![*body],
            Self::Listen(branches) => branches.iter().map(|branch| branch.body).collect(),
            Self::Scope(scope) => std::iter::once(scope.body)
                .chain(scope.handlers.iter().map(|handler| handler.body))
                .chain(scope.compensate)
                .collect(),
            _ => Vec::new(),
        }
    }
}
