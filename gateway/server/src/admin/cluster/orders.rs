//! What operators want of clustered hosts and nodes. It is in the store when the call returns; the agents follow.

use axum::{Json, extract::State, http::StatusCode};
use quayside_model::{Name, Text, Timestamp};
use quayside_store::cluster::{ControlChange, Said};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{HostName, NodeName, check_host, check_node, cluster, facts::Facts, known, told};
use crate::{
    admin::{
        Admin,
        extract::{Body, Given, Operator, Segment},
        problem::{Answer, Problem},
    },
    cli::codes,
};

/// A body that only gives the reason.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Word {
    reason: Option<Text>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct MoveWord {
    to: Option<Given<NodeName>>,
    at: Option<Given<Timestamp>>,
    reason: Option<Text>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PinWord {
    node: Given<NodeName>,
    #[serde(default)]
    reason: Option<Text>,
}

type OfHost<T> = (State<Admin>, Segment<HostName>, Operator, Body<T>);
type OfNode = (State<Admin>, Segment<NodeName>, Operator, Body<Word>);
type HostAnswer = Answer<Json<told::Host>>;
type NodeAnswer = Answer<Json<told::Node>>;

/// Who says something through this node, and why.
pub(super) fn said(admin: &Admin, operator: &Operator, reason: Option<&Text>) -> Said {
    Said {
        node: admin.gateway.node.clone(),
        note: operator.note(reason.map(Text::as_str)),
    }
}

/// Writes what an operator wants of the host `name`, and shows the host after that.
async fn control(
    admin: &Admin,
    name: &Name,
    change: ControlChange,
    operator: &Operator,
    reason: Option<&Text>,
) -> HostAnswer {
    check_host(&Facts::ask(admin).await?, name)?;
    let said = said(admin, operator, reason);
    let written = cluster(admin)?.set_control(name, &change, &said).await;
    written.map_err(Problem::undecided)?;
    tracing::info!(host = %name, ?change, note = %said.note, "clustered host changed by an operator");
    Ok(Json(told::host(&Facts::ask(admin).await?, name)))
}

/// The same with a body that only gives the reason.
async fn plain(given: OfHost<Word>, change: ControlChange) -> HostAnswer {
    let (State(admin), Segment(HostName(name)), operator, Body(word)) = given;
    cluster(&admin)?;
    control(&admin, &name, change, &operator, word.reason.as_ref()).await
}

pub(super) async fn pause(given: OfHost<Word>) -> HostAnswer {
    plain(given, ControlChange::Paused(true)).await
}

pub(super) async fn unpause(given: OfHost<Word>) -> HostAnswer {
    plain(given, ControlChange::Paused(false)).await
}

pub(super) async fn unpin(given: OfHost<Word>) -> HostAnswer {
    plain(given, ControlChange::Pin(None)).await
}

pub(super) async fn clear(given: OfHost<Word>) -> HostAnswer {
    plain(given, ControlChange::Clear).await
}

pub(super) async fn online(given: OfHost<Word>) -> HostAnswer {
    plain(given, ControlChange::Online(true)).await
}

pub(super) async fn offline(given: OfHost<Word>) -> HostAnswer {
    plain(given, ControlChange::Online(false)).await
}

pub(super) async fn pin(
    (State(admin), Segment(HostName(name)), operator, Body(word)): OfHost<PinWord>,
) -> HostAnswer {
    cluster(&admin)?;
    let node = word.node.0.0;
    check_member(&Facts::ask(&admin).await?, &name, &node)?;
    let change = ControlChange::Pin(Some(node));
    control(&admin, &name, change, &operator, word.reason.as_ref()).await
}

pub(super) async fn move_host(
    (State(admin), Segment(HostName(name)), operator, Body(word)): OfHost<MoveWord>,
) -> Answer<Json<Value>> {
    let cluster = cluster(&admin)?;
    let facts = Facts::ask(&admin).await?;
    let (to, at) = (word.to.map(|to| to.0.0), word.at.map(|at| at.0));
    match &to {
        Some(node) => check_member(&facts, &name, node)?,
        None => check_host(&facts, &name)?,
    }
    if at.is_none_or(|at| at <= facts.now) {
        check_movable(&facts, &name)?;
    }
    let said = said(&admin, &operator, word.reason.as_ref());
    let order = ControlChange::Move { to, at };
    let number = cluster.set_control(&name, &order, &said).await;
    let number = number.map_err(Problem::undecided)?;
    tracing::info!(host = %name, ?order, number, note = %said.note, "clustered host ordered to move by an operator");
    let host = told::host(&Facts::ask(&admin).await?, &name);
    Ok(Json(json!({ "order": number, "host": host })))
}

/// Refuses a node that the host does not run on, as far as the configuration of this node knows.
pub(super) fn check_member(facts: &Facts, host: &Name, node: &Name) -> Answer<()> {
    check_host(facts, host)?;
    match facts.policies.get(host) {
        Some(policy) => known(&format!("member of `{host}`"), node, &policy.possible),
        None => check_node(facts, node),
    }
}

/// Refuses an order that nobody would follow now, and that would be followed by surprise later.
fn check_movable(facts: &Facts, name: &Name) -> Answer<()> {
    let seen = facts.seen(name);
    let agent = |node: &Name| seen.standbys.iter().any(|report| report.node == *node);
    let detail = match seen.live_owner() {
        Some(owner) if agent(&owner.node) => return Ok(()),
        Some(owner) => format!("`{name}` runs on {} without a cluster agent", owner.node),
        None => format!("nobody runs `{name}`"),
    };
    Err(Problem::new(
        StatusCode::CONFLICT,
        codes::NOTHING_TO_MOVE,
        detail,
    ))
}

/// What an operator wants of a node.
#[derive(Debug, Clone, Copy)]
enum NodeChange {
    Drained(bool),
    Clear,
}

/// Writes what an operator wants of a node, and shows the node after that.
async fn of_node(given: OfNode, change: NodeChange) -> NodeAnswer {
    let (State(admin), Segment(NodeName(name)), operator, Body(word)) = given;
    let cluster = cluster(&admin)?;
    check_node(&Facts::ask(&admin).await?, &name)?;
    let note = operator.note(word.reason.as_deref());
    match change {
        NodeChange::Drained(drained) => cluster.drain_node(&name, drained, &note).await,
        NodeChange::Clear => cluster.clear_node(&name, &note).await,
    }
    .map_err(Problem::undecided)?;
    tracing::info!(node = %name, ?change, note = %note, "node changed by an operator");
    Ok(Json(told::node(&Facts::ask(&admin).await?, &name)))
}

pub(super) async fn drain(given: OfNode) -> NodeAnswer {
    of_node(given, NodeChange::Drained(true)).await
}

pub(super) async fn resume(given: OfNode) -> NodeAnswer {
    of_node(given, NodeChange::Drained(false)).await
}

pub(super) async fn clear_node(given: OfNode) -> NodeAnswer {
    of_node(given, NodeChange::Clear).await
}
