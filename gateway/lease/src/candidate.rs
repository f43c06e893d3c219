//! Which node should run a group, and why the others should not.

use std::{fmt, time::Duration};

use quayside_model::{Name, SessionId};

use crate::{Exit, GroupSeen, Policy, StandbySeen, View};

/// Why a node is not a candidate for a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Exclusion {
    /// The configuration does not list it.
    NotPossible,
    /// An operator has pinned the group to this other node.
    PinnedTo(Name),
    /// It has no live session.
    NoSession,
    /// An operator drains it.
    Drained,
    /// It lost too many sessions; so much longer it is left out.
    Quarantined(Duration),
    /// The group runs only beside this other one, which runs there, or nowhere.
    NotWith(Name, Option<Name>),
    /// Its process cannot run: wrong configuration or schema.
    Broken(Exit),
    /// It has no warm process.
    NotWarm,
    /// Its process cannot use this adapter, and another node's can.
    AdapterDown(Name),
    /// It has just given the group away.
    JustLeft,
}

impl fmt::Display for Exclusion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotPossible => f.write_str("not one of its possible owners"),
            Self::PinnedTo(node) => write!(f, "the group is pinned to {node}"),
            Self::NoSession => f.write_str("the node is not alive"),
            Self::Drained => f.write_str("the node is drained"),
            Self::Quarantined(left) => {
                write!(
                    f,
                    "the node lost too many sessions, {} s left",
                    left.as_secs()
                )
            }
            Self::NotWith(group, Some(node)) => write!(f, "{group} runs on {node}"),
            Self::NotWith(group, None) => write!(f, "{group} runs nowhere"),
            Self::Broken(exit) => write!(f, "its process cannot run there ({exit})"),
            Self::NotWarm => f.write_str("no warm process"),
            Self::AdapterDown(name) => write!(f, "adapter {name} is down there and up elsewhere"),
            Self::JustLeft => f.write_str("it has just given the group away"),
        }
    }
}

/// Who may take a group, best first, and who may not.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Placement {
    /// The candidates, best first.
    pub order: Vec<Name>,
    /// The others, each with the reason.
    pub excluded: Vec<(Name, Exclusion)>,
}

impl Placement {
    /// The place of `node` in the order, from 0.
    #[must_use]
    pub fn rank(&self, node: &Name) -> Option<u32> {
        let place = self.order.iter().position(|n| n == node)?;
        u32::try_from(place).ok()
    }

    /// The best candidate other than `node`.
    #[must_use]
    pub fn best_but(&self, node: &Name) -> Option<&Name> {
        self.order.iter().find(|n| *n != node)
    }

    /// Why `node` is not a candidate.
    #[must_use]
    pub fn why_not(&self, node: &Name) -> Option<&Exclusion> {
        self.excluded
            .iter()
            .find(|(n, _)| n == node)
            .map(|(_, why)| why)
    }
}

/// Places `seen` by what `view` shows. `without` is a session that is known to be dead although the view
/// shows it alive. Every node sees the same and so places alike, up to the age of its view; the
/// store decides between two that try.
#[must_use]
pub fn place(policy: &Policy, seen: &GroupSeen, view: &View, without: &[SessionId]) -> Placement {
    let mut placement = Placement::default();
    let mut limping = Vec::new();
    for node in policy.order() {
        match exclusion(policy, seen, view, without, node) {
            Some(why) => placement.excluded.push((node.clone(), why)),
            None => match down_here_up_elsewhere(seen, node) {
                Some(adapter) => limping.push((node.clone(), Exclusion::AdapterDown(adapter))),
                None => placement.order.push(node.clone()),
            },
        }
    }
    // A node that limps is better than none.
    if placement.order.is_empty() {
        placement.order = limping.into_iter().map(|(node, _)| node).collect();
    } else {
        placement.excluded.append(&mut limping);
    }
    for node in &view.nodes {
        if !policy.possible.contains(&node.node) {
            let entry = (node.node.clone(), Exclusion::NotPossible);
            placement.excluded.push(entry);
        }
    }
    placement
}

fn exclusion(
    policy: &Policy,
    seen: &GroupSeen,
    view: &View,
    without: &[SessionId],
    node: &Name,
) -> Option<Exclusion> {
    if let Some(pinned) = seen
        .control
        .pinned
        .as_ref()
        .filter(|pinned| *pinned != node)
    {
        return Some(Exclusion::PinnedTo(pinned.clone()));
    }
    let mut sessions = view.sessions.iter().filter(|s| s.node == *node);
    if !sessions.any(|s| !without.contains(&s.sighting.session)) {
        return Some(Exclusion::NoSession);
    }
    if let Some(row) = view.nodes.iter().find(|row| row.node == *node) {
        if row.drained {
            return Some(Exclusion::Drained);
        }
        if let Some(left) = policy.limits.quarantine.left(&row.lost) {
            return Some(Exclusion::Quarantined(left));
        }
    }
    if let Some(lead) = &policy.with {
        let runs_on = owner_of(view, lead);
        if runs_on != Some(node) {
            return Some(Exclusion::NotWith(lead.clone(), runs_on.cloned()));
        }
    }
    match standby(seen, node) {
        Some(StandbySeen {
            broken: Some(exit), ..
        }) => Some(Exclusion::Broken(*exit)),
        Some(StandbySeen { warm: true, .. }) => None,
        _ => Some(Exclusion::NotWarm),
    }
}

/// The node of the live owner of `group`.
fn owner_of<'a>(view: &'a View, group: &Name) -> Option<&'a Name> {
    let lead = view.groups.iter().find(|seen| seen.group == *group)?;
    lead.live_owner().map(|owner| &owner.node)
}

fn standby<'a>(seen: &'a GroupSeen, node: &Name) -> Option<&'a StandbySeen> {
    seen.standbys.iter().find(|s| s.node == *node)
}

/// An adapter that `node` cannot use and some other warm node can: a local fault. One that nobody can use
/// is a global fault, which no move mends.
#[must_use]
pub fn down_here_up_elsewhere(seen: &GroupSeen, node: &Name) -> Option<Name> {
    let here = standby(seen, node)?;
    let elsewhere = |adapter: &Name| {
        let mut others = seen.standbys.iter().filter(|s| s.node != *node && s.warm);
        others.any(|s| s.adapters_up.contains(adapter))
    };
    here.adapters_down.iter().find(|a| elsewhere(a)).cloned()
}
