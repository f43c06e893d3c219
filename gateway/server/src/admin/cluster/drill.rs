//! Rehearsals of a takeover on the live cluster: refused where they would leave nobody, and measured by what the
//! store has recorded.

use axum::{Json, extract::State, http::StatusCode, routing::get, routing::post};
use quayside_model::{Name, Text, Timestamp};
use quayside_store::cluster::{ControlChange, EventRow};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    HostName, NodeName, check_host, cluster,
    facts::{Facts, millis},
    orders::{check_member, said},
    told,
};
use crate::{
    admin::{
        Admin, Route,
        extract::{Body, Given, Operator, Params, Segment},
        problem::{Answer, Problem},
    },
    cli::codes,
};

/// How many of the last changes tell how a takeover went.
const EVENTS: u32 = 100;

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::post(
            "/cluster/hosts/{host}/drill",
            "Takes it away from its owner to see how a takeover goes",
            post(begin),
        )
        .answers("ClusterDrill")
        .body(
            "`fault`: `move`, or `kill` for a process that dies; `to`: to which node it is to move, or null; \
             `reason`: why, in the operator's words",
        ),
        Route::get(
            "/cluster/hosts/{host}/drill",
            "Tells what a takeover has cost",
            get(measure),
        )
        .answers("ClusterTakeover")
        .query(&[("since", "when it began: `at` of the answer that began it")]),
    ]
}

/// What is to happen to the owner.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Fault {
    Move,
    Kill,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Word {
    fault: Fault,
    #[serde(default)]
    to: Option<Given<NodeName>>,
    #[serde(default)]
    reason: Option<Text>,
}

async fn begin(
    State(admin): State<Admin>,
    Segment(HostName(name)): Segment<HostName>,
    operator: Operator,
    Body(word): Body<Word>,
) -> Answer<Json<Value>> {
    let cluster = cluster(&admin)?;
    let facts = Facts::ask(&admin).await?;
    check_host(&facts, &name)?;
    let to = word.to.map(|to| to.0.0);
    to.as_ref()
        .map_or(Ok(()), |to| check_member(&facts, &name, to))?;
    let host = told::host(&facts, &name);
    if let Some(why) = host.undrillable() {
        return Err(Problem::new(
            StatusCode::CONFLICT,
            codes::NO_DRILL,
            format!("`{name}`: {why}"),
        ));
    }
    let change = match word.fault {
        Fault::Move => ControlChange::Move { to, at: None },
        Fault::Kill => ControlChange::Drill,
    };
    let reason = word.reason.as_deref();
    let reason = reason.map_or_else(|| "drill".to_owned(), |why| format!("drill, {why}"));
    let said = said(&admin, &operator, Some(&Text::lossy(&reason)));
    let order = cluster.set_control(&name, &change, &said).await;
    let order = order.map_err(Problem::undecided)?;
    tracing::info!(host = %name, ?change, order, note = %said.note, "a takeover is rehearsed");
    // The word stands among the events by the clock of the store, as do the ends of sends.
    let words = cluster.events(Some(&name), None, EVENTS).await?;
    let word = words.iter().find(|event| event.is_word());
    Ok(Json(json!({
        "order": order,
        "at": word.map(|word| word.stored_at),
        "node": host.node,
        "epoch": facts.seen(&name).epoch.to_string(),
    })))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct MeasureParams {
    since: Given<Timestamp>,
}

async fn measure(
    State(admin): State<Admin>,
    Segment(HostName(name)): Segment<HostName>,
    Params(params): Params<MeasureParams>,
) -> Answer<Json<Value>> {
    let cluster = cluster(&admin)?;
    let since = params.since.0;
    let engine = admin.gateway.engine().await;
    let plan = engine.as_ref().ok_or_else(Problem::not_running)?.plan();
    drop(engine);
    let facts = Facts::ask(&admin).await?;
    check_host(&facts, &name)?;
    let ports = plan.send.iter().filter(|port| port.host == name);
    let ports: Vec<Name> = ports.map(|port| port.name.clone()).collect();
    let effects = cluster.effects(&ports, since).await?;
    let events = cluster.events(Some(&name), None, EVENTS).await?;
    let (left, back) = out_of_work(&events, since);
    let went_on = back
        .zip(effects.last)
        .is_some_and(|(back, last)| last >= back);
    Ok(Json(json!({
        "host": name,
        "node": facts.seen(&name).live_owner().map(|owner| owner.node.clone()),
        "sends": effects.ended,
        "gap_ms": effects.longest.map(millis),
        "went_on": went_on,
        "out_of_work_ms": left.zip(back).map(|(left, back)| millis(back.since(left))),
        "released": effects.released,
        "in_doubt": effects.in_doubt,
        "repeats": effects.in_doubt.saturating_sub(effects.kept),
        "kept": effects.kept,
        "open": effects.open,
        "lost": effects.lost,
    })))
}

/// When the owner stopped work after `since`, and when somebody was at work after that, by the store's clock.
fn out_of_work(
    newest_first: &[EventRow],
    since: Timestamp,
) -> (Option<Timestamp>, Option<Timestamp>) {
    let at_work = |state: &str| matches!(state, "online" | "degraded");
    let mut changes = newest_first
        .iter()
        .rev()
        .filter(|event| !event.is_word() && event.stored_at >= since);
    let left = changes.find(|event| at_work(&event.from) && !at_work(&event.to));
    let back = changes.find(|event| at_work(&event.to));
    (
        left.map(|event| event.stored_at),
        back.map(|event| event.stored_at),
    )
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn nobody_works_between_the_old_owner_and_the_new_one() {
        let event = |no: u64, from: &str, to: &str| EventRow {
            no,
            group: None,
            node: Name::new("node-a").expect("a name"),
            from: from.to_owned(),
            to: to.to_owned(),
            cause: String::new(),
            evidence: vec![],
            epoch: None,
            at: Timestamp::from_micros(0),
            stored_at: Timestamp::from_micros(i64::try_from(no).expect("small")),
            lasted: Duration::ZERO,
        };
        let mut events = vec![
            event(1, "pending", "online"),
            event(2, "", ""),
            event(3, "online", "draining"),
            event(4, "draining", "standby"),
            event(5, "taking", "pending"),
            event(6, "pending", "online"),
        ];
        events.reverse();
        let at = Timestamp::from_micros;
        assert_eq!(out_of_work(&events, at(2)), (Some(at(3)), Some(at(6))));
        assert_eq!(out_of_work(&events[1..], at(2)), (Some(at(3)), None));
        assert_eq!(out_of_work(&events, at(4)), (None, None));
    }
}
