//! One look at everything, in one snapshot and one round trip.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use quayside_store::{
    StoreError,
    cluster::{COUNTED_FOR, Effects, EventRow, Look, decode_report},
    lease::{
        Control, Epoch, GroupSeen, Incarnation, MoveOrder, NodeSeen, OwnerSeen, PLANNED_FOR,
        SessionSeen, Sighting, StandbySeen, View,
    },
    model::{Name, Timestamp},
};
use tokio_postgres::Row;

use crate::{
    PostgresStore,
    error::fail,
    pool::{Conn, Use},
    row::{Reader, micros},
    sessions::read_session,
    sql::Sql,
};

const LOOK: &str = "look at cluster";

/// Who looks, and what it reports: the groups and, in the same order, the texts.
type Looker<'a> = (&'a str, Vec<&'a str>, Vec<String>);

/// Looks at everything; a node writes its report before that.
pub(super) async fn look(
    store: &PostgresStore,
    looker: Option<Looker<'_>>,
) -> Result<Look, StoreError> {
    let wanted = match &looker {
        Some(_) => Use::Session,
        None => Use::Work,
    };
    let work = store.on(wanted, LOOK, async |conn| read(conn, looker.as_ref()).await);
    store.run(LOOK, 1, store.work_timeout(), work).await
}

async fn read(conn: &Conn, looker: Option<&Looker<'_>>) -> Result<Look, StoreError> {
    let (counted, planned) = (micros(COUNTED_FOR), micros(PLANNED_FOR));
    let mut steps = vec![conn.text("BEGIN ISOLATION LEVEL REPEATABLE READ")];
    if let Some((node, groups, texts)) = looker {
        steps.push(conn.step(Sql::NodeAdd, vec![node]));
        steps.push(conn.step(Sql::ReportWrite, vec![node, groups, texts]));
    }
    let written = steps.len();
    steps.extend([
        conn.step(Sql::ClusterWho, vec![]),
        conn.step(Sql::ClusterSessions, vec![]),
        conn.step(Sql::NodeList, vec![&counted]),
        conn.step(Sql::GroupList, vec![&planned]),
        conn.step(Sql::MoveList, vec![&counted]),
        conn.step(Sql::ReportList, vec![]),
        conn.text("COMMIT"),
    ]);
    let rows = conn.trip(steps).await.map_err(|e| fail(LOOK, e))?;
    let [who, sessions, nodes, groups, moves, reports, ..] = &rows[written..] else {
        unreachable!("there is one answer for each of the seven steps");
    };
    let view = View {
        sessions: all(sessions, "session", session)?,
        nodes: all(nodes, "cluster_node", node)?,
        groups: with_moves_and_reports(all(groups, "cluster_group", group)?, moves, reports)?,
    };
    let incarnation = incarnation(&only(who, LOOK, "pg_control_system")?)?;
    Ok(Look { incarnation, view })
}

fn all<T>(
    rows: &[Row],
    table: &'static str,
    read: impl Fn(&Reader<'_>) -> Result<T, StoreError>,
) -> Result<Vec<T>, StoreError> {
    let rows = rows.iter();
    rows.map(|row| read(&Reader::new(row, LOOK, table)))
        .collect()
}

/// The first row of a statement that always gives one.
pub(super) fn only<'a>(
    rows: &'a [Row],
    operation: &'static str,
    table: &'static str,
) -> Result<Reader<'a>, StoreError> {
    let row = rows
        .first()
        .ok_or_else(|| StoreError::corrupt(operation, format!("table {table}: no row")))?;
    Ok(Reader::new(row, operation, table))
}

/// Who answered.
pub(super) fn incarnation(row: &Reader<'_>) -> Result<Incarnation, StoreError> {
    Ok(Incarnation {
        system: row.get::<i64>("system")?.cast_unsigned(),
        timeline: row.number::<i64, _>("timeline")?,
    })
}

fn session(row: &Reader<'_>) -> Result<SessionSeen, StoreError> {
    let row = read_session(row)?;
    Ok(SessionSeen {
        node: row.node,
        sighting: Sighting {
            session: row.session,
            seq: row.seq,
            ttl: row.ttl,
            overdue: row.overdue,
        },
    })
}

fn node(row: &Reader<'_>) -> Result<NodeSeen, StoreError> {
    let lost: Vec<i64> = row.get("lost")?;
    Ok(NodeSeen {
        node: row.text("name")?,
        drained: row.get("drained")?,
        lost: lost.into_iter().map(age).collect(),
    })
}

fn group(row: &Reader<'_>) -> Result<GroupSeen, StoreError> {
    let offered_to: Option<Name> = row.text_opt("offered_to")?;
    let offered_us: Option<i64> = row.get("offered_us")?;
    let failed_us: Option<i64> = row.get("failed_us")?;
    Ok(GroupSeen {
        group: row.text("name")?,
        epoch: Epoch::new(row.get("epoch")?),
        owner: owner(row)?,
        offered: offered_to.zip(offered_us.map(age)),
        control: control(row)?,
        moves: Vec::new(),
        failed: failed_us.map(age),
        standbys: Vec::new(),
    })
}

fn owner(row: &Reader<'_>) -> Result<Option<OwnerSeen>, StoreError> {
    let (Some(instance), Some(grant)) = (row.id_opt("instance")?, row.id_opt("grant_id")?) else {
        return Ok(None);
    };
    Ok(Some(OwnerSeen {
        node: row.text("node")?,
        instance,
        session: row.id("session")?,
        grant,
        live: row.get("live")?,
    }))
}

fn control(row: &Reader<'_>) -> Result<Control, StoreError> {
    let no: Option<i64> = row.get("order_no")?;
    let order = no.map(|no| {
        let at: Option<i64> = row.get("order_at")?;
        Ok::<_, StoreError>(MoveOrder {
            no: no.cast_unsigned(),
            to: row.text_opt("order_to")?,
            at: at.map(Timestamp::from_micros),
        })
    });
    Ok(Control {
        online: row.get("online")?,
        paused: row.get("paused")?,
        pinned: row.text_opt("pinned")?,
        order: order.transpose()?,
        drill: row.get::<Option<i64>>("drill_no")?.map(i64::cast_unsigned),
        clears: row.number::<i64, _>("clears")?,
    })
}

/// Adds to each group what the other tables hold of it.
fn with_moves_and_reports(
    mut groups: Vec<GroupSeen>,
    moves: &[Row],
    reports: &[Row],
) -> Result<Vec<GroupSeen>, StoreError> {
    let places: HashMap<Name, usize> = (0..)
        .zip(&groups)
        .map(|(at, g)| (g.group.clone(), at))
        .collect();
    for row in moves {
        let row = Reader::new(row, LOOK, "cluster_move");
        if let Some(at) = places.get(&row.text::<Name>("grp")?) {
            groups[*at].moves.push(age(row.get("age")?));
        }
    }
    for row in reports {
        let row = Reader::new(row, LOOK, "cluster_report");
        if let Some(at) = places.get(&row.text::<Name>("grp")?) {
            groups[*at].standbys.push(standby(&row)?);
        }
    }
    Ok(groups)
}

fn standby(row: &Reader<'_>) -> Result<StandbySeen, StoreError> {
    let report = decode_report(row.text("node")?, row.get("report")?);
    report.map_err(|e| row.corrupt("report", &e.to_string()))
}

pub(super) fn effects(row: &Reader<'_>) -> Result<Effects, StoreError> {
    let longest: Option<i64> = row.get("longest")?;
    Ok(Effects {
        ended: row.number::<i64, _>("ended")?,
        last: row.get::<Option<i64>>("last")?.map(Timestamp::from_micros),
        longest: longest.map(age),
        released: row.number::<i64, _>("released")?,
        in_doubt: row.number::<i64, _>("in_doubt")?,
        kept: row.number::<i64, _>("kept")?,
        open: row.number::<i64, _>("open")?,
        lost: row.number::<i64, _>("lost")?,
    })
}

pub(super) fn event(row: &Reader<'_>) -> Result<EventRow, StoreError> {
    Ok(EventRow {
        no: row.number::<i64, _>("no")?,
        group: row.text_opt("grp")?,
        node: row.text("node")?,
        from: row.get("from_state")?,
        to: row.get("to_state")?,
        cause: row.get("cause")?,
        evidence: row.get("evidence")?,
        epoch: row.get::<Option<i64>>("epoch")?.map(Epoch::new),
        at: row.time("at")?,
        stored_at: row.time("stored_at")?,
        lasted: Duration::from_micros(row.number::<i64, _>("lasted_us")?),
    })
}

/// The events of `events`, newest first, each once: one whose writing came to no answer in time was written again, and
/// may have come through each time. Kept is what was written first.
pub(super) fn once(mut events: Vec<EventRow>) -> Vec<EventRow> {
    let mut seen = HashSet::new();
    events.reverse();
    events.retain(|event| {
        let what = (event.from.clone(), event.to.clone());
        event.is_word() || seen.insert((event.group.clone(), event.node.clone(), event.at, what))
    });
    events.reverse();
    events
}

/// An age that the database's clock gives: what was written before it stepped back is of this moment.
fn age(micros: i64) -> Duration {
    Duration::from_micros(u64::try_from(micros).unwrap_or(0))
}
