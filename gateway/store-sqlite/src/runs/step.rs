//! A step of a run and the entrance of a message, inside a group. What such a group writes is undone as a
//! whole if the step is fenced, so that order is free here, but for what is said.

use quayside_store::{
    model::{DeliveryId, InstanceId, RunId},
    runs::{Enter, EnterOutcome, RunStatus, Step, StepOutcome},
};

use crate::{
    commit::Numbers, error::DbResult, history::Event, row::cell, runs::count, settle::keep_answer,
    tx::Tx, work,
};

/// What history says of a delivery that a run has ended, before the run.
const BY: &str = "by the orchestration instance ";

/// The state of a run that an instance works on.
const CLAIMED: u8 = 1;

/// Makes the step if its claim holds.
pub(crate) fn step(tx: &Tx<'_>, instance: InstanceId, step: &Step) -> DbResult<StepOutcome> {
    let run = step.claim.run.to_bytes();
    let me = instance.to_bytes();
    if let Some(new) = &step.create {
        let (name, definition) = (new.orchestration.as_str(), new.definition);
        let sql = include_str!("../../sql/run_insert.sql");
        tx.execute(sql, (run, name, definition, me, tx.now.as_micros()))?;
    }
    let held = include_str!("../../sql/run_held.sql");
    if !tx.exists(held, (run, me, step.claim.token))? {
        return Ok(StepOutcome::Fenced);
    }
    if let Some(taken) = subscribe(tx, step)? {
        return Ok(taken);
    }
    for message in &step.kept {
        let sql = include_str!("../../sql/delivery_keep.sql");
        tx.execute(sql, (message.message.to_bytes(), message.no, run))?;
    }
    consume(tx, step)?;
    for exchange in &step.closed {
        work::close(tx, step.claim.run, Some(*exchange))?;
    }
    answer(tx, step)?;
    let ended = matches!(step.status, RunStatus::Ended { .. });
    let discarded = if ended { leave(tx, step.claim.run)? } else { 0 };
    write(tx, step, discarded)
}

/// Gives up and takes keys. `Some`: another run has one.
fn subscribe(tx: &Tx<'_>, step: &Step) -> DbResult<Option<StepOutcome>> {
    if step.subscribe.is_empty() && step.unsubscribe.is_empty() {
        return Ok(None);
    }
    let run = step.claim.run.to_bytes();
    let sql = include_str!("../../sql/run_orchestration.sql");
    let name: String = tx
        .first(sql, [run], |row| Ok(row.get(0)?))?
        .unwrap_or_default();
    for key in &step.unsubscribe {
        let sql = include_str!("../../sql/subscription_delete.sql");
        tx.execute(sql, (name.as_str(), key, run))?;
    }
    for key in &step.subscribe {
        let sql = include_str!("../../sql/subscription_insert.sql");
        tx.execute(sql, (name.as_str(), key, run))?;
        match holder(tx, &name, key)? {
            Some(by) if by != step.claim.run => return Ok(Some(StepOutcome::Taken { by })),
            _ => {}
        }
    }
    Ok(None)
}

fn holder(tx: &Tx<'_>, orchestration: &str, key: &[u8; 16]) -> DbResult<Option<RunId>> {
    let sql = include_str!("../../sql/subscription_find.sql");
    tx.first(sql, (orchestration, key), |row| {
        cell(row, 0, "subscription.run")
    })
}

fn consume(tx: &Tx<'_>, step: &Step) -> DbResult<()> {
    if step.consumed.is_empty() {
        return Ok(());
    }
    let mut numbers = Numbers::take(tx, step.consumed.len())?;
    for id in &step.consumed {
        end(tx, &mut numbers, step.claim.run, *id, "consumed")?;
    }
    Ok(())
}

fn end(
    tx: &Tx<'_>,
    numbers: &mut Numbers,
    run: RunId,
    id: DeliveryId,
    event: &str,
) -> DbResult<()> {
    let sql = include_str!("../../sql/delivery_consume.sql");
    let params = (id.message.to_bytes(), id.no, run.to_bytes());
    let ended = tx.first(sql, params, |row| {
        Ok((
            row.get::<_, String>(0)?,
            cell::<u32>(row, 1, "delivery.token")?,
        ))
    })?;
    // An earlier run of the same step may have ended it.
    if let Some((port, token)) = ended {
        Event::of_delivery(id, event, &port)
            .token(token)
            .detail(&format!("{BY}{run}"))
            .insert(tx, numbers)?;
    }
    Ok(())
}

fn answer(tx: &Tx<'_>, step: &Step) -> DbResult<()> {
    for answer in &step.answers {
        let sql = include_str!("../../sql/exchange_of.sql");
        let exchange = tx.first(sql, [answer.message.to_bytes()], |row| {
            cell(row, 0, "message.exchange")
        })?;
        if let Some(exchange) = exchange {
            keep_answer(tx, exchange, answer.status, &answer.body)?;
        }
    }
    Ok(())
}

/// Ends all that is left with a run that is over. Returns how many messages it had not consumed.
fn leave(tx: &Tx<'_>, run: RunId) -> DbResult<usize> {
    let id = run.to_bytes();
    tx.execute(include_str!("../../sql/subscription_clear.sql"), [id])?;
    work::close(tx, run, None)?;
    let sql = include_str!("../../sql/delivery_leftover.sql");
    let left = tx.all(sql, [id], |row| {
        Ok((
            crate::row::delivery_id(row, 0, 1)?,
            cell::<bool>(row, 3, "delivery.route")?,
        ))
    })?;
    let mut numbers = Numbers::take(tx, left.len())?;
    for (delivery, consumed) in &left {
        let event = if *consumed { "consumed" } else { "discarded" };
        end(tx, &mut numbers, run, *delivery, event)?;
    }
    Ok(left.iter().filter(|(_, consumed)| !consumed).count())
}

fn write(tx: &Tx<'_>, step: &Step, discarded: usize) -> DbResult<StepOutcome> {
    let (state, reason, over) = match &step.status {
        RunStatus::Active => (2, None, false),
        RunStatus::Suspended {
            code,
            detail,
            step: at,
        } => (3, Some(format!("{code} at {at}: {detail}")), false),
        RunStatus::Ended { completed, reason } => {
            let reason = (!reason.is_empty()).then(|| reason.to_string());
            (if *completed { 4 } else { 5 }, reason, true)
        }
    };
    let data = if over { None } else { step.state.as_deref() };
    let hold = step.hold && !over && state != 3;
    let now = tx.first(
        include_str!("../../sql/run_step.sql"),
        (
            step.claim.run.to_bytes(),
            tx.now.as_micros(),
            data,
            over || step.state.is_some(),
            state,
            if over {
                None
            } else {
                step.due.map(|due| due.as_micros())
            },
            step.wakes,
            hold,
            reason,
            step.ordered,
            count(discarded),
            step.again,
        ),
        |row| cell::<u8>(row, 0, "run.state"),
    )?;
    Ok(match hold && now != Some(CLAIMED) {
        true => StepOutcome::GivenBack,
        false => StepOutcome::Done,
    })
}

/// Brings a claimed delivery into the inbox of a run.
pub(crate) fn enter(
    tx: &Tx<'_>,
    instance: InstanceId,
    enter: &Enter,
    born: &[RunId],
) -> DbResult<EnterOutcome> {
    let DeliveryId { message, no } = enter.claim.delivery;
    let token = enter.claim.token;
    let sql = include_str!("../../sql/delivery_entered.sql");
    let params = (message.to_bytes(), no, token, instance.to_bytes());
    let standing: Option<Option<RunId>> =
        tx.first(sql, params, |row| cell(row, 0, "delivery.run"))?;
    match standing {
        None => return ended(tx, enter),
        Some(Some(run)) => return Ok(EnterOutcome::Entered(run)),
        Some(None) => {}
    }
    let mut found = enter.run.map(|run| (run, &enter.route));
    for (key, route) in &enter.keys {
        if found.is_none() {
            found = holder(tx, &enter.orchestration, key)?.map(|run| (run, route));
        }
    }
    let Some((run, route)) = found else {
        return Ok(EnterOutcome::Nobody);
    };
    if !born.contains(&run)
        && tx.execute(include_str!("../../sql/run_wake.sql"), [run.to_bytes()])? == 0
    {
        return Ok(EnterOutcome::Nobody);
    }
    let sql = include_str!("../../sql/delivery_enter.sql");
    let (message, me) = (message.to_bytes(), instance.to_bytes());
    tx.execute(
        sql,
        (message, no, me, token, run.to_bytes(), route.as_str()),
    )?;
    Ok(EnterOutcome::Entered(run))
}

/// What became of a delivery that is not there any more: an earlier run of the group may have brought it in, and its
/// run has ended it since.
fn ended(tx: &Tx<'_>, enter: &Enter) -> DbResult<EnterOutcome> {
    let DeliveryId { message, no } = enter.claim.delivery;
    let sql = include_str!("../../sql/history_entered.sql");
    let params = (message.to_bytes(), no, enter.claim.token);
    let detail = tx.first(sql, params, |row| Ok(row.get::<_, String>(0)?))?;
    let by = detail.as_deref().and_then(|detail| detail.strip_prefix(BY));
    Ok(match by.and_then(|run| run.parse().ok()) {
        Some(run) => EnterOutcome::Entered(run),
        None => EnterOutcome::Fenced,
    })
}
