//! What there is to know of a node.

use std::time::Duration;

use quayside_lease::Quarantine;
use quayside_model::Name;

use super::{super::told::Session, Advice, lasting, list};

/// A node with all that there is to say of it.
#[derive(Debug)]
pub(in super::super) struct NodeCase<'a> {
    pub(in super::super) node: &'a Name,
    pub(in super::super) session: Session,
    /// Whether that is so of every agent.
    pub(in super::super) all_silent: bool,
    /// How many processes on it work on the store.
    pub(in super::super) processes: usize,
    /// How long ago it lost sessions.
    pub(in super::super) lost: &'a [Duration],
    pub(in super::super) drained: bool,
    /// How much longer it is left out, and by which rule.
    pub(in super::super) quarantine: Option<(Quarantine, Duration)>,
    pub(in super::super) runs: &'a [Name],
}

/// Everything to know of a node.
pub(in super::super) fn of_node(case: &NodeCase<'_>) -> Vec<Advice> {
    let node = case.node;
    let mut advice = Vec::new();
    match case.session {
        Session::Live => {}
        Session::Overdue if case.all_silent => advice.push(Advice::new(
            format!("{node}: silent"),
            "It has not renewed its lease in time, and no other node has: the store takes no writes."
                .to_owned(),
            "It goes on when the store takes writes again.".to_owned(),
        )),
        Session::Overdue => advice.push(Advice::new(
            format!("{node}: silent"),
            "It has not renewed its lease in time: it is dead, paused or cut off from the store."
                .to_owned(),
            "Another node ends its session in a moment, and takes what it had.".to_owned(),
        )),
        // Processes without an agent have leases of their own.
        Session::None if case.processes > 0 => {}
        Session::None => advice.push(absent(case)),
    }
    if case.drained {
        let (means, then) = match case.runs {
            [] => (
                "An operator has drained it: it runs no clustered host and takes none.".to_owned(),
                "Nothing, until it is resumed. What it had does not come back by itself unless failback is on."
                    .to_owned(),
            ),
            runs => (
                format!("An operator drains it: it takes no clustered host, and still runs {}.", list(runs)),
                "Each moves away when another node can take it.".to_owned(),
            ),
        };
        let title = format!("{node}: drained");
        let told = Advice::new(title, means, then);
        advice.push(told.command(format!("cluster resume {node}"), "lets it take hosts again"));
    }
    if let Some((rule, left)) = case.quarantine {
        let (lost, within) = (rule.lost.used(case.lost), lasting(rule.lost.within));
        advice.push(
            Advice::new(
                format!("{node}: left out"),
                format!("It has lost its lease {lost} times within {within}: no clustered host is given to it."),
                format!("It may take hosts again in {}.", lasting(left)),
            )
            .command(
                format!("cluster clear {node}"),
                "after the repair: lets it take hosts at once",
            ),
        );
    }
    advice
}

fn absent(case: &NodeCase<'_>) -> Advice {
    let last = case.lost.iter().min();
    let last = last.map_or_else(String::new, |ago| {
        format!(" Others ended its last lease {} ago.", lasting(*ago))
    });
    Advice::new(
        format!("{}: absent", case.node),
        format!("Nothing on it holds a lease: it does not run, or cannot reach the store.{last}"),
        "It takes part again as soon as it runs and reaches the store.".to_owned(),
    )
}
