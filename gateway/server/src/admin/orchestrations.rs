//! `/orchestrations`: durable processes and their instances, and what operators decide about these.

use axum::{
    Json,
    extract::State,
    http::StatusCode,
    routing::{get, post},
};
use quayside_engine::{Order, RunView};
use quayside_model::{Name, RunId, Text};
use quayside_orchestration::{Datum, Seen};
use quayside_store::runs::{OrderOutcome, RunFilter, RunRow, RunState};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{
    Admin, Route,
    deliveries::limit,
    extract::{Body, Given, Operator, Params, Segment},
    problem::{Answer, Problem},
};
use crate::cli::codes;

/// How an instance stands, in the words of the API.
pub(crate) const STATES: [&str; 6] = {
    let mut words = [""; 6];
    let mut at = 0;
    while at < words.len() {
        words[at] = RunState::ALL[at].in_words();
        at += 1;
    }
    words
};

/// How many instances of each state are counted.
const COUNTED: u32 = 10_000;

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::get(
            "/orchestrations",
            "Lists the orchestrations of the configuration",
            get(orchestrations),
        )
        .answers("OrchestrationList"),
        Route::get(
            "/orchestrations/instances",
            "Lists instances of orchestrations, newest first",
            get(list),
        )
        .answers("OrchestrationInstanceList")
        .query(&[
            (
                "orchestration",
                "of this orchestration, or of an application: its name and a dot",
            ),
            (
                "state",
                "in this state: ready, running, waiting, suspended, completed, terminated",
            ),
            (
                "before",
                "older than this instance: the last id of the page before",
            ),
            ("limit", "at most this many, 1 to 1000; 50 if absent"),
        ]),
        Route::get(
            "/orchestrations/instances/{id}",
            "Tells where an instance is and what waits for it",
            get(show),
        )
        .answers("OrchestrationInstance"),
        Route::post(
            "/orchestrations/instances/{id}/suspend",
            "Takes an instance out of the flow",
            post(suspend),
        )
        .answers("OrchestrationOrdered")
        .body("`reason`: why, in the operator's words"),
        Route::post(
            "/orchestrations/instances/{id}/resume",
            "Lets a suspended instance go on; a step that failed runs again",
            post(resume),
        )
        .answers("OrchestrationOrdered")
        .body("`reason`: why, in the operator's words"),
        Route::post(
            "/orchestrations/instances/{id}/terminate",
            "Ends an instance; what it has done stays done",
            post(terminate),
        )
        .answers("OrchestrationOrdered")
        .body("`reason`: why, in the operator's words"),
        Route::post(
            "/orchestrations/instances/{id}/retry-step",
            "Has the step that failed or waits run again",
            post(retry_step),
        )
        .answers("OrchestrationOrdered")
        .body("`step`: which one, where several branches wait; `reason`: why, in the operator's words"),
        Route::get(
            "/orchestrations/{id}/graph",
            "Draws an orchestration, as text and as SVG",
            get(graph),
        )
        .answers("OrchestrationGraph"),
    ]
}

async fn orchestrations(State(admin): State<Admin>) -> Answer<Json<Value>> {
    let engine = admin.gateway.engine().await;
    let engine = engine.as_ref().ok_or_else(Problem::not_running)?;
    let live = engine.live_instances(COUNTED).await?;
    let row = |(name, host, about): (Name, Name, String)| {
        let of = live.iter().filter(|(of, ..)| *of == name);
        let counts = of.map(|(_, state, count)| (state.in_words().to_owned(), json!(count)));
        let counts: Map<String, Value> = counts.collect();
        json!({ "name": name, "host": host, "about": about, "instances": counts })
    };
    let all: Vec<Value> = engine.orchestrations().into_iter().map(row).collect();
    Ok(Json(json!({ "orchestrations": all })))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ListParams {
    orchestration: Option<Text>,
    state: Option<String>,
    before: Option<Given<RunId>>,
    limit: Option<u32>,
}

async fn list(
    State(admin): State<Admin>,
    Params(params): Params<ListParams>,
) -> Answer<Json<Value>> {
    let limit = limit(params.limit)?;
    let state = match params.state.as_deref() {
        None => None,
        Some(word) => Some(state_of(word).ok_or_else(|| {
            let known = STATES.join(", ");
            Problem::bad_request(format!("`{word}` is no state; there is: {known}"))
        })?),
    };
    let filter = RunFilter {
        orchestration: params.orchestration,
        state,
    };
    let before = params.before.map(|id| id.0);
    let runs = admin.gateway.store.runs(&filter, before, limit).await?;
    if runs.is_empty() {
        known(&admin, &filter).await?;
    }
    let full = runs.len() == limit as usize;
    let next = runs.last().filter(|_| full).map(|last| last.id);
    let instances: Vec<Value> = runs.iter().map(row).collect();
    Ok(Json(json!({ "instances": instances, "next": next })))
}

/// Whether there are orchestrations that `filter` names: in the configuration, or with instances from before.
async fn known(admin: &Admin, filter: &RunFilter) -> Answer<()> {
    let Some(name) = &filter.orchestration else {
        return Ok(());
    };
    let engine = admin.gateway.engine().await;
    let engine = engine.as_ref().ok_or_else(Problem::not_running)?;
    let all = engine.orchestrations();
    let application = format!("{}.", name.trim_end_matches('.'));
    let is_meant = |one: &Name| **one == **name || one.starts_with(&application);
    if all.iter().any(|(one, ..)| is_meant(one)) {
        return Ok(());
    }
    let any = RunFilter {
        state: None,
        ..filter.clone()
    };
    if !admin.gateway.store.runs(&any, None, 1).await?.is_empty() {
        return Ok(());
    }
    Err(no_orchestration(name, &all))
}

fn no_orchestration(name: &str, all: &[(Name, Name, String)]) -> Problem {
    let known: Vec<&str> = all.iter().map(|(name, ..)| &**name).collect();
    let known = match known.as_slice() {
        [] => "none".to_owned(),
        known => known.join(", "),
    };
    Problem::not_found(format!(
        "there is no orchestration `{name}`; there is: {known}"
    ))
}

async fn show(State(admin): State<Admin>, Segment(id): Segment<RunId>) -> Answer<Json<Value>> {
    let engine = admin.gateway.engine().await;
    let engine = engine.as_ref().ok_or_else(Problem::not_running)?;
    let view = engine.orchestration_instance(id).await?;
    let view = view.ok_or_else(missing)?;
    let order = pending(&view);
    let RunView {
        shown,
        positions,
        contents,
        ..
    } = view;
    let mut told = row(&shown.row);
    told["correlations"] = contents.correlations.iter().map(correlation).collect();
    told["messages"] = json!(contents.messages);
    told["variables"] = contents.variables.iter().map(variable).collect();
    told["positions"] = json!(positions);
    told["ordered"] = json!(order.map(|order| order.in_words()));
    let waiting = shown.inbox.iter();
    told["inbox"] = waiting
        .map(|(delivery, route)| json!({ "delivery": delivery, "route": route }))
        .collect();
    let keys = shown.keys.iter();
    told["keys"] = keys.map(|key| Value::from(hex(key))).collect();
    Ok(Json(told))
}

fn correlation((name, values): &(Name, Vec<(Name, quayside_model::Value)>)) -> Value {
    let values = values.iter();
    let values = values.map(|(name, value)| (name.to_string(), Value::from(value.to_string())));
    json!({ "name": name, "values": values.collect::<Map<_, _>>() })
}

fn variable((name, datum): &(Name, Datum)) -> Value {
    let value = match datum {
        Datum::One(value) => Value::from(value.to_string()),
        Datum::Many(values) => values.iter().map(ToString::to_string).collect(),
    };
    json!({ "name": name, "value": value })
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Because {
    reason: Option<Text>,
    step: Option<Given<Name>>,
}

async fn suspend(
    State(admin): State<Admin>,
    Segment(id): Segment<RunId>,
    operator: Operator,
    Body(because): Body<Because>,
) -> Answer<Json<Value>> {
    let note = operator.note(because.reason.as_deref());
    open(&admin, id).await?;
    leave(&admin, id, &Order::Suspend(note.clone()), &note).await
}

async fn resume(
    State(admin): State<Admin>,
    Segment(id): Segment<RunId>,
    operator: Operator,
    Body(because): Body<Because>,
) -> Answer<Json<Value>> {
    let note = operator.note(because.reason.as_deref());
    // One that is left for later would undo an order to suspend that nobody has read.
    match open(&admin, id).await?.shown.row.state {
        RunState::Suspended => leave(&admin, id, &Order::Resume, &note).await,
        other => Err(not_now(format!(
            "the instance is {}, not suspended",
            other.in_words()
        ))),
    }
}

async fn terminate(
    State(admin): State<Admin>,
    Segment(id): Segment<RunId>,
    operator: Operator,
    Body(because): Body<Because>,
) -> Answer<Json<Value>> {
    let note = operator.note(because.reason.as_deref());
    leave(&admin, id, &Order::Terminate(note.clone()), &note).await
}

async fn retry_step(
    State(admin): State<Admin>,
    Segment(id): Segment<RunId>,
    operator: Operator,
    Body(because): Body<Because>,
) -> Answer<Json<Value>> {
    let note = operator.note(because.reason.as_deref());
    let wanted = because.step.map(|step| step.0);
    let mut steps = open(&admin, id).await?.retryable;
    steps.retain(|one| wanted.as_ref().is_none_or(|step| one.step == *step));
    let one = match steps.as_slice() {
        [one, ..] if one.seen == Seen::Failed => one,
        [one] => one,
        [] => {
            let detail = "no such step of the instance has failed or waits for an answer";
            return Err(not_now(detail));
        }
        several => {
            let names: Vec<&str> = several.iter().map(|one| &*one.step).collect();
            let detail = format!("several steps wait: name one of {}", names.join(", "));
            return Err(not_now(detail));
        }
    };
    let order = Order::RetrySeen(one.step.clone(), one.seen);
    leave(&admin, id, &order, &note).await
}

/// The instance, if there is something to order: it is not over, and not about to be.
async fn open(admin: &Admin, id: RunId) -> Answer<RunView> {
    let engine = admin.gateway.engine().await;
    let engine = engine.as_ref().ok_or_else(Problem::not_running)?;
    let view = engine.orchestration_instance(id).await?;
    let view = view.ok_or_else(missing)?;
    match view.shown.row.state {
        RunState::Completed | RunState::Terminated => Err(not_now(OVER)),
        _ if matches!(pending(&view), Some(Order::Terminate(_))) => Err(not_now(
            "an operator has ordered its end, which nobody has carried out yet",
        )),
        _ => Ok(view),
    }
}

/// The order that nobody has carried out.
fn pending(view: &RunView) -> Option<Order> {
    view.shown.order.as_deref().and_then(Order::decode)
}

const OVER: &str = "the instance is over";

fn not_now(detail: impl Into<String>) -> Problem {
    Problem::new(StatusCode::CONFLICT, codes::NOT_NOW, detail)
}

async fn leave(admin: &Admin, id: RunId, order: &Order, note: &Text) -> Answer<Json<Value>> {
    match admin.gateway.store.order_run(id, &order.encode()).await? {
        OrderOutcome::Left => {
            tracing::info!(instance = %id, order = order.in_words(), note = %note,
                "an operator has left an order for an orchestration instance");
            Ok(Json(json!({ "id": id })))
        }
        OrderOutcome::Missing => Err(missing()),
        OrderOutcome::Ended => Err(not_now(OVER)),
    }
}

async fn graph(State(admin): State<Admin>, Segment(name): Segment<Name>) -> Answer<Json<Value>> {
    let engine = admin.gateway.engine().await;
    let engine = engine.as_ref().ok_or_else(Problem::not_running)?;
    let graph = engine.orchestration_graph(&name);
    let (text, svg) = graph.ok_or_else(|| no_orchestration(&name, &engine.orchestrations()))?;
    Ok(Json(json!({ "text": text, "svg": svg })))
}

fn missing() -> Problem {
    Problem::not_found("there is no such orchestration instance, or retention has removed it")
}

fn state_of(word: &str) -> Option<RunState> {
    let mut all = RunState::ALL.into_iter();
    all.find(|state| state.in_words() == word)
}

fn row(row: &RunRow) -> Value {
    json!({
        "id": row.id,
        "orchestration": row.orchestration,
        "definition": hex(&row.definition),
        "state": row.state.in_words(),
        "started_at": row.started_at,
        "changed_at": row.changed_at,
        "due": row.due,
        "instance": row.instance,
        "reason": row.reason,
        "discarded": row.discarded,
    })
}

fn hex(bytes: &[u8; 16]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
