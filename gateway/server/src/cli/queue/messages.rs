//! `quayside queue peek`, `return` and `purge`.

use std::{convert::Infallible, fmt::Write as _};

use clap::Args;
use serde_json::{Value, json};

use super::{cli_codes, codes, failed, many, place::Place};
use crate::{
    cli::{
        Show,
        output::{self, Table, size},
    },
    exit::{Exit, Failure},
    wiring::{
        declare::queue_named,
        manage::{Given, Peeked, Peeking, Seen, Selection, Session},
    },
};

/// Which messages to look at.
#[derive(Debug, Args)]
pub(in crate::cli) struct PeekArgs {
    /// The queue, by its name on the broker or as MSMQ names it
    #[arg(value_parser = named)]
    queue: String,
    /// At most this many messages
    #[arg(short = 'n', long = "number", value_name = "N", default_value_t = 10,
        value_parser = clap::value_parser!(u16).range(1..=1000))]
    number: u16,
    /// Show the bodies too, 64 KiB of each at most
    #[arg(long)]
    body: bool,
    /// Look also where messages may overtake or be given up
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    show: Show,
}

/// Which messages to return.
#[derive(Debug, Args)]
pub(in crate::cli) struct ReturnArgs {
    /// The queue that they are in
    #[arg(value_parser = named)]
    queue: String,
    /// The queue that they go to; without it each to the one that it was given up in
    #[arg(long, value_name = "QUEUE", value_parser = named)]
    to: Option<String>,
    /// At most this many; all that are there now if absent
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    count: Option<u32>,
    /// Only the message with this `message_id`, among the first 10000
    #[arg(long, value_name = "ID", conflicts_with = "count")]
    id: Option<String>,
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    show: Show,
}

/// What to delete.
#[derive(Debug, Args)]
pub(in crate::cli) struct PurgeArgs {
    /// The queue, by its name on the broker or as MSMQ names it
    #[arg(value_parser = named)]
    queue: String,
    /// Do it: what waits in the queue is gone afterwards
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    show: Show,
}

/// The queue of the broker that an argument names.
fn named(argument: &str) -> Result<String, Infallible> {
    Ok(queue_named(argument))
}

/// Shows the messages at the head of a queue.
pub(super) async fn peek(args: &PeekArgs) -> Result<Exit, Failure> {
    let known = args.place.known()?;
    let (site, planned) = known.site_of(&args.queue)?;
    let session = Session::open(site, &*known.secrets).await.map_err(failed)?;
    let peeking = Peeking {
        queue: &args.queue,
        most: args.number,
        bodies: args.body,
        force: args.force,
        guess: planned.map(|planned| &planned.wanted),
    };
    let peeked = session.peek(peeking).await;
    session.close().await;
    let peeked = peeked.map_err(|error| match error.code {
        codes::WOULD_HARM => failed(error).with_help(
            "Stop its consumers if it has some, the gateway's with `quayside ports stop NAME`, or look all the \
             same with `--force`.",
        ),
        _ => known.failed(&args.queue, error),
    })?;
    let value = json!({
        "queue": args.queue,
        "ready": peeked.ready,
        "delivery_limit": peeked.limit,
        "messages": peeked.messages.iter().map(to_json).collect::<Vec<_>>(),
    });
    let text = match peeked.messages.as_slice() {
        [] => format!("No message waits in `{}`.\n", args.queue),
        messages if args.body => with_bodies(messages, &peeked),
        messages => in_lines(messages, &peeked, args),
    };
    args.show.output().text(&value, &text)
}

/// What is told of a message.
const PLAIN: [&str; 6] = ["no", "message id", "size", "deliveries", "from", "why"];
const LABELLED: [&str; 7] = [
    "no",
    "message id",
    "label",
    "size",
    "deliveries",
    "from",
    "why",
];

fn in_lines(messages: &[Seen], peeked: &Peeked, args: &PeekArgs) -> String {
    let has_labels = messages.iter().any(|seen| label(seen).is_some());
    let mut table = match has_labels {
        true => Table::new(&LABELLED),
        false => Table::new(&PLAIN),
    };
    for (no, seen) in messages.iter().enumerate() {
        let mut cells = vec![
            (no + 1).to_string(),
            seen.message_id.clone().unwrap_or_else(|| "-".to_owned()),
            size(seen.size),
            deliveries(seen),
            seen.from.clone().unwrap_or_else(|| "-".to_owned()),
            seen.reason.clone().unwrap_or_default(),
        ];
        if has_labels {
            cells.insert(2, label(seen).unwrap_or("-").to_owned());
        }
        table.row(cells);
    }
    let mut text = args.show.output().render(&table);
    text.push_str(&end(messages, peeked));
    text
}

/// The label of a message of MSMQ, by which people know it.
fn label(seen: &Seen) -> Option<&str> {
    seen.properties["headers"]["msmq-label"].as_str()
}

/// How often a message was delivered, this time not counted.
fn deliveries(seen: &Seen) -> String {
    match seen.deliveries {
        Some(count) => count.to_string(),
        None if seen.redelivered => "some".to_owned(),
        None => "0".to_owned(),
    }
}

/// How many there are, and what the look may have done.
fn end(messages: &[Seen], peeked: &Peeked) -> String {
    let mut text = match u64::from(peeked.ready).saturating_sub(messages.len() as u64) {
        0 => String::new(),
        more => format!("and {more} more\n"),
    };
    if let Some(limit) = peeked.limit {
        let beyond = |seen: &&Seen| seen.deliveries.unwrap_or_default() >= limit;
        let gone = messages.iter().filter(beyond).count() as u64;
        if gone > 0 {
            let were = if gone == 1 { "was" } else { "were" };
            let gone = many(gone, "message");
            writeln!(text, "note: {gone} {were} at the delivery limit of {limit}: the broker gives up what was \
                            looked at now.")
                .expect("writing to a string cannot fail");
        } else {
            writeln!(text, "note: this look counts as one of {limit} deliveries.")
                .expect("writing to a string cannot fail");
        }
    }
    text
}

fn with_bodies(messages: &[Seen], peeked: &Peeked) -> String {
    let mut text = String::new();
    for (no, seen) in messages.iter().enumerate() {
        let id = seen.message_id.as_deref().unwrap_or("without id");
        let label = label(seen).map(|label| format!(" \"{label}\""));
        let label = label.unwrap_or_default();
        let why = seen
            .reason
            .as_deref()
            .map(|why| format!(", {why}"))
            .unwrap_or_default();
        let from = seen
            .from
            .as_deref()
            .map(|from| format!(", from {from}"))
            .unwrap_or_default();
        let head = format!("--- {} {id}{label}, {}{from}{why}", no + 1, size(seen.size));
        text.push_str(&output::printable(&head));
        text.push('\n');
        text.push_str(&shown(seen));
    }
    text.push_str(&end(messages, peeked));
    text
}

/// The body as text, if it is text. Control characters would move the cursor of the terminal.
fn shown(seen: &Seen) -> String {
    let Some(body) = &seen.body else {
        return String::new();
    };
    let mut text = match beginning(body) {
        Some(body) => body
            .lines()
            .map(output::printable)
            .collect::<Vec<_>>()
            .join("\n"),
        None => "(not text)".to_owned(),
    };
    if is_cut(seen, body) {
        text.push_str("\n(the rest is not shown)");
    }
    text.push('\n');
    text
}

fn is_cut(seen: &Seen, body: &[u8]) -> bool {
    (body.len() as u64) < seen.size
}

/// The text of a body; the last character may have been cut.
fn beginning(body: &[u8]) -> Option<&str> {
    match std::str::from_utf8(body) {
        Ok(text) => Some(text),
        Err(error) if error.error_len().is_none() && error.valid_up_to() > 0 => {
            std::str::from_utf8(&body[..error.valid_up_to()]).ok()
        }
        Err(_) => None,
    }
}

fn to_json(seen: &Seen) -> Value {
    let mut value = json!({
        "message_id": seen.message_id,
        "size": seen.size,
        "deliveries": seen.deliveries,
        "redelivered": seen.redelivered,
        "from": seen.from,
        "reason": seen.reason,
        "properties": seen.properties,
    });
    if let Some(body) = &seen.body {
        match beginning(body) {
            Some(text) => value["body"] = json!(text),
            None => value["body_bytes"] = json!(body),
        }
        value["body_cut"] = json!(is_cut(seen, body));
    }
    value
}

/// Returns messages.
pub(super) async fn give_back(args: &ReturnArgs) -> Result<Exit, Failure> {
    let known = args.place.known()?;
    let (site, _) = known.site_of(&args.queue)?;
    if args.to.as_deref() == Some(args.queue.as_str()) {
        let message = format!("`{}` is the queue that the messages are in", args.queue);
        return Err(Failure::new(cli_codes::BAD_REQUEST, message)
            .exiting(Exit::Usage)
            .with_help("Name another queue with `--to QUEUE`."));
    }
    let session = Session::open(site, &*known.secrets).await.map_err(failed)?;
    let selection = Selection {
        queue: &args.queue,
        to: args.to.as_deref(),
        count: args.count,
        id: args.id.as_deref(),
    };
    let given = session.give_back(selection).await;
    session.close().await;
    let mut given = given.map_err(|error| known.failed(&args.queue, error))?;
    let value = json!({
        "queue": args.queue,
        "returned": given.count(),
        "to": given.to,
        "homeless": given.homeless,
        "without_id": given.nameless,
        "failure": given.failure.as_ref().map(|error| {
            json!({ "code": error.code.code, "detail": error.detail })
        }),
    });
    args.show.output().text(&value, &told(&given, args))?;
    if let Some(error) = given.failure.take() {
        return Err(failed(error));
    }
    if given.homeless > 0 {
        let stay = if given.homeless == 1 { "stays" } else { "stay" };
        let message = format!(
            "{} {stay} in `{}`: nothing tells where they came from",
            many(given.homeless, "message"),
            args.queue
        );
        return Err(Failure::new(codes::NO_ORIGIN, message));
    }
    if let (Some(id), 0) = (&args.id, given.count()) {
        let message = format!("there is no message `{id}` in `{}`", args.queue);
        return Err(Failure::new(cli_codes::NOT_FOUND, message)
            .exiting(Exit::NotFound)
            .with_help(format!(
                "`quayside queue peek {}` shows the ids.",
                args.queue
            )));
    }
    Ok(Exit::Ok)
}

fn told(given: &Given, args: &ReturnArgs) -> String {
    let mut text = String::new();
    for (queue, count) in &given.to {
        text.push_str(&format!(
            "Returned {} to `{queue}`.\n",
            many(*count, "message")
        ));
    }
    if given.nameless > 0 {
        text.push_str(&format!(
            "note: {} without an id: should it come twice, nobody can tell.\n",
            many(given.nameless, "message")
        ));
    }
    let nothing = given.to.is_empty() && given.homeless == 0 && given.failure.is_none();
    if nothing && args.id.is_none() {
        text.push_str(&format!("No message waits in `{}`.\n", args.queue));
    }
    text
}

/// Deletes what waits.
pub(super) async fn purge(args: &PurgeArgs) -> Result<Exit, Failure> {
    let known = args.place.known()?;
    let (site, _) = known.site_of(&args.queue)?;
    let session = Session::open(site, &*known.secrets).await.map_err(failed)?;
    if !args.yes {
        let counts = session.look(&args.queue).await;
        session.close().await;
        let counts = counts.map_err(failed)?;
        let Some(counts) = counts else {
            return Err(known.missing(&args.queue));
        };
        let waiting = many(counts.ready.into(), "message");
        let message = format!("{waiting} would be deleted from `{}` for good", args.queue);
        return Err(Failure::new(cli_codes::BAD_REQUEST, message)
            .exiting(Exit::Usage)
            .with_help("Add `--yes` if that is meant; `quayside queue peek` shows them first."));
    }
    let purged = session.purge(&args.queue).await;
    session.close().await;
    let purged = purged.map_err(|error| known.failed(&args.queue, error))?;
    let value = json!({ "queue": args.queue, "deleted": purged });
    let text = format!(
        "Deleted {} from `{}`.\n",
        many(purged.into(), "message"),
        args.queue
    );
    args.show.output().text(&value, &text)
}
