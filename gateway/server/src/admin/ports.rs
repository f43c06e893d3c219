//! `/ports`: send ports and receive locations, and the operators' word about them.

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
    extract::{Body, Segment},
    problem::{Answer, Problem},
};

pub(super) fn routes() -> Vec<Route> {
    const REASON: &str = "`reason`: why, in the operator's words";
    vec![
        Route::get(
            "/ports",
            "Lists send ports and receive locations",
            get(list),
        ),
        Route::get("/ports/{name}", "Shows a port or location", get(show)),
        Route::post("/ports/{name}/start", "Lets it work", post(start)).body(REASON),
        Route::post(
            "/ports/{name}/stop",
            "Lets it rest; the subscription stays",
            post(stop),
        )
        .body(REASON),
        Route::post(
            "/ports/{name}/enlist",
            "Subscribes again, without sending yet",
            post(enlist),
        )
        .body(REASON),
        Route::post(
            "/ports/{name}/unenlist",
            "Gives the subscription up",
            post(unenlist),
        )
        .body(REASON),
        Route::post(
            "/ports/{name}/pause",
            "Stops sending for a while",
            post(pause),
        )
        .body("`for`: how long, as in 30m; `reason`: why, in the operator's words"),
        Route::post("/ports/{name}/resume", "Ends a pause", post(resume)).body(REASON),
        Route::post(
            "/ports/{name}/test",
            "Connects to the partner and looks whether the target exists; changes nothing",
            post(test),
        ),
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
    let engine = admin.gateway.engine().await;
    let engine = engine.as_ref().ok_or_else(Problem::not_running)?;
    Ok(Json(json!({ "ports": engine.ports().await? })))
}

async fn show(State(admin): State<Admin>, Segment(name): Segment<Name>) -> Answer<Json<PortView>> {
    let engine = admin.gateway.engine().await;
    let engine = engine.as_ref().ok_or_else(Problem::not_running)?;
    find(engine, &name).await.map(Json)
}

async fn find(engine: &Engine, name: &Name) -> Answer<PortView> {
    let ports = engine.ports().await?;
    let port = ports.into_iter().find(|port| port.name == *name);
    port.ok_or_else(|| Problem::not_found(format!("there is no port or location `{name}`")))
}

/// Changes the operators' word about `name` by `change`, which sees the port as it is.
async fn control(
    admin: &Admin,
    name: &Name,
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
    tracing::info!(port.name = %name, status = ?control.status, paused_until = ?control.paused_until,
        reason = word.reason.as_deref(), "port changed by an operator");
    if !engine.control(name, control).await? {
        return Err(Problem::not_found(format!(
            "there is no port or location `{name}`"
        )));
    }
    find(engine, name).await.map(Json)
}

/// Only send ports subscribe.
fn send_only(port: &PortView, verb: &str) -> Answer<()> {
    match port.kind {
        "send" => Ok(()),
        _ => Err(Problem::bad_request(format!(
            "`{}` is a receive location: only a send port can be {verb}; use start and stop",
            port.name
        ))),
    }
}

type Given = (State<Admin>, Segment<Name>, Body<Word>);

async fn start((State(admin), Segment(name), Body(word)): Given) -> Answer<Json<PortView>> {
    control(&admin, &name, &word, |_, control| {
        control.status = PortStatus::Started;
        control.paused_until = None;
        Ok(())
    })
    .await
}

async fn stop((State(admin), Segment(name), Body(word)): Given) -> Answer<Json<PortView>> {
    control(&admin, &name, &word, |_, control| {
        control.status = PortStatus::Stopped;
        Ok(())
    })
    .await
}

async fn enlist((State(admin), Segment(name), Body(word)): Given) -> Answer<Json<PortView>> {
    control(&admin, &name, &word, |port, control| {
        send_only(port, "enlisted")?;
        // A port that sends is enlisted already.
        if control.status == PortStatus::Unenlisted {
            control.status = PortStatus::Stopped;
        }
        Ok(())
    })
    .await
}

async fn unenlist((State(admin), Segment(name), Body(word)): Given) -> Answer<Json<PortView>> {
    control(&admin, &name, &word, |port, control| {
        send_only(port, "unenlisted")?;
        control.status = PortStatus::Unenlisted;
        Ok(())
    })
    .await
}

async fn pause((State(admin), Segment(name), Body(word)): Given) -> Answer<Json<PortView>> {
    let Some(duration) = word.duration else {
        return Err(Problem::bad_request(
            "`for` is missing: how long, as in 30m",
        ));
    };
    let until = admin.gateway.clock.now().plus(duration.duration());
    control(&admin, &name, &word, |port, control| {
        send_only(port, "paused")?;
        control.paused_until = Some(until);
        Ok(())
    })
    .await
}

async fn resume((State(admin), Segment(name), Body(word)): Given) -> Answer<Json<PortView>> {
    control(&admin, &name, &word, |_, control| {
        control.paused_until = None;
        Ok(())
    })
    .await
}

async fn test(State(admin): State<Admin>, Segment(name): Segment<Name>) -> Answer<Json<Value>> {
    let engine = admin.gateway.engine().await;
    let engine = engine.as_ref().ok_or_else(Problem::not_running)?;
    send_only(&find(engine, &name).await?, "tested")?;
    let detail = engine.test_port(&name).await?;
    Ok(Json(json!({ "ok": true, "detail": detail })))
}
