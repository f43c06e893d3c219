//! `/cluster`: who runs each clustered host, since when and why, and what operators want of hosts and nodes.
//!
//! [`facts`] asks the store. [`state`], [`told`] and [`advice`] decide what to say and ask nobody. [`orders`] takes the
//! operators' words, [`doubts`] those about deliveries that may have been sent.

mod advice;
mod doubts;
mod drill;
mod facts;
mod orders;
#[cfg(test)]
pub(crate) mod samples;
mod state;
mod told;

use std::{collections::BTreeMap, str::FromStr, sync::Arc};

use axum::{
    Json,
    extract::State,
    http::StatusCode,
    routing::{get, post},
};
use quayside_lease::Policy;
use quayside_model::{Name, TextError};
use quayside_store::{Cluster, cluster::EventRow};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Admin, Route, deliveries,
    extract::{Given, Params, Segment, Written},
    problem::{Answer, Problem},
};
use crate::{
    cli::codes,
    config::{group::Group, suggestion},
};
pub(crate) use advice::lasting;
use facts::{Facts, millis};
pub(super) use state::State as HostState;
pub(crate) use told::Standing;

/// The policies of the clustered hosts, by name.
pub(crate) type Policies = Arc<BTreeMap<Name, Policy>>;

/// The policies of the clustered hosts of `group`.
pub(crate) fn policies(group: Option<&Group>) -> Policies {
    let hosts = group.iter().flat_map(|group| &group.hosts);
    let clustered = hosts.filter_map(|(name, host)| {
        let name = Name::new(name.as_str()).ok()?;
        Some((name, host.clustered.clone()?))
    });
    Arc::new(clustered.collect())
}

pub(super) fn routes() -> Vec<Route> {
    const REASON: &str = "`reason`: why, in the operator's words";
    let host = |path, summary, handler| {
        let route = Route::post(path, summary, handler);
        route.answers("ClusterHost").body(REASON)
    };
    let node = |path, summary, handler| {
        let route = Route::post(path, summary, handler);
        route.answers("ClusterNode").body(REASON)
    };
    let mut routes = vec![
        Route::get(
            "/cluster",
            "Lists the clustered hosts, who runs each and why, and the nodes",
            get(list),
        )
        .answers("Cluster"),
        Route::get(
            "/cluster/history",
            "Lists what has changed, newest first",
            get(history),
        )
        .answers("ClusterHistory")
        .query(&[
            ("host", "of this clustered host"),
            ("node", "on this node"),
            ("limit", "at most this many, 1 to 1000; 50 if absent"),
        ]),
        Route::get(
            "/cluster/hosts/{host}",
            "Shows a clustered host",
            get(show_host),
        )
        .answers("ClusterHost"),
        Route::get("/cluster/nodes/{node}", "Shows a node", get(show_node)).answers("ClusterNode"),
        Route::post(
            "/cluster/hosts/{host}/move",
            "Orders it to another node",
            post(orders::move_host),
        )
        .answers("ClusterMove")
        .body("`to`: the node, or null for the best other one; `at`: not before this moment; `reason`"),
        host(
            "/cluster/hosts/{host}/pin",
            "Lets one node run it and no other",
            post(orders::pin),
        )
        .body("`node`: which one; `reason`: why, in the operator's words"),
    ];
    routes.extend(doubts::routes());
    routes.extend(drill::routes());
    routes.extend([
        host(
            "/cluster/hosts/{host}/unpin",
            "Ends a pin",
            post(orders::unpin),
        ),
        host(
            "/cluster/hosts/{host}/pause",
            "Leaves it as it is: no restart, no move, no other owner",
            post(orders::pause),
        ),
        host(
            "/cluster/hosts/{host}/unpause",
            "Ends a pause",
            post(orders::unpause),
        ),
        host(
            "/cluster/hosts/{host}/clear",
            "Forgets its failures, restarts and moves, and tries it at once",
            post(orders::clear),
        ),
        host(
            "/cluster/hosts/{host}/online",
            "Lets it run",
            post(orders::online),
        ),
        host(
            "/cluster/hosts/{host}/offline",
            "Drains it, and lets nobody run it",
            post(orders::offline),
        ),
        node(
            "/cluster/nodes/{node}/drain",
            "Moves its hosts away and gives it none",
            post(orders::drain),
        ),
        node(
            "/cluster/nodes/{node}/resume",
            "Ends a drain",
            post(orders::resume),
        ),
        node(
            "/cluster/nodes/{node}/clear",
            "Forgets the sessions that it has lost",
            post(orders::clear_node),
        ),
    ]);
    routes
}

/// The name of a clustered host in a path or query.
#[derive(Debug, Clone)]
struct HostName(Name);

/// The name of a node in a path, query or body.
#[derive(Debug, Clone)]
struct NodeName(Name);

impl FromStr for HostName {
    type Err = TextError;

    fn from_str(text: &str) -> Result<Self, TextError> {
        text.parse().map(Self)
    }
}

impl FromStr for NodeName {
    type Err = TextError;

    fn from_str(text: &str) -> Result<Self, TextError> {
        text.parse().map(Self)
    }
}

impl Written for HostName {
    const FORM: &'static str = "the name of a host, such as queues";
}

impl Written for NodeName {
    const FORM: &'static str = "the name of a node, such as node-a";
}

/// The cluster that the store keeps.
fn cluster(admin: &Admin) -> Answer<&dyn Cluster> {
    admin.gateway.store.cluster().ok_or_else(|| {
        let detail = format!(
            "the store of this process, {}, is for one process: it keeps no cluster",
            admin.gateway.store.dialect()
        );
        Problem::new(StatusCode::CONFLICT, codes::NO_CLUSTER, detail)
    })
}

/// Where each clustered host stands, for those who measure.
pub(super) async fn standings(admin: &Admin) -> Answer<Vec<Standing>> {
    Ok(told::standings(&Facts::ask(admin).await?))
}

async fn list(State(admin): State<Admin>) -> Answer<Json<told::Cluster>> {
    Ok(Json(told::tell(&Facts::ask(&admin).await?)))
}

async fn show_host(
    State(admin): State<Admin>,
    Segment(HostName(name)): Segment<HostName>,
) -> Answer<Json<told::Host>> {
    let facts = Facts::ask(&admin).await?;
    check_host(&facts, &name)?;
    Ok(Json(told::host(&facts, &name)))
}

async fn show_node(
    State(admin): State<Admin>,
    Segment(NodeName(name)): Segment<NodeName>,
) -> Answer<Json<told::Node>> {
    let facts = Facts::ask(&admin).await?;
    check_node(&facts, &name)?;
    Ok(Json(told::node(&facts, &name)))
}

/// Refuses a host of which nobody has heard.
fn check_host(facts: &Facts, name: &Name) -> Answer<()> {
    known("clustered host", name, &facts.hosts())
}

/// Refuses a node of which nobody has heard.
fn check_node(facts: &Facts, name: &Name) -> Answer<()> {
    known("node", name, &facts.nodes())
}

fn known(what: &str, name: &Name, names: &[Name]) -> Answer<()> {
    if names.contains(name) {
        return Ok(());
    }
    let names: Vec<&str> = names.iter().map(Name::as_str).collect();
    let probably = suggestion(name, &names);
    Err(Problem::not_found(format!(
        "there is no {what} `{name}`{probably}"
    )))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct HistoryParams {
    host: Option<Given<HostName>>,
    node: Option<Given<NodeName>>,
    limit: Option<u32>,
}

async fn history(
    State(admin): State<Admin>,
    Params(params): Params<HistoryParams>,
) -> Answer<Json<Value>> {
    let limit = deliveries::limit(params.limit)?;
    let host = params.host.map(|given| given.0.0);
    let node = params.node.map(|given| given.0.0);
    let events = cluster(&admin)?
        .events(host.as_ref(), node.as_ref(), limit)
        .await?;
    if events.is_empty() && (host.is_some() || node.is_some()) {
        // Names of the past are allowed, as long as something is recorded of them.
        let facts = Facts::ask(&admin).await?;
        host.map_or(Ok(()), |host| check_host(&facts, &host))?;
        node.map_or(Ok(()), |node| check_node(&facts, &node))?;
    }
    let events: Vec<Value> = events.iter().map(event).collect();
    Ok(Json(json!({ "events": events })))
}

fn event(row: &EventRow) -> Value {
    let state = |state: &str| (!state.is_empty()).then(|| state.to_owned());
    json!({
        "no": row.no,
        "host": row.group,
        "node": row.node,
        "from": state(&row.from),
        "to": state(&row.to),
        "cause": row.cause,
        "evidence": row.evidence,
        "epoch": row.epoch.map(|epoch| epoch.to_string()),
        "at": row.at,
        "stored_at": row.stored_at,
        "lasted_ms": millis(row.lasted),
    })
}
