//! What is done to containers, and how it is put right again.

use std::fmt;

use super::{
    library::Library,
    topology::{BROKERS, DATABASES, Topology},
};

/// What can happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// A node is killed with all its processes.
    KillNode,
    /// All processes of a node stand still for a while.
    PauseNode,
    /// A node reaches nobody, and nobody reaches it.
    CutNode,
    /// Every node is stopped as operators do and started again, one after the other.
    RestartNodes,
    /// A broker, the leader of the queues, is killed or cut off.
    LoseBroker,
    /// The primary of the database is killed or stands still.
    LosePrimary,
    /// A standby of the database is killed or cut off.
    LoseStandby,
    /// A front end of the farm is killed while a document comes to it.
    LoseFrontEnd,
}

impl Fault {
    /// Every kind.
    pub const ALL: [Self; 8] = [
        Self::KillNode,
        Self::LoseBroker,
        Self::LosePrimary,
        Self::PauseNode,
        Self::LoseStandby,
        Self::CutNode,
        Self::LoseFrontEnd,
        Self::RestartNodes,
    ];
}

/// Who is what when a fault comes.
#[derive(Debug, Clone)]
pub struct Places {
    /// All nodes.
    pub nodes: Vec<&'static str>,
    /// Those where a clustered host works: they take the worst of what happens to nodes.
    pub owners: [&'static str; 2],
    /// The broker that leads the queue from outside.
    pub leader: &'static str,
    /// The primary of the database.
    pub primary: &'static str,
}

/// What was done, and has to be put right.
#[derive(Debug)]
pub struct Done {
    how: How,
    victim: &'static str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum How {
    Kill,
    Pause,
    Cut,
    /// Stopped and started again already.
    Restart,
    /// Killed inside of its container, in the middle of an upload.
    KillInUpload(usize),
}

impl fmt::Display for Done {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {}", self.how, self.victim)
    }
}

impl Fault {
    /// Does it, a little otherwise each time. Returns what was done.
    pub async fn inflict(
        self,
        topology: &Topology,
        library: &Library,
        places: &Places,
        time: usize,
    ) -> Done {
        let node = places.owners[time % 2];
        let standby = DATABASES
            .iter()
            .filter(|member| **member != places.primary)
            .nth(time % 2);
        let standby = standby.expect("two of three follow");
        let first = time.is_multiple_of(2);
        let (how, victim) = match self {
            Self::KillNode => (How::Kill, node),
            Self::PauseNode => (How::Pause, node),
            Self::CutNode => (How::Cut, node),
            Self::RestartNodes => (How::Restart, "all nodes"),
            Self::LoseBroker => (if first { How::Kill } else { How::Cut }, places.leader),
            Self::LosePrimary => (if first { How::Kill } else { How::Pause }, places.primary),
            Self::LoseStandby => (if first { How::Kill } else { How::Cut }, *standby),
            Self::LoseFrontEnd => (How::KillInUpload(time % 2), "farm"),
        };
        match how {
            How::Kill => topology.tell("kill", victim).await,
            How::Pause => topology.tell("pause", victim).await,
            How::Cut => topology.disconnect(victim).await,
            How::Restart => {
                for node in &places.nodes {
                    topology.stop(node).await;
                    topology.tell("start", node).await;
                    topology.healthy(node).await;
                }
            }
            How::KillInUpload(front_end) => must(library.kill_in_upload(front_end).await),
        }
        Done { how, victim }
    }
}

impl Done {
    /// Puts it right.
    pub async fn mend(&self, topology: &Topology, library: &Library) {
        match self.how {
            How::Kill => topology.tell("start", self.victim).await,
            How::Pause => topology.tell("unpause", self.victim).await,
            How::Cut => topology.connect(self.victim).await,
            How::Restart => {}
            How::KillInUpload(front_end) => must(library.start(front_end).await),
        }
    }
}

fn must(done: Result<(), String>) {
    done.unwrap_or_else(|error| panic!("{error}"));
}

/// The member of a cluster of brokers with this name.
#[must_use]
pub fn broker(name: &str) -> Option<&'static str> {
    BROKERS.into_iter().find(|broker| *broker == name)
}
