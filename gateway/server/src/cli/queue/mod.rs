//! `quayside queue`.

use clap::Subcommand;
use quayside_adapter_api::AdapterError;

mod declare;
mod list;
mod messages;
mod place;

use super::codes as cli_codes;
use crate::{
    exit::{Exit, Failure},
    wiring::queue_codes as codes,
};

/// What to do with queues.
#[derive(Debug, Subcommand)]
pub(super) enum QueueVerb {
    /// Make the queues of an application, and tell which ones are there with other arguments
    ///
    /// Nothing that is there is changed or deleted. Without `queues.toml` beside its `app.toml` the queues
    /// of an application follow from its locations and ports.
    Declare(declare::DeclareArgs),
    /// List queues: what waits in them and what they are for
    ///
    /// Without the address of the management API only the queues of the application are listed, with what
    /// AMQP tells of them. Figures of the management API are some seconds old.
    List(list::ListArgs),
    /// Look at the messages at the head of a queue
    ///
    /// AMQP has no look that leaves no trace. The messages are taken and go back together, with those that
    /// came back before, so that all stay in their order; each is marked as redelivered, and a quorum queue
    /// counts one delivery: at its limit the broker moves a message into the dead letter queue. A queue that
    /// has consumers is not looked into, because messages would overtake.
    Peek(messages::PeekArgs),
    /// Return messages from a dead letter queue to where they came from
    ///
    /// In their order, with the same ids, each confirmed in its queue before it is taken out here. If that
    /// is cut off a message may be in both queues; its id tells.
    Return(messages::ReturnArgs),
    /// Delete the messages that wait in a queue, for good
    Purge(messages::PurgeArgs),
}

/// Runs the verb.
pub(super) async fn queue(verb: &QueueVerb) -> Result<Exit, Failure> {
    match verb {
        QueueVerb::Declare(args) => declare::declare(args).await,
        QueueVerb::List(args) => list::list(args).await,
        QueueVerb::Peek(args) => messages::peek(args).await,
        QueueVerb::Return(args) => messages::give_back(args).await,
        QueueVerb::Purge(args) => messages::purge(args).await,
    }
}

/// A failure of the broker as a verb reports it.
fn failed(error: AdapterError) -> Failure {
    let exit = match error.code {
        codes::UNREACHABLE | codes::NO_MANAGEMENT => Exit::NoNode,
        codes::QUEUE_MISSING => Exit::NotFound,
        _ => Exit::Failed,
    };
    let failure = Failure::new(error.code, error.detail).exiting(exit);
    match error.code {
        // The remedies of these speak of a port that goes on by itself.
        codes::QUEUE_MISSING => failure.with_help(
            "`quayside queue list` shows the queues there are; `quayside queue declare` makes those of an \
             application.",
        ),
        codes::UNREACHABLE => failure
            .with_help("Look whether the broker runs, and whether this machine can reach that address."),
        codes::RETURNED => failure.with_help("Create the queue, or name another one with `--to QUEUE`."),
        _ => failure,
    }
}

/// `1 message`, `2 messages`.
fn many(count: u64, noun: &str) -> String {
    match count {
        1 => format!("1 {noun}"),
        count => format!("{count} {noun}s"),
    }
}
