//! Entrances of deliveries into orchestration instances, and steps of these: members of groups alone.
//!
//! Entrances come first, wherever they stand: a step may consume what enters beside it. A step locks its run
//! before anything else; the schema says why nobody waits in a circle.
//!
//! A group may hold the steps of many runs, at most one of each: what they have in common is one statement for all of
//! them. What such a statement does not find as it should be, a repeat or a claim that is lost, is looked at by itself.

mod rows;

use std::collections::{HashMap, HashSet};

use quayside_store::{
    Op, Outcome, StoreError,
    model::RunId,
    runs::{EnterOutcome, StepOutcome},
};
use tokio_postgres::Row;

use self::rows::{Born, Changes, Ended, EnterRow, StepRow};
use super::OPERATION;
use crate::{
    error::fail,
    pool::{self, Conn},
    row::{Id, Reader},
    sql::Sql,
};

/// The entrances and steps of a group, as the statements take them, and what became of them.
#[derive(Debug, Default)]
pub(super) struct RunOps<'a> {
    /// Entrances, those into runs that the group creates at last.
    enters: Vec<EnterRow<'a>>,
    /// How many of them go one by one.
    found: usize,
    steps: Vec<StepRow<'a>>,
    born: Born<'a>,
    created: Changes<'a>,
    changed: Changes<'a>,
    consumed: Ended,
    kept: Ended,
    /// The runs that are over.
    over: Vec<Id>,
    /// Those of them that answer nobody, and close nothing by name.
    silent: Vec<Id>,
    outcomes: Vec<(usize, Outcome)>,
}

/// What a statement tells.
#[derive(Debug, Clone, Copy)]
pub(super) enum Tells {
    /// What became of the entrance with this number.
    Entered(usize),
    /// Which deliveries are in the runs that the group creates.
    Born,
    /// Which runs are held, of those that are created or changed.
    Held,
    /// Whether the step with this number holds its run.
    HeldBy(usize),
    /// Who has a key that the step with this number wants.
    TakenBy(usize),
    /// Nothing.
    Nothing,
}

/// What became of the members, by their numbers; `None`: it is not known yet.
#[derive(Debug)]
pub(super) struct Learned {
    entered: Vec<Option<EnterOutcome>>,
    stepped: Vec<Option<StepOutcome>>,
}

impl Learned {
    /// Whether some have to be looked at by themselves.
    pub(super) fn is_open(&self) -> bool {
        self.entered.iter().any(Option::is_none) || self.stepped.iter().any(Option::is_none)
    }
}

impl<'a> RunOps<'a> {
    /// Those among the `members` of `ops`.
    pub(super) fn of(ops: &'a [Op], members: &[usize]) -> Self {
        // Of all of the group: a part of it is tried as if it were the whole.
        let created: HashSet<RunId> = ops
            .iter()
            .filter_map(|op| match op {
                Op::Step(step) if step.create.is_some() => Some(step.claim.run),
                _ => None,
            })
            .collect();
        let mut all = Self::default();
        for at in members {
            match &ops[*at] {
                Op::Enter(enter) => all.enters.push(EnterRow::of(*at, enter, &created)),
                Op::Step(step) => all.steps.push(StepRow::of(*at, step)),
                Op::Publish(_) | Op::Settle(..) | Op::Next(_) => {}
            }
        }
        // Deliveries in the order in which everybody locks them.
        all.enters
            .sort_by_key(|row| (row.created, row.message, row.no));
        all.steps.sort_by_key(|row| row.run);
        all.found = all.enters.partition_point(|row| !row.created);
        all.born = Born::of(&all.enters[all.found..]);
        let (new, old): (Vec<_>, Vec<_>) = all.steps.iter().partition(|row| row.is_new());
        all.created = Changes::of(new);
        all.changed = Changes::of(old);
        all.consumed = Ended::of(&all.steps, |step| &step.consumed);
        all.kept = Ended::of(&all.steps, |step| &step.kept);
        let over = || all.steps.iter().filter(|row| row.ends);
        let silent = over().filter(|row| !row.speaks());
        (all.over, all.silent) = (
            over().map(|row| row.run).collect(),
            silent.map(|row| row.run).collect(),
        );
        all
    }

    /// The statements, and what each tells.
    pub(super) fn steps<'s>(
        &'s self,
        conn: &'s Conn,
        me: &'s Id,
        now: &'s i64,
    ) -> (Vec<pool::Step<'s>>, Vec<Tells>) {
        let found = self.enters[..self.found].iter().enumerate();
        let mut all: Vec<(Tells, pool::Step<'s>)> = found
            .map(|(no, row)| (Tells::Entered(no), row.step(conn, me)))
            .collect();
        let mut add = |tells, wanted: bool, sql, params: pool::Params<'s>| {
            if wanted {
                all.push((tells, conn.step(sql, params)));
            }
        };
        let (born, new, old) = (&self.born, &self.created, &self.changed);
        add(
            Tells::Born,
            !born.is_empty(),
            Sql::RunEnterBorn,
            born.params(me),
        );
        add(
            Tells::Held,
            !new.is_empty(),
            Sql::RunCreate,
            new.create_params(me, now),
        );
        add(
            Tells::Held,
            !old.is_empty(),
            Sql::RunStep,
            old.step_params(me, now),
        );
        let ends = !self.over.is_empty();
        add(Tells::Nothing, ends, Sql::RunKeysEnd, vec![&self.over]);
        for (no, row) in self.steps.iter().enumerate() {
            if let Some(params) = row.keys() {
                add(Tells::TakenBy(no), true, Sql::RunKeys, params);
            }
        }
        let (consumed, kept) = (&self.consumed, &self.kept);
        add(
            Tells::Nothing,
            !consumed.is_empty(),
            Sql::RunConsume,
            consumed.params(Some(now)),
        );
        add(
            Tells::Nothing,
            !kept.is_empty(),
            Sql::RunKeep,
            kept.params(None),
        );
        for row in self.steps.iter().filter(|row| row.speaks()) {
            add(Tells::Nothing, true, Sql::RunExchanges, row.exchanges(now));
        }
        add(
            Tells::Nothing,
            !self.silent.is_empty(),
            Sql::RunExchangesEnd,
            vec![&self.silent],
        );
        add(Tells::Nothing, ends, Sql::RunDiscard, vec![&self.over, now]);
        let (tells, steps) = all.into_iter().unzip();
        (steps, tells)
    }

    /// The statements that look at what is open by itself.
    pub(super) fn again<'s>(
        &'s self,
        conn: &'s Conn,
        me: &'s Id,
        now: &'s i64,
        learned: &Learned,
    ) -> (Vec<pool::Step<'s>>, Vec<Tells>) {
        let entered = self.enters.iter().enumerate();
        let entered = entered
            .filter(|(no, _)| learned.entered[*no].is_none())
            .map(|(no, row)| (Tells::Entered(no), row.step(conn, me)));
        let stepped = self.steps.iter().enumerate();
        let stepped = stepped
            .filter(|(no, row)| learned.stepped[*no].is_none() && row.is_new())
            .map(|(no, row)| (Tells::HeldBy(no), row.create_again(conn, me, now)));
        let (tells, steps) = entered.chain(stepped).unzip();
        (steps, tells)
    }

    /// What the statements say, in the order of `tells`.
    pub(super) fn learned(
        &self,
        tells: &[Tells],
        answers: &[Vec<Row>],
    ) -> Result<Learned, StoreError> {
        let mut learned = Learned {
            entered: vec![None; self.enters.len()],
            stepped: vec![None; self.steps.len()],
        };
        self.learn(tells, answers, &mut learned)?;
        // A run that is not created anew is held, or it is not.
        for (row, stepped) in self.steps.iter().zip(&mut learned.stepped) {
            if stepped.is_none() && !row.is_new() {
                *stepped = Some(StepOutcome::Fenced);
            }
        }
        Ok(learned)
    }

    /// The same of the statements of [`Self::again`].
    pub(super) fn learn(
        &self,
        tells: &[Tells],
        answers: &[Vec<Row>],
        learned: &mut Learned,
    ) -> Result<(), StoreError> {
        let mut taken = Vec::new();
        for (tells, rows) in tells.iter().zip(answers) {
            match tells {
                Tells::Entered(no) => {
                    learned.entered[*no] = Some(self.enters[*no].outcome(rows)?);
                }
                Tells::Born => {
                    let inside: HashSet<Id> = ids(rows)?;
                    for (no, row) in self.enters.iter().enumerate().skip(self.found) {
                        if let (true, Some(run)) = (inside.contains(&row.message), row.known) {
                            learned.entered[no] = Some(EnterOutcome::Entered(run));
                        }
                    }
                }
                Tells::Held => {
                    let states = states(rows)?;
                    for (no, row) in self.steps.iter().enumerate() {
                        if let Some(state) = states.get(&row.run) {
                            learned.stepped[no] = Some(row.outcome(*state));
                        }
                    }
                }
                Tells::HeldBy(no) => {
                    let state = states(rows)?.into_values().next();
                    let outcome = state.map(|state| self.steps[*no].outcome(state));
                    learned.stepped[*no] = Some(outcome.unwrap_or(StepOutcome::Fenced));
                }
                Tells::TakenBy(no) => {
                    let by = rows.first().map(|row| {
                        Reader::new(row, OPERATION, "subscription").id_opt::<RunId>("taken_by")
                    });
                    if let Some(by) = by.transpose()?.flatten() {
                        taken.push((*no, by));
                    }
                }
                Tells::Nothing => {}
            }
        }
        for (no, by) in taken {
            if matches!(
                learned.stepped[no],
                Some(StepOutcome::Done | StepOutcome::GivenBack)
            ) {
                learned.stepped[no] = Some(StepOutcome::Taken { by });
            }
        }
        Ok(())
    }

    /// Takes in what was learned.
    pub(super) fn take(&mut self, learned: Learned) {
        let entered = self.enters.iter().zip(learned.entered);
        let entered = entered.map(|(row, outcome)| {
            let outcome = outcome.unwrap_or(EnterOutcome::Fenced);
            (row.at, Outcome::Entered(outcome))
        });
        let stepped = self.steps.iter().zip(learned.stepped);
        let stepped = stepped.map(|(row, outcome)| {
            let outcome = outcome.unwrap_or(StepOutcome::Fenced);
            (row.at, Outcome::Stepped(outcome))
        });
        self.outcomes = entered.chain(stepped).collect();
        // In the order of the members: the first that is not fine is the one that is told.
        self.outcomes.sort_by_key(|(at, _)| *at);
    }

    /// The outcomes with the places of their members.
    pub(super) fn outcomes(&self) -> impl Iterator<Item = (usize, Outcome)> {
        self.outcomes.iter().cloned()
    }
}

/// Runs with the state that each has now.
fn states(rows: &[Row]) -> Result<HashMap<Id, i16>, StoreError> {
    let states = rows
        .iter()
        .map(|row| Ok((row.try_get(0)?, row.try_get(1)?)));
    let states: Result<HashMap<Id, i16>, _> = states.collect();
    states.map_err(|e| fail(OPERATION, e))
}

fn ids(rows: &[Row]) -> Result<HashSet<Id>, StoreError> {
    let ids: Result<HashSet<Id>, _> = rows.iter().map(|row| row.try_get(0)).collect();
    ids.map_err(|e| fail(OPERATION, e))
}
