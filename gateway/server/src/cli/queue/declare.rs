//! `quayside queue declare`.

use std::path::PathBuf;

use clap::Args;
use quayside_adapter_api::AdapterError;
use serde_json::{Value, json};

use super::{
    codes, failed, many,
    place::{BrokerArgs, Known},
};
use crate::{
    cli::{
        Show,
        output::{self, Output, Table},
    },
    exit::{Exit, Failure},
    wiring::{
        declare::{Argument, Difference, Planned, Site},
        manage::{Session, Standing},
    },
};

/// Which queues.
#[derive(Debug, Args)]
pub(in crate::cli) struct DeclareArgs {
    /// A file of definitions, or the folder of an application or of several
    #[arg(value_name = "FILE|APP")]
    what: PathBuf,
    /// Only tell what would be done
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    broker: BrokerArgs,
    #[command(flatten)]
    show: Show,
}

/// What became of one queue.
struct Outcome<'a> {
    site: &'a Site,
    planned: &'a Planned,
    state: &'static str,
    differences: Vec<Difference>,
    detail: String,
    error: Option<AdapterError>,
}

/// Makes what is not there, and ends with 1 if anything is there that differs.
pub(super) async fn declare(args: &DeclareArgs) -> Result<Exit, Failure> {
    let known = match args.what.is_file() {
        true => args.broker.of_file(&args.what)?,
        false => args.broker.of_application(&args.what)?,
    };
    let mut outcomes: Vec<Outcome<'_>> = Vec::new();
    for site in &known.plan.sites {
        outcomes.extend(declare_at(site, &known, args.dry_run).await?);
    }
    let output = args.show.output();
    let value = json!({
        "dry_run": args.dry_run,
        "queues": outcomes.iter().map(Outcome::to_json).collect::<Vec<_>>(),
        "notes": known.plan.notes,
    });
    let mut text = table(&outcomes, args.dry_run, output);
    for note in &known.plan.notes {
        text.push_str(&format!("note: {note}\n"));
    }
    output.text(&value, &text)?;
    let states: Vec<&str> = outcomes.iter().map(|outcome| outcome.state).collect();
    let count = |wanted: &str| states.iter().filter(|state| **state == wanted).count() as u64;
    if let Some(error) = outcomes.iter_mut().find_map(|outcome| outcome.error.take()) {
        let failing = many(count("failed"), "queue");
        let detail = format!("{failing} could not be declared; {}", error.detail);
        let (code, failure) = (error.code, failed(AdapterError { detail, ..error }));
        return Err(match code {
            codes::LOGIN_REFUSED => failure.with_help(
                "Declare as a user with the right `configure`: `--user NAME`, and the password in \
                 QUAYSIDE_BROKER_PASSWORD.",
            ),
            _ => failure,
        });
    }
    let differing = count("differs");
    if differing > 0 {
        let is = if differing == 1 { "is" } else { "are" };
        let differing = many(differing, "queue");
        let message = format!("{differing} {is} there with other arguments and left unchanged");
        return Err(Failure::new(codes::DIFFERS, message));
    }
    Ok(Exit::Ok)
}

async fn declare_at<'a>(
    site: &'a Site,
    known: &Known,
    dry_run: bool,
) -> Result<Vec<Outcome<'a>>, Failure> {
    let session = Session::open(site, &*known.secrets).await.map_err(failed)?;
    let mut outcomes = Vec::new();
    for planned in &site.queues {
        let mut outcome = Outcome {
            site,
            planned,
            state: "failed",
            differences: Vec::new(),
            detail: String::new(),
            error: None,
        };
        match one(&session, planned, dry_run).await {
            Ok(Standing::Missing) if dry_run => outcome.state = "would be created",
            Ok(Standing::Missing) => outcome.state = "created",
            Ok(Standing::Equal) => outcome.state = "equal",
            Ok(Standing::Different(differences)) => {
                outcome.state = "differs";
                outcome.detail = in_words(&differences);
                outcome.differences = differences;
            }
            Ok(Standing::Unread(refusal)) => {
                outcome.state = "differs";
                outcome.detail = refusal;
            }
            Err(error) if error.code == codes::UNREACHABLE => return Err(failed(error)),
            Err(error) => {
                outcome.detail.clone_from(&error.detail);
                outcome.error = Some(error);
            }
        }
        outcomes.push(outcome);
    }
    session.close().await;
    Ok(outcomes)
}

async fn one(
    session: &Session,
    planned: &Planned,
    dry_run: bool,
) -> Result<Standing, AdapterError> {
    let standing = session.compare(&planned.wanted).await?;
    if standing == Standing::Missing && !dry_run {
        session.create(&planned.wanted).await?;
    }
    Ok(standing)
}

/// `x-delivery-limit is 5, should be 20`
fn in_words(differences: &[Difference]) -> String {
    let one = |difference: &Difference| {
        let is = match &difference.there {
            None => "is not set".to_owned(),
            Some(there) => format!("is {there}"),
        };
        let should = match &difference.wanted {
            None => "should not be set".to_owned(),
            Some(wanted) => format!("should be {wanted}"),
        };
        format!("{} {is}, {should}", difference.argument)
    };
    let all: Vec<String> = differences.iter().map(one).collect();
    all.join("; ")
}

/// One line for each queue. The arguments only in a dry run, where they are what is asked for.
fn table(outcomes: &[Outcome<'_>], dry_run: bool, output: Output) -> String {
    let mut table = Table::new(match dry_run {
        true => &["queue", "kind", "state", "arguments"],
        false => &["queue", "kind", "state", ""],
    });
    for outcome in outcomes {
        let arguments = outcome.planned.wanted.arguments.iter();
        let arguments: Vec<String> = arguments.map(|(k, v)| format!("{k}={v}")).collect();
        let last = match outcome.detail.as_str() {
            "" if dry_run => arguments.join(" "),
            detail => detail.to_owned(),
        };
        table.row(vec![
            outcome.planned.wanted.name.clone(),
            outcome.planned.wanted.kind.word().to_owned(),
            outcome.state.to_owned(),
            output::printable(&last),
        ]);
    }
    output.render_or(&table, "No queue is defined.")
}

impl Outcome<'_> {
    fn to_json(&self) -> Value {
        let wanted = &self.planned.wanted;
        let arguments = wanted.arguments.iter();
        let value = |argument: &Option<Argument>| match argument {
            Some(argument) => argument.to_json(),
            None => Value::Null,
        };
        let difference = |difference: &Difference| {
            json!({
                "argument": difference.argument,
                "there": value(&difference.there),
                "wanted": value(&difference.wanted),
            })
        };
        json!({
            "broker": self.site.url,
            "queue": wanted.name,
            "kind": wanted.kind.word(),
            "state": self.state,
            "arguments": arguments.map(|(k, v)| (k.clone(), v.to_json())).collect::<serde_json::Map<_, _>>(),
            "differences": self.differences.iter().map(difference).collect::<Vec<_>>(),
            "detail": self.detail,
            "roles": self.planned.roles,
        })
    }
}
