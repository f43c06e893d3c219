//! A random definition: as a tree that the oracle walks, and as the text that the machine gets.

use quayside_model::{Entropy, SeededEntropy};

/// What may be in a definition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    /// Only what has one right course.
    Orderly,
    /// Everything.
    Wild,
}

#[derive(Debug, Clone)]
pub(crate) enum Op {
    /// Adds one to the variable.
    Count(usize),
    Send(String),
    /// Sends and waits for the delivery; one whose name begins with `lost` fails.
    Notify(String),
    /// One whose name begins with `no` is refused.
    Call(String),
    /// One whose name begins with `mute` never answers, and one with `no` is refused.
    Work(String),
    Receive,
    Transform,
    /// A map that waits for the text of a document first.
    Read(usize),
    Start,
    Delay(u32),
    /// By whether a variable is even.
    Decide(usize, Vec<Op>, Vec<Op>),
    Parallel(Vec<Vec<Op>>),
    Each(String, u32, Vec<Op>),
    /// As often as this, counted by a variable of its own.
    Loop(usize, u32, Vec<Op>),
    /// A message, or this many seconds.
    Listen(u32, Vec<Op>, Vec<Op>),
    Scope(Box<Scope>),
    CompensateAll,
    Raise(String, &'static str),
    Suspend,
    Terminate,
}

#[derive(Debug, Clone)]
pub(crate) struct Scope {
    pub(crate) name: String,
    pub(crate) atomic: bool,
    pub(crate) timeout: Option<u32>,
    pub(crate) body: Vec<Op>,
    /// What is caught (`None`: all) and what is done then.
    pub(crate) handler: Option<(Option<&'static str>, Vec<Op>)>,
    pub(crate) compensate: Option<Vec<Op>>,
}

impl Scope {
    pub(crate) fn is_transaction(&self) -> bool {
        self.atomic || self.timeout.is_some() || self.compensate.is_some()
    }
}

pub(crate) struct Plan {
    pub(crate) steps: Vec<Op>,
    pub(crate) variables: usize,
}

impl Plan {
    pub(crate) fn new(seed: u64, style: Style) -> Self {
        let mut maker = Maker {
            entropy: SeededEntropy::new(seed),
            style,
            names: 0,
            variables: 1,
            size: 0,
        };
        let steps = maker.steps(
            0,
            Place {
                variable: 0,
                ..Place::default()
            },
        );
        Self {
            steps,
            variables: maker.variables,
        }
    }

    pub(crate) fn has_branches(&self) -> bool {
        self.yaml().contains("parallel:")
    }

    pub(crate) fn yaml(&self) -> String {
        let mut text =
            "messages: { m0: t0, m1: t1, m2: t2, m3: t3 }\ncorrelations: { k: Key }\nvariables:\n"
                .to_owned();
        for variable in 0..self.variables {
            text.push_str(&format!("  v{variable}: 0\n"));
        }
        text.push_str(
            "steps:\n  - receive: m0\n    activate: true\n    initialise: k\n    name: first\n",
        );
        // So that every step may use every message.
        text.push_str("  - transform: any\n    from: m0\n    to: m3\n    name: made\n");
        // So that what is caught is raised somewhere.
        text.push_str("  - decide:\n      - when: v0 > 9999\n        steps: [{ raise: x }]\n      - when: v0 > 999\n        steps: [{ raise: y }]\n");
        for op in &self.steps {
            op.write(&mut text, 1);
        }
        text
    }
}

/// Where a step is made.
#[derive(Debug, Clone, Copy, Default)]
struct Place {
    variable: usize,
    atomic: bool,
    parallel: bool,
    /// In a handler or compensation.
    undoing: bool,
    compensation: bool,
    /// Scopes around that handle errors.
    handled: bool,
}

struct Maker {
    entropy: SeededEntropy,
    style: Style,
    names: usize,
    variables: usize,
    size: usize,
}

impl Maker {
    fn below(&mut self, bound: u32) -> u32 {
        let mut bytes = [0; 4];
        self.entropy.fill(&mut bytes);
        u32::from_le_bytes(bytes) % bound
    }

    fn name(&mut self, kind: &str) -> String {
        self.names += 1;
        format!("{kind}{}", self.names)
    }

    fn variable(&mut self) -> usize {
        self.variables += 1;
        self.variables - 1
    }

    fn steps(&mut self, depth: u32, place: Place) -> Vec<Op> {
        let count = if depth == 0 {
            3 + self.below(5)
        } else {
            1 + self.below(4)
        };
        let mut steps = Vec::new();
        for _ in 0..count {
            let op = self.op(depth, place);
            let last = op.ends();
            steps.push(op);
            if last {
                break;
            }
        }
        steps
    }

    fn op(&mut self, depth: u32, place: Place) -> Op {
        self.size += 1;
        let wild = self.style == Style::Wild;
        let leaf = depth > 4 || self.size > 60;
        // Only where it has one right course: not beside branches that it would cut off.
        let may_fail = wild || !place.parallel;
        if place.compensation && !wild {
            return match self.below(5) {
                0 => Op::Transform,
                1 => Op::Start,
                2 => Op::CompensateAll,
                _ => Op::Send(self.name("undo")),
            };
        }
        loop {
            let op = match self.below(25) {
                0 | 1 => Op::Count(place.variable),
                2 | 3 => Op::Send(self.name("send")),
                4 => Op::Transform,
                5 => Op::Read(place.variable),
                6 => Op::Start,
                7 if !place.atomic => Op::Call(self.name("call")),
                7 | 8 if may_fail && !place.atomic && (place.handled || self.below(4) == 0) => {
                    Op::Call(self.name("no"))
                }
                9 => Op::Receive,
                10 if !place.atomic => Op::Delay(1 + self.below(20)),
                11 if !leaf => Op::Decide(
                    place.variable,
                    self.steps(depth + 1, place),
                    self.steps(depth + 1, place),
                ),
                12 if !leaf && !place.atomic => {
                    let branches = 2 + self.below(2);
                    Op::Parallel(
                        (0..branches)
                            .map(|_| {
                                let inside = Place {
                                    variable: self.variable(),
                                    parallel: true,
                                    ..place
                                };
                                self.steps(depth + 1, inside)
                            })
                            .collect(),
                    )
                }
                13 if !leaf => {
                    Op::Each(self.name("e"), self.below(4), self.steps(depth + 1, place))
                }
                14 if !leaf => Op::Loop(
                    self.variable(),
                    1 + self.below(3),
                    self.steps(depth + 1, place),
                ),
                15..=17 if !leaf && !place.atomic => Op::Scope(Box::new(self.scope(depth, place))),
                18 if may_fail && (place.handled || self.below(6) == 0) => {
                    let name = self.name("raise");
                    Op::Raise(name, if self.below(2) == 0 { "x" } else { "y" })
                }
                19 if place.undoing => Op::CompensateAll,
                20 if !place.atomic && !place.parallel && self.below(8) == 0 => Op::Terminate,
                20 if wild && !place.atomic && self.below(6) == 0 => Op::Suspend,
                20 if wild && !place.atomic => {
                    let kinds = ["work", "mute", "no"];
                    let kind = kinds[self.below(3) as usize];
                    Op::Work(self.name(kind))
                }
                21 if wild && !place.atomic && !leaf => Op::Listen(
                    1 + self.below(30),
                    self.steps(depth + 1, place),
                    self.steps(depth + 1, place),
                ),
                21 if !place.atomic => {
                    let kind = if may_fail && place.handled && self.below(2) == 0 {
                        "lost"
                    } else {
                        "note"
                    };
                    Op::Notify(self.name(kind))
                }
                22..=24 if !leaf && !place.atomic && !place.compensation => self.saga(place),
                _ => continue,
            };
            return op;
        }
    }

    /// A scope that fails after others have ended well in it, in every way in which they can be found.
    fn saga(&mut self, place: Place) -> Op {
        let mut body = Vec::new();
        for _ in 0..1 + self.below(3) {
            let op = match self.below(6) {
                0 | 1 => self.undoable(),
                2 => {
                    let body = vec![self.undoable()];
                    self.around(body, None)
                }
                3 => {
                    let body = vec![self.undoable(), self.undoable()];
                    self.around(body, Some(1_000_000))
                }
                4 => Op::Each(self.name("e"), 2, vec![self.undoable()]),
                _ => {
                    let body = vec![self.raise()];
                    let mut failing = self.around(body, None);
                    if let Op::Scope(scope) = &mut failing {
                        scope.handler = Some((None, vec![self.undoable()]));
                    }
                    failing
                }
            };
            body.push(op);
        }
        let way = self.below(3);
        body.push(match way {
            0 => self.raise(),
            1 => {
                let body = vec![self.undoable(), self.raise()];
                let timeout = (self.below(2) == 0).then_some(1_000_000);
                self.around(body, timeout)
            }
            // The one branch is cut off in the middle of its scope.
            _ => {
                let body = vec![self.undoable(), Op::Delay(1_000)];
                let cut = self.around(body, None);
                Op::Parallel(vec![vec![cut], vec![Op::Delay(1), self.raise()]])
            }
        });
        // What a branch had done in the scope that is cut off is compensated in any case. The oracle does not
        // cut, so it is told to compensate the rest as well.
        let mut handler = if way == 2 {
            vec![Op::CompensateAll]
        } else {
            Vec::new()
        };
        for _ in 0..1 + self.below(2) {
            handler.push(match self.below(3) {
                0 => Op::Send(self.name("told")),
                1 => Op::CompensateAll,
                _ => self.undoable(),
            });
        }
        let Op::Scope(mut saga) = self.around(body, None) else {
            unreachable!("it is one")
        };
        let passes = self.style == Style::Orderly && place.parallel;
        saga.handler = Some((
            if passes || self.below(2) == 0 {
                None
            } else {
                Some("x")
            },
            handler,
        ));
        Op::Scope(saga)
    }

    fn raise(&mut self) -> Op {
        Op::Raise(self.name("raise"), "x")
    }

    fn around(&mut self, body: Vec<Op>, timeout: Option<u32>) -> Op {
        let name = self.name("scope");
        Op::Scope(Box::new(Scope {
            name,
            atomic: false,
            timeout,
            body,
            handler: None,
            compensate: None,
        }))
    }

    /// A scope that ends well and can be undone, sometimes with one in it that can too.
    fn undoable(&mut self) -> Op {
        let mut body = vec![Op::Send(self.name("do"))];
        let mut undo = vec![Op::Send(self.name("undo"))];
        if self.below(3) == 0 {
            body.push(self.undoable());
            if self.below(2) == 0 {
                undo.insert(0, Op::CompensateAll);
            }
        }
        let Op::Scope(mut scope) = self.around(body, None) else {
            unreachable!("it is one")
        };
        scope.compensate = Some(undo);
        Op::Scope(scope)
    }

    fn scope(&mut self, depth: u32, place: Place) -> Scope {
        let wild = self.style == Style::Wild;
        let atomic = self.below(4) == 0;
        let handled = !atomic && self.below(3) > 0;
        let body = self.steps(
            depth + 1,
            Place {
                atomic,
                handled: place.handled || handled,
                undoing: false,
                ..place
            },
        );
        let handler = handled.then(|| {
            let catch = match self.below(3) {
                0 => Some("x"),
                1 if wild => Some("timeout"),
                1 => Some("call"),
                _ => None,
            };
            (
                catch,
                self.steps(
                    depth + 1,
                    Place {
                        undoing: true,
                        ..place
                    },
                ),
            )
        });
        let ends_well = !body.iter().any(Op::ends);
        let compensate = (ends_well && self.below(2) == 0).then(|| {
            self.steps(
                depth + 1,
                Place {
                    undoing: true,
                    compensation: true,
                    handled: false,
                    ..place
                },
            )
        });
        // In an orderly plan no time-out is ever reached.
        let timeout = match (atomic, self.below(3)) {
            (false, 0) if wild => Some(1 + self.below(40)),
            (false, 0) => Some(1_000_000),
            _ => None,
        };
        Scope {
            name: self.name("scope"),
            atomic,
            timeout,
            body,
            handler,
            compensate,
        }
    }
}

impl Op {
    /// Whether nothing can come after it.
    fn ends(&self) -> bool {
        let ends = |steps: &[Self]| steps.iter().any(Self::ends);
        match self {
            Self::Raise(..) | Self::Terminate => true,
            Self::Decide(_, yes, no) | Self::Listen(_, yes, no) => ends(yes) && ends(no),
            Self::Parallel(branches) => branches.iter().any(|steps| ends(steps)),
            Self::Scope(scope) => {
                ends(&scope.body) && scope.handler.as_ref().is_none_or(|(_, steps)| ends(steps))
            }
            _ => false,
        }
    }

    fn write(&self, text: &mut String, depth: usize) {
        let pad = "  ".repeat(depth);
        let mut line = |words: String| text.push_str(&format!("{pad}{words}\n"));
        match self {
            Self::Count(v) => line(format!("- assign: {{ v{v}: v{v} + 1 }}")),
            Self::Send(name) => line(format!("- {{ send: m0, to: p0, name: {name} }}")),
            Self::Notify(name) => line(format!(
                "- {{ send: m3, to: p1, notify: true, name: {name} }}"
            )),
            Self::Call(name) => line(format!(
                "- {{ call: m0, to: ask, reply: m3, name: {name} }}"
            )),
            Self::Work(name) => line(format!(
                "- {{ worker: reconcile, send: m0, reply: m3, lease: 5s, attempts: 2, name: {name} }}"
            )),
            Self::Receive => line("- { receive: m1, follow: k }".to_owned()),
            Self::Transform => line("- { transform: any, from: [m0, m3], to: m3 }".to_owned()),
            Self::Read(v) => line(format!(
                "- {{ transform: any, from: m0, to: m3, with: {{ a: \"text(m0, '/a') + string(v{v})\" }} }}"
            )),
            Self::Start => line("- { start: other, with: m3 }".to_owned()),
            Self::Delay(seconds) => line(format!("- delay: {seconds}s")),
            Self::Decide(v, yes, no) => {
                line("- decide:".to_owned());
                line(format!("    - when: v{v} % 2 == 0"));
                line("      steps:".to_owned());
                write_all(yes, text, depth + 4);
                text.push_str(&format!("{pad}    - otherwise:\n"));
                write_all(no, text, depth + 4);
            }
            Self::Parallel(branches) => {
                line("- parallel:".to_owned());
                for (number, steps) in branches.iter().enumerate() {
                    text.push_str(&format!("{pad}    b{number}:\n"));
                    write_all(steps, text, depth + 3);
                }
            }
            Self::Each(name, count, steps) => {
                let items: Vec<String> = (0..*count).map(|n| n.to_string()).collect();
                line(format!("- each: {name}"));
                text.push_str(&format!(
                    "{pad}  in: \"[{}]\"\n{pad}  steps:\n",
                    items.join(", ")
                ));
                write_all(steps, text, depth + 2);
            }
            Self::Loop(v, count, steps) => {
                line(format!("- loop: v{v} < {count}"));
                line("  steps:".to_owned());
                line(format!("    - assign: {{ v{v}: v{v} + 1 }}"));
                write_all(steps, text, depth + 2);
            }
            Self::Listen(seconds, yes, no) => {
                line("- listen:".to_owned());
                line("    - receive: m2".to_owned());
                line("      follow: k".to_owned());
                line("      steps:".to_owned());
                write_all(yes, text, depth + 4);
                text.push_str(&format!(
                    "{pad}    - delay: {seconds}s\n{pad}      steps:\n"
                ));
                write_all(no, text, depth + 4);
            }
            Self::Scope(scope) => scope.write(text, depth),
            Self::CompensateAll => line("- compensate: all".to_owned()),
            Self::Raise(name, code) => line(format!("- {{ raise: {code}, name: {name} }}")),
            Self::Suspend => line("- suspend: \"'wait'\"".to_owned()),
            Self::Terminate => line("- terminate:".to_owned()),
        }
    }
}

impl Scope {
    fn write(&self, text: &mut String, depth: usize) {
        let pad = "  ".repeat(depth);
        text.push_str(&format!("{pad}- scope: {}\n", self.name));
        if self.atomic {
            text.push_str(&format!("{pad}  atomic: true\n"));
        }
        if let Some(seconds) = self.timeout {
            text.push_str(&format!("{pad}  timeout: {seconds}s\n"));
        }
        text.push_str(&format!("{pad}  steps:\n"));
        write_all(&self.body, text, depth + 2);
        if let Some((catch, steps)) = &self.handler {
            text.push_str(&format!(
                "{pad}  on_error:\n{pad}    - catch: {}\n{pad}      steps:\n",
                catch.unwrap_or("any")
            ));
            write_all(steps, text, depth + 4);
        }
        if let Some(steps) = &self.compensate {
            text.push_str(&format!("{pad}  compensate:\n"));
            write_all(steps, text, depth + 2);
        }
    }
}

fn write_all(steps: &[Op], text: &mut String, depth: usize) {
    for op in steps {
        op.write(text, depth);
    }
}
