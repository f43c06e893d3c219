//! `quayside cluster`.

mod doubts;
mod drill;
mod follow;
#[cfg(test)]
mod guide;
mod render;

use std::time::Duration;

use clap::{Args, Subcommand};
use quayside_adapter_api::Span;
use quayside_model::Timestamp;
use serde_json::{Value, json};

use super::{
    Remote,
    client::{Client, segment},
    codes,
    output::Output,
    watch::{Seen, Watch},
};
use crate::{
    exit::{Exit, Failure},
    wiring,
};

/// What to do with clustered hosts and the nodes that run them.
#[derive(Debug, Subcommand)]
pub(super) enum ClusterVerb {
    /// Tell which node runs each clustered host, since when and why, and what to do where something is wrong
    Status {
        #[command(flatten)]
        watch: Watch,
        #[command(flatten)]
        remote: Remote,
    },
    /// List what has changed, newest first
    History(HistoryArgs),
    /// List deliveries that may have been sent already, and decide about them
    InDoubt(doubts::InDoubtArgs),
    /// Move a host to another node
    Move(MoveArgs),
    /// Take a host away from its owner on purpose, and tell what that cost
    Drill(drill::DrillArgs),
    /// Leave a host as it is: no restart, no move, nobody takes it over
    Pause(HostArgs),
    /// End a pause
    Unpause(HostArgs),
    /// Let one node run a host and no other; it moves there
    Pin(PinArgs),
    /// End a pin
    Unpin(HostArgs),
    /// Forget the failures, restarts and moves of a host, or the sessions that a node has lost
    Clear(ClearArgs),
    /// Let a host run
    Online(HostArgs),
    /// Finish the work of a host, and let nobody run it
    Offline(HostArgs),
    /// Move all hosts away from a node, and give it none
    Drain(DrainArgs),
    /// End the drain of a node
    Resume(NodeArgs),
}

/// Which changes.
#[derive(Debug, Args)]
pub(super) struct HistoryArgs {
    /// Only those of this host
    host: Option<String>,
    /// Only those on this node
    #[arg(long)]
    node: Option<String>,
    /// At most this many
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: u32,
    #[command(flatten)]
    watch: Watch,
    #[command(flatten)]
    remote: Remote,
}

/// One host.
#[derive(Debug, Args)]
pub(super) struct HostArgs {
    /// The name of the host
    host: String,
    #[command(flatten)]
    why: Why,
}

/// One node.
#[derive(Debug, Args)]
pub(super) struct NodeArgs {
    /// The name of the node
    node: String,
    #[command(flatten)]
    why: Why,
}

/// One host and its only node.
#[derive(Debug, Args)]
pub(super) struct PinArgs {
    /// The name of the host
    host: String,
    /// The only node that may run it
    node: String,
    #[command(flatten)]
    why: Why,
}

/// A host or a node.
#[derive(Debug, Args)]
pub(super) struct ClearArgs {
    /// The name of the host or of the node
    #[arg(value_name = "HOST|NODE")]
    name: String,
    /// It is a node, although a host has the same name
    #[arg(long)]
    node: bool,
    #[command(flatten)]
    why: Why,
}

/// Where and when a host is to move.
#[derive(Debug, Args)]
pub(super) struct MoveArgs {
    /// The name of the host
    host: String,
    /// Where to; the best other node if absent
    node: Option<String>,
    /// Not before this moment, as in 2026-11-21T22:00:00Z, or in so long, as in 2h
    #[arg(long, value_name = "TIME")]
    at: Option<String>,
    #[command(flatten)]
    wait: Wait,
    #[command(flatten)]
    why: Why,
}

/// One node to drain.
#[derive(Debug, Args)]
pub(super) struct DrainArgs {
    /// The name of the node
    node: String,
    #[command(flatten)]
    wait: Wait,
    #[command(flatten)]
    why: Why,
}

/// Whether to see it through.
#[derive(Debug, Clone, Copy, Args)]
struct Wait {
    /// Wait until it is done, and say how it went
    #[arg(long)]
    wait: bool,
    /// How long to wait at most, as in 30s
    #[arg(long, value_name = "TIME", default_value = "2m", requires = "wait")]
    within: Span,
}

/// Why it is done, and to which node it is said.
#[derive(Debug, Args)]
struct Why {
    /// Why, for those who read the history later
    #[arg(long)]
    reason: Option<String>,
    #[command(flatten)]
    remote: Remote,
}

impl Why {
    /// `body` with the reason.
    fn because(&self, mut body: Value) -> Value {
        if let Some(reason) = &self.reason {
            body["reason"] = json!(reason);
        }
        body
    }
}

/// Runs the verb.
pub(super) async fn cluster(verb: &ClusterVerb) -> Result<Exit, Failure> {
    match verb {
        ClusterVerb::Status { watch, remote } => {
            let (client, output) = (remote.client()?, remote.output());
            let look = async || status(&client, output, remote.admin_flag().as_deref()).await;
            watch.show(output, look).await
        }
        ClusterVerb::History(args) => {
            let (client, output) = (args.remote.client()?, args.remote.output());
            let look = async || history(&client, args, output).await;
            args.watch.show(output, look).await
        }
        ClusterVerb::InDoubt(args) => doubts::in_doubt(args).await,
        ClusterVerb::Move(args) => move_host(args).await,
        ClusterVerb::Drill(args) => drill::drill(args).await,
        ClusterVerb::Pause(args) => of_host(args, "pause").await,
        ClusterVerb::Unpause(args) => of_host(args, "unpause").await,
        ClusterVerb::Pin(args) => {
            let body = args.why.because(json!({ "node": args.node }));
            told_host(&args.host, "pin", &body, &args.why.remote).await
        }
        ClusterVerb::Unpin(args) => of_host(args, "unpin").await,
        ClusterVerb::Clear(args) => clear(args).await,
        ClusterVerb::Online(args) => of_host(args, "online").await,
        ClusterVerb::Offline(args) => of_host(args, "offline").await,
        ClusterVerb::Drain(args) => drain(args).await,
        ClusterVerb::Resume(args) => {
            let (client, why) = (args.why.remote.client()?, &args.why);
            let node = change_node(&client, &args.node, "resume", why).await?;
            show_node(&node, &why.remote)
        }
    }
}

async fn status(client: &Client, output: Output, admin: Option<&str>) -> Result<Seen, Failure> {
    let answer = client.get("/cluster", &[]).await?;
    let text = render::status(&answer, output, admin);
    Ok((answer, text))
}

async fn history(client: &Client, args: &HistoryArgs, output: Output) -> Result<Seen, Failure> {
    let mut query = vec![("limit", args.limit.to_string())];
    query.extend(args.host.clone().map(|host| ("host", host)));
    query.extend(args.node.clone().map(|node| ("node", node)));
    let answer = client.get("/cluster/history", &query).await?;
    let text = render::events(super::messages::rows(&answer, "events"), output);
    Ok((answer, text))
}

async fn of_host(args: &HostArgs, verb: &str) -> Result<Exit, Failure> {
    let body = args.why.because(json!({}));
    told_host(&args.host, verb, &body, &args.why.remote).await
}

/// Says `verb` about a host, and shows the host after that.
async fn told_host(host: &str, verb: &str, body: &Value, remote: &Remote) -> Result<Exit, Failure> {
    let path = format!("/cluster/hosts/{}/{verb}", segment(host));
    let host = remote.client()?.post(&path, body).await?;
    let text = render::host(&host, remote.output(), remote.admin_flag().as_deref());
    remote.output().text(&host, &text)
}

async fn change_node(client: &Client, node: &str, verb: &str, why: &Why) -> Result<Value, Failure> {
    let path = format!("/cluster/nodes/{}/{verb}", segment(node));
    client.post(&path, &why.because(json!({}))).await
}

fn show_node(node: &Value, remote: &Remote) -> Result<Exit, Failure> {
    let text = render::node(node, remote.admin_flag().as_deref());
    remote.output().text(node, &text)
}

async fn clear(args: &ClearArgs) -> Result<Exit, Failure> {
    let client = args.why.remote.client()?;
    let is_node = args.node || {
        // A name that neither has is refused as that of a host: those are what one mistypes.
        let all = client.get("/cluster", &[]).await?;
        let has = |list: &str, key: &str| {
            let rows = super::messages::rows(&all, list);
            rows.iter().any(|row| row[key] == args.name.as_str())
        };
        has("nodes", "node") && !has("hosts", "host")
    };
    if is_node {
        let node = change_node(&client, &args.name, "clear", &args.why).await?;
        return show_node(&node, &args.why.remote);
    }
    let body = args.why.because(json!({}));
    told_host(&args.name, "clear", &body, &args.why.remote).await
}

async fn move_host(args: &MoveArgs) -> Result<Exit, Failure> {
    let (client, remote) = (args.why.remote.client()?, &args.why.remote);
    let now = wiring::clock().now();
    let at = args.at.as_ref().map(|at| moment_of(at, now));
    let before = follow::last_event(&client, &args.host).await?;
    let body = args.why.because(json!({ "to": args.node, "at": at }));
    let path = format!("/cluster/hosts/{}/move", segment(&args.host));
    let ordered = client.post(&path, &body).await?;
    if !args.wait.wait {
        let text = render::ordered(&ordered, remote.admin_flag().as_deref());
        return remote.output().text(&ordered, &text);
    }
    // What is to happen later is waited for from then on.
    let later = at.and_then(|at| at.parse::<Timestamp>().ok());
    let later = later.map_or(Duration::ZERO, |at| at.since(now));
    let bound = later + args.wait.within.duration();
    let (told, text) = follow::host(&client, &ordered, args.node.as_deref(), before, bound).await?;
    let text = text(remote.output(), remote.admin_flag().as_deref());
    remote.output().text(&told, &text)
}

async fn drain(args: &DrainArgs) -> Result<Exit, Failure> {
    let (client, remote) = (args.why.remote.client()?, &args.why.remote);
    let node = change_node(&client, &args.node, "drain", &args.why).await?;
    if !args.wait.wait {
        return show_node(&node, remote);
    }
    let (told, text) = follow::node(&client, &node, args.wait.within.duration()).await?;
    remote.output().text(&told, &text)
}

/// The moment that `text` is, or that comes in so long. What is neither is the node's to refuse.
fn moment_of(text: &str, now: Timestamp) -> String {
    match text.parse::<Span>() {
        Ok(within) => now.plus(within.duration()).to_string(),
        Err(_) => text.to_owned(),
    }
}

/// An answer of the node without something that each has.
fn incomplete(what: &str) -> Failure {
    Failure::new(codes::INTERNAL, format!("the node's answer has no {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_a_time_or_comes_in_a_while() {
        let now: Timestamp = "2026-11-21T09:00:00Z".parse().expect("a moment");
        for (given, meant) in [
            ("2h", "2026-11-21T11:00:00.000000Z"),
            ("2026-11-22T00:00:00Z", "2026-11-22T00:00:00Z"),
            ("tonight", "tonight"),
        ] {
            assert_eq!(moment_of(given, now), meant);
        }
    }
}
