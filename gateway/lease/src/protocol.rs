//! What an agent and its hosts say to each other.
//!
//! The deadline itself stands in a page that both see, so that it is read right before each effect; a
//! [`Grant`] opens it and [`crate::Action::Shut`] closes it.

use quayside_model::{GrantId, InstanceId, Monotonic, Name, SessionId};
use serde::{Deserialize, Serialize};

use crate::Epoch;

/// The right to be the active process of a group, until its deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grant {
    /// Orders the owners.
    pub epoch: Epoch,
    /// Names this ownership; every work statement presents it beside the epoch.
    pub id: GrantId,
    /// Until when the process may act. Moved on by each renewal of the session.
    pub deadline: Monotonic,
}

/// What a process is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HostState {
    /// Not ready yet.
    #[default]
    Starting,
    /// Warm: configuration read, store and broker connected, no consumer.
    Standby,
    /// Active, its ports and locations run.
    Online,
    /// Takes nothing new.
    Draining,
}

/// Sent by the work loop of a process every 100 ms, not by a side thread: no beat means no work.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Beat {
    /// What it is doing.
    pub state: HostState,
    /// Effects that have begun and not come back. What waits for the store, before or after one, is none.
    pub in_flight: u32,
    /// Its adapters. A fault of one message is not a fault of its adapter.
    pub adapters: Vec<AdapterHealth>,
}

/// Whether the system behind an adapter can be reached from here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdapterHealth {
    /// Its name in the configuration.
    pub name: Name,
    /// What its last probe said.
    pub healthy: bool,
}

/// What an agent tells a process. Each is one JSON document in one packet of the socket that the process
/// inherits as its standard input.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ToHost {
    /// Comes first, with the [page](crate::page) of the deadline as a file descriptor beside it.
    Welcome {
        /// The process id of the agent, whose end the process does not outlive.
        agent: u32,
        /// Where the process serves its API: the path of a socket.
        api: String,
        /// For a clustered host; any other keeps a session of its own.
        member: Option<Member>,
    },
    /// The process is the active one from now on, until the deadline in the page.
    Grant {
        /// As in [`Grant`].
        epoch: Epoch,
        /// As in [`Grant`].
        id: GrantId,
        /// Which other node had the group before, if one did, and has not been followed by a process of this node.
        #[serde(default)]
        former: Option<Former>,
    },
    /// Take nothing new, finish what is under way, say [`ToAgent::Drained`], end.
    Drain {
        /// How long that may take, in milliseconds.
        within_ms: u64,
    },
}

/// A former owner.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Former {
    /// Its node.
    pub node: Name,
    /// Whether it has finished all work and given the group back. Else it may be paused or cut off.
    pub released: bool,
}

/// What the process of a clustered host is to the store: registered already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// The session of the node, which the agent keeps.
    pub session: SessionId,
    /// The process.
    pub instance: InstanceId,
}

/// What a process tells its agent, in the same form.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ToAgent {
    /// It works.
    Beat(Beat),
    /// It has finished all work and shut its gate for good.
    Drained,
    /// The store told it that it is not the owner; it does nothing more.
    Fenced,
}

/// The longest packet in bytes.
pub const PACKET_MAX: usize = 16 * 1024;

/// The packet of `message`.
#[must_use]
pub fn encode(message: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(message).expect("plain data has a JSON form")
}

/// The message of a packet.
///
/// # Errors
/// The packet is none: the other side is of another version.
pub fn decode<T: for<'a> Deserialize<'a>>(packet: &[u8]) -> Result<T, serde_json::Error> {
    serde_json::from_slice(packet)
}

#[cfg(test)]
mod tests {
    use quayside_model::{SystemEntropy, Timestamp};

    use super::*;

    fn returns<T: Serialize + for<'a> Deserialize<'a> + PartialEq + std::fmt::Debug>(message: &T) {
        let packet = encode(message);
        assert!(packet.len() < PACKET_MAX, "{} bytes", packet.len());
        assert_eq!(decode::<T>(&packet).expect("it was encoded"), *message);
    }

    #[test]
    fn every_message_fits_a_packet_and_returns() {
        let wall = Timestamp::from_micros(1);
        let member = Member {
            session: SessionId::new(wall, &SystemEntropy),
            instance: InstanceId::new(wall, &SystemEntropy),
        };
        for member in [Some(member), None] {
            returns(&ToHost::Welcome {
                agent: 7,
                api: "/run/quayside/edge.sock".to_owned(),
                member,
            });
        }
        let former = Former {
            node: Name::new("node-b").expect("a name"),
            released: false,
        };
        for former in [Some(former), None] {
            returns(&ToHost::Grant {
                epoch: Epoch::new(1 << 40),
                id: GrantId::new(wall, &SystemEntropy),
                former,
            });
        }
        returns(&ToHost::Drain { within_ms: 30_000 });
        let name = Name::new("amqp").expect("a name");
        let adapters = vec![AdapterHealth {
            name,
            healthy: false,
        }];
        returns(&ToAgent::Beat(Beat {
            state: HostState::Online,
            in_flight: 3,
            adapters,
        }));
        returns(&ToAgent::Drained);
        returns(&ToAgent::Fenced);
    }

    #[test]
    fn a_packet_of_another_version_is_refused() {
        assert!(decode::<ToHost>(b"{\"sing\":{}}").is_err());
        assert!(decode::<ToAgent>(b"").is_err());
    }
}
