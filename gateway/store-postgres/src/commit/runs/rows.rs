//! The rows of entrances and steps, as the statements take them.

use std::collections::HashSet;

use quayside_store::{
    StoreError,
    model::{Content, DeliveryId, RunId, Timestamp},
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

/// The state of a run that an instance works on.
const CLAIMED: i16 = 1;

/// An entrance.
#[derive(Debug)]
pub(super) struct EnterRow<'a> {
    pub(super) at: usize,
    pub(super) message: Id,
    pub(super) no: i32,
    token: i32,
    /// The run, where it is known.
    pub(super) known: Option<RunId>,
    run: Option<Id>,
    /// Whether the group creates it.
    pub(super) created: bool,
    orchestration: &'a str,
    keys: Vec<&'a [u8]>,
    routes: Vec<&'a str>,
    route: &'a str,
}

impl<'a> EnterRow<'a> {
    pub(super) fn of(at: usize, enter: &'a Enter, created: &HashSet<RunId>) -> Self {
        Self {
            at,
            message: enter.claim.delivery.message.into(),
            no: i32::from(enter.claim.delivery.no),
            token: number(enter.claim.token),
            known: enter.run,
            run: enter.run.map(Id::from),
            created: enter.run.is_some_and(|run| created.contains(&run)),
            orchestration: &enter.orchestration,
            keys: enter.keys.iter().map(|(key, _)| &key[..]).collect(),
            routes: enter.keys.iter().map(|(_, route)| &**route).collect(),
            route: &enter.route,
        }
    }

    pub(super) fn step<'s>(&'s self, conn: &'s Conn, me: &'s Id) -> pool::Step<'s> {
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

    pub(super) fn outcome(&self, rows: &[Row]) -> Result<EnterOutcome, StoreError> {
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

/// The entrances into runs that the group creates, as columns.
#[derive(Debug, Default)]
pub(super) struct Born<'a> {
    messages: Vec<Id>,
    nos: Vec<i32>,
    tokens: Vec<i32>,
    runs: Vec<Option<Id>>,
    routes: Vec<&'a str>,
}

impl<'a> Born<'a> {
    pub(super) fn of(rows: &[EnterRow<'a>]) -> Self {
        Self {
            messages: rows.iter().map(|row| row.message).collect(),
            nos: rows.iter().map(|row| row.no).collect(),
            tokens: rows.iter().map(|row| row.token).collect(),
            runs: rows.iter().map(|row| row.run).collect(),
            routes: rows.iter().map(|row| row.route).collect(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    pub(super) fn params<'s>(&'s self, me: &'s Id) -> pool::Params<'s> {
        let Self {
            messages,
            nos,
            tokens,
            runs,
            routes,
        } = self;
        vec![me, messages, nos, tokens, runs, routes]
    }
}

/// A step.
#[derive(Debug)]
pub(super) struct StepRow<'a> {
    pub(super) at: usize,
    pub(super) run: Id,
    /// Whether the run is over after it.
    pub(super) ends: bool,
    step: &'a Step,
    token: i32,
    state: Option<&'a [u8]>,
    status: i16,
    due: Option<i64>,
    reason: Option<String>,
    created: Option<(&'a str, &'a [u8])>,
    subscribe: Vec<&'a [u8]>,
    unsubscribe: Vec<&'a [u8]>,
    closed: Vec<Id>,
    answers: Answers<'a>,
}

impl<'a> StepRow<'a> {
    pub(super) fn of(at: usize, step: &'a Step) -> Self {
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
            run: step.claim.run.into(),
            ends: status > 3,
            step,
            token: number(step.claim.token),
            state: step.state.as_deref(),
            status,
            due: step.due.map(Timestamp::as_micros),
            reason,
            created: create.map(|new| (new.orchestration.as_str(), &new.definition[..])),
            subscribe: step.subscribe.iter().map(|key| &key[..]).collect(),
            unsubscribe: step.unsubscribe.iter().map(|key| &key[..]).collect(),
            closed: step.closed.iter().map(|id| Id::from(*id)).collect(),
            answers: Answers::of(step),
        }
    }

    /// Whether its run begins with it.
    pub(super) fn is_new(&self) -> bool {
        self.created.is_some()
    }

    /// Whether it answers somebody, or closes an exchange by name.
    pub(super) fn speaks(&self) -> bool {
        !(self.closed.is_empty() && self.answers.messages.is_empty())
    }

    /// The keys that it takes and gives up. Those of a run that is over are gone at once.
    pub(super) fn keys(&self) -> Option<pool::Params<'_>> {
        let some = !(self.ends || self.subscribe.is_empty() && self.unsubscribe.is_empty());
        some.then(|| -> pool::Params<'_> { vec![&self.run, &self.unsubscribe, &self.subscribe] })
    }

    pub(super) fn exchanges<'s>(&'s self, now: &'s i64) -> pool::Params<'s> {
        let mut params: pool::Params<'s> = vec![&self.run, now, &self.ends, &self.closed];
        params.extend(self.answers.params());
        params
    }

    /// What became of it, if its run is in `state` now.
    pub(super) fn outcome(&self, state: i16) -> StepOutcome {
        let hold = self.step.hold && matches!(self.step.status, RunStatus::Active);
        match hold && state != CLAIMED {
            true => StepOutcome::GivenBack,
            false => StepOutcome::Done,
        }
    }

    /// Creates its run where that was done before.
    pub(super) fn create_again<'s>(
        &'s self,
        conn: &'s Conn,
        me: &'s Id,
        now: &'s i64,
    ) -> pool::Step<'s> {
        let params: pool::Params<'s> = vec![
            me,
            now,
            &self.run,
            &self.state,
            &self.status,
            &self.step.hold,
            &self.step.wakes,
            &self.due,
            &self.reason,
            &self.step.again,
        ];
        conn.step(Sql::RunCreateAgain, params)
    }
}

/// What steps make of the rows of their runs, as columns.
#[derive(Debug, Default)]
pub(super) struct Changes<'a> {
    runs: Vec<Id>,
    states: Vec<Option<&'a [u8]>>,
    statuses: Vec<i16>,
    holds: Vec<bool>,
    wakes: Vec<i64>,
    dues: Vec<Option<i64>>,
    reasons: Vec<Option<String>>,
    agains: Vec<bool>,
    tokens: Vec<i32>,
    ordered: Vec<bool>,
    orchestrations: Vec<&'a str>,
    definitions: Vec<&'a [u8]>,
}

impl<'a> Changes<'a> {
    pub(super) fn of(rows: Vec<&StepRow<'a>>) -> Self {
        let mut all = Self::default();
        for row in rows {
            all.runs.push(row.run);
            all.states.push(row.state);
            all.statuses.push(row.status);
            all.holds.push(row.step.hold);
            all.wakes.push(row.step.wakes);
            all.dues.push(row.due);
            all.reasons.push(row.reason.clone());
            all.agains.push(row.step.again);
            all.tokens.push(row.token);
            all.ordered.push(row.step.ordered);
            if let Some((orchestration, definition)) = row.created {
                all.orchestrations.push(orchestration);
                all.definitions.push(definition);
            }
        }
        all
    }

    pub(super) fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    fn common<'s>(&'s self, me: &'s Id, now: &'s i64) -> pool::Params<'s> {
        vec![
            me,
            now,
            &self.runs,
            &self.states,
            &self.statuses,
            &self.holds,
            &self.wakes,
            &self.dues,
            &self.reasons,
            &self.agains,
        ]
    }

    pub(super) fn create_params<'s>(&'s self, me: &'s Id, now: &'s i64) -> pool::Params<'s> {
        let mut params = self.common(me, now);
        let rest: pool::Params<'s> = vec![&self.orchestrations, &self.definitions];
        params.extend(rest);
        params
    }

    pub(super) fn step_params<'s>(&'s self, me: &'s Id, now: &'s i64) -> pool::Params<'s> {
        let mut params = self.common(me, now);
        let rest: pool::Params<'s> = vec![&self.tokens, &self.ordered];
        params.extend(rest);
        params
    }
}

/// Deliveries with their runs as columns, in the order in which everybody locks them.
#[derive(Debug, Default)]
pub(super) struct Ended {
    runs: Vec<Id>,
    messages: Vec<Id>,
    nos: Vec<i32>,
}

impl Ended {
    pub(super) fn of(steps: &[StepRow<'_>], of: impl Fn(&Step) -> &Vec<DeliveryId>) -> Self {
        let each = |row: &StepRow<'_>| {
            let run = row.run;
            let all = of(row.step).iter();
            all.map(move |id| (*id, run)).collect::<Vec<_>>()
        };
        let mut all: Vec<(DeliveryId, Id)> = steps.iter().flat_map(each).collect();
        all.sort_unstable_by_key(|(delivery, _)| *delivery);
        all.dedup();
        Self {
            runs: all.iter().map(|(_, run)| *run).collect(),
            messages: all.iter().map(|(d, _)| d.message.into()).collect(),
            nos: all.iter().map(|(d, _)| i32::from(d.no)).collect(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// `now`: where it is written when.
    pub(super) fn params<'s>(&'s self, now: Option<&'s i64>) -> pool::Params<'s> {
        let mut params: pool::Params<'s> = vec![&self.runs, &self.messages, &self.nos];
        if let Some(now) = now {
            params.push(now);
        }
        params
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
