//! Files come in once, whole, and never harm each other.

use std::{fs, os::unix::fs::PermissionsExt, path::Path, sync::Arc, time::Duration};

use futures_util::{FutureExt, TryStreamExt};
use quayside_adapter_api::{
    ErrorKind, RejectKind, Rejected,
    model::{Clock, ManualClock, Name, Timestamp, Value},
};
use serde_json::json;

use crate::{
    codes,
    config::ReceiveSettings,
    holder::{Holder, Owners},
    taken::REJECTED,
    testing::{Process, Store, names_in},
    watch::Watch,
};

fn rejected(kind: RejectKind) -> Rejected {
    let retry_after = Some(Duration::from_millis(1));
    Rejected {
        kind,
        code: codes::IO,
        detail: "of no use".into(),
        index: None,
        retry_after,
    }
}

fn alone() -> (tempfile::TempDir, Arc<Store>, Process) {
    let store = Arc::new(Store::default());
    let process = Process::new(&store, 1);
    (tempfile::tempdir().expect("temp folder"), store, process)
}

#[tokio::test]
async fn a_file_becomes_a_message_and_goes() {
    let (temp, store, process) = alone();
    fs::write(temp.path().join("a.xml"), "<a/>").unwrap();
    let mut receive = process.open(temp.path(), json!({})).await;
    let mut delivery = receive.receive().await.unwrap();
    assert_eq!(
        delivery.message.content_type.as_deref(),
        Some("application/xml")
    );
    assert_eq!(
        delivery.message.context.value("file.size"),
        Some(&Value::Integer(4))
    );
    assert!(delivery.message.context.promoted("file.folder").is_some());
    assert!(delivery.message.context.promoted("file.size").is_none());
    let accepted = process.commit(&mut delivery).await.unwrap();
    assert_eq!(names_in(temp.path()).len(), 1, "it stays until the answer");
    delivery.settle.accept(accepted).await.unwrap();
    assert_eq!(names_in(temp.path()), [""; 0]);
    receive.close().await;
    assert_eq!(store.marks(), 0);
    assert_eq!(store.messages(), [("a.xml".to_owned(), "<a/>".into())]);
}

#[tokio::test]
async fn files_come_in_the_order_asked_for() {
    for (order, expected) in [("name", ["a", "b", "c"]), ("mtime", ["c", "a", "b"])] {
        let (temp, _, process) = alone();
        for (age, name) in ["b", "a", "c"].into_iter().enumerate() {
            let file = fs::File::create(temp.path().join(name)).unwrap();
            let time = std::time::UNIX_EPOCH + Duration::from_secs(1_000 - age as u64);
            file.set_modified(time).unwrap();
        }
        let mut receive = process.open(temp.path(), json!({ "order": order })).await;
        for name in expected {
            assert_eq!(process.pass(&mut *receive).await, name, "by {order}");
        }
    }
}

#[tokio::test]
async fn only_wanted_regular_files_are_taken() {
    let (temp, store, process) = alone();
    let path = |name: &str| temp.path().join(name);
    for name in [".hidden.xml", "b.txt", "c.xml.tmp", "z.xml"] {
        fs::write(path(name), name).unwrap();
    }
    fs::create_dir(path("a.xml")).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", path("l.xml")).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, path("p.xml"), rustix::fs::Mode::RWXU).unwrap();
    std::os::unix::net::UnixListener::bind(path("s.xml")).unwrap();
    let before = names_in(temp.path()).len();
    let mut receive = process
        .open(temp.path(), json!({ "pattern": "*.xml" }))
        .await;
    assert_eq!(process.pass(&mut *receive).await, "z.xml");
    fs::write(path("zz.xml"), "next").unwrap();
    assert_eq!(process.pass(&mut *receive).await, "zz.xml");
    assert_eq!(names_in(temp.path()).len(), before - 1);
    assert_eq!(store.messages().len(), 2);
}

#[tokio::test]
async fn a_name_that_cannot_be_marked_is_left_alone() {
    use std::os::unix::ffi::OsStrExt;
    let (temp, _, process) = alone();
    fs::write(
        temp.path().join(std::ffi::OsStr::from_bytes(b"\xff.xml")),
        "x",
    )
    .unwrap();
    fs::write(temp.path().join("n".repeat(255)), "x").unwrap();
    fs::write(temp.path().join("z"), "x").unwrap();
    let mut receive = process.open(temp.path(), json!({})).await;
    assert_eq!(process.pass(&mut *receive).await, "z");
    assert_eq!(names_in(temp.path()).len(), 2);
}

#[tokio::test]
async fn a_refused_file_comes_back_or_is_put_aside() {
    for (kind, parked) in [
        (RejectKind::Overloaded, false),
        (RejectKind::Unavailable, false),
        (RejectKind::Invalid, true),
        (RejectKind::TooLarge, true),
    ] {
        let (temp, _, process) = alone();
        fs::write(temp.path().join("a"), "x").unwrap();
        let mut receive = process.open(temp.path(), json!({})).await;
        let delivery = receive.receive().await.unwrap();
        delivery.settle.reject(rejected(kind)).await;
        if parked {
            assert_eq!(names_in(&temp.path().join(REJECTED)), ["a"], "{kind:?}");
            assert_eq!(names_in(temp.path()), [REJECTED], "{kind:?}");
        } else {
            assert_eq!(names_in(temp.path()), ["a"], "{kind:?}");
            assert_eq!(process.pass(&mut *receive).await, "a", "{kind:?}");
        }
    }
}

#[tokio::test]
async fn a_file_put_back_replaces_no_newer_one() {
    let (temp, _, process) = alone();
    fs::write(temp.path().join("a.xml"), "old").unwrap();
    let mut receive = process.open(temp.path(), json!({})).await;
    let delivery = receive.receive().await.unwrap();
    fs::write(temp.path().join("a.xml"), "new").unwrap();
    delivery
        .settle
        .reject(rejected(RejectKind::Unavailable))
        .await;
    assert_eq!(names_in(temp.path()), ["a-2.xml", "a.xml"]);
    assert_eq!(
        fs::read_to_string(temp.path().join("a-2.xml")).unwrap(),
        "old"
    );
}

#[tokio::test]
async fn too_large_a_file_is_put_aside() {
    let (temp, store, process) = alone();
    fs::write(temp.path().join("a"), vec![0; 1025]).unwrap();
    fs::write(temp.path().join("b"), vec![0; 1024]).unwrap();
    let mut receive = process
        .open(temp.path(), json!({ "max_size": "1 KiB" }))
        .await;
    assert_eq!(process.pass(&mut *receive).await, "b");
    assert_eq!(names_in(&temp.path().join(REJECTED)), ["a"]);
    assert_eq!(store.messages().len(), 1);
}

#[tokio::test]
async fn a_file_that_changes_while_it_is_read_is_not_stored() {
    let (temp, store, process) = alone();
    let path = temp.path().join("a");
    fs::write(&path, vec![b'x'; 3 << 20]).unwrap();
    let mut writer = fs::OpenOptions::new().append(true).open(&path).unwrap();
    let mut receive = process.open(temp.path(), json!({})).await;
    let mut delivery = receive.receive().await.unwrap();
    std::io::Write::write_all(&mut writer, b"more").unwrap();
    let failed = process.commit(&mut delivery).await.expect_err("it changed");
    assert_eq!(failed.code, codes::FILE_CHANGED);
    delivery
        .settle
        .reject(rejected(RejectKind::Unavailable))
        .await;
    assert_eq!(process.pass(&mut *receive).await, "a");
    assert_eq!(store.messages()[0].1.len(), (3 << 20) + 4);
}

#[tokio::test]
async fn a_file_that_can_never_be_read_is_put_aside() {
    let (temp, _, process) = alone();
    let path = temp.path().join("a");
    fs::write(&path, "x").unwrap();
    let mut receive = process.open(temp.path(), json!({})).await;
    let mut attempts = 0;
    while path.exists() {
        let mut delivery = receive.receive().await.unwrap();
        let taken = names_in(temp.path()).remove(0);
        // Each time a writer that holds the file open spoils it.
        let spoil = fs::OpenOptions::new()
            .append(true)
            .open(temp.path().join(taken))
            .unwrap();
        std::io::Write::write_all(&mut &spoil, b"x").unwrap();
        process.commit(&mut delivery).await.expect_err("it changed");
        delivery
            .settle
            .reject(rejected(RejectKind::Unavailable))
            .await;
        attempts += 1;
    }
    assert_eq!(attempts, 5);
    assert_eq!(names_in(&temp.path().join(REJECTED)), ["a"]);
}

#[tokio::test]
async fn a_large_body_comes_in_pieces() {
    let (temp, _, process) = alone();
    let file = fs::File::create(temp.path().join("a")).unwrap();
    file.set_len((5 << 20) + 7).unwrap();
    fs::write(temp.path().join("b"), "").unwrap();
    let mut receive = process.open(temp.path(), json!({})).await;
    for expected in [vec![1 << 20, 1 << 20, 1 << 20, 1 << 20, 1 << 20, 7], vec![]] {
        let delivery = receive.receive().await.unwrap();
        let pieces: Vec<_> = delivery
            .message
            .body
            .map_ok(|piece| piece.len())
            .try_collect()
            .await
            .unwrap();
        assert_eq!(pieces, expected);
    }
}

#[tokio::test]
async fn an_archive_keeps_every_file() {
    let (temp, store, process) = alone();
    let mut receive = process
        .open(temp.path(), json!({ "after": { "archive": "done" } }))
        .await;
    for content in ["one", "two"] {
        fs::write(temp.path().join("a.xml"), content).unwrap();
        process.pass(&mut *receive).await;
    }
    assert_eq!(names_in(&temp.path().join("done")), ["a-2.xml", "a.xml"]);
    receive.close().await;
    assert_eq!(store.marks(), 0);
}

#[tokio::test]
async fn closing_gives_back_what_was_not_handed_out() {
    let (temp, store, process) = alone();
    for name in ["a", "b", "c"] {
        fs::write(temp.path().join(name), name).unwrap();
    }
    let mut receive = process.open(temp.path(), json!({})).await;
    let mut delivery = receive.receive().await.unwrap();
    receive.close().await;
    assert_eq!(
        receive.receive().await.expect_err("closed").kind,
        ErrorKind::Ended
    );
    let left = names_in(temp.path());
    assert!(
        left[0].starts_with(".taken-") && left[1..] == ["b", "c"],
        "{left:?}"
    );
    let accepted = process.commit(&mut delivery).await.unwrap();
    delivery.settle.accept(accepted).await.unwrap();
    assert_eq!(
        (names_in(temp.path()), store.marks()),
        (vec!["b".into(), "c".into()], 0)
    );
}

#[tokio::test]
async fn a_dropped_wait_loses_nothing() {
    let (temp, store, process) = alone();
    let mut receive = process.open(temp.path(), json!({})).await;
    for no in 0..50 {
        fs::write(temp.path().join(format!("{no:02}")), "x").unwrap();
    }
    while store.messages().len() < 50 {
        // Polled once and dropped, again and again: as by an engine that has other things to look at.
        if let Some(delivery) = receive.receive().now_or_never() {
            let mut delivery = delivery.unwrap();
            let accepted = process.commit(&mut delivery).await.unwrap();
            delivery.settle.accept(accepted).await.unwrap();
        }
        tokio::task::yield_now().await;
    }
    assert_eq!(names_in(temp.path()), [""; 0]);
}

#[tokio::test]
async fn what_cannot_work_says_so() {
    let (temp, _, process) = alone();
    let services = process.services(Arc::new(ManualClock::new(Timestamp::from_micros(0))));
    let name = Name::new("x").unwrap();
    fs::write(temp.path().join("file"), "x").unwrap();
    for (block, code) in [
        (
            json!({ "folder": temp.path().join("none") }),
            codes::FOLDER_MISSING,
        ),
        (
            json!({ "folder": temp.path().join("file") }),
            codes::FOLDER_MISSING,
        ),
        (json!({ "folder": "" }), codes::BAD_SETTING),
    ] {
        let adapter: &dyn quayside_adapter_api::Adapter = &*process.adapter;
        let terms = quayside_adapter_api::Terms::default();
        let opened = adapter
            .open_receive(&name, &block, &terms, services.clone())
            .await;
        let error = match opened {
            Ok(mut receive) => receive.receive().await.err(),
            Err(error) => Some(error),
        };
        assert_eq!(
            error.map(|e| (e.kind, e.code)),
            Some((ErrorKind::Config, code)),
            "{block}"
        );
    }
}

#[tokio::test]
async fn a_missing_folder_is_made_if_asked_for() {
    let (temp, _, process) = alone();
    let folder = temp.path().join("a/inbox");
    let mut receive = process.open(&folder, json!({ "create": true })).await;
    fs::write(folder.join("a"), "x").unwrap();
    assert_eq!(process.pass(&mut *receive).await, "a");
}

#[test]
fn a_file_is_taken_when_it_has_come_to_rest() {
    let (temp, _, process) = alone();
    let clock = Arc::new(ManualClock::new(Timestamp::from_micros(0)));
    let holder = held(temp.path(), &process, clock.clone());
    let mut watch = Watch::default();
    let look = |watch: &mut Watch| watch.look(&holder).expect("looked");
    let path = temp.path().join("a");
    fs::write(&path, "x").unwrap();
    let first = look(&mut watch);
    assert_eq!(
        (first.taken.len(), first.again_in),
        (0, Some(Duration::from_secs(10)))
    );
    clock.advance(Duration::from_secs(9));
    fs::write(&path, "xy").unwrap();
    assert_eq!(look(&mut watch).taken.len(), 0);
    clock.advance(Duration::from_secs(9));
    assert_eq!(look(&mut watch).again_in, Some(Duration::from_secs(1)));
    clock.advance(Duration::from_secs(1));
    assert_eq!(look(&mut watch).taken.len(), 1);
}

#[test]
fn an_unreadable_file_does_not_stop_the_others() {
    let (temp, _, process) = alone();
    fs::write(temp.path().join("a"), "x").unwrap();
    fs::set_permissions(temp.path().join("a"), fs::Permissions::from_mode(0o000)).unwrap();
    fs::write(temp.path().join("b"), "x").unwrap();
    let clock = Arc::new(ManualClock::new(Timestamp::from_micros(0)));
    let holder = held(temp.path(), &process, clock.clone());
    let mut watch = Watch::default();
    watch.look(&holder).expect("looked");
    clock.advance(Duration::from_secs(10));
    let taken = watch.look(&holder).expect("looked").taken;
    // The superuser reads it all the same.
    let expected = if rustix::process::geteuid().is_root() {
        2
    } else {
        1
    };
    assert_eq!(taken.len(), expected);
}

fn held(folder: &Path, process: &Process, clock: Arc<dyn Clock>) -> Arc<Holder> {
    let block = json!({ "folder": folder, "stable_for": "10s" });
    let settings = ReceiveSettings::read(&block).expect("right");
    let name = Name::new("x").unwrap();
    Arc::new(Holder::new(
        name,
        settings,
        process.services(clock),
        Owners::default(),
    ))
}
