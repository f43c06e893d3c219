//! What the agents of a cluster keep, and what operators tell them.
//!
//! What can wait behind an open transaction of a process, and so behind a client that is frozen in one, is
//! what changes `state` of its instance: [`Cluster::end`] and, for an owner that died with its session,
//! [`Cluster::take_group`]. Both wait briefly. The end of a session, a renewal and a look wait for no batch.

mod hints;
mod take;
mod view;

use std::time::Duration;

use async_trait::async_trait;
use quayside_store::{
    Cluster, StoreError,
    cluster::{
        ControlChange, Effects, Ending, EventRow, Hints, Look, MoveAnswer, Renewed, Replicas, Said,
        encode_report,
    },
    lease::{Incarnation, Offer, PLANNED_FOR, StandbySeen, Take, Transition},
    model::{GrantId, InstanceId, Name, SessionId, Text, Timestamp},
    sessions::NewInstance,
};

use crate::{
    PostgresStore,
    pool::{Params, Use, name_of},
    row::{Id, Reader, micros},
    sessions::{SESSION, is_live},
    sql::Sql,
};

const CLUSTER: &str = "keep cluster";

#[async_trait]
impl Cluster for PostgresStore {
    async fn open(&self, session: SessionId, node: &Name, ttl: Duration) -> Result<(), StoreError> {
        let (id, ttl) = (Id::from(session), micros(ttl));
        self.keep(Sql::ClusterOpen, vec![&id, &node.as_str(), &ttl])
            .await?;
        Ok(())
    }

    async fn renew(&self, session: SessionId) -> Result<Renewed, StoreError> {
        let id = Id::from(session);
        let work = self.surely(Use::Renewal, SESSION, async |conn| {
            let rows = conn.rows(SESSION, Sql::ClusterRenew, vec![&id]).await?;
            let row = view::only(&rows, SESSION, "session")?;
            Ok(Renewed {
                live: row.get("live")?,
                incarnation: view::incarnation(&row)?,
            })
        });
        self.run(SESSION, 1, self.work_timeout(), work).await
    }

    async fn replicas(&self) -> Result<Replicas, StoreError> {
        let work = self.work(CLUSTER, async |conn| {
            let rows = conn.rows(CLUSTER, Sql::ClusterReplicas, vec![]).await?;
            let row = view::only(&rows, CLUSTER, "pg_stat_replication")?;
            Ok(Replicas {
                standbys: row.get("standbys")?,
                waits: row.get("waits")?,
            })
        });
        self.run(CLUSTER, 1, self.work_timeout(), work).await
    }

    async fn incarnation(&self) -> Result<Incarnation, StoreError> {
        let work = self.on(Use::Renewal, SESSION, async |conn| {
            let rows = conn.rows(SESSION, Sql::ClusterWho, vec![]).await?;
            view::incarnation(&view::only(&rows, SESSION, "session")?)
        });
        self.run(SESSION, 1, self.work_timeout(), work).await
    }

    fn disconnect(&self) {
        self.pool().leave();
    }

    async fn look(&self, node: &Name, report: &[(Name, StandbySeen)]) -> Result<Look, StoreError> {
        let groups: Vec<&str> = report.iter().map(|(group, _)| group.as_str()).collect();
        let texts: Vec<String> = report.iter().map(|(_, seen)| encode_report(seen)).collect();
        view::look(self, Some((node.as_str(), groups, texts))).await
    }

    async fn view(&self) -> Result<Look, StoreError> {
        view::look(self, None).await
    }

    async fn register(&self, instance: &NewInstance) -> Result<bool, StoreError> {
        let (id, session) = (Id::from(instance.instance), Id::from(instance.session));
        let (node, hosts) = (instance.node.as_str(), instance.hosts.as_str());
        let work = self.surely(Use::Work, CLUSTER, async |conn| {
            let params: Params<'_> = vec![&id, &session, &node, &hosts];
            conn.change(CLUSTER, Sql::InstanceRegister, params).await?;
            is_live(conn, CLUSTER, &id).await
        });
        self.run(CLUSTER, 1, self.work_timeout(), work).await
    }

    async fn end(&self, instance: InstanceId) -> Result<Ending, StoreError> {
        let id = Id::from(instance);
        let work = self.surely(Use::Work, CLUSTER, async |conn| take::end(conn, id).await);
        self.run(CLUSTER, 1, self.work_timeout(), work).await
    }

    async fn take_group(
        &self,
        group: &Name,
        instance: InstanceId,
        grant: GrantId,
        counted: bool,
    ) -> Result<Take, StoreError> {
        let wanted = take::Wanted::new(group, instance, grant, counted)?;
        let work = self.surely(Use::Work, take::FENCE, async |conn| {
            take::take(conn, &wanted).await
        });
        self.run(take::FENCE, 1, self.work_timeout(), work).await
    }

    async fn release_group(
        &self,
        group: &Name,
        grant: GrantId,
        offer: Option<&Offer>,
    ) -> Result<bool, StoreError> {
        let (fence, grant) = (take::fence(group)?, Id::from(grant));
        let (group, to) = (group.as_str(), offer.map(|offer| offer.to.as_str()));
        let counted = offer.is_some_and(|offer| offer.counted);
        let params: Params<'_> = vec![&fence, &grant, &group, &to, &counted];
        Ok(self.say(Sql::GroupRelease, params).await? > 0)
    }

    async fn break_locks(&self, instance: InstanceId) -> Result<u32, StoreError> {
        let name = name_of(instance);
        let work = self.work(CLUSTER, async |conn| {
            let rows = conn.rows(CLUSTER, Sql::InstanceBreak, vec![&name]).await?;
            view::only(&rows, CLUSTER, "pg_stat_activity")?.number::<i64, _>("broken")
        });
        self.run(CLUSTER, 1, self.work_timeout(), work).await
    }

    async fn offer(&self, group: &Name, to: &Name, planned: bool) -> Result<(), StoreError> {
        let (group, to) = (group.as_str(), to.as_str());
        let lasts = micros(PLANNED_FOR);
        self.say(Sql::GroupOffer, vec![&group, &to, &planned, &lasts])
            .await?;
        Ok(())
    }

    async fn fail(&self, group: &Name) -> Result<(), StoreError> {
        self.say(Sql::GroupFail, vec![&group.as_str()]).await?;
        Ok(())
    }

    async fn recover(&self, group: &Name) -> Result<(), StoreError> {
        self.say(Sql::GroupRecover, vec![&group.as_str()]).await?;
        Ok(())
    }

    async fn answer_move(
        &self,
        group: &Name,
        order: u64,
        refused: Option<&str>,
    ) -> Result<(), StoreError> {
        let (group, order) = (group.as_str(), order.cast_signed());
        let params: Params<'_> = vec![&group, &order, &refused];
        self.say(Sql::GroupAnswer, params).await?;
        Ok(())
    }

    async fn move_answer(&self, group: &Name) -> Result<Option<MoveAnswer>, StoreError> {
        let group = group.as_str();
        let work = self.work(CLUSTER, async |conn| {
            let rows = conn.rows(CLUSTER, Sql::GroupAnswered, vec![&group]).await?;
            let answer = rows.first().map(|row| {
                let row = Reader::new(row, CLUSTER, "cluster_group");
                Ok(MoveAnswer {
                    order: row.number::<i64, _>("answered_no")?,
                    refused: row.get("refused")?,
                })
            });
            answer.transpose()
        });
        self.run(CLUSTER, 1, self.work_timeout(), work).await
    }

    async fn record(&self, transition: &Transition) -> Result<(), StoreError> {
        let (at, lasted) = (transition.at.as_micros(), micros(transition.lasted));
        let epoch = transition.epoch.map(quayside_store::lease::Epoch::raw);
        let (group, node) = (transition.group.as_str(), transition.node.as_str());
        let (from, to) = (transition.from.as_str(), transition.to.as_str());
        let cause = transition.cause.as_str();
        let evidence: Vec<String> = transition
            .evidence
            .iter()
            .map(ToString::to_string)
            .collect();
        let params: Params<'_> = vec![
            &at, &lasted, &epoch, &group, &node, &from, &to, &cause, &evidence,
        ];
        self.say(Sql::EventAdd, params).await?;
        Ok(())
    }

    async fn events(
        &self,
        group: Option<&Name>,
        node: Option<&Name>,
        limit: u32,
    ) -> Result<Vec<EventRow>, StoreError> {
        let (group, node) = (group.map(Name::as_str), node.map(Name::as_str));
        let limit = i64::from(limit);
        let work = self.work(CLUSTER, async |conn| {
            let params: Params<'_> = vec![&group, &node, &limit];
            let rows = conn.rows(CLUSTER, Sql::EventList, params).await?;
            let events = rows.iter();
            let events = events.map(|row| view::event(&Reader::new(row, CLUSTER, "cluster_event")));
            Ok(view::once(events.collect::<Result<_, _>>()?))
        });
        self.run(CLUSTER, 1, self.work_timeout(), work).await
    }

    async fn set_control(
        &self,
        group: &Name,
        change: &ControlChange,
        said: &Said,
    ) -> Result<Option<u64>, StoreError> {
        let group = group.as_str();
        let (via, word, note) = (said.node.as_str(), change.in_words(), said.note.as_str());
        let (mut online, mut paused): (Option<bool>, Option<bool>) = (None, None);
        let (mut pins, mut pinned): (bool, Option<&str>) = (false, None);
        match change {
            ControlChange::Online(on) => online = Some(*on),
            ControlChange::Paused(on) => paused = Some(*on),
            ControlChange::Pin(to) => (pins, pinned) = (true, to.as_ref().map(Name::as_str)),
            ControlChange::Move { to, at } => {
                let to = to.as_ref().map(Name::as_str);
                let at = at.map(Timestamp::as_micros);
                let params: Params<'_> = vec![&group, &to, &at, &via, &word, &note, &false];
                return self.order(params).await.map(Some);
            }
            ControlChange::Drill => {
                let (to, at): (Option<&str>, Option<i64>) = (None, None);
                let params: Params<'_> = vec![&group, &to, &at, &via, &word, &note, &true];
                return self.order(params).await.map(Some);
            }
            ControlChange::Clear => {
                self.say(Sql::GroupClear, vec![&group, &via, &word, &note])
                    .await?;
                return Ok(None);
            }
        }
        let params: Params<'_> = vec![&group, &online, &paused, &pins, &pinned, &via, &word, &note];
        self.say(Sql::GroupControl, params).await?;
        Ok(None)
    }

    async fn drain_node(&self, node: &Name, drained: bool, note: &Text) -> Result<(), StoreError> {
        let (node, note) = (node.as_str(), note.as_str());
        let word = if drained { "drained" } else { "resumed" };
        let params: Params<'_> = vec![&node, &drained, &word, &note];
        self.say(Sql::NodeDrain, params).await?;
        Ok(())
    }

    async fn clear_node(&self, node: &Name, note: &Text) -> Result<(), StoreError> {
        let (node, note) = (node.as_str(), note.as_str());
        self.say(Sql::NodeClear, vec![&node, &"cleared", &note])
            .await?;
        Ok(())
    }

    async fn effects(&self, ports: &[Name], since: Timestamp) -> Result<Effects, StoreError> {
        let ports: Vec<&str> = ports.iter().map(Name::as_str).collect();
        let since = since.as_micros();
        let work = self.work(CLUSTER, async |conn| {
            let params: Params<'_> = vec![&since, &ports];
            let rows = conn.rows(CLUSTER, Sql::Effects, params).await?;
            view::effects(&view::only(&rows, CLUSTER, "history")?)
        });
        self.run(CLUSTER, 1, self.maintain_timeout(), work).await
    }

    async fn hints(&self) -> Result<Box<dyn Hints>, StoreError> {
        hints::listen(self).await
    }
}

impl PostgresStore {
    /// Runs one statement as a transaction of its own. How many rows it changed or gave.
    async fn say(&self, sql: Sql, params: Params<'_>) -> Result<u64, StoreError> {
        let work = self.surely(Use::Work, CLUSTER, async |conn| {
            conn.change(CLUSTER, sql, params).await
        });
        self.run(CLUSTER, 1, self.work_timeout(), work).await
    }

    /// Writes an order to move. Its number.
    async fn order(&self, params: Params<'_>) -> Result<u64, StoreError> {
        let work = self.surely(Use::Work, CLUSTER, async |conn| {
            let rows = conn.rows(CLUSTER, Sql::GroupMove, params).await?;
            view::only(&rows, CLUSTER, "cluster_group")?.number::<i64, _>("order_no")
        });
        self.run(CLUSTER, 1, self.work_timeout(), work).await
    }
}
