//! `/orchestrations`: durable processes and their instances, and what operators decide about these.

use axum::{
    Json,
    extract::State,
    routing::{get, post},
};
use quayside_engine::{Order, RunView};
use quayside_model::{Name, RunId, Text};
use quayside_orchestration::Datum;
use quayside_store::runs::{OrderOutcome, RunFilter, RunRow, RunState};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{
    Admin, Route,
    deliveries::limit,
    extract::{Body, Given, Operator, Params, Segment},
    problem::{Answer, Problem},
};

/// How an instance stands, in the words of the API.
pub(crate) const STATES: [&str; 6] = [
    "ready",
    "running",
    "waiting",
    "suspended",
    "completed",
    "terminated",
];

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
        let counts = of.map(|(_, state, count)| (STATES[*state as usize].to_owned(), json!(count)));
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
    let full = runs.len() == limit as usize;
    let next = runs.last().filter(|_| full).map(|last| last.id);
    let instances: Vec<Value> = runs.iter().map(row).collect();
    Ok(Json(json!({ "instances": instances, "next": next })))
}

async fn show(State(admin): State<Admin>, Segment(id): Segment<RunId>) -> Answer<Json<Value>> {
    let engine = admin.gateway.engine().await;
    let engine = engine.as_ref().ok_or_else(Problem::not_running)?;
    let view = engine.orchestration_instance(id).await?;
    let RunView {
        shown,
        positions,
        contents,
    } = view.ok_or_else(missing)?;
    let mut told = row(&shown.row);
    told["correlations"] = contents.correlations.iter().map(correlation).collect();
    told["messages"] = json!(contents.messages);
    told["variables"] = contents.variables.iter().map(variable).collect();
    told["positions"] = json!(positions);
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
    admin: State<Admin>,
    id: Segment<RunId>,
    operator: Operator,
    Body(because): Body<Because>,
) -> Answer<Json<Value>> {
    let note = operator.note(because.reason.as_deref());
    order(admin, id, &Order::Suspend(note.clone()), &note).await
}

async fn resume(
    admin: State<Admin>,
    id: Segment<RunId>,
    operator: Operator,
    Body(because): Body<Because>,
) -> Answer<Json<Value>> {
    let note = operator.note(because.reason.as_deref());
    order(admin, id, &Order::Resume, &note).await
}

async fn terminate(
    admin: State<Admin>,
    id: Segment<RunId>,
    operator: Operator,
    Body(because): Body<Because>,
) -> Answer<Json<Value>> {
    let note = operator.note(because.reason.as_deref());
    order(admin, id, &Order::Terminate(note.clone()), &note).await
}

async fn retry_step(
    admin: State<Admin>,
    id: Segment<RunId>,
    operator: Operator,
    Body(because): Body<Because>,
) -> Answer<Json<Value>> {
    let note = operator.note(because.reason.as_deref());
    let step = because.step.map(|step| step.0);
    order(admin, id, &Order::RetryStep(step), &note).await
}

async fn order(
    State(admin): State<Admin>,
    Segment(id): Segment<RunId>,
    order: &Order,
    note: &Text,
) -> Answer<Json<Value>> {
    match admin.gateway.store.order_run(id, &order.encode()).await? {
        OrderOutcome::Left => {
            tracing::info!(instance = %id, order = order.in_words(), note = %note,
                "an operator has left an order for an orchestration instance");
            Ok(Json(json!({ "id": id })))
        }
        OrderOutcome::Missing => Err(missing()),
        OrderOutcome::Ended => {
            let detail = "the instance is over";
            Err(Problem::new(
                axum::http::StatusCode::CONFLICT,
                crate::cli::codes::BAD_REQUEST,
                detail,
            ))
        }
    }
}

async fn graph(State(admin): State<Admin>, Segment(name): Segment<Name>) -> Answer<Json<Value>> {
    let engine = admin.gateway.engine().await;
    let engine = engine.as_ref().ok_or_else(Problem::not_running)?;
    let (text, svg) = engine.orchestration_graph(&name).ok_or_else(|| {
        let known = engine.orchestrations().into_iter();
        let known: Vec<String> = known.map(|(name, ..)| name.to_string()).collect();
        Problem::not_found(format!(
            "there is no orchestration `{name}`; there is: {}",
            known.join(", ")
        ))
    })?;
    Ok(Json(json!({ "text": text, "svg": svg })))
}

fn missing() -> Problem {
    Problem::not_found("there is no such orchestration instance, or retention has removed it")
}

fn state_of(word: &str) -> Option<RunState> {
    let all = [
        RunState::Ready,
        RunState::Running,
        RunState::Waiting,
        RunState::Suspended,
        RunState::Completed,
        RunState::Terminated,
    ];
    all.into_iter().find(|state| word_of(*state) == word)
}

fn word_of(state: RunState) -> &'static str {
    match state {
        RunState::Ready => STATES[0],
        RunState::Running => STATES[1],
        RunState::Waiting => STATES[2],
        RunState::Suspended => STATES[3],
        RunState::Completed => STATES[4],
        RunState::Terminated => STATES[5],
    }
}

fn row(row: &RunRow) -> Value {
    json!({
        "id": row.id,
        "orchestration": row.orchestration,
        "definition": hex(&row.definition),
        "state": word_of(row.state),
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
