//! Steps that hold other steps.

use quayside_model::Name;

use super::{
    Reader,
    fields::{self, Fields},
};
use crate::{
    codes,
    definition::{Action, Captured, Handler, ListenBranch, Scope, Trigger},
    expression::{Expect, Kind},
    yaml::{Node, Yaml},
};

impl Reader<'_> {
    fn items<'n>(&mut self, node: &'n Node, what: &str) -> &'n [Node] {
        match &node.value {
            Yaml::List(items) if !items.is_empty() => items,
            _ => {
                let message = format!(
                    "{} stands here, where a list of {what} belongs",
                    node.in_words()
                );
                self.defects.add(node.place, codes::FORM, message);
                &[]
            }
        }
    }

    fn body(&mut self, fields: &mut Fields<'_>) -> u16 {
        match fields.need("steps", &mut self.defects) {
            Some(steps) => self.block(steps),
            None => self.empty_block(),
        }
    }

    /// `decide:` a list of `when` with `steps`, and `otherwise` at its end.
    pub(super) fn decide(&mut self, node: &Node) -> Action {
        let mut branches = Vec::new();
        let items = self.items(node, "branches");
        for (number, item) in items.iter().enumerate() {
            let Some(mut fields) = Fields::of(item, "a branch", &mut self.defects) else {
                continue;
            };
            if let Some(otherwise) = fields.get("otherwise") {
                if number + 1 < items.len() {
                    self.defects.add(
                        item.place,
                        codes::UNREACHABLE,
                        "branches after `otherwise` are never looked at",
                    );
                }
                if number == 0 {
                    self.defects.add(
                        item.place,
                        codes::FORM,
                        "`otherwise` needs a `when` before it",
                    );
                }
                let block = self.block(otherwise);
                branches.push((None, block));
            } else {
                let when = fields.need("when", &mut self.defects);
                let condition =
                    when.and_then(|when| self.expression(when, Expect::Value(Kind::Truth)));
                let block = self.body(&mut fields);
                if let Some(condition) = condition {
                    branches.push((Some(condition), block));
                }
            }
            fields.finish(&mut self.defects);
        }
        Action::Decide(branches)
    }

    /// `parallel:` a map of lists of steps.
    pub(super) fn parallel(&mut self, node: &Node) -> Action {
        let mut branches: Vec<(Name, u16)> = Vec::new();
        let entries = fields::entries(node, "a map of branches", &mut self.defects);
        if entries.len() < 2 {
            self.defects.add(
                node.place,
                codes::FORM,
                "`parallel` has two branches at least, each a name with its steps",
            );
        }
        for (key, steps) in entries {
            let block = self.block(steps);
            match Name::new(key.text.as_str()) {
                Ok(name) => branches.push((name, block)),
                Err(_) => self
                    .defects
                    .add(key.place, codes::FORM, "this is no name of a branch"),
            }
        }
        Action::Parallel(branches)
    }

    /// `each: line`, `in:` a list, `steps:`.
    pub(super) fn each(&mut self, value: &Node, fields: &mut Fields<'_>) -> Option<Action> {
        let items = fields.need("in", &mut self.defects);
        let items = items.and_then(|node| self.expression(node, Expect::Value(Kind::List)));
        let variable = self.element_variable(value);
        let body = self.body(fields);
        Some(Action::Each {
            variable: variable?,
            items: items?,
            body,
        })
    }

    /// `loop:` a condition, `steps:`.
    pub(super) fn repeat(&mut self, value: &Node, fields: &mut Fields<'_>) -> Option<Action> {
        let condition = self.expression(value, Expect::Value(Kind::Truth));
        let body = self.body(fields);
        Some(Action::Loop {
            condition: condition?,
            body,
        })
    }

    /// `listen:` a list of branches, each a `receive` or a `delay` with `steps`.
    pub(super) fn listen(&mut self, node: &Node) -> Action {
        let mut branches = Vec::new();
        for item in self.items(node, "branches") {
            let Some(mut fields) = Fields::of(item, "a branch", &mut self.defects) else {
                continue;
            };
            let trigger = if let Some(receive) = fields.get("receive") {
                self.receive(receive, &mut fields).map(Trigger::Receive)
            } else if let Some(delay) = fields.get("delay") {
                self.pause(delay).map(Trigger::Delay)
            } else {
                self.defects.add(
                    item.place,
                    codes::MISSING_KEY,
                    "a branch of `listen` begins with `receive` or `delay`",
                );
                None
            };
            let steps = fields.get("steps");
            fields.finish(&mut self.defects);
            let body = match steps {
                Some(steps) => self.block(steps),
                None => self.empty_block(),
            };
            branches.extend(trigger.map(|trigger| ListenBranch { trigger, body }));
        }
        Action::Listen(branches)
    }

    /// `scope: booking` with `steps`, and `atomic`, `timeout`, `on_error` and `compensate` as needed.
    pub(super) fn scope(
        &mut self,
        name: &Name,
        step: u16,
        fields: &mut Fields<'_>,
    ) -> Option<Action> {
        self.scopes.insert(name.clone(), step);
        let atomic = fields::truth(fields.get("atomic"), &mut self.defects);
        let timeout = fields.get("timeout");
        let (on_error, compensate) = (fields.get("on_error"), fields.get("compensate"));
        if atomic && let Some(node) = timeout.or(on_error) {
            let help = "Put a scope with them around the atomic one.";
            self.defects.help(
                node.place,
                codes::ATOMIC,
                "an atomic scope has no time-out and handles no errors itself",
                help,
            );
        }
        let timeout = timeout.map(|node| self.duration(node));
        let body = self.body(fields);
        let handlers = on_error.map_or_else(Vec::new, |node| self.handlers(node));
        // It runs when the scope has ended well: an error that was handled around it is gone by then.
        let before = std::mem::replace(&mut self.handling, false);
        let compensate = compensate.map(|node| self.block(node));
        self.handling = before;
        Some(Action::Scope(Scope {
            atomic,
            timeout: match timeout {
                Some(duration) => Some(duration?),
                None => None,
            },
            body,
            handlers,
            compensate,
            captured: Captured::default(),
        }))
    }

    /// `on_error:` a list of steps for all errors, or of `catch` with `steps`.
    fn handlers(&mut self, node: &Node) -> Vec<Handler> {
        let before = std::mem::replace(&mut self.handling, true);
        let items = self.items(node, "steps, or of `catch` with `steps`,");
        let is_catch = |item: &Node| matches!(&item.value, Yaml::Map(entries) if entries.iter().any(|(key, _)| key.text == "catch"));
        let handlers = if items.iter().any(is_catch) {
            self.catches(items)
        } else if items.is_empty() {
            Vec::new()
        } else {
            vec![Handler {
                catch: Vec::new(),
                body: self.block(node),
            }]
        };
        self.handling = before;
        handlers
    }

    fn catches(&mut self, items: &[Node]) -> Vec<Handler> {
        let mut handlers: Vec<Handler> = Vec::new();
        for item in items {
            let Some(mut fields) = Fields::of(item, "`catch` with `steps`", &mut self.defects)
            else {
                continue;
            };
            if handlers.iter().any(|handler| handler.catch.is_empty()) {
                self.defects.add(
                    item.place,
                    codes::UNREACHABLE,
                    "nothing is left to catch after `any`",
                );
            }
            let catch = fields.need("catch", &mut self.defects);
            let names = catch.map_or_else(Vec::new, |node| fields::names(node, &mut self.defects));
            let any = names.iter().any(|(name, _)| &**name == "any");
            let body = self.body(&mut fields);
            fields.finish(&mut self.defects);
            if !any {
                self.caught.extend(names.iter().cloned());
            }
            let catch = if any {
                Vec::new()
            } else {
                names.into_iter().map(|(name, _)| name).collect()
            };
            handlers.push(Handler { catch, body });
        }
        handlers
    }
}
