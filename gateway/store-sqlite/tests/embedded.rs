//! What only the embedded store promises: one process, a folder that outlives it, copies while it runs.

use std::{os::unix::fs::PermissionsExt as _, path::Path, sync::Arc, time::Duration};

use quayside_conformance::{Backend, Scene, scene::sent};
use quayside_store::{
    AnyStore, Browse, Claims, Commit, Op, Outcome, Sessions, StoreErrorKind,
    model::{Clock, ManualClock, Timestamp},
};
use quayside_store_sqlite::{
    DATABASE_FILE, Options, SqliteStore, check_free, identity, take_folder,
};

fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::new(
        "2026-11-21T09:00:00Z".parse().expect("a valid time"),
    ))
}

fn open(dir: &Path) -> Arc<SqliteStore> {
    Arc::new(SqliteStore::open(dir, clock(), Options::default()).expect("the folder is free"))
}

/// A store that the test goes on to use under its own type.
struct Shared(Arc<SqliteStore>);

#[async_trait::async_trait]
impl Backend for Shared {
    fn store(&self) -> AnyStore {
        Arc::clone(&self.0) as AnyStore
    }

    fn now(&self) -> Timestamp {
        clock().now()
    }

    async fn pass(&self, _: Duration) {}

    fn virtual_time(&self) -> bool {
        false
    }

    fn moment(&self) -> Duration {
        Duration::ZERO
    }
}

#[tokio::test]
async fn what_was_committed_is_there_and_its_owners_are_dead_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let backend = Shared(Arc::clone(&store));
    let scene = Scene::open(&backend).await;
    let id = scene.stored(scene.publish("x", &["a"])).await;
    let claim = scene.claim("a", 1).await.remove(0).claim;
    let me = scene.me;
    drop(scene);
    drop((backend, store));

    let store = open(folder.path());
    assert!(store.load(id).await.unwrap().is_some());
    assert_eq!(store.live_sessions().await.unwrap(), []);
    let rows = store.instances().await.unwrap();
    assert_eq!(
        rows.iter()
            .map(|row| (row.instance, row.live))
            .collect::<Vec<_>>(),
        [(me, false)]
    );
    let fenced = store
        .commit(me, &[Op::Settle(claim, sent())])
        .await
        .unwrap();
    assert_eq!(
        fenced,
        [Outcome::Settled(quayside_store::SettleOutcome::Fenced)]
    );
    assert_eq!(store.release_dead(9).await.unwrap(), 1);
}

#[tokio::test]
async fn a_second_opening_is_told_who_has_the_store() {
    let folder = tempfile::tempdir().unwrap();
    let first = open(folder.path());
    let error = SqliteStore::open(folder.path(), clock(), Options::default()).unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Occupied);
    assert!(
        error
            .source
            .to_string()
            .contains(&std::process::id().to_string()),
        "{}",
        error.source
    );
    drop(first);
    open(folder.path());
}

#[tokio::test]
async fn a_newer_store_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    drop(open(folder.path()));
    let conn = rusqlite::Connection::open(folder.path().join(DATABASE_FILE)).unwrap();
    conn.execute("INSERT INTO schema_version VALUES (99, 0)", [])
        .unwrap();
    drop(conn);
    let error = SqliteStore::open(folder.path(), clock(), Options::default()).unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Schema);
}

#[tokio::test]
async fn a_copy_is_whole_and_opens_as_a_store() {
    let folder = tempfile::tempdir().unwrap();
    let backend = Shared(open(folder.path()));
    let scene = Scene::open(&backend).await;
    let id = scene.stored(scene.publish("copied", &["a"])).await;
    let copies = tempfile::tempdir().unwrap();
    let copy = copies.path().join(DATABASE_FILE);
    backend.0.backup(&copy).await.unwrap();
    let later = scene.stored(scene.publish("not copied", &["a"])).await;
    assert_eq!(
        backend.0.backup(&copy).await.unwrap_err().kind,
        StoreErrorKind::Config
    );
    let files: Vec<_> = std::fs::read_dir(copies.path())
        .unwrap()
        .map(|f| f.unwrap().file_name())
        .collect();
    assert_eq!(files, [DATABASE_FILE], "one file, and no part of one");
    let restored = open(copies.path());
    assert!(restored.load(id).await.unwrap().is_some());
    assert!(restored.load(later).await.unwrap().is_none());
}

/// Under constant writing the log is begun anew again and again, and its file stays bounded.
#[tokio::test]
async fn the_log_stays_bounded() {
    let folder = tempfile::tempdir().unwrap();
    let backend = Shared(open(folder.path()));
    let scene = Scene::open(&backend).await;
    let log = folder.path().join(format!("{DATABASE_FILE}-wal"));
    let (body, mut written, mut longest) = ("x".repeat(200_000), 0, 0);
    while written < 600_000_000 {
        let ops: Vec<_> = (0..8)
            .map(|_| Op::Publish(Box::new(scene.publish(&body, &[]))))
            .collect();
        written += 8 * body.len();
        scene.commit(&ops).await.unwrap();
        longest = longest.max(std::fs::metadata(&log).unwrap().len());
    }
    assert!(
        longest < 300_000_000,
        "{longest} bytes of log for {written} bytes of bodies"
    );
}

fn mode(path: &Path) -> u32 {
    let metadata = std::fs::metadata(path).expect("it is there");
    metadata.permissions().mode() & 0o777
}

fn widen(path: &Path) {
    let mode = std::fs::Permissions::from_mode(0o644);
    std::fs::set_permissions(path, mode).expect("it is ours");
}

#[tokio::test]
async fn only_its_owner_can_read_a_store_and_its_copies() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("above/data");
    let store = open(&dir);
    assert_eq!(mode(&dir), 0o700);
    let files = ["", "-wal", "-shm"].map(|end| dir.join(format!("{DATABASE_FILE}{end}")));
    for file in &files {
        assert_eq!(mode(file), 0o600, "{}", file.display());
    }
    // A copy that was cut off once and left its part.
    let copy = folder.path().join("copy.db");
    let part = folder.path().join("copy.db.part");
    std::fs::write(&part, "").unwrap();
    widen(&part);
    store.backup(&copy).await.unwrap();
    assert_eq!(mode(&copy), 0o600);

    // A store of an earlier program, and a log that a crash has left, become private; the folder is the
    // operator's.
    drop(store);
    std::fs::write(&files[1], "").unwrap();
    for path in &files[..2] {
        widen(path);
    }
    std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(0o750)).unwrap();
    let _store = open(&dir);
    for file in &files {
        assert_eq!(mode(file), 0o600, "{}", file.display());
    }
    assert_eq!(mode(&dir), 0o750);
}

#[test]
fn a_store_has_one_identity_under_every_path_and_each_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let [one, two, link] = ["one", "two", "link"].map(|name| folder.path().join(name));
    let stores = [open(&one), open(&two)];
    std::os::unix::fs::symlink(&one, &link).unwrap();
    assert_eq!(identity(&one).unwrap(), identity(&link).unwrap());
    assert_ne!(identity(&one).unwrap(), identity(&two).unwrap());
    // Looking changes nothing, and says who is there.
    let before = identity(&one).unwrap();
    assert_eq!(
        check_free(&link).unwrap_err().kind,
        StoreErrorKind::Occupied
    );
    assert_eq!(identity(&one).unwrap(), before);
    drop(stores);
    check_free(&one).unwrap();
}

#[test]
fn a_folder_that_is_taken_for_a_restore_is_free_of_what_was_there_and_nobody_elses() {
    let dir = tempfile::tempdir().unwrap();
    let left: Vec<_> = ["-wal", "-shm", "-journal"]
        .into_iter()
        .map(|end| dir.path().join(format!("{DATABASE_FILE}{end}")))
        .collect();
    for file in &left {
        std::fs::write(file, "of a store that is gone").unwrap();
    }
    let taken = take_folder(dir.path()).unwrap();
    assert!(left.iter().all(|file| !file.exists()));
    let error = SqliteStore::open(dir.path(), clock(), Options::default()).unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Occupied);
    drop(taken);
    drop(open(dir.path()));
    let refused = take_folder(dir.path())
        .map(drop)
        .map_err(|error| error.kind);
    assert_eq!(refused, Err(StoreErrorKind::Config));
}
