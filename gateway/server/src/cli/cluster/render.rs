//! The cluster in words: a table, and below it what there is to know of everything that is not simply active.

use std::{fmt::Write as _, time::Duration};

use serde_json::Value;

use super::super::{
    messages::rows,
    output::{Output, Table, moment, printable, text_of},
};
use crate::admin::lasting;

/// No line of a sentence is longer than this.
const WIDTH: usize = 100;
const INDENT: &str = "  ";

/// The whole status. `admin` is what further commands have to name, if anything.
pub(super) fn status(answer: &Value, output: Output, admin: Option<&str>) -> String {
    let (hosts, nodes) = (rows(answer, "hosts"), rows(answer, "nodes"));
    let mut text = output.render_or(&table(hosts), "No clustered hosts.");
    if hosts.is_empty() {
        return text;
    }
    for told in hosts.iter().chain(nodes) {
        text.push_str(&advice(told, admin));
    }
    text
}

/// One host after a change.
pub(super) fn host(host: &Value, output: Output, admin: Option<&str>) -> String {
    let mut text = output.render(&table(std::slice::from_ref(host)));
    text.push_str(&advice(host, admin));
    text
}

/// One node after a change.
pub(super) fn node(node: &Value, admin: Option<&str>) -> String {
    let runs: Vec<&str> = rows(node, "runs")
        .iter()
        .filter_map(Value::as_str)
        .collect();
    let runs = match runs.as_slice() {
        [] => "no clustered host".to_owned(),
        runs => runs.join(", "),
    };
    let drained = match node["drained"] == true {
        true => ", drained",
        false => "",
    };
    let name = printable(&text_of(node, "node"));
    format!("{name}: runs {runs}{drained}\n{}", advice(node, admin))
}

/// An order that was given.
pub(super) fn ordered(ordered: &Value, admin: Option<&str>) -> String {
    let (order, host) = (&ordered["order"], &ordered["host"]);
    let name = printable(&text_of(host, "host"));
    format!("{name}: order {order} is given\n{}", advice(host, admin))
}

fn table(hosts: &[Value]) -> Table {
    let mut table = Table::new(&["host", "state", "node", "epoch", "since", "why"]);
    for host in hosts {
        table.row(vec![
            text_of(host, "host"),
            state(host),
            text_of(host, "node"),
            text_of(host, "epoch"),
            ago(&host["since"]),
            text_of(host, "why"),
        ]);
    }
    table
}

/// `active, this process, paused`.
pub(super) fn state(host: &Value) -> String {
    let mut state = text_of(host, "state").replace('-', " ");
    let flags = [
        (host["here"] == true, "this process"),
        (
            host["paused"] == true && host["state"] != "paused-and-down",
            "paused",
        ),
        (host["pinned"].is_string(), "pinned"),
        (host["order"].is_object(), "to be moved"),
    ];
    for (_, flag) in flags.iter().filter(|(is, _)| *is) {
        write!(state, ", {flag}").expect("writing to a string cannot fail");
    }
    state
}

fn ago(since: &Value) -> String {
    let ago = since["ago_ms"].as_u64().map(Duration::from_millis);
    ago.map_or_else(String::new, lasting)
}

/// What there is to know, each thing below an empty line.
pub(super) fn advice(told: &Value, admin: Option<&str>) -> String {
    let mut text = String::new();
    for advice in rows(told, "advice") {
        writeln!(text, "\n{}", printable(&text_of(advice, "title")))
            .expect("writing to a string cannot fail");
        wrap(&mut text, "", &printable(&text_of(advice, "means")));
        wrap(&mut text, "Next: ", &printable(&text_of(advice, "then")));
        commands(&mut text, rows(advice, "commands"), admin);
    }
    text
}

/// Below each other, what each is for behind it.
fn commands(text: &mut String, commands: &[Value], admin: Option<&str>) {
    let admin = admin.map_or_else(String::new, |admin| format!(" --admin {admin}"));
    let lines: Vec<(String, String)> = commands
        .iter()
        .map(|row| (text_of(row, "command") + &admin, text_of(row, "for")))
        .collect();
    let longest = lines.iter().map(|(command, _)| command.chars().count());
    let width = longest.max().unwrap_or_default();
    for (no, (command, what_for)) in lines.iter().enumerate() {
        let label = if no == 0 { "Type: " } else { "      " };
        let line = format!("{INDENT}{label}{command:width$}  {what_for}");
        writeln!(text, "{}", printable(&line)).expect("writing to a string cannot fail");
    }
}

/// `sentence` behind `label`, in lines that are not too long and begin below each other.
fn wrap(text: &mut String, label: &str, sentence: &str) {
    let hanging = " ".repeat(label.len());
    let mut line = format!("{INDENT}{label}");
    let mut empty = true;
    for word in sentence.split_whitespace() {
        if !empty && line.chars().count() + 1 + word.chars().count() > WIDTH {
            text.push_str(&line);
            text.push('\n');
            line = format!("{INDENT}{hanging}");
            empty = true;
        }
        if !empty {
            line.push(' ');
        }
        line.push_str(word);
        empty = false;
    }
    text.push_str(&line);
    text.push('\n');
}

/// Changes, in the order in which they are given.
pub(super) fn events(events: &[Value], output: Output) -> String {
    let mut table = Table::new(&["at", "host", "node", "change", "epoch", "lasted", "why"]);
    for event in events {
        let lasted = event["lasted_ms"].as_u64().map(Duration::from_millis);
        let evidence: Vec<&str> = rows(event, "evidence")
            .iter()
            .filter_map(Value::as_str)
            .collect();
        let (mut change, mut why) = (text_of(event, "cause"), evidence.join(", "));
        // What an operator said has no states: the word is the change.
        if event["to"].is_string() {
            why = match why.as_str() {
                "" => change,
                _ => format!("{change}: {why}"),
            };
            change = format!("{} → {}", text_of(event, "from"), text_of(event, "to"));
        }
        table.row(vec![
            moment(event, "at"),
            text_of(event, "host"),
            text_of(event, "node"),
            change,
            text_of(event, "epoch"),
            lasted
                .filter(|_| event["to"].is_string())
                .map_or_else(String::new, lasting),
            why,
        ]);
    }
    output.render_or(&table, "Nothing is recorded.")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cli::Format;

    const PLAIN: Output = Output {
        format: Format::Table,
        color: false,
    };

    #[test]
    fn long_sentences_hang_below_their_label() {
        let mut text = String::new();
        wrap(&mut text, "Next: ", &"word ".repeat(40));
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 3, "{text}");
        assert!(lines.iter().all(|line| line.len() <= WIDTH), "{text}");
        assert!(lines[0].starts_with("  Next: word"), "{text}");
        assert!(lines[1].starts_with("        word"), "{text}");
    }

    #[test]
    fn commands_name_the_node_that_was_named() {
        let told = json!({ "advice": [{
            "title": "t", "means": "m", "then": "n",
            "commands": [
                { "command": "quayside a", "for": "x" },
                { "command": "quayside long", "for": "y" },
            ],
        }] });
        let wanted = "\nt\n  m\n  Next: n\n  \
                      Type: quayside a --admin http://h     x\n        \
                      quayside long --admin http://h  y\n";
        assert_eq!(advice(&told, Some("http://h")), wanted);
    }

    #[test]
    fn what_is_recorded_is_a_table_with_reasons() {
        let event = json!({
            "at": "2026-11-21T02:11:00.5Z", "host": "queues", "node": "node-b", "from": "standby",
            "to": "taking", "cause": "owner dead", "evidence": ["free for 3 ms", "owner was node-a"],
            "epoch": null, "lasted_ms": 61_000,
        });
        let word = json!({
            "at": "2026-11-21T02:10:00Z", "host": "queues", "node": "node-a", "from": null, "to": null,
            "cause": "paused", "evidence": ["by tester: new disk"], "epoch": null, "lasted_ms": 0,
        });
        let text = events(&[event, word], PLAIN);
        let wanted = "AT                    HOST    NODE    CHANGE            EPOCH  LASTED     WHY\n\
                      2026-11-21 02:11:00Z  queues  node-b  standby → taking         1 min 1 s  \
                      owner dead: free for 3 ms, owner was node-a\n\
                      2026-11-21 02:10:00Z  queues  node-a  paused                              \
                      by tester: new disk\n";
        assert_eq!(text, wanted);
        assert_eq!(events(&[], PLAIN), "Nothing is recorded.\n");
    }
}
