//! The command line: one file per group of verbs.

use std::{io::IsTerminal as _, path::PathBuf};

use clap::{Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand, ValueEnum};

pub(crate) mod check;
mod client;
mod cluster;
pub(crate) mod codes;
mod docs;
pub(crate) mod explain;
mod hosts;
mod init;
mod messages;
mod orchestrations;
pub(crate) mod output;
mod ports;
mod queue;
mod run;
mod send;
pub(crate) mod store;
mod test;
mod watch;
mod way;
mod yaml;

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
    /// Serve the admin API of a node whose hosts an agent runs; the agent starts it
    #[command(hide = true)]
    Admin(run::RunArgs),
    /// Find every fault of a configuration; needs no network
    Check(check::CheckArgs),
    /// Run the test cases of an application in virtual time; needs no store and no network
    Test(test::TestArgs),
    /// Tell who gets a message, stored or in a file, with every term of every filter
    Explain(explain::ExplainArgs),
    /// Tell which hosts a node runs and by which policies; what its agent goes by
    Hosts(hosts::HostsArgs),
    /// Hand a file to a receive location of a running node
    Send(send::SendArgs),
    /// Look at messages and decide about suspended ones
    #[command(subcommand)]
    Messages(messages::MessagesVerb),
    /// Look at instances of orchestrations and decide about them
    #[command(subcommand)]
    Orchestrations(orchestrations::OrchestrationsVerb),
    /// Look at ports and receive locations, stop and start them
    #[command(subcommand)]
    Ports(ports::PortsVerb),
    /// Look at clustered hosts
    #[command(subcommand)]
    Cluster(cluster::ClusterVerb),
    /// Declare queues on a broker, look into them, return what was given up
    #[command(subcommand)]
    Queue(queue::QueueVerb),
    /// Prepare, back up and restore the store
    #[command(subcommand)]
    Store(store::StoreVerb),
    /// Print the completion script of a shell
    Completion {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print what all error codes mean and what to do: the page docs/errors.md
    Docs,
}

/// Where a running node is, and how to show what it says.
#[derive(Debug, Clone, Args)]
struct Remote {
    /// The admin address of a running node, http:// or https://; http://127.0.0.1:9470 if absent
    #[arg(long, value_name = "URL", env = "QUAYSIDE_ADMIN", help_heading = NODE)]
    admin: Option<String>,
    /// The authorities that the certificate of an https:// address may come from, PEM; those of the
    /// machine if absent
    #[arg(long, value_name = "FILE", env = "QUAYSIDE_ADMIN_CA", help_heading = NODE)]
    admin_ca: Option<PathBuf>,
    /// The certificate and key to show to a node that asks for one, PEM, both in one file
    #[arg(long, value_name = "FILE", env = "QUAYSIDE_ADMIN_IDENTITY", help_heading = NODE)]
    admin_identity: Option<PathBuf>,
    /// The token of the admin API
    #[arg(
        long,
        value_name = "TOKEN",
        env = "QUAYSIDE_TOKEN",
        hide_env_values = true,
        help_heading = NODE
    )]
    token: Option<String>,
    /// Who acts, recorded with what is changed; the user of this machine if absent
    #[arg(long = "as", value_name = "NAME", env = "QUAYSIDE_OPERATOR", help_heading = NODE)]
    operator: Option<String>,
    #[command(flatten)]
    show: Show,
}

/// What the options of all verbs stand under in the help, behind those of the verb.
const NODE: &str = "The node";
/// Where a node listens unless it is told otherwise.
const DEFAULT_ADMIN: &str = "http://127.0.0.1:9470";

/// How to show results.
#[derive(Debug, Clone, Copy, Args)]
struct Show {
    /// How to show the result: to people, or to programs, for which it is stable
    #[arg(short, long, value_enum, value_name = "FORM", default_value_t = Format::Table)]
    output: Format,
}

/// The forms of a result. What is said of each here is not for the help, where it would take half of the
/// screen of every verb.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    // For people.
    Table,
    // For programs; stable.
    Json,
    // The same content as JSON, easier to read.
    Yaml,
}

impl Remote {
    fn client(&self) -> Result<Client, Failure> {
        let admin = self.admin.as_deref().unwrap_or(DEFAULT_ADMIN);
        let operator = self.operator.clone().or_else(user_of_this_machine);
        Client::new(&client::Access {
            admin,
            ca: self.admin_ca.as_deref(),
            identity: self.admin_identity.as_deref(),
            token: self.token.as_deref(),
            operator: operator.as_deref(),
        })
    }

    /// Whether the operator said which node is meant.
    fn names_a_node(&self) -> bool {
        self.admin.is_some()
    }

    /// What a further command has to name, as the environment does not.
    fn admin_flag(&self) -> Option<String> {
        let variable = std::env::var("QUAYSIDE_ADMIN").ok();
        self.admin
            .clone()
            .filter(|admin| variable.as_ref() != Some(admin))
    }

    fn output(&self) -> Output {
        self.show.output()
    }
}

/// `USER@HOST`, as far as they are known.
fn user_of_this_machine() -> Option<String> {
    let known = ["SUDO_USER", "USER", "LOGNAME"].into_iter();
    let mut known = known.filter_map(|name| std::env::var(name).ok());
    let user = known.find(|user| !user.is_empty())?;
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    Some(match host.trim() {
        "" => user,
        host => format!("{user}@{host}"),
    })
}

impl Show {
    fn output(self) -> Output {
        let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Output {
            format: self.output,
            color: !plain && std::io::stdout().is_terminal(),
        }
    }
}

/// The command line. Each verb's help ends with the exit codes: whoever writes a script reads only that.
fn command() -> clap::Command {
    Cli::command().mut_subcommands(complete)
}

fn complete(verb: clap::Command) -> clap::Command {
    verb.after_help(crate::exit::HELP)
        .mut_args(without_empty_variable)
        .mut_subcommands(complete)
}

/// A variable that is set to nothing is as good as none: so one is switched off in many shells and files.
fn without_empty_variable(arg: clap::Arg) -> clap::Arg {
    let value = arg.get_env().and_then(std::env::var_os);
    match value {
        Some(value) if value.is_empty() => arg.env(None::<&str>),
        _ => arg,
    }
}

/// Runs the verb of the command line.
pub(crate) fn main() -> Exit {
    let parsed = command()
        .try_get_matches()
        .and_then(|matches| Cli::from_arg_matches(&matches));
    let cli = match parsed {
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
        Verb::Admin(args) => run::admin(&args),
        Verb::Check(args) => check::check(&args),
        Verb::Test(args) => test::test(&args),
        Verb::Explain(args) => short(explain::explain(&args)),
        Verb::Hosts(args) => hosts::hosts(&args),
        Verb::Send(args) => short(send::send(&args)),
        Verb::Messages(verb) => short(messages::messages(&verb)),
        Verb::Orchestrations(verb) => short(orchestrations::orchestrations(&verb)),
        Verb::Ports(verb) => short(ports::ports(&verb)),
        Verb::Cluster(verb) => short(cluster::cluster(&verb)),
        Verb::Queue(verb) => short(queue::queue(&verb)),
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
    let mut command = command();
    clap_complete::generate(shell, &mut command, "quayside", &mut script);
    output::print(&String::from_utf8_lossy(&script))
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_command_line_is_sound() {
        super::command().debug_assert();
    }

    #[test]
    fn the_help_lists_the_command_that_makes_the_page_of_codes() {
        let named = "This page is printed by `quayside docs`.";
        assert!(super::docs::errors_page().contains(named));
        let help = super::command().render_help().to_string();
        assert!(help.contains("\n  docs "), "{help}");
    }
}
