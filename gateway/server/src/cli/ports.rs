//! `quayside ports`.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::{
    Remote,
    client::{Client, segment},
    output::{Output, Table, moment, printable, text_of},
    watch::{Seen, Watch},
    way,
};
use crate::exit::{Exit, Failure};

/// What to do with ports.
#[derive(Debug, Subcommand)]
pub(super) enum PortsVerb {
    /// List send ports and receive locations
    List {
        #[command(flatten)]
        watch: Watch,
        #[command(flatten)]
        remote: Remote,
    },
    /// Show all that is known of one
    Show(NameArgs),
    /// Let it work: a send port sends, a location receives
    Start(PortArgs),
    /// Let it rest: a send port keeps its subscription and its deliveries wait, a location closes
    Stop(PortArgs),
    /// Subscribe again, without sending yet
    Enlist(PortArgs),
    /// Stop and give the subscription up: messages pass the port by
    Unenlist(PortArgs),
    /// Stop sending for a while
    Pause(PauseArgs),
    /// End a pause
    Resume(PortArgs),
    /// Connect to the partner and look whether the target is there; changes nothing
    Test(NameArgs),
}

/// One port to look at.
#[derive(Debug, Args)]
pub(super) struct NameArgs {
    /// The full name: APPLICATION.PORT or APPLICATION.PORT.LOCATION
    name: String,
    #[command(flatten)]
    remote: Remote,
}

/// One port to change.
#[derive(Debug, Args)]
pub(super) struct PortArgs {
    /// The full name: APPLICATION.PORT or APPLICATION.PORT.LOCATION
    name: String,
    /// Why, for those who look later
    #[arg(long)]
    reason: Option<String>,
    #[command(flatten)]
    remote: Remote,
}

/// One port for a while.
#[derive(Debug, Args)]
pub(super) struct PauseArgs {
    #[command(flatten)]
    port: PortArgs,
    /// How long, as in 30m
    #[arg(long = "for", value_name = "TIME", default_value = "1h")]
    duration: String,
}

/// Runs the verb.
pub(super) async fn ports(verb: &PortsVerb) -> Result<Exit, Failure> {
    match verb {
        PortsVerb::List { watch, remote } => {
            let (client, output) = (remote.client()?, remote.output());
            watch
                .show(output, async || list(&client, output).await)
                .await
        }
        PortsVerb::Show(args) => show(args).await,
        PortsVerb::Start(args) => control(args, "start", json!({})).await,
        PortsVerb::Stop(args) => control(args, "stop", json!({})).await,
        PortsVerb::Enlist(args) => control(args, "enlist", json!({})).await,
        PortsVerb::Unenlist(args) => control(args, "unenlist", json!({})).await,
        PortsVerb::Pause(args) => {
            control(&args.port, "pause", json!({ "for": args.duration })).await
        }
        PortsVerb::Resume(args) => control(args, "resume", json!({})).await,
        PortsVerb::Test(args) => test(args).await,
    }
}

async fn list(client: &Client, output: Output) -> Result<Seen, Failure> {
    let answer = client.get("/ports", &[]).await?;
    let mut table = Table::new(&[
        "name",
        "kind",
        "adapter",
        "state",
        "in hand",
        "waiting",
        "held",
        "suspended",
        "reason",
        "last failure",
    ]);
    for port in answer["ports"].as_array().into_iter().flatten() {
        table.row(vec![
            text_of(port, "name"),
            text_of(port, "kind"),
            text_of(port, "adapter"),
            state(port),
            count(&port["in_flight"]),
            count(&port["backlog"]["ready"]),
            count(&port["backlog"]["held"]),
            count(&port["backlog"]["suspended"]),
            reason(port),
            failure(port),
        ]);
    }
    let text = output.render_or(&table, "No ports.");
    Ok((answer, text))
}

/// A number that stands out where it is not 0.
fn count(count: &Value) -> String {
    match count.as_u64() {
        None | Some(0) => "-".to_owned(),
        Some(count) => count.to_string(),
    }
}

async fn show(args: &NameArgs) -> Result<Exit, Failure> {
    let path = format!("/ports/{}", segment(&args.name));
    let port = args.remote.client()?.get(&path, &[]).await?;
    let (backlog, tally) = (&port["backlog"], &port["tally"]);
    let mut table = Table::new(&["port", ""]);
    for (name, value) in [
        ("name", text_of(&port, "name")),
        ("kind", text_of(&port, "kind")),
        ("adapter", text_of(&port, "adapter")),
        ("host", text_of(&port, "host")),
        ("state", state(&port)),
        ("reason", reason(&port)),
        ("in hand here", count(&port["in_flight"])),
        ("in hand anywhere", count(&backlog["claimed"])),
        ("waiting", count(&backlog["ready"])),
        ("held by order", count(&backlog["held"])),
        ("suspended", count(&backlog["suspended"])),
        ("done here", count(&tally["done"])),
        ("failed here", count(&tally["failed"])),
        ("last success here", moment(tally, "last_done_at")),
        ("last failure here", failure(&port)),
    ] {
        if !value.is_empty() {
            table.row(vec![name.to_owned(), value]);
        }
    }
    args.remote.output().table(&port, &table, "")
}

fn state(port: &Value) -> String {
    let status = text_of(port, "status");
    if port["paused_until"].is_string() {
        let until = moment(port, "paused_until");
        return match status.as_str() {
            "started" => format!("paused until {until}"),
            // A pause must not hide that messages pass the port by.
            _ => format!("{status}, paused until {until}"),
        };
    }
    if port["kind"] == "removed" {
        return "not in the configuration".to_owned();
    }
    if status != "started" {
        return status;
    }
    if port["standby"] == true {
        return "started, standing by".to_owned();
    }
    if port["opens_at"].is_string() {
        return format!("shut until {}", moment(port, "opens_at"));
    }
    if port["resting"] == true {
        return "started, not working".to_owned();
    }
    if let Some(trouble) = trouble(port) {
        let what = match trouble["kind"].as_str() {
            Some("disconnected") => "not connected",
            _ => "held back by its partner",
        };
        return format!("started, {what}");
    }
    // Of a node that runs other hosts this is how it has to be.
    match (port["kind"].as_str(), port["running"].as_bool()) {
        (Some("location"), Some(false)) => "started, not open here".to_owned(),
        (_, Some(false)) => "started, not here".to_owned(),
        _ => status,
    }
}

/// What keeps a port from working that is open.
fn trouble(port: &Value) -> Option<&Value> {
    let trouble = &port["trouble"];
    (port["running"] == true && trouble.is_object()).then_some(trouble)
}

/// Why a port rests, or what it is in trouble with and since when.
fn reason(port: &Value) -> String {
    let told = text_of(port, "reason");
    match trouble(port) {
        Some(trouble) if told.is_empty() => format!(
            "{} {}, since {}",
            text_of(trouble, "code"),
            text_of(trouble, "detail"),
            moment(trouble, "since")
        ),
        _ => told,
    }
}

/// `CODE detail, at TIME`, or nothing.
fn failure(port: &Value) -> String {
    if port["last_failure"]["code"].is_null() {
        return String::new();
    }
    let mut failure = port["last_failure"].clone();
    failure["at"] = port["last_failure_at"].clone();
    way::failure(&failure)
}

async fn control(args: &PortArgs, verb: &str, mut body: Value) -> Result<Exit, Failure> {
    if let Some(reason) = &args.reason {
        body["reason"] = json!(reason);
    }
    let path = format!("/ports/{}/{verb}", segment(&args.name));
    let answer = args.remote.client()?.post(&path, &body).await?;
    let reason = match text_of(&answer, "reason") {
        reason if reason.is_empty() => reason,
        reason => format!(" ({})", printable(&reason)),
    };
    let text = format!("{}: {}{reason}\n", args.name, state(&answer));
    args.remote.output().text(&answer, &text)
}

async fn test(args: &NameArgs) -> Result<Exit, Failure> {
    let path = format!("/ports/{}/test", segment(&args.name));
    let answer = args.remote.client()?.post(&path, &json!({})).await?;
    let text = format!("{}: {}\n", args.name, text_of(&answer, "detail"));
    args.remote.output().text(&answer, &text)
}
