//! Waiting for messages and for time, and the correlations by which messages come.

use quayside_model::{Name, Timestamp, Value};

use super::{Done, Halt, Run};
use crate::{
    Arrived, Datum, Effect, Route, codes,
    definition::{Action, ListenBranch, Pause, Receive, Trigger},
    state::{Frame, Held, Wait},
};

impl Run<'_> {
    pub(super) fn receive(&mut self, id: u32, receive: &Receive) -> Done {
        let Some(at) = self.find(id, receive) else {
            self.branch_mut(id).wait = Some(Wait::Message);
            return Ok(());
        };
        self.keep_first()?;
        self.take(id, at, receive)?;
        self.next(id);
        Ok(())
    }

    pub(super) fn delay(&mut self, id: u32, pause: &Pause) -> Done {
        let due = self.until(id, pause)?;
        self.branch_mut(id).wait = Some(Wait::Until(due));
        Ok(())
    }

    /// The first message that any branch takes, in the order in which they came; else the first time that is
    /// over.
    pub(super) fn listen(&mut self, id: u32, branches: &[ListenBranch]) -> Done {
        let times = match &self.branch(id).wait {
            Some(Wait::Listen(times)) => times.clone(),
            _ => {
                let mut times = Vec::new();
                for branch in branches {
                    times.push(match &branch.trigger {
                        Trigger::Delay(pause) => Some(self.until(id, pause)?),
                        Trigger::Receive(_) => None,
                    });
                }
                times
            }
        };
        let taken = self
            .heard(id, branches)
            .map(|(at, branch)| (Some(at), branch));
        let Some((at, branch)) =
            taken.or_else(|| self.elapsed(&times).map(|branch| (None, branch)))
        else {
            self.branch_mut(id).wait = Some(Wait::Listen(times));
            return Ok(());
        };
        self.keep_first()?;
        if let (Some(at), Trigger::Receive(receive)) = (at, &branches[branch].trigger) {
            self.take(id, at, receive)?;
        }
        self.enter(id, Frame::Block(branches[branch].body, 0))
    }

    fn heard(&self, id: u32, branches: &[ListenBranch]) -> Option<(usize, usize)> {
        let waiting = self.input.inbox.iter().enumerate();
        waiting
            .filter(|(at, _)| !self.taken.contains(at))
            .find_map(|(at, arrived)| {
                let takes = |branch: &ListenBranch| match &branch.trigger {
                    Trigger::Receive(receive) => self.fits(id, receive, arrived),
                    Trigger::Delay(_) => false,
                };
                Some((at, branches.iter().position(takes)?))
            })
    }

    /// The branch whose time was over first.
    fn elapsed(&self, times: &[Option<Timestamp>]) -> Option<usize> {
        let times = times
            .iter()
            .enumerate()
            .filter_map(|(branch, time)| Some(((*time)?, branch)));
        times
            .min()
            .filter(|(time, _)| *time <= self.input.now)
            .map(|(_, branch)| branch)
    }

    fn until(&self, id: u32, pause: &Pause) -> Done<Timestamp> {
        match pause {
            Pause::For(duration) => Ok(self.input.now.plus(*duration)),
            Pause::Until(expression) => {
                self.keep_first()?;
                let datum = self.evaluate(id, expression)?;
                let time = match datum {
                    Datum::One(Value::Time(time)) => Some(time),
                    Datum::One(Value::Text(text)) => text.trim().parse().ok(),
                    _ => None,
                };
                time.ok_or_else(|| {
                    self.unfit(id, expression, "a time, such as 2026-11-21T09:00:00Z")
                })
            }
        }
    }

    /// Whether what a branch waits for is there.
    pub(super) fn is_over(&self, id: u32, wait: &Wait) -> bool {
        let in_time = wait.due().is_some_and(|due| due <= self.input.now);
        in_time
            || match wait {
                Wait::Until(_) => false,
                Wait::Message | Wait::Listen(_) => {
                    let step = self.branch(id).current(self.definition);
                    match step.map(|step| &self.definition.step(step).action) {
                        Some(Action::Receive(receive)) => self.find(id, receive).is_some(),
                        Some(Action::Listen(branches)) => self.heard(id, branches).is_some(),
                        _ => false,
                    }
                }
                wait => self.answer(wait).is_some(),
            }
    }

    /// Goes on with a branch whose wait is over.
    pub(super) fn go_on(&mut self, id: u32) -> Done {
        let definition = self.definition;
        let step = self
            .branch(id)
            .current(definition)
            .expect("a branch waits at a step");
        match &definition.step(step).action {
            Action::Receive(receive) => self.receive(id, receive),
            Action::Listen(branches) => self.listen(id, branches),
            Action::Delay(_) => {
                self.keep_first()?;
                self.next(id);
                Ok(())
            }
            _ => self.settle(id, step),
        }
    }

    fn find(&self, id: u32, receive: &Receive) -> Option<usize> {
        let mut waiting = self.input.inbox.iter().enumerate();
        waiting
            .find(|(at, arrived)| !self.taken.contains(at) && self.fits(id, receive, arrived))
            .map(|(at, _)| at)
    }

    fn fits(&self, id: u32, receive: &Receive, arrived: &Arrived) -> bool {
        if arrived.message_type.as_ref()
            != Some(&self.definition.message(receive.message).message_type)
        {
            return false;
        }
        match &arrived.route {
            Route::Activation(step) => receive.activate && *step == self.step_name(id),
            Route::Correlated(key) => {
                // One that activates takes a message beside the first one, if both belong together.
                let group = receive.group.or_else(|| self.definition.convoy(receive));
                group.and_then(|group| self.state.keys.get(&group)) == Some(key)
            }
            _ => false,
        }
    }

    fn take(&mut self, id: u32, at: usize, receive: &Receive) -> Done {
        let arrived = &self.input.inbox[at];
        let values = self.set_values(id, &receive.initialise, |name| {
            arrived.context.promoted(name)
        })?;
        self.consume(at);
        let kept = self.kept(receive.message, |name| arrived.context.value(name));
        self.hold(
            id,
            receive.message,
            Held {
                id: arrived.message,
                kept,
                set: Default::default(),
            },
        );
        self.initialise(values);
        Ok(())
    }

    /// The values that correlation sets get from a message.
    pub(super) fn set_values<'v>(
        &self,
        id: u32,
        sets: &[u16],
        value: impl Fn(&Name) -> Option<&'v Value>,
    ) -> Done<Vec<(u16, Vec<Value>)>> {
        let mut all = Vec::new();
        for set in sets {
            let properties = &self.definition.sets[usize::from(*set)].properties;
            let mut values = Vec::new();
            for property in properties {
                let found = value(property).cloned().ok_or_else(|| {
                    let detail = format!("the message has no `{property}`");
                    Halt::Raise(self.failure(id, "correlation", codes::NO_VALUE, &detail))
                })?;
                values.push(found);
            }
            all.push((*set, values));
        }
        Ok(all)
    }

    /// Gives sets their values, and subscribes to what can be followed now.
    pub(super) fn initialise(&mut self, values: Vec<(u16, Vec<Value>)>) {
        let definition = self.definition;
        if values.is_empty() {
            return;
        }
        let changed: Vec<u16> = values.iter().map(|(set, _)| *set).collect();
        self.state.sets.extend(values);
        for (number, group) in (0..).zip(&definition.groups) {
            if !group.sets.iter().any(|set| changed.contains(set)) {
                continue;
            }
            let values: Option<Vec<&Vec<Value>>> = group
                .sets
                .iter()
                .map(|set| self.state.sets.get(set))
                .collect();
            let Some(values) = values else { continue };
            let values: Vec<&Value> = values.into_iter().flatten().collect();
            let key = definition.key_of(group, &values);
            match self.state.keys.insert(number, key) {
                Some(old) if old == key => continue,
                Some(old) => self.effects.push(Effect::Unsubscribe {
                    group: number,
                    key: old,
                }),
                None => {}
            }
            self.effects.push(Effect::Subscribe { group: number, key });
        }
    }
}
