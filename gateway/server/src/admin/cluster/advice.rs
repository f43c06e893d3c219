//! What an operator should know of whatever is not simply active: what it means, what happens next by itself, and what
//! to type. Whoever reads it may have been woken by it.

mod node;
mod states;

use std::time::Duration;

use quayside_lease::{Exclusion, View};
use quayside_model::{Name, Timestamp};
use serde::Serialize;

use super::{
    state::{Case, State},
    told::why_not,
};
use crate::admin::words::second;
pub(super) use node::{NodeCase, of_node};
use states::{of_state, owner};

/// One thing to know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Advice {
    /// In a few words, with what it is about.
    title: String,
    /// What it means.
    means: String,
    /// What happens next by itself.
    then: String,
    /// What can be typed, if anything.
    commands: Vec<Command>,
}

/// A command, and what it is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Command {
    command: String,
    #[serde(rename = "for")]
    what_for: String,
}

impl Advice {
    fn new(title: String, means: String, then: String) -> Self {
        Self {
            title,
            means,
            then,
            commands: Vec::new(),
        }
    }

    fn command(mut self, command: impl Into<String>, what_for: &str) -> Self {
        self.commands.push(Command {
            command: format!("quayside {}", command.into()),
            what_for: what_for.to_owned(),
        });
        self
    }
}

/// A duration for people, in its two greatest units.
pub(crate) fn lasting(duration: Duration) -> String {
    let secs = duration.as_secs();
    let two = |great: u64, unit: &str, small: u64, small_unit: &str| match small {
        0 => format!("{great} {unit}"),
        _ => format!("{great} {unit} {small} {small_unit}"),
    };
    match secs {
        0 => format!("{} ms", duration.as_millis()),
        1..60 => format!("{secs} s"),
        60..3600 => two(secs / 60, "min", secs % 60, "s"),
        3600..86_400 => two(secs / 3600, "h", secs % 3600 / 60, "min"),
        _ => two(secs / 86_400, "d", secs % 86_400 / 3600, "h"),
    }
}

/// Whether no agent at all has renewed its lease in time. If there are several that is the store's doing: its clock, by
/// which leases are overdue, answers, and nothing can be written.
pub(super) fn all_silent(view: &View) -> bool {
    let sessions = &view.sessions;
    sessions.len() > 1 && sessions.iter().all(|seen| seen.sighting.overdue)
}

/// Everything to know of a host, the worst first.
pub(super) fn of_host(case: &Case<'_>, in_doubt: Option<u64>, now: Timestamp) -> Vec<Advice> {
    let mut advice = Vec::new();
    advice.extend(of_state(case));
    advice.extend(unfollowed(case));
    advice.extend(paused(case));
    advice.extend(pinned(case));
    advice.extend(ordered(case, now));
    advice.extend(alone(case));
    advice.extend(moves_spent(case));
    advice.extend(doubtful(case, in_doubt.unwrap_or_default()));
    advice
}

/// What operators want of a host that nobody hears.
fn unfollowed(case: &Case<'_>) -> Option<Advice> {
    let control = &case.seen.control;
    let wanted = [
        (!control.online, "offline"),
        (control.paused, "paused"),
        (control.pinned.is_some(), "pinned"),
        (control.order.is_some(), "moved"),
    ];
    let wanted: Vec<&str> = wanted
        .iter()
        .filter(|(is, _)| *is)
        .map(|(_, word)| *word)
        .collect();
    if wanted.is_empty() || case.has_agent() || case.policy.is_none() {
        return None;
    }
    Some(Advice::new(
        format!("{}: nobody follows", case.host),
        format!(
            "An operator wants it {}, but no cluster agent reports a process of it.",
            wanted.join(" and ")
        ),
        "An agent follows from the moment it runs. A process without one never does.".to_owned(),
    ))
}

fn paused(case: &Case<'_>) -> Option<Advice> {
    case.node()
        .filter(|_| case.seen.control.paused && case.has_agent())?;
    let host = case.host;
    Some(
        Advice::new(
            format!("{host}: paused"),
            format!(
                "It runs on {}, and is left as it is: it is not started again, moved, or taken over by another node.",
                owner(case)
            ),
            "If its process or node is lost nobody runs it until it is unpaused.".to_owned(),
        )
        .command(format!("cluster unpause {host}"), "ends that"),
    )
}

fn pinned(case: &Case<'_>) -> Option<Advice> {
    let pin = case.seen.control.pinned.as_ref()?;
    let (host, node) = (case.host, case.node());
    if !case.has_agent() {
        return None;
    }
    let then = match node {
        Some(node) if node == pin => format!("If {pin} is lost nobody runs it until that is back."),
        Some(_) if case.placement.rank(pin).is_some() => format!("It moves to {pin}."),
        Some(node) => format!(
            "It stays on {node} until {pin} can take it{}.",
            reasons(case, true)
        ),
        None => format!("It runs as soon as {pin} can take it."),
    };
    Some(
        Advice::new(
            format!("{host}: pinned"),
            format!("An operator has pinned it to {pin}: no other node may take it."),
            then,
        )
        .command(
            format!("cluster unpin {host}"),
            "lets any of its nodes take it",
        ),
    )
}

fn ordered(case: &Case<'_>, now: Timestamp) -> Option<Advice> {
    let order = case.seen.control.order.as_ref()?;
    if !case.has_agent() {
        return None;
    }
    let (host, node) = (case.host, case.node());
    let to = order.to.as_ref();
    let to = to.map_or("the best other node", Name::as_str);
    let then = match order.at.filter(|at| *at > now) {
        Some(at) => format!("It moves at {}.", second(at)),
        None if case.seen.control.paused => "It moves when it is unpaused.".to_owned(),
        None if node.is_none() => {
            "Nothing: nobody runs it, and whoever takes it starts anew.".to_owned()
        }
        None => "It moves in a moment, or the order is refused.".to_owned(),
    };
    let advice = Advice::new(
        format!("{host}: to be moved"),
        format!("Order {} to move it to {to} waits.", order.no),
        then,
    );
    Some(match node {
        Some(node) => advice.command(
            format!("cluster move {host} {node}"),
            "calls it off: the host is there already",
        ),
        None => advice,
    })
}

/// Running, with nobody behind it.
fn alone(case: &Case<'_>) -> Option<Advice> {
    let node = case.node()?;
    let members = case.policy.map_or(0, |policy| policy.possible.len());
    let told_already =
        matches!(case.state, State::OwnerSilent) || case.seen.control.pinned.is_some();
    if !case.has_agent() || members < 2 || told_already || case.next().is_some() {
        return None;
    }
    let advice = Advice::new(
        format!("{}: nobody could take over", case.host),
        format!("No node but {node} could run it{}.", reasons(case, true)),
        format!("If {node} is lost nobody runs it until one of them can."),
    );
    Some(remedies(case, advice))
}

fn moves_spent(case: &Case<'_>) -> Option<Advice> {
    case.node()?;
    let limit = case.policy?.limits.moves;
    if limit.allows(&case.seen.moves) {
        return None;
    }
    let (used, within) = (limit.used(&case.seen.moves), lasting(limit.within));
    let host = case.host;
    Some(
        Advice::new(
            format!("{host}: moves used up"),
            format!("It has moved {used} times within {within} because of faults, which is all that is allowed."),
            "If its node is lost now it has failed, and nobody runs it for a while.".to_owned(),
        )
        .command(format!("cluster history {host}"), "why it moved")
        .command(format!("cluster clear {host}"), "allows as many again"),
    )
}

fn doubtful(case: &Case<'_>, count: u64) -> Option<Advice> {
    let deliveries = match count {
        0 => return None,
        1 => "1 delivery of its ports".to_owned(),
        count => format!("{count} deliveries of its ports"),
    };
    Some(
        Advice::new(
            format!("{}: in doubt", case.host),
            format!("{deliveries} may have been sent already, by an owner that died before it could tell."),
            "Ports with in_doubt = \"resend\" send them again; those with \"hold\" keep them for you.".to_owned(),
        )
        .command(
            format!("cluster in-doubt {}", case.host),
            "which they are, and what can be done about each",
        ),
    )
}

/// `: node-b: the node is drained; node-c: no warm process`, or nothing. The owner is `left_out` or not.
fn reasons(case: &Case<'_>, left_out: bool) -> String {
    let node = case.node().filter(|_| left_out);
    let excluded = members_excluded(case).filter(|(other, _)| Some(*other) != node);
    let reasons: Vec<String> = excluded
        .map(|(node, why)| format!("{node}: {}", why_not(case, node, why)))
        .collect();
    match reasons.as_slice() {
        [] => String::new(),
        reasons => format!(" ({})", reasons.join("; ")),
    }
}

/// Members of the host that cannot take it. That others cannot is no news.
fn members_excluded<'a>(
    case: &'a Case<'_>,
) -> impl Iterator<Item = (&'a Name, &'a Exclusion)> + use<'a> {
    let excluded = case.placement.excluded.iter();
    excluded
        .filter(|(_, why)| !matches!(why, Exclusion::NotPossible))
        .map(|(node, why)| (node, why))
}

/// Adds what lets nodes take the host that cannot.
fn remedies(case: &Case<'_>, mut advice: Advice) -> Advice {
    let (owner, host) = (case.node(), case.host);
    for (node, why) in members_excluded(case) {
        if Some(node) == owner {
            continue;
        }
        let (command, what_for) = match why {
            Exclusion::PinnedTo(_) => (format!("cluster unpin {host}"), "lets other nodes take it"),
            Exclusion::Drained => (
                format!("cluster resume {node}"),
                "lets the node take hosts again",
            ),
            Exclusion::Quarantined(_) => (
                format!("cluster clear {node}"),
                "lets the node take hosts at once",
            ),
            Exclusion::Broken(_) => (
                format!("cluster clear {host}"),
                "after the repair on that node: starts its process again",
            ),
            _ => continue,
        };
        if !advice
            .commands
            .iter()
            .any(|known| known.command.ends_with(&command))
        {
            advice = advice.command(command, what_for);
        }
    }
    advice
}

/// `a, b and c`.
fn list(names: &[Name]) -> String {
    joined(names, "and")
}

/// `a, b or c`.
fn either(names: &[Name]) -> String {
    joined(names, "or")
}

fn joined(names: &[Name], word: &str) -> String {
    match names {
        [] => "no node".to_owned(),
        [only] => only.to_string(),
        [others @ .., last] => {
            let others: Vec<&str> = others.iter().map(Name::as_str).collect();
            format!("{} {word} {last}", others.join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_has_two_units_at_most() {
        for (millis, text) in [
            (0, "0 ms"),
            (312, "312 ms"),
            (1999, "1 s"),
            (59_000, "59 s"),
            (60_000, "1 min"),
            (184_000, "3 min 4 s"),
            (7_500_000, "2 h 5 min"),
            (86_400_000, "1 d"),
            (190_000_000, "2 d 4 h"),
        ] {
            assert_eq!(lasting(Duration::from_millis(millis)), text);
        }
    }
}
