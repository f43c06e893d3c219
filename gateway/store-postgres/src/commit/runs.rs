//! Entrances of deliveries into orchestration instances, and steps of these: members of groups alone.
//!
//! Entrances come first, wherever they stand: a step may consume what enters beside it. A step locks its run
//! before anything else; the schema says why nobody waits in a circle.

use std::collections::HashSet;

use quayside_store::{
    Op, Outcome, StoreError,
    model::{Content, DeliveryId, RunId},
    runs::{Enter, EnterOutcome, RunStatus, Step, StepOutcome},
};
use tokio_postgres::Row;

use super::OPERATION;
use crate::{
    pool::{self, Conn},
    row::{Id, Reader},
    sql::Sql,
};

/// The event of a delivery that a run has ended, in front of the run's id: the statements write it.
const BY: &str = "by the orchestration instance ";

/// The entrances and steps of a group, as the statements take them, and what became of them.
#[derive(Debug, Default)]
pub(super) struct RunOps<'a> {
    enters: Vec<EnterRow<'a>>,
    steps: Vec<StepRow<'a>>,
    outcomes: Vec<(usize, Outcome)>,
}

/// What a statement tells.
#[derive(Debug, Clone, Copy)]
pub(super) enum Tells {
    /// What became of the entrance with this number.
    Entered(usize),
    /// Whether the step with this number holds its run.
    Held(usize),
    /// Who has a key that the step with this number wants.
    TakenBy(usize),
    /// Nothing.
    Nothing,
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
        all
    }

    /// The statements, and what each tells.
    pub(super) fn steps<'s>(
        &'s self,
        conn: &'s Conn,
        me: &'s Id,
        now: &'s i64,
    ) -> (Vec<pool::Step<'s>>, Vec<Tells>) {
        let entered = self.enters.iter().enumerate();
        let entered = entered.map(|(no, row)| (Tells::Entered(no), row.step(conn, me)));
        let stepped = self.steps.iter().enumerate();
        let stepped = stepped.flat_map(|(no, row)| row.steps(no, conn, me, now));
        let (tells, steps) = entered.chain(stepped).unzip();
        (steps, tells)
    }

    /// What the statements say, in the order of `tells`.
    pub(super) fn learned(
        &self,
        tells: &[Tells],
        answers: &[Vec<Row>],
    ) -> Result<Vec<(usize, Outcome)>, StoreError> {
        let mut entered = Vec::new();
        let mut stepped = vec![StepOutcome::Done; self.steps.len()];
        for (tells, rows) in tells.iter().zip(answers) {
            match tells {
                Tells::Entered(no) => {
                    let row = &self.enters[*no];
                    entered.push((row.at, Outcome::Entered(row.outcome(rows)?)));
                }
                Tells::Held(no) if rows.is_empty() => stepped[*no] = StepOutcome::Fenced,
                Tells::TakenBy(no) if stepped[*no] == StepOutcome::Done => {
                    let by = rows.first().map(|row| {
                        Reader::new(row, OPERATION, "subscription").id_opt::<RunId>("taken_by")
                    });
                    if let Some(by) = by.transpose()?.flatten() {
                        stepped[*no] = StepOutcome::Taken { by };
                    }
                }
                Tells::Held(_) | Tells::TakenBy(_) | Tells::Nothing => {}
            }
        }
        let stepped = self.steps.iter().zip(stepped);
        entered.extend(stepped.map(|(row, outcome)| (row.at, Outcome::Stepped(outcome))));
        Ok(entered)
    }

    /// Takes in what was learned.
    pub(super) fn take(&mut self, learned: Vec<(usize, Outcome)>) {
        self.outcomes = learned;
    }

    /// The outcomes with the places of their members.
    pub(super) fn outcomes(&self) -> impl Iterator<Item = (usize, Outcome)> {
        self.outcomes.iter().cloned()
    }
}

#[derive(Debug)]
struct EnterRow<'a> {
    at: usize,
    message: Id,
    no: i32,
    token: i32,
    run: Option<Id>,
    created: bool,
    orchestration: &'a str,
    keys: Vec<&'a [u8]>,
    routes: Vec<&'a str>,
    route: &'a str,
}

impl<'a> EnterRow<'a> {
    fn of(at: usize, enter: &'a Enter, created: &HashSet<RunId>) -> Self {
        Self {
            at,
            message: enter.claim.delivery.message.into(),
            no: i32::from(enter.claim.delivery.no),
            token: number(enter.claim.token),
            run: enter.run.map(Id::from),
            created: enter.run.is_some_and(|run| created.contains(&run)),
            orchestration: &enter.orchestration,
            keys: enter.keys.iter().map(|(key, _)| &key[..]).collect(),
            routes: enter.keys.iter().map(|(_, route)| &**route).collect(),
            route: &enter.route,
        }
    }

    fn step<'s>(&'s self, conn: &'s Conn, me: &'s Id) -> pool::Step<'s> {
        let params: pool::Params<'s> = vec![
            me,
            &self.message,
            &self.no,
            &self.token,
            &self.run,
            &self.created,
            &self.orchestration,
            &self.keys,
            &self.routes,
            &self.route,
        ];
        conn.step(Sql::RunEnter, params)
    }

    fn outcome(&self, rows: &[Row]) -> Result<EnterOutcome, StoreError> {
        let Some(row) = rows.first() else {
            return Ok(EnterOutcome::Fenced);
        };
        let row = Reader::new(row, OPERATION, "delivery");
        if let Some(run) = row.id_opt::<RunId>("run")? {
            return Ok(EnterOutcome::Entered(run));
        }
        let ended: Option<&str> = row.get("ended")?;
        let by = ended.and_then(|detail| detail.strip_prefix(BY));
        if let Some(run) = by.and_then(|run| run.parse().ok()) {
            return Ok(EnterOutcome::Entered(run));
        }
        Ok(if row.get("mine")? {
            EnterOutcome::Nobody
        } else {
            EnterOutcome::Fenced
        })
    }
}

#[derive(Debug)]
struct StepRow<'a> {
    at: usize,
    step: &'a Step,
    run: Id,
    token: i32,
    state: Option<&'a [u8]>,
    status: i16,
    due: Option<i64>,
    reason: Option<String>,
    created: Option<(&'a str, &'a [u8])>,
    ends: bool,
    consumed: Places,
    kept: Places,
    subscribe: Vec<&'a [u8]>,
    unsubscribe: Vec<&'a [u8]>,
    closed: Vec<Id>,
    answers: Answers<'a>,
}

impl<'a> StepRow<'a> {
    fn of(at: usize, step: &'a Step) -> Self {
        let (status, reason) = match &step.status {
            RunStatus::Active => (2, None),
            RunStatus::Suspended { code, detail, step } => {
                (3, Some(format!("{code} at {step}: {detail}")))
            }
            RunStatus::Ended { completed, reason } => {
                let reason = (!reason.is_empty()).then(|| reason.to_string());
                (if *completed { 4 } else { 5 }, reason)
            }
        };
        let create = step.create.as_ref();
        Self {
            at,
            step,
            run: step.claim.run.into(),
            token: number(step.claim.token),
            state: step.state.as_deref(),
            status,
            due: step.due.map(quayside_store::model::Timestamp::as_micros),
            reason,
            created: create.map(|new| (new.orchestration.as_str(), &new.definition[..])),
            ends: status > 3,
            consumed: Places::of(&step.consumed),
            kept: Places::of(&step.kept),
            subscribe: step.subscribe.iter().map(|key| &key[..]).collect(),
            unsubscribe: step.unsubscribe.iter().map(|key| &key[..]).collect(),
            closed: step.closed.iter().map(|id| Id::from(*id)).collect(),
            answers: Answers::of(step),
        }
    }

    fn steps<'s>(
        &'s self,
        no: usize,
        conn: &'s Conn,
        me: &'s Id,
        now: &'s i64,
    ) -> Vec<(Tells, pool::Step<'s>)> {
        let mut steps = vec![(Tells::Held(no), self.row(conn, me, now))];
        if self.ends {
            let params: pool::Params<'s> = vec![&self.run];
            steps.push((Tells::Nothing, conn.step(Sql::RunKeysEnd, params)));
        } else if !(self.subscribe.is_empty() && self.unsubscribe.is_empty()) {
            let params: pool::Params<'s> = vec![&self.run, &self.unsubscribe, &self.subscribe];
            steps.push((Tells::TakenBy(no), conn.step(Sql::RunKeys, params)));
        }
        let mut more = |sql, params: pool::Params<'s>| {
            steps.push((Tells::Nothing, conn.step(sql, params)));
        };
        if !self.consumed.messages.is_empty() {
            let (messages, nos) = (&self.consumed.messages, &self.consumed.nos);
            more(Sql::RunConsume, vec![&self.run, now, messages, nos]);
        }
        if !self.kept.messages.is_empty() {
            let (messages, nos) = (&self.kept.messages, &self.kept.nos);
            more(Sql::RunKeep, vec![&self.run, messages, nos]);
        }
        if self.ends || !self.closed.is_empty() || !self.answers.messages.is_empty() {
            let mut params: pool::Params<'s> = vec![&self.run, now, &self.ends, &self.closed];
            params.extend(self.answers.params());
            more(Sql::RunExchanges, params);
        }
        if self.ends {
            more(Sql::RunDiscard, vec![&self.run, now]);
        }
        steps
    }

    /// The statement that changes the row, or makes it.
    fn row<'s>(&'s self, conn: &'s Conn, me: &'s Id, now: &'s i64) -> pool::Step<'s> {
        let mut params: pool::Params<'s> = vec![
            me,
            now,
            &self.run,
            &self.state,
            &self.status,
            &self.step.hold,
            &self.step.wakes,
            &self.due,
            &self.reason,
        ];
        match &self.created {
            Some((orchestration, definition)) => {
                let rest: pool::Params<'s> = vec![orchestration, definition, &self.step.again];
                params.extend(rest);
                conn.step(Sql::RunCreate, params)
            }
            None => {
                let rest: pool::Params<'s> =
                    vec![&self.token, &self.step.ordered, &self.step.again];
                params.extend(rest);
                conn.step(Sql::RunStep, params)
            }
        }
    }
}

/// Deliveries as columns, in the order in which everybody locks them.
#[derive(Debug, Default)]
struct Places {
    messages: Vec<Id>,
    nos: Vec<i32>,
}

impl Places {
    fn of(deliveries: &[DeliveryId]) -> Self {
        let mut sorted = deliveries.to_vec();
        sorted.sort_unstable();
        sorted.dedup();
        Self {
            messages: sorted.iter().map(|d| d.message.into()).collect(),
            nos: sorted.iter().map(|d| i32::from(d.no)).collect(),
        }
    }
}

#[derive(Debug, Default)]
struct Answers<'a> {
    messages: Vec<Id>,
    statuses: Vec<i32>,
    content_types: Vec<Option<&'a str>>,
    bytes: Vec<&'a [u8]>,
}

impl<'a> Answers<'a> {
    fn of(step: &'a Step) -> Self {
        let mut answers = Self::default();
        for answer in &step.answers {
            answers.messages.push(answer.message.into());
            answers.statuses.push(i32::from(answer.status));
            answers
                .content_types
                .push(answer.body.content_type.as_deref());
            answers.bytes.push(match &answer.body.content {
                Content::Inline(bytes) => bytes,
                // An answer is inline by contract.
                Content::Stored(_) => &[],
            });
        }
        answers
    }

    fn params(&self) -> pool::Params<'_> {
        vec![
            &self.messages,
            &self.statuses,
            &self.content_types,
            &self.bytes,
        ]
    }
}

fn number(token: u32) -> i32 {
    i32::try_from(token).unwrap_or(i32::MAX)
}
