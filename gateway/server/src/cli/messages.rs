//! `quayside messages`.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::{
    Remote,
    client::{Client, segment},
    codes,
    output::{self, Output, Table, moment, size, text_of},
};
use crate::exit::{Exit, Failure};

/// What to do with messages.
#[derive(Debug, Subcommand)]
pub(super) enum MessagesVerb {
    /// List messages, newest first
    List(ListArgs),
    /// Tell the whole way of a message
    Show(OneArgs),
    /// Print the body of a message
    Body(OneArgs),
    /// Put suspended deliveries back into the flow
    Resume(DeliveriesArgs),
    /// End deliveries that nobody is to get any more
    Terminate(DeliveriesArgs),
    /// Publish a message again as a new one, routed by the configuration in force
    Resubmit(OneArgs),
}

/// Which messages.
#[derive(Debug, Args)]
pub(super) struct ListArgs {
    /// Only those with a live delivery in this state
    #[arg(long, value_parser = ["ready", "claimed", "held", "suspended"])]
    state: Option<String>,
    /// Only those with a live delivery for this send port
    #[arg(long)]
    port: Option<String>,
    /// Only those of this type
    #[arg(long = "type", value_name = "TYPE")]
    message_type: Option<String>,
    /// Only those received by this location, port or application
    #[arg(long)]
    origin: Option<String>,
    /// Only those received at or after this moment, as in 2026-11-21T09:00:00Z
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Only those received before this moment
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Only those older than this message: the next page
    #[arg(long, value_name = "ID")]
    before: Option<String>,
    /// At most this many
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: u32,
    #[command(flatten)]
    remote: Remote,
}

/// One message.
#[derive(Debug, Args)]
pub(super) struct OneArgs {
    /// The id of the message
    id: String,
    #[command(flatten)]
    remote: Remote,
}

/// Some deliveries.
#[derive(Debug, Args)]
pub(super) struct DeliveriesArgs {
    /// Ids of deliveries (ID.NO), or of messages: then all of their live deliveries
    #[arg(required_unless_present = "port")]
    ids: Vec<String>,
    /// All suspended deliveries of this send port
    #[arg(long, conflicts_with = "ids")]
    port: Option<String>,
    #[command(flatten)]
    remote: Remote,
}

/// How many deliveries one call changes.
const BATCH: usize = 500;

/// Runs the verb.
pub(super) async fn messages(verb: &MessagesVerb) -> Result<Exit, Failure> {
    match verb {
        MessagesVerb::List(args) => list(args).await,
        MessagesVerb::Show(args) => show(args).await,
        MessagesVerb::Body(args) => {
            let path = format!("/messages/{}/body", segment(&args.id));
            output::print_bytes(&args.remote.client()?.bytes(&path).await?)
        }
        MessagesVerb::Resume(args) => change(args, "resume").await,
        MessagesVerb::Terminate(args) => change(args, "terminate").await,
        MessagesVerb::Resubmit(args) => {
            let path = format!("/messages/{}/resubmit", segment(&args.id));
            let answer = args.remote.client()?.post(&path, &json!({})).await?;
            let text = format!("{}\n", text_of(&answer, "id"));
            args.remote.output().text(&answer, &text)
        }
    }
}

async fn list(args: &ListArgs) -> Result<Exit, Failure> {
    let mut query = vec![("limit", args.limit.to_string())];
    let filters = [
        ("state", &args.state),
        ("port", &args.port),
        ("message_type", &args.message_type),
        ("origin", &args.origin),
        ("since", &args.since),
        ("until", &args.until),
        ("before", &args.before),
    ];
    query.extend(
        filters
            .into_iter()
            .filter_map(|(key, value)| Some((key, value.clone()?))),
    );
    let answer = args.remote.client()?.get("/messages", &query).await?;
    let mut table = Table::new(&[
        "id",
        "received",
        "from",
        "type",
        "size",
        "open",
        "suspended",
    ]);
    for row in rows(&answer, "messages") {
        table.row(vec![
            text_of(row, "id"),
            moment(row, "received_at"),
            text_of(row, "origin"),
            text_of(row, "message_type"),
            size(row["body_len"].as_u64().unwrap_or_default()),
            format!("{} of {}", text_of(row, "live"), text_of(row, "deliveries")),
            none_if_zero(&text_of(row, "suspended")),
        ]);
    }
    args.remote.output().table(&answer, &table, "No messages.")
}

fn none_if_zero(count: &str) -> String {
    if count == "0" {
        "-".to_owned()
    } else {
        count.to_owned()
    }
}

fn rows<'a>(answer: &'a Value, key: &str) -> &'a [Value] {
    answer[key].as_array().map_or(&[], Vec::as_slice)
}

async fn show(args: &OneArgs) -> Result<Exit, Failure> {
    let path = format!("/messages/{}", segment(&args.id));
    let way = args.remote.client()?.get(&path, &[]).await?;
    let output = args.remote.output();
    let text = way_in_words(&way, output);
    output.text(&way, &text)
}

fn way_in_words(way: &Value, output: Output) -> String {
    let mut facts = Table::new(&["message", ""]);
    let mut fact = |name: &str, value: String| facts.row(vec![name.to_owned(), value]);
    fact("id", text_of(way, "id"));
    fact("received", moment(way, "received_at"));
    fact("from", text_of(way, "origin"));
    fact("type", text_of(way, "message_type"));
    fact("content", text_of(way, "content_type"));
    fact("size", size(way["body_len"].as_u64().unwrap_or_default()));
    fact(
        "configuration",
        format!("version {}", text_of(way, "config_version")),
    );
    let mut history = Table::new(&["time", "event", "port", "no", "attempts", "detail"]);
    for row in rows(way, "history") {
        history.row(vec![
            moment(row, "at"),
            text_of(row, "event"),
            text_of(row, "port"),
            text_of(row, "no"),
            text_of(row, "attempts"),
            text_of(row, "detail"),
        ]);
    }
    let mut text = output.render(&facts);
    text.push('\n');
    text.push_str(&output.render(&properties(way)));
    text.push('\n');
    if !rows(way, "live_deliveries").is_empty() {
        text.push_str(&output.render(&deliveries(rows(way, "live_deliveries"))));
        text.push('\n');
    }
    text.push_str(&output.render(&history));
    text
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

fn deliveries(rows: &[Value]) -> Table {
    let mut table = Table::new(&[
        "delivery", "port", "state", "via", "attempts", "due", "failure",
    ]);
    for row in rows {
        let failure = &row["failure"];
        let failure = match failure["code"].as_str() {
            Some(code) => format!("{code} {}", text_of(failure, "detail")),
            None => String::new(),
        };
        let state = text_of(row, "state");
        let state = if row["in_doubt"].as_bool() == Some(true) {
            format!("{state}, in doubt")
        } else {
            state
        };
        table.row(vec![
            text_of(row, "id"),
            text_of(row, "port"),
            state,
            text_of(row, "transport"),
            text_of(row, "attempts"),
            moment(row, "due"),
            failure,
        ]);
    }
    table
}

async fn change(args: &DeliveriesArgs, verb: &str) -> Result<Exit, Failure> {
    let client = args.remote.client()?;
    let ids = deliveries_of(&client, args).await?;
    let mut outcomes = Vec::new();
    for batch in ids.chunks(BATCH) {
        let answer = client
            .post(&format!("/deliveries/{verb}"), &json!({ "ids": batch }))
            .await?;
        outcomes.extend(rows(&answer, "outcomes").iter().cloned());
    }
    let mut table = Table::new(&["delivery", "outcome"]);
    for row in &outcomes {
        table.row(vec![text_of(row, "id"), text_of(row, "outcome")]);
    }
    let failed = |row: &&Value| !matches!(row["outcome"].as_str(), Some("done" | "unchanged"));
    let not_done = outcomes.iter().filter(failed).count();
    args.remote
        .output()
        .table(&json!({ "outcomes": outcomes }), &table, "No deliveries.")?;
    if not_done > 0 {
        let message = format!(
            "{not_done} of {} deliveries were not changed",
            outcomes.len()
        );
        return Err(Failure::new(codes::PARTLY, message));
    }
    if outcomes.is_empty() && args.port.is_none() {
        let message = "these messages have no live delivery";
        return Err(Failure::new(codes::NOT_FOUND, message).exiting(Exit::NotFound));
    }
    Ok(Exit::Ok)
}

/// The ids of deliveries that are meant: a message stands for all of its live ones.
async fn deliveries_of(client: &Client, args: &DeliveriesArgs) -> Result<Vec<String>, Failure> {
    let mut ids = Vec::new();
    if let Some(port) = &args.port {
        let query = [("port", port.clone()), ("state", "suspended".to_owned())];
        ids.extend(all_deliveries(client, &query).await?);
    }
    for id in &args.ids {
        if id.contains('.') {
            ids.push(id.clone());
        } else {
            ids.extend(all_deliveries(client, &[("message", id.clone())]).await?);
        }
    }
    Ok(ids)
}

async fn all_deliveries(client: &Client, query: &[(&str, String)]) -> Result<Vec<String>, Failure> {
    let mut ids: Vec<String> = Vec::new();
    loop {
        let mut query = query.to_vec();
        query.push(("limit", "1000".to_owned()));
        query.extend(ids.last().map(|last| ("after", last.clone())));
        let answer = client.get("/deliveries", &query).await?;
        let page: Vec<String> = rows(&answer, "deliveries")
            .iter()
            .map(|r| text_of(r, "id"))
            .collect();
        if page.is_empty() {
            return Ok(ids);
        }
        ids.extend(page);
    }
}
