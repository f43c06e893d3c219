//! What one look at the store shows. Ages are by the store's clock: no two nodes' clocks are compared.

use std::time::Duration;

use quayside_model::{GrantId, InstanceId, Name, SessionId};

use crate::{Control, Epoch, Sighting};

/// One look at the store, read in one snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct View {
    /// Every live session, the looking node's own included.
    pub sessions: Vec<SessionSeen>,
    /// Every node of the group of nodes that has a row, live or not.
    pub nodes: Vec<NodeSeen>,
    /// The groups.
    pub groups: Vec<GroupSeen>,
}

/// A live session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionSeen {
    /// Whose it is.
    pub node: Name,
    /// What an observer needs.
    pub sighting: Sighting,
}

/// What is recorded about a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeSeen {
    /// Its name.
    pub node: Name,
    /// An operator drains it.
    pub drained: bool,
    /// How long ago it lost sessions, since an operator last cleared it.
    pub lost: Vec<Duration>,
}

/// What is recorded about a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupSeen {
    /// Its name.
    pub group: Name,
    /// The last epoch that was given.
    pub epoch: Epoch,
    /// Who owns it, live or not; `None`: it was released, or never taken.
    pub owner: Option<OwnerSeen>,
    /// To whom it was last offered, and how long ago.
    pub offered: Option<(Name, Duration)>,
    /// What the operators want.
    pub control: Control,
    /// How long ago it moved because of a fault, since an operator last cleared it.
    pub moves: Vec<Duration>,
    /// How long ago it failed, if it has.
    pub failed: Option<Duration>,
    /// What the nodes report about their warm processes.
    pub standbys: Vec<StandbySeen>,
}

impl GroupSeen {
    /// A group of which the store knows nothing yet.
    #[must_use]
    pub fn unknown(group: Name) -> Self {
        Self {
            group,
            epoch: Epoch::new(0),
            owner: None,
            offered: None,
            control: Control::default(),
            moves: Vec::new(),
            failed: None,
            standbys: Vec::new(),
        }
    }

    /// The owner, if it is live.
    #[must_use]
    pub fn live_owner(&self) -> Option<&OwnerSeen> {
        self.owner.as_ref().filter(|owner| owner.live)
    }
}

/// An owner of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnerSeen {
    /// Its node.
    pub node: Name,
    /// Its process.
    pub instance: InstanceId,
    /// The session its process lives under.
    pub session: SessionId,
    /// Its grant.
    pub grant: GrantId,
    /// Whether its process and its session are both live.
    pub live: bool,
}

/// A node's report about its process of a group. Written with every look, read by the others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StandbySeen {
    /// The node.
    pub node: Name,
    /// Whether a process is ready to take over, or is the active one.
    pub warm: bool,
    /// Why no process is kept there, if none is.
    pub broken: Option<crate::Exit>,
    /// The adapters that its process cannot use.
    pub adapters_down: Vec<Name>,
    /// The adapters that its process could use for long enough.
    pub adapters_up: Vec<Name>,
}
