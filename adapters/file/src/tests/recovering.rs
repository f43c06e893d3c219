//! Several instances on one folder, and what a dead one leaves.

use std::{fs, sync::Arc};

use quayside_adapter_api::{AdapterError, Delivery, ErrorKind, Receive};
use serde_json::json;

use crate::{
    codes,
    taken::TakenName,
    testing::{Process, Store, names_in},
};

fn two() -> (tempfile::TempDir, Arc<Store>, Process, Process) {
    let store = Arc::new(Store::default());
    let (first, second) = (Process::new(&store, 1), Process::new(&store, 2));
    (
        tempfile::tempdir().expect("temp folder"),
        store,
        first,
        second,
    )
}

/// Waits until the store holds no mark, by letting the location work.
async fn settle(store: &Store, receive: &mut dyn Receive) {
    while store.marks() > 0 {
        tokio::select! {
            biased;
            got = receive.receive() => panic!("nothing was to come, but {got:?} came"),
            () = tokio::task::yield_now() => {}
        }
    }
}

#[tokio::test]
async fn a_crash_between_commit_and_removal_repeats_nothing() {
    let (temp, store, first, second) = two();
    fs::write(temp.path().join("a"), "x").unwrap();
    let mut receive = first.open(temp.path(), json!({})).await;
    let mut delivery = receive.receive().await.unwrap();
    first.commit(&mut delivery).await.unwrap();
    first.kill();
    drop((delivery, receive));
    assert_eq!(names_in(temp.path()).len(), 1);
    let mut receive = second.open(temp.path(), json!({})).await;
    settle(&store, &mut *receive).await;
    assert_eq!((names_in(temp.path()), store.messages().len()), (vec![], 1));
}

#[tokio::test]
async fn a_crash_between_removal_and_settling_leaves_no_mark() {
    let (temp, store, first, second) = two();
    fs::write(temp.path().join("a"), "x").unwrap();
    let mut receive = first.open(temp.path(), json!({})).await;
    first.pass(&mut *receive).await;
    assert_eq!((names_in(temp.path()), store.marks()), (vec![], 1));
    first.kill();
    let mut receive = second.open(temp.path(), json!({})).await;
    settle(&store, &mut *receive).await;
}

#[tokio::test]
async fn a_crash_before_the_commit_loses_nothing() {
    let (temp, store, first, second) = two();
    fs::write(temp.path().join("a"), "x").unwrap();
    let mut receive = first.open(temp.path(), json!({})).await;
    let mut stale = receive.receive().await.unwrap();
    let key = stale.message.key.clone();
    first.kill();
    let mut receive = second.open(temp.path(), json!({})).await;
    let mut delivery = receive.receive().await.unwrap();
    assert_eq!(delivery.message.key, key, "the id survives the crash");
    let accepted = second.commit(&mut delivery).await.unwrap();
    // The dead one wakes up with the file still open: it can neither store nor touch anything.
    first.commit(&mut stale).await.expect_err("fenced");
    stale.settle.reject(unavailable()).await;
    assert_eq!(names_in(temp.path()).len(), 1);
    delivery.settle.accept(accepted).await.unwrap();
    assert_eq!((names_in(temp.path()), store.messages().len()), (vec![], 1));
}

#[tokio::test]
async fn files_of_the_living_are_left_alone() {
    let (temp, store, first, second) = two();
    fs::write(temp.path().join("a"), "x").unwrap();
    let mut one = first.open(temp.path(), json!({})).await;
    let mut delivery = one.receive().await.unwrap();
    let mut other = second.open(temp.path(), json!({})).await;
    fs::write(temp.path().join("b"), "x").unwrap();
    assert_eq!(second.pass(&mut *other).await, "b");
    let accepted = first.commit(&mut delivery).await.unwrap();
    delivery.settle.accept(accepted).await.unwrap();
    assert_eq!((names_in(temp.path()), store.messages().len()), (vec![], 2));
}

#[tokio::test]
async fn another_location_on_the_folder_leaves_files_alone() {
    let (temp, store, first, second) = two();
    fs::write(temp.path().join("a.xml"), "x").unwrap();
    let mut one = first.open(temp.path(), json!({ "pattern": "*.xml" })).await;
    let mut delivery = one.receive().await.unwrap();
    let second = second.at("app.other.file");
    let mut other = second
        .open(temp.path(), json!({ "pattern": "*.json" }))
        .await;
    fs::write(temp.path().join("b.json"), "x").unwrap();
    assert_eq!(second.pass(&mut *other).await, "b.json");
    let accepted = first.commit(&mut delivery).await.unwrap();
    delivery.settle.accept(accepted).await.unwrap();
    assert_eq!((names_in(temp.path()), store.messages().len()), (vec![], 2));
}

#[tokio::test]
async fn an_owner_taken_for_dead_opens_anew() {
    let (temp, _, first, second) = two();
    fs::write(temp.path().join("a"), "x").unwrap();
    let mut receive = first.open(temp.path(), json!({})).await;
    let delivery = receive.receive().await.unwrap();
    let owner = TakenName::parse(&names_in(temp.path())[0])
        .expect("it is taken")
        .owner;
    assert!(
        second.steal(&owner),
        "the store gives the lease of the dead away"
    );
    drop(delivery);
    let lost = receive
        .receive()
        .await
        .expect_err("it is not the owner any more");
    assert_eq!(
        (lost.kind, lost.code),
        (ErrorKind::Disconnected, codes::OWNER_LOST)
    );
}

#[tokio::test]
async fn a_location_opened_anew_leaves_its_predecessor_alone() {
    let (temp, store, first, _) = two();
    fs::write(temp.path().join("a"), "x").unwrap();
    let mut old = first.open(temp.path(), json!({})).await;
    let mut delivery = old.receive().await.unwrap();
    let mut new = first.open(temp.path(), json!({})).await;
    old.close().await;
    fs::write(temp.path().join("b"), "x").unwrap();
    assert_eq!(first.pass(&mut *new).await, "b");
    let accepted = first.commit(&mut delivery).await.unwrap();
    delivery.settle.accept(accepted).await.unwrap();
    assert_eq!((names_in(temp.path()), store.messages().len()), (vec![], 2));
}

#[tokio::test]
async fn a_delivery_dropped_unanswered_comes_again_or_is_cleaned_up() {
    for committed in [false, true] {
        let (temp, store, first, _) = two();
        fs::write(temp.path().join("a"), "x").unwrap();
        let mut receive = first.open(temp.path(), json!({})).await;
        let mut delivery = receive.receive().await.unwrap();
        let key = delivery.message.key.clone();
        if committed {
            first.commit(&mut delivery).await.unwrap();
            drop(delivery);
            settle(&store, &mut *receive).await;
        } else {
            drop(delivery);
            assert_eq!(first.pass(&mut *receive).await, "a");
        }
        assert_eq!((names_in(temp.path()), store.messages().len()), (vec![], 1));
        assert!(key.is_some());
    }
}

#[tokio::test]
async fn a_mark_of_an_earlier_folder_is_settled_there() {
    let (temp, store, first, second) = two();
    let before = tempfile::tempdir().expect("temp folder");
    fs::write(before.path().join("a"), "x").unwrap();
    let mut receive = first.open(before.path(), json!({})).await;
    let mut delivery = receive.receive().await.unwrap();
    first.commit(&mut delivery).await.unwrap();
    first.kill();
    let mut receive = second.open(temp.path(), json!({})).await;
    settle(&store, &mut *receive).await;
    assert_eq!(names_in(before.path()), [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_instances_take_a_thousand_files_once() {
    const FILES: usize = 1_000;
    let (temp, store, first, second) = two();
    for no in 0..FILES {
        fs::write(
            temp.path().join(format!("{no:04}.xml")),
            format!("<a>{no}</a>"),
        )
        .unwrap();
    }
    let run = |process: Process| {
        let (folder, store) = (temp.path().to_owned(), store.clone());
        async move {
            let mut receive = process.open(&folder, json!({})).await;
            let mut passed = 0;
            while store.messages().len() < FILES {
                tokio::select! {
                    delivery = receive.receive() => {
                        pass(&process, delivery).await.expect("stored and cleaned up");
                        passed += 1;
                    }
                    () = until(&store, FILES) => {}
                }
            }
            receive.close().await;
            passed
        }
    };
    let passed = tokio::join!(run(first), run(second));
    let bodies: Vec<_> = store.messages().into_iter().map(|(_, body)| body).collect();
    let expected: Vec<_> = (0..FILES).map(|no| format!("<a>{no}</a>")).collect();
    assert_eq!(bodies, expected);
    assert_eq!(passed.0 + passed.1, FILES);
    assert_eq!((names_in(temp.path()), store.marks()), (vec![], 0));
}

async fn until(store: &Store, count: usize) {
    while store.messages().len() < count {
        tokio::task::yield_now().await;
    }
}

async fn pass(
    process: &Process,
    delivery: Result<Delivery, AdapterError>,
) -> Result<(), AdapterError> {
    let mut delivery = delivery?;
    let accepted = process.commit(&mut delivery).await?;
    delivery.settle.accept(accepted).await
}

fn unavailable() -> quayside_adapter_api::Rejected {
    quayside_adapter_api::Rejected {
        kind: quayside_adapter_api::RejectKind::Unavailable,
        code: crate::codes::CLOSED,
        detail: "fenced".into(),
        index: None,
        retry_after: None,
    }
}
