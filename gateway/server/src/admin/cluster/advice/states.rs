//! What each state of a host means.

use quayside_lease::candidate::down_here_up_elsewhere;
use quayside_model::Name;

use super::{
    super::state::{Case, State, target},
    Advice, all_silent, either, lasting, list, reasons, remedies,
};

/// A title that names the state.
fn titled(case: &Case<'_>, means: String, then: String) -> Advice {
    let title = format!("{}: {}", case.host, case.state.in_words());
    Advice::new(title, means, then)
}

/// What to know because of its state. `None`: it is active.
pub(super) fn of_state(case: &Case<'_>) -> Option<Advice> {
    let host = case.host;
    Some(match case.state {
        State::Active => return None,
        State::AdapterDown => adapter_down(case),
        State::StandingStill => standing_still(case),
        State::Starting => starting(case),
        State::Moving => moving(case),
        State::Stopping => stopping(case),
        State::Restarting => restarting(case),
        State::OwnerSilent => owner_silent(case),
        State::BeingTakenOver => being_taken_over(case),
        State::NobodyCanRunIt => nobody_can(case),
        State::NobodyRunsIt => nobody(case),
        State::PausedAndDown => titled(
            case,
            format!("Nobody runs it{}, and it is paused.", because(case)),
            "Nobody takes it until it is unpaused.".to_owned(),
        )
        .command(format!("cluster unpause {host}"), "lets a node take it"),
        State::Offline => titled(
            case,
            "Nobody runs it: an operator has taken it offline.".to_owned(),
            "Nothing, until an operator wants it online.".to_owned(),
        )
        .command(format!("cluster online {host}"), "lets a node take it"),
        State::Failed => failed(case),
        State::NotInConfiguration => titled(
            case,
            "Nobody runs it, and the configuration of this node has no such clustered host."
                .to_owned(),
            "Nothing. If it was removed on purpose, it is only remembered.".to_owned(),
        ),
    })
}

/// ` (process ended: exit 70, a part failed)`, or nothing.
fn because(case: &Case<'_>) -> String {
    let reason = case.reason();
    reason.map_or_else(String::new, |reason| format!(" ({reason})"))
}

/// Who has it. For the states in which somebody does.
pub(super) fn owner<'a>(case: &'a Case<'_>) -> &'a str {
    case.node().map_or("nobody", Name::as_str)
}

fn adapter_down(case: &Case<'_>) -> Advice {
    let node = owner(case);
    let report = case.seen.standbys.iter().find(|seen| seen.node == node);
    let down = report.map_or(&[][..], |report| &report.adapters_down);
    let named = match down {
        [] => "one of its ports".to_owned(),
        [one] => one.to_string(),
        more => list(more),
    };
    let means = format!(
        "It runs on {node}, and cannot reach from there what {named} works with: what goes there waits. All else works."
    );
    let elsewhere = case
        .node()
        .and_then(|node| down_here_up_elsewhere(&case.seen, node))
        .zip(case.next());
    let reached = elsewhere.is_some();
    let advice = match (elsewhere, case.policy) {
        (Some(_), _) if case.seen.control.paused => {
            titled(case, means, "Nothing moves it while it is paused.".to_owned())
        }
        (Some((adapter, next)), Some(policy)) if policy.limits.moves.allows(&case.seen.moves) => {
            let patience = lasting(policy.limits.adapter_patience);
            titled(
                case,
                means,
                format!("{adapter} works from another node: when that has lasted for {patience} it moves to {next}."),
            )
        }
        (Some((adapter, next)), _) => titled(
            case,
            means,
            format!("It stays. {adapter} works from another node, but its moves are used up: move it to {next} yourself."),
        ),
        (None, _) => titled(
            case,
            means,
            "It stays, because no other node can reach that either, and goes on by itself when the partner is back."
                .to_owned(),
        ),
    };
    let advice = advice.command("ports list", "which ports, and the cause");
    match case.next().filter(|_| reached) {
        Some(next) => advice.command(
            format!("cluster move {} {next}", case.host),
            "moves it at once",
        ),
        None => advice,
    }
}

fn standing_still(case: &Case<'_>) -> Advice {
    titled(
        case,
        format!(
            "{} has it and stands still: it sends and accepts nothing, and keeps its process and connections.",
            owner(case)
        ),
        "It goes on when the store answers. If its lease has been ended meanwhile, another node takes over."
            .to_owned(),
    )
    .command(format!("cluster history {}", case.host), "how it came to that")
}

fn starting(case: &Case<'_>) -> Advice {
    let within = case.policy.map(|policy| policy.limits.online_within);
    let then = match within {
        Some(within) => format!(
            "It is at work within {}, or else its process is killed, which counts as a failure.",
            lasting(within)
        ),
        None => "It is at work in a moment.".to_owned(),
    };
    let means = format!(
        "{} has taken it, and its process is not at work yet.",
        owner(case)
    );
    titled(case, means, then)
}

fn drain_within(case: &Case<'_>) -> String {
    let within = case.policy.map(|policy| policy.limits.drain_within);
    within.map_or_else(String::new, |within| {
        format!(
            " That may take {}; then its process is killed, and what it was sending is in doubt.",
            lasting(within)
        )
    })
}

fn moving(case: &Case<'_>) -> Advice {
    let to = case.since().and_then(|at| target(&case.events[at]));
    titled(
        case,
        format!(
            "{} finishes what is under way and takes nothing new.",
            owner(case)
        ),
        format!(
            "It gives the host to {}.{}",
            to.unwrap_or("another node"),
            drain_within(case)
        ),
    )
}

fn stopping(case: &Case<'_>) -> Advice {
    let advice = titled(
        case,
        format!(
            "{} finishes what is under way and takes nothing new.",
            owner(case)
        ),
        format!("Then nobody runs it.{}", drain_within(case)),
    );
    match case.seen.control.online {
        true => advice,
        false => advice.command(
            format!("cluster online {}", case.host),
            "lets it run again after that",
        ),
    }
}

fn restarting(case: &Case<'_>) -> Advice {
    let node = case.seen.owner.as_ref().map(|owner| &owner.node);
    let node = node.map_or("its node", Name::as_str);
    titled(
        case,
        format!("Its process on {node} has ended{}.", because(case)),
        "Another process takes its place there. If it dies again and again the host moves, and then fails."
            .to_owned(),
    )
    .command(format!("cluster history {}", case.host), "what has happened so far")
}

fn owner_silent(case: &Case<'_>) -> Advice {
    let node = owner(case);
    if all_silent(case.view) {
        return titled(
            case,
            format!(
                "{node} has it, and no agent of any node has renewed its lease in time. The store can be read, so it \
                 takes no writes: PostgreSQL waits for its synchronous standby, say, or for a disk."
            ),
            "Nobody takes over meanwhile. It goes on where it is, or is taken over, when the store takes writes again."
                .to_owned(),
        );
    }
    let then = match case.next() {
        _ if !case.has_agent() => {
            "Another process of the host takes over in a moment, if there is one.".to_owned()
        }
        _ if case.seen.control.paused => "Nobody takes over while it is paused.".to_owned(),
        Some(next) => format!("{next} takes over in a moment."),
        None => format!("Nobody can take over{}.", reasons(case, true)),
    };
    let advice = titled(
        case,
        format!(
            "{node} has it and has not renewed its lease in time: it is dead, paused or cut off from the store. \
             Its process has stopped acting by itself."
        ),
        then,
    );
    remedies(case, advice)
}

fn being_taken_over(case: &Case<'_>) -> Advice {
    let next = case.next().map_or("A node", Name::as_str);
    titled(
        case,
        format!("Nobody runs it at this moment{}.", because(case)),
        format!("{next} takes it in a moment."),
    )
    .command("cluster status --watch", "looks again every 2 s")
}

fn nobody_can(case: &Case<'_>) -> Advice {
    let advice = titled(
        case,
        format!(
            "Nobody runs it{}, and no node can take it{}.",
            because(case),
            reasons(case, false)
        ),
        "The first node that can takes it by itself.".to_owned(),
    );
    remedies(case, advice)
}

fn nobody(case: &Case<'_>) -> Advice {
    let members = case.policy.map_or(&[][..], |policy| &policy.possible);
    titled(
        case,
        "Nobody runs it, and no cluster agent looks after it.".to_owned(),
        format!(
            "The first process of it that starts runs it: on {}.",
            either(members)
        ),
    )
}

fn failed(case: &Case<'_>) -> Advice {
    let retry = case.policy.map(|policy| policy.limits.retry_failed);
    let left = retry
        .zip(case.seen.failed)
        .map(|(retry, ago)| retry.saturating_sub(ago));
    let control = &case.seen.control;
    let then = match left {
        _ if control.paused => "Nothing: it is paused.".to_owned(),
        Some(left) if !left.is_zero() => format!("One start is tried in {}.", lasting(left)),
        Some(_) => "One start is tried now, by the first node that can.".to_owned(),
        None => "One start is tried after a while.".to_owned(),
    };
    titled(
        case,
        format!(
            "Nobody runs it: it was tried too often, or cannot run{}.",
            because(case)
        ),
        then,
    )
    .command(format!("cluster history {}", case.host), "what it died of")
    .command(
        format!("cluster clear {}", case.host),
        "after the repair: forgets all that and tries at once",
    )
}
