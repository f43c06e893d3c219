//! `quayside cluster drill`: takes a host away from its owner on purpose, and tells what that cost.

use std::{fmt::Write as _, time::Duration};

use clap::{Args, ValueEnum};
use quayside_adapter_api::Span;
use serde_json::{Value, json};

use super::{
    super::{
        client::{Client, segment},
        codes,
        messages::rows,
        output::{printable, text_of},
    },
    Why,
    follow::{self, Deadline},
    incomplete,
};
use crate::{
    admin::lasting,
    exit::{Exit, Failure},
};

/// How long the first message after the takeover is waited for. Without traffic none comes.
const TRAFFIC: Duration = Duration::from_secs(10);

/// What to rehearse.
#[derive(Debug, Args)]
pub(in crate::cli) struct DrillArgs {
    /// The name of the host
    host: String,
    /// What happens to its owner
    #[arg(long, value_enum, default_value_t = Fault::Move)]
    fault: Fault,
    /// Yes, kill a process that works: what it is sending then is in doubt
    #[arg(long)]
    yes: bool,
    /// How long each takeover may take, as in 30s
    #[arg(long, value_name = "TIME", default_value = "2m")]
    within: Span,
    #[command(flatten)]
    why: Why,
}

/// What happens to the owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Fault {
    /// It gives the host to another node, which gives it back
    Move,
    /// Its process is killed
    Kill,
}

/// Runs the verb.
pub(super) async fn drill(args: &DrillArgs) -> Result<Exit, Failure> {
    if args.fault == Fault::Kill && !args.yes {
        let message = format!(
            "this kills the process that runs `{}`: what it is sending then is in doubt",
            args.host
        );
        return Err(Failure::new(codes::BAD_REQUEST, message)
            .exiting(Exit::Usage)
            .with_help("Say `--yes` if that is meant; without `--fault kill` the host is only moved there and back."));
    }
    let client = args.why.remote.client()?;
    let first = takeover(&client, args, None).await?;
    let mut takeovers = vec![first];
    if args.fault == Fault::Move {
        let back = text_of(&takeovers[0], "from");
        could_take(&client, &args.host, &back, args.within.duration()).await?;
        takeovers.push(takeover(&client, args, Some(&back)).await?);
    }
    let lost: u64 = takeovers
        .iter()
        .filter_map(|told| told["lost"].as_u64())
        .sum();
    let text: String = takeovers.iter().map(told).collect();
    let value = json!({ "host": args.host, "lost": lost, "takeovers": takeovers });
    let exit = args.why.remote.output().text(&value, &text)?;
    if lost > 0 {
        let message = format!("{lost} deliveries have vanished");
        return Err(Failure::new(codes::DRILL_LOST, message));
    }
    Ok(exit)
}

/// Waits until `node` could take the host: another process becomes ready there after the one that gave it away.
async fn could_take(
    client: &Client,
    host: &str,
    node: &str,
    within: Duration,
) -> Result<(), Failure> {
    let path = format!("/cluster/hosts/{}", segment(host));
    let deadline = Deadline::new(within);
    loop {
        let told = client.get(&path, &[]).await?;
        if rows(&told, "candidates").iter().any(|could| could == node) {
            return Ok(());
        }
        let so_far = format!("{node} cannot take {host} back");
        deadline.wait(&so_far).await?;
    }
}

/// Takes the host away from its owner once, waits until another process is at work, and measures.
async fn takeover(client: &Client, args: &DrillArgs, to: Option<&str>) -> Result<Value, Failure> {
    let fault = match args.fault {
        Fault::Move => "move",
        Fault::Kill => "kill",
    };
    let body = args.why.because(json!({ "fault": fault, "to": to }));
    let path = format!("/cluster/hosts/{}/drill", segment(&args.host));
    let begun = client.post(&path, &body).await?;
    let order = begun["order"].as_u64();
    let order = order.ok_or_else(|| incomplete("number of the order"))?;
    let deadline = Deadline::new(args.within.duration());
    works_again(
        client,
        &args.host,
        order,
        &text_of(&begun, "epoch"),
        &deadline,
    )
    .await?;
    let since = [("since", text_of(&begun, "at"))];
    let patience = Deadline::new(TRAFFIC.min(args.within.duration()));
    let mut measured = client.get(&path, &since).await?;
    loop {
        let finished = measured["open"] == measured["kept"];
        let so_far = "what the owner had in hand has not ended";
        match (finished, measured["went_on"] == true) {
            (true, true) => break,
            (false, _) => deadline.wait(so_far).await?,
            // Nothing may be there to be sent.
            (true, false) if patience.wait(so_far).await.is_err() => break,
            (true, false) => {}
        }
        measured = client.get(&path, &since).await?;
    }
    measured["fault"] = json!(fault);
    measured["from"] = begun["node"].clone();
    Ok(measured)
}

/// Waits until a later epoch than `epoch` is at work.
async fn works_again(
    client: &Client,
    host: &str,
    order: u64,
    epoch: &str,
    deadline: &Deadline,
) -> Result<(), Failure> {
    let path = format!("/cluster/hosts/{}", segment(host));
    loop {
        let told = client.get(&path, &[]).await?;
        let refused = told["answered"]["refused"].as_str();
        if let Some(why) = refused.filter(|_| follow::is_answered(order, &told)) {
            let message = format!("{host}: order {order} is refused: {why}");
            return Err(Failure::new(codes::NOT_MOVED, message));
        }
        let works = matches!(told["state"].as_str(), Some("active" | "adapter-down"));
        if works && told["epoch"] != epoch {
            return Ok(());
        }
        let state = text_of(&told, "state").replace('-', " ");
        deadline.wait(&format!("{host} is: {state}")).await?;
    }
}

/// One takeover in words.
fn told(takeover: &Value) -> String {
    let millis = |key: &str| {
        takeover[key]
            .as_u64()
            .map(|ms| lasting(Duration::from_millis(ms)))
    };
    let count = |key: &str| takeover[key].as_u64().unwrap_or_default();
    let (from, to) = (text_of(takeover, "from"), text_of(takeover, "node"));
    let what = match takeover["fault"].as_str() {
        Some("kill") => format!("the process on {from} was killed, and {to} went on"),
        _ => format!("moved from {from} to {to}"),
    };
    let mut text = format!("{}: {what}\n", printable(&text_of(takeover, "host")));
    let gap = match (millis("gap_ms"), takeover["went_on"] == true) {
        (Some(gap), true) => format!(
            "{gap} between two messages, the longest of {}",
            count("sends")
        ),
        _ => "not known: nothing was sent before or after it".to_owned(),
    };
    let out = millis("out_of_work_ms").unwrap_or_else(|| "not recorded".to_owned());
    for (name, value) in [
        ("gap", gap),
        ("nobody at work", out),
        (
            "in doubt",
            format!("{} of the {} in hand", count("in_doubt"), count("released")),
        ),
        ("sent again", count("repeats").to_string()),
        ("kept for you", count("kept").to_string()),
        ("lost", count("lost").to_string()),
    ] {
        writeln!(text, "  {name:15} {value}").expect("writing to a string cannot fail");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_takeover_is_told_in_figures() {
        let mut takeover = json!({
            "host": "queues", "fault": "kill", "from": "node-a", "node": "node-b", "sends": 812, "gap_ms": 214,
            "went_on": true, "out_of_work_ms": 96, "released": 8, "in_doubt": 3, "repeats": 3, "kept": 0,
            "open": 0, "lost": 0,
        });
        let wanted = "queues: the process on node-a was killed, and node-b went on\n  \
                      gap             214 ms between two messages, the longest of 812\n  \
                      nobody at work  96 ms\n  \
                      in doubt        3 of the 8 in hand\n  \
                      sent again      3\n  \
                      kept for you    0\n  \
                      lost            0\n";
        assert_eq!(told(&takeover), wanted);
        assert!(
            super::super::guide::shows(wanted),
            "the guide shows another report"
        );
        takeover["fault"] = json!("move");
        takeover["went_on"] = json!(false);
        let text = told(&takeover);
        assert!(text.contains("moved from node-a to node-b"), "{text}");
        assert!(text.contains("gap             not known"), "{text}");
    }
}
