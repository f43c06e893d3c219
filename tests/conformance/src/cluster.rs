//! What agents of several nodes keep: takes, offers, reports, orders, events. Only for a store that nodes
//! share.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use quayside_store::{
    AnyStore, Cluster,
    cluster::{ControlChange, Ending, Said},
    lease::{
        Cause, Epoch, Exit, Fact, GroupSeen, MoveOrder, Offer, OwnerSeen, StandbySeen, State, Take,
        Transition, View,
    },
    model::{GrantId, InstanceId, Name, SessionId, Timestamp},
    sessions::NewInstance,
};
use tokio::task::JoinSet;

use crate::{
    Backend,
    scene::{Scene, name, text},
};

/// Longer than any case.
pub(crate) const LONG: Duration = Duration::from_secs(600);

/// A node with a live session and a process.
pub(crate) struct Node {
    pub(crate) name: Name,
    session: SessionId,
    pub(crate) instance: InstanceId,
}

pub(crate) fn cluster(store: &AnyStore) -> &dyn Cluster {
    store.cluster().expect("this store is for several nodes")
}

pub(crate) async fn node(scene: &Scene<'_>, called: &str, ttl: Duration) -> Node {
    let node = Node {
        name: name(called),
        session: SessionId::new(scene.backend.now(), &scene.entropy),
        instance: InstanceId::new(scene.backend.now(), &scene.entropy),
    };
    let opened = cluster(&scene.store).open(node.session, &node.name, ttl);
    opened.await.expect("open");
    assert!(register(scene, &node, node.instance).await);
    node
}

async fn register(scene: &Scene<'_>, node: &Node, instance: InstanceId) -> bool {
    let new = NewInstance {
        instance,
        session: node.session,
        node: node.name.clone(),
        hosts: text("queues"),
    };
    let registered = cluster(&scene.store).register(&new).await;
    registered.expect("register")
}

pub(crate) fn grant(scene: &Scene<'_>) -> GrantId {
    GrantId::from_bytes(scene.random())
}

async fn take(scene: &Scene<'_>, group: &str, instance: InstanceId, grant: GrantId) -> Take {
    let group = name(group);
    let take = cluster(&scene.store).take_group(&group, instance, grant, false);
    take.await.expect("take")
}

pub(crate) fn taken(take: Take) -> Epoch {
    match take {
        Take::Taken(epoch) => epoch,
        other => panic!("not taken: {other:?}"),
    }
}

async fn view(scene: &Scene<'_>) -> View {
    let view = cluster(&scene.store).view().await;
    view.expect("view").view
}

pub(crate) async fn group(scene: &Scene<'_>, group: &str) -> GroupSeen {
    let groups = view(scene).await.groups.into_iter();
    let mut found = groups.filter(|seen| seen.group == name(group));
    found
        .next()
        .unwrap_or_else(|| GroupSeen::unknown(name(group)))
}

/// Ends the session of `node` as another node does it, once its lease has run out.
async fn expire(scene: &Scene<'_>, node: &Node) {
    let rows = scene.store.live_sessions().await.expect("sessions");
    let row = rows.into_iter().find(|row| row.session == node.session);
    let row = row.expect("it is live");
    let expired = scene.store.expire_session(node.session, row.seq).await;
    assert!(expired.expect("expire"), "its lease had run out: {row:?}");
}

fn report(node: &Node, warm: bool) -> StandbySeen {
    StandbySeen {
        node: node.name.clone(),
        warm,
        broken: None,
        adapters_down: vec![name("amqp")],
        adapters_up: vec![name("http"), name("file")],
    }
}

/// Of many that ask for a group at once one gets it, and the others learn that somebody has it.
pub async fn of_many_that_take_one_wins(backend: &dyn Backend) {
    let scene = Scene::open(backend).await;
    let queues = name("queues");
    let mut last = Epoch::new(0);
    for round in 0..10 {
        let mut nodes = Vec::new();
        for at in 0..6 {
            nodes.push(node(&scene, &format!("n{round}-{at}"), LONG).await);
        }
        let mut racers = JoinSet::new();
        for racer in &nodes {
            let (store, group) = (Arc::clone(&scene.store), queues.clone());
            let (instance, grant) = (racer.instance, grant(&scene));
            racers.spawn(async move {
                let take = cluster(&store).take_group(&group, instance, grant, true);
                (instance, grant, take.await.expect("take"))
            });
        }
        let takes = racers.join_all().await;
        let won: Vec<_> = takes.iter().filter(|t| t.2 != Take::Held).collect();
        let [(winner, won_by, take)] = won[..] else {
            panic!("round {round}: {takes:?}");
        };
        let epoch = taken(*take);
        assert!(epoch > last, "{epoch} after {last}");
        last = epoch;
        let seen = group(&scene, "queues").await;
        let owner = seen.live_owner().expect("it was taken");
        assert_eq!((&owner.instance, &owner.grant), (winner, won_by));
        assert_eq!((seen.epoch, seen.moves.len()), (epoch, round + 1));
        let released = cluster(&scene.store).release_group(&queues, *won_by, None);
        assert!(released.await.expect("release"));
    }
}

/// The same grant meets itself, however often it asks; nothing is counted twice.
pub async fn a_repeated_grant_meets_itself(backend: &dyn Backend) {
    let scene = Scene::open(backend).await;
    let cluster = cluster(&scene.store);
    let (one, two) = (node(&scene, "a", LONG).await, node(&scene, "b", LONG).await);
    let (first, second) = (grant(&scene), grant(&scene));
    let queues = name("queues");
    let counted = || cluster.take_group(&queues, one.instance, first, true);
    let epoch = taken(counted().await.expect("take"));
    assert_eq!(taken(counted().await.expect("take")), epoch);
    assert_eq!(group(&scene, "queues").await.moves.len(), 1, "counted once");
    assert_eq!(
        take(&scene, "queues", one.instance, second).await,
        Take::Held
    );
    assert_eq!(
        take(&scene, "queues", two.instance, second).await,
        Take::Held
    );
    let release = async |grant| {
        let released = cluster.release_group(&queues, grant, None).await;
        released.expect("release")
    };
    assert!(!release(second).await, "not its grant");
    assert!(release(first).await);
    assert!(!release(first).await, "given back");
    let seen = group(&scene, "queues").await;
    assert_eq!((seen.owner, seen.epoch), (None, epoch));
    let later = taken(take(&scene, "queues", two.instance, second).await);
    assert!(later > epoch);
    let taken_before = counted().await.expect("take");
    assert_eq!(taken_before, Take::Held, "an old grant meets nothing");
}

/// Only the living own: the dead are refused, and what they had is taken from them.
pub async fn the_dead_own_nothing(backend: &dyn Backend) {
    let scene = Scene::open(backend).await;
    let one = node(&scene, "a", backend.moment()).await;
    let two = node(&scene, "b", LONG).await;
    let first = taken(take(&scene, "queues", one.instance, grant(&scene)).await);
    assert_eq!(
        take(&scene, "queues", two.instance, grant(&scene)).await,
        Take::Held
    );
    backend.pass(backend.moment() * 2).await;
    expire(&scene, &one).await;
    let owner = group(&scene, "queues").await.owner.expect("it took it");
    assert!(!owner.live, "its session is dead");
    assert_eq!(
        take(&scene, "queues", one.instance, grant(&scene)).await,
        Take::Refused
    );
    assert!(!register(&scene, &one, InstanceId::from_bytes(scene.random())).await);
    let second = taken(take(&scene, "queues", two.instance, grant(&scene)).await);
    assert!(second > first);
    let cluster = cluster(&scene.store);
    let end = async || cluster.end(two.instance).await.expect("end");
    assert_eq!(end().await, Ending::Ended);
    assert_eq!(end().await, Ending::Ended, "again");
    let owner = group(&scene, "queues").await.owner.expect("it took it");
    assert_eq!(
        owner,
        OwnerSeen {
            node: two.name.clone(),
            instance: two.instance,
            session: two.session,
            grant: owner.grant,
            live: false,
        }
    );
    assert_eq!(
        take(&scene, "other", two.instance, grant(&scene)).await,
        Take::Refused
    );
    let other = group(&scene, "other").await;
    assert_eq!((other.owner, other.epoch.raw()), (None, 0), "never taken");
    let successor = InstanceId::from_bytes(scene.random());
    assert!(register(&scene, &two, successor).await, "its node lives");
    let third = taken(take(&scene, "queues", successor, grant(&scene)).await);
    assert!(third > second);
}

/// A renewal says whether the session lives, and always who answered.
pub async fn a_renewal_says_who_answered(backend: &dyn Backend) {
    let scene = Scene::open(backend).await;
    let cluster = cluster(&scene.store);
    let node = node(&scene, "a", LONG).await;
    let known = cluster.incarnation().await.expect("it answers");
    let before = view(&scene).await.sessions;
    let renewed = cluster.renew(node.session).await.expect("renew");
    assert!(renewed.live);
    assert_eq!(renewed.incarnation, known);
    assert_eq!(cluster.view().await.expect("view").incarnation, known);
    let after = view(&scene).await.sessions;
    let seq = |sessions: &[quayside_store::lease::SessionSeen]| {
        let mut own = sessions
            .iter()
            .filter(|s| s.sighting.session == node.session);
        own.next().expect("it is live").sighting.seq
    };
    assert!(seq(&after) > seq(&before));
    scene
        .store
        .close_session(node.session)
        .await
        .expect("close");
    let renewed = cluster.renew(node.session).await.expect("renew");
    assert!(!renewed.live && renewed.incarnation == known);
    cluster.disconnect();
    assert_eq!(cluster.incarnation().await.expect("again"), known);
}

/// What a node reports is seen by all until its session is dead.
pub async fn a_report_dies_with_its_node(backend: &dyn Backend) {
    let scene = Scene::open(backend).await;
    let cluster = cluster(&scene.store);
    let one = node(&scene, "a", backend.moment()).await;
    let two = node(&scene, "b", LONG).await;
    let look = async |node: &Node, warm: bool, groups: &[&str]| {
        let reports = groups.iter().map(|g| (name(g), report(node, warm)));
        let reports: Vec<_> = reports.collect();
        let seen = cluster.look(&node.name, &reports).await.expect("look");
        let queues = seen.view.groups.into_iter();
        let queues = queues.filter(|seen| seen.group == name("queues"));
        queues.flat_map(|seen| seen.standbys).collect::<Vec<_>>()
    };
    assert_eq!(
        look(&one, true, &["queues", "x"]).await,
        [report(&one, true)]
    );
    let both = [report(&one, true), report(&two, false)];
    assert_eq!(look(&two, false, &["queues"]).await, both);
    let both = [report(&one, true), report(&two, true)];
    assert_eq!(look(&two, true, &["queues"]).await, both, "changed");
    assert_eq!(look(&two, true, &["queues"]).await, both, "as before");
    let broken = StandbySeen {
        warm: false,
        broken: Some(Exit::Code(10)),
        ..report(&one, false)
    };
    let reports = [(name("queues"), broken.clone())];
    cluster.look(&one.name, &reports).await.expect("look");
    assert_eq!(group(&scene, "queues").await.standbys[0], broken);
    backend.pass(backend.moment() * 2).await;
    expire(&scene, &one).await;
    let left = [report(&two, true)];
    assert_eq!(look(&two, true, &["queues"]).await, left);
    assert_eq!(look(&one, true, &["queues"]).await, left, "no session");
    let again = node(&scene, "a", LONG).await;
    assert_eq!(
        group(&scene, "queues").await.standbys,
        left,
        "not by its old word"
    );
    assert_eq!(look(&again, true, &["queues"]).await, both);
    let nodes: BTreeSet<Name> = view(&scene)
        .await
        .nodes
        .into_iter()
        .map(|n| n.node)
        .collect();
    assert_eq!(nodes, BTreeSet::from([name("a"), name("b")]));
}

/// An offer stands until the next take, and counts if it is said to. A release that is said again does not.
pub async fn a_take_ends_an_offer(backend: &dyn Backend) {
    let scene = Scene::open(backend).await;
    let cluster = cluster(&scene.store);
    let node = node(&scene, "a", LONG).await;
    let queues = name("queues");
    for (counted, moves) in [(false, 0), (true, 1)] {
        let first = grant(&scene);
        taken(take(&scene, "queues", node.instance, first).await);
        let offer = cluster.offer(&queues, &name("b"), false).await;
        offer.expect("offer");
        let offer = Offer {
            to: name("a"),
            counted,
        };
        for has_it in [true, false] {
            let released = cluster.release_group(&queues, first, Some(&offer)).await;
            assert_eq!(released.expect("release"), has_it);
        }
        let seen = group(&scene, "queues").await;
        let (to, age) = seen.offered.expect("it is offered");
        assert!(to == name("a") && age < LONG, "{to} {age:?}");
        assert_eq!(seen.moves.len(), moves);
        let second = grant(&scene);
        taken(take(&scene, "queues", node.instance, second).await);
        assert_eq!(group(&scene, "queues").await.offered, None);
        let released = cluster.release_group(&queues, second, None).await;
        assert!(released.expect("release"));
    }
    cluster
        .offer(&queues, &name("b"), false)
        .await
        .expect("offer");
    cluster.end(node.instance).await.expect("end");
    let refused = take(&scene, "queues", node.instance, grant(&scene)).await;
    assert_eq!(refused, Take::Refused);
    assert!(group(&scene, "queues").await.offered.is_some(), "not taken");
}

/// What a process does that has a session of its own says nothing of its node.
pub async fn only_agents_speak_for_their_nodes(backend: &dyn Backend) {
    let scene = Scene::open(backend).await;
    let plain = Node {
        name: name("a"),
        session: SessionId::new(backend.now(), &scene.entropy),
        instance: InstanceId::new(backend.now(), &scene.entropy),
    };
    let opened = scene
        .store
        .open_session(plain.session, &plain.name, backend.moment());
    opened.await.expect("open");
    let reports = [(name("queues"), report(&plain, true))];
    let looked = cluster(&scene.store).look(&plain.name, &reports).await;
    let seen = looked.expect("look").view;
    assert_eq!(seen.sessions, [], "no agent has one");
    let standbys = seen.groups.iter().flat_map(|group| &group.standbys);
    assert_eq!(
        standbys.count(),
        0,
        "nobody could tell whether its word stands"
    );
    backend.pass(backend.moment() * 2).await;
    expire(&scene, &plain).await;
    let nodes = view(&scene).await.nodes;
    assert!(nodes.iter().all(|node| node.lost.is_empty()), "{nodes:?}");
}

pub(crate) fn said() -> Said {
    Said {
        node: name("a"),
        note: text("by a test: new disk"),
    }
}

/// Orders are numbered, replace each other, and are dealt with once.
pub async fn orders_are_numbered_and_answered(backend: &dyn Backend) {
    let scene = Scene::open(backend).await;
    let cluster = cluster(&scene.store);
    let queues = name("queues");
    let order = async |to: Option<&str>, at: Option<Timestamp>| {
        let to = to.map(name);
        let change = ControlChange::Move { to, at };
        let no = cluster
            .set_control(&queues, &change, &said())
            .await
            .expect("order");
        no.expect("an order has a number")
    };
    let answer = async || cluster.move_answer(&queues).await.expect("answer");
    let pending = async || group(&scene, "queues").await.control.order;
    assert_eq!(answer().await, None);
    let at = Some(Timestamp::from_micros(1_000_000));
    let first = order(Some("b"), at).await;
    let expected = MoveOrder {
        no: first,
        to: Some(name("b")),
        at,
    };
    assert_eq!(pending().await, Some(expected));
    let second = order(None, None).await;
    assert!(second > first);
    let answered = cluster.answer_move(&queues, first, None).await;
    answered.expect("answer");
    let waiting = pending().await.expect("the newer one waits");
    assert_eq!((waiting.no, waiting.to, waiting.at), (second, None, None));
    let why = Some("no other node can run it");
    let answered = cluster.answer_move(&queues, second, why).await;
    answered.expect("answer");
    assert_eq!(pending().await, None, "dealt with");
    for (order, refused) in [(first, Some("too late")), (second + 1, None)] {
        let answered = cluster.answer_move(&queues, order, refused).await;
        answered.expect("answer");
    }
    let last = answer().await.expect("it was answered");
    assert_eq!((last.order, last.refused.as_deref()), (second, why));
    let third = order(Some("a"), None).await;
    assert!(third > second);
    cluster
        .answer_move(&queues, third, None)
        .await
        .expect("answer");
    let last = answer().await.expect("it was answered");
    assert_eq!((last.order, last.refused), (third, None));
}

/// Each word of an operator changes what it is about and nothing else.
pub async fn the_words_of_operators_stand(backend: &dyn Backend) {
    let scene = Scene::open(backend).await;
    let cluster = cluster(&scene.store);
    let queues = name("queues");
    let say = async |change: ControlChange| {
        let no = cluster
            .set_control(&queues, &change, &said())
            .await
            .expect("say");
        assert_eq!(no, None);
        group(&scene, "queues").await.control
    };
    let mut expected = group(&scene, "queues").await.control;
    assert!(expected.online && !expected.paused, "the default");
    expected.pinned = Some(name("b"));
    assert_eq!(say(ControlChange::Pin(Some(name("b")))).await, expected);
    expected.paused = true;
    assert_eq!(say(ControlChange::Paused(true)).await, expected);
    expected.online = false;
    assert_eq!(say(ControlChange::Online(false)).await, expected);
    expected.pinned = None;
    assert_eq!(say(ControlChange::Pin(None)).await, expected);
    expected.online = true;
    assert_eq!(say(ControlChange::Online(true)).await, expected);
    expected.clears = 1;
    assert_eq!(say(ControlChange::Clear).await, expected);
    let other = group(&scene, "other").await;
    assert_eq!(other, GroupSeen::unknown(name("other")));
}

/// A failure stands until it is over or cleared; a clear forgets the moves too.
pub async fn a_clear_forgets_failures_and_moves(backend: &dyn Backend) {
    let scene = Scene::open(backend).await;
    let cluster = cluster(&scene.store);
    let (queues, other) = (name("queues"), name("other"));
    let node = node(&scene, "a", LONG).await;
    for group in [&queues, &other] {
        cluster.fail(group).await.expect("fail");
        let grant = grant(&scene);
        let take = cluster.take_group(group, node.instance, grant, true).await;
        taken(take.expect("take"));
        let released = cluster.release_group(group, grant, None).await;
        assert!(released.expect("release"));
    }
    let a_while = backend.moment() * 10;
    backend.pass(a_while).await;
    let failed = group(&scene, "queues").await.failed.expect("it failed");
    assert!(failed >= a_while && failed < LONG, "{failed:?}");
    cluster.fail(&queues).await.expect("fail");
    let again = group(&scene, "queues").await.failed.expect("it failed");
    assert!(again < failed, "{again:?}");
    cluster.recover(&queues).await.expect("recover");
    let seen = group(&scene, "queues").await;
    assert_eq!((seen.failed, seen.moves.len()), (None, 1));
    cluster.fail(&queues).await.expect("fail");
    let change = ControlChange::Clear;
    let clear = cluster.set_control(&queues, &change, &said()).await;
    clear.expect("clear");
    let seen = group(&scene, "queues").await;
    assert_eq!((seen.failed, seen.moves.len()), (None, 0));
    let untouched = group(&scene, "other").await;
    assert!(untouched.failed.is_some() && untouched.moves.len() == 1);
}

/// Sessions that another node ended count against the node, until it is cleared; a drain stands.
pub async fn lost_sessions_count_until_they_are_cleared(backend: &dyn Backend) {
    let scene = Scene::open(backend).await;
    let cluster = cluster(&scene.store);
    let seen = async |called: &str| {
        let nodes = view(&scene).await.nodes.into_iter();
        let mut nodes = nodes.filter(|n| n.node == name(called));
        nodes.next().expect("it has a row")
    };
    let lose = async || {
        let lost = node(&scene, "a", backend.moment()).await;
        cluster.look(&lost.name, &[]).await.expect("look");
        backend.pass(backend.moment() * 2).await;
        expire(&scene, &lost).await;
    };
    lose().await;
    lose().await;
    let closed = node(&scene, "a", LONG).await;
    scene
        .store
        .close_session(closed.session)
        .await
        .expect("close");
    let lost = seen("a").await.lost;
    assert_eq!(lost.len(), 2, "its own wish is no loss: {lost:?}");
    assert!(lost[0] < lost[1], "the last one first: {lost:?}");
    cluster
        .drain_node(&name("a"), true, &said().note)
        .await
        .expect("drain");
    cluster
        .drain_node(&name("new"), true, &said().note)
        .await
        .expect("drain");
    assert!(seen("a").await.drained && seen("new").await.drained);
    cluster
        .clear_node(&name("a"), &said().note)
        .await
        .expect("clear");
    let a = seen("a").await;
    assert!(a.drained && a.lost.is_empty(), "{a:?}");
    lose().await;
    assert_eq!(seen("a").await.lost.len(), 1);
    cluster
        .drain_node(&name("a"), false, &said().note)
        .await
        .expect("drain");
    assert!(!seen("a").await.drained);
}

/// Changes of state stand in the order they were recorded in, with all that speaks for them.
pub async fn changes_of_state_are_recorded(backend: &dyn Backend) {
    let scene = Scene::open(backend).await;
    let cluster = cluster(&scene.store);
    let transition = |group: &str, node: &str, epoch: Option<i64>| Transition {
        group: name(group),
        node: name(node),
        from: State::Online,
        to: State::Restarting,
        cause: Cause::ProcessEnded,
        evidence: vec![Fact::Exit(Exit::Signal(9)), Fact::Restarts(1, 2)],
        epoch: epoch.map(Epoch::new),
        at: Timestamp::from_micros(1_700_000_000_000_000),
        lasted: Duration::from_millis(1500),
    };
    let all = [
        transition("queues", "a", Some(1 << 40)),
        transition("queues", "b", None),
        transition("other", "a", None),
    ];
    for transition in &all {
        cluster.record(transition).await.expect("record");
    }
    let events = async |group: Option<&str>, node: Option<&str>, limit| {
        let (group, node) = (group.map(name), node.map(name));
        let rows = cluster.events(group.as_ref(), node.as_ref(), limit).await;
        rows.expect("events")
    };
    let places = async |group, node, limit| {
        let rows = events(group, node, limit).await;
        let place = |row: quayside_store::cluster::EventRow| {
            let group = row.group.expect("it is of a group");
            format!("{group} {}", row.node)
        };
        rows.into_iter().map(place).collect::<Vec<_>>()
    };
    let newest_first = ["other a", "queues b", "queues a"];
    assert_eq!(places(None, None, 9).await, newest_first);
    assert_eq!(places(None, None, 2).await, newest_first[..2]);
    assert_eq!(places(Some("queues"), None, 9).await, newest_first[1..]);
    assert_eq!(places(None, Some("a"), 9).await, ["other a", "queues a"]);
    assert_eq!(places(Some("other"), Some("b"), 9).await, [""; 0]);
    let rows = events(Some("queues"), Some("a"), 9).await;
    let row = &rows[0];
    assert_eq!(
        (row.from.as_str(), row.to.as_str()),
        ("online", "restarting")
    );
    assert_eq!(row.cause, "process ended");
    assert_eq!(row.evidence, ["signal 9", "1 of 2 restarts used"]);
    assert_eq!((row.epoch, row.at), (all[0].epoch, all[0].at));
    assert_eq!(row.lasted, all[0].lasted);
    assert!(row.stored_at > row.at && row.no > 0);
}

/// Whoever waits for a change is woken by each one, once for all that happened meanwhile.
pub async fn a_change_wakes_who_waits(backend: &dyn Backend) {
    let scene = Scene::open(backend).await;
    let cluster = cluster(&scene.store);
    let one = node(&scene, "a", LONG).await;
    let mut hints = cluster.hints().await.expect("hints");
    let queues = name("queues");
    let mut woken = async |by: &str| {
        let hint = tokio::time::timeout(Duration::from_secs(30), hints.next()).await;
        hint.unwrap_or_else(|_| panic!("{by} wakes nobody"))
            .expect("the connection lives");
    };
    let told = [(queues.clone(), report(&one, true))];
    cluster.look(&one.name, &told).await.expect("look");
    woken("a new report").await;
    let grant = grant(&scene);
    taken(take(&scene, "queues", one.instance, grant).await);
    woken("a take").await;
    cluster
        .offer(&queues, &name("b"), false)
        .await
        .expect("offer");
    woken("an offer").await;
    cluster
        .release_group(&queues, grant, None)
        .await
        .expect("release");
    woken("a release").await;
    for change in [
        ControlChange::Paused(false),
        ControlChange::Move { to: None, at: None },
        ControlChange::Clear,
    ] {
        cluster
            .set_control(&queues, &change, &said())
            .await
            .expect("say");
        woken("an operator").await;
    }
    cluster.fail(&queues).await.expect("fail");
    woken("a failure").await;
    cluster.recover(&queues).await.expect("recover");
    woken("its end").await;
    cluster
        .drain_node(&one.name, true, &said().note)
        .await
        .expect("drain");
    woken("a drain").await;
    cluster
        .clear_node(&one.name, &said().note)
        .await
        .expect("clear");
    woken("a clear").await;
    cluster.end(one.instance).await.expect("end");
    woken("the end of a process").await;
    scene.store.close_session(one.session).await.expect("close");
    woken("the end of a session").await;
}
