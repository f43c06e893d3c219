//! How many lanes the keys of an ordered port fall into: the same for all who publish to it while it has
//! work (`reference/store.md` 4). Two counts at once would put one key into two lanes, whose owners do not
//! wait for each other.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use quayside_model::Name;
use quayside_store::StoreError;
use tracing::warn;

use crate::{codes, plan::Plan, shared::Shared};

/// The counts that ports were given and that are not in force, so that each is told of once and not with
/// every reload.
#[derive(Debug, Default)]
pub(crate) struct Waiting(Mutex<HashMap<Name, u16>>);

impl Waiting {
    /// Takes note of what `port` was given. Returns whether to tell that it waits.
    fn is_news(&self, port: &Name, wanted: u16, in_force: u16) -> bool {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if wanted == in_force {
            waiting.remove(port);
            return false;
        }
        waiting.insert(port.clone(), wanted) != Some(wanted)
    }
}

/// `plan` with the counts that are in force, and a warning for each that is another than it says. `old` is
/// what runs here until now: messages are on their way by its counts, so these stay until a restart.
pub(crate) async fn keep(
    shared: &Shared,
    waiting: &Waiting,
    old: &Plan,
    mut plan: Plan,
) -> Result<Plan, StoreError> {
    for port in &mut plan.send {
        let Some(order) = &mut port.ordered else {
            continue;
        };
        let wanted = order.lanes.max(1);
        let (in_force, until) = match running(old, &port.name) {
            Some(lanes) => (lanes, "this process runs"),
            None => {
                let fixed = shared.store.fix_lanes(shared.instance, &port.name, wanted);
                let until = "its messages wait or another process is live";
                (fixed.await?, until)
            }
        };
        if waiting.is_news(&port.name, wanted, in_force) {
            let detail =
                format!("`lanes = {wanted}` waits: {in_force} lanes stay in force while {until}");
            warn!(code = %codes::LANES_KEPT, port = %port.name, detail);
        }
        order.lanes = in_force;
    }
    Ok(plan)
}

/// The count by which the port runs here.
fn running(old: &Plan, name: &str) -> Option<u16> {
    let port = old.send.iter().find(|port| port.name == *name)?;
    port.ordered.as_ref().map(|order| order.lanes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_that_waits_is_told_of_once() {
        let waiting = Waiting::default();
        let [a, b] = ["app.a", "app.b"].map(|name| Name::new(name).unwrap());
        assert!(!waiting.is_news(&a, 4, 4), "it is in force");
        assert!(waiting.is_news(&a, 8, 4));
        assert!(!waiting.is_news(&a, 8, 4), "told before");
        assert!(waiting.is_news(&b, 8, 4), "another port");
        assert!(waiting.is_news(&a, 16, 4), "another count");
        assert!(!waiting.is_news(&a, 4, 4), "set back");
        assert!(waiting.is_news(&a, 16, 4), "asked for again");
    }
}
