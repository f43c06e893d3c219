//! `quayside orchestrations`.

use std::fmt::Write as _;

use clap::{Args, Subcommand, builder::PossibleValuesParser};
use serde_json::{Value, json};

use super::{
    Remote,
    client::{Client, segment},
    codes,
    messages::rows,
    output::{Output, Table, moment, text_of},
    watch::{Seen, Watch},
};
use crate::{
    admin::RUN_STATES,
    exit::{Exit, Failure},
};

/// What to do with orchestrations.
#[derive(Debug, Subcommand)]
pub(super) enum OrchestrationsVerb {
    /// List instances, newest first
    List(ListArgs),
    /// Tell where an instance is and what waits for it
    Show(OneArgs),
    /// Take an instance out of the flow until it is resumed
    Suspend(OneArgs),
    /// Let suspended instances go on; a step that failed runs again
    #[command(
        override_usage = "quayside orchestrations resume [OPTIONS] <IDS>...\n       \
                                quayside orchestrations resume [OPTIONS] --orchestration <NAME>"
    )]
    Resume(SomeArgs),
    /// End instances; what they have done stays done
    #[command(
        override_usage = "quayside orchestrations terminate [OPTIONS] <IDS>...\n       \
                                quayside orchestrations terminate [OPTIONS] --orchestration <NAME>"
    )]
    Terminate(SomeArgs),
    /// Have the step that failed or waits run again: a call is made once more, under its key
    RetryStep(StepArgs),
    /// Draw an orchestration
    Graph(GraphArgs),
}

/// Which instances.
#[derive(Debug, Args)]
pub(super) struct ListArgs {
    /// Only those of this orchestration, or of an application: its name and a dot
    #[arg(long, value_name = "NAME")]
    orchestration: Option<String>,
    /// Only those that stand so, as in the column STATE
    #[arg(long, value_parser = PossibleValuesParser::new(RUN_STATES))]
    state: Option<String>,
    /// Only those older than this instance: the next page
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

/// One instance.
#[derive(Debug, Args)]
pub(super) struct OneArgs {
    /// The id of the instance
    id: String,
    /// Why, for those who look later
    #[arg(long)]
    reason: Option<String>,
    #[command(flatten)]
    remote: Remote,
}

/// Some instances.
#[derive(Debug, Args)]
pub(super) struct SomeArgs {
    /// The ids of the instances
    #[arg(required_unless_present = "orchestration")]
    ids: Vec<String>,
    /// All suspended ones of this orchestration, or of an application: its name and a dot
    #[arg(long, value_name = "NAME", conflicts_with = "ids")]
    orchestration: Option<String>,
    /// Why, for those who look later
    #[arg(long)]
    reason: Option<String>,
    #[command(flatten)]
    remote: Remote,
}

/// A step of an instance.
#[derive(Debug, Args)]
pub(super) struct StepArgs {
    /// The id of the instance
    id: String,
    /// The step, where several branches wait; otherwise the one that failed, or the only one
    #[arg(long)]
    step: Option<String>,
    /// Why, for those who look later
    #[arg(long)]
    reason: Option<String>,
    #[command(flatten)]
    remote: Remote,
}

/// One orchestration.
#[derive(Debug, Args)]
pub(super) struct GraphArgs {
    /// The full name of the orchestration, such as orders.approval
    name: String,
    /// As a picture: SVG
    #[arg(long)]
    svg: bool,
    #[command(flatten)]
    remote: Remote,
}

/// Runs the verb.
pub(super) async fn orchestrations(verb: &OrchestrationsVerb) -> Result<Exit, Failure> {
    match verb {
        OrchestrationsVerb::List(args) => {
            let (client, output) = (args.remote.client()?, args.remote.output());
            let look = async || list(&client, args, output).await;
            args.watch.show(output, look).await
        }
        OrchestrationsVerb::Show(args) => {
            let path = format!("/orchestrations/instances/{}", segment(&args.id));
            let told = args.remote.client()?.get(&path, &[]).await?;
            args.remote.output().text(&told, &in_words(&told))
        }
        OrchestrationsVerb::Suspend(args) => {
            let body = because(args.reason.as_deref());
            leave(&args.remote, &args.id, "suspend", &body).await
        }
        OrchestrationsVerb::Resume(args) => orders(args, "resume").await,
        OrchestrationsVerb::Terminate(args) => orders(args, "terminate").await,
        OrchestrationsVerb::RetryStep(args) => {
            let mut body = because(args.reason.as_deref());
            if let Some(step) = &args.step {
                body["step"] = json!(step);
            }
            leave(&args.remote, &args.id, "retry-step", &body).await
        }
        OrchestrationsVerb::Graph(args) => {
            let path = format!("/orchestrations/{}/graph", segment(&args.name));
            let graph = args.remote.client()?.get(&path, &[]).await?;
            let form = if args.svg { "svg" } else { "text" };
            let text = format!("{}\n", graph[form].as_str().unwrap_or_default().trim_end());
            args.remote.output().text(&graph, &text)
        }
    }
}

fn because(reason: Option<&str>) -> Value {
    reason.map_or_else(|| json!({}), |reason| json!({ "reason": reason }))
}

/// Leaves an order for each instance that is meant.
async fn orders(args: &SomeArgs, verb: &str) -> Result<Exit, Failure> {
    let body = because(args.reason.as_deref());
    if let ([id], None) = (args.ids.as_slice(), &args.orchestration) {
        return leave(&args.remote, id, verb, &body).await;
    }
    let client = args.remote.client()?;
    let ids = match &args.orchestration {
        Some(name) if !name.contains('.') => {
            let message = format!(
                "`{name}` is not the full name of an orchestration; for all of an application write `{name}.`"
            );
            return Err(Failure::new(codes::BAD_REQUEST, message)
                .exiting(Exit::Usage)
                .with_help("List what there is with `quayside orchestrations list`."));
        }
        Some(name) => suspended(&client, name).await?,
        None => args.ids.clone(),
    };
    let mut table = Table::new(&["id", "outcome"]);
    let (mut outcomes, mut refused, mut broken) = (Vec::new(), 0, None);
    for id in &ids {
        let outcome = match order(&client, id, verb, &body, args.orchestration.is_some()).await {
            Ok(true) => "ordered".to_owned(),
            Ok(false) => "not suspended any more".to_owned(),
            // It has ended meanwhile, or never was.
            Err(failure) if failure.exit == Exit::NotFound || failure.exit == Exit::Failed => {
                refused += 1;
                format!("{}: {}", failure.code, failure.message)
            }
            // Whatever else is wrong is so for all of them.
            Err(failure) => {
                let outcome = format!("{}: {}", failure.code, failure.message);
                broken = Some(failure);
                outcome
            }
        };
        table.row(vec![id.clone(), outcome.clone()]);
        outcomes.push(json!({ "id": id, "outcome": outcome }));
        if broken.is_some() {
            break;
        }
    }
    let told = json!({ "outcomes": outcomes });
    args.remote
        .output()
        .table(&told, &table, "No suspended instances.")?;
    if let Some(failure) = broken {
        return Err(failure);
    }
    if refused > 0 {
        let message = format!("{refused} of {} orders were refused", ids.len());
        return Err(Failure::new(codes::PARTLY, message));
    }
    Ok(Exit::Ok)
}

/// Leaves an order for one of several instances. With `suspended` only if it still is: to leave thousands takes minutes, in which
/// others decide as well. `false`: it is not.
async fn order(
    client: &Client,
    id: &str,
    verb: &str,
    body: &Value,
    suspended: bool,
) -> Result<bool, Failure> {
    let path = format!("/orchestrations/instances/{}", segment(id));
    if suspended && text_of(&client.get(&path, &[]).await?, "state") != "suspended" {
        return Ok(false);
    }
    match client.post(&format!("{path}/{verb}"), body).await {
        // Somebody was faster.
        Err(failure) if suspended && failure.code == codes::NOT_NOW => Ok(false),
        other => other.map(|_| true),
    }
}

/// The ids of all suspended instances of an orchestration, newest first.
async fn suspended(client: &Client, orchestration: &str) -> Result<Vec<String>, Failure> {
    let mut ids = Vec::new();
    let mut before: Option<String> = None;
    loop {
        let mut query = vec![
            ("limit", PAGE.to_string()),
            ("orchestration", orchestration.to_owned()),
            ("state", "suspended".to_owned()),
        ];
        query.extend(before.take().map(|before| ("before", before)));
        let answer = client.get("/orchestrations/instances", &query).await?;
        let page = rows(&answer, "instances").iter();
        ids.extend(page.map(|row| text_of(row, "id")));
        match answer["next"].as_str() {
            Some(next) => before = Some(next.to_owned()),
            None => return Ok(ids),
        }
    }
}

/// Leaves an order, which whichever process works on the instance next carries out.
async fn leave(remote: &Remote, id: &str, verb: &str, body: &Value) -> Result<Exit, Failure> {
    let path = format!("/orchestrations/instances/{}/{verb}", segment(id));
    let answer = remote.client()?.post(&path, body).await?;
    let text = format!(
        "Ordered. `quayside orchestrations show {}` tells what came of it.\n",
        text_of(&answer, "id")
    );
    remote.output().text(&answer, &text)
}

async fn list(client: &Client, args: &ListArgs, output: Output) -> Result<Seen, Failure> {
    let mut query = vec![("limit", args.limit.to_string())];
    let given = [
        ("orchestration", &args.orchestration),
        ("state", &args.state),
        ("before", &args.before),
    ];
    let given = given.into_iter();
    query.extend(given.filter_map(|(key, value)| Some((key, value.clone()?))));
    let answer = client.get("/orchestrations/instances", &query).await?;
    let headings = &[
        "id",
        "orchestration",
        "state",
        "started",
        "changed",
        "until",
        "reason",
    ];
    let mut table = Table::new(headings);
    for row in rows(&answer, "instances") {
        table.row(vec![
            text_of(row, "id"),
            text_of(row, "orchestration"),
            state(row),
            moment(row, "started_at"),
            moment(row, "changed_at"),
            moment(row, "due"),
            text_of(row, "reason"),
        ]);
    }
    let mut text = output.render_or(&table, "No instances.");
    if let Some(next) = answer["next"].as_str() {
        writeln!(text, "\nThere are more. The next page: add --before {next}")
            .expect("writing to a string cannot fail");
    }
    Ok((answer, text))
}

/// The state, with what an ended instance has left.
fn state(row: &Value) -> String {
    match row["discarded"].as_u64() {
        Some(left @ 1..) => format!("{} ({left} discarded)", text_of(row, "state")),
        _ => text_of(row, "state"),
    }
}

/// How many instances are asked for at once.
const PAGE: u32 = 1000;
/// How many characters of a value a person sees.
const SEEN: usize = 120;

/// A value for a person: as long as a line takes, in one line.
fn shown(value: &Value) -> String {
    let whole = match value {
        Value::String(text) => text.clone(),
        Value::Array(list) => {
            let texts: Vec<&str> = list.iter().filter_map(Value::as_str).collect();
            format!("[{}]", texts.join(", "))
        }
        other => other.to_string(),
    };
    let whole: String = whole
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    match whole.char_indices().nth(SEEN) {
        Some((end, _)) => format!(
            "{} ... ({} characters)",
            &whole[..end],
            whole.chars().count()
        ),
        None => whole,
    }
}

/// An instance for a person.
fn in_words(told: &Value) -> String {
    let mut text = String::new();
    let mut line = |what: &str, value: &str| {
        if !value.is_empty() && value != "-" {
            writeln!(text, "{what:<14} {value}").expect("writing to a string cannot fail");
        }
    };
    line("instance", &text_of(told, "id"));
    line("orchestration", &text_of(told, "orchestration"));
    line("state", &state(told));
    line("reason", &text_of(told, "reason"));
    if let Some(order) = told["ordered"].as_str() {
        line(
            "ordered",
            &format!("{order}, which nobody has carried out yet"),
        );
    }
    line("started", &moment(told, "started_at"));
    line("changed", &moment(told, "changed_at"));
    line("until", &moment(told, "due"));
    for position in rows(told, "positions") {
        let rounds: Vec<String> = rows(position, "rounds")
            .iter()
            .map(Value::to_string)
            .collect();
        let rounds = match rounds.as_slice() {
            [] => String::new(),
            rounds => format!(", round {}", rounds.join(" of ")),
        };
        let waits = match position["waits_for"].as_str() {
            Some(what) => format!(", waits ({what})"),
            None => String::new(),
        };
        line(
            "at step",
            &format!("{}{rounds}{waits}", text_of(position, "step")),
        );
    }
    for set in rows(told, "correlations") {
        let values = set["values"].as_object().into_iter().flatten();
        let values = values.map(|(name, value)| format!("{name} = {}", shown(value)));
        let values: Vec<String> = values.collect();
        line(
            "correlation",
            &format!("{}: {}", text_of(set, "name"), values.join(", ")),
        );
    }
    for message in rows(told, "messages") {
        let what = format!("{} {}", text_of(message, "name"), text_of(message, "id"));
        line("message", &what);
    }
    for variable in rows(told, "variables") {
        let value = shown(&variable["value"]);
        line(
            "variable",
            &format!("{} = {value}", text_of(variable, "name")),
        );
    }
    for waiting in rows(told, "inbox") {
        line("in its inbox", &text_of(waiting, "delivery"));
    }
    text
}
