//! `quayside cluster`.

use clap::Subcommand;

use super::{
    Remote,
    client::Client,
    output::{Output, Table, text_of},
    watch::{Seen, Watch},
};
use crate::exit::{Exit, Failure};

/// What to do with clustered hosts.
#[derive(Debug, Subcommand)]
pub(super) enum ClusterVerb {
    /// Tell which node runs each clustered host
    Status {
        #[command(flatten)]
        watch: Watch,
        #[command(flatten)]
        remote: Remote,
    },
}

/// Runs the verb.
pub(super) async fn cluster(verb: &ClusterVerb) -> Result<Exit, Failure> {
    let ClusterVerb::Status { watch, remote } = verb;
    let (client, output) = (remote.client()?, remote.output());
    watch
        .show(output, async || status(&client, output).await)
        .await
}

async fn status(client: &Client, output: Output) -> Result<Seen, Failure> {
    let answer = client.get("/cluster", &[]).await?;
    let mut table = Table::new(&["host", "state", "node", "epoch", "instance"]);
    for host in answer["hosts"].as_array().into_iter().flatten() {
        let state = match (host["node"].is_null(), host["here"] == true) {
            (true, _) => "nobody runs it",
            (false, true) => "active, this process",
            (false, false) => "active",
        };
        table.row(vec![
            text_of(host, "host"),
            state.to_owned(),
            text_of(host, "node"),
            host["epoch"].to_string(),
            text_of(host, "instance"),
        ]);
    }
    let text = output.render_or(&table, "No clustered hosts.");
    Ok((answer, text))
}
