//! The whole way of a message, told delivery by delivery: what the store recorded of it, and what the
//! ports of this node say about the part that is still to come.

use std::collections::BTreeMap;

use quayside_engine::{PortView, RESUBMITTED_FROM};
use quayside_model::{
    DeliveryId, DeliveryState, MessageId, Name, PortStatus, Text, Timestamp, Transport,
};
use quayside_store::{
    browse::{DeliveryRow, FAILURE_PUBLISHED, HistoryRow, MessageState, MessageWay},
    sessions::InstanceRow,
};
use serde::Serialize;

use super::words::{self, second};
use crate::remedies::remedy;

/// What is known around a message at the moment of the question.
pub(super) struct Around<'a> {
    /// The ports as this node sees them; empty while its engine does not run.
    pub(super) ports: &'a [PortView],
    /// The processes that work on the store.
    pub(super) instances: &'a [InstanceRow],
    /// The moment.
    pub(super) now: Timestamp,
}

/// The way as callers get it.
#[derive(Debug, Serialize)]
pub(super) struct Told {
    #[serde(flatten)]
    way: MessageWay,
    /// What it has come to.
    state: MessageState,
    /// The message that this one repeats.
    resubmitted_from: Option<Text>,
    /// The messages that repeat this one.
    resubmitted_as: Vec<String>,
    /// Every delivery, ended or not, in the order of their numbers.
    legs: Vec<Leg>,
}

/// One delivery.
#[derive(Debug, Serialize)]
struct Leg {
    id: DeliveryId,
    no: u16,
    port: Option<Name>,
    /// Where it stands, or how it ended.
    state: Text,
    transport: Option<Transport>,
    /// How many attempts were made; of one under way, by the present transport.
    attempts: u32,
    ended_at: Option<Timestamp>,
    /// When the next attempt may begin, of one that waits for it.
    next_attempt_at: Option<Timestamp>,
    /// Whether it may have been sent by an owner that died.
    in_doubt: bool,
    /// The last attempt that failed.
    failure: Option<LegFailure>,
    /// What keeps it from going on, one reason each.
    waits: Vec<String>,
    /// What its end said.
    detail: Text,
}

#[derive(Debug, Clone, Serialize)]
struct LegFailure {
    /// When; unknown of one that was suspended as it came in.
    at: Option<Timestamp>,
    code: Text,
    detail: Text,
}

/// Tells the whole way.
pub(super) fn tell(way: MessageWay, around: &Around<'_>) -> Told {
    let resubmitted_from = way.context.value(RESUBMITTED_FROM);
    let resubmitted_as = way.history.iter().filter_map(resubmitted_as);
    Told {
        state: way.row.state(),
        resubmitted_from: resubmitted_from.map(|id| Text::lossy(&id.to_string())),
        resubmitted_as: resubmitted_as.collect(),
        legs: legs(&way, around),
        way,
    }
}

/// The id at the head of the detail.
fn resubmitted_as(event: &HistoryRow) -> Option<String> {
    let id = event.detail.split(' ').next()?;
    (event.event.as_str() == "resubmitted").then(|| id.to_owned())
}

fn legs(way: &MessageWay, around: &Around<'_>) -> Vec<Leg> {
    let mut legs: BTreeMap<u16, Leg> = BTreeMap::new();
    for event in &way.history {
        if let Some(no) = event.no {
            let leg = legs.entry(no).or_insert_with(|| empty(way.row.id, no));
            leg.port = event.port.clone().or(leg.port.take());
            note(leg, event);
        }
    }
    for row in &way.live_deliveries {
        let no = row.id.no;
        let leg = legs.entry(no).or_insert_with(|| empty(way.row.id, no));
        stand(leg, row, around);
    }
    legs.into_values().collect()
}

fn empty(message: MessageId, no: u16) -> Leg {
    Leg {
        id: DeliveryId { message, no },
        no,
        port: None,
        state: Text::lossy("unknown"),
        transport: None,
        attempts: 0,
        ended_at: None,
        next_attempt_at: None,
        in_doubt: false,
        failure: None,
        waits: Vec::new(),
        detail: Text::lossy(""),
    }
}

/// What an event says of a delivery.
fn note(leg: &mut Leg, event: &HistoryRow) {
    match event.event.as_str() {
        "sent" | "sent-by-backup" | "consumed" | "terminated" => {
            leg.state = ended(event);
            leg.attempts = event.attempts;
            leg.ended_at = Some(event.at);
            leg.detail = event.detail.clone();
        }
        "attempt-failed" | "failed-over" | "suspended" => {
            let (code, detail) = event.detail.split_once(": ").unwrap_or(("", &event.detail));
            leg.failure = Some(LegFailure {
                at: Some(event.at),
                code: Text::lossy(code),
                detail: Text::lossy(detail),
            });
        }
        _ => {}
    }
}

/// How a delivery ended. That it was consumed because its failure was published is the machine's word: to
/// people it has failed.
fn ended(event: &HistoryRow) -> Text {
    match event.event.as_str() {
        "consumed" if event.detail.contains(FAILURE_PUBLISHED) => Text::lossy("failed"),
        _ => event.event.clone(),
    }
}

/// Where a delivery stands that has not ended.
fn stand(leg: &mut Leg, row: &DeliveryRow, around: &Around<'_>) {
    leg.port = Some(row.port.clone());
    leg.state = Text::lossy(match row.state {
        DeliveryState::Ready if row.due > around.now && row.failure.is_some() => "retrying",
        DeliveryState::Ready => "ready",
        DeliveryState::Claimed => "claimed",
        DeliveryState::Held => "held",
        DeliveryState::Suspended => "suspended",
        DeliveryState::Taken => "taken",
    });
    leg.transport = Some(row.transport);
    leg.attempts = row.attempts;
    leg.in_doubt = row.in_doubt;
    if row.state == DeliveryState::Ready && row.due > around.now {
        leg.next_attempt_at = Some(row.due);
    }
    if let Some(failure) = &row.failure {
        // The row knows the last one, the events know when they were; of a long row some are left out.
        let at = leg
            .failure
            .as_ref()
            .filter(|told| told.code == failure.code);
        leg.failure = Some(LegFailure {
            at: at.and_then(|told| told.at),
            code: failure.code.clone(),
            detail: failure.detail.clone(),
        });
    }
    leg.waits = waits(row, around);
    if row.state != DeliveryState::Claimed
        && let Some(failure) = &row.failure
        && let Some(remedy) = remedy(&failure.code)
    {
        leg.waits.push(format!("{}: {remedy}", failure.code));
    }
}

/// What keeps a delivery from going on, one reason each.
fn waits(row: &DeliveryRow, around: &Around<'_>) -> Vec<String> {
    match row.state {
        DeliveryState::Suspended if row.failure.as_ref().is_some_and(|why| !why.resumable) => {
            vec![format!(
                "it cannot be resumed; an operator has to decide: `quayside messages terminate {id}` or \
                 `resubmit {message}`",
                id = row.id,
                message = row.id.message,
            )]
        }
        DeliveryState::Suspended => vec![format!(
            "an operator has to decide: `quayside messages resume {id}` or `terminate {id}`",
            id = row.id
        )],
        DeliveryState::Claimed => vec![in_hand(row, around)],
        DeliveryState::Taken => {
            vec!["an orchestration instance has it (`quayside orchestrations list`)".to_owned()]
        }
        DeliveryState::Ready | DeliveryState::Held => {
            let mut reasons = Vec::new();
            if let Some(head) = row.behind {
                reasons.push(format!(
                    "it waits behind message {} (delivery {head}) of the same order key",
                    head.message
                ));
            }
            if row.due > around.now && row.state == DeliveryState::Ready {
                reasons.push(format!("the next attempt is at {}", second(row.due)));
            }
            reasons.extend(port_waits(&row.port, around));
            reasons
        }
    }
}

fn in_hand(row: &DeliveryRow, around: &Around<'_>) -> String {
    let Some(id) = row.instance else {
        return "it is being sent".to_owned();
    };
    match around.instances.iter().find(|i| i.instance == id) {
        Some(instance) if instance.live => {
            format!("node {} is sending it (instance {id})", instance.node)
        }
        _ => format!("its owner {id} has died; another one takes it over in a moment"),
    }
}

/// What keeps a port from sending, in words.
fn port_waits(name: &Name, around: &Around<'_>) -> Vec<String> {
    let Some(port) = around.ports.iter().find(|port| port.name == *name) else {
        return Vec::new();
    };
    if port.kind == "removed" {
        return vec![format!("the configuration has no port `{name}` any more")];
    }
    let because = port
        .reason
        .as_ref()
        .map_or_else(String::new, |reason| format!(" ({reason})"));
    let mut reasons = Vec::new();
    match port.status {
        PortStatus::Started => {}
        PortStatus::Stopped => reasons.push(format!("the port is stopped{because}")),
        PortStatus::Unenlisted => reasons.push(format!("the port is unenlisted{because}")),
    }
    if let Some(until) = port.paused_until.filter(|until| *until > around.now) {
        reasons.push(format!(
            "the port is paused until {}{because}",
            second(until)
        ));
    }
    if let Some(opens_at) = port.opens_at {
        reasons.push(format!(
            "the service window of the port opens at {}",
            second(opens_at)
        ));
    }
    if reasons.is_empty() && port.resting {
        let because = port.reason.as_ref().map(ToString::to_string);
        reasons.push(format!("the port {}", because.unwrap_or_default()));
    }
    if port.standby {
        reasons.push(format!(
            "this process stands by: the host `{}`, which is clustered, runs in another one",
            port.host
        ));
    }
    if let Some(trouble) = port.trouble.as_ref().filter(|_| port.running) {
        let what = words::trouble(trouble.kind);
        reasons.push(format!(
            "the port is {what} since {}: {} {}",
            second(trouble.since),
            trouble.code,
            trouble.detail
        ));
    }
    if reasons.is_empty() && !port.running {
        reasons.push(format!(
            "this process does not send for the port; its host is `{}`",
            port.host
        ));
    }
    if let Some(backlog) = port.backlog.as_ref().filter(|backlog| backlog.ready > 1) {
        reasons.push(format!(
            "{} deliveries of the port are ready, {} are in hand",
            backlog.ready, backlog.claimed
        ));
    }
    reasons
}
