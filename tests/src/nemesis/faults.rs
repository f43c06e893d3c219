//! What can happen to a node, its processes and what it depends on.

use std::{fmt, net::Ipv4Addr};

use quayside_harness::{Cut, Way, network::machine, signal_all};
use rustix::process::{Pid, Signal};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::arena::{Arena, HOST, Owner};
use crate::cluster::PATIENCE;

/// A fault, or an operator's order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    /// The process of the clustered host is killed.
    KillHost,
    /// It is paused, and nobody lets it go on.
    PauseHost,
    /// The agent is killed, and with it every process of the node.
    KillAgent,
    /// The agent is paused for a while.
    PauseAgent,
    /// Agent and processes of the node are paused for a while.
    PauseNode,
    /// The node's link to the store falls silent, and then all of it is killed: the store hears nothing of it.
    LoseNode,
    /// No packet gets through between node and store for a while.
    CutStore,
    /// None from the node to the store.
    CutStoreThere,
    /// None from the store to the node.
    CutStoreBack,
    /// None between node and broker, for less than heartbeats notice.
    CutBroker,
    /// The store ends without a word and is started again.
    RestartStore,
    /// The broker is stopped and started again.
    RestartBroker,
    /// An operator moves the host.
    Move,
    /// An operator drains the node, and resumes it later.
    Drain,
}

impl Fault {
    /// Every kind.
    pub const ALL: [Self; 14] = [
        Self::KillHost,
        Self::PauseHost,
        Self::KillAgent,
        Self::PauseAgent,
        Self::PauseNode,
        Self::LoseNode,
        Self::CutStore,
        Self::CutStoreThere,
        Self::CutStoreBack,
        Self::CutBroker,
        Self::RestartStore,
        Self::RestartBroker,
        Self::Move,
        Self::Drain,
    ];

    /// Whether the host gets another owner if this happens to its owner's node. If not it must keep the one it has.
    #[must_use]
    pub fn changes_owner(self) -> bool {
        !matches!(
            self,
            Self::CutBroker | Self::RestartStore | Self::RestartBroker
        )
    }

    /// Whether it happens to a node, and not to what all depend on.
    fn is_of_a_node(self) -> bool {
        !matches!(self, Self::RestartStore | Self::RestartBroker)
    }
}

/// A fault and its victim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// What happens.
    pub fault: Fault,
    /// Whether it happens to the owner's node, or to one that stands by.
    pub to_owner: bool,
    /// Of several nodes that stand by, or of several that could be moved to, which one.
    pub pick: usize,
}

impl Step {
    /// Whether the host must have another owner afterwards.
    #[must_use]
    pub fn changes_owner(&self) -> bool {
        self.to_owner && self.fault.changes_owner()
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let victim = if !self.fault.is_of_a_node() {
            "all nodes"
        } else if self.to_owner {
            "the owner"
        } else {
            "a standby"
        };
        write!(f, "{:?} of {victim}", self.fault)
    }
}

/// The steps of a run, in an order that its seed decides.
#[derive(Debug)]
pub struct Schedule {
    /// What it was made of.
    pub seed: u64,
    /// The steps.
    pub steps: Vec<Step>,
}

impl Schedule {
    /// `count` steps with every one of `kinds` equally often, as far as that goes, mostly to the owner.
    #[must_use]
    pub fn new(seed: u64, count: usize, kinds: &[Fault]) -> Self {
        let mut random = Random(seed);
        let mut steps: Vec<_> = (0..count)
            .map(|no| {
                let fault = kinds[no % kinds.len()];
                // Orders are for owners: to move what stands by means nothing.
                let order = matches!(fault, Fault::Move);
                Step {
                    fault,
                    to_owner: order || no < kinds.len() || random.below(4) > 0,
                    pick: random.below(2),
                }
            })
            .collect();
        for no in (1..steps.len()).rev() {
            steps.swap(no, random.below(no + 1));
        }
        Self { seed, steps }
    }
}

/// A stream of numbers that its seed decides (SplitMix64).
#[derive(Debug)]
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        let end = u64::try_from(end).expect("a length");
        usize::try_from((z ^ (z >> 31)) % end).expect("below a length")
    }
}

/// What has to be put right again.
#[derive(Debug)]
pub(super) enum Mend {
    /// Nothing.
    Nothing,
    /// The node has to be started.
    Start(usize),
    /// These processes have to go on.
    Resume(Vec<Pid>),
    /// Packets have to get through.
    Heal,
    /// Packets have to get through, and the node has to be started.
    HealAndStart(usize),
    /// The node has to be resumed by an operator.
    ResumeNode(usize),
}

impl Arena {
    /// Does it to `victim`. Returns what has to be put right afterwards.
    pub(super) async fn inflict(&mut self, step: &Step, victim: usize, owner: &Owner) -> Mend {
        let gateway = &mut self.site.gateways[victim];
        match step.fault {
            Fault::KillHost | Fault::PauseHost => {
                let process = gateway.process_of(HOST).expect("a process of the host");
                let kill = step.fault == Fault::KillHost;
                let signal = if kill { Signal::KILL } else { Signal::STOP };
                signal_all(&[process], signal);
                Mend::Nothing
            }
            Fault::KillAgent => {
                gateway.kill9();
                Mend::Start(victim)
            }
            Fault::PauseAgent => {
                gateway.process.pause().await;
                let agent = i32::try_from(gateway.process.pid()).ok();
                Mend::Resume(agent.and_then(Pid::from_raw).into_iter().collect())
            }
            Fault::PauseNode => {
                let family = gateway.family();
                signal_all(&family, Signal::STOP);
                Mend::Resume(family)
            }
            Fault::LoseNode => {
                self.cut(victim, self.store_port(), Way::Both);
                self.site.gateways[victim].kill9();
                Mend::HealAndStart(victim)
            }
            Fault::CutStore | Fault::CutStoreThere | Fault::CutStoreBack => {
                let way = match step.fault {
                    Fault::CutStoreThere => Way::There,
                    Fault::CutStoreBack => Way::Back,
                    _ => Way::Both,
                };
                self.cut(victim, self.store_port(), way);
                Mend::Heal
            }
            Fault::CutBroker => {
                self.cut(victim, self.broker.addr().port(), Way::Both);
                Mend::Heal
            }
            Fault::RestartStore => {
                let store = self.site.server.as_mut().expect("a server");
                store.stop_immediate().await;
                store.start_again().await;
                Mend::Nothing
            }
            Fault::RestartBroker => {
                self.broker.stop().await;
                self.broker.start_again().await;
                Mend::Nothing
            }
            Fault::Move => {
                let others: Vec<_> = (0..self.site.nodes.len())
                    .filter(|no| *no != owner.node)
                    .collect();
                let to = self.site.nodes[others[step.pick % others.len()]].name();
                let path = format!("cluster/hosts/{HOST}/move");
                self.say(owner.node, &path, &json!({ "to": to })).await;
                Mend::Nothing
            }
            Fault::Drain => {
                let path = format!("cluster/nodes/{}/drain", self.site.nodes[victim].name());
                self.say(victim, &path, &json!({})).await;
                Mend::ResumeNode(victim)
            }
        }
    }

    /// Puts it right.
    pub(super) async fn mend(&mut self, mend: Mend) {
        match mend {
            Mend::Nothing => {}
            Mend::Start(node) => self.site.restart(node).await,
            Mend::Resume(pids) => signal_all(&pids, Signal::CONT),
            Mend::Heal => self.network.heal(),
            Mend::HealAndStart(node) => {
                self.network.heal();
                self.site.restart(node).await;
            }
            Mend::ResumeNode(node) => {
                let path = format!("cluster/nodes/{}/resume", self.site.nodes[node].name());
                self.say(node, &path, &json!({})).await;
            }
        }
    }

    fn cut(&mut self, node: usize, port: u16, way: Way) {
        let machine: Ipv4Addr = machine(node);
        self.network.cut(Cut {
            machine,
            port,
            way,
            share: 100,
        });
    }

    async fn say(&self, node: usize, path: &str, body: &serde_json::Value) {
        let said = quayside_harness::look_for(PATIENCE, async || {
            self.site.gateways[node].post(path, body).await
        });
        if let Err(error) = said.await {
            panic!("{path}: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn a_seed_decides_the_schedule_and_every_kind_is_in_it() {
        let steps = |seed| Schedule::new(seed, 30, &Fault::ALL).steps;
        assert_eq!(steps(7), steps(7));
        assert_ne!(steps(7), steps(8));
        let mut kinds = BTreeMap::new();
        for step in steps(7) {
            *kinds.entry(step.fault).or_insert(0) += 1;
        }
        assert_eq!(kinds.len(), Fault::ALL.len(), "{kinds:?}");
        assert!(kinds.values().all(|n| *n >= 2), "{kinds:?}");
    }
}
