//! The command line: one file per group of verbs.

use std::io::IsTerminal as _;

use clap::{Args, Parser, Subcommand, ValueEnum};

pub(crate) mod check;
mod client;
pub(crate) mod codes;
mod docs;
mod init;
mod messages;
pub(crate) mod output;
mod ports;
mod run;
mod send;
mod store;

use crate::exit::{Exit, Failure};
use client::Client;
use output::Output;

/// An adapter gateway: takes messages in, keeps them, sends them on, loses none.
#[derive(Debug, Parser)]
#[command(name = "quayside", version, after_help = crate::exit::HELP, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Make a small application that works
    Init(init::InitArgs),
    /// Run an application here and now: embedded store, a partner that shows what arrives, reload on save
    Dev(run::DevArgs),
    /// Run the hosts of this node
    Run(run::RunArgs),
    /// Find every fault of a configuration; needs no network
    Check(check::CheckArgs),
    /// Hand a file to a receive location of a running node
    Send(send::SendArgs),
    /// Look at messages and decide about suspended ones
    #[command(subcommand)]
    Messages(messages::MessagesVerb),
    /// Look at ports and receive locations, stop and start them
    #[command(subcommand)]
    Ports(ports::PortsVerb),
    /// Prepare, back up and restore the store
    #[command(subcommand)]
    Store(store::StoreVerb),
    /// Print the completion script of a shell
    Completion {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print docs/errors.md
    #[command(hide = true)]
    Docs,
}

/// Where a running node is, and how to show what it says.
#[derive(Debug, Clone, Args)]
struct Remote {
    /// The admin address of a running node; SSL_CERT_FILE names the authority of a private certificate
    #[arg(
        long,
        value_name = "URL",
        env = "QUAYSIDE_ADMIN",
        default_value = "http://127.0.0.1:9470"
    )]
    admin: String,
    /// The token of the admin API
    #[arg(
        long,
        value_name = "TOKEN",
        env = "QUAYSIDE_TOKEN",
        hide_env_values = true
    )]
    token: Option<String>,
    #[command(flatten)]
    show: Show,
}

/// How to show results.
#[derive(Debug, Clone, Copy, Args)]
struct Show {
    /// How to show the result
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
}

/// The forms of a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people
    Table,
    /// For programs; stable
    Json,
}

impl Remote {
    fn client(&self) -> Result<Client, Failure> {
        Client::new(&self.admin, self.token.clone())
    }

    fn output(&self) -> Output {
        self.show.output()
    }
}

impl Show {
    fn output(self) -> Output {
        let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Output {
            json: self.output == Format::Json,
            color: !plain && std::io::stdout().is_terminal(),
        }
    }
}

/// Runs the verb of the command line.
pub(crate) fn main() -> Exit {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let exit = if error.use_stderr() {
                Exit::Usage
            } else {
                Exit::Ok
            };
            // If nobody reads the message there is nobody left to tell.
            let _ = error.print();
            return exit;
        }
    };
    // Everything that speaks TLS uses this provider; a second call finds it installed.
    let _ = rustls::crypto::ring::default_provider().install_default();
    dispatch(cli.verb).unwrap_or_else(|failure| failure.report())
}

fn dispatch(verb: Verb) -> Result<Exit, Failure> {
    match verb {
        Verb::Init(args) => init::init(&args),
        Verb::Dev(args) => run::dev(&args),
        Verb::Run(args) => run::run(&args),
        Verb::Check(args) => check::check(&args),
        Verb::Send(args) => short(send::send(&args)),
        Verb::Messages(verb) => short(messages::messages(&verb)),
        Verb::Ports(verb) => short(ports::ports(&verb)),
        Verb::Store(verb) => short(store::store(&verb)),
        Verb::Completion { shell } => completion(shell),
        Verb::Docs => output::print(&docs::errors_page()),
    }
}

/// Runs a verb that asks or changes something and ends.
fn short(verb: impl Future<Output = Result<Exit, Failure>>) -> Result<Exit, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = runtime.map_err(|error| Failure::new(codes::INTERNAL, error.to_string()))?;
    runtime.block_on(verb)
}

fn completion(shell: clap_complete::Shell) -> Result<Exit, Failure> {
    let mut script = Vec::new();
    let mut command = <Cli as clap::CommandFactory>::command();
    clap_complete::generate(shell, &mut command, "quayside", &mut script);
    output::print(&String::from_utf8_lossy(&script))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_sound() {
        super::Cli::command().debug_assert();
    }
}
