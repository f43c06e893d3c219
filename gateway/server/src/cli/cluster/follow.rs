//! Seeing an order through: looks again and again until it is done, refused, or takes too long.

use std::{fmt::Write as _, time::Duration};

use quayside_model::Monotonic;
use serde_json::{Value, json};
use tokio::time::sleep;

use super::{
    super::{
        client::{Client, segment},
        codes,
        messages::rows,
        output::{Output, printable, text_of},
    },
    incomplete, render,
};
use crate::{admin::lasting, exit::Failure, wiring};

/// How often to look.
const POLL: Duration = Duration::from_millis(200);
/// How many of the last changes tell how a move went.
const EVENTS: u32 = 50;

/// How far an order is.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Progress {
    /// On its way, as it stands in these words.
    Going(String),
    Done(String),
    Refused(String),
}

/// The end of a wait.
pub(super) struct Deadline {
    end: Monotonic,
    bound: Duration,
}

impl Deadline {
    /// So long from now.
    pub(super) fn new(bound: Duration) -> Self {
        let end = wiring::clock().monotonic().plus(bound);
        Self { end, bound }
    }

    /// Sleeps until the next look, or says that it takes too long.
    pub(super) async fn wait(&self, so_far: &str) -> Result<(), Failure> {
        if wiring::clock().monotonic() >= self.end {
            let message = format!("after {} {so_far}", lasting(self.bound));
            return Err(Failure::new(codes::NOT_YET, message));
        }
        sleep(POLL).await;
        Ok(())
    }
}

/// The number of the last change of `host`, 0 if there is none.
pub(super) async fn last_event(client: &Client, host: &str) -> Result<u64, Failure> {
    let events = changes(client, host, 1).await?;
    let last = events.first().and_then(|event| event["no"].as_u64());
    Ok(last.unwrap_or_default())
}

async fn changes(client: &Client, host: &str, limit: u32) -> Result<Vec<Value>, Failure> {
    let query = [("host", host.to_owned()), ("limit", limit.to_string())];
    let answer = client.get("/cluster/history", &query).await?;
    Ok(rows(&answer, "events").to_vec())
}

/// What came of it, for programs, and how to say that to whoever named this node.
type Told = (Value, Box<dyn FnOnce(Output, Option<&str>) -> String>);

/// Sees the order of the answer `ordered` through. `before` is the last change before it.
pub(super) async fn host(
    client: &Client,
    ordered: &Value,
    to: Option<&str>,
    before: u64,
    bound: Duration,
) -> Result<Told, Failure> {
    let order = ordered["order"].as_u64();
    let order = order.ok_or_else(|| incomplete("number of the order"))?;
    let name = text_of(&ordered["host"], "host");
    let path = format!("/cluster/hosts/{}", segment(&name));
    let deadline = Deadline::new(bound);
    let mut told = ordered["host"].clone();
    let mut from = text_of(&told, "node");
    let done = loop {
        let progress = of_move(order, to, &from, &told);
        match progress {
            Progress::Done(how) => break how,
            Progress::Refused(why) => {
                let message = format!("{name}: {why}");
                return Err(Failure::new(codes::NOT_MOVED, message));
            }
            Progress::Going(so_far) => deadline.wait(&format!("{name} {so_far}")).await?,
        }
        let gone_on = to.is_some_and(|to| told["node"] != to);
        if !is_answered(order, &told) && told["node"].is_string() && gone_on {
            // Whoever has it when the order is dealt with is who gives it away. Not who has it where it is to be: the
            // answer may become known after that.
            from = text_of(&told, "node");
        }
        told = client.get(&path, &[]).await?;
    };
    let mut events = changes(client, &name, EVENTS).await?;
    events.retain(|event| event["no"].as_u64() > Some(before));
    events.reverse();
    let value = json!({ "order": order, "host": &told, "events": &events });
    let text = move |output: Output, admin: Option<&str>| {
        let mut text = format!("{}: {done}\n", printable(&name));
        if !events.is_empty() {
            text.push('\n');
            text.push_str(&render::events(&events, output));
        }
        text.push_str(&render::advice(&told, admin));
        text
    };
    Ok((value, Box::new(text)))
}

/// Whether the order, or a later one, was dealt with.
pub(super) fn is_answered(order: u64, host: &Value) -> bool {
    host["answered"]["order"].as_u64() >= Some(order)
}

/// How far `order` is to move the host to `to`, which `from` had when it was not dealt with yet.
fn of_move(order: u64, to: Option<&str>, from: &str, host: &Value) -> Progress {
    let (answered, node) = (&host["answered"], host["node"].as_str());
    let works = matches!(host["state"].as_str(), Some("active" | "adapter-down"));
    if answered["order"].as_u64() > Some(order) {
        let later = &answered["order"];
        return Progress::Refused(format!(
            "order {later} has taken the place of order {order}"
        ));
    }
    if let (true, Some(why)) = (is_answered(order, host), answered["refused"].as_str()) {
        return Progress::Refused(format!("order {order} is refused: {why}"));
    }
    match node.filter(|node| works && *node != from) {
        Some(node) if to.is_none_or(|to| to == node) => {
            Progress::Done(format!("it runs on {node}, and ran on {from}"))
        }
        // Before the answer it may still go on to where it is to be.
        Some(node) if is_answered(order, host) => {
            let to = to.unwrap_or_default();
            Progress::Refused(format!("it runs on {node} now, and not on {to}"))
        }
        _ => {
            let state = render::state(host);
            Progress::Going(match node {
                Some(node) => format!("is: {state}, on {node}"),
                None => format!("is: {state}"),
            })
        }
    }
}

/// Sees the drain of the node in the answer `node` through.
pub(super) async fn node(
    client: &Client,
    node: &Value,
    bound: Duration,
) -> Result<(Value, String), Failure> {
    let name = text_of(node, "node");
    let had: Vec<String> = rows(node, "runs")
        .iter()
        .filter_map(|host| host.as_str().map(str::to_owned))
        .collect();
    let deadline = Deadline::new(bound);
    loop {
        let all = client.get("/cluster", &[]).await?;
        match of_drain(&name, &had, &all) {
            Progress::Done(how) => {
                let mut nodes = rows(&all, "nodes").iter();
                let node = nodes.find(|row| row["node"] == name.as_str());
                return Ok((node.cloned().unwrap_or_default(), how));
            }
            Progress::Refused(why) => return Err(Failure::new(codes::NOT_MOVED, why)),
            Progress::Going(so_far) => deadline.wait(&so_far).await?,
        }
    }
}

/// How far the drain of `node` is, which ran the hosts `had` when it began.
fn of_drain(node: &str, had: &[String], all: &Value) -> Progress {
    let hosts = rows(all, "hosts");
    let mut left = hosts.iter().filter(|host| host["node"] == node).peekable();
    if let Some(host) = left.clone().find(|host| host["agent"] == false) {
        let name = text_of(host, "host");
        return Progress::Refused(format!(
            "{name} runs on {node} without a cluster agent: stop its process"
        ));
    }
    let drained = rows(all, "nodes").iter().find(|row| row["node"] == node);
    if drained.is_some_and(|row| row["drained"] == false) {
        return Progress::Refused(format!("{node} was resumed meanwhile"));
    }
    if left.peek().is_some() {
        let left: Vec<String> = left.map(stays).collect();
        return Progress::Going(format!("{node} still runs {}", left.join(", ")));
    }
    let gone = hosts
        .iter()
        .filter(|host| had.contains(&text_of(host, "host")));
    if let Some(host) = gone.clone().find(|host| is_on_its_way(host)) {
        let (name, state) = (text_of(host, "host"), render::state(host));
        return Progress::Going(format!("{node} runs none, and {name} is: {state}"));
    }
    let mut text = format!("{}: drained\n", printable(node));
    for host in gone {
        let (name, state) = (text_of(host, "host"), render::state(host));
        let on = host["node"].as_str();
        let on = on.map_or_else(String::new, |node| format!(" on {node}"));
        writeln!(text, "  {}: {}{}", printable(&name), state, printable(&on))
            .expect("writing to a string cannot fail");
    }
    Progress::Done(text)
}

/// Whether the state of a host ends by itself in a moment.
fn is_on_its_way(host: &Value) -> bool {
    let states = ["being-taken-over", "starting", "restarting", "owner-silent"];
    states.iter().any(|state| host["state"] == *state)
}

/// A host that has not left yet, and why no other node takes it.
fn stays(host: &Value) -> String {
    let name = text_of(host, "host");
    if host["next"].is_string() {
        return format!("{name} ({})", render::state(host));
    }
    let excluded = rows(host, "excluded").iter();
    let reasons: Vec<String> = excluded
        .filter(|row| row["node"] != host["node"])
        .map(|row| format!("{}: {}", text_of(row, "node"), text_of(row, "why")))
        .collect();
    format!("{name} (no node can take it: {})", reasons.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(state: &str, node: Option<&str>, answered: &Value) -> Value {
        json!({ "host": "queues", "state": state, "node": node, "answered": answered })
    }

    #[test]
    fn a_move_is_done_when_it_works_where_it_is_to_be() {
        let (no, yes) = (json!(null), json!({ "order": 7, "refused": null }));
        let older = json!({ "order": 6, "refused": "it runs there already" });
        let refused = json!({ "order": 7, "refused": "not on node-b: the node is drained" });
        let later = json!({ "order": 8, "refused": null });
        let going = |text: &str| Progress::Going(text.to_owned());
        let not = |text: &str| Progress::Refused(text.to_owned());
        let done = Progress::Done("it runs on node-b, and ran on node-a".to_owned());
        let (a, b, c) = (Some("node-a"), Some("node-b"), Some("node-c"));
        for (host, to, expected) in [
            (host("active", a, &no), b, going("is: active, on node-a")),
            (host("active", a, &older), b, going("is: active, on node-a")),
            (host("moving", a, &yes), b, going("is: moving, on node-a")),
            (
                host("being-taken-over", None, &yes),
                b,
                going("is: being taken over"),
            ),
            (
                host("starting", b, &yes),
                b,
                going("is: starting, on node-b"),
            ),
            (host("active", b, &yes), b, done.clone()),
            (host("active", b, &yes), None, done.clone()),
            (host("adapter-down", b, &yes), b, done.clone()),
            // Its owner died before it had followed.
            (host("active", b, &no), b, done),
            (host("active", c, &no), b, going("is: active, on node-c")),
            (
                host("active", c, &yes),
                b,
                not("it runs on node-c now, and not on node-b"),
            ),
            (
                host("active", a, &refused),
                b,
                not("order 7 is refused: not on node-b: the node is drained"),
            ),
            (
                host("active", b, &later),
                b,
                not("order 8 has taken the place of order 7"),
            ),
        ] {
            assert_eq!(
                of_move(7, to, "node-a", &host),
                expected,
                "{host} to {to:?}"
            );
        }
    }

    #[test]
    fn a_node_is_drained_when_it_has_nothing_left() {
        let excluded = json!([
            { "node": "node-a", "why": "the node is drained" },
            { "node": "node-b", "why": "no warm process" },
        ]);
        let at = |node: &str, next: Option<&str>| {
            json!({
                "hosts": [
                    { "host": "queues", "state": "active", "node": node, "agent": true, "next": next,
                      "excluded": excluded },
                    { "host": "edge", "state": "active", "node": "node-c", "agent": false },
                ],
                "nodes": [{ "node": "node-a", "drained": true }],
            })
        };
        let had = ["queues".to_owned()];
        let drain = |all: &Value| of_drain("node-a", &had, all);
        assert_eq!(
            drain(&at("node-a", Some("node-b"))),
            Progress::Going("node-a still runs queues (active)".to_owned())
        );
        let stuck = "node-a still runs queues (no node can take it: node-b: no warm process)";
        assert_eq!(
            drain(&at("node-a", None)),
            Progress::Going(stuck.to_owned())
        );
        let mut taken = at("node-b", None);
        taken["hosts"][0]["state"] = json!("starting");
        let soon = "node-a runs none, and queues is: starting";
        assert_eq!(drain(&taken), Progress::Going(soon.to_owned()));
        let done = "node-a: drained\n  queues: active on node-b\n";
        assert_eq!(drain(&at("node-b", None)), Progress::Done(done.to_owned()));
        let mut plain = at("node-a", None);
        plain["hosts"][0]["agent"] = json!(false);
        assert!(
            matches!(drain(&plain), Progress::Refused(why) if why.contains("without a cluster agent"))
        );
        let mut resumed = at("node-a", None);
        resumed["nodes"][0]["drained"] = json!(false);
        assert!(matches!(drain(&resumed), Progress::Refused(why) if why.contains("resumed")));
    }
}
