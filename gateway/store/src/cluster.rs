//! What the agents of a cluster of nodes keep in the store, and what operators tell them through it.
//!
//! Only for a store that several machines share: [`Store::cluster`](crate::Store::cluster) gives it. A *group*
//! is a clustered host, named as in the configuration; its fence in [`Sessions`](crate::Sessions) is
//! [`fence_of`] it. Ages are by the store's clock. What the store answers is believed only if its
//! [`Incarnation`] is the one the caller knows: the calls on which others rest bring it with the answer.
//!
//! A change that the database confirmed with a warning is `Unknown`: it is then not known that a failover
//! would keep it. A call that came to no answer in time may still take effect.

mod text;

use std::time::Duration;

use async_trait::async_trait;
use quayside_lease::{Epoch, Incarnation, Offer, StandbySeen, Take, Transition, View};
use quayside_model::{GrantId, InstanceId, Name, SessionId, Text, TextError, Timestamp};
use serde::Serialize;

use crate::{StoreError, sessions::NewInstance};

pub use text::{decode_exit, decode_report, encode_exit, encode_report};

/// How long a take or an end waits behind an open transaction of the process that it concerns.
pub const LOCK_WITHIN: Duration = Duration::from_millis(250);

/// How long moves because of a fault, and sessions that a node has lost, are counted.
pub const COUNTED_FOR: Duration = Duration::from_secs(24 * 3600);

/// The fence of a clustered host.
///
/// # Errors
/// The host's name is too long for one.
pub fn fence_of(host: &Name) -> Result<Name, TextError> {
    Name::new(format!("host.{host}"))
}

/// What agents and operators of a cluster keep.
///
/// Every change is durable when its call has returned. Those that somebody may wait for wake every
/// [`Hints`] of the store: a take, a release, an offer, a failure and its end, the end of a session or of a
/// process, and all that operators say.
#[async_trait]
pub trait Cluster: Send + Sync {
    /// Opens `session` for the agent of `node`, live until `ttl` from now unless renewed. Only sessions of agents
    /// are shown in a view, and only they are lost by a node: other processes on it have their own.
    async fn open(&self, session: SessionId, node: &Name, ttl: Duration) -> Result<(), StoreError>;

    /// Renews `session` by its own ttl from now, as
    /// [`Sessions::renew_session`](crate::Sessions::renew_session) does, and says who answered. On a
    /// connection that neither work nor a look holds.
    async fn renew(&self, session: SessionId) -> Result<Renewed, StoreError>;

    /// Which standbys follow the database, and whether commits wait for them.
    async fn replicas(&self) -> Result<Replicas, StoreError>;

    /// Who answers on the connections for sessions.
    async fn incarnation(&self) -> Result<Incarnation, StoreError>;

    /// Drops every connection that is not in use: for a database that turns out to be an old primary.
    fn disconnect(&self);

    /// Writes what `node` reports about its processes, then reads everything, its own report included, in
    /// one snapshot. Rows that are as reported already are not written: most calls write nothing, and wake nobody.
    async fn look(&self, node: &Name, report: &[(Name, StandbySeen)]) -> Result<Look, StoreError>;

    /// Reads everything as [`Cluster::look`] does, for somebody who is no node.
    async fn view(&self) -> Result<Look, StoreError>;

    /// Registers `instance` as live, under a live session, for a process other than the calling one: unlike
    /// [`Sessions::register_instance`](crate::Sessions::register_instance) it does not name the caller's
    /// connections after it, which [`Cluster::break_locks`] would end with those of that process. The process
    /// itself calls [`Store::work_as`](crate::Store::work_as). `false`: the session is not live.
    async fn register(&self, instance: &NewInstance) -> Result<bool, StoreError>;

    /// Ends `instance`, as [`Sessions::end_instance`](crate::Sessions::end_instance) does, but waits for
    /// [`LOCK_WITHIN`] only. Idempotent.
    async fn end(&self, instance: InstanceId) -> Result<Ending, StoreError>;

    /// Takes `group` for `instance` if it is free or its owner is not live, and raises its epoch. The same
    /// `grant` again meets itself. A take that is `counted` is a move of the group from then on, and
    /// every take ends an offer.
    ///
    /// An owner that died with its session is ended by the take: no batch of it commits after that.
    /// An open one is waited for, for [`LOCK_WITHIN`]; then the outcome is [`Take::Locked`], and
    /// [`Cluster::break_locks`] of the owner helps. Never [`Take::Unknown`]: that is what an error is.
    async fn take_group(
        &self,
        group: &Name,
        instance: InstanceId,
        grant: GrantId,
        counted: bool,
    ) -> Result<Take, StoreError>;

    /// Gives `group` back if `grant` still is its grant, and with that writes that it is offered from now on, and if
    /// the offer is counted a move because of a fault. `false`: it was given back, or somebody else has it.
    async fn release_group(
        &self,
        group: &Name,
        grant: GrantId,
        offer: Option<&Offer>,
    ) -> Result<bool, StoreError>;

    /// Ends the connections that carry the name of `instance`, with the transactions that are open on them,
    /// and no others. Returns how many. For an instance that is dead, or whose process is.
    ///
    /// # Errors
    /// `Config` if they belong to another role of the database, of which this one is no member.
    async fn break_locks(&self, instance: InstanceId) -> Result<u32, StoreError>;

    /// Writes that `group`, whose owner is dead or about to be, is offered to the node `to` from now on. If `planned`, a
    /// take within [`PLANNED_FOR`](quayside_lease::PLANNED_FOR) is no move because of a fault.
    async fn offer(&self, group: &Name, to: &Name, planned: bool) -> Result<(), StoreError>;

    /// Writes that `group` has failed now, also if it had before.
    async fn fail(&self, group: &Name) -> Result<(), StoreError>;

    /// Writes that `group` has not failed any more.
    async fn recover(&self, group: &Name) -> Result<(), StoreError>;

    /// Writes that the order `order` to move `group` is dealt with: followed from now on, or `refused` with
    /// this reason. It is not shown in a view any more; an older answer never replaces a newer one.
    async fn answer_move(
        &self,
        group: &Name,
        order: u64,
        refused: Option<&str>,
    ) -> Result<(), StoreError>;

    /// How the last order to move `group` that was dealt with went.
    async fn move_answer(&self, group: &Name) -> Result<Option<MoveAnswer>, StoreError>;

    /// Appends a change of state. Kept as long as metadata is. Not idempotent: run again after a failure it
    /// may stand there twice.
    async fn record(&self, transition: &Transition) -> Result<(), StoreError>;

    /// The last `limit` changes of state and words of operators, of `group` and on `node`, if these are given, newest
    /// first.
    async fn events(
        &self,
        group: Option<&Name>,
        node: Option<&Name>,
        limit: u32,
    ) -> Result<Vec<EventRow>, StoreError>;

    /// Writes what an operator wants of `group`, with an event of who said it. Returns the number of the order for
    /// [`ControlChange::Move`] and [`ControlChange::Drill`], which replaces an order that waits.
    async fn set_control(
        &self,
        group: &Name,
        change: &ControlChange,
        said: &Said,
    ) -> Result<Option<u64>, StoreError>;

    /// Drains `node`, or ends that, with an event of who said it in `note`. The node need not have been seen yet.
    async fn drain_node(&self, node: &Name, drained: bool, note: &Text) -> Result<(), StoreError>;

    /// Forgets the sessions that `node` has lost, with an event of who said it in `note`.
    async fn clear_node(&self, node: &Name, note: &Text) -> Result<(), StoreError>;

    /// What came of the sends of `ports` since `since`, by the store's clock. It reads all that was recorded since
    /// midnight: for somebody who looks how a takeover went, and not for every minute.
    async fn effects(&self, ports: &[Name], since: Timestamp) -> Result<Effects, StoreError>;

    /// Listens for changes, on a connection of its own. Changes from the moment of its return on are told.
    async fn hints(&self) -> Result<Box<dyn Hints>, StoreError>;
}

/// Wakes whoever waits for a change. Only a hint: it may come without a change, and several may come as one.
#[async_trait]
pub trait Hints: Send {
    /// Returns when something has changed since the last call. May be dropped and called again: no hint
    /// is lost by that.
    ///
    /// # Errors
    /// `Unavailable`: the connection is over. From then on every call fails, and changes go untold until
    /// [`Cluster::hints`] gives a new one; look once after that.
    async fn next(&mut self) -> Result<(), StoreError>;
}

/// The answer to [`Cluster::renew`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Renewed {
    /// Whether the session is live. `false`: it is not any more and never will be.
    pub live: bool,
    /// Who answered.
    pub incarnation: Incarnation,
}

/// The answer to [`Cluster::replicas`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replicas {
    /// What the standbys are called.
    pub standbys: Vec<String>,
    /// Whether a commit waits for one of those that the database was told to wait for.
    pub waits: bool,
}

impl Replicas {
    /// Whether a failover may lose what was committed: there is something to fail over to, and no commit waits
    /// for it.
    #[must_use]
    pub fn may_lose(&self) -> bool {
        !self.waits && !self.standbys.is_empty()
    }
}

/// The answer to [`Cluster::look`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Look {
    /// Who answered.
    pub incarnation: Incarnation,
    /// What it showed. Reports of nodes without a live session are left out.
    pub view: View,
}

/// The answer to [`Cluster::end`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// It is ended, by this call or an earlier one.
    Ended,
    /// An open transaction of it stands in the way: [`Cluster::break_locks`], then again.
    Locked,
}

/// What an operator wants of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ControlChange {
    /// Whether it is to run at all.
    Online(bool),
    /// Maintenance: no restart, no move, no failback.
    Paused(bool),
    /// It may run on this node only; `None`: where the configuration lets it.
    Pin(Option<Name>),
    /// It is to move.
    Move {
        /// Where to; `None`: to the best other node.
        to: Option<Name>,
        /// Not before this moment.
        at: Option<Timestamp>,
    },
    /// Its process is to be killed, as if it had died, and another one to take its place: an order like
    /// [`ControlChange::Move`]. A move that follows within [`PLANNED_FOR`](quayside_lease::PLANNED_FOR) is not counted.
    Drill,
    /// Failures, budgets and moves are forgotten.
    Clear,
}

impl ControlChange {
    /// As it stands in the events.
    #[must_use]
    pub fn in_words(&self) -> String {
        match self {
            Self::Online(true) => "wanted online".to_owned(),
            Self::Online(false) => "wanted offline".to_owned(),
            Self::Paused(true) => "paused".to_owned(),
            Self::Paused(false) => "unpaused".to_owned(),
            Self::Pin(Some(to)) => format!("pinned to {to}"),
            Self::Pin(None) => "unpinned".to_owned(),
            Self::Move { to, at } => {
                let to = to.as_ref().map_or("the best other node", Name::as_str);
                match at {
                    Some(at) => format!("ordered to {to}, not before {at}"),
                    None => format!("ordered to {to}"),
                }
            }
            Self::Drill => "its process to be killed".to_owned(),
            Self::Clear => "cleared".to_owned(),
        }
    }
}

/// What came of sends, by what the store has recorded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Effects {
    /// How many have ended well.
    pub ended: u64,
    /// When the last one did.
    pub last: Option<Timestamp>,
    /// The longest time between two that ended well, one after the other, the later of them since then. The earlier
    /// one may be up to a minute older. `None`: no two were.
    pub longest: Option<Duration>,
    /// Deliveries that were taken from an owner that died.
    pub released: u64,
    /// How many of these may have been sent by it.
    pub in_doubt: u64,
    /// How many of those are kept for an operator.
    pub kept: u64,
    /// How many of the released ones have not ended yet.
    pub open: u64,
    /// How many of them neither live nor have an end: none, unless the store has lost them.
    pub lost: u64,
}

/// Who said something, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// The node through which it was said.
    pub node: Name,
    /// Who, and the reason.
    pub note: Text,
}

/// How an order to move went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MoveAnswer {
    /// Its number.
    pub order: u64,
    /// Why it was not followed; `None`: it was.
    pub refused: Option<String>,
}

/// A change of state as it was recorded: in words, for people. Those of a later version may be unknown here. A word of
/// an operator stands among them: its cause is the word, its evidence who said it and why, and it has no states.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EventRow {
    /// Rises with each event of the store.
    pub no: u64,
    /// The group; `None`: it is about the node as a whole.
    pub group: Option<Name>,
    /// The node it happened on; of a word, the one through which it was said, or which it is about.
    pub node: Name,
    /// The state before.
    pub from: String,
    /// The state after.
    pub to: String,
    /// Why.
    pub cause: String,
    /// What speaks for it.
    pub evidence: Vec<String>,
    /// The epoch held before or after.
    pub epoch: Option<Epoch>,
    /// When, by that node's clock.
    pub at: Timestamp,
    /// When it was recorded, by the store's clock.
    pub stored_at: Timestamp,
    /// How long the state before had lasted.
    pub lasted: Duration,
}

impl EventRow {
    /// Whether it is a word of an operator, and no change of state.
    #[must_use]
    pub fn is_word(&self) -> bool {
        self.to.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fence_of_a_host_is_none_of_the_others() {
        let name = |text: &str| Name::new(text).expect("a name");
        let fence = fence_of(&name("track.box0")).expect("a name");
        assert_eq!(fence, name("host.track.box0"));
        assert!(fence_of(&name(&"x".repeat(Name::MAX))).is_err());
    }
}
