//! Taking a group, and ending a process: what may have to wait for an open transaction.

use quayside_store::{
    StoreError, StoreErrorKind,
    cluster::{Ending, LOCK_WITHIN},
    fence_of,
    lease::{Epoch, PLANNED_FOR, Take},
    model::{GrantId, InstanceId, Name},
};

use crate::{
    error::{fail, is_locked},
    pool::{Conn, Params},
    row::{Id, Reader, micros},
    sql::Sql,
};

pub(super) const FENCE: &str = "keep fence";

/// The fence of `group`.
pub(super) fn fence(group: &Name) -> Result<String, StoreError> {
    let fence = fence_of(group).map_err(|error| {
        let what = format!("the name of the host {group}: {error}");
        StoreError::new(StoreErrorKind::Data, FENCE, what)
    });
    Ok(fence?.as_str().to_owned())
}

/// What somebody wants to own.
pub(super) struct Wanted {
    fence: String,
    group: String,
    instance: Id,
    grant: Id,
    counted: bool,
}

impl Wanted {
    pub(super) fn new(
        group: &Name,
        instance: InstanceId,
        grant: GrantId,
        counted: bool,
    ) -> Result<Self, StoreError> {
        Ok(Self {
            fence: fence(group)?,
            group: group.as_str().to_owned(),
            instance: instance.into(),
            grant: grant.into(),
            counted,
        })
    }
}

/// Takes the group in one round trip. When a lock was waited for too long, the COMMIT behind the failed
/// statement has ended the transaction without effect, and the connection is good for the next one.
pub(super) async fn take(conn: &Conn, wanted: &Wanted) -> Result<Take, StoreError> {
    let Wanted {
        fence,
        group,
        instance,
        grant,
        counted,
    } = wanted;
    let (begin, planned) = (begin(), micros(PLANNED_FOR));
    let take: Params<'_> = vec![fence, instance, grant, group, counted, &planned];
    let steps = vec![
        conn.text(&begin),
        conn.step(Sql::FenceAdd, vec![fence]),
        conn.step(Sql::FenceLock, vec![fence]),
        conn.step(Sql::OwnerEnd, vec![fence]),
        conn.step(Sql::GroupTake, take),
        conn.step(Sql::FenceGet, vec![fence, instance]),
        conn.text("COMMIT"),
    ];
    let rows = match conn.trip(steps).await {
        Ok(rows) => rows,
        Err(error) if is_locked(&error) => return Ok(Take::Locked),
        Err(error) => return Err(fail(FENCE, error)),
    };
    if let Some(row) = rows[4].first() {
        return taken(&Reader::new(row, FENCE, "fence"));
    }
    let Some(row) = rows[5].first() else {
        return Ok(Take::Refused);
    };
    let row = Reader::new(row, FENCE, "fence");
    if !row.get::<bool>("live")? {
        return Ok(Take::Refused);
    }
    let (owner, theirs): (Option<Id>, Option<Id>) = (row.get("instance")?, row.get("grant_id")?);
    // An earlier call took it, and its answer was lost.
    let met = owner == Some(*instance) && theirs == Some(*grant);
    if met { taken(&row) } else { Ok(Take::Held) }
}

fn taken(row: &Reader<'_>) -> Result<Take, StoreError> {
    Ok(Take::Taken(Epoch::new(row.get("epoch")?)))
}

/// Ends an instance in one round trip.
pub(super) async fn end(conn: &Conn, instance: Id) -> Result<Ending, StoreError> {
    let begin = begin();
    let steps = vec![
        conn.text(&begin),
        conn.step(Sql::InstanceStop, vec![&instance]),
        conn.text("COMMIT"),
    ];
    match conn.trip(steps).await {
        Ok(_) => Ok(Ending::Ended),
        Err(error) if is_locked(&error) => Ok(Ending::Locked),
        Err(error) => Err(fail(super::CLUSTER, error)),
    }
}

fn begin() -> String {
    format!(
        "BEGIN; SET LOCAL lock_timeout = '{}ms'",
        LOCK_WITHIN.as_millis()
    )
}
