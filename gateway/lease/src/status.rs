//! What an operator is told about a group.

use std::time::Duration;

use quayside_model::{Monotonic, Name, SessionId};

use crate::{Epoch, Placement, State, Transition, View, group::Group};

/// A group as one node sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupStatus {
    /// Its name.
    pub group: Name,
    /// Its state on this node.
    pub state: State,
    /// Whether an operator has paused it.
    pub paused: bool,
    /// The node that owns it, if a live one does.
    pub owner: Option<Name>,
    /// The last epoch that was given.
    pub epoch: Epoch,
    /// Effects under way on this node.
    pub in_flight: u32,
    /// How long ago it failed, if it has.
    pub failed: Option<Duration>,
    /// The last change of state on this node.
    pub last: Option<Transition>,
    /// Restarts used on this node, and allowed.
    pub restarts: (u32, u32),
    /// Moves used over all nodes, and allowed.
    pub moves: (u32, u32),
    /// The next candidates, and why the others are none.
    pub placement: Placement,
}

pub(crate) fn of(
    group: &Group,
    node: &Name,
    view: &View,
    dead: &[SessionId],
    now: Monotonic,
) -> GroupStatus {
    let seen = group.seen();
    let limits = &group.policy.limits;
    let restarts = group.restarts();
    GroupStatus {
        group: group.name.clone(),
        state: group.state(),
        paused: seen.control.paused,
        owner: seen.live_owner().map(|owner| owner.node.clone()),
        epoch: group.epoch().unwrap_or(seen.epoch),
        in_flight: group.in_flight(),
        failed: seen.failed,
        last: group.last().cloned(),
        restarts: (restarts.used(now), restarts.allowed()),
        moves: (limits.moves.used(&seen.moves), limits.moves.times),
        placement: group.placement(node, view, dead, now),
    }
}
