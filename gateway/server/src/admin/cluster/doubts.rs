//! Deliveries in doubt: what may have been sent already, and what operators decide about it.

use std::collections::HashMap;

use axum::{Json, extract::State, routing::get, routing::post};
use quayside_engine::{
    Engine,
    plan::{InDoubt, Plan, SendPort},
};
use quayside_model::{
    Context, DeliveryId, DeliveryState, Failure, InstanceId, Name, Text, Timestamp, Transport,
};
use quayside_store::{
    browse::{DoubtRow, LostOwner},
    operate::DoubtVerdict,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{HostName, facts::Facts, known};
use crate::admin::{
    Admin, Route,
    deliveries::{self, Ids},
    extract::{Body, Given, Operator, Params},
    problem::{Answer, Problem},
};

pub(super) fn routes() -> Vec<Route> {
    const IDS: &str = "`ids`: up to 1000 ids of deliveries; `reason`: why, in the operator's words";
    let verb = |path, summary, handler| {
        Route::post(path, summary, handler)
            .answers("Outcomes")
            .body(IDS)
    };
    vec![
        Route::get(
            "/cluster/in-doubt",
            "Lists deliveries that may have been sent already",
            get(list),
        )
        .answers("ClusterInDoubt")
        .query(&[
            ("host", "of the ports of this host"),
            (
                "after",
                "after this delivery: the last id of the page before",
            ),
            ("limit", "at most this many, 1 to 1000; 50 if absent"),
        ]),
        verb(
            "/cluster/in-doubt/resend",
            "Sends deliveries in doubt again",
            post(resend),
        ),
        verb(
            "/cluster/in-doubt/skip",
            "Ends deliveries in doubt that nobody is to get any more",
            post(skip),
        ),
        verb(
            "/cluster/in-doubt/done",
            "Ends deliveries in doubt that the partner has",
            post(done),
        ),
    ]
}

/// A delivery in doubt, as it is told.
#[derive(Debug, Serialize)]
struct Doubt {
    id: DeliveryId,
    port: Name,
    /// The host that runs the port; `None`: the configuration has no such port any more.
    host: Option<Name>,
    /// Where the port sends to.
    partner: Option<String>,
    /// The value of its order key, on an ordered port.
    order_key: Option<String>,
    state: DeliveryState,
    attempts: u32,
    /// When the send began that has no known end.
    begun_at: Option<Timestamp>,
    /// When it was found that its owner had died.
    released_at: Option<Timestamp>,
    /// When the store was restored from a backup in which it was open.
    restored_at: Option<Timestamp>,
    /// The owner that died: its node, process and epoch.
    node: Option<Name>,
    instance: Option<InstanceId>,
    epoch: Option<String>,
    /// `in_doubt` of the port.
    policy: Option<&'static str>,
    failure: Option<Failure>,
    /// What happens to it by itself.
    then: &'static str,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ListParams {
    host: Option<Given<HostName>>,
    after: Option<Given<DeliveryId>>,
    limit: Option<u32>,
}

async fn list(
    State(admin): State<Admin>,
    Params(params): Params<ListParams>,
) -> Answer<Json<Value>> {
    let limit = deliveries::limit(params.limit)?;
    let engine = admin.gateway.engine().await;
    let plan = engine
        .as_ref()
        .ok_or_else(Problem::not_running)
        .map(Engine::plan)?;
    drop(engine);
    let ports = match params.host {
        None => None,
        Some(Given(HostName(host))) => Some(ports_of(&admin, &plan, &host).await?),
    };
    let after = params.after.map(|id| id.0);
    let store = &admin.gateway.store;
    let rows = store.doubts(ports.as_deref(), after, limit).await?;
    let full = rows.len() == limit as usize;
    let next = rows.last().filter(|_| full).map(|last| last.delivery.id);
    let send: HashMap<&Name, &SendPort> = plan.send.iter().map(|port| (&port.name, port)).collect();
    let told: Vec<Doubt> = rows.into_iter().map(|row| told(row, &send)).collect();
    Ok(Json(json!({ "deliveries": told, "next": next })))
}

/// The send ports of `host`, which need not be clustered.
async fn ports_of(admin: &Admin, plan: &Plan, host: &Name) -> Answer<Vec<Name>> {
    let ports = plan.send.iter().filter(|port| port.host == *host);
    let ports: Vec<Name> = ports.map(|port| port.name.clone()).collect();
    if ports.is_empty() {
        let receive = plan.receive.iter().map(|port| &port.host);
        let configured = plan.send.iter().map(|port| &port.host).chain(receive);
        let mut hosts = Facts::ask(admin).await?.hosts();
        hosts.extend(configured.cloned());
        hosts.sort();
        hosts.dedup();
        known("host", host, &hosts)?;
    }
    Ok(ports)
}

fn told(row: DoubtRow, ports: &HashMap<&Name, &SendPort>) -> Doubt {
    let DoubtRow {
        delivery,
        context,
        owner,
        restored_at,
    } = row;
    let port = ports.get(&delivery.port).copied();
    let owner = owner.as_ref();
    let moment = |fact: fn(&LostOwner) -> Option<Timestamp>| owner.and_then(fact);
    Doubt {
        id: delivery.id,
        host: port.map(|port| port.host.clone()),
        partner: port.map(|port| partner(port, delivery.transport)),
        order_key: port.and_then(|port| order_key(port, &context)),
        state: delivery.state,
        attempts: delivery.attempts,
        begun_at: moment(|owner| owner.begun_at),
        released_at: moment(|owner| Some(owner.released_at)),
        restored_at,
        node: owner.and_then(|owner| owner.node.clone()),
        instance: owner.and_then(|owner| owner.instance),
        epoch: owner
            .and_then(|owner| owner.epoch)
            .map(|epoch| epoch.to_string()),
        policy: port.map(|port| match port.in_doubt {
            InDoubt::Resend => "resend",
            InDoubt::Hold => "hold",
        }),
        failure: delivery.failure,
        then: then(delivery.state, port.map(|port| port.in_doubt)),
        port: delivery.port,
    }
}

fn then(state: DeliveryState, policy: Option<InDoubt>) -> &'static str {
    match (state, policy) {
        (DeliveryState::Suspended, _) => "kept for an operator",
        (DeliveryState::Claimed, Some(InDoubt::Resend)) => "in hand, to be sent again",
        (DeliveryState::Ready, Some(InDoubt::Resend)) => "sent again when it is due",
        (DeliveryState::Held, Some(InDoubt::Resend)) => "sent again behind the one before it",
        (DeliveryState::Taken, _) => "nothing: it is with an orchestration instance",
        (_, Some(InDoubt::Hold)) => "kept for an operator when its turn comes",
        (_, None) => "nothing: the configuration has no such port",
    }
}

/// The value that the order of the port goes by.
fn order_key(port: &SendPort, context: &Context) -> Option<String> {
    let order = port.ordered.as_ref()?;
    let value = context.value(&order.by).map(ToString::to_string);
    Some(value.unwrap_or_default())
}

/// Where a port sends to by `transport`: whom to ask. Without what an address says of user and password.
fn partner(port: &SendPort, transport: Transport) -> String {
    let plan = match (transport, &port.backup) {
        (Transport::Backup, Some(backup)) => backup,
        _ => &port.primary,
    };
    let block = &plan.block;
    let place = match &block["url"] {
        Value::Array(urls) => urls.first().and_then(Value::as_str),
        url => url.as_str().or_else(|| block["folder"].as_str()),
    };
    let place = place.map_or_else(|| plan.adapter.clone(), without_user);
    match block["queue"].as_str() {
        Some(queue) => format!("{place} {queue}"),
        None => place,
    }
}

/// `url` without what stands before an `@` in its authority.
fn without_user(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return url.to_owned();
    };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = authority
        .rsplit_once('@')
        .map_or(authority, |(_, host)| host);
    format!("{scheme}://{host}{path}")
}

type Verdict = (State<Admin>, Operator, Body<Ids>);

async fn resend(given: Verdict) -> Answer<Json<Value>> {
    resolve(given, DoubtVerdict::Resend, "to be sent again (in doubt)").await
}

async fn skip(given: Verdict) -> Answer<Json<Value>> {
    resolve(given, DoubtVerdict::Skip, "not to be sent (in doubt)").await
}

async fn done(given: Verdict) -> Answer<Json<Value>> {
    resolve(given, DoubtVerdict::Done, "the partner has it (in doubt)").await
}

/// Writes the verdict, with `word`, who gave it and why in the history of each.
async fn resolve(
    (State(admin), operator, Body(ids)): Verdict,
    verdict: DoubtVerdict,
    word: &str,
) -> Answer<Json<Value>> {
    let note = Text::lossy(&format!("{word}, {}", operator.note(ids.reason())));
    let ids = ids.check()?;
    let outcomes = admin.gateway.store.resolve(&ids, verdict, &note).await?;
    tracing::info!(count = ids.len(), note = %note, "an operator has decided about deliveries in doubt");
    Ok(deliveries::outcomes(&ids, &outcomes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_tells_no_password() {
        for (url, shown) in [
            (
                "http://u:p@partner:8080/orders?x=a@b",
                "http://partner:8080/orders?x=a@b",
            ),
            ("amqp://guest:guest@broker", "amqp://broker"),
            ("https://partner/a@b", "https://partner/a@b"),
            ("/var/out", "/var/out"),
        ] {
            assert_eq!(without_user(url), shown);
        }
    }
}
