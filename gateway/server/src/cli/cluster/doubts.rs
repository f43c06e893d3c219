//! `quayside cluster in-doubt`.

use std::fmt::Write as _;

use clap::{Args, Subcommand};
use serde_json::Value;

use super::super::{
    Remote,
    client::Client,
    messages::{all_of, apply, report, rows},
    output::{Output, Table, moment, printable, text_of},
    watch::{Seen, Watch},
};
use crate::exit::{Exit, Failure};

/// Which deliveries, or what to do with them.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(in crate::cli) struct InDoubtArgs {
    #[command(subcommand)]
    verb: Option<Verb>,
    #[command(flatten)]
    list: ListArgs,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List them, as without a verb
    List(ListArgs),
    /// Send them again
    Resend(VerdictArgs),
    /// End them as terminated: nobody is to get them any more
    Skip(VerdictArgs),
    /// End them as sent: the partner was asked, and has them
    Done(VerdictArgs),
}

/// Which of them to list.
#[derive(Debug, Args)]
struct ListArgs {
    /// Only those of the ports of this host
    host: Option<String>,
    /// Only those after this delivery: the next page
    #[arg(long, value_name = "ID.NO")]
    after: Option<String>,
    /// At most this many
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: u32,
    #[command(flatten)]
    watch: Watch,
    #[command(flatten)]
    remote: Remote,
}

/// Which of them it is about, and why.
#[derive(Debug, Args)]
struct VerdictArgs {
    /// Ids of deliveries (ID.NO), or of messages: then all of their deliveries in doubt
    #[arg(required_unless_present = "host")]
    ids: Vec<String>,
    /// All in doubt of the ports of this host
    #[arg(long, conflicts_with = "ids")]
    host: Option<String>,
    /// Why, for those who look later
    #[arg(long)]
    reason: Option<String>,
    #[command(flatten)]
    remote: Remote,
}

/// Runs the verb.
pub(super) async fn in_doubt(args: &InDoubtArgs) -> Result<Exit, Failure> {
    match &args.verb {
        None => show(&args.list).await,
        Some(Verb::List(args)) => show(args).await,
        Some(Verb::Resend(args)) => decide(args, "resend").await,
        Some(Verb::Skip(args)) => decide(args, "skip").await,
        Some(Verb::Done(args)) => decide(args, "done").await,
    }
}

const LIST: &str = "/cluster/in-doubt";

async fn show(args: &ListArgs) -> Result<Exit, Failure> {
    let (client, output) = (args.remote.client()?, args.remote.output());
    let look = async || list(&client, args, output).await;
    args.watch.show(output, look).await
}

async fn list(client: &Client, args: &ListArgs, output: Output) -> Result<Seen, Failure> {
    let mut query = vec![("limit", args.limit.to_string())];
    query.extend(args.host.clone().map(|host| ("host", host)));
    query.extend(args.after.clone().map(|after| ("after", after)));
    let answer = client.get(LIST, &query).await?;
    let text = told(&answer, output, args.remote.admin_flag().as_deref());
    Ok((answer, text))
}

/// The list in words. `admin` is what further commands have to name, if anything.
pub(super) fn told(answer: &Value, output: Output, admin: Option<&str>) -> String {
    let doubts = rows(answer, "deliveries");
    let mut table = Table::new(&["delivery", "port", "partner", "key", "begun", "by", "now"]);
    for doubt in doubts {
        table.row(vec![
            text_of(doubt, "id"),
            text_of(doubt, "port"),
            text_of(doubt, "partner"),
            text_of(doubt, "order_key"),
            moment(doubt, "begun_at"),
            owner(doubt),
            text_of(doubt, "then"),
        ]);
    }
    let mut text = output.render_or(&table, "No delivery is in doubt.");
    if doubts.is_empty() {
        return text;
    }
    let admin = admin.map_or_else(String::new, |admin| format!(" --admin {admin}"));
    for (label, verb, what_for) in [
        (
            "Type: ",
            "done",
            "the partner was asked and has it: ends it as sent",
        ),
        (
            "      ",
            "resend",
            "the partner has not got it: sends it again",
        ),
        (
            "      ",
            "skip",
            "nobody is to get it any more: ends it as terminated",
        ),
    ] {
        let gap = if label == "Type: " { "\n" } else { "" };
        let command = format!("quayside cluster in-doubt {verb} ID.NO{admin}");
        let width = "quayside cluster in-doubt resend ID.NO".len() + admin.len();
        let line = format!("{label}{command:width$}  {what_for}");
        writeln!(text, "{gap}{}", printable(&line)).expect("writing to a string cannot fail");
    }
    if let Some(next) = answer["next"].as_str() {
        writeln!(text, "\nThere are more. The next page: --after {next}")
            .expect("writing to a string cannot fail");
    }
    text
}

/// Who was sending it, or why nobody knows what came of it.
fn owner(doubt: &Value) -> String {
    match (doubt["node"].as_str(), doubt["epoch"].as_str()) {
        (Some(node), Some(epoch)) => format!("{node}, epoch {epoch}"),
        (Some(node), None) => node.to_owned(),
        (None, _) if doubt["released_at"].is_string() => "an owner that died".to_owned(),
        (None, _) if doubt["restored_at"].is_string() => "a life before the restore".to_owned(),
        (None, _) => match doubt["failure"]["code"].as_str() {
            Some(code) => format!("an attempt without an answer ({code})"),
            None => "an attempt without an answer".to_owned(),
        },
    }
}

async fn decide(args: &VerdictArgs, verb: &str) -> Result<Exit, Failure> {
    let client = args.remote.client()?;
    let mut ids = Vec::new();
    if let Some(host) = &args.host {
        ids = all_of(&client, LIST, &[("host", host.clone())]).await?;
    }
    for id in &args.ids {
        if id.contains('.') {
            ids.push(id.clone());
        } else {
            let query = [("message", id.clone()), ("in_doubt", "true".to_owned())];
            ids.extend(all_of(&client, "/deliveries", &query).await?);
        }
    }
    let path = format!("{LIST}/{verb}");
    let outcomes = apply(&client, &path, &ids, args.reason.as_deref()).await?;
    let nothing =
        "there is no such delivery in doubt: it has ended, is decided, or never was in doubt";
    let exit = report(&args.remote, &outcomes, nothing)?;
    if outcomes.is_empty() && args.host.is_none() {
        let message = "these messages have no delivery in doubt";
        return Err(Failure::new(super::super::codes::NOT_FOUND, message).exiting(Exit::NotFound));
    }
    Ok(exit)
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
    fn the_guide_shows_a_list_as_it_is() {
        let answer = json!({ "next": null, "deliveries": [{
            "id": "01a1fede-77c6-7db1-9dcd-9af525813a70.0", "port": "orders.out", "host": "queues",
            "partner": "https://partner/orders", "order_key": "4711", "state": "suspended", "attempts": 1,
            "begun_at": "2026-11-21T02:13:57.5Z", "released_at": "2026-11-21T02:14:00Z", "node": "node-b",
            "instance": null, "epoch": "1.6", "policy": "hold", "failure": null, "then": "kept for an operator",
        }] });
        let said = told(&answer, PLAIN, None);
        assert!(
            super::super::guide::shows(&said),
            "the guide shows something else than:\n{said}"
        );
    }

    #[test]
    fn a_list_tells_who_was_sending_and_what_to_type() {
        let doubt = |id: &str, more: Value| {
            let mut doubt = json!({
                "id": id, "port": "moves.out", "host": "edge", "partner": "http://p/", "order_key": "7",
                "state": "suspended", "attempts": 1, "begun_at": null, "released_at": null, "node": null,
                "instance": null, "epoch": null, "policy": "hold", "failure": null,
                "then": "kept for an operator",
            });
            for (key, value) in more.as_object().expect("an object") {
                doubt[key] = value.clone();
            }
            doubt
        };
        let answer = json!({ "next": "m.1", "deliveries": [
            doubt("m.0", json!({
                "begun_at": "2026-11-21T02:13:57.5Z", "released_at": "2026-11-21T02:14:00Z",
                "node": "node-a", "epoch": "1.7",
            })),
            doubt("m.1", json!({ "failure": { "code": "QS0808" } })),
        ] });
        let wanted = "\
DELIVERY  PORT       PARTNER    KEY  BEGUN                 BY                                      NOW
m.0       moves.out  http://p/  7    2026-11-21 02:13:57Z  node-a, epoch 1.7                       kept for an operator
m.1       moves.out  http://p/  7                          an attempt without an answer (QS0808)  kept for an operator

Type: quayside cluster in-doubt done ID.NO    the partner was asked and has it: ends it as sent
      quayside cluster in-doubt resend ID.NO  the partner has not got it: sends it again
      quayside cluster in-doubt skip ID.NO    nobody is to get it any more: ends it as terminated

There are more. The next page: --after m.1
";
        // The columns are as wide as what stands in them.
        let squeeze = |text: &str| {
            let lines = text
                .lines()
                .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
            lines.collect::<Vec<_>>()
        };
        assert_eq!(squeeze(&told(&answer, PLAIN, None)), squeeze(wanted));
        let none = json!({ "deliveries": [], "next": null });
        assert_eq!(told(&none, PLAIN, None), "No delivery is in doubt.\n");
        let named = told(&answer, PLAIN, Some("http://h"));
        assert!(named.contains("skip ID.NO --admin http://h  "), "{named}");
    }
}
