//! The whole way of a message in words, for `quayside messages show`.

use std::fmt::Write as _;

use serde_json::Value;

use super::{
    codes,
    messages::rows,
    output::{Output, Table, moment, printable, size, text_of},
};
use crate::exit::{Exit, Failure};

/// The parts one below the other: facts, properties, deliveries, what keeps them, events.
pub(super) fn in_words(way: &Value, output: Output) -> String {
    let legs = rows(way, "legs");
    let mut parts = vec![output.render(&facts(way))];
    let properties = properties(way);
    if !properties.is_empty() {
        parts.push(output.render(&properties));
    }
    if !legs.is_empty() {
        parts.push(output.render(&deliveries(legs)));
    }
    let waits = waits(legs);
    if !waits.is_empty() {
        parts.push(waits);
    }
    parts.push(output.render(&events(way)));
    parts.join("\n")
}

/// Leaves of the way what concerns the delivery `no` and the message as a whole.
pub(super) fn focus(way: &mut Value, no: u16) -> Result<(), Failure> {
    let known: Vec<String> = rows(way, "legs")
        .iter()
        .map(|leg| text_of(leg, "no"))
        .collect();
    if !known.contains(&no.to_string()) {
        let message = match known.as_slice() {
            [] => "the message has no delivery".to_owned(),
            known => format!(
                "the message has no delivery {no}, only {}",
                known.join(", ")
            ),
        };
        return Err(Failure::new(codes::NOT_FOUND, message)
            .exiting(Exit::NotFound)
            .with_help("`quayside messages show ID` tells the deliveries of the message."));
    }
    let end = format!(".{no}");
    let mut keep = |key: &str, wanted: &dyn Fn(&Value) -> bool| {
        if let Some(rows) = way[key].as_array_mut() {
            rows.retain(wanted);
        }
    };
    keep("legs", &|leg| leg["no"] == no);
    keep("live_deliveries", &|row| text_of(row, "id").ends_with(&end));
    keep("history", &|row| row["no"].is_null() || row["no"] == no);
    Ok(())
}

fn facts(way: &Value) -> Table {
    let mut facts = Table::new(&["message", ""]);
    let mut fact = |name: &str, value: String| {
        if !value.is_empty() {
            facts.row(vec![name.to_owned(), value]);
        }
    };
    fact("id", text_of(way, "id"));
    fact("state", text_of(way, "state"));
    fact("received", moment(way, "received_at"));
    fact("from", text_of(way, "origin"));
    fact("type", text_of(way, "message_type"));
    fact("content", text_of(way, "content_type"));
    fact("size", size(way["body_len"].as_u64().unwrap_or_default()));
    fact(
        "routed",
        format!(
            "to {} by configuration {}",
            subscribers(way),
            text_of(way, "config_version")
        ),
    );
    fact("repeats", text_of(way, "resubmitted_from"));
    let copies = rows(way, "resubmitted_as").iter().filter_map(Value::as_str);
    for copy in copies {
        fact("repeated as", copy.to_owned());
    }
    facts
}

fn subscribers(way: &Value) -> String {
    match way["deliveries"].as_u64() {
        Some(1) => "1 subscriber".to_owned(),
        count => format!("{} subscribers", count.unwrap_or_default()),
    }
}

fn properties(way: &Value) -> Table {
    let mut table = Table::new(&["property", "promoted", "value"]);
    for (name, property) in way["context"].as_object().into_iter().flatten() {
        // A value is `{"text": "…"}`: its type and itself.
        let value = property["v"].as_object().and_then(|v| v.values().next());
        let value = match value {
            Some(Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
            None => String::new(),
        };
        let promoted = if property["p"].as_bool().unwrap_or(false) {
            "yes"
        } else {
            ""
        };
        table.row(vec![name.clone(), promoted.to_owned(), value]);
    }
    table
}

/// One line each: where it stands, since or until when, and what its end or its last failure said.
fn deliveries(legs: &[Value]) -> Table {
    let mut table = Table::new(&["no", "port", "state", "attempts", "ended", "what"]);
    for leg in legs {
        let mut state = text_of(leg, "state");
        if leg["transport"] == "backup" {
            state.push_str(" by backup");
        }
        if leg["in_doubt"] == true {
            state.push_str(", in doubt");
        }
        let ended = moment(leg, "ended_at");
        let what = match leg["failure"].as_object() {
            Some(_) if ended.is_empty() => failure(&leg["failure"]),
            _ => text_of(leg, "detail"),
        };
        table.row(vec![
            text_of(leg, "no"),
            text_of(leg, "port"),
            state,
            text_of(leg, "attempts"),
            ended,
            what,
        ]);
    }
    table
}

/// `CODE detail, at TIME`.
pub(super) fn failure(failure: &Value) -> String {
    let at = match moment(failure, "at") {
        at if at.is_empty() => at,
        at => format!(", at {at}"),
    };
    format!(
        "{} {}{at}",
        text_of(failure, "code"),
        text_of(failure, "detail")
    )
}

/// What keeps deliveries from going on. A sentence each, which no column could hold.
fn waits(legs: &[Value]) -> String {
    let mut text = String::new();
    for leg in legs {
        for reason in rows(leg, "waits").iter().filter_map(Value::as_str) {
            let (no, port) = (text_of(leg, "no"), text_of(leg, "port"));
            writeln!(text, "{no} {port}: {}", printable(reason))
                .expect("writing to a string cannot fail");
        }
    }
    text
}

fn events(way: &Value) -> Table {
    let mut table = Table::new(&["time", "event", "no", "port", "attempts", "detail"]);
    let blank = String::new;
    let received = format!(
        "{} at {}",
        size(way["body_len"].as_u64().unwrap_or_default()),
        text_of(way, "origin")
    );
    table.row(vec![
        moment(way, "received_at"),
        "received".to_owned(),
        blank(),
        blank(),
        blank(),
        received,
    ]);
    for row in rows(way, "history") {
        let attempts = match row["attempts"].as_u64() {
            None | Some(0) => blank(),
            Some(attempts) => attempts.to_string(),
        };
        table.row(vec![
            moment(row, "at"),
            text_of(row, "event"),
            text_of(row, "no"),
            text_of(row, "port"),
            attempts,
            text_of(row, "detail"),
        ]);
    }
    table
}
