//! How many lanes the keys of an ordered port fall into: the same for all who publish to it while it has
//! work (`reference/store.md` 4). Two counts at once would put one key into two lanes, whose owners do not
//! wait for each other.

use quayside_store::StoreError;
use tracing::warn;

use crate::{codes, plan::Plan, shared::Shared};

/// `plan` with the counts that are in force, and a warning for each that is another than it says. `old` is
/// what runs here until now: messages are on their way by its counts, so these stay until a restart.
pub(crate) async fn keep(shared: &Shared, old: &Plan, mut plan: Plan) -> Result<Plan, StoreError> {
    for port in &mut plan.send {
        let Some(order) = &mut port.ordered else {
            continue;
        };
        let (store, instance) = (&shared.store, shared.instance);
        let in_force = match running(old, &port.name) {
            Some(lanes) => lanes,
            None => {
                store
                    .fix_lanes(instance, &port.name, order.lanes.max(1))
                    .await?
            }
        };
        if let Some(detail) = difference(order.lanes, in_force) {
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

/// What to tell of a count that does not come into force.
fn difference(wanted: u16, in_force: u16) -> Option<String> {
    (wanted.max(1) != in_force).then(|| {
        format!(
            "`lanes = {wanted}` waits: {in_force} lanes stay in force while the port may have work"
        )
    })
}
