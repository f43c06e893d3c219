//! An address with several hosts: the one that takes writes is found, and an old primary is not believed.

use std::{net::TcpListener, time::Duration};

use quayside_conformance::scene::name;
use quayside_harness::{Postgres, Stopwatch, wait_for};
use quayside_store::{
    Cluster, Sessions, StoreErrorKind,
    lease::Arrival,
    model::{Clock, SessionId, SystemClock, SystemEntropy},
};
use quayside_store_postgres::{Options, PostgresStore};

use super::PATIENCE;
use crate::server::{DATABASE, open};

/// A silent host costs this at most; asked one after the other it would cost the whole time for a connect.
const SILENT_COSTS: Duration = Duration::from_secs(5);

/// So long a connect may take in these tests, unless they say otherwise.
const CONNECT: Duration = Duration::from_secs(10);

/// A server with a store, and a standby that has all that the server has confirmed.
async fn pair() -> (Postgres, Postgres) {
    let first = Postgres::start().await;
    let store = open(&first.create_database(DATABASE).await).await;
    store.migrate().await.expect("an empty store");
    store.close().await;
    let second = first.standby("second").await;
    first.wait_for_one_of(&["second"]).await;
    (first, second)
}

/// Opens a session: a write that is found again. Its id.
async fn write(store: &PostgresStore) -> Result<SessionId, quayside_store::StoreError> {
    let session = SessionId::new(SystemClock.now(), &SystemEntropy);
    let node = name("a");
    let opened = store.open_session(session, &node, Duration::from_secs(3));
    opened.await.map(|()| session)
}

/// Whether the server itself has the session.
async fn has(server: &Postgres, session: SessionId) -> bool {
    let client = server.connect(DATABASE).await;
    let rows = format!("SELECT FROM session WHERE id = '{session}'");
    !client.query(&rows, &[]).await.expect("rows").is_empty()
}

fn options(url: &str, connect: Duration) -> Options {
    let mut options = Options::new(url);
    options.connect_timeout = connect;
    options.work_timeout = CONNECT * 2;
    options
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_host_that_takes_writes_is_found_and_a_silent_one_costs_no_time() {
    let (first, second) = pair().await;
    for servers in [[&first, &second], [&second, &first]] {
        let store = open(&Postgres::url_of(&servers, DATABASE)).await;
        let written = write(&store).await.expect("one of them takes writes");
        assert!(has(&first, written).await);
        store.close().await;
    }
    // It takes connections and says nothing, as a host does whose answers are dropped on the way.
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let silent = listener.local_addr().expect("bound");
    let url = Postgres::url_of(&[&first], DATABASE).replacen('@', &format!("@{silent},"), 1);
    let watch = Stopwatch::start();
    let store = PostgresStore::connect(options(&url, CONNECT)).await;
    let store = store.expect("the second host takes writes");
    let took = watch.elapsed();
    assert!(took < SILENT_COSTS, "{took:?}");
    assert!(has(&first, write(&store).await.expect("it takes writes")).await);
    store.close().await;
    first.pause();
    let url = Postgres::url_of(&[&first, &second], DATABASE);
    let error = PostgresStore::connect(options(&url, Duration::from_secs(1))).await;
    first.resume();
    let error = error.expect_err("only a standby answers");
    assert_eq!(error.kind, StoreErrorKind::Unavailable, "{error:?}");
    let text = error.source.to_string();
    assert!(text.starts_with("no host takes writes: "), "{text}");
    assert!(text.contains("in time"), "{text}");
    assert!(text.contains("does not allow writes"), "{text}");
}

/// Of standbys that no commit waits for, whoever asks.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failover_that_may_lose_something_is_known() {
    let server = Postgres::start().await;
    let url = server.create_database(DATABASE).await;
    let store = open(&url).await;
    store.migrate().await.expect("an empty store");
    let admin = server.connect(DATABASE).await;
    let user = "CREATE ROLE app LOGIN; GRANT ALL ON ALL TABLES IN SCHEMA public TO app";
    admin.batch_execute(user).await.expect("a user");
    let other = open(&url.replacen("quayside@", "app@", 1)).await;
    // A standby that has just connected replays nothing yet, which only one of them can see.
    let both = async |count: usize| {
        wait_for("both users to see as many standbys", PATIENCE, async || {
            let seen = store.replicas().await.map_err(|e| e.to_string())?;
            let others = other.replicas().await.map_err(|e| e.to_string())?;
            if seen == others && seen.standbys.len() == count {
                Ok(seen)
            } else {
                Err(format!("{seen:?}, {others:?}"))
            }
        })
        .await
    };
    assert!(!both(0).await.may_lose());
    let _standby = server.standby("second").await;
    let asynchronous = both(1).await;
    assert_eq!(asynchronous.standbys, ["second"]);
    assert!(asynchronous.may_lose());
    server.wait_for_one_of(&["second"]).await;
    let synchronous = both(1).await;
    assert_eq!(synchronous.standbys, ["second"]);
    assert!(synchronous.waits && !synchronous.may_lose());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_primary_that_comes_back_is_written_to_by_nobody() {
    let (mut old, new) = pair().await;
    let urls = [[&old, &new], [&new, &old]].map(|both| Postgres::url_of(&both, DATABASE));
    let store = PostgresStore::new(options(&urls[0], Duration::from_secs(1))).expect("an address");
    let kept = write(&store).await.expect("written");
    let before = store.incarnation().await.expect("it answers");
    old.kill9().await;
    new.promote().await;
    let written = wait_for("the new primary to be found", PATIENCE, async || {
        write(&store).await.map_err(|e| e.to_string())
    })
    .await;
    let after = store.incarnation().await.expect("it answers");
    assert_eq!(after.after(Some(before)), Arrival::New);
    assert!(has(&new, kept).await && has(&new, written).await);
    old.start_alone().await;
    assert!(has(&old, kept).await && !has(&old, written).await);
    // Whoever comes later knows no history, and asks both.
    for url in urls.iter().cycle().take(10) {
        let fresh = open(url).await;
        assert_eq!(fresh.incarnation().await.expect("it answers"), after);
        fresh.close().await;
    }
    // While the new one says nothing, the old one is all that there is.
    new.pause();
    store.disconnect();
    let error = write(&store).await.expect_err("nobody may be written to");
    new.resume();
    assert_eq!(error.kind, StoreErrorKind::Unavailable, "{error:?}");
    let text = error.source.to_string();
    let said = "an old primary: its timeline is 1, and 2 is known";
    assert!(text.contains(said), "{text}");
    let written = write(&store).await.expect("the new one runs on");
    assert!(has(&new, written).await);
    let client = old.connect(DATABASE).await;
    let rows = client.query("SELECT FROM session", &[]).await;
    assert_eq!(rows.expect("rows").len(), 1, "what it had before");
    store.close().await;
}
