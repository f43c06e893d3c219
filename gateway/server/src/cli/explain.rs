//! `quayside explain`.

use std::{
    collections::HashSet,
    fmt::Write as _,
    path::{Path, PathBuf},
};

use clap::Args;
use quayside_engine::{
    explain::{Held, explain as held_against},
    plan::Plan,
    rehearsal::{Incoming, TakenIn, take_in},
};
use quayside_model::{
    Context, Message, MessageId, Name, Part, Text, Timestamp, Value as Property, ValueType,
};
use serde_json::{Value, json};

use super::{
    Remote, codes,
    output::{complain, printable},
    test::load,
};
use crate::{
    cases,
    config::{Report, suggestion},
    exit::{Exit, Failure},
};

/// Which message, and against what.
#[derive(Debug, Args)]
pub(super) struct ExplainArgs {
    /// The id of a stored message, or a file; `-` for a message that has no content
    message: String,
    /// For a file: the folder of an application, or of several
    #[arg(default_value = ".")]
    dir: PathBuf,
    /// For a file: the file of the environment, whose variables are put in
    #[arg(long, value_name = "FILE")]
    group: Option<PathBuf>,
    /// For a file: the receive port or location that it comes in by, such as orders.web
    #[arg(long, value_name = "PORT", conflicts_with = "of_type")]
    receive: Option<String>,
    /// For a file: its type, where nothing is to be read from it
    #[arg(long = "type", value_name = "TYPE")]
    of_type: Option<String>,
    /// For a file: a property that it has beside those that are read from it; may be repeated
    #[arg(long = "property", value_name = "NAME=VALUE")]
    properties: Vec<String>,
    /// Only this port or orchestration
    #[arg(long, value_name = "NAME")]
    port: Option<String>,
    #[command(flatten)]
    remote: Remote,
}

/// Tells who gets a message, and why.
pub(super) async fn explain(args: &ExplainArgs) -> Result<Exit, Failure> {
    let path = Path::new(&args.message);
    let stored: Option<MessageId> = args.message.parse().ok();
    let mut told = match stored.filter(|_| !path.exists()) {
        Some(id) => {
            let path = format!("/messages/{id}/routing");
            args.remote.client()?.get(&path, &[]).await?
        }
        None => of_file(args, path)?,
    };
    if let Some(port) = &args.port {
        only(&mut told, port)?;
    }
    args.remote.output().text(&told, &in_words(&told))
}

/// Leaves the subscriptions of one port or orchestration.
fn only(told: &mut Value, port: &str) -> Result<(), Failure> {
    let Some(all) = told["subscriptions"].as_array_mut() else {
        return Ok(());
    };
    let is_it =
        |name: &str| name == port || name.split_once('.').is_some_and(|(_, short)| short == port);
    let named = |one: &Value| one["name"].as_str().unwrap_or_default().to_owned();
    let known: Vec<String> = all.iter().map(named).collect();
    all.retain(|one| is_it(&named(one)));
    if all.is_empty() {
        let known: Vec<&str> = known.iter().map(String::as_str).collect();
        let near = suggestion(port, &known);
        let message = format!("there is no port or orchestration `{port}`{near}");
        return Err(Failure::new(codes::NOT_FOUND, message).exiting(Exit::NotFound));
    }
    Ok(())
}

fn of_file(args: &ExplainArgs, path: &Path) -> Result<Value, Failure> {
    let report = Report::default();
    let Some(loaded) = load(&args.dir, args.group.as_ref(), &report) else {
        complain(&report.to_string());
        let message = format!("the configuration in {} has errors", args.dir.display());
        return Err(Failure::new(codes::BAD_REQUEST, message)
            .exiting(Exit::BadConfig)
            .with_help("Correct what is named above; a message is held against a sound one."));
    };
    let plan = &loaded.plan;
    let body = match args.message.as_str() {
        "-" => Vec::new(),
        _ => cases::read_message(path).map_err(|why| {
            let message = format!("{}: {why}", path.display());
            Failure::new(codes::FILE, message)
        })?,
    };
    let mut context = Context::new();
    for property in &args.properties {
        let (name, value) = property_of(plan, property)?;
        context.promote(name, value);
    }
    let message = match (&args.of_type, args.message.as_str()) {
        (None, "-") | (Some(_), _) => {
            let of = args.of_type.as_deref().map(Text::lossy);
            plain(of, context, body)
        }
        (None, _) => {
            let location = location(plan, args.receive.as_deref())?;
            let content_type = Some(Text::lossy(cases::content_type_of(path)));
            read(plan, location, (content_type, body), context)?
        }
    };
    Ok(json!(held_against(plan, &HashSet::new(), &message)))
}

/// A message of which nothing is read.
fn plain(of: Option<Text>, context: Context, body: Vec<u8>) -> Message {
    Message {
        id: MessageId::from_bytes([0; 16]),
        received_at: Timestamp::from_micros(0),
        origin: Text::lossy("(nowhere)"),
        message_type: of,
        context,
        parts: vec![Part {
            name: Name::new("body").expect("`body` is a name"),
            content_type: None,
            content: quayside_model::Content::Inline(body.into()),
        }],
    }
}

/// The message that a location makes of a file.
fn read(
    plan: &Plan,
    location: Name,
    (content_type, body): (Option<Text>, Vec<u8>),
    context: Context,
) -> Result<Message, Failure> {
    let incoming = Incoming {
        location: location.clone(),
        content_type,
        body: body.into(),
        context,
        told: true,
    };
    let id = MessageId::from_bytes([0; 16]);
    let taken = take_in(plan, incoming, id, Timestamp::from_micros(0));
    let taken = taken.map_err(|stopped| Failure::new(codes::NOT_FOUND, stopped.to_string()))?;
    match taken {
        TakenIn::Message { message, .. } => Ok(*message),
        TakenIn::Refused(refusal) | TakenIn::Suspended(_, refusal) => {
            let message = format!("`{location}` does not take it in: {}", refusal.detail);
            Err(Failure::new(refusal.code, message))
        }
    }
}

/// The location that is meant: by its name, by that of its port, or the only one.
fn location(plan: &Plan, wanted: Option<&str>) -> Result<Name, Failure> {
    let all = || plan.receive.iter().flat_map(|port| &port.locations);
    let ports = plan.receive.iter().map(|port| &port.name);
    let names = ports.chain(all().map(|location| &location.name));
    let short = |name: &'_ Name| {
        name.split_once('.')
            .map_or("", |(_, short)| short)
            .to_owned()
    };
    let names: Vec<String> = names.map(short).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let found: Vec<&Name> = match wanted {
        None => all().map(|location| &location.name).collect(),
        Some(wanted) => {
            let is_it = |name: &str| {
                name == wanted
                    || name
                        .split_once('.')
                        .is_some_and(|(_, short)| short == wanted)
            };
            let ports = plan.receive.iter();
            // All locations of a port read alike.
            let of_port = ports.filter(|port| is_it(&port.name));
            let of_port = of_port.filter_map(|port| port.locations.first());
            let own = all().filter(|location| is_it(&location.name));
            own.chain(of_port).map(|location| &location.name).collect()
        }
    };
    match (found.as_slice(), wanted) {
        ([only], _) => Ok((*only).clone()),
        ([], Some(wanted)) => {
            let near = suggestion(wanted, &names);
            let message = format!("there is no receive port or location `{wanted}`{near}");
            Err(Failure::new(codes::NOT_FOUND, message).exiting(Exit::NotFound))
        }
        _ => {
            let found: Vec<&str> = found.iter().map(|name| name.as_str()).collect();
            let message = format!("there are several receive locations: {}", found.join(", "));
            Err(Failure::new(codes::BAD_REQUEST, message)
                .exiting(Exit::Usage)
                .with_help(
                    "Say with --receive which one it comes in by, or with --type what it is.",
                ))
        }
    }
}

/// `NAME=VALUE`, of the type with which a message promotes a property of this name.
fn property_of(plan: &Plan, text: &str) -> Result<(Name, Property), Failure> {
    let bad = |message: String| {
        Failure::new(codes::BAD_REQUEST, message)
            .exiting(Exit::Usage)
            .with_help(
                "Write NAME=VALUE, with a value of the type that the message promotes it as.",
            )
    };
    let (name, value) = text
        .split_once('=')
        .ok_or_else(|| bad(format!("`{text}` is not NAME=VALUE, such as Country=DE")))?;
    let receive = plan.receive.iter().flat_map(|port| &port.messages);
    let process = plan.orchestrations.iter().flat_map(|one| &one.messages);
    let mut all = receive
        .chain(process)
        .flat_map(|message| message.promotions.properties());
    let of = all.find(|(known, _)| known.as_str() == name);
    let of = of.map_or(ValueType::String, |(_, of)| of);
    let value = Property::parse(value, of).map_err(|error| bad(format!("{name}: {error}")))?;
    let name = Name::new(name).map_err(|error| bad(error.to_string()))?;
    Ok((name, value))
}

/// An explanation for a person: who gets it, and then each subscription with its terms.
fn in_words(told: &Value) -> String {
    let mut text = String::new();
    let said = |value: &Value| value.as_str().map(str::to_owned);
    let of = said(&told["message_type"]).unwrap_or_else(|| "(no type)".to_owned());
    let origin = said(&told["origin"]).unwrap_or_default();
    line(&mut text, &format!("{of} from {origin}"));
    for property in told["properties"].as_array().into_iter().flatten() {
        let (name, value) = (said(&property["name"]), said(&property["value"]));
        let hidden = match property["promoted"].as_bool() {
            Some(false) => "   (not promoted: filters do not see it)",
            _ => "",
        };
        let (name, value) = (name.unwrap_or_default(), value.unwrap_or_default());
        line(&mut text, &format!("  {name} = {value}{hidden}"));
    }
    let all: Vec<&Value> = told["subscriptions"]
        .as_array()
        .into_iter()
        .flatten()
        .collect();
    let matched = all.iter().filter(|one| one["matched"] == true);
    let names: Vec<String> = matched.filter_map(|one| said(&one["name"])).collect();
    let to = match names.as_slice() {
        [] => "Nobody gets it.".to_owned(),
        names => format!("It goes to {}.", names.join(", ")),
    };
    line(&mut text, "");
    line(&mut text, &to);
    for one in all {
        line(&mut text, "");
        for told in subscription(one) {
            line(&mut text, &told);
        }
    }
    text
}

fn line(text: &mut String, line: &str) {
    let line = printable(line);
    writeln!(text, "{}", line.trim_end()).expect("writing to a string cannot fail");
}

/// A subscription with its terms.
fn subscription(one: &Value) -> Vec<String> {
    let said = |key: &str| one[key].as_str().unwrap_or_default();
    let group = match said("group") {
        "" => String::new(),
        group => format!(" by the group {group}"),
    };
    let what = said("kind").replace('-', " ");
    let verdict = match (one["matched"].as_bool(), one["enlisted"].as_bool()) {
        (Some(true), _) => "gets it",
        (_, Some(false)) => "does not get it: the port is unenlisted",
        _ if one["filter"].is_null() => "does not get it: it has no filter",
        _ => "does not get it",
    };
    let mut lines = vec![format!("{} ({what}){group} {verdict}", said("name"))];
    if !one["filter"].is_null() {
        term(&one["filter"], 1, &mut lines);
    }
    let notes = one["notes"].as_array().into_iter().flatten();
    lines.extend(notes.filter_map(|note| Some(format!("  {}", note.as_str()?))));
    lines
}

/// The terms of a subscription, for whoever tells more of it.
pub(crate) fn lines_of(held: &Held) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(filter) = &held.filter {
        term(&json!(filter), 0, &mut lines);
    }
    lines
}

fn term(one: &Value, depth: usize, lines: &mut Vec<String>) {
    let said = |key: &str| one[key].as_str().unwrap_or_default();
    let verdict = match said("verdict") {
        "no-condition" => "no condition",
        verdict => verdict,
    };
    let indent = "  ".repeat(depth);
    let parts: Vec<&Value> = one["parts"].as_array().into_iter().flatten().collect();
    if !parts.is_empty() {
        let join = match said("join") {
            "all" => "all of:",
            "any" => "any of:",
            _ => "not:",
        };
        lines.push(format!("{indent}{verdict:<6} {join}"));
        parts
            .into_iter()
            .for_each(|part| term(part, depth + 1, lines));
        return;
    }
    let mut line = format!("{indent}{verdict:<6} {}", said("text"));
    let named = one["named"].as_array().into_iter().flatten();
    let named = named.map(|named| {
        let property = named["property"].as_str().unwrap_or_default();
        match (named["value"].as_str(), named["hidden"].as_bool()) {
            (Some(value), _) => format!("{property} is {value}"),
            (None, Some(true)) => format!("{property} is not promoted"),
            (None, _) => format!("it has no {property}"),
        }
    });
    let mut remarks: Vec<String> = named.collect();
    remarks.extend(one["why"].as_str().map(str::to_owned));
    if !remarks.is_empty() {
        write!(line, "   [{}]", remarks.join(", ")).expect("writing to a string cannot fail");
    }
    lines.push(line);
}

#[cfg(test)]
mod tests {
    use quayside_engine::{
        explain::Explanation,
        filter::{Join, Named, Term, Verdict},
    };

    use super::*;

    /// An explanation has the form that its text is made from, whoever has made it.
    #[test]
    fn terms_are_told_with_their_values_and_indented() {
        let leaf = |text: &str, verdict, named: Vec<Named>| Term {
            text: text.to_owned(),
            verdict,
            join: None,
            parts: Vec::new(),
            named,
            why: None,
        };
        let named = |property: &str, value: Option<&str>, hidden| Named {
            property: property.to_owned(),
            value: value.map(str::to_owned),
            hidden,
        };
        let filter = Term {
            text: String::new(),
            verdict: Verdict::False,
            join: Some(Join::All),
            parts: vec![
                leaf(
                    "Total < 5",
                    Verdict::False,
                    vec![named("Total", Some("9"), false)],
                ),
                leaf(
                    "Country == 'DE'",
                    Verdict::Absent,
                    vec![named("Country", None, true)],
                ),
            ],
            named: Vec::new(),
            why: None,
        };
        let told = Explanation {
            message_type: Some(Text::lossy("urn:orders#Order")),
            origin: Text::lossy("orders.orders.web"),
            properties: Vec::new(),
            subscriptions: vec![Held {
                name: Name::new("orders.erp").expect("a name"),
                kind: "send-port",
                group: None,
                matched: false,
                enlisted: true,
                filter: Some(filter),
                notes: vec!["a note".to_owned()],
            }],
        };
        let wanted = "\
urn:orders#Order from orders.orders.web

Nobody gets it.

orders.erp (send port) does not get it
  false  all of:
    false  Total < 5   [Total is 9]
    absent Country == 'DE'   [Country is not promoted]
  a note
";
        assert_eq!(in_words(&json!(told)), wanted);
    }
}
