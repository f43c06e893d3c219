//! `/ports`: send ports and receive locations, and the operators' word about them.

use std::time::Duration;

use axum::{
    Json,
    extract::State,
    routing::{get, post},
};
use quayside_adapter_api::Span;
use quayside_engine::{Engine, PortView};
use quayside_model::{Name, PortControl, PortStatus, Text};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Admin, Route,
    extract::{Body, Operator, Segment},
    names,
    problem::{Answer, Problem},
    words,
};

pub(super) fn routes() -> Vec<Route> {
    const REASON: &str = "`reason`: why, in the operator's words";
    let verb = |path, summary, handler| Route::post(path, summary, handler).answers("Port");
    vec![
        Route::get(
            "/ports",
            "Lists send ports and receive locations",
            get(list),
        )
        .answers("PortList"),
        Route::get("/ports/{name}", "Shows a port or location", get(show)).answers("Port"),
        verb("/ports/{name}/start", "Lets it work", post(start)).body(REASON),
        verb(
            "/ports/{name}/stop",
            "Lets it rest; the subscription stays",
            post(stop),
        )
        .body(REASON),
        verb(
            "/ports/{name}/enlist",
            "Subscribes again, without sending yet",
            post(enlist),
        )
        .body(REASON),
        verb(
            "/ports/{name}/unenlist",
            "Gives the subscription up",
            post(unenlist),
        )
        .body(REASON),
        verb(
            "/ports/{name}/pause",
            "Stops sending for a while",
            post(pause),
        )
        .body("`for`: how long, as in 30m; `reason`: why, in the operator's words"),
        verb("/ports/{name}/resume", "Ends a pause", post(resume)).body(REASON),
        Route::post(
            "/ports/{name}/test",
            "Connects to the partner and looks whether the target exists; changes nothing",
            post(test),
        )
        .answers("Tested"),
    ]
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Word {
    reason: Option<Text>,
    #[serde(rename = "for")]
    duration: Option<Span>,
}

async fn list(State(admin): State<Admin>) -> Answer<Json<Value>> {
    Ok(Json(json!({ "ports": all(&admin).await? })))
}

async fn show(State(admin): State<Admin>, Segment(name): Segment<Name>) -> Answer<Json<PortView>> {
    of_name(all(&admin).await?, &name).map(Json)
}

/// Every port and location, as the process that works with it sees it.
async fn all(admin: &Admin) -> Answer<Vec<PortView>> {
    let ports = admin.gateway.ports().await?;
    let mut ports = ports.ok_or_else(Problem::not_running)?;
    join(admin, &mut ports).await;
    Ok(ports)
}

/// Puts in what the other processes of the node know, if this one answers for them.
pub(super) async fn join(admin: &Admin, ports: &mut [PortView]) {
    if let Some(processes) = &admin.joined {
        processes.join_ports(ports).await;
    }
}

async fn find(engine: &Engine, name: &Name) -> Answer<PortView> {
    of_name(engine.ports().await?, name)
}

fn of_name(ports: Vec<PortView>, name: &Name) -> Answer<PortView> {
    let port = ports.iter().find(|port| port.name == *name).cloned();
    port.ok_or_else(|| names::no_port(name, &ports, names::ANY))
}

/// Changes the operators' word about `name` by `change`, which sees the port as it is.
async fn control(
    admin: &Admin,
    name: &Name,
    operator: &Operator,
    word: &Word,
    change: impl FnOnce(&PortView, &mut PortControl) -> Answer<()>,
) -> Answer<Json<PortView>> {
    let engine = admin.gateway.engine().await;
    let engine = engine.as_ref().ok_or_else(Problem::not_running)?;
    let port = find(engine, name).await?;
    let mut control = PortControl {
        status: port.status,
        paused_until: port.paused_until,
        reason: word.reason.clone(),
    };
    change(&port, &mut control)?;
    if control.status != PortStatus::Started || control.paused_until.is_some() {
        // Who looks at a port that rests asks who let it rest.
        control.reason = operator.reason(word.reason.as_deref());
    }
    if port.kind == "orchestration" {
        let detail = format!(
            "`{name}` is an orchestration and no port: `quayside orchestrations` lists, suspends and ends its instances, \
             and the ports that bring its messages can be stopped"
        );
        return Err(Problem::bad_request(detail));
    }
    let (status, until) = (control.status, control.paused_until.map(words::second));
    if !engine.control(name, control).await? {
        // Deliveries are left of it, but the configuration has it no more.
        return Err(names::no_port(name, &[], names::ANY));
    }
    tracing::info!(port.name = %name, status = words::status(status), paused_until = until,
        note = %operator.note(word.reason.as_deref()), "port changed by an operator");
    find(engine, name).await.map(Json)
}

/// What a receive location can be told instead of what only send ports understand.
const START_STOP: &str = "use start and stop";

/// Only send ports subscribe and send.
fn send_only(port: &PortView, verb: &str, instead: &str) -> Answer<()> {
    match port.kind {
        "location" => Err(Problem::bad_request(format!(
            "`{}` is a receive location: only a send port can be {verb}; {instead}",
            port.name
        ))),
        _ => Ok(()),
    }
}

type Given = (State<Admin>, Segment<Name>, Operator, Body<Word>);

async fn start(
    (State(admin), Segment(name), operator, Body(word)): Given,
) -> Answer<Json<PortView>> {
    control(&admin, &name, &operator, &word, |_, control| {
        control.status = PortStatus::Started;
        control.paused_until = None;
        Ok(())
    })
    .await
}

async fn stop(
    (State(admin), Segment(name), operator, Body(word)): Given,
) -> Answer<Json<PortView>> {
    control(&admin, &name, &operator, &word, |_, control| {
        control.status = PortStatus::Stopped;
        Ok(())
    })
    .await
}

async fn enlist(
    (State(admin), Segment(name), operator, Body(word)): Given,
) -> Answer<Json<PortView>> {
    control(&admin, &name, &operator, &word, |port, control| {
        send_only(port, "enlisted", START_STOP)?;
        // A port that sends is enlisted already.
        if control.status == PortStatus::Unenlisted {
            control.status = PortStatus::Stopped;
        }
        Ok(())
    })
    .await
}

async fn unenlist(
    (State(admin), Segment(name), operator, Body(word)): Given,
) -> Answer<Json<PortView>> {
    control(&admin, &name, &operator, &word, |port, control| {
        send_only(port, "unenlisted", START_STOP)?;
        control.status = PortStatus::Unenlisted;
        Ok(())
    })
    .await
}

/// What is to rest longer is to be stopped. Without a bound the end of a pause could be a moment that no
/// calendar has.
const LONGEST_PAUSE: Duration = Duration::from_secs(366 * 86_400);

async fn pause(
    (State(admin), Segment(name), operator, Body(word)): Given,
) -> Answer<Json<PortView>> {
    let Some(duration) = word.duration else {
        return Err(Problem::bad_request(
            "`for` is missing: how long, as in 30m",
        ));
    };
    if duration.duration() > LONGEST_PAUSE {
        return Err(Problem::bad_request(
            "`for` is longer than a year: `stop` lets a port rest until it is started",
        ));
    }
    if duration.duration().is_zero() {
        return Err(Problem::bad_request(
            "`for` is no time at all: write how long, as in 30m; `resume` ends a pause",
        ));
    }
    let until = admin.gateway.clock.now().plus(duration.duration());
    control(&admin, &name, &operator, &word, |port, control| {
        send_only(port, "paused", START_STOP)?;
        control.paused_until = Some(until);
        Ok(())
    })
    .await
}

async fn resume(
    (State(admin), Segment(name), operator, Body(word)): Given,
) -> Answer<Json<PortView>> {
    control(&admin, &name, &operator, &word, |port, control| {
        send_only(port, "resumed", "use start")?;
        control.paused_until = None;
        Ok(())
    })
    .await
}

async fn test(State(admin): State<Admin>, Segment(name): Segment<Name>) -> Answer<Json<Value>> {
    let engine = admin.gateway.engine().await;
    let engine = engine.as_ref().ok_or_else(Problem::not_running)?;
    let instead =
        "a location has no partner to connect to, and `ports show` tells whether it is open";
    send_only(&find(engine, &name).await?, "tested", instead)?;
    let detail = engine.test_port(&name).await?;
    Ok(Json(json!({ "ok": true, "detail": detail })))
}
