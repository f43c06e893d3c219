//! `quayside messages`.

use std::fmt::Write as _;

use clap::{Args, Subcommand, builder::PossibleValuesParser};
use quayside_adapter_api::Span;
use quayside_model::Timestamp;
use serde_json::{Value, json};

use super::{
    Format, Remote,
    client::{Client, segment},
    codes,
    output::{self, Output, Table, moment, size, text_of},
    watch::{Seen, Watch},
    way,
};
use crate::{
    admin::MESSAGE_STATES,
    exit::{Exit, Failure},
    wiring,
};

/// What to do with messages.
#[derive(Debug, Subcommand)]
pub(super) enum MessagesVerb {
    /// List messages, newest first
    List(ListArgs),
    /// Tell the whole way of a message, or of one of its deliveries
    Show(OneArgs),
    /// Print the body of a message
    Body(OneArgs),
    /// Put suspended deliveries back into the flow
    #[command(
        override_usage = "quayside messages resume [OPTIONS] <IDS>...\n       \
                                quayside messages resume [OPTIONS] --port <PORT>"
    )]
    Resume(DeliveriesArgs),
    /// End deliveries that nobody is to get any more
    #[command(
        override_usage = "quayside messages terminate [OPTIONS] <IDS>...\n       \
                                quayside messages terminate [OPTIONS] --port <PORT>"
    )]
    Terminate(DeliveriesArgs),
    /// Publish a message again as a new one, routed by the configuration in force
    Resubmit(ResubmitArgs),
}

/// Which messages.
#[derive(Debug, Args)]
pub(super) struct ListArgs {
    /// Only those that have come to this, as in the column STATE
    #[arg(long, value_parser = PossibleValuesParser::new(MESSAGE_STATES))]
    state: Option<String>,
    /// Only those with a live delivery in this state
    #[arg(long, value_name = "STATE", value_parser = ["ready", "claimed", "held", "suspended"])]
    delivery_state: Option<String>,
    /// Only those with a live delivery for this send port
    #[arg(long)]
    port: Option<String>,
    /// Only those of this type
    #[arg(long = "type", value_name = "TYPE")]
    message_type: Option<String>,
    /// Only those received by this location, port or application
    #[arg(long)]
    origin: Option<String>,
    /// Only those received at or after this moment, as in 2026-11-21T09:00:00Z, or so long ago, as in 2h
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Only those received before this moment, or longer ago than that
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Only those older than this message: the next page
    #[arg(long, value_name = "ID")]
    before: Option<String>,
    /// At most this many
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: u32,
    #[command(flatten)]
    watch: Watch,
    #[command(flatten)]
    remote: Remote,
}

/// One message.
#[derive(Debug, Args)]
pub(super) struct OneArgs {
    /// The id of the message, or of a delivery of it (ID.NO)
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
        MessagesVerb::List(args) => {
            let (client, output) = (args.remote.client()?, args.remote.output());
            let look = async || list(&client, args, output).await;
            args.watch.show(output, look).await
        }
        MessagesVerb::Show(args) => {
            let (id, no) = message_of(&args.id)?;
            let path = format!("/messages/{}", segment(id));
            let mut way = args.remote.client()?.get(&path, &[]).await?;
            if let Some(no) = no {
                way::focus(&mut way, no)?;
            }
            let output = args.remote.output();
            output.text(&way, &way::in_words(&way, output))
        }
        MessagesVerb::Body(args) => {
            let (id, _) = message_of(&args.id)?;
            if args.remote.show.output != Format::Table {
                let text = "a body is printed as it is, in no other form";
                return Err(Failure::new(codes::BAD_REQUEST, text)
                    .exiting(Exit::Usage)
                    .with_help(
                        "Leave `--output` out; `quayside messages show ID` has the forms.",
                    ));
            }
            let path = format!("/messages/{}/body", segment(id));
            output::print_bytes(&args.remote.client()?.bytes(&path).await?)
        }
        MessagesVerb::Resume(args) => change(args, "resume").await,
        MessagesVerb::Terminate(args) => change(args, "terminate").await,
        MessagesVerb::Resubmit(args) => {
            if let (message, Some(_)) = message_of(&args.id)? {
                let text = "the whole message is published again, not one of its deliveries";
                return Err(Failure::new(codes::BAD_REQUEST, text)
                    .exiting(Exit::Usage)
                    .with_help(format!("Name the message: {message}.")));
            }
            let path = format!("/messages/{}/resubmit", segment(&args.id));
            let body = because(args.reason.as_deref());
            let answer = args.remote.client()?.post(&path, &body).await?;
            let text = format!("{}\n", text_of(&answer, "id"));
            args.remote.output().text(&answer, &text)
        }
    }
}

/// The message in `ID` or `ID.NO`, and the number of the delivery.
fn message_of(id: &str) -> Result<(&str, Option<u16>), Failure> {
    if id.is_empty() {
        return Err(Failure::new(codes::BAD_REQUEST, "the id is empty")
            .exiting(Exit::Usage)
            .with_help("`quayside messages list` shows the ids of messages."));
    }
    let Some((message, no)) = id.split_once('.') else {
        return Ok((id, None));
    };
    let no = no.parse().map_err(|_| {
        let message = format!("`{id}` is the id of no delivery: `{no}` is no number of one");
        Failure::new(codes::BAD_REQUEST, message)
            .exiting(Exit::Usage)
            .with_help("Write the id of a message, a dot and a number, as in 01a1fede-77c6-7db1-9dcd-9af525813a70.0.")
    })?;
    Ok((message, Some(no)))
}

async fn list(client: &Client, args: &ListArgs, output: Output) -> Result<Seen, Failure> {
    let filters = args.filters(wiring::clock().now());
    let mut query = vec![("limit", args.limit.to_string())];
    query.extend(filters.iter().map(|(key, _, value)| (*key, value.clone())));
    query.extend(args.before.clone().map(|before| ("before", before)));
    let answer = client.get("/messages", &query).await?;
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
    let next = answer["next"].as_str();
    let nothing = match next {
        None => "No messages.",
        // A state is looked for in one message after the other, and not in all of them at once.
        Some(_) => "None yet: only the newest messages were looked at.",
    };
    let mut text = output.render_or(&table, nothing);
    if let Some(next) = next {
        let command = args.next_page(&filters, next);
        writeln!(text, "\nThere are more. The next page: {command}")
            .expect("writing to a string cannot fail");
    }
    Ok((answer, text))
}

/// A filter: its name in the API, that of its flag, its value.
type Given = (&'static str, &'static str, String);

impl ListArgs {
    /// What the operator gave.
    fn filters(&self, now: Timestamp) -> Vec<Given> {
        let time = |time: &Option<String>| time.as_ref().map(|text| moment_of(text, now));
        let given = [
            ("state", "state", self.state.clone()),
            (
                "delivery_state",
                "delivery-state",
                self.delivery_state.clone(),
            ),
            ("port", "port", self.port.clone()),
            ("message_type", "type", self.message_type.clone()),
            ("origin", "origin", self.origin.clone()),
            ("since", "since", time(&self.since)),
            ("until", "until", time(&self.until)),
        ];
        let given = given.into_iter();
        given
            .filter_map(|(key, flag, value)| Some((key, flag, value?)))
            .collect()
    }

    /// The command that lists what comes after `last`.
    fn next_page(&self, filters: &[Given], last: &str) -> String {
        let mut command = "quayside messages list".to_owned();
        let given = filters
            .iter()
            .map(|(_, flag, value)| (*flag, value.clone()));
        let given = given.chain([
            ("limit", self.limit.to_string()),
            ("before", last.to_owned()),
        ]);
        // A variable of the shell will be there for the next page too.
        let given = given.chain(self.remote.admin_flag().map(|url| ("admin", url)));
        for (flag, value) in given {
            write!(command, " --{flag} {}", shell_word(&value))
                .expect("writing to a string cannot fail");
        }
        command
    }
}

/// The moment that `text` is, or that lies so long before `now`. What is neither is the node's to refuse.
fn moment_of(text: &str, now: Timestamp) -> String {
    let Ok(ago) = text.parse::<Span>() else {
        return text.to_owned();
    };
    let ago = i64::try_from(ago.duration().as_micros()).unwrap_or(i64::MAX);
    Timestamp::from_micros(now.as_micros().saturating_sub(ago)).to_string()
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
    let path = format!("/deliveries/{verb}");
    let outcomes = apply(&client, &path, &ids, args.reason.as_deref()).await?;
    let nothing = "there is no such live delivery: it has ended, or never was";
    let exit = report(&args.remote, &outcomes, nothing)?;
    if outcomes.is_empty() && args.port.is_none() {
        let message = "these messages have no live delivery";
        return Err(Failure::new(codes::NOT_FOUND, message).exiting(Exit::NotFound));
    }
    Ok(exit)
}

/// Has the node do what `path` says to the deliveries `ids`, and gives the outcome of each.
pub(super) async fn apply(
    client: &Client,
    path: &str,
    ids: &[String],
    reason: Option<&str>,
) -> Result<Vec<Value>, Failure> {
    let mut outcomes = Vec::new();
    for batch in ids.chunks(BATCH) {
        let mut body = because(reason);
        body["ids"] = json!(batch);
        let answer = client.post(path, &body).await?;
        outcomes.extend(rows(&answer, "outcomes").iter().cloned());
    }
    Ok(outcomes)
}

/// Prints what became of deliveries. Where there was none of those that were meant, it fails with `nothing`.
pub(super) fn report(remote: &Remote, outcomes: &[Value], nothing: &str) -> Result<Exit, Failure> {
    let mut table = Table::new(&["delivery", "outcome"]);
    for row in outcomes {
        table.row(vec![text_of(row, "id"), in_words(row).to_owned()]);
    }
    let failed = |row: &&Value| !matches!(row["outcome"].as_str(), Some("done" | "unchanged"));
    let absent =
        |row: &Value| matches!(row["outcome"].as_str(), Some("not-found" | "not-in-doubt"));
    let not_done = outcomes.iter().filter(failed).count();
    remote
        .output()
        .table(&json!({ "outcomes": outcomes }), &table, "No deliveries.")?;
    if not_done > 0 && outcomes.iter().all(absent) {
        return Err(Failure::new(codes::NOT_FOUND, nothing)
            .exiting(Exit::NotFound)
            .with_help(
                "`quayside messages show ID` tells how the deliveries of a message ended.",
            ));
    }
    if not_done > 0 {
        let message = format!(
            "{not_done} of {} deliveries were not changed",
            outcomes.len()
        );
        return Err(Failure::new(codes::PARTLY, message));
    }
    Ok(Exit::Ok)
}

/// An outcome for people: what it says about the delivery.
fn in_words(row: &Value) -> &str {
    match row["outcome"].as_str().unwrap_or_default() {
        "busy" => "busy: it is being sent right now",
        "not-found" => "not found: it has ended, or never was",
        "unchanged" => "unchanged: it is not suspended",
        "not-in-doubt" => "not in doubt: nothing was changed",
        "not-resumable" => {
            "not resumable: it was suspended for good; `terminate` it or `resubmit` its message"
        }
        done => done,
    }
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

/// The ids of all deliveries that `query` names.
async fn all_deliveries(client: &Client, query: &[(&str, String)]) -> Result<Vec<String>, Failure> {
    all_of(client, "/deliveries", query).await
}

/// The ids of all deliveries that `path` lists, page by page.
pub(super) async fn all_of(
    client: &Client,
    path: &str,
    query: &[(&str, String)],
) -> Result<Vec<String>, Failure> {
    let mut ids: Vec<String> = Vec::new();
    loop {
        let mut query = query.to_vec();
        query.push(("limit", "1000".to_owned()));
        query.extend(ids.last().map(|last| ("after", last.clone())));
        let answer = client.get(path, &query).await?;
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
    use super::*;

    #[test]
    fn a_moment_is_a_time_or_a_while_ago() {
        let now: Timestamp = "2026-11-21T09:00:00Z".parse().expect("a moment");
        for (given, meant) in [
            ("2h", "2026-11-21T07:00:00.000000Z"),
            ("1d12h", "2026-11-19T21:00:00.000000Z"),
            ("2026-11-01T00:00:00Z", "2026-11-01T00:00:00Z"),
            ("yesterday", "yesterday"),
        ] {
            assert_eq!(moment_of(given, now), meant);
        }
    }

    #[test]
    fn a_delivery_names_its_message() {
        for (given, found) in [
            ("x", Some(("x", None))),
            ("x.7", Some(("x", Some(7)))),
            ("x.", None),
            ("x.y", None),
            ("x.1.2", None),
            ("", None),
        ] {
            assert_eq!(message_of(given).ok(), found, "{given}");
        }
    }

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
