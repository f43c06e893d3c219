//! A disk that is full of the store's own log: what is in the log goes into the database file, and there is
//! room again, without anyone's help.

use std::{fs, path::Path, process::Command, sync::Arc, time::Duration};

use quayside_store::{
    Sessions, StoreError, StoreErrorKind,
    model::{Entropy, ManualClock, Name, SeededEntropy, SessionId},
};
use quayside_store_sqlite::{DATABASE_FILE, Options, SqliteStore};
use tempfile::TempDir;

const TTL: Duration = Duration::from_secs(60);

/// A small disk of its own, gone when dropped.
struct SmallDisk(TempDir);

impl SmallDisk {
    fn new(mib: usize) -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let size = format!("size={mib}m,mode=0755");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &size, "tmpfs"]);
        let done = mount.arg(dir.path()).status().expect("starting mount");
        assert!(done.success(), "mounting a small disk needs root");
        Self(dir)
    }

    /// Takes all the space that is left.
    fn fill(&self) {
        let path = self.0.path().join("ballast");
        let mut ballast = fs::File::create(path).expect("a ballast file");
        while std::io::Write::write_all(&mut ballast, &[0; 4096]).is_ok() {}
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg("-l").arg(self.0.path()).status();
        assert!(
            unmounted.is_ok_and(|s| s.success()) || std::thread::panicking(),
            "umount"
        );
    }
}

fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::new(
        "2026-11-21T09:00:00Z".parse().expect("a valid time"),
    ))
}

fn open(dir: &Path) -> Result<SqliteStore, StoreError> {
    SqliteStore::open(dir, clock(), Options::default())
}

/// A store that has its tables in the database file.
fn used(dir: &Path) -> SqliteStore {
    drop(open(dir).expect("it opens"));
    // Of connections that close side by side none may find itself the last, which moves the log.
    let conn = rusqlite::Connection::open(dir.join(DATABASE_FILE)).expect("it opens");
    let moved = conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
    moved.expect("nobody is in the way");
    drop(conn);
    open(dir).expect("it opens again")
}

/// A session: its renewals fill the log with the same page over and over, and never the database file.
async fn session(store: &SqliteStore) -> SessionId {
    let mut bytes = [0; 16];
    SeededEntropy::new(1).fill(&mut bytes);
    let session = SessionId::from_bytes(bytes);
    let node = Name::new("node-a").expect("a valid name");
    let opened = store.open_session(session, &node, TTL).await;
    opened.expect("there is room");
    session
}

fn log_of(dir: &Path) -> u64 {
    let log = dir.join(format!("{DATABASE_FILE}-wal"));
    fs::metadata(log).map_or(0, |file| file.len())
}

#[tokio::test]
async fn a_log_that_fills_the_disk_is_begun_anew() {
    let disk = SmallDisk::new(4);
    let store = used(disk.0.path());
    let session = session(&store).await;
    // Several times what the disk holds.
    for renewal in 0..4000 {
        let renewed = async {
            loop {
                match store.renew_session(session).await {
                    Err(error) if error.kind == StoreErrorKind::Full => {}
                    other => break other,
                }
            }
        };
        let renewed = tokio::time::timeout(Duration::from_secs(20), renewed).await;
        let log = log_of(disk.0.path());
        let renewed = renewed.unwrap_or_else(|_| panic!("renewal {renewal}, {log} bytes of log"));
        assert!(renewed.unwrap(), "renewal {renewal}");
    }
}

#[tokio::test]
async fn a_store_whose_log_has_filled_the_disk_opens_after_a_kill() {
    let folder = tempfile::tempdir().unwrap();
    let store = used(folder.path());
    let session = session(&store).await;
    for _ in 0..500 {
        assert!(store.renew_session(session).await.unwrap());
    }
    // What a kill would leave.
    let disk = SmallDisk::new(16);
    for file in fs::read_dir(folder.path()).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), disk.0.path().join(file.file_name())).unwrap();
    }
    disk.fill();
    assert!(log_of(disk.0.path()) > 1 << 20, "a log worth moving");
    drop(store);

    let store = open(disk.0.path()).expect("the log makes room for itself");
    assert_eq!(store.live_sessions().await.unwrap(), []);
}
