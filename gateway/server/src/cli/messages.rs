//! `quayside messages`.

use std::fmt::Write as _;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::{
    Remote,
    client::{Client, segment},
    codes,
    output::{self, Table, moment, size, text_of},
    way,
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
    Resubmit(ResubmitArgs),
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

/// One message to publish again.
#[derive(Debug, Args)]
pub(super) struct ResubmitArgs {
    /// The id of the message
    id: String,
    /// Why, for those who look later
    #[arg(long)]
    reason: Option<String>,
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
    /// Why, for those who look later
    #[arg(long)]
    reason: Option<String>,
    #[command(flatten)]
    remote: Remote,
}

/// A body that holds nothing but the reason.
fn because(reason: Option<&str>) -> Value {
    reason.map_or_else(|| json!({}), |reason| json!({ "reason": reason }))
}

/// How many deliveries one call changes.
const BATCH: usize = 500;

/// Runs the verb.
pub(super) async fn messages(verb: &MessagesVerb) -> Result<Exit, Failure> {
    match verb {
        MessagesVerb::List(args) => list(args).await,
        MessagesVerb::Show(args) => {
            let path = format!("/messages/{}", segment(&args.id));
            let way = args.remote.client()?.get(&path, &[]).await?;
            let output = args.remote.output();
            output.text(&way, &way::in_words(&way, output))
        }
        MessagesVerb::Body(args) => {
            let path = format!("/messages/{}/body", segment(&args.id));
            output::print_bytes(&args.remote.client()?.bytes(&path).await?)
        }
        MessagesVerb::Resume(args) => change(args, "resume").await,
        MessagesVerb::Terminate(args) => change(args, "terminate").await,
        MessagesVerb::Resubmit(args) => {
            let path = format!("/messages/{}/resubmit", segment(&args.id));
            let body = because(args.reason.as_deref());
            let answer = args.remote.client()?.post(&path, &body).await?;
            let text = format!("{}\n", text_of(&answer, "id"));
            args.remote.output().text(&answer, &text)
        }
    }
}

async fn list(args: &ListArgs) -> Result<Exit, Failure> {
    let mut query = vec![("limit", args.limit.to_string())];
    let filters = args.filters().into_iter();
    query.extend(filters.filter_map(|(key, _, value)| Some((key, value.clone()?))));
    query.extend(args.before.clone().map(|before| ("before", before)));
    let answer = args.remote.client()?.get("/messages", &query).await?;
    let mut table = Table::new(&["id", "received", "from", "type", "size", "state", "open"]);
    for row in rows(&answer, "messages") {
        table.row(vec![
            text_of(row, "id"),
            moment(row, "received_at"),
            text_of(row, "origin"),
            text_of(row, "message_type"),
            size(row["body_len"].as_u64().unwrap_or_default()),
            text_of(row, "state"),
            format!("{} of {}", text_of(row, "live"), text_of(row, "deliveries")),
        ]);
    }
    let output = args.remote.output();
    let mut text = if table.is_empty() {
        "No messages.\n".to_owned()
    } else {
        output.render(&table)
    };
    if let Some(next) = answer["next"].as_str() {
        let command = args.next_page(next);
        writeln!(text, "\nThere are more. The next page: {command}")
            .expect("writing to a string cannot fail");
    }
    output.text(&answer, &text)
}

impl ListArgs {
    /// What the operator gave, by the names of the API.
    fn filters(&self) -> [(&'static str, &'static str, &Option<String>); 6] {
        [
            ("state", "state", &self.state),
            ("port", "port", &self.port),
            ("message_type", "type", &self.message_type),
            ("origin", "origin", &self.origin),
            ("since", "since", &self.since),
            ("until", "until", &self.until),
        ]
    }

    /// The command that lists what comes after `last`.
    fn next_page(&self, last: &str) -> String {
        let mut command = "quayside messages list".to_owned();
        let given = self.filters().into_iter();
        let given = given.filter_map(|(_, flag, value)| Some((flag, value.clone()?)));
        let given = given.chain([
            ("limit", self.limit.to_string()),
            ("before", last.to_owned()),
        ]);
        for (flag, value) in given {
            write!(command, " --{flag} {}", shell_word(&value))
                .expect("writing to a string cannot fail");
        }
        command
    }
}

/// `text` as a shell takes it for one word.
fn shell_word(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', "'\\''"))
}

pub(super) fn rows<'a>(answer: &'a Value, key: &str) -> &'a [Value] {
    answer[key].as_array().map_or(&[], Vec::as_slice)
}

async fn change(args: &DeliveriesArgs, verb: &str) -> Result<Exit, Failure> {
    let client = args.remote.client()?;
    let ids = deliveries_of(&client, args).await?;
    let mut outcomes = Vec::new();
    for batch in ids.chunks(BATCH) {
        let mut body = because(args.reason.as_deref());
        body["ids"] = json!(batch);
        let answer = client.post(&format!("/deliveries/{verb}"), &body).await?;
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

#[cfg(test)]
mod tests {
    use super::shell_word;

    #[test]
    fn a_word_survives_the_shell() {
        for (text, word) in [
            ("2026-11-21T09:00:00Z", "2026-11-21T09:00:00Z"),
            ("urn:orders#Order", "'urn:orders#Order'"),
            ("it's", "'it'\\''s'"),
            ("", "''"),
        ] {
            assert_eq!(shell_word(text), word);
        }
    }
}
